//! The classical Runge–Kutta method.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// The classical Runge–Kutta method, of order 4, for fixed steps. W. Kutta, Z. Math. Phys. 46
/// (1901) 435. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rk4;

const B: [f64; 5] = [1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0, 0.0];
static WEIGHTS: [[f64; 3]; 5] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "RK4",
    order: 4,
    embedded_order: None,
    a: &[&[], &[0.5], &[0.0, 0.5], &[0.0, 0.0, 1.0], &[B[0], B[1], B[2], B[3]]],
    b: &B,
    error: None,
    error_low: None,
    c: &[0.0, 0.5, 0.5, 1.0, 1.0],
    continues: &[],
    parts: &[],
    coupled: false,
    interpolant: Interpolant {
        order: 3,
        a: &[],
        c: &[],
        weights: &[&WEIGHTS[0], &WEIGHTS[1], &WEIGHTS[2], &WEIGHTS[3], &WEIGHTS[4]],
    },
};
