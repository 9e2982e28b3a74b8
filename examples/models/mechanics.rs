//! Mechanics of a trained network: hidden states and their momenta, the energy `H = p · f`, and the
//! gradient as a function of depth, for constant weights, where `H` is conserved, and for weights
//! that vary, where it is not.

use std::path::Path;

use costate::nn::mechanics::{interpolate_depth, trajectory};
use costate::prelude::*;
use ndarray::{Array2, ArrayD};

use crate::Outcome;
use crate::picture::{BLUE, GREEN, Panel, RED, Series, draw};

/// A function that is not near the identity.
fn data(seed: u64) -> (ArrayD<f64>, ArrayD<f64>) {
    let x: ArrayD<f64> = Rng::seeded(seed).normals([32, 2]);
    let mut y = x.clone();
    for mut row in y.rows_mut() {
        let (a, b) = (row[0], row[1]);
        (row[0], row[1]) = (a + b.sin(), b - 0.5 * (2.0 * a).sin());
    }
    (x, y)
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let (x, y) = data(seed);
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-8);
    let ts: Vec<f64> = (0..=40).map(|i| f64::from(i) / 40.0).collect();
    let (mut energies, mut slopes) = (Vec::new(), Vec::new());
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
        let fine = Ode::new(Tsit5).tolerance(1e-10, 1e-10);
        let field = |t, x| Ok(body.field(&p, t, x));
        let path =
            trajectory(&fine, field, tape.constant(&x), &ts, |x| Ok((x - &y).square().mean()))?;
        let h: Vec<f64> = path.energies.iter().map(|h| h.item()).collect();
        let drift = h.iter().map(|e| (e - h[0]).abs()).fold(0.0, f64::max);
        println!("  {name}: H = {:.4} at the start, changes by {drift:.1e} along depth", h[0]);
        energies.push(Series::line(name, colour, ts.iter().copied().zip(h).collect()));
        let along = path.weight_gradients(field, &[p[body.bias]])?;
        // Through the bases the knots share the gradient; their sum is dL/dβ(t).
        let density = along.iter().map(|g| g[0].sum_axis(0).to_vec()[0]);
        slopes.push(Series::line(name, colour, ts.iter().copied().zip(density).collect()));
    }

    // Residual networks with trained weights, ever deeper.
    let mut params = Params::<f64>::seeded(seed);
    let net = ResidualNet::new(&mut params, "net", 2, 6, Activation::Tanh);
    let mut adam = Adam::new(0.03);
    for _ in 0..200 {
        params.step(&mut adam, |tape, p| {
            Ok((net.forward(p, tape.constant(&x)) - &y).square().mean())
        })?;
    }
    let output = |layers: usize| {
        let mut deep = Params::<f64>::seeded(0);
        let net = ResidualNet::new(&mut deep, "net", 2, layers, Activation::Tanh);
        let tape = Tape::new();
        let weights = params.bind(&tape);
        let parts = weights.vars().iter().map(|w| interpolate_depth(w.value().view(), layers));
        let parts: Vec<f64> = parts.flatten().collect();
        deep.values_mut().copy_from_slice(&parts);
        let y = net.forward(&deep.bind(&tape), tape.constant(&x)).to_vec();
        Array2::from_shape_vec((32, 2), y).expect("32 rows of 2")
    };
    let limit = output(12 * 1024);
    let mut errors = Vec::new();
    for layers in [6, 12, 24, 48, 96, 192, 384] {
        let error = (output(layers) - &limit).mapv(|e| e * e).mean().unwrap_or(f64::NAN).sqrt();
        errors.push(((layers as f64).log2(), error.log2()));
    }
    let orders: Vec<String> =
        errors.windows(2).map(|w| format!("{:.2}", w[0].1 - w[1].1)).collect();
    println!("  deeper and deeper residual networks: orders {}", orders.join(", "));
    draw(
        path,
        &[
            Panel::new("H = p · f along depth", "t", "H", energies),
            Panel::new("the gradient along depth", "t", "dL/dβ₁(t)", slopes),
            Panel::new(
                "from network to equation",
                "log₂ of the layers",
                "log₂ of the distance to the limit",
                vec![Series::line("", GREEN, errors)],
            ),
        ],
    )
}
