//! Stiff problems of the Test Set for Initial Value Problem Solvers (F. Mazzia, C. Magherini, release
//! 2.4, 2008), with the end values that are published there.

use crate::problems::{Field, Problem};

/// What a stiff problem has besides.
pub struct Stiff {
    /// The Jacobian, by rows.
    pub jacobian: Field,
    /// The absolute tolerance by the relative one.
    pub atol: f64,
    /// The state at the end.
    pub reference: &'static [f64],
}

pub fn problems() -> Vec<Problem> {
    let problem = |name, field: Field, y0: &[f64], end, stiff| Problem {
        name,
        field,
        y0: y0.to_vec(),
        end,
        separable: false,
        stiff: Some(stiff),
    };
    let mut hires_start = [0.0; 8];
    (hires_start[0], hires_start[7]) = (1.0, 0.0057);
    vec![
        problem(
            "robertson",
            robertson,
            &[1.0, 0.0, 0.0],
            1e11,
            Stiff {
                jacobian: robertson_jacobian,
                atol: 1e-12,
                reference: &[
                    0.208_334_014_970_125_5e-7,
                    0.833_336_077_033_471_3e-13,
                    0.999_999_979_166_505,
                ],
            },
        ),
        problem(
            "van_der_pol",
            van_der_pol,
            &[2.0, 0.0],
            2.0,
            Stiff {
                jacobian: van_der_pol_jacobian,
                atol: 1.0,
                reference: &[1.706_167_732_170_483, -0.892_809_701_024_797_5],
            },
        ),
        problem(
            "hires",
            hires,
            &hires_start,
            321.8122,
            Stiff {
                jacobian: hires_jacobian,
                atol: 1e-4,
                reference: &[
                    0.737_131_257_332_566_8e-3,
                    0.144_248_572_631_618_5e-3,
                    0.588_872_974_096_757_5e-4,
                    0.117_565_134_328_314_9e-2,
                    0.238_635_619_883_133_1e-2,
                    0.623_896_825_274_279_6e-2,
                    0.284_999_839_518_576_9e-2,
                    0.285_000_160_481_423_1e-2,
                ],
            },
        ),
        problem(
            "oregonator",
            oregonator,
            &[1.0, 2.0, 3.0],
            360.0,
            Stiff {
                jacobian: oregonator_jacobian,
                atol: 1e-6,
                reference: &[1.000_814_870_318_523, 1_228.178_521_549_917, 132.055_494_284_670_6],
            },
        ),
    ]
}

fn robertson(_: f64, y: &[f64], dy: &mut [f64]) {
    let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
    (dy[0], dy[1], dy[2]) = (b - a, a - b - c, c);
}

fn robertson_jacobian(_: f64, y: &[f64], j: &mut [f64]) {
    let (b1, b2, c) = (1e4 * y[2], 1e4 * y[1], 6e7 * y[1]);
    j.copy_from_slice(&[-0.04, b1, b2, 0.04, -b1 - c, -b2, 0.0, c, 0.0]);
}

fn van_der_pol(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[1];
    dy[1] = ((1.0 - y[0] * y[0]) * y[1] - y[0]) * 1e6;
}

fn van_der_pol_jacobian(_: f64, y: &[f64], j: &mut [f64]) {
    let (x, v) = (-2.0 * y[0] * y[1] - 1.0, 1.0 - y[0] * y[0]);
    j.copy_from_slice(&[0.0, 1.0, 1e6 * x, 1e6 * v]);
}

fn oregonator(_: f64, y: &[f64], dy: &mut [f64]) {
    let (s, w, q) = (77.27, 0.161, 8.375e-6);
    dy[0] = s * (y[1] + y[0] * (1.0 - q * y[0] - y[1]));
    dy[1] = (y[2] - (1.0 + y[0]) * y[1]) / s;
    dy[2] = w * (y[0] - y[2]);
}

fn oregonator_jacobian(_: f64, y: &[f64], j: &mut [f64]) {
    let (s, w, q) = (77.27, 0.161, 8.375e-6);
    j.copy_from_slice(&[
        s * (1.0 - 2.0 * q * y[0] - y[1]),
        s * (1.0 - y[0]),
        0.0,
        -y[1] / s,
        -(1.0 + y[0]) / s,
        1.0 / s,
        w,
        0.0,
        -w,
    ]);
}

fn hires(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = -1.71 * y[0] + 0.43 * y[1] + 8.32 * y[2] + 0.0007;
    dy[1] = 1.71 * y[0] - 8.75 * y[1];
    dy[2] = -10.03 * y[2] + 0.43 * y[3] + 0.035 * y[4];
    dy[3] = 8.32 * y[1] + 1.71 * y[2] - 1.12 * y[3];
    dy[4] = -1.745 * y[4] + 0.43 * y[5] + 0.43 * y[6];
    dy[5] = -280.0 * y[5] * y[7] + 0.69 * y[3] + 1.71 * y[4] - 0.43 * y[5] + 0.69 * y[6];
    dy[6] = 280.0 * y[5] * y[7] - 1.81 * y[6];
    dy[7] = -dy[6];
}

fn hires_jacobian(_: f64, y: &[f64], j: &mut [f64]) {
    j.fill(0.0);
    let (by_six, by_eight) = (280.0 * y[7], 280.0 * y[5]);
    for (row, column, value) in [
        (0, 0, -1.71),
        (0, 1, 0.43),
        (0, 2, 8.32),
        (1, 0, 1.71),
        (1, 1, -8.75),
        (2, 2, -10.03),
        (2, 3, 0.43),
        (2, 4, 0.035),
        (3, 1, 8.32),
        (3, 2, 1.71),
        (3, 3, -1.12),
        (4, 4, -1.745),
        (4, 5, 0.43),
        (4, 6, 0.43),
        (5, 3, 0.69),
        (5, 4, 1.71),
        (5, 5, -by_six - 0.43),
        (5, 6, 0.69),
        (5, 7, -by_eight),
        (6, 5, by_six),
        (6, 6, -1.81),
        (6, 7, by_eight),
        (7, 5, -by_six),
        (7, 6, 1.81),
        (7, 7, -by_eight),
    ] {
        j[8 * row + column] = value;
    }
}
