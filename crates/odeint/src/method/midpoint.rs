//! The explicit midpoint method.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// The explicit midpoint method, of order 2, for fixed steps. C. Runge, Math. Ann. 46 (1895) 167. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Midpoint;

const B: [f64; 3] = [0.0, 1.0, 0.0];
static WEIGHTS: [[f64; 3]; 3] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "Midpoint",
    order: 2,
    embedded_order: None,
    a: &[&[], &[0.5], &[B[0], B[1]]],
    b: &B,
    error: None,
    error_low: None,
    c: &[0.0, 0.5, 1.0],
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
