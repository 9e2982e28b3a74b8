//! Symplectic splitting methods for separable Hamiltonians.
//!
//! For `H(t, q, p) = T(t, p) + V(t, q)` a **drift** is the exact flow of `T`, which moves `q`, and a
//! **kick** the exact flow of `V`, which moves `p`. A composition of them is symplectic whatever the
//! step, so that the energy stays near its value for exponentially long times (E. Hairer,
//! C. Lubich, G. Wanner, *Geometric Numerical Integration*, VI and IX).
//!
//! As a tableau, each kick and drift is one slope of which the other half is 0, and a stage is the
//! sum of those before it: `a_ij = b_j`. Between steps, cubic Hermite interpolation, which needs two
//! whole slopes; where no time lies inside a step they are not evaluated.

use super::hermite::hermite;
use crate::tableau::Part::{self, All, Momenta, Positions};
use crate::tableau::{Interpolant, Tableau};

/// The symplectic Euler method, of order 1, for fixed steps: a kick and then a drift,
///
/// ```text
/// p₁ = p₀ - h ∂V/∂q(q₀),   q₁ = q₀ + h ∂T/∂p(p₁)
/// ```
///
/// For separable Hamiltonian systems; the state is positions and then momenta, as many of each.
/// R. de Vogelaere, Report 4, Univ. of Notre Dame (1956).
#[derive(Clone, Copy, Debug, Default)]
pub struct SymplecticEuler;

/// Velocity Verlet, also leapfrog or the method of Störmer, of order 2 and symmetric, for fixed
/// steps: half a kick, a drift, half a kick,
///
/// ```text
/// p_½ = p₀ - h/2 ∂V/∂q(q₀),   q₁ = q₀ + h ∂T/∂p(p_½),   p₁ = p_½ - h/2 ∂V/∂q(q₁)
/// ```
///
/// For separable Hamiltonian systems; the state is positions and then momenta, as many of each.
/// L. Verlet, Phys. Rev. 159 (1967) 98.
#[derive(Clone, Copy, Debug, Default)]
pub struct VelocityVerlet;

/// The composition of three Verlet steps that has order 4, for fixed steps. H. Yoshida, Phys. Lett.
/// A 150 (1990) 262, eq. 2.11; E. Forest, R. D. Ruth, Physica D 43 (1990) 105.
///
/// For separable Hamiltonian systems; the state is positions and then momenta, as many of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yoshida4;

/// The composition of seven Verlet steps that has order 6, for fixed steps. H. Yoshida, Phys. Lett.
/// A 150 (1990) 262, solution A; with more digits in Hairer, Lubich, Wanner, V.3.2.
///
/// For separable Hamiltonian systems; the state is positions and then momenta, as many of each.
#[derive(Clone, Copy, Debug, Default)]
pub struct Yoshida6;

/// The sizes of Yoshida's Verlet steps, `1/(2 - ∛2)` and `1 - 2/(2 - ∛2)`.
const YOSHIDA4: [f64; 3] =
    [1.351_207_191_959_657_5, -1.702_414_383_919_315_3, 1.351_207_191_959_657_5];

const YOSHIDA6: [f64; 7] = [
    0.784_513_610_477_557_3,
    0.235_573_213_359_358_13,
    -1.177_679_984_178_871,
    1.315_186_320_683_911_2,
    -1.177_679_984_178_871,
    0.235_573_213_359_358_13,
    0.784_513_610_477_557_3,
];

/// The weights of kick, drift, kick, …, kick, between the first slope and the end slope, which have
/// none.
const fn composition<const STEPS: usize, const ROWS: usize>(sizes: [f64; STEPS]) -> [f64; ROWS] {
    assert!(ROWS == 2 * STEPS + 3);
    let mut weights = [0.0; ROWS];
    let mut i = 0;
    while i < STEPS {
        weights[2 * i + 1] += sizes[i] / 2.0;
        weights[2 * i + 2] = sizes[i];
        weights[2 * i + 3] += sizes[i] / 2.0;
        i += 1;
    }
    weights
}

/// The times of the slopes: a kick happens when the drifts before it have got to, and a drift when
/// the kicks have.
const fn times<const ROWS: usize>(weights: &[f64; ROWS], parts: &[Part; ROWS]) -> [f64; ROWS] {
    let mut times = [0.0; ROWS];
    let (mut drifted, mut kicked) = (0.0, 0.0);
    let mut i = 0;
    while i < ROWS {
        match parts[i] {
            Part::All => {}
            Part::Positions => {
                times[i] = kicked;
                drifted += weights[i];
            }
            Part::Momenta => {
                times[i] = drifted;
                kicked += weights[i];
            }
        }
        i += 1;
    }
    times[ROWS - 1] = 1.0;
    times
}

const EULER_PARTS: [Part; 4] = [All, Momenta, Positions, All];
static EULER_B: [f64; 4] = [0.0, 1.0, 1.0, 0.0];
static EULER_WEIGHTS: [[f64; 3]; 4] = hermite(EULER_B);

pub(super) static EULER: Tableau = Tableau {
    name: "symplectic Euler",
    order: 1,
    embedded_order: None,
    a: &[&[], &[0.0], &[0.0, 1.0], &[0.0, 1.0, 1.0]],
    b: &EULER_B,
    error: None,
    error_low: None,
    // The drift uses the momenta of the end.
    c: &[0.0, 0.0, 1.0, 1.0],
    continues: &[],
    parts: &EULER_PARTS,
    coupled: false,
    interpolant: Interpolant {
        order: 1,
        a: &[],
        c: &[],
        weights: &[&EULER_WEIGHTS[0], &EULER_WEIGHTS[1], &EULER_WEIGHTS[2], &EULER_WEIGHTS[3]],
    },
};

