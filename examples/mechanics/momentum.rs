//! Hidden states and their momenta along trained networks, for weights that are constant, where `H`
//! is conserved, and for weights that vary, where it is not.

use std::path::Path;

use costate::nn::mechanics::trajectory;
use costate::prelude::*;
use ndarray::Axis;

use crate::picture::{BLUE, Panel, RED, Series, draw};
use crate::{Outcome, data, distance, fine, flat, times};

pub fn run(path: &Path, seed: u64) -> Outcome {
    let (x, y) = data(seed);
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-8);
    let ts = times(40);
    let (mut sizes, mut energies, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
    for (name, knots, colour) in [("constant weights", 1, BLUE), ("4 knots", 4, RED)] {
        let mut params = Params::<f64>::seeded(seed);
        let body = FeedForwardOde::new(&mut params, "body", 2, knots, Activation::Tanh);
        let mut adam = Adam::new(0.03);
        // Not to the end, where momenta vanish.
        for _ in 0..40 {
            params.step(&mut adam, |tape, p| {
                Ok((body.forward(p, &ode, tape.constant(&x))? - &y).square().mean())
            })?;
        }
        let tape = Tape::new();
        let p = params.bind(&tape);
        let field = |t, x| Ok(body.field(&p, t, x));
        // Through the bases the knots share the gradient; their sum is dL/dβ(t).
        let (start, weights) = (tape.constant(&x), [p[body.bias]]);
        let path =
            trajectory(&fine(), field, start, &ts, |x| Ok((x - &y).square().mean()), &weights)?;
        let h = path.energies;
        let drift = h.iter().map(|e| (e - h[0]).abs()).fold(0.0, f64::max);
        println!("  {name}: H = {:.4} at the start, changes by {drift:.1e} along depth", h[0]);
        let line =
            |points: Vec<f64>| Series::line(name, colour, ts.iter().copied().zip(points).collect());
        sizes.push(line(path.momenta.iter().map(|p| p.square().sum().sqrt().item()).collect()));
        energies.push(line(h));
        let along = &path.weight_gradients[0];
        let density: Vec<f64> = along.iter().map(|g| g.sum_axis(Axis(0))[0]).collect();
        // Simpson's rule against back-propagation.
        let c = |i: usize| if i == 0 || i == 40 { 1.0 } else { 2.0 * (1 + i % 2) as f64 };
        let mut integral = &along[0] * 0.0;
        for (i, g) in along.iter().enumerate() {
            integral.scaled_add(c(i) / 120.0, g);
        }
        println!(
            "  {name}: the integral of dL/dβ(t) is {:.1e} from the gradient of β, the rule of \
             Simpson",
            distance(&flat(&integral), &flat(&path.gradient[0]))
        );
        slopes.push(line(density));
    }
    draw(
        path,
        &[
            Panel::new("the momentum p = ∂L/∂x(t)", "t", "|p|", sizes),
            Panel::new("H = p · f along depth", "t", "H", energies),
            Panel::new("the gradient along depth", "t", "dL/dβ₁(t)", slopes),
        ],
    )
}
