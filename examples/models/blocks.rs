//! Two rings, told apart by an ODE block with constant weights, with weights that vary along depth,
//! and with two more dimensions.
//!
//! In the plane the inner ring cannot get out, since paths do not cross: the field tears the outer
//! one open. With more dimensions it lifts the inner one out.

use std::path::Path;

use costate::nn::{Augmented, KineticEnergy, solve_with_integrals};
use costate::prelude::*;
use ndarray::Array2;

use crate::picture::{BLUE, GREEN, GREY, ORANGE, Panel, RED, Series, draw};
use crate::{Outcome, level};

const STEPS: usize = 300;

/// Points of two rings, and which ring.
pub fn rings(rng: &mut Rng, n: usize) -> (Array2<f64>, Vec<usize>) {
    let labels: Vec<usize> = (0..n).map(|i| i % 2).collect();
    let mut x = Array2::zeros((n, 2));
    for (mut row, &label) in x.rows_mut().into_iter().zip(&labels) {
        let angle = std::f64::consts::TAU * rng.uniform();
        let radius = [0.4, 1.2][label] + 0.08 * rng.normal();
        (row[0], row[1]) = (radius * angle.cos(), radius * angle.sin());
    }
    (x, labels)
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut rng = Rng::seeded(seed);
    let (x, labels) = rings(&mut rng, 128);
    let ode = Ode::new(Rk4).steps(8);
    let mut curves = Vec::new();
    let mut paths = Vec::new();
    for (name, basis, extra, colour) in [
        ("constant", Basis::Constant, 0, GREY),
        ("4 pieces", Basis::Piecewise(4), 0, BLUE),
        ("4 knots", Basis::Linear(4), 0, GREEN),
        ("Fourier", Basis::Fourier(2), 0, ORANGE),
        ("augmented", Basis::Constant, 2, RED),
    ] {
        let mut params = Params::<f64>::seeded(seed);
        let tanh = Activation::Tanh;
        let body = Augmented::new(&mut params, "body", [2, extra], &[16], basis, tanh);
        let out = Linear::new(&mut params, "out", 2 + extra, 2);
        let mut adam = Adam::new(0.02);
        let (mut losses, mut right) = (Vec::new(), 0.0);
        for step in 0..STEPS {
            let loss = params.step(&mut adam, |tape, p| {
                let logits = out.forward(p, body.forward(p, &ode, tape.constant(&x))?);
                right = accuracy(logits, &labels);
                Ok(cross_entropy(logits, &labels))
            })?;
            losses.push((step as f64, loss.max(1e-6).log10()));
        }
        let tape = Tape::new();
        let p = params.bind(&tape);
        let start = tape.constant(&x).pad(1, 0, extra);
        let field = |t, x| Ok(body.block.field(&p, t, x));
        let (_, energy) = solve_with_integrals(&ode, field, start, [0.0, 1.0], &[&KineticEnergy])?;
        let energy = energy[0].mean().item();
        println!(
            "  {name:10} accuracy {right:.3}, loss {:.1e}, kinetic energy {energy:.1}",
            10f64.powf(losses[STEPS - 1].1)
        );
        level(name, 1.0 - right, 0.02)?;
        curves.push(Series::line(name, colour, losses));
        if name == "4 knots" || name == "augmented" {
            paths.push(trajectories(&body, &p, start, &labels, name)?);
        }
    }
    let mut panels = vec![Panel::new("two rings", "step", "log₁₀ of the loss", curves)];
    panels.extend(paths);
    draw(path, &panels)
}

/// The paths of some points.
pub fn trajectories<'t>(
    body: &Augmented,
    p: &Bound<'t, f64>,
    start: Var<'t, f64>,
    labels: &[usize],
    name: &str,
) -> Outcome<Panel> {
    let ts: Vec<f64> = (0..=24).map(|i| f64::from(i) / 24.0).collect();
    let ode = Ode::new(Rk4).steps(24);
    let xs = ode.solve(|t, x| body.block.field(p, t, x), start, &ts)?.value();
    // Where there are more dimensions, the third one shows how the rings part.
    let second = if body.block.width() > 2 { 2 } else { 1 };
    let line = |row: usize| {
        let points = (0..ts.len()).map(|i| (xs[[i, row, 0]], xs[[i, row, second]])).collect();
        Series::line("", [BLUE, RED][labels[row]], points)
    };
    let title = format!("{name}: paths of points");
    Ok(Panel::new(&title, "x₁", ["x₂", "x₃"][second - 1], (0..60).map(line).collect()))
}
