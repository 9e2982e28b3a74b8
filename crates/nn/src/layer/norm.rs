//! Layers that bring their inputs to mean 0 and variance 1.

use costate_odeint::Real;
use costate_tape::{Shape, Var};
use ndarray::ArrayD;

use crate::init::Init;
use crate::module::{last_axis, second_axis};
use crate::params::{Bound, Param, Params};

/// `(x - mean) / √(variance + ε)` over the given axes.
#[track_caller]
fn normalise<'t, T: Real>(x: Var<'t, T>, axes: &[usize], epsilon: f64) -> Var<'t, T> {
    let centred = x - over(x, axes);
    centred / (over(centred.square(), axes) + T::from_f64(epsilon)).sqrt()
}

/// The mean over some axes, which stay with length 1.
#[track_caller]
fn over<'t, T: Real>(x: Var<'t, T>, axes: &[usize]) -> Var<'t, T> {
    let kept: Shape =
        x.shape().iter().enumerate().map(|(i, &n)| if axes.contains(&i) { 1 } else { n }).collect();
    x.mean_axes(axes).reshape(kept)
}

/// `[n]` as `[n, 1, …]`, to be broadcast along axis 1 of an array of `axes` axes.
#[track_caller]
fn along_one<'t, T: Real>(x: Var<'t, T>, axes: usize) -> Var<'t, T> {
    let n = x.shape()[0];
    x.reshape([n].into_iter().chain(std::iter::repeat_n(1, axes - 2)).collect::<Shape>())
}

/// Scale and shift of each channel after normalisation.
#[derive(Clone, Copy, Debug)]
struct Scale {
    scale: Param,
    shift: Param,
}

impl Scale {
    #[track_caller]
    fn new<T: Real>(params: &mut Params<T>, name: &str, n: usize) -> Scale {
        Scale {
            scale: params.init(format!("{name}.scale"), [n], Init::Constant(1.0)),
            shift: params.zeros(format!("{name}.shift"), [n]),
        }
    }

    #[track_caller]
    fn channels<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        let axes = x.shape().ndim();
        x * along_one(p[self.scale], axes) + along_one(p[self.shift], axes)
    }
}

/// Each row to mean 0 and variance 1, then a scale and a shift of each entry (J. L. Ba et al.,
/// arXiv 1607.06450): `γ (x - mean x)/√(var x + ε) + β` with `ε = 1e-5`.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    scale: Scale,
    width: usize,
}

impl LayerNorm {
    /// Adds `name.scale`, ones, and `name.shift`, zeros.
    ///
    /// # Panics
    /// If the width is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(params: &mut Params<T>, name: &str, width: usize) -> LayerNorm {
        assert!(width > 0, "LayerNorm: rows of no entries have no mean");
        LayerNorm { scale: Scale::new(params, name, width), width }
    }

    /// From `[…, width]` to the same.
    ///
    /// # Panics
    /// If the last length is not the width.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        let (shape, width) = (x.shape(), self.width);
        let last = shape.ndim().wrapping_sub(1);
        assert!(shape.last() == Some(&width), "LayerNorm: shape {shape}, not […, {width}]");
        normalise(x, &[last], 1e-5) * p[self.scale.scale] + p[self.scale.shift]
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        last_axis("LayerNorm", [self.width; 2], input)
    }
}

/// Groups of channels to mean 0 and variance 1 in each sample, then a scale and a shift of each
/// channel (Y. Wu, K. He, arXiv 1803.08494), with `ε = 1e-5`.
#[derive(Clone, Copy, Debug)]
pub struct GroupNorm {
    scale: Scale,
    groups: usize,
    channels: usize,
}

impl GroupNorm {
    /// Adds `name.scale`, ones, and `name.shift`, zeros.
    ///
    /// # Panics
    /// If the groups do not divide the channels, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        groups: usize,
        channels: usize,
    ) -> GroupNorm {
        let divides = groups > 0 && channels > 0 && channels.is_multiple_of(groups);
        assert!(divides, "GroupNorm: {groups} groups do not divide {channels} channels");
        GroupNorm { scale: Scale::new(params, name, channels), groups, channels }
    }

    /// From `[samples, channels, …]` to the same.
    ///
    /// # Panics
    /// If the input has another number of channels, or none.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        let shape = x.shape();
        let channels = self.channels;
        assert!(
            shape.ndim() >= 2 && shape[1] == channels,
            "GroupNorm: shape {shape}, not [samples, {channels}, …]"
        );
        let inner = channels / self.groups * shape[2..].iter().product::<usize>();
        let grouped = x.reshape([shape[0], self.groups, inner]);
        self.scale.channels(p, normalise(grouped, &[2], 1e-5).reshape(shape))
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        second_axis("GroupNorm", self.channels, input)
    }
}

