//! Convolutions.

use costate_odeint::Real;
use costate_tape::{Shape, Var};

use super::pool::windows;
use crate::init::Init;
use crate::params::{Bound, Param, Params};

/// A convolution of images with a bias: `y_ok = b_o + Σ_c Σ_δ K_ocδ x_c(s k + δ - padding)`, without
/// turning the kernel over, as is usual in learning. Strides are 1 and there is no padding unless
/// [`stride`](Conv2d::stride) and [`padding`](Conv2d::padding) say otherwise.
///
/// ```
/// use costate_nn::{Conv2d, Params};
/// use costate_tape::Tape;
///
/// let mut params = Params::<f32>::seeded(0);
/// let conv = Conv2d::new(&mut params, "conv", 3, 8, [3, 3]).stride([2, 2]).padding([1, 1]);
/// let tape = Tape::new();
/// let images = tape.leaf(&[0.0; 2 * 3 * 9 * 7], [2, 3, 9, 7]);
/// assert_eq!(*conv.forward(&params.bind(&tape), images).shape(), [2, 8, 5, 4]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv2d {
    /// `K`, `[outputs, channels, height, width]`.
    pub kernel: Param,
    /// `b`, `[outputs]`.
    pub bias: Param,
    channels: usize,
    outputs: usize,
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Conv2d {
    /// Adds `name.kernel` and `name.bias`, both uniform in `±1/√(channels · height · width)`; `size`
    /// is the kernel's height and width.
    ///
    /// # Panics
    /// If a size is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        channels: usize,
        outputs: usize,
        size: [usize; 2],
    ) -> Conv2d {
        let entries = channels * size[0] * size[1];
        let init = Init::Uniform(1.0 / (entries.max(1) as f64).sqrt());
        Conv2d::with(params, name, [channels, outputs], size, [init, init])
    }

    /// Adds `name.kernel` as `init` says, and `name.bias`, zero.
    ///
    /// # Panics
    /// If a size is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn with_init<T: Real>(
        params: &mut Params<T>,
        name: &str,
        channels: usize,
        outputs: usize,
        size: [usize; 2],
        init: Init,
    ) -> Conv2d {
        Conv2d::with(params, name, [channels, outputs], size, [init, Init::Zeros])
    }

    #[track_caller]
    fn with<T: Real>(
        params: &mut Params<T>,
        name: &str,
        [channels, outputs]: [usize; 2],
        size: [usize; 2],
        [kernel, bias]: [Init; 2],
    ) -> Conv2d {
        assert!(size[0] > 0 && size[1] > 0, "Conv2d: a kernel of {} by {}", size[0], size[1]);
        let shape = [outputs, channels, size[0], size[1]];
        Conv2d {
            kernel: params.kernel(format!("{name}.kernel"), shape, kernel),
            bias: params.init(format!("{name}.bias"), [outputs], bias),
            channels,
            outputs,
            size,
            stride: [1, 1],
            padding: [0, 0],
        }
    }

    /// With steps of so many pixels down and to the right.
    ///
    /// # Panics
    /// If one is 0.
    #[track_caller]
    pub fn stride(mut self, stride: [usize; 2]) -> Conv2d {
        assert!(stride[0] > 0 && stride[1] > 0, "Conv2d: strides of {stride:?}");
        self.stride = stride;
        self
    }

    /// With so many zeros above and below, and to the left and the right.
    pub fn padding(mut self, padding: [usize; 2]) -> Conv2d {
        self.padding = padding;
        self
    }

    /// From `[samples, channels, height, width]` to `[samples, outputs, height', width']` with
    /// `height' = (height + 2 padding - size)/stride + 1`, rounded down, and the width likewise.
    ///
    /// # Panics
    /// If the input has another number of axes or of channels, or is smaller than the kernel.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        if let Err(reason) = self.output_shape(&x.shape()) {
            panic!("{reason}");
        }
        let bias = p[self.bias].reshape([self.outputs, 1, 1]);
        x.conv2d(p[self.kernel], self.stride, self.padding) + bias
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        let (c, [h, w], p) = (self.channels, self.size, self.padding);
        let counts = match input[..] {
            [_, channels, height, width] if channels == c => {
                windows([height, width], self.size, self.stride, p)
            }
            _ => None,
        };
        let [rows, columns] = counts.ok_or_else(|| {
            format!(
                "Conv2d: shape {input}, not [samples, {c}, height, width] that a kernel of {h} by \
                 {w} fits into"
            )
        })?;
        Ok([input[0], self.outputs, rows, columns].into())
    }
}

