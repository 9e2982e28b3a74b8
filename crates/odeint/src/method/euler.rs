//! The explicit Euler method: `y₁ = y + h f(t, y)`. A residual network is this method.

use crate::tableau::{Interpolant, Tableau};

/// The explicit Euler method, of order 1, for fixed steps. L. Euler, *Institutionum calculi
/// integralis* (1768).
#[derive(Clone, Copy, Debug, Default)]
pub struct Euler;

pub(super) static TABLEAU: Tableau = Tableau {
    name: "Euler",
    order: 1,
    embedded_order: None,
    a: &[&[], &[1.0]],
    b: &[1.0, 0.0],
    error: None,
    error_low: None,
    c: &[0.0, 1.0],
    // A straight line.
    continues: &[],
    parts: &[],
    coupled: false,
    interpolant: Interpolant { order: 1, a: &[], c: &[], weights: &[&[1.0], &[]] },
};
