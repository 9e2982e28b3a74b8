//! The feed-forward ODE with a fast rotation as its linear part, by the Euler method, which must
//! follow it, and by splittings, which do it exactly.

use std::path::Path;

use costate::nn::mechanics::{Splitting, split_forward};
use costate::prelude::*;

use crate::picture::{BLUE, GREEN, GREY, Panel, RED, Series, draw};
use crate::{Outcome, distance, fine};

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut params = Params::<f64>::seeded(seed);
    let body = FeedForwardOde::new(&mut params, "body", 4, 1, Activation::Tanh).antisymmetric();
    params.values_mut().iter_mut().for_each(|w| *w *= 30.0);
    let tape = Tape::new();
    let (p, x) = (params.bind(&tape), tape.constant(&Rng::seeded(seed).normals([8, 4])));
    let exact = body.forward(&p, &fine(), x)?.to_vec();
    let counts = [4, 8, 16, 32, 64, 128, 256, 512];
    let mut lines = Vec::new();
    type Solve<'a> = Box<dyn Fn(usize) -> Outcome<Vec<f64>> + 'a>;
    let ways: [(&str, plotters::style::RGBColor, Solve<'_>); 4] = [
        (
            "Euler, a network",
            GREY,
            Box::new(|n| Ok(body.forward(&p, &Ode::new(Euler).steps(n), x)?.to_vec())),
        ),
        (
            "midpoint",
            GREEN,
            Box::new(|n| Ok(body.forward(&p, &Ode::new(Midpoint).steps(n), x)?.to_vec())),
        ),
        (
            "Lie splitting",
            BLUE,
            Box::new(|n| Ok(split_forward(&body, &p, x, n, Splitting::Lie).to_vec())),
        ),
        (
            "Strang splitting",
            RED,
            Box::new(|n| Ok(split_forward(&body, &p, x, n, Splitting::Strang).to_vec())),
        ),
    ];
    for (name, colour, solve) in ways {
        let mut points = Vec::new();
        for n in counts {
            // A method that explodes leaves the picture.
            let error = distance(&solve(n)?, &exact).clamp(1e-12, 1e3);
            points.push(((n as f64).log2(), error.log10()));
        }
        let order = (points[6].1 - points[7].1) / 2f64.log10();
        println!(
            "  {name}: error {:.1e} in {} steps, {:.1e} in {}, order {order:.2}",
            10f64.powf(points[3].1),
            counts[3],
            10f64.powf(points[7].1),
            counts[7]
        );
        lines.push(Series::line(name, colour, points));
    }
    draw(
        path,
        &[Panel::new("a fast linear part", "log₂ of the steps", "log₁₀ of the error", lines)],
    )
}