/// A convolution of series with a bias: see [`Conv2d`].
///
/// ```
/// use costate_nn::{Conv1d, Params};
/// use costate_tape::Tape;
///
/// let mut params = Params::<f32>::seeded(0);
/// let conv = Conv1d::new(&mut params, "conv", 2, 4, 5).padding(2);
/// let tape = Tape::new();
/// let series = tape.leaf(&[0.0; 3 * 2 * 10], [3, 2, 10]);
/// assert_eq!(*conv.forward(&params.bind(&tape), series).shape(), [3, 4, 10]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Conv1d {
    /// `K`, `[outputs, channels, size]`.
    pub kernel: Param,
    /// `b`, `[outputs]`.
    pub bias: Param,
    channels: usize,
    outputs: usize,
    size: usize,
    stride: usize,
    padding: usize,
}

impl Conv1d {
    /// Adds `name.kernel` and `name.bias`, both uniform in `±1/√(channels · size)`.
    ///
    /// # Panics
    /// If the size is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        channels: usize,
        outputs: usize,
        size: usize,
    ) -> Conv1d {
        let init = Init::Uniform(1.0 / ((channels * size).max(1) as f64).sqrt());
        Conv1d::with(params, name, [channels, outputs], size, [init, init])
    }

    /// Adds `name.kernel` as `init` says, and `name.bias`, zero.
    ///
    /// # Panics
    /// If the size is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn with_init<T: Real>(
        params: &mut Params<T>,
        name: &str,
        channels: usize,
        outputs: usize,
        size: usize,
        init: Init,
    ) -> Conv1d {
        Conv1d::with(params, name, [channels, outputs], size, [init, Init::Zeros])
    }

    #[track_caller]
    fn with<T: Real>(
        params: &mut Params<T>,
        name: &str,
        [channels, outputs]: [usize; 2],
        size: usize,
        [kernel, bias]: [Init; 2],
    ) -> Conv1d {
        assert!(size > 0, "Conv1d: a kernel of size 0");
        Conv1d {
            kernel: params.kernel(format!("{name}.kernel"), [outputs, channels, size], kernel),
            bias: params.init(format!("{name}.bias"), [outputs], bias),
            channels,
            outputs,
            size,
            stride: 1,
            padding: 0,
        }
    }

    /// With steps of so many entries.
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn stride(mut self, stride: usize) -> Conv1d {
        assert!(stride > 0, "Conv1d: a stride of 0");
        self.stride = stride;
        self
    }

    /// With so many zeros at each end.
    pub fn padding(mut self, padding: usize) -> Conv1d {
        self.padding = padding;
        self
    }

    /// From `[samples, channels, length]` to `[samples, outputs, length']` with
    /// `length' = (length + 2 padding - size)/stride + 1`, rounded down.
    ///
    /// # Panics
    /// If the input has another number of axes or of channels, or is shorter than the kernel.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        if let Err(reason) = self.output_shape(&x.shape()) {
            panic!("{reason}");
        }
        let bias = p[self.bias].reshape([self.outputs, 1]);
        x.conv1d(p[self.kernel], self.stride, self.padding) + bias
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        let (c, size) = (self.channels, self.size);
        let counts = match input[..] {
            [_, channels, length] if channels == c => {
                windows([1, length], [1, size], [1, self.stride], [0, self.padding])
            }
            _ => None,
        };
        let [_, length] = counts.ok_or_else(|| {
            format!(
                "Conv1d: shape {input}, not [samples, {c}, length] that a kernel of size {size} \
                 fits into"
            )
        })?;
        Ok([input[0], self.outputs, length].into())
    }
}
