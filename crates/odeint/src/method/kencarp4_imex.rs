//! An additive method of Kennedy and Carpenter, of order 4 with an embedded one of order 3.
#![expect(clippy::excessive_precision, reason = "coefficients as published")]

use super::hermite::hermite;
use super::kencarp4;
use crate::additive::AdditiveTableau;
use crate::tableau::{Interpolant, Tableau};

/// ARK4(3)6L\[2\]SA of Kennedy and Carpenter, of order 4 with an embedded method of order 3: an
/// additive method with six stages, explicit for one part of the field and L-stable for the other,
/// which [`split`](crate::split) tells apart. C. A. Kennedy, M. H. Carpenter, Appl. Numer. Math. 44
/// (2003) 139.
///
/// Its implicit half is [`KenCarp4`](crate::KenCarp4). Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct KenCarp4Imex;

const S: usize = 6;
const ROWS: usize = 2 * S + 1;

static EXPLICIT: [[f64; S]; S] = [
    [0.0; S],
    [0.5, 0.0, 0.0, 0.0, 0.0, 0.0],
    [0.221776, 0.110224, 0.0, 0.0, 0.0, 0.0],
    [-0.04884659515311858, -0.177720652326401, 0.84656724747951961, 0.0, 0.0, 0.0],
    [-0.15541685842491548, -0.3567050098221991, 1.0587258798684427, 0.30339598837867193, 0.0, 0.0],
    [
        0.20142435067267633,
        0.0087420578429041849,
        0.15993995707168115,
        0.40382906052207751,
        0.22606457389066084,
        0.0,
    ],
];

/// Weights of `g` and `r` of each stage as weights of the slopes: those at the start are `g` and
/// `f - g`.
const fn merge(g: &[f64], r: &[f64]) -> [f64; ROWS] {
    let mut row = [0.0; ROWS];
    let mut j = 0;
    while j < g.len() {
        row[2 * j] += g[j];
        j += 1;
    }
    row[1] += row[0];
    row[0] = 0.0;
    let mut j = 0;
    while j < r.len() {
        if j == 0 {
            row[0] += r[0];
            row[1] -= r[0];
        } else {
            row[2 * j + 1] += r[j];
        }
        j += 1;
    }
    row
}

const fn rows() -> [[f64; ROWS]; S] {
    let mut rows = [[0.0; ROWS]; S];
    let mut i = 0;
    while i < S {
        rows[i] = merge(kencarp4::A[i], &EXPLICIT[i]);
        i += 1;
    }
    rows
}

const fn predictors() -> [[f64; ROWS]; S] {
    let mut rows = [[0.0; ROWS]; S];
    let mut i = 0;
    while i < S {
        rows[i] = merge(kencarp4::PREDICTOR[i], &[]);
        i += 1;
    }
    rows
}

/// The first so many entries of a row.
const fn first(row: &'static [f64], n: usize) -> &'static [f64] {
    row.split_at(n).0
}

static A: [[f64; ROWS]; S] = rows();
static B: [f64; ROWS] = merge(&kencarp4::B, &kencarp4::B);
static ERROR: [f64; ROWS] = merge(&kencarp4::ERROR, &kencarp4::ERROR);
static PREDICTOR: [[f64; ROWS]; S] = predictors();
static WEIGHTS: [[f64; 3]; ROWS] = hermite(B);

pub(super) static METHOD: AdditiveTableau = AdditiveTableau {
    tableau: Tableau {
        name: "KenCarp4 IMEX",
        order: 4,
        embedded_order: Some(3),
        a: &[
            &[],
            &[],
            first(&A[1], 3),
            first(&A[1], 3),
            first(&A[2], 5),
            first(&A[2], 5),
            first(&A[3], 7),
            first(&A[3], 7),
            first(&A[4], 9),
            first(&A[4], 9),
            first(&A[5], 11),
            first(&A[5], 11),
            first(&B, 12),
        ],
        b: &B,
        error: Some(&ERROR),
        error_low: None,
        continues: &[],
        parts: &[],
        coupled: false,
        c: &[0.0, 0.0, 0.5, 0.5, 0.332, 0.332, 0.62, 0.62, 0.85, 0.85, 1.0, 1.0, 1.0],
        interpolant: Interpolant {
            order: 3,
            a: &[],
            c: &[],
            weights: &[
                &WEIGHTS[0],
                &WEIGHTS[1],
                &WEIGHTS[2],
                &WEIGHTS[3],
                &WEIGHTS[4],
                &WEIGHTS[5],
                &WEIGHTS[6],
                &WEIGHTS[7],
                &WEIGHTS[8],
                &WEIGHTS[9],
                &WEIGHTS[10],
                &WEIGHTS[11],
                &WEIGHTS[12],
            ],
        },
    },
    explicit: &[
        first(&EXPLICIT[0], 0),
        first(&EXPLICIT[1], 1),
        first(&EXPLICIT[2], 2),
        first(&EXPLICIT[3], 3),
        first(&EXPLICIT[4], 4),
        first(&EXPLICIT[5], 5),
    ],
    implicit: kencarp4::A,
    predictor: &[
        &[],
        first(&PREDICTOR[1], 2),
        first(&PREDICTOR[2], 4),
        first(&PREDICTOR[3], 6),
        first(&PREDICTOR[4], 8),
        first(&PREDICTOR[5], 10),
    ],
};
