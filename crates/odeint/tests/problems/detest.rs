//! The test problems of Hull, Enright, Fellen and Sedgwick, SIAM J. Numer. Anal. 9 (1972) 603:
//! single equations (A), small systems (B), moderate systems (C), orbits (D), and equations of
//! higher order (E), all on [0, 20].

/// A vector field.
pub type Field = Box<dyn Fn(f64, &[f64], &mut [f64])>;

/// A test problem.
pub struct Problem {
    pub name: &'static str,
    pub y0: Vec<f64>,
    pub field: Field,
}

fn problem(
    name: &'static str,
    y0: &[f64],
    field: impl Fn(f64, &[f64], &mut [f64]) + 'static,
) -> Problem {
    Problem { name, y0: y0.to_vec(), field: Box::new(field) }
}

/// `n` components, the first one 1 and the others 0.
fn unit(n: usize) -> Vec<f64> {
    (0..n).map(|i| if i == 0 { 1.0 } else { 0.0 }).collect()
}

/// `y_i' = y_(i-1) - 2 y_i + y_(i+1)`.
fn chain(_: f64, y: &[f64], dy: &mut [f64]) {
    let n = y.len();
    for i in 0..n {
        let before = if i > 0 { y[i - 1] } else { 0.0 };
        let after = if i + 1 < n { y[i + 1] } else { 0.0 };
        dy[i] = before - 2.0 * y[i] + after;
    }
}

/// The two-body problem; positions and then velocities.
fn kepler(_: f64, y: &[f64], dy: &mut [f64]) {
    let r3 = (y[0] * y[0] + y[1] * y[1]).powf(1.5);
    (dy[0], dy[1], dy[2], dy[3]) = (y[2], y[3], -y[0] / r3, -y[1] / r3);
}

/// The sun and the five outer planets, relative to the sun: fifteen positions, fifteen velocities.
fn planets(_: f64, y: &[f64], dy: &mut [f64]) {
    const K2: f64 = 2.95912208286;
    const SUN: f64 = 1.00000597682;
    const M: [f64; 5] = [
        0.000954786104043,
        0.000285583733151,
        0.0000437273164546,
        0.0000517759138449,
        0.00000277777777778,
    ];
    let position = |j: usize| [y[3 * j], y[3 * j + 1], y[3 * j + 2]];
    let cube = |x: [f64; 3]| (x[0] * x[0] + x[1] * x[1] + x[2] * x[2]).powf(1.5);
    for j in 0..5 {
        let (x, r3) = (position(j), cube(position(j)));
        let mut acceleration = x.map(|x| -(SUN + M[j]) * x / r3);
        for k in (0..5).filter(|&k| k != j) {
            let other = position(k);
            let between = [other[0] - x[0], other[1] - x[1], other[2] - x[2]];
            for i in 0..3 {
                acceleration[i] += M[k] * (between[i] / cube(between) - other[i] / cube(other));
            }
        }
        for i in 0..3 {
            dy[3 * j + i] = y[15 + 3 * j + i];
            dy[15 + 3 * j + i] = K2 * acceleration[i];
        }
    }
}

const PLANETS: [f64; 30] = [
    3.42947415189,
    3.35386959711,
    1.35494901715,
    6.64145542550,
    5.97156957878,
    2.18231499728,
    11.2630437207,
    14.6952576794,
    6.27960525067,
    -30.1552268759,
    1.65699966404,
    1.43785752721,
    -21.1238353380,
    28.4465098142,
    15.3882659679,
    -0.557160570446,
    0.505696783289,
    0.230578543901,
    -0.415570776342,
    0.365682722812,
    0.169143213293,
    -0.325325669158,
    0.189706021964,
    0.0877265322780,
    -0.0240476254170,
    -0.287659532608,
    -0.117219543175,
    -0.176860753121,
    -0.216393453025,
    -0.0148647893090,
];

