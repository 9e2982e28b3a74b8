//! The ODE block: a network of continuous depth.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use super::rows;
use super::weights::{Basis, TimeLinear};
use crate::error::Result;
use crate::init::Init;
use crate::layer::Activation;
use crate::params::{Bound, Params};

/// `dx/dt = f(x, θ(t))` for `t` from 0 to 1, where `f` is a multi-layer perceptron whose weights
/// [vary](Basis) along depth (R. T. Q. Chen et al., arXiv 1806.07366; weights as functions of depth:
/// S. Massaroli et al., arXiv 2002.08071). It takes the place of a residual network whose layers
/// keep the width.
///
/// ```
/// use costate_nn::{Activation, Adam, Basis, OdeBlock, Params};
/// use costate_odeint::{Ode, Tsit5};
/// use ndarray::arr2;
///
/// let mut params = Params::<f64>::seeded(0);
/// let block = OdeBlock::new(&mut params, "block", 2, &[8], Basis::Linear(3), Activation::Tanh);
/// let ode = Ode::new(Tsit5).tolerance(1e-4, 1e-6);
/// // A rotation by a quarter turn.
/// let x = arr2(&[[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]);
/// let y = arr2(&[[0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]);
/// let mut adam = Adam::new(0.05);
/// let mut loss = f64::INFINITY;
/// for _ in 0..100 {
///     loss = params.step(&mut adam, |tape, p| {
///         Ok((block.forward(p, &ode, tape.constant(&x))? - &y).square().mean())
///     })?;
/// }
/// assert!(loss < 1e-3);
/// # Ok::<(), costate_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct OdeBlock {
    layers: Vec<TimeLinear>,
    activation: Activation,
    basis: Basis,
    width: usize,
}

impl OdeBlock {
    /// A block of the given width whose field has hidden layers of the given widths. Adds
    /// `name.i.weight` and `name.i.bias` for each layer of the field; the last one begins small, so
    /// that the block begins near the identity.
    ///
    /// # Panics
    /// If the basis has no pieces, or fewer than two knots, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        hidden: &[usize],
        basis: Basis,
        activation: Activation,
    ) -> OdeBlock {
        let widths = || [width].into_iter().chain(hidden.iter().copied()).chain([width]);
        let mut layers = Vec::new();
        for (i, (inputs, outputs)) in widths().zip(widths().skip(1)).enumerate() {
            let gain = if i == hidden.len() { 0.3 } else { 1.0 };
            let init = Init::Uniform(gain * (3.0 / inputs.max(1) as f64).sqrt());
            let name = format!("{name}.{i}");
            layers.push(TimeLinear::new(params, &name, inputs, outputs, basis, init));
        }
        OdeBlock { layers, activation, basis, width }
    }

    /// The width of its states.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The vector field at time `t`, 0-d, and states `[rows, width]`.
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn field<'t, T: Real>(&self, p: &Bound<'t, T>, t: Var<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        rows("OdeBlock", x, self.width);
        let mut x = x;
        for (i, layer) in self.layers.iter().enumerate() {
            x = if i == 0 { x } else { self.activation.apply(x) };
            x = layer.forward(p, t, x);
        }
        x
    }

    /// The states at time 1, from those at time 0: `[rows, width]` to the same.
    ///
    /// With weights that are constant on pieces, each piece is a solve of its own: steps do not
    /// cross the jumps.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        x: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        rows("OdeBlock", x, self.width);
        let Basis::Piecewise(n) = self.basis else {
            let xs = ode.solve(|t, x| self.field(p, t, x), x, [0.0, 1.0])?;
            return Ok(xs.index_axis(0, 1));
        };
        let mut x = x;
        for j in 0..n {
            // Any time inside a piece has its weights; the end of a step may lie in the next one.
            let middle = x.tape().scalar(T::from_f64((j as f64 + 0.5) / n as f64));
            let ts = [j as f64 / n as f64, (j + 1) as f64 / n as f64];
            x = ode.solve(|_, x| self.field(p, middle, x), x, ts)?.index_axis(0, 1);
        }
        Ok(x)
    }
}
