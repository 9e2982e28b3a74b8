//! Kværnø's method of order 4 with an embedded one of order 3.

use super::hermite::hermite;
use crate::dirk::DirkTableau;
use crate::tableau::{Interpolant, Tableau};

/// Kværnø's method of order 4 with an embedded one of order 3, an L-stable ESDIRK method with five
/// stages. A. Kværnø, BIT 44 (2004) 489: of the two methods 4(3) there, the one that goes on with
/// the solution of order 4. Between steps, cubic Hermite interpolation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kvaerno4;

/// The root of `24 γ⁴ - 96 γ³ + 72 γ² - 16 γ + 1` for which the method is L-stable; the coefficients
/// are rational functions of it.
const G: f64 = 0.572_816_062_482_134_9;
const B: [f64; 5] =
    [0.197216548312835, 0.17684378390637218, 0.8154421813508385, -0.7623185760521805, G];
static WEIGHTS: [[f64; 3]; 5] = hermite(B);

pub(super) static METHOD: DirkTableau = DirkTableau {
    tableau: Tableau {
        name: "Kvaerno4",
        order: 4,
        embedded_order: Some(3),
        a: &[
            &[],
            &[G, G],
            &[0.16723546202721076, -0.14294653685703412, G],
            &[0.2626032902526958, -0.3119043274205632, 0.4764849746857325, G],
            &B,
        ],
        b: &B,
        error: Some(&[
            -0.06538674193986083,
            0.48874811132693535,
            0.338957206665106,
            -1.3351346385343152,
            G,
        ]),
        error_low: None,
        continues: &[],
        parts: &[],
        coupled: false,
        c: &[0.0, 1.1456321249642698, 0.5971049876523115, 1.0, 1.0],
        interpolant: Interpolant {
            order: 3,
            a: &[],
            c: &[],
            weights: &[&WEIGHTS[0], &WEIGHTS[1], &WEIGHTS[2], &WEIGHTS[3], &WEIGHTS[4]],
        },
    },
    predictor: &[
        &[],
        &[1.0],
        &[0.478799, 0.521201],
        &[-0.0857735, 0.641134, 0.44464],
        &[0.11415, -0.853237, -0.591738, 2.33083],
    ],
    filter: false,
};
