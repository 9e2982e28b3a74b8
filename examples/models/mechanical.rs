//! A pendulum, seen for a short time, and what three networks make of the time after.

use std::path::Path;

use costate::nn::{HamiltonianNet, LagrangianNet, SecondOrder};
use costate::prelude::*;
use ndarray::{ArrayD, Axis, arr2};

use crate::picture::{BLUE, GREEN, GREY, Panel, RED, Series, draw};
use crate::{Outcome, level};

/// `[q, q̇]` of a pendulum of length and mass 1, so that velocity is momentum.
fn pendulum(start: &ndarray::Array2<f64>, ts: &[f64]) -> Outcome<ArrayD<f64>> {
    let tape = Tape::new();
    let ode = Ode::new(Tsit5).tolerance(1e-10, 1e-10);
    let field = |_, z| turning(z);
    Ok(ode.solve(field, tape.constant(start), ts)?.value())
}

fn turning(z: Var<'_, f64>) -> Var<'_, f64> {
    Var::concat(1, &[z.slice_axis(1, 1..2), -z.slice_axis(1, 0..1).sin()])
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let start = arr2(&[[1.0, 0.0], [0.3, 0.8], [-0.8, 0.5], [2.0, -0.3], [-1.7, -0.6]]);
    let seen: Vec<f64> = (0..=16).map(|i| 0.25 * f64::from(i)).collect();
    let long: Vec<f64> = (0..=320).map(|i| 0.125 * f64::from(i)).collect();
    let data = pendulum(&start, &seen)?;
    let ode = Ode::new(Rk4).steps(32);
    let after = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    let tanh = Activation::Tanh;
    let mut curves = Vec::new();

    let mut params = Params::<f64>::seeded(seed);
    let net = SecondOrder::new(&mut params, "net", 1, &[24], tanh);
    let found = params.minimise(&mut Lbfgs::new(20), 150, |tape, p| {
        Ok((net.forward(p, &ode, tape.constant(&start), &seen)? - &data).square().mean())
    })?;
    let tape = Tape::new();
    let z = net.forward(&params.bind(&tape), &after, tape.constant(&start), &long)?;
    curves.push(("second order", BLUE, found.loss, z.value()));

    let mut params = Params::<f64>::seeded(seed);
    let net = HamiltonianNet::new(&mut params, "net", 1, &[24], tanh);
    let found = params.minimise(&mut Lbfgs::new(20), 150, |tape, p| {
        Ok((net.forward(p, &ode, tape.constant(&start), &seen)? - &data).square().mean())
    })?;
    let tape = Tape::new();
    let z = net.forward(&params.bind(&tape), &after, tape.constant(&start), &long)?;
    curves.push(("Hamiltonian", RED, found.loss, z.value()));

    let mut params = Params::<f64>::seeded(seed);
    let net = LagrangianNet::new(&mut params, "net", 1, &[24], Activation::Softplus);
    let found = params.minimise(&mut Lbfgs::new(20), 150, |tape, p| {
        Ok((net.forward(p, &ode, tape.constant(&start), &seen)? - &data).square().mean())
    })?;
    let tape = Tape::new();
    let z = net.forward(&params.bind(&tape), &after, tape.constant(&start), &long)?;
    curves.push(("Lagrangian", GREEN, found.loss, z.value()));

    let truth = pendulum(&start, &long)?;
    let row = 3;
    let energy = |z: &ArrayD<f64>, i: usize| 0.5 * z[[i, row, 1]].powi(2) - z[[i, row, 0]].cos();
    let angles =
        |z: &ArrayD<f64>| long.iter().enumerate().map(|(i, &t)| (t, z[[i, row, 0]])).collect();
    let mut angle = vec![Series::line("pendulum", GREY, angles(&truth))];
    let mut energies = vec![Series::line(
        "pendulum",
        GREY,
        long.iter().enumerate().map(|(i, &t)| (t, energy(&truth, i))).collect(),
    )];
    for (name, colour, loss, z) in &curves {
        level(name, *loss, 1e-3)?;
        let drift =
            (0..long.len()).map(|i| (energy(z, i) - energy(z, 0)).abs()).fold(0.0, f64::max);
        let error = (z - &truth).index_axis_move(Axis(2), 0).mapv(|e| e * e).mean();
        println!(
            "  {name:12} loss {loss:.1e}; to t = 40, ten times as long: mean squared error {:.1e}, \
             energy off by {drift:.1e}",
            error.unwrap_or(f64::NAN)
        );
        angle.push(Series::line(name, *colour, angles(z)));
        let points = long.iter().enumerate().map(|(i, &t)| (t, energy(z, i))).collect();
        energies.push(Series::line(name, *colour, points));
    }
    draw(
        path,
        &[
            Panel::new("a pendulum, seen to t = 4", "t", "angle", angle),
            Panel::new("its energy", "t", "q̇²/2 - cos q", energies),
        ],
    )
}
