//! The trapezoidal rule and the backward difference formula of order 2, as one method.

use super::hermite::hermite;
use crate::dirk::DirkTableau;
use crate::tableau::{Interpolant, Tableau};

/// TR-BDF2, of order 2 with an embedded method of order 3, L-stable: for loose tolerances.
/// R. E. Bank et al., IEEE Trans. CAD 4 (1985) 436; as an ESDIRK method with the error estimate of
/// M. E. Hosea, L. F. Shampine, Appl. Numer. Math. 20 (1996) 21, filtered. Between steps, cubic
/// Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct TrBdf2;

/// `1 - √2/2` and `√2/4`.
const D: f64 = 0.292_893_218_813_452_5;
const W: f64 = 0.353_553_390_593_273_8;
const B: [f64; 3] = [W, W, D];
static WEIGHTS: [[f64; 3]; 3] = hermite(B);

pub(super) static METHOD: DirkTableau = DirkTableau {
    tableau: Tableau {
        name: "TrBdf2",
        order: 2,
        embedded_order: Some(2),
        a: &[&[], &[D, D], &[W, W, D]],
        b: &B,
        error: Some(&[0.138_071_187_457_698_36, -1.0 / 3.0, 0.195_262_145_875_634_98]),
        error_low: None,
        continues: &[],
        parts: &[],
        coupled: false,
        c: &[0.0, 2.0 * D, 1.0],
        interpolant: Interpolant {
            order: 2,
            a: &[],
            c: &[],
            weights: &[&WEIGHTS[0], &WEIGHTS[1], &WEIGHTS[2]],
        },
    },
    // Linear extrapolation.
    predictor: &[&[], &[1.0], &[1.0 - 0.5 / D, 0.5 / D]],
    filter: true,
};
