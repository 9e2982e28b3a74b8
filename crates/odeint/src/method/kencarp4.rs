//! The implicit part of a method of Kennedy and Carpenter, of order 4 with an embedded one of order
//! 3.

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
    [0.15791629516167136, 0.0, 0.18675894052400077, 0.6805652953093346, -0.27524053099500667, G];
pub(super) const C: [f64; 6] = [0.0, 0.5, 0.332, 0.62, 0.85, 1.0];
pub(super) const A: &[&[f64]] = &[
    &[],
    &[0.25, G],
    &[0.137776, -0.055776, G],
    &[0.14463686602698217, -0.22393190761334475, 0.4492950415863626, G],
    &[0.09825878328356477, -0.5915442428196704, 0.8101210538282996, 0.283164405707806, G],
    &B,
];
pub(super) const ERROR: [f64; 6] = [
    0.0032044943984591762,
    0.0,
    -0.0024462511366794577,
    -0.02148007591958727,
    0.043946868068572426,
    -0.02322503541076487,
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
        continues: &[],
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
