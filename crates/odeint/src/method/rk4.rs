//! The classical Runge–Kutta method.

use crate::tableau::{Interpolant, Tableau};

/// The classical Runge–Kutta method, of order 4, for fixed steps. W. Kutta, Z. Math. Phys. 46
/// (1901) 435. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rk4;

pub(super) static TABLEAU: Tableau = Tableau {
    name: "RK4",
    order: 4,
    embedded_order: None,
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0], &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0]],
    b: &[1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0, 0.0],
    error: None,
    c: &[0.0, 0.5, 0.5, 1.0, 1.0],
    // (3θ² - 2θ³) b_i, plus θ - 2θ² + θ³ for the slope at the start and θ³ - θ² for that at the
    // end.
    interpolant: Interpolant {
        order: 3,
        weights: &[
            &[1.0, 3.0 / 6.0 - 2.0, -2.0 / 6.0 + 1.0],
            &[0.0, 1.0, -2.0 / 3.0],
            &[0.0, 1.0, -2.0 / 3.0],
            &[0.0, 0.5, -1.0 / 3.0],
            &[0.0, -1.0, 1.0],
        ],
    },
};
