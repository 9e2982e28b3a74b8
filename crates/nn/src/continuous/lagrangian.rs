//! The Lagrangian network.

use costate_odeint::Real;
use costate_odeint::{Ode, Times};
use costate_tape::Var;

use super::rows;
use crate::error::Result;
use crate::layer::{Activation, Mlp};
use crate::params::{Bound, Params};

/// The equations of Lagrange, `d/dt ∂L/∂q̇ = ∂L/∂q`, with `L(q, q̇) = |q̇|²/2 + N(q, q̇)` and a network
/// `N` (M. Cranmer et al., arXiv 2003.04630), solved for the acceleration:
///
/// ```text
/// q̈ = M⁻¹ (∂L/∂q - C q̇),   M = ∂²L/∂q̇²,   C = ∂²L/∂q̇∂q
/// ```
///
/// It learns from positions and velocities alone, where a [Hamiltonian
/// network](super::HamiltonianNet) needs momenta. `|q̇|²/2` keeps `M` away from singular at first.
#[derive(Clone, Debug)]
pub struct LagrangianNet {
    network: Mlp,
    width: usize,
}

impl LagrangianNet {
    /// For `width` coordinates; adds the network `name`, whose hidden layers have the given widths.
    /// The activation must be smooth.
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
    ) -> LagrangianNet {
        let widths = [&[2 * width], hidden, &[1]].concat();
        LagrangianNet { network: Mlp::new(params, name, &widths, activation), width }
    }

    /// `L` of each row of coordinates and velocities, `[rows, width]` each: `[rows]`.
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn lagrangian<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        q: Var<'t, T>,
        v: Var<'t, T>,
    ) -> Var<'t, T> {
        let n = rows("LagrangianNet", q, self.width);
        rows("LagrangianNet", v, self.width);
        let kinetic = v.square().sum_axis(1).scale(T::from_f64(0.5));
        kinetic + self.network.forward(p, Var::concat(1, &[q, v])).reshape([n])
    }

    /// `∂L/∂q̇ · q̇ - L`, which is conserved: `[rows, 2 width]` to `[rows]`.
    ///
    /// # Errors
    /// None: the type is that of all gradients.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn energy<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        z: Var<'t, T>,
    ) -> costate_tape::Result<Var<'t, T>> {
        let (q, v) = self.parts(z);
        let lagrangian = self.lagrangian(p, q, v);
        let momentum = lagrangian.sum().grad(&[v])?[0];
        Ok((momentum * v).sum_axis(1) - lagrangian)
    }

    /// The field `[q̇, q̈]` of `z = [q, q̇]`, `[rows, 2 width]`.
    ///
    /// # Errors
    /// None: the type is that of all derivatives. Where `M` is singular, numbers are not finite,
    /// and a solve fails.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn field<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        z: Var<'t, T>,
    ) -> costate_tape::Result<Var<'t, T>> {
        let (q, v) = self.parts(z);
        let (tape, n) = (z.tape(), q.shape()[0]);
        let gradients = self.lagrangian(p, q, v).sum().grad(&[q, v])?;
        let mixed = tape.jvp(&[gradients[1]], &[q], &[v])?[0];
        let mut columns = Vec::with_capacity(self.width);
        for i in 0..self.width {
            // The same unit vector in each row: rows do not depend on each other.
            let unit = tape.eye(self.width).slice_axis(0, i..i + 1).broadcast_to(q.shape());
            columns.push(tape.jvp(&[gradients[1]], &[v], &[unit])?[0]);
        }
        let mass = Var::stack(2, &columns);
        let force = (gradients[0] - mixed).reshape([n, self.width, 1]);
        let acceleration = mass.solve(force).reshape([n, self.width]);
        Ok(Var::concat(1, &[v, acceleration]))
    }

    #[track_caller]
    fn parts<'t, T: Real>(&self, z: Var<'t, T>) -> (Var<'t, T>, Var<'t, T>) {
        let n = self.width;
        rows("LagrangianNet", z, 2 * n);
        (z.slice_axis(1, 0..n).fresh(), z.slice_axis(1, n..2 * n).fresh())
    }

    /// States `[q, q̇]` at the given times, `[times, rows, 2 width]`, from those at the first.
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
        rows("LagrangianNet", z, 2 * self.width);
        Ok(ode.try_solve(|_, z| self.field(p, z), z, ts)?)
    }
}