const VERLET_PARTS: [Part; 5] = [All, Momenta, Positions, Momenta, All];
const VERLET_B: [f64; 5] = composition([1.0]);
static VERLET_ROW: [f64; 5] = VERLET_B;
static VERLET_C: [f64; 5] = times(&VERLET_B, &VERLET_PARTS);
static VERLET_WEIGHTS: [[f64; 3]; 5] = hermite(VERLET_B);

pub(super) static VERLET: Tableau = Tableau {
    name: "velocity Verlet",
    order: 2,
    embedded_order: None,
    a: &[
        VERLET_ROW.split_at(0).0,
        VERLET_ROW.split_at(1).0,
        VERLET_ROW.split_at(2).0,
        VERLET_ROW.split_at(3).0,
        VERLET_ROW.split_at(4).0,
    ],
    b: &VERLET_ROW,
    error: None,
    error_low: None,
    c: &VERLET_C,
    continues: &[],
    parts: &VERLET_PARTS,
    coupled: false,
    interpolant: Interpolant {
        order: 2,
        a: &[],
        c: &[],
        weights: &[
            &VERLET_WEIGHTS[0],
            &VERLET_WEIGHTS[1],
            &VERLET_WEIGHTS[2],
            &VERLET_WEIGHTS[3],
            &VERLET_WEIGHTS[4],
        ],
    },
};

const FOUR_PARTS: [Part; 9] =
    [All, Momenta, Positions, Momenta, Positions, Momenta, Positions, Momenta, All];
const FOUR_B: [f64; 9] = composition(YOSHIDA4);
static FOUR_ROW: [f64; 9] = FOUR_B;
static FOUR_C: [f64; 9] = times(&FOUR_B, &FOUR_PARTS);
static FOUR_WEIGHTS: [[f64; 3]; 9] = hermite(FOUR_B);

pub(super) static FOUR: Tableau = Tableau {
    name: "Yoshida4",
    order: 4,
    embedded_order: None,
    a: &[
        FOUR_ROW.split_at(0).0,
        FOUR_ROW.split_at(1).0,
        FOUR_ROW.split_at(2).0,
        FOUR_ROW.split_at(3).0,
        FOUR_ROW.split_at(4).0,
        FOUR_ROW.split_at(5).0,
        FOUR_ROW.split_at(6).0,
        FOUR_ROW.split_at(7).0,
        FOUR_ROW.split_at(8).0,
    ],
    b: &FOUR_ROW,
    error: None,
    error_low: None,
    c: &FOUR_C,
    continues: &[],
    parts: &FOUR_PARTS,
    coupled: false,
    interpolant: Interpolant {
        order: 3,
        a: &[],
        c: &[],
        weights: &[
            &FOUR_WEIGHTS[0],
            &FOUR_WEIGHTS[1],
            &FOUR_WEIGHTS[2],
            &FOUR_WEIGHTS[3],
            &FOUR_WEIGHTS[4],
            &FOUR_WEIGHTS[5],
            &FOUR_WEIGHTS[6],
            &FOUR_WEIGHTS[7],
            &FOUR_WEIGHTS[8],
        ],
    },
};

const SIX_PARTS: [Part; 17] = [
    All, Momenta, Positions, Momenta, Positions, Momenta, Positions, Momenta, Positions, Momenta,
    Positions, Momenta, Positions, Momenta, Positions, Momenta, All,
];
const SIX_B: [f64; 17] = composition(YOSHIDA6);
static SIX_ROW: [f64; 17] = SIX_B;
static SIX_C: [f64; 17] = times(&SIX_B, &SIX_PARTS);
static SIX_WEIGHTS: [[f64; 3]; 17] = hermite(SIX_B);

pub(super) static SIX: Tableau = Tableau {
    name: "Yoshida6",
    order: 6,
    embedded_order: None,
    a: &[
        SIX_ROW.split_at(0).0,
        SIX_ROW.split_at(1).0,
        SIX_ROW.split_at(2).0,
        SIX_ROW.split_at(3).0,
        SIX_ROW.split_at(4).0,
        SIX_ROW.split_at(5).0,
        SIX_ROW.split_at(6).0,
        SIX_ROW.split_at(7).0,
        SIX_ROW.split_at(8).0,
        SIX_ROW.split_at(9).0,
        SIX_ROW.split_at(10).0,
        SIX_ROW.split_at(11).0,
        SIX_ROW.split_at(12).0,
        SIX_ROW.split_at(13).0,
        SIX_ROW.split_at(14).0,
        SIX_ROW.split_at(15).0,
        SIX_ROW.split_at(16).0,
    ],
    b: &SIX_ROW,
    error: None,
    error_low: None,
    c: &SIX_C,
    continues: &[],
    parts: &SIX_PARTS,
    coupled: false,
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
            &SIX_WEIGHTS[5],
            &SIX_WEIGHTS[6],
            &SIX_WEIGHTS[7],
            &SIX_WEIGHTS[8],
            &SIX_WEIGHTS[9],
            &SIX_WEIGHTS[10],
            &SIX_WEIGHTS[11],
            &SIX_WEIGHTS[12],
            &SIX_WEIGHTS[13],
            &SIX_WEIGHTS[14],
            &SIX_WEIGHTS[15],
            &SIX_WEIGHTS[16],
        ],
    },
};
