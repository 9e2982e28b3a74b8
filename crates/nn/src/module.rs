//! Layers as values, and layers made of layers.

use std::fmt;

use costate_odeint::Real;
use costate_tape::{Shape, Var};

use crate::error::Result;
use crate::layer::{
    Activation, BatchNorm, Conv1d, Conv2d, GroupNorm, LayerNorm, Linear, Mlp, NearIdentityNet,
    Pool1d, Pool2d, ResidualNet,
};
use crate::params::Bound;

/// A layer with one input and one output. Closures `|p, x| …` are modules: see
/// [`Sequential::then_fn`].
///
/// Layers have a `forward` of their own, which is what most code calls; the trait is for those
/// that hold other layers whatever they are.
pub trait Module<T: Real> {
    /// Records the layer.
    ///
    /// # Errors
    /// Those of what it records, such as an ODE solve.
    ///
    /// # Panics
    /// If the input does not have the shape that the layer takes.
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>>;

    /// The shape of its output for an input of the given shape, without recording; `None` where
    /// only recording tells, as for a closure.
    ///
    /// # Errors
    /// What is wrong with the shape, if the layer does not take it.
    fn output_shape(&self, _input: &Shape) -> std::result::Result<Option<Shape>, String> {
        Ok(None)
    }
}

impl<T: Real, F> Module<T> for F
where
    F: for<'t> Fn(&Bound<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        self(p, x)
    }
}

/// Makes layers with parameters whose `forward` cannot fail modules.
macro_rules! modules {
    ($($layer:ty),* $(,)?) => {
        $(impl<T: Real> Module<T> for $layer {
            #[track_caller]
            fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
                Ok(self.forward(p, x))
            }

            fn output_shape(&self, input: &Shape) -> std::result::Result<Option<Shape>, String> {
                self.output_shape(input).map(Some)
            }
        })*
    };
}

modules!(
    Linear,
    Mlp,
    Conv1d,
    Conv2d,
    NearIdentityNet,
    ResidualNet,
    LayerNorm,
    GroupNorm,
    BatchNorm
);

impl<T: Real> Module<T> for Pool1d {
    #[track_caller]
    fn apply<'t>(&self, _p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        Ok(self.forward(x))
    }

    fn output_shape(&self, input: &Shape) -> std::result::Result<Option<Shape>, String> {
        self.output_shape(input).map(Some)
    }
}

impl<T: Real> Module<T> for Pool2d {
    #[track_caller]
    fn apply<'t>(&self, _p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        Ok(self.forward(x))
    }

    fn output_shape(&self, input: &Shape) -> std::result::Result<Option<Shape>, String> {
        self.output_shape(input).map(Some)
    }
}

impl<T: Real> Module<T> for Activation {
    #[track_caller]
    fn apply<'t>(&self, _p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        Ok(Activation::apply(*self, x))
    }

    fn output_shape(&self, input: &Shape) -> std::result::Result<Option<Shape>, String> {
        Ok(Some(input.clone()))
    }
}

/// Modules one after another.
///
/// ```
/// use costate_nn::{Activation, Linear, Params, Residual, Sequential};
/// use costate_tape::Tape;
///
/// let mut params = Params::<f32>::seeded(0);
/// let net = Sequential::new()
///     .then(Linear::new(&mut params, "in", 3, 8))
///     .then(Residual(Sequential::new()
///         .then(Activation::Tanh)
///         .then(Linear::new(&mut params, "hidden", 8, 8))))
///     .then(Linear::new(&mut params, "out", 8, 2));
/// let tape = Tape::new();
/// let y = net.forward(&params.bind(&tape), tape.leaf(&[0.0; 12], [4, 3]))?;
/// assert_eq!(*y.shape(), [4, 2]);
/// # Ok::<(), costate_nn::Error>(())
/// ```
pub struct Sequential<T: Real> {
    modules: Vec<Box<dyn Module<T>>>,
}

impl<T: Real> fmt::Debug for Sequential<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequential").field("modules", &self.modules.len()).finish()
    }
}

impl<T: Real> Default for Sequential<T> {
    fn default() -> Sequential<T> {
        Sequential::new()
    }
}

impl<T: Real> Sequential<T> {
    /// The identity.
    pub fn new() -> Sequential<T> {
        Sequential { modules: Vec::new() }
    }

    /// With a further module at the end.
    pub fn then(mut self, module: impl Module<T> + 'static) -> Sequential<T> {
        self.modules.push(Box::new(module));
        self
    }