/// All 25.
pub fn problems() -> Vec<Problem> {
    let orbit =
        |name, e: f64| problem(name, &[1.0 - e, 0.0, 0.0, ((1.0 + e) / (1.0 - e)).sqrt()], kepler);
    vec![
        problem("A1", &[1.0], |_, y, dy| dy[0] = -y[0]),
        problem("A2", &[1.0], |_, y, dy| dy[0] = -y[0].powi(3) / 2.0),
        problem("A3", &[1.0], |t, y, dy| dy[0] = y[0] * t.cos()),
        problem("A4", &[1.0], |_, y, dy| dy[0] = y[0] / 4.0 * (1.0 - y[0] / 20.0)),
        problem("A5", &[4.0], |t, y, dy| dy[0] = (y[0] - t) / (y[0] + t)),
        problem("B1", &[1.0, 3.0], |_, y, dy| {
            dy[0] = 2.0 * (y[0] - y[0] * y[1]);
            dy[1] = -(y[1] - y[0] * y[1]);
        }),
        problem("B2", &[2.0, 0.0, 1.0], |_, y, dy| {
            dy[0] = -y[0] + y[1];
            dy[1] = y[0] - 2.0 * y[1] + y[2];
            dy[2] = y[1] - y[2];
        }),
        problem("B3", &[1.0, 0.0, 0.0], |_, y, dy| {
            dy[0] = -y[0];
            dy[1] = y[0] - y[1] * y[1];
            dy[2] = y[1] * y[1];
        }),
        problem("B4", &[3.0, 0.0, 0.0], |_, y, dy| {
            let r = y[0].hypot(y[1]);
            dy[0] = -y[1] - y[0] * y[2] / r;
            dy[1] = y[0] - y[1] * y[2] / r;
            dy[2] = y[0] / r;
        }),
        problem("B5", &[0.0, 1.0, 1.0], |_, y, dy| {
            dy[0] = y[1] * y[2];
            dy[1] = -y[0] * y[2];
            dy[2] = -0.51 * y[0] * y[1];
        }),
        problem("C1", &unit(10), |_, y, dy| {
            dy[0] = -y[0];
            for i in 1..9 {
                dy[i] = y[i - 1] - y[i];
            }
            dy[9] = y[8];
        }),
        problem("C2", &unit(10), |_, y, dy| {
            dy[0] = -y[0];
            for i in 1..9 {
                dy[i] = i as f64 * y[i - 1] - (i + 1) as f64 * y[i];
            }
            dy[9] = 9.0 * y[8];
        }),
        problem("C3", &unit(10), chain),
        problem("C4", &unit(51), chain),
        problem("C5", &PLANETS, planets),
        orbit("D1", 0.1),
        orbit("D2", 0.3),
        orbit("D3", 0.5),
        orbit("D4", 0.7),
        orbit("D5", 0.9),
        problem("E1", &[0.671_396_707_141_803, 0.095_400_514_447_474_46], |t, y, dy| {
            let x = t + 1.0;
            dy[0] = y[1];
            dy[1] = -(y[1] / x + (1.0 - 0.25 / (x * x)) * y[0]);
        }),
        problem("E2", &[2.0, 0.0], |_, y, dy| {
            dy[0] = y[1];
            dy[1] = (1.0 - y[0] * y[0]) * y[1] - y[0];
        }),
        problem("E3", &[0.0, 0.0], |t, y, dy| {
            dy[0] = y[1];
            dy[1] = y[0].powi(3) / 6.0 - y[0] + 2.0 * (2.78535 * t).sin();
        }),
        problem("E4", &[30.0, 0.0], |_, y, dy| {
            dy[0] = y[1];
            dy[1] = 0.032 - 0.4 * y[1] * y[1];
        }),
        problem("E5", &[0.0, 0.0], |t, y, dy| {
            dy[0] = y[1];
            dy[1] = (1.0 + y[1] * y[1]).sqrt() / (25.0 - t);
        }),
    ]
}