/// Each channel to mean 0 and variance 1 over the batch, then a scale and a shift (S. Ioffe,
/// C. Szegedy, arXiv 1502.03167), with `ε = 1e-5`.
///
/// In training the moments are those of the batch; in use they are running means, which are kept
/// in the parameters as [buffers](Params::buffer):
///
/// ```
/// use costate_nn::{BatchNorm, Params, Sgd};
/// use ndarray::arr2;
///
/// let mut params = Params::<f64>::seeded(0);
/// let norm = BatchNorm::new(&mut params, "norm", 2);
/// let x = arr2(&[[1.0, 2.0], [3.0, 6.0]]);
/// let mut moments = None;
/// params.step(&mut Sgd::new(0.1), |tape, p| {
///     let (y, found) = norm.train(p, tape.constant(&x));
///     moments = Some(found.values());
///     Ok(y.square().sum())
/// })?;
/// norm.update(&mut params, &moments.unwrap());
/// # Ok::<(), costate_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    scale: Scale,
    mean: Param,
    variance: Param,
    channels: usize,
    momentum: f64,
}

/// Mean and variance of each channel of a batch, `[channels]`.
#[derive(Clone, Copy, Debug)]
pub struct Moments<V> {
    /// The mean.
    pub mean: V,
    /// The variance as an estimate from a sample, `Σ (x - mean)²/(n - 1)`.
    pub variance: V,
}

impl<T: Real> Moments<Var<'_, T>> {
    /// The numbers. Reads them: see [`Var::value`].
    pub fn values(&self) -> Moments<ArrayD<T>> {
        Moments { mean: self.mean.value(), variance: self.variance.value() }
    }
}

impl BatchNorm {
    /// Adds `name.scale`, ones, `name.shift`, zeros, and the buffers `name.mean`, zeros, and
    /// `name.variance`, ones.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(params: &mut Params<T>, name: &str, channels: usize) -> BatchNorm {
        BatchNorm {
            scale: Scale::new(params, name, channels),
            mean: params.buffer(format!("{name}.mean"), [channels], Init::Zeros),
            variance: params.buffer(format!("{name}.variance"), [channels], Init::Constant(1.0)),
            channels,
            momentum: 0.1,
        }
    }

    /// With another share of a batch in the running means; by default 0.1.
    pub fn momentum(mut self, momentum: f64) -> BatchNorm {
        self.momentum = momentum;
        self
    }

    #[track_caller]
    fn check(&self, shape: &Shape) {
        let channels = self.channels;
        assert!(
            shape.ndim() >= 2 && shape[1] == channels,
            "BatchNorm: shape {shape}, not [samples, {channels}, …]"
        );
    }

    /// In training: from `[samples, channels, …]` to the same, and the moments of the batch.
    ///
    /// # Panics
    /// If the input has another number of channels, or a channel fewer than two entries.
    #[track_caller]
    pub fn train<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        x: Var<'t, T>,
    ) -> (Var<'t, T>, Moments<Var<'t, T>>) {
        let shape = x.shape();
        self.check(&shape);
        let axes: Vec<usize> = (0..shape.ndim()).filter(|&axis| axis != 1).collect();
        let n: usize = axes.iter().map(|&axis| shape[axis]).product();
        assert!(n > 1, "BatchNorm: shape {shape} has {n} entries in a channel; two are needed");
        let mean = over(x, &axes);
        let centred = x - mean;
        let variance = over(centred.square(), &axes);
        let y = centred / (variance + T::from_f64(1e-5)).sqrt();
        let unbiased = variance.scale(T::from_f64(n as f64 / (n - 1) as f64));
        let [mean, variance] = [mean, unbiased].map(|m| m.reshape([self.channels]));
        (self.scale.channels(p, y), Moments { mean, variance })
    }

    /// In use: with the running moments.
    ///
    /// # Panics
    /// If the input has another number of channels.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        let shape = x.shape();
        self.check(&shape);
        let deviation = (p[self.variance] + T::from_f64(1e-5)).sqrt();
        let centred = x - along_one(p[self.mean], shape.ndim());
        self.scale.channels(p, centred / along_one(deviation, shape.ndim()))
    }

    /// Moves the running moments towards those of a batch: `r ← r + momentum (m - r)`.
    ///
    /// # Panics
    /// If they are of another number of channels.
    #[track_caller]
    pub fn update<T: Real>(&self, params: &mut Params<T>, batch: &Moments<ArrayD<T>>) {
        let share = T::from_f64(self.momentum);
        for (param, found) in [(self.mean, &batch.mean), (self.variance, &batch.variance)] {
            let old = params.get(param).to_owned();
            assert!(
                old.shape() == found.shape(),
                "BatchNorm: moments of shape {:?} for {:?}",
                found.shape(),
                old.shape()
            );
            let mut new = old;
            new.zip_mut_with(found, |r, &m| *r += share * (m - *r));
            params.set(param, &new);
        }
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        second_axis("BatchNorm", self.channels, input)
    }
}
