//! What solves need to know of [reversible schemes](crate::Scheme): orders, and the solution between
//! steps.

use crate::tableau::{Interpolant, Tableau};

/// A step is no sum of slopes. In the place of the stages there is one number for each component,
/// `(y₁ - y₀) / h`, so that the cubic through both states with both slopes can be written with
/// weights of slopes. No step uses the slopes at its ends, which are there only for that cubic; hence
/// `coupled`.
const fn scheme(name: &'static str, order: u32, embedded_order: Option<u32>) -> Tableau {
    Tableau {
        name,
        order,
        embedded_order,
        a: &[&[], &[], &[0.0, 1.0]],
        b: &[0.0, 1.0, 0.0],
        // The estimate is the scheme's own.
        error: if embedded_order.is_some() { Some(&[0.0, 0.0, 0.0]) } else { None },
        error_low: None,
        c: &[0.0, 0.5, 1.0],
        continues: &[],
        parts: &[],
        coupled: true,
        interpolant: Interpolant {
            order: if order < 3 { order } else { 3 },
            a: &[],
            c: &[],
            weights: &[&[1.0, -2.0, 1.0], &[0.0, 3.0, -2.0], &[0.0, -1.0, 1.0]],
        },
    }
}

pub(crate) static HEUN: Tableau = scheme("reversible Heun", 2, Some(1));
pub(crate) static LEAPFROG: Tableau = scheme("asynchronous leapfrog", 2, None);

const COUPLED: &str = "coupled method";

/// Coupled methods of order 1 and up, without an error estimate.
static EQUAL: [Tableau; 9] = [
    scheme(COUPLED, 1, None),
    scheme(COUPLED, 2, None),
    scheme(COUPLED, 3, None),
    scheme(COUPLED, 4, None),
    scheme(COUPLED, 5, None),
    scheme(COUPLED, 6, None),
    scheme(COUPLED, 7, None),
    scheme(COUPLED, 8, None),
    scheme(COUPLED, 9, None),
];

/// With an error estimate, which is of one order less.
static ADAPTIVE: [Tableau; 9] = [
    scheme(COUPLED, 1, Some(1)),
    scheme(COUPLED, 2, Some(1)),
    scheme(COUPLED, 3, Some(2)),
    scheme(COUPLED, 4, Some(3)),
    scheme(COUPLED, 5, Some(4)),
    scheme(COUPLED, 6, Some(5)),
    scheme(COUPLED, 7, Some(6)),
    scheme(COUPLED, 8, Some(7)),
    scheme(COUPLED, 9, Some(8)),
];

/// That of a coupled method.
pub(crate) fn coupled(method: &Tableau) -> &'static Tableau {
    let i = (method.order.clamp(1, 9) - 1) as usize;
    if method.error.is_some() { &ADAPTIVE[i] } else { &EQUAL[i] }
}
