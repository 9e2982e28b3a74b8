//! The other method of Kutta.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// The 3/8 rule, of order 4, for fixed steps: errors somewhat smaller than those of [`Rk4`](crate::Rk4).
/// W. Kutta, Z. Math. Phys. 46 (1901) 435. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreeEighths;

const B: [f64; 5] = [1.0 / 8.0, 3.0 / 8.0, 3.0 / 8.0, 1.0 / 8.0, 0.0];
static WEIGHTS: [[f64; 3]; 5] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "3/8 rule",
    order: 4,
    embedded_order: None,
    a: &[&[], &[1.0 / 3.0], &[-1.0 / 3.0, 1.0], &[1.0, -1.0, 1.0], &[B[0], B[1], B[2], B[3]]],
    b: &B,
    error: None,
    error_low: None,
    c: &[0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0, 1.0],
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
