//! The continuous normalising flow.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use super::block::OdeBlock;
use super::integral::{Integrand, solve_with_integrals};
use super::regulariser::Trace;
use super::rows;
use super::weights::Basis;
use crate::error::Result;
use crate::layer::Activation;
use crate::params::{Bound, Params};

/// A density that an ODE makes of a normal one: `z` at time 0 is standard normal, and `x` at time 1
/// is what is modelled (R. T. Q. Chen et al., arXiv 1806.07366, section 4; W. Grathwohl et al.,
/// arXiv 1810.01367):
///
/// ```text
/// ln p(x) = ln N(z) - ∫ tr ∂f/∂x dt
/// ```
///
/// ```
/// use costate_nn::{Activation, Basis, Flow, Params, Rng, Trace};
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// let mut params = Params::<f64>::seeded(0);
/// let flow = Flow::new(&mut params, "flow", 2, &[16], Basis::Linear(2), Activation::Tanh);
/// let ode = Ode::new(Tsit5);
/// let tape = Tape::new();
/// let p = params.bind(&tape);
/// let z = tape.constant(&Rng::seeded(1).normals([5, 2]));
/// let x = flow.sample(&p, &ode, z)?;
/// let (log_density, _) = flow.log_density(&p, &ode, x, &Trace::Exact, &[])?;
/// assert_eq!(*log_density.shape(), [5]);
/// # Ok::<(), costate_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Flow {
    /// The field.
    pub block: OdeBlock,
}

impl Flow {
    /// For rows of the given width; else as [`OdeBlock::new`]. The activation should be smooth, and
    /// the basis continuous.
    ///
    /// # Panics
    /// As [`OdeBlock::new`].
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        hidden: &[usize],
        basis: Basis,
        activation: Activation,
    ) -> Flow {
        Flow { block: OdeBlock::new(params, name, width, hidden, basis, activation) }
    }

    /// `ln p(x)` of each row, `[rows, width]` to `[rows]`, and the integrals of further integrands,
    /// such as regularisers, along the path from `x` back to `z`, with the sign of time running
    /// forward.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If a shape does not fit.
    #[track_caller]
    pub fn log_density<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        x: Var<'t, T>,
        trace: &Trace<'t, T>,
        integrands: &[&dyn Integrand<'t, T>],
    ) -> Result<(Var<'t, T>, Vec<Var<'t, T>>)> {
        rows("Flow", x, self.block.width());
        let all: Vec<&dyn Integrand<'t, T>> = [trace as &dyn Integrand<'t, T>]
            .into_iter()
            .chain(integrands.iter().copied())
            .collect();
        let field = |t, x| Ok(self.block.field(p, t, x));
        let (xs, integrals) = solve_with_integrals(ode, field, x, [1.0, 0.0], &all)?;
        // Time runs backward, so the integral of the trace has the sign that it needs.
        let log_density = normal_log_density(xs.index_axis(0, 1)) + integrals[0];
        Ok((log_density, integrals[1..].iter().map(|q| -*q).collect()))
    }

    /// `x` from `z`: of standard normal rows it makes samples, `[rows, width]` to the same.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If `z` has another width.
    #[track_caller]
    pub fn sample<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        z: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        rows("Flow", z, self.block.width());
        let xs = ode.solve(|t, x| self.block.field(p, t, x), z, [0.0, 1.0])?;
        Ok(xs.index_axis(0, 1))
    }
}

/// `ln N(z)` of each row under the standard normal distribution, `[rows, width]` to `[rows]`:
/// `-(|z|² + width · ln 2π)/2`.
///
/// # Panics
/// If `z` has not two axes.
#[track_caller]
pub fn normal_log_density<T: Real>(z: Var<'_, T>) -> Var<'_, T> {
    let shape = z.shape();
    assert!(shape.ndim() == 2, "normal_log_density: shape {shape}, not [rows, width]");
    let constant = -0.5 * shape[1] as f64 * std::f64::consts::TAU.ln();
    z.square().sum_axis(1).affine(T::from_f64(-0.5), T::from_f64(constant))
}
