//! Kværnø's method of order 5 with an embedded one of order 4.

use super::hermite::hermite;
use crate::dirk::DirkTableau;
use crate::tableau::{Interpolant, Tableau};

/// Kværnø's method of order 5 with an embedded one of order 4, an L-stable ESDIRK method with seven
/// stages: a good first choice for stiff problems. A. Kværnø, BIT 44 (2004) 489.
///
/// One stage lies beyond the end of the step, at `c = 1.23`. All coefficients follow from `γ = 0.26`.
///
/// Between steps, a quartic of our own with the values and slopes of both ends: cubic Hermite
/// interpolation and `h θ² (1 - θ)² Σ v_i k_i`, with the smallest `v` that satisfies the conditions
/// of order 4, `Σ v_i = Σ v_i c_i = Σ v_i c_i² = 0`, `Σ v_i c_i³ = 1/4`, `Σ v_i a_ij c_j² = 1/12`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kvaerno5;

const G: f64 = 0.26;
const B: [f64; 7] = [
    0.136_597_511_776_402_92,
    0.0,
    -0.054_969_087_965_383_766,
    -0.041_186_267_283_210_47,
    0.629_933_048_990_164,
    0.069_624_794_482_027_28,
    G,
];
/// The sixth stage's weights, those of the embedded method.
const EMBEDDED: [f64; 6] = [
    0.138_556_402_312_682_24,
    0.0,
    -0.042_453_372_017_520_43,
    0.024_466_578_980_031_42,
    0.619_430_390_724_806_8,
    G,
];
const V: [f64; 7] = [
    -0.484_249_349_645_859_14,
    0.0,
    0.992_174_701_180_346_2,
    -0.624_108_033_102_156,
    1.380_100_427_378_425,
    -0.631_958_872_905_378,
    -0.631_958_872_905_378,
];
static WEIGHTS: [[f64; 4]; 7] = weights();

const fn weights() -> [[f64; 4]; 7] {
    let cubic = hermite(B);
    let mut weights = [[0.0; 4]; 7];
    let mut i = 0;
    while i < 7 {
        let [a, b, c] = cubic[i];
        weights[i] = [a, b + V[i], c - 2.0 * V[i], V[i]];
        i += 1;
    }
    weights
}

pub(super) static METHOD: DirkTableau = DirkTableau {
    tableau: Tableau {
        name: "Kvaerno5",
        order: 5,
        embedded_order: Some(4),
        a: &[
            &[],
            &[G, G],
            &[0.13, 0.840_333_209_967_908_1, G],
            &[0.223_719_614_783_205_07, 0.476_755_323_197_997, -0.064_708_953_631_126_15, G],
            &[
                0.166_485_643_232_483_22,
                0.104_500_188_415_917_2,
                0.036_314_822_720_987_15,
                -0.130_907_044_510_739_98,
                G,
            ],
            &EMBEDDED,
            &B,
        ],
        b: &B,
        error: Some(&[
            -0.001_958_890_536_279_335,
            0.0,
            -0.012_515_715_947_863_337,
            -0.065_652_846_263_241_89,
            0.010_502_658_265_357_27,
            -0.190_375_205_517_972_7,
            G,
        ]),
        error_low: None,
        continues: &[],
        parts: &[],
        coupled: false,
        c: &[
            0.0,
            0.52,
            1.230_333_209_967_908,
            0.895_765_984_350_075_9,
            0.436_393_609_858_647_56,
            1.0,
            1.0,
        ],
        interpolant: Interpolant {
            order: 4,
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
            ],
        },
    },
    // Polynomials through the slopes that are there; at the end, the state of the sixth stage.
    predictor: &[
        &[],
        &[1.0],
        &[-1.36603, 2.36603],
        &[-0.196506, 0.811358, 0.385148],
        &[0.0532073, 1.14669, 0.0573211, -0.257223],
        &[0.0299159, 0.038381, 0.181678, 0.934343, -0.184317],
        &[0.00753419, 0.0, 0.0481374, 0.252511, -0.0403948, 0.732212],
    ],
    filter: false,
};
