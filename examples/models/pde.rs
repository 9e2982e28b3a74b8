//! A reaction–diffusion equation whose diffusion and reaction are found from how a field changes:
//! `∂u/∂t = ν ∂²u/∂x² + r(u)`, with a number `ν` and a network `r`. The truth is the equation of
//! Fisher and Kolmogorov, `r = 3 u (1 - u)`.

use std::path::Path;

use costate::nn::Grid1d;
use costate::prelude::*;
use ndarray::{Array2, ArrayD};

use crate::picture::{BLUE, GREY, ORANGE, Panel, RED, Series, draw};
use crate::{Outcome, level};

const POINTS: usize = 48;

pub fn run(path: &Path, seed: u64) -> Outcome {
    let grid = Grid1d::new(POINTS, 1.0);
    let bump = |x: f64, at: f64| (-100.0 * (x - at).powi(2)).exp();
    let start = Array2::from_shape_fn((2, POINTS), |(row, i)| {
        let x = grid.points()[i];
        if row == 0 { 0.7 * bump(x, 0.5) } else { 0.4 * bump(x, 0.25) + 0.9 * bump(x, 0.7) }
    });
    let ts = [0.0, 0.1, 0.2, 0.4, 0.6];
    let ode = Ode::new(Rk4).steps(60);
    let tape = Tape::new();
    let u = tape.constant(&start);
    let data =
        ode.solve(|_, u| grid.second(u).scale(0.005) + (u - u.square()).scale(3.0), u, ts)?.value();
    let mut rng = Rng::seeded(seed);
    let noisy = data.mapv(|u| u + 0.005 * rng.normal());

    let mut params = Params::<f64>::seeded(seed);
    let log_nu = params.add("log_nu", [], |_| 0.002f64.ln());
    let reaction = Mlp::new(&mut params, "reaction", &[1, 12, 1], Activation::Tanh);
    fn model<'t>(
        grid: Grid1d,
        reaction: &Mlp,
        log_nu: Param,
        p: &Bound<'t, f64>,
        u: Var<'t, f64>,
    ) -> Var<'t, f64> {
        let r = reaction.forward(p, u.reshape([2 * POINTS, 1])).reshape([2, POINTS]);
        p[log_nu].exp() * grid.second(u) + r
    }
    let mut errors = Vec::new();
    for round in 0..12 {
        let found = params.minimise(&mut Lbfgs::new(20), 25, |tape, p| {
            let u = tape.constant(&start);
            let us = ode.solve(|_, u| model(grid, &reaction, log_nu, p, u), u, ts)?;
            Ok((us - &noisy).square().mean())
        })?;
        errors.push((25.0 * f64::from(round + 1), found.loss.log10()));
    }
    let nu = params.get(log_nu).sum().exp();
    println!(
        "  ν = {nu:.5}, the truth is 0.005; mean squared error {:.1e}",
        10f64.powf(errors[11].1)
    );
    level("the error of ν", (nu - 0.005).abs(), 1e-3)?;

    let tape = Tape::new();
    let p = params.bind(&tape);
    let u = tape.constant(&start);
    let found = ode.solve(|_, u| model(grid, &reaction, log_nu, &p, u), u, ts)?.value();
    let line = |us: &ArrayD<f64>, i: usize| {
        grid.points().iter().enumerate().map(|(j, &x)| (x, us[[i, 1, j]])).collect()
    };
    let mut fields = Vec::new();
    for (i, colour) in [(0, GREY), (2, BLUE), (3, ORANGE), (4, RED)] {
        fields.push(Series::dots("", colour, line(&noisy, i)));
        fields.push(Series::line(&format!("t = {}", ts[i]), colour, line(&found, i)));
    }
    let values: Vec<f64> = (0..=40).map(|i| f64::from(i) / 40.0).collect();
    let r = reaction.forward(&p, tape.leaf(&values, [41, 1])).to_vec();
    draw(
        path,
        &[
            Panel::new("a field and its fit", "x", "u", fields),
            Panel::new(
                "the reaction",
                "u",
                "r(u)",
                vec![
                    Series::line(
                        "3 u (1 - u)",
                        GREY,
                        values.iter().map(|u| (*u, 3.0 * u * (1.0 - u))).collect(),
                    ),
                    Series::line("network", RED, values.iter().copied().zip(r).collect()),
                ],
            ),
            Panel::new(
                "fit",
                "iteration",
                "log₁₀ mean squared error",
                vec![Series::line("", BLUE, errors)],
            ),
        ],
    )
}
