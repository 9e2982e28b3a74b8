//! The problems: those of [`stiff`](crate::stiff) are stiff, and Kepler's is separable.

use crate::stiff::{self, Stiff};

/// A vector field on slices.
pub type Field = fn(f64, &[f64], &mut [f64]);

pub struct Problem {
    pub name: &'static str,
    pub field: Field,
    pub y0: Vec<f64>,
    pub end: f64,
    /// Whether its state is positions and momenta of a separable Hamiltonian.
    pub separable: bool,
    pub stiff: Option<Stiff>,
}

pub fn problems() -> Vec<Problem> {
    let problem = |name, field, y0: &[f64], end, separable| Problem {
        name,
        field,
        y0: y0.to_vec(),
        end,
        separable,
        stiff: None,
    };
    let mut all = vec![
        problem("lotka_volterra", lotka_volterra, &[1.0, 1.0], 10.0, false),
        problem("brusselator", brusselator, &[1.5, 3.0], 20.0, false),
        problem("lorenz", lorenz, &[1.0, 0.0, 0.0], 8.0, false),
        problem("kepler", kepler, &[0.7, 0.0, 0.0, (1.3f64 / 0.7).sqrt()], 20.0, true),
        problem("pleiades", pleiades, &PLEIADES, 3.0, true),
    ];
    all.extend(stiff::problems());
    all
}

fn lotka_volterra(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[0] * (1.5 - y[1]);
    dy[1] = y[1] * (y[0] - 3.0);
}

fn brusselator(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = 1.0 + y[0] * y[0] * y[1] - 4.0 * y[0];
    dy[1] = 3.0 * y[0] - y[0] * y[0] * y[1];
}

fn lorenz(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = 10.0 * (y[1] - y[0]);
    dy[1] = y[0] * (28.0 - y[2]) - y[1];
    dy[2] = y[0] * y[1] - 8.0 / 3.0 * y[2];
}

/// An orbit of eccentricity 0.3.
fn kepler(_: f64, y: &[f64], dy: &mut [f64]) {
    let r2 = y[0] * y[0] + y[1] * y[1];
    let r3 = r2 * r2.sqrt();
    (dy[0], dy[1], dy[2], dy[3]) = (y[2], y[3], -y[0] / r3, -y[1] / r3);
}

/// Seven stars in a plane (E. Hairer, S. P. Nørsett, G. Wanner, *Solving Ordinary Differential
/// Equations I*, II.10).
fn pleiades(_: f64, y: &[f64], dy: &mut [f64]) {
    for i in 0..7 {
        let mut sum = [0.0; 2];
        for j in (0..7).filter(|&j| j != i) {
            let (dx, dz) = (y[j] - y[i], y[7 + j] - y[7 + i]);
            let r2 = dx * dx + dz * dz;
            let r3 = r2 * r2.sqrt();
            sum[0] += (j + 1) as f64 * dx / r3;
            sum[1] += (j + 1) as f64 * dz / r3;
        }
        (dy[i], dy[7 + i]) = (y[14 + i], y[21 + i]);
        (dy[14 + i], dy[21 + i]) = (sum[0], sum[1]);
    }
}

#[rustfmt::skip]
const PLEIADES: [f64; 28] = [
    3.0, 3.0, -1.0, -3.0, 2.0, -2.0, 2.0, 3.0, -3.0, 2.0, 0.0, 0.0, -4.0, 4.0,
    0.0, 0.0, 0.0, 0.0, 0.0, 1.75, -1.5, 0.0, 0.0, 0.0, -1.25, 1.0, 0.0, 0.0,
];
