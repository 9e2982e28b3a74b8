//! Changes of the hidden variables: canonical transformations.

use costate_odeint::Real;
use costate_tape::{Result, Var};

/// The field of `y = g(t, x)`: `dy/dt = (∂g/∂x) f + ∂g/∂t` at `x = g⁻¹(t, y)` (arXiv 1909.03767,
/// section 4). A network in the new variables has the same loss and the same gradients of its
/// weights.
///
/// # Errors
/// Those of `f`.
///
/// # Panics
/// If shapes do not fit: `g`, its inverse and `f` keep that of the state.
#[track_caller]
pub fn transform_field<'t, T: Real>(
    g: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
    inverse: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    t: Var<'t, T>,
    y: Var<'t, T>,
) -> Result<Var<'t, T>> {
    // Names of their own: `x` depends on `t` too, which is not part of `∂g/∂t`.
    let (t, x) = (t.fresh(), inverse(t, y).fresh());
    let slope = f(t, x)?;
    Ok(y.tape().jvp(&[g(t, x)], &[t, x], &[t.ones_like(), slope])?[0])
}

/// The momentum conjugate to `y = g(t, x)`: `(∂g/∂x)⁻ᵀ p`, computed as `(∂x/∂y)ᵀ p` with
/// `x = g⁻¹(t, y)`, so that no matrix is inverted (arXiv 1909.03767, section 4).
///
/// # Errors
/// None: the type is that of all derivatives.
///
/// # Panics
/// If the momentum has another shape than `g⁻¹(t, y)`.
#[track_caller]
pub fn transform_momentum<'t, T: Real>(
    inverse: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
    t: Var<'t, T>,
    y: Var<'t, T>,
    p: Var<'t, T>,
) -> Result<Var<'t, T>> {
    let y = y.fresh();
    Ok(y.tape().vjp(&[inverse(t, y)], &[p], &[y])?[0])
}
