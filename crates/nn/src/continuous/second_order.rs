//! Equations of second order.

use costate_odeint::Real;
use costate_odeint::{Ode, Times};
use costate_tape::Var;

use super::rows;
use crate::error::Result;
use crate::layer::{Activation, Mlp};
use crate::params::{Bound, Params};

/// `d²x/dt² = a(x, dx/dt)` with a network `a`, solved as a system of first order for `[x, v]`
/// (A. Norcliffe et al., arXiv 2006.07220). It has the bias of mechanics: position changes by
/// velocity alone.
#[derive(Clone, Debug)]
pub struct SecondOrder {
    acceleration: Mlp,
    width: usize,
}

impl SecondOrder {
    /// For positions of the given width; adds the network `name`, whose hidden layers have the
    /// given widths.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        hidden: &[usize],
        activation: Activation,
    ) -> SecondOrder {
        let widths = [&[2 * width], hidden, &[width]].concat();
        SecondOrder { acceleration: Mlp::new(params, name, &widths, activation), width }
    }

    /// The field of `z = [x, v]`, `[rows, 2 width]`.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn field<'t, T: Real>(&self, p: &Bound<'t, T>, z: Var<'t, T>) -> Var<'t, T> {
        let n = self.width;
        rows("SecondOrder", z, 2 * n);
        Var::concat(1, &[z.slice_axis(1, n..2 * n), self.acceleration.forward(p, z)])
    }

    /// Positions and velocities `[x, v]` at the given times, `[times, rows, 2 width]`, from those
    /// at the first.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn forward<'a, 't, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        z: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        rows("SecondOrder", z, 2 * self.width);
        Ok(ode.solve(|_, z| self.field(p, z), z, ts)?)
    }
}
