//! The implicit part of a method of Kennedy and Carpenter, of order 4 with an embedded one of order
//! 3.
#![expect(clippy::excessive_precision, reason = "coefficients as published")]

use super::hermite::hermite;
use crate::dirk::DirkTableau;
use crate::tableau::{Interpolant, Tableau};

/// The implicit part of ARK4(3)6L\[2\]SA of Kennedy and Carpenter, of order 4 with an embedded method
/// of order 3, an L-stable ESDIRK method with six stages. C. A. Kennedy, M. H. Carpenter, Appl.
/// Numer. Math. 44 (2003) 139. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct KenCarp4;

const G: f64 = 0.25;
pub(super) const B: [f64; 6] =
    [0.15791629516167135, 0.0, 0.18675894052400076, 0.68056529530933458, -0.27524053099500667, G];
pub(super) const C: [f64; 6] = [0.0, 0.5, 0.332, 0.62, 0.85, 1.0];
pub(super) const A: &[&[f64]] = &[
    &[],
    &[0.25, G],
    &[0.137776, -0.055776, G],
    &[0.14463686602698218, -0.22393190761334474, 0.44929504158636256, G],
    &[0.098258783283564771, -0.59154424281967039, 0.81012105382829962, 0.28316440570780601, G],
    &B,
];
pub(super) const ERROR: [f64; 6] = [
    0.0032044943984591764,
    0.0,
    -0.0024462511366794576,
    -0.021480075919587268,
    0.043946868068572426,
    -0.023225035410764873,
];
pub(super) const PREDICTOR: &[&[f64]] = &[
    &[],
    &[1.0],
    &[0.336, 0.664],
    &[-0.40061, 0.922605, 0.478005],
    &[-0.562607, 0.556686, 0.180604, 0.825317],
    &[-0.409973, 0.252465, 0.0298858, 0.41145, 0.716172],
];
static WEIGHTS: [[f64; 3]; 6] = hermite(B);

pub(super) static METHOD: DirkTableau = DirkTableau {
    tableau: Tableau {
        name: "KenCarp4",
        order: 4,
        embedded_order: Some(3),
        a: A,
        b: &B,
        error: Some(&ERROR),
        error_low: None,
        parts: &[],
        coupled: false,
        c: &C,
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
            ],
        },
    },
    predictor: PREDICTOR,
    filter: false,
};
