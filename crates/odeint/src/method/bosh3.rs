//! The method of Bogacki and Shampine, of order 3 with an embedded one of order 2.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// The method of Bogacki and Shampine, 3(2), first same as last: for loose tolerances. P. Bogacki,
/// L. F. Shampine, Appl. Math. Lett. 2 (1989) 321. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bosh3;

const B: [f64; 4] = [2.0 / 9.0, 1.0 / 3.0, 4.0 / 9.0, 0.0];
static WEIGHTS: [[f64; 3]; 4] = hermite(B);

pub(super) static TABLEAU: Tableau = Tableau {
    name: "Bosh3",
    order: 3,
    embedded_order: Some(2),
    a: &[&[], &[0.5], &[0.0, 0.75], &[B[0], B[1], B[2]]],
    b: &B,
    error: Some(&[-5.0 / 72.0, 1.0 / 12.0, 1.0 / 9.0, -1.0 / 8.0]),
    error_low: None,
    c: &[0.0, 0.5, 0.75, 1.0],
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
