//! The feed-forward ODE as a normalising flow: its divergence costs one pass over the entries.

use std::path::Path;
use std::time::Instant;

use costate::nn::{Integrand, Trace, integrand, solve_with_integrals};
use costate::prelude::*;
use ndarray::{Array2, Axis};

use crate::Outcome;
use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};

const STEPS: u64 = 500;

/// Two bumps that lean.
fn bumps(rng: &mut Rng, n: usize) -> Array2<f64> {
    let mut x = Array2::zeros((n, 2));
    for (i, mut row) in x.rows_mut().into_iter().enumerate() {
        let side = [-1.0, 1.0][i % 2];
        let (a, b) = (0.3 * rng.normal(), 0.6 * rng.normal());
        (row[0], row[1]) = (1.5 * side + a + 0.5 * b, 0.5 * side + b);
    }
    x
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut rng = Rng::seeded(seed);
    let data = bumps(&mut rng, 1000);
    let mut params = Params::<f64>::seeded(seed);
    let flow = FeedForwardOde::new(&mut params, "flow", 2, 6, Activation::Tanh);
    let ode = Ode::new(Rk4).steps(12);
    let mut batches = Batches::new(1000, 100, seed);
    let (mut adam, schedule) = (Adam::new(0.0), Cosine::new(0.1, 0.0, STEPS));
    let mut curve = Vec::new();
    for step in 0..STEPS {
        let x = data.select(Axis(0), batches.next_batch());
        adam.set_rate(schedule.rate(step));
        let loss = params
            .step(&mut adam, |tape, p| Ok(-flow.log_density(p, &ode, tape.constant(&x))?.mean()))?;
        curve.push((step as f64, loss));
    }
    let held_out = bumps(&mut rng, 2000);
    let tape = Tape::new();
    let p = params.bind(&tape);
    let found = -flow.log_density(&p, &ode, tape.constant(&held_out))?.mean().item();
    // What one normal distribution with the data's covariance gives.
    let centred = &data - &data.mean_axis(Axis(0)).ok_or("no data")?;
    let covariance = centred.t().dot(&centred) / 1000.0;
    let determinant = covariance[[0, 0]] * covariance[[1, 1]] - covariance[[0, 1]].powi(2);
    let normal = 1.0 + std::f64::consts::TAU.ln() + 0.5 * determinant.ln();
    println!("  -ln p of new points: {found:.3}; of the best normal distribution: {normal:.3}");

    // The cost of a trace with the width: one pass, and one forward pass for each component.
    let (mut free, mut exact) = (Vec::new(), Vec::new());
    for width in [2, 4, 8, 16, 32, 64] {
        let mut params = Params::<f64>::seeded(seed);
        let flow = FeedForwardOde::new(&mut params, "flow", width, 2, Activation::Tanh);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&rng.normals([64, width])));
        let field = |t, x| Ok(flow.field(&p, t, x));
        let divergence = integrand(|at| flow.divergence(&p, at.t, at.x));
        let ((a, one), (b, other)) =
            (cost(&ode, &field, x, &divergence)?, cost(&ode, &field, x, &Trace::Exact)?);
        let apart = crate::distance(&one, &other);
        println!(
            "  width {width:2}: {:.2} ms by one pass, {:.2} ms by {width}; they differ by {apart:.1e}",
            1e3 * a,
            1e3 * b
        );
        free.push((width as f64, 1e3 * a));
        exact.push((width as f64, 1e3 * b));
    }
    let z = tape.constant(&rng.normals([400, 2]));
    let samples = flow.forward(&p, &ode, z)?.to_vec();
    let dots =
        |x: &[f64], colour| Series::dots("", colour, x.chunks(2).map(|p| (p[0], p[1])).collect());
    let shown: Vec<f64> = data.iter().copied().take(800).collect();
    draw(
        path,
        &[
            Panel::new("two bumps", "step", "-ln p", vec![Series::line("", BLUE, curve)]),
            Panel::new("data", "x₁", "x₂", vec![dots(&shown, GREY)]),
            Panel::new("samples of the feed-forward ODE", "x₁", "x₂", vec![dots(&samples, RED)]),
            Panel::new(
                "the cost of ln p",
                "width",
                "ms",
                vec![
                    Series::line("tr A + Σ φ'", RED, free),
                    Series::line("trace, column by column", GREY, exact),
                ],
            ),
        ],
    )
}

/// The least of five times that a solve with an integral takes, in seconds, and the integral.
fn cost<'t>(
    ode: &Ode,
    field: &impl Fn(Var<'t, f64>, Var<'t, f64>) -> costate::tape::Result<Var<'t, f64>>,
    x: Var<'t, f64>,
    integrand: &dyn Integrand<'t, f64>,
) -> Outcome<(f64, Vec<f64>)> {
    let (mut least, mut values) = (f64::INFINITY, Vec::new());
    for _ in 0..5 {
        let start = Instant::now();
        let (_, integrals) = solve_with_integrals(ode, field, x, [0.0, 1.0], &[integrand])?;
        values = integrals[0].to_vec();
        least = least.min(start.elapsed().as_secs_f64());
    }
    Ok((least, values))
}
