//! Which way a spiral turns, from irregular observations, by neural controlled differential
//! equations along three kinds of path.

use std::path::Path;

use costate::nn::{NeuralCde, Path as Curve, PathKind};
use costate::prelude::*;
use ndarray::{Array3, Axis};

use crate::picture::{BLUE, GREEN, ORANGE, Panel, RED, Series, draw};
use crate::{Outcome, level};

const STEPS: usize = 150;
const TIMES: usize = 12;
const ROWS: usize = 64;

/// Noisy spirals `[times, rows, (t, x, y)]`, and which way they turn.
fn spirals(rng: &mut Rng, ts: &[f64]) -> (Array3<f64>, Vec<usize>) {
    let labels: Vec<usize> = (0..ROWS).map(|j| j % 2).collect();
    let phases: Vec<f64> = (0..ROWS).map(|_| std::f64::consts::TAU * rng.uniform()).collect();
    let xs = Array3::from_shape_fn((TIMES, ROWS, 3), |(i, j, k)| {
        let angle = phases[j] + [2.0, -2.0][labels[j]] * ts[i];
        let radius = 0.3 + 0.3 * ts[i];
        match k {
            0 => ts[i],
            1 => radius * angle.cos() + 0.1 * rng.normal(),
            _ => radius * angle.sin() + 0.1 * rng.normal(),
        }
    });
    (xs, labels)
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut rng = Rng::seeded(seed);
    let mut ts = vec![0.0];
    while ts.len() < TIMES {
        ts.push(ts[ts.len() - 1] + 0.05 + 0.3 * rng.uniform());
    }
    let (xs, labels) = spirals(&mut rng, &ts);
    let (held_out, truth) = spirals(&mut rng, &ts);
    let ode = Ode::new(Rk4).steps(1);
    let mut curves = Vec::new();
    for (kind, colour) in
        [(PathKind::Linear, BLUE), (PathKind::CubicHermite, RED), (PathKind::Natural, GREEN)]
    {
        let mut params = Params::<f64>::seeded(seed);
        let cde = NeuralCde::new(&mut params, "cde", [3, 8], &[16], Activation::Tanh);
        let out = Linear::new(&mut params, "out", 8, 2);
        let mut adam = Adam::new(0.01);
        let mut curve = Vec::new();
        for step in 0..STEPS {
            let loss = params.step(&mut adam, |tape, p| {
                let zs = cde.forward(p, &ode, &Curve::new(kind, &ts, tape.constant(&xs)))?;
                Ok(cross_entropy(out.forward(p, zs.index_axis(0, TIMES - 1)), &labels))
            })?;
            curve.push((step as f64, loss));
        }
        let tape = Tape::new();
        let p = params.bind(&tape);
        let zs = cde.forward(&p, &ode, &Curve::new(kind, &ts, tape.constant(&held_out)))?;
        let right = accuracy(out.forward(&p, zs.index_axis(0, TIMES - 1)), &truth);
        println!("  {kind:?}: accuracy on new spirals {right:.3}");
        level("the share of mistakes", 1.0 - right, 0.05)?;
        curves.push(Series::line(&format!("{kind:?}"), colour, curve));
    }
    let spiral = |j: usize, colour| {
        let points = xs.index_axis(Axis(1), j).rows().into_iter().map(|r| (r[1], r[2])).collect();
        Series::line("", colour, points)
    };
    draw(
        path,
        &[
            Panel::new("a neural CDE on spirals", "step", "cross-entropy", curves),
            Panel::new(
                "some of them",
                "x",
                "y",
                (0..8).map(|j| spiral(j, [BLUE, ORANGE][j % 2])).collect(),
            ),
        ],
    )
}
