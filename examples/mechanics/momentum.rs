//! Hidden states and their momenta along trained networks, for weights that are constant, where `H`
//! is conserved, and for weights that vary, where it is not.

use std::path::Path;

use costate::nn::mechanics::trajectory;
use costate::prelude::*;

use crate::picture::{BLUE, Panel, RED, Series, draw};
use crate::{Outcome, data, distance, fine, times};

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
        let path =
            trajectory(&fine(), field, tape.constant(&x), &ts, |x| Ok((x - &y).square().mean()))?;
        let h: Vec<f64> = path.energies.iter().map(|h| h.item()).collect();
        let drift = h.iter().map(|e| (e - h[0]).abs()).fold(0.0, f64::max);
        println!("  {name}: H = {:.4} at the start, changes by {drift:.1e} along depth", h[0]);
        let line =
            |points: Vec<f64>| Series::line(name, colour, ts.iter().copied().zip(points).collect());
        sizes.push(line(path.momenta.iter().map(|p| p.square().sum().sqrt().item()).collect()));
        energies.push(line(h));
        // Through the bases the knots share the gradient; their sum is dL/dβ(t).
        let weights = [p[body.bias]];
        let along = path.weight_gradients(field, &weights)?;
        let density: Vec<f64> = along.iter().map(|g| g[0].sum_axis(0).to_vec()[0]).collect();
        // Simpson's rule against back-propagation.
        let c = |i: usize| if i == 0 || i == 40 { 1.0 } else { 2.0 * (1 + i % 2) as f64 };
        let mut integral = along[0][0].zeros_like();
        for (i, g) in along.iter().enumerate() {
            integral = integral + g[0].scale(c(i) / 120.0);
        }
        let gradient = path.loss.grad(&weights)?[0].to_vec();
        println!(
            "  {name}: the integral of dL/dβ(t) is {:.1e} from the gradient of β, the rule of \
             Simpson",
            distance(&integral.to_vec(), &gradient)
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
