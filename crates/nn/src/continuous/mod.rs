//! Models of continuous depth or time: their body is an ODE solve.
//!
//! States are rows, `[rows, width]`, and a batch is one system with common steps. Each model has a
//! `field`, which can be used by itself, and calls that solve it with any [`Ode`]: method,
//! tolerance and way to the gradient are the caller's choice.
//!
//! | model | equation |
//! | --- | --- |
//! | [`OdeBlock`] | `dx/dt = f(x, θ(t))` with weights that [vary](Basis) along depth |
//! | [`Augmented`] | the same with further components that begin at 0 |
//! | [`SecondOrder`] | `d²x/dt² = a(x, dx/dt)` |
//! | [`HamiltonianNet`] | `dq/dt = ∂H/∂p`, `dp/dt = -∂H/∂q` |
//! | [`LagrangianNet`] | `d/dt ∂L/∂q̇ = ∂L/∂q` |
//! | [`Flow`] | a density carried along an ODE |
//! | [`LatentOde`] | an irregular series as observations of a hidden ODE |
//! | [`NeuralCde`] | `dz = F(z) dX` along a [path](PathKind) through data |
//! | [`Universal`] | known terms plus a network |
//! | [`Grid1d`] | derivatives in space, for partial differential equations |
//!
//! What is integrated beside a state, such as a regulariser or the trace of a flow, is an
//! [`Integrand`]; see [`solve_with_integrals`].
//!
//! [`Ode`]: costate_odeint::Ode

mod augmented;
mod block;
mod cde;
mod flow;
mod grid;
mod hamiltonian;
mod integral;
mod lagrangian;
mod latent;
mod path;
mod regulariser;
mod second_order;
mod universal;
mod weights;

pub use augmented::Augmented;
pub use block::OdeBlock;
pub use cde::NeuralCde;
pub use flow::{Flow, normal_log_density};
pub use grid::Grid1d;
pub use hamiltonian::HamiltonianNet;
pub use integral::{Along, Integrand, integrand, solve_with_integrals};
pub use lagrangian::LagrangianNet;
pub use latent::{Elbo, LatentOde};
pub use path::{Path, PathKind};
pub use regulariser::{JacobianNorm, KineticEnergy, TaylorNorm, Trace, steer};
pub use second_order::SecondOrder;
pub use universal::Universal;
pub use weights::{Basis, TimeLinear};

use costate_odeint::Real;
use costate_tape::Var;

/// Rows of a state `[rows, width]`.
#[track_caller]
pub(crate) fn rows<T: Real>(what: &str, x: Var<'_, T>, width: usize) -> usize {
    let shape = x.shape();
    assert!(
        shape.ndim() == 2 && shape[1] == width,
        "{what}: a state of shape {shape}, not [rows, {width}]"
    );
    shape[0]
}
