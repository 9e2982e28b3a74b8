//! Ralston's method of order 2.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// Ralston's method, of order 2 with the smallest error bound, for fixed steps. A. Ralston, Math.
/// Comput. 16 (1962) 431. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ralston;

const B: [f64; 3] = [0.25, 0.75, 0.0];
static WEIGHTS: [[f64; 3]; 3] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "Ralston",
    order: 2,
    embedded_order: None,
    a: &[&[], &[2.0 / 3.0], &[B[0], B[1]]],
    b: &B,
    error: None,
    error_low: None,
    c: &[0.0, 2.0 / 3.0, 1.0],
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
