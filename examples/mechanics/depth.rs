//! Trained networks, their weights interpolated to more and more layers, tend to their differential
//! equations at first order.

use std::path::Path;

use costate::nn::mechanics::interpolate_depth;
use costate::prelude::*;

use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};
use crate::{Outcome, data};

#[derive(Clone, Copy)]
enum Net {
    Residual(ResidualNet),
    NearIdentity(NearIdentityNet),
}

impl Net {
    fn new(params: &mut Params<f64>, residual: bool, layers: usize) -> Net {
        if residual {
            Net::Residual(ResidualNet::new(params, "net", 2, layers, Activation::Tanh))
        } else {
            Net::NearIdentity(NearIdentityNet::new(params, "net", 2, layers, Activation::Tanh))
        }
    }

    fn forward<'t>(&self, p: &Bound<'t, f64>, x: Var<'t, f64>) -> Var<'t, f64> {
        match self {
            Net::Residual(net) => net.forward(p, x),
            Net::NearIdentity(net) => net.forward(p, x),
        }
    }
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let (x, y) = data(seed);
    let mut lines = Vec::new();
    for (name, residual, colour) in
        [("residual network", true, BLUE), ("near-identity network", false, RED)]
    {
        let mut params = Params::<f64>::seeded(seed);
        let net = Net::new(&mut params, residual, 6);
        let mut adam = Adam::new(0.03);
        let mut loss = 0.0;
        for _ in 0..300 {
            loss = params.step(&mut adam, |tape, p| {
                Ok((net.forward(p, tape.constant(&x)) - &y).square().mean())
            })?;
        }
        let output = |layers: usize| -> Vec<f64> {
            let mut deep = Params::<f64>::seeded(0);
            let net = Net::new(&mut deep, residual, layers);
            let tape = Tape::new();
            let weights = params.bind(&tape);
            let parts = weights.vars().iter().map(|w| interpolate_depth(w.value().view(), layers));
            let parts: Vec<f64> = parts.flatten().collect();
            deep.values_mut().copy_from_slice(&parts);
            net.forward(&deep.bind(&tape), tape.constant(&x)).to_vec()
        };
        // Two networks extrapolated to endless depth, as the error is of first order.
        let [a, b] = [6 * 1024, 12 * 1024].map(output);
        let limit: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 2.0 * b - a).collect();
        let mut errors = Vec::new();
        for layers in [6, 12, 24, 48, 96, 192, 384, 768] {
            let squares = output(layers).iter().zip(&limit).map(|(a, b)| (a - b).powi(2)).sum();
            let error = (f64::sqrt(squares) / 8.0).log2();
            errors.push(((layers as f64).log2(), error));
        }
        let orders: Vec<String> =
            errors.windows(2).map(|w| format!("{:.2}", w[0].1 - w[1].1)).collect();
        println!("  {name}, trained to a loss of {loss:.1e}: orders {}", orders.join(", "));
        lines.push(Series::line(name, colour, errors));
    }
    let first = lines[0].points[2];
    let slope = (0..6).map(|i| (first.0 + f64::from(i), first.1 + 1.0 - f64::from(i))).collect();
    lines.push(Series::line("first order", GREY, slope));
    draw(
        path,
        &[Panel::new(
            "from trained network to equation",
            "log₂ of the layers",
            "log₂ of the distance to the limit",
            lines,
        )],
    )
}
