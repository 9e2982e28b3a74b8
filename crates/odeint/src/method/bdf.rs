//! The backward differentiation formulas of orders 1 to 5.

use crate::tableau::{Interpolant, Tableau};

/// A multistep method of variable order, 1 to 5, and variable step for stiff problems: the numerical
/// differentiation formulas, which are backward differentiation formulas with smaller errors
/// (L. F. Shampine, M. W. Reichelt, "The MATLAB ODE suite", SIAM J. Sci. Comput. 18 (1997) 1), in
/// backward differences of equal steps. A step takes one or two evaluations, and Jacobians and
/// factorisations serve many steps: the choice for large problems, where these are what costs.
///
/// Orders 1 and 2 are L-stable; from 3 on the method is not stable for fast oscillations with little
/// damping. Between steps there is the polynomial through the last states.
///
/// It remembers earlier steps, so that a step does not follow from its start alone: it chooses its
/// steps itself. Its gradient is exact all the same: what goes back through a step is the cotangent
/// of the table of differences. In a solve on a tape each step has a Jacobian of its own and is
/// solved to rounding, but for [`Gradient::Interpolated`](crate::Gradient::Interpolated).
#[derive(Clone, Copy, Debug, Default)]
pub struct Bdf;

/// In the places of the slopes there are the backward differences of the new state, `∇^j y / h`:
///
/// ```text
/// y(θ) = y_1 + Σ_j ∇^j y (θ - 1) θ (θ + 1) … (θ + j - 2) / j!
/// ```
pub(super) static TABLEAU: Tableau = Tableau {
    name: "Bdf",
    order: 5,
    embedded_order: Some(4),
    // No Runge–Kutta method.
    a: &[],
    b: &[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0],
    // It is a multiple of the next difference, which is not among these.
    error: Some(&[0.0; 7]),
    error_low: None,
    continues: &[],
    parts: &[],
    coupled: false,
    c: &[0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    interpolant: Interpolant {
        order: 5,
        a: &[],
        c: &[],
        weights: &[
            &[],
            &[1.0],
            &[-1.0 / 2.0, 1.0 / 2.0],
            &[-1.0 / 6.0, 0.0, 1.0 / 6.0],
            &[-2.0 / 24.0, -1.0 / 24.0, 2.0 / 24.0, 1.0 / 24.0],
            &[-6.0 / 120.0, -5.0 / 120.0, 5.0 / 120.0, 5.0 / 120.0, 1.0 / 120.0],
            &[],
        ],
    },
};
