//! The feed-forward ODE with its linear part done exactly.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use super::expm::{expm, expm_squared, squarings};
use crate::error::Result;
use crate::layer::FeedForwardOde;
use crate::params::Bound;

/// How the flows of the two parts of a step follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splitting {
    /// The linear part, then the nonlinear part: order 1.
    Lie,
    /// Half of the nonlinear part, the linear part, and again half: order 2 (G. Strang, SIAM J.
    /// Numer. Anal. 5 (1968) 506).
    Strang,
}

/// The state of a [`FeedForwardOde`] at time 1 by splitting it into `dx/dt = A x + β`, solved
/// exactly by the exponential of a matrix, and `dx/dt = φ(x)`, each component by itself
/// (arXiv 1909.03767, section 5). `[rows, width]` to the same, in `steps` equal steps.
///
/// Where the linear part is fast, as a rotation is, steps need not follow it. Weights that vary are
/// taken at the middle of a step. The nonlinear part is a step of the classical Runge–Kutta method,
/// whose error is of higher order than the splitting's.
///
/// # Panics
/// If there are no steps, or the state has another shape.
#[track_caller]
pub fn split_forward<'t, T: Real>(
    ode: &FeedForwardOde,
    p: &Bound<'t, T>,
    x: Var<'t, T>,
    steps: usize,
    splitting: Splitting,
) -> Var<'t, T> {
    assert!(steps > 0, "split_forward: no steps");
    crate::continuous::rows("split_forward", x, ode.width());
    let h = 1.0 / steps as f64;
    let mut x = x;
    let mut linear: Option<[Var<'t, T>; 2]> = None;
    for i in 0..steps {
        let [e, b] = match linear {
            // One knot: the same in each step.
            Some(known) if ode.knots() == 1 => known,
            _ => linear_flow(ode, p, (i as f64 + 0.5) * h, h, x),
        };
        linear = Some([e, b]);
        x = match splitting {
            Splitting::Lie => nonlinear(ode, x.matmul(e) + b, h),
            Splitting::Strang => nonlinear(ode, nonlinear(ode, x, h / 2.0).matmul(e) + b, h / 2.0),
        };
    }
    x
}

/// The exact flow `x → x E + b` of `dx/dt = x A + β` over a time `h`: with the row `[x, 1]` it is
/// linear, and its matrix is `exp h [[A, 0], [β, 0]]`.
#[track_caller]
fn linear_flow<'t, T: Real>(
    ode: &FeedForwardOde,
    p: &Bound<'t, T>,
    t: f64,
    h: f64,
    x: Var<'t, T>,
) -> [Var<'t, T>; 2] {
    let n = ode.width();
    let (a, beta) = ode.weights(p, x.tape().scalar(T::from_f64(t)));
    let affine = Var::concat(0, &[a, beta.reshape([1, n])]).pad(1, 0, 1);
    let e = expm(affine.scale(T::from_f64(h)));
    [e.slice_axis(0, 0..n).slice_axis(1, 0..n), e.slice_axis(0, n..n + 1).slice_axis(1, 0..n)]
}

/// A step of the classical Runge–Kutta method for `dx/dt = φ(x)`.
#[track_caller]
fn nonlinear<'t, T: Real>(ode: &FeedForwardOde, x: Var<'t, T>, h: f64) -> Var<'t, T> {
    let phi = ode.activation();
    let [half, whole, sixth] = [h / 2.0, h, h / 6.0].map(T::from_f64);
    let k1 = phi.apply(x);
    let k2 = phi.apply(x + k1.scale(half));
    let k3 = phi.apply(x + k2.scale(half));
    let k4 = phi.apply(x + k3.scale(whole));
    x + (k1 + k4 + (k2 + k3).scale(T::from_f64(2.0))).scale(sixth)
}

/// The state of a [`FeedForwardOde`] with one knot at time 1, solved in the frame that moves with
/// its linear part: with `x = y R(t)`, `R = e^{tA}`, the equation is
/// `dy/dt = (β + φ(y R)) R⁻¹`, a residual network whose weights are tied along depth
/// (arXiv 1909.03767, section 5). It is a [canonical transformation](super::transform_field), so
/// loss and gradients are the same.
///
/// # Errors
/// Those of the solve.
///
/// # Panics
/// If the weights vary, or the state has another shape.
#[track_caller]
pub fn rotated_forward<'t, T: Real>(
    feed_forward: &FeedForwardOde,
    p: &Bound<'t, T>,
    ode: &Ode,
    x: Var<'t, T>,
) -> Result<Var<'t, T>> {
    let knots = feed_forward.knots();
    assert!(
        knots == 1,
        "rotated_forward: {knots} knots; the rotation is that of weights that stay"
    );
    crate::continuous::rows("rotated_forward", x, feed_forward.width());
    let (a, beta) = feed_forward.weights(p, x.tape().scalar(T::zero()));
    // Read here, so that the field reads no number.
    let count = squarings(a);
    let field = |t: Var<'t, T>, y: Var<'t, T>| {
        let (r, back) = (expm_squared(a * t, count), expm_squared(-(a * t), count));
        (beta + feed_forward.activation().apply(y.matmul(r))).matmul(back)
    };
    let y = ode.solve(field, x, [0.0, 1.0])?.index_axis(0, 1);
    Ok(y.matmul(expm_squared(a, count)))
}
