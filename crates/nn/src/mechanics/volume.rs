//! How a flow changes volume.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::{Shape, Var};

use crate::error::Result;

/// `ln |det ∂z(t1)/∂z(t0)|` of each row, `[rows]`: the logarithm of how much the flow of
/// `dz/dt = f(t, z)` stretches volume. It is the integral of the divergence, and 0 for
/// [Hamilton's equations](super::hamiltonian_field) (Liouville's theorem).
///
/// From the Jacobian by one backward pass for each component, so it needs no divergence.
///
/// # Errors
/// Those of the solve and of `f`.
///
/// # Panics
/// If the state is not `[rows, width]`, or `f` returns another shape.
#[track_caller]
pub fn log_volume<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
    z: Var<'t, T>,
    [t0, t1]: [f64; 2],
) -> Result<Var<'t, T>> {
    let shape = z.shape();
    assert!(shape.ndim() == 2, "log_volume: a state of shape {shape}, not [rows, width]");
    let width = shape[1];
    let (tape, z) = (z.tape(), z.fresh());
    let end = ode.try_solve(f, z, [t0, t1])?.index_axis(0, 1);
    let mut jacobian = Vec::with_capacity(width);
    for i in 0..width {
        // The same component in each row: rows do not depend on each other.
        let unit = tape.eye(width).slice_axis(0, i..i + 1).broadcast_to(Shape::clone(&shape));
        jacobian.push(tape.vjp(&[end], &[unit], &[z])?[0]);
    }
    Ok(Var::stack(1, &jacobian).logdet())
}
