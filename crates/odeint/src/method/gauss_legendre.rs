//! Gauss–Legendre collocation: implicit, symmetric, and symplectic for every Hamiltonian.
//!
//! The stages depend on each other and are found by fixed-point iteration, to rounding; the new
//! state is added up with compensation, so that the rounding errors of many steps do not pile up
//! (E. Hairer, C. Lubich, G. Wanner, *Geometric Numerical Integration*, II.1.3 and VIII.5-6). This
//! converges if the step is short against the fastest rate of the field: these are not methods for
//! stiff problems. Between steps, cubic Hermite interpolation.

use super::hermite::hermite;
use crate::tableau::{Interpolant, Tableau};

/// Gauss–Legendre collocation with two stages, of order 4, for fixed steps. J. C. Butcher, Math.
/// Comp. 18 (1964) 50.
///
/// It conserves quadratic invariants and is symplectic, whether or not the Hamiltonian is
/// separable. The stages are found by fixed-point iteration.
#[derive(Clone, Copy, Debug, Default)]
pub struct GaussLegendre4;

/// Gauss–Legendre collocation with three stages, of order 6, for fixed steps. J. C. Butcher, Math.
/// Comp. 18 (1964) 50.
///
/// It conserves quadratic invariants and is symplectic, whether or not the Hamiltonian is
/// separable. The stages are found by fixed-point iteration.
#[derive(Clone, Copy, Debug, Default)]
pub struct GaussLegendre6;

const FOUR_B: [f64; 4] = [0.0, 0.5, 0.5, 0.0];
static FOUR_WEIGHTS: [[f64; 3]; 4] = hermite(FOUR_B);

pub(super) static FOUR: Tableau = Tableau {
    name: "Gauss-Legendre 4",
    order: 4,
    embedded_order: None,
    a: &[
        &[],
        &[0.0, 0.25, -0.03867513459481288],
        &[0.0, 0.5386751345948129, 0.25],
        &[0.0, 0.5, 0.5],
    ],
    b: &FOUR_B,
    error: None,
    error_low: None,
    c: &[0.0, 0.2113248654051871, 0.7886751345948129, 1.0],
    continues: &[],
    parts: &[],
    coupled: true,
    interpolant: Interpolant {
        order: 3,
        a: &[],
        c: &[],
        weights: &[&FOUR_WEIGHTS[0], &FOUR_WEIGHTS[1], &FOUR_WEIGHTS[2], &FOUR_WEIGHTS[3]],
    },
};

const SIX_B: [f64; 5] = [0.0, 0.2777777777777778, 0.4444444444444444, 0.2777777777777778, 0.0];
static SIX_WEIGHTS: [[f64; 3]; 5] = hermite(SIX_B);

pub(super) static SIX: Tableau = Tableau {
    name: "Gauss-Legendre 6",
    order: 6,
    embedded_order: None,
    a: &[
        &[],
        &[0.0, 0.1388888888888889, -0.0359766675249389, 0.009789444015308325],
        &[0.0, 0.30026319498086457, 0.2222222222222222, -0.022485417203086815],
        &[0.0, 0.26798833376246944, 0.48042111196938336, 0.1388888888888889],
        &[0.0, 0.2777777777777778, 0.4444444444444444, 0.2777777777777778],
    ],
    b: &SIX_B,
    error: None,
    error_low: None,
    c: &[0.0, 0.11270166537925831, 0.5, 0.8872983346207417, 1.0],
    continues: &[],
    parts: &[],
    coupled: true,
    interpolant: Interpolant {
        order: 3,
        a: &[],
        c: &[],
        weights: &[
            &SIX_WEIGHTS[0],
            &SIX_WEIGHTS[1],
            &SIX_WEIGHTS[2],
            &SIX_WEIGHTS[3],
            &SIX_WEIGHTS[4],
        ],
    },
};
