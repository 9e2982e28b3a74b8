//! Kværnø's method of order 3 with an embedded one of order 2.

use super::hermite::hermite;
use crate::dirk::DirkTableau;
use crate::tableau::{Interpolant, Tableau};

/// Kværnø's method of order 3 with an embedded one of order 2, an L-stable ESDIRK method with four
/// stages: for loose tolerances. A. Kværnø, BIT 44 (2004) 489. Between steps, cubic Hermite
/// interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kvaerno3;

/// The root of `6 γ³ - 18 γ² + 9 γ - 1` for which the method is L-stable; the coefficients are
/// rational functions of it.
const G: f64 = 0.435_866_521_508_459;
const B: [f64; 4] = [0.30880996997674653, 1.4905633884217806, -1.2352398799069861, G];
static WEIGHTS: [[f64; 3]; 4] = hermite(B);

pub(super) static METHOD: DirkTableau = DirkTableau {
    tableau: Tableau {
        name: "Kvaerno3",
        order: 3,
        embedded_order: Some(2),
        a: &[&[], &[0.435866521508459, G], &[0.49056338842178054, 0.07357009006976042, G], &B],
        b: &B,
        error: Some(&[
            -0.18175341844503404,
            1.4169932983520201,
            -1.671106401415445,
            0.435866521508459,
        ]),
        error_low: None,
        continues: &[],
        parts: &[],
        coupled: false,
        c: &[0.0, 0.871733043016918, 1.0, 1.0],
        interpolant: Interpolant {
            order: 3,
            a: &[],
            c: &[],
            weights: &[&WEIGHTS[0], &WEIGHTS[1], &WEIGHTS[2], &WEIGHTS[3]],
        },
    },
    predictor: &[&[], &[1.0], &[-0.14714, 1.14714], &[0.416993, -3.25098, 3.83399]],
    filter: false,
};
