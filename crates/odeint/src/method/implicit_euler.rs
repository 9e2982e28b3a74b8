//! The implicit Euler method.

use crate::dirk::DirkTableau;
use crate::tableau::{Interpolant, Tableau};

/// The implicit (backward) Euler method, of order 1, L-stable: for very loose tolerances, and as a
/// last resort. The error is the distance to the trapezoidal rule, `h/2 (k_1 - k_0)`, filtered.
/// Between steps, linear interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct ImplicitEuler;

pub(super) static METHOD: DirkTableau = DirkTableau {
    tableau: Tableau {
        name: "ImplicitEuler",
        order: 1,
        embedded_order: Some(1),
        a: &[&[], &[0.0, 1.0]],
        b: &[0.0, 1.0],
        error: Some(&[-0.5, 0.5]),
        error_low: None,
        continues: &[],
        parts: &[],
        coupled: false,
        c: &[0.0, 1.0],
        interpolant: Interpolant { order: 1, a: &[], c: &[], weights: &[&[], &[1.0]] },
    },
    predictor: &[&[], &[1.0]],
    filter: true,
};
