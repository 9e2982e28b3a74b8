//! Predator and prey: growth and decay are known, their interaction is found from a short series.

use std::path::Path;

use costate::nn::Universal;
use costate::prelude::*;
use ndarray::{Axis, Slice, arr2};

use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};
use crate::{Outcome, level};

fn known(z: Var<'_, f64>) -> Var<'_, f64> {
    z * z.tape().leaf(&[1.0, -1.0], [2])
}

fn missing(z: Var<'_, f64>) -> Var<'_, f64> {
    let product = z.slice_axis(1, 0..1) * z.slice_axis(1, 1..2);
    product * z.tape().leaf(&[-0.8, 0.7], [2])
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let seen = 21;
    let ts: Vec<f64> = (0..81).map(|i| 0.3 * f64::from(i)).collect();
    let start = arr2(&[[1.0, 0.8], [1.6, 0.6], [0.7, 1.2]]);
    let fine = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    let tape = Tape::new();
    let truth = fine.solve(|_, z| known(z) + missing(z), tape.constant(&start), &ts)?.value();
    let mut rng = Rng::seeded(seed);
    let data = truth.mapv(|x| x * (1.0 + 0.01 * rng.normal()));

    let mut params = Params::<f64>::seeded(seed);
    let model = Universal::new(&mut params, "unknown", 2, &[16], Activation::Tanh);
    let ode = Ode::new(Rk4).steps(40);
    // First a short part: from a poor start, a long series hardly has a slope.
    for n in [6, 12, seen] {
        let head = data.slice_axis(Axis(0), Slice::from(..n)).to_owned();
        let found = params.minimise(&mut Lbfgs::new(20), 150, |tape, p| {
            let z = tape.constant(&start);
            let zs = model.forward(p, &ode, |_, z| known(z), z, &ts[..n])?;
            Ok((zs - &head).square().mean())
        })?;
        println!("  {n:2} times: mean squared error {:.1e}", found.loss);
    }
    let tape = Tape::new();
    let p = params.bind(&tape);
    let z = tape.constant(&start);
    let found = model.forward(&p, &fine, |_, z| known(z), z, &ts)?.value();
    let curve = |k: usize| ts.iter().enumerate().map(|(i, &t)| (t, found[[i, 0, k]])).collect();
    let real = |k: usize| ts.iter().enumerate().map(|(i, &t)| (t, truth[[i, 0, k]])).collect();
    let dots = |k: usize| (0..seen).map(|i| (ts[i], data[[i, 0, k]])).collect();
    // The terms along the first cycle.
    let along = tape.constant(&truth.index_axis(Axis(1), 0));
    let (a, b) = (model.unknown(&p, along).value(), missing(along).value());
    let error = (&a - &b).mapv(|e| e * e).mean().unwrap_or(f64::NAN).sqrt();
    println!("  missing terms: root mean square error {error:.3} of values up to 1.5");
    level("the error of the missing terms", error, 0.05)?;
    let term =
        |x: &ndarray::ArrayD<f64>, k: usize| (0..ts.len()).map(|i| (ts[i], x[[i, k]])).collect();
    draw(
        path,
        &[
            Panel::new(
                "seen to t = 6",
                "t",
                "prey, predator",
                vec![
                    Series::line("truth", GREY, real(0)),
                    Series::line("", GREY, real(1)),
                    Series::line("prey", BLUE, curve(0)),
                    Series::line("predator", RED, curve(1)),
                    Series::dots("", BLUE, dots(0)),
                    Series::dots("", RED, dots(1)),
                ],
            ),
            Panel::new(
                "the missing terms",
                "t",
                "",
                vec![
                    Series::line("truth", GREY, term(&b, 0)),
                    Series::line("", GREY, term(&b, 1)),
                    Series::line("network, prey", BLUE, term(&a, 0)),
                    Series::line("network, predator", RED, term(&a, 1)),
                ],
            ),
        ],
    )
}
