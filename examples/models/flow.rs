//! The density of two moons, by a continuous normalising flow.

use std::path::Path;

use costate::nn::{Ema, Flow, KineticEnergy, Trace};
use costate::prelude::*;
use ndarray::{Array2, Axis};

use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};
use crate::{Outcome, level};

const STEPS: u64 = 600;

fn moons(rng: &mut Rng, n: usize) -> Array2<f64> {
    let mut x = Array2::zeros((n, 2));
    for (i, mut row) in x.rows_mut().into_iter().enumerate() {
        let angle = std::f64::consts::PI * rng.uniform();
        let (a, b) = (angle.cos(), angle.sin());
        let (a, b) = if i % 2 == 0 { (a - 0.5, b - 0.25) } else { (0.5 - a, 0.25 - b) };
        (row[0], row[1]) = (1.3 * a + 0.08 * rng.normal(), 1.3 * b + 0.08 * rng.normal());
    }
    x
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut rng = Rng::seeded(seed);
    let data = moons(&mut rng, 2000);
    let mut params = Params::<f64>::seeded(seed);
    let flow = Flow::new(&mut params, "flow", 2, &[32, 32], Basis::Linear(3), Activation::Tanh);
    let ode = Ode::new(Rk4).steps(8);
    let mut batches = Batches::new(2000, 200, seed);
    let (mut adam, mut ema) = (Adam::new(0.0), Ema::new(0.98));
    let schedule = Cosine::new(0.01, 0.0, STEPS);
    let mut curve = Vec::new();
    for step in 0..STEPS {
        let x = data.select(Axis(0), batches.next_batch());
        let probe = rng.signs([x.nrows(), 2]);
        adam.set_rate(schedule.rate(step));
        let mut bits = 0.0;
        params.step(&mut adam, |tape, p| {
            let trace = Trace::Hutchinson(tape.constant(&probe));
            let x = tape.constant(&x);
            let (density, energy) = flow.log_density(p, &ode, x, &trace, &[&KineticEnergy])?;
            bits = -density.mean().item();
            Ok(energy[0].mean() * 0.01 - density.mean())
        })?;
        ema.update(&params);
        curve.push((step as f64, bits));
    }
    ema.apply(&mut params);
    let held_out = moons(&mut rng, 500);
    let tape = Tape::new();
    let p = params.bind(&tape);
    let fine = Ode::new(Tsit5).tolerance(1e-5, 1e-5);
    let (density, _) = flow.log_density(&p, &fine, tape.constant(&held_out), &Trace::Exact, &[])?;
    let found = -density.mean().item();
    println!("  negative log-density of new points, exact trace: {found:.3}");
    level("the negative log-density", found, 1.3)?;
    let z = rng.normals([400, 2]);
    let xs = fine.solve(
        |t, x| flow.block.field(&p, t, x),
        tape.constant(&z),
        [0.0, 0.25, 0.5, 0.75, 1.0],
    )?;
    let dots =
        |x: &[f64], colour| Series::dots("", colour, x.chunks(2).map(|p| (p[0], p[1])).collect());
    let at = |i: usize| xs.index_axis(0, i).to_vec();
    draw(
        path,
        &[
            Panel::new("two moons", "step", "-ln p", vec![Series::line("", BLUE, curve)]),
            Panel::new(
                "data",
                "x₁",
                "x₂",
                vec![dots(&data.as_slice().expect("contiguous")[..800], GREY)],
            ),
            Panel::new("samples, t = 0", "x₁", "x₂", vec![dots(&at(0), RED)]),
            Panel::new("samples, t = 1/2", "x₁", "x₂", vec![dots(&at(2), RED)]),
            Panel::new("samples, t = 1", "x₁", "x₂", vec![dots(&at(4), RED)]),
        ],
    )
}
