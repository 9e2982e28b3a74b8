//! The method of Dormand and Prince, of order 5 with an embedded one of order 4.

use crate::tableau::{Interpolant, Tableau};

/// The method of Dormand and Prince, 5(4), first same as last. J. R. Dormand, P. J. Prince,
/// J. Comput. Appl. Math. 6 (1980) 19.
///
/// The error weights are the classical ones. [`Dopri5Shampine`] has those that some other libraries use
/// under this name; they are two thirds as large, so that the same `rtol` asks more of this method.
/// Between steps, the quartic of `dopri5.f` (E. Hairer, S. P. Nørsett, G. Wanner, *Solving
/// Ordinary Differential Equations I*, II.6).
#[derive(Clone, Copy, Debug, Default)]
pub struct Dopri5;

const B: [f64; 7] =
    [35.0 / 384.0, 0.0, 500.0 / 1113.0, 125.0 / 192.0, -2187.0 / 6784.0, 11.0 / 84.0, 0.0];

pub(super) static TABLEAU: Tableau = tableau(
    "Dopri5",
    &[
        71.0 / 57600.0,
        0.0,
        -71.0 / 16695.0,
        71.0 / 1920.0,
        -17253.0 / 339200.0,
        22.0 / 525.0,
        -1.0 / 40.0,
    ],
);

/// The method of Dormand and Prince with the error weights of L. F. Shampine, Math. Comp. 46 (1986) 135:
/// the one that `Dopri5` of diffrax and `dopri5` of torchdiffeq are, to take the steps that they take.
///
/// Its steps are those of [`Dopri5`], and so is what lies between them; but its error estimate is two
/// thirds as large, so that steps are up to a twelfth longer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dopri5Shampine;

pub(super) static SHAMPINE: Tableau = tableau(
    "Dopri5Shampine",
    &[
        71.0 / 86400.0,
        0.0,
        -142.0 / 50085.0,
        71.0 / 2880.0,
        -5751.0 / 169600.0,
        44.0 / 1575.0,
        -1.0 / 60.0,
    ],
);

/// The method with the name and the error weights given.
const fn tableau(name: &'static str, error: &'static [f64]) -> Tableau {
    Tableau {
        name,
        order: 5,
        embedded_order: Some(4),
        a: &[
            &[],
            &[1.0 / 5.0],
            &[3.0 / 40.0, 9.0 / 40.0],
            &[44.0 / 45.0, -56.0 / 15.0, 32.0 / 9.0],
            &[19372.0 / 6561.0, -25360.0 / 2187.0, 64448.0 / 6561.0, -212.0 / 729.0],
            &[9017.0 / 3168.0, -355.0 / 33.0, 46732.0 / 5247.0, 49.0 / 176.0, -5103.0 / 18656.0],
            &[B[0], B[1], B[2], B[3], B[4], B[5]],
        ],
        b: &B,
        error: Some(error),
        error_low: None,
        c: &[0.0, 1.0 / 5.0, 3.0 / 10.0, 4.0 / 5.0, 8.0 / 9.0, 1.0, 1.0],
        continues: &[],
        parts: &[],
        coupled: false,
        interpolant: Interpolant {
            order: 4,
            a: &[],
            c: &[],
            weights: &[
                &[
                    1.0,
                    -8048581381.0 / 2820520608.0,
                    8663915743.0 / 2820520608.0,
                    -12715105075.0 / 11282082432.0,
                ],
                &[],
                &[
                    0.0,
                    131558114200.0 / 32700410799.0,
                    -68118460800.0 / 10900136933.0,
                    87487479700.0 / 32700410799.0,
                ],
                &[
                    0.0,
                    -1754552775.0 / 470086768.0,
                    14199869525.0 / 1410260304.0,
                    -10690763975.0 / 1880347072.0,
                ],
                &[
                    0.0,
                    127303824393.0 / 49829197408.0,
                    -318862633887.0 / 49829197408.0,
                    701980252875.0 / 199316789632.0,
                ],
                &[
                    0.0,
                    -282668133.0 / 205662961.0,
                    2019193451.0 / 616988883.0,
                    -1453857185.0 / 822651844.0,
                ],
                &[0.0, 40617522.0 / 29380423.0, -110615467.0 / 29380423.0, 69997945.0 / 29380423.0],
            ],
        },
    }
}