    /// With a closure at the end, for what is no module by itself.
    ///
    /// ```
    /// use costate_nn::{Activation, Basis, Linear, OdeBlock, Params, Sequential};
    /// use costate_odeint::{Ode, Tsit5};
    /// use costate_tape::Tape;
    ///
    /// let mut params = Params::<f32>::seeded(0);
    /// let block =
    ///     OdeBlock::new(&mut params, "body", 8, &[16], Basis::Constant, Activation::Tanh);
    /// let ode = Ode::new(Tsit5).tolerance(1e-3, 1e-4);
    /// let net = Sequential::new()
    ///     .then(Linear::new(&mut params, "in", 3, 8))
    ///     .then_fn(move |p, x| block.forward(p, &ode, x))
    ///     .then(Linear::new(&mut params, "out", 8, 2));
    /// let tape = Tape::new();
    /// let y = net.forward(&params.bind(&tape), tape.leaf(&[0.0; 12], [4, 3]))?;
    /// assert_eq!(*y.shape(), [4, 2]);
    /// # Ok::<(), costate_nn::Error>(())
    /// ```
    pub fn then_fn<F>(self, f: F) -> Sequential<T>
    where
        F: for<'t> Fn(&Bound<'t, T>, Var<'t, T>) -> Result<Var<'t, T>> + 'static,
    {
        self.then(f)
    }

    /// Applies all of them.
    ///
    /// # Errors
    /// Those of the modules.
    ///
    /// # Panics
    /// If an input does not have the shape that its module takes.
    #[track_caller]
    pub fn forward<'t>(&self, p: &Bound<'t, T>, mut x: Var<'t, T>) -> Result<Var<'t, T>> {
        let mut checked = 0;
        for (i, module) in self.modules.iter().enumerate() {
            // Before it is called, since a call of a boxed module does not know who called.
            if i == checked {
                checked = match self.shapes(i, &x.shape()) {
                    Ok((next, _)) => next,
                    Err(reason) => panic!("Sequential: {reason}"),
                };
            }
            x = module.apply(p, x)?;
        }
        Ok(x)
    }

    /// Goes through the shapes from module `i` on, as far as they are known without recording:
    /// the number of the first module whose input is not known, and the last output.
    fn shapes(
        &self,
        i: usize,
        input: &Shape,
    ) -> std::result::Result<(usize, Option<Shape>), String> {
        let mut shape = input.clone();
        for (j, module) in self.modules.iter().enumerate().skip(i) {
            match module.output_shape(&shape).map_err(|e| format!("module {j}: {e}"))? {
                Some(next) => shape = next,
                None => return Ok((j + 1, None)),
            }
        }
        Ok((self.modules.len(), Some(shape)))
    }
}

impl<T: Real> Module<T> for Sequential<T> {
    #[track_caller]
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        self.forward(p, x)
    }

    fn output_shape(&self, input: &Shape) -> std::result::Result<Option<Shape>, String> {
        Ok(self.shapes(0, input)?.1)
    }
}

/// `x + m(x)` of a module that keeps the shape.
#[derive(Clone, Copy, Debug)]
pub struct Residual<M>(
    /// The module.
    pub M,
);

impl<M> Residual<M> {
    /// Applies it.
    ///
    /// # Errors
    /// Those of the module.
    ///
    /// # Panics
    /// If the input does not have the shape that the module takes, or the module does not keep it.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>>
    where
        M: Module<T>,
    {
        let shape = x.shape();
        if let Err(reason) = self.output_shape(&shape) {
            panic!("Residual: {reason}");
        }
        let y = self.0.apply(p, x)?;
        let found = y.shape();
        assert!(found == shape, "Residual: {found} from the module for an input of {shape}");
        Ok(x + y)
    }
}

impl<T: Real, M: Module<T>> Module<T> for Residual<M> {
    #[track_caller]
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        self.forward(p, x)
    }

    fn output_shape(&self, input: &Shape) -> std::result::Result<Option<Shape>, String> {
        match self.0.output_shape(input)? {
            Some(found) if found != *input => {
                Err(format!("Residual: {found} from the module for an input of {input}"))
            }
            known => Ok(known),
        }
    }
}

/// The shape of an output `[…, outputs]` for an input `[…, inputs]`, or what is wrong with it.
pub(crate) fn last_axis(
    name: &str,
    [inputs, outputs]: [usize; 2],
    shape: &Shape,
) -> std::result::Result<Shape, String> {
    match shape.split_last() {
        Some((&last, front)) if last == inputs => Ok([front, &[outputs]].concat().into()),
        _ => Err(format!("{name}: shape {shape}, not […, {inputs}]")),
    }
}

/// The shape of an input `[samples, channels, …]`, or what is wrong with it.
pub(crate) fn second_axis(
    name: &str,
    channels: usize,
    shape: &Shape,
) -> std::result::Result<Shape, String> {
    match shape.get(1) {
        Some(&found) if found == channels => Ok(shape.clone()),
        _ => Err(format!("{name}: shape {shape}, not [samples, {channels}, …]")),
    }
}
