//! Damped waves seen at irregular times with gaps and noise, by a latent ODE.

use std::path::Path;

use costate::nn::LatentOde;
use costate::prelude::*;
use ndarray::{Array3, Axis, Slice};

use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};
use crate::{Outcome, level};

const STEPS: u64 = 1500;
const ROWS: usize = 48;
/// Times that are seen in training; those after are not.
const SEEN: usize = 48;

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut rng = Rng::seeded(seed);
    let mut ts = vec![0.0];
    while ts.len() < 64 {
        ts.push(ts[ts.len() - 1] + 0.05 + 0.25 * rng.uniform());
    }
    let phases: Vec<f64> = (0..ROWS).map(|_| std::f64::consts::TAU * rng.uniform()).collect();
    let truth = |t: f64, j: usize| (-0.1 * t).exp() * (2.0 * t + phases[j]).sin();
    let data = Array3::from_shape_fn((ts.len(), ROWS, 1), |(i, j, _)| {
        truth(ts[i], j) + 0.05 * rng.normal()
    });
    let mask =
        Array3::from_shape_simple_fn((SEEN, ROWS, 1), || f64::from(u8::from(rng.uniform() < 0.5)));
    let head = data.slice_axis(Axis(0), Slice::from(..SEEN)).to_owned();

    let mut params = Params::<f64>::seeded(seed);
    let model = LatentOde::new(&mut params, "model", 1, 4, 24);
    let (mut adam, schedule) = (Adam::new(0.0), Cosine::new(0.01, 1e-4, STEPS));
    let ode = Ode::new(Rk4).steps(40);
    let mut curve = Vec::new();
    for step in 0..STEPS {
        let epsilon = rng.normals::<f64>([ROWS, 4]);
        adam.set_rate(schedule.rate(step));
        let loss = params.step(&mut adam, |tape, p| {
            let both = [tape.constant(&head), tape.constant(&mask)];
            let elbo = model.elbo(p, &ode, &ts[..SEEN], both, tape.constant(&epsilon), 0.1)?;
            Ok(-elbo.bound)
        })?;
        curve.push((step as f64, loss));
    }
    let tape = Tape::new();
    let p = params.bind(&tape);
    let (x, m) = (tape.constant(&head), tape.constant(&mask));
    let [mean, _] = model.encode(&p, &ts[..SEEN], x, m);
    let (all, parts) = (model.decode(&p, &ode, mean, &ts)?.value(), [0..SEEN, SEEN..ts.len()]);
    let errors = parts.map(|range| {
        let squares = range.flat_map(|i| (0..ROWS).map(move |j| (i, j)));
        let squares: Vec<f64> =
            squares.map(|(i, j)| (all[[i, j, 0]] - truth(ts[i], j)).powi(2)).collect();
        (squares.iter().sum::<f64>() / squares.len() as f64).sqrt()
    });
    println!("  root mean square error, seen times {:.3}, later {:.3}", errors[0], errors[1]);
    level("the error at later times", errors[1], 0.1)?;

    let fine: Vec<f64> = (0..=200).map(|i| ts[ts.len() - 1] * f64::from(i) / 200.0).collect();
    let drawn = model.decode(&p, &Ode::new(Tsit5), mean, &fine)?.value();
    let mut panels =
        vec![Panel::new("bound", "step", "-bound", vec![Series::line("", BLUE, curve)])];
    for j in 0..2 {
        let line = fine.iter().enumerate().map(|(i, &t)| (t, drawn[[i, j, 0]])).collect();
        let real = fine.iter().map(|&t| (t, truth(t, j))).collect();
        let dots = (0..SEEN).filter(|&i| mask[[i, j, 0]] > 0.0).map(|i| (ts[i], data[[i, j, 0]]));
        panels.push(Panel::new(
            &format!("series {j}"),
            "t",
            "x",
            vec![
                Series::line("truth", GREY, real),
                Series::line("latent ODE", RED, line),
                Series::dots("seen", BLUE, dots.collect()),
            ],
        ));
    }
    draw(path, &panels)
}
