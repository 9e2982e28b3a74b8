//! How much a gradient can shrink or grow along depth.

use crate::layer::Activation;

/// Bounds of the singular values of `∂x(T)/∂x(0)` for `dx/dt = A(t) x + β(t) + φ(x)` with
/// antisymmetric `A`: `[e^{aT}, e^{bT}]`, where `φ'` lies between `a` and `b` (arXiv 1909.03767,
/// section 5).
///
/// A tangent `δ` obeys `dδ/dt = A δ + φ'(x) δ`, and the rotation `A` does not change its length, so
/// `a |δ|² ≤ ½ d|δ|²/dt ≤ b |δ|²`. The gradient of a loss, which is carried by the transpose, has
/// the same bounds: for `tanh` and `T = 1` it neither vanishes nor grows by more than `e`, whatever
/// the depth of the network that approximates the equation, and however large the weights are.
///
/// ```
/// use costate_nn::{Activation, mechanics::jacobian_bounds};
///
/// assert_eq!(jacobian_bounds(Activation::Tanh, 1.0), [1.0, 1f64.exp()]);
/// ```
pub fn jacobian_bounds(phi: Activation, time: f64) -> [f64; 2] {
    phi.slopes().map(|slope| (slope * time).exp())
}
