//! A strong-stability-preserving method.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// The strong-stability-preserving method of order 3, for fixed steps: a convex combination of Euler
/// steps. C.-W. Shu, S. Osher, J. Comput. Phys. 77 (1988) 439. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ssprk3;

const B: [f64; 4] = [1.0 / 6.0, 1.0 / 6.0, 2.0 / 3.0, 0.0];
static WEIGHTS: [[f64; 3]; 4] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "SSPRK3",
    order: 3,
    embedded_order: None,
    a: &[&[], &[1.0], &[0.25, 0.25], &[B[0], B[1], B[2]]],
    b: &B,
    error: None,
    error_low: None,
    c: &[0.0, 1.0, 0.5, 1.0],
    continues: &[],
    parts: &[],
    coupled: false,
    interpolant: Interpolant {
        order: 3,
        a: &[],
        c: &[],
        weights: &[&WEIGHTS[0], &WEIGHTS[1], &WEIGHTS[2], &WEIGHTS[3]],
    },
};
