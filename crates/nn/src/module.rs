//! Layers as values, and layers made of layers.

use std::fmt;

use costate_ops::Real;
use costate_tape::Var;

use crate::error::Result;
use crate::layer::{
    Activation, BatchNorm, GroupNorm, LayerNorm, Linear, Mlp, NearIdentityNet, ResidualNet,
};
use crate::params::Bound;

/// A layer with one input and one output. Closures `|p, x| …` are modules.
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
}

impl<T: Real, F> Module<T> for F
where
    F: for<'t> Fn(&Bound<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        self(p, x)
    }
}

/// Makes layers whose `forward` cannot fail modules.
macro_rules! modules {
    ($($layer:ty),* $(,)?) => {
        $(impl<T: Real> Module<T> for $layer {
            #[track_caller]
            fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
                Ok(self.forward(p, x))
            }
        })*
    };
}

modules!(Linear, Mlp, NearIdentityNet, ResidualNet, LayerNorm, GroupNorm, BatchNorm);

impl<T: Real> Module<T> for Activation {
    #[track_caller]
    fn apply<'t>(&self, _p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        Ok(Activation::apply(*self, x))
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

    /// Applies all of them.
    ///
    /// # Errors
    /// Those of the modules.
    ///
    /// # Panics
    /// If an input does not have the shape that its module takes.
    #[track_caller]
    pub fn forward<'t>(&self, p: &Bound<'t, T>, mut x: Var<'t, T>) -> Result<Var<'t, T>> {
        for module in &self.modules {
            x = module.apply(p, x)?;
        }
        Ok(x)
    }
}

impl<T: Real> Module<T> for Sequential<T> {
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        self.forward(p, x)
    }
}

/// `x + m(x)` of a module that keeps the shape.
#[derive(Clone, Copy, Debug)]
pub struct Residual<M>(
    /// The module.
    pub M,
);

impl<T: Real, M: Module<T>> Module<T> for Residual<M> {
    fn apply<'t>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let y = self.0.apply(p, x)?;
        let (found, expected) = (y.shape(), x.shape());
        assert!(found == expected, "Residual: {found} from the module for an input of {expected}");
        Ok(x + y)
    }
}
