//! Heun's method, the trapezoidal rule made explicit.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// Heun's method, of order 2 with Euler's embedded, so that it can choose its steps. K. Heun, Z. Math. Phys.
/// 45 (1900) 23. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heun;

const B: [f64; 3] = [0.5, 0.5, 0.0];
static WEIGHTS: [[f64; 3]; 3] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "Heun",
    order: 2,
    embedded_order: Some(1),
    a: &[&[], &[1.0], &[B[0], B[1]]],
    b: &B,
    error: Some(&[-0.5, 0.5, 0.0]),
    error_low: None,
    c: &[0.0, 1.0, 1.0],
    continues: &[],
    parts: &[],
    coupled: false,
    interpolant: Interpolant {
        order: 2,
        a: &[],
        c: &[],
        weights: &[&WEIGHTS[0], &WEIGHTS[1], &WEIGHTS[2]],
    },
};
