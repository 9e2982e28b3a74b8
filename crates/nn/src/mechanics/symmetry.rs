//! Symmetries, what they conserve, and the Poisson bracket.

use costate_odeint::Real;
use costate_tape::{Result, Var};

/// `[f, ξ] = (∂ξ/∂x) f - (∂f/∂x) ξ` of two fields at `x`. Where it is 0 everywhere, the flow of `ξ`
/// takes solutions of `dx/dt = f(x)` to solutions: `ξ` generates a symmetry of `f`.
///
/// # Errors
/// None: the type is that of all derivatives.
///
/// # Panics
/// If a field returns another shape than that of `x`.
#[track_caller]
pub fn lie_bracket<'t, T: Real>(
    f: impl Fn(Var<'t, T>) -> Var<'t, T>,
    xi: impl Fn(Var<'t, T>) -> Var<'t, T>,
    x: Var<'t, T>,
) -> Result<Var<'t, T>> {
    let x = x.fresh();
    let (a, b, tape) = (f(x), xi(x), x.tape());
    Ok(tape.jvp(&[b], &[x], &[a])?[0] - tape.jvp(&[a], &[x], &[b])?[0])
}

/// `p · ξ(x)` of each row, `[rows]`: along a network whose field has the symmetry that `ξ`
/// generates it is the same at all depths, whatever the loss (arXiv 1909.03767, section 4).
///
/// # Panics
/// If the field or the momentum has another shape than the state, `[rows, width]`.
#[track_caller]
pub fn conserved<'t, T: Real>(
    xi: impl Fn(Var<'t, T>) -> Var<'t, T>,
    x: Var<'t, T>,
    p: Var<'t, T>,
) -> Var<'t, T> {
    let (shape, found, generator) = (x.shape(), p.shape(), xi(x));
    let kept = generator.shape();
    assert!(
        shape.ndim() == 2 && shape == found && shape == kept,
        "conserved: a state of shape {shape}, a momentum of {found}, a generator of {kept}"
    );
    (p * generator).sum_axis(1)
}

/// `{F, G} = ∂F/∂x · ∂G/∂p - ∂F/∂p · ∂G/∂x` of each row, `[rows]`, for functions of state and
/// momentum, `[rows, width]` each, with a number for each row. Along Hamilton's equations
/// `dF/dt = {F, H}`.
///
/// # Errors
/// None: the type is that of all derivatives.
///
/// # Panics
/// If the shapes do not fit.
#[track_caller]
pub fn poisson_bracket<'t, T: Real>(
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
    g: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
    x: Var<'t, T>,
    p: Var<'t, T>,
) -> Result<Var<'t, T>> {
    let (shape, found) = (x.shape(), p.shape());
    assert!(
        shape.ndim() == 2 && shape == found,
        "poisson_bracket: a state of shape {shape} and a momentum of {found}"
    );
    let (x, p) = (x.fresh(), p.fresh());
    let f = f(x, p).sum().grad(&[x, p])?;
    let g = g(x, p).sum().grad(&[x, p])?;
    Ok((f[0] * g[1] - f[1] * g[0]).sum_axis(1))
}
