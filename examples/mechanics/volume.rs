//! A patch of phase space `(x, p)` is carried along and keeps its area; a patch of states alone does
//! not: its volume grows as the divergence says.

use std::path::Path;

use costate::nn::mechanics::{hamiltonian_field, log_volume};
use costate::nn::{integrand, solve_with_integrals};
use costate::prelude::*;

use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};
use crate::{Outcome, distance, fine, times};

/// The area inside a closed polygon.
fn area(points: &[(f64, f64)]) -> f64 {
    let next = points.iter().cycle().skip(1);
    points.iter().zip(next).map(|(a, b)| a.0 * b.1 - b.0 * a.1).sum::<f64>().abs() / 2.0
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    // One hidden unit, so that phase space is a plane.
    fn f<'t>(_: Var<'t, f64>, x: Var<'t, f64>) -> costate::tape::Result<Var<'t, f64>> {
        Ok((x.scale(2.0) + 0.4).tanh() - x.scale(0.5))
    }
    let tape = Tape::<f64>::new();
    const POINTS: usize = 240;
    let circle: Vec<f64> = (0..POINTS)
        .flat_map(|i| {
            let (sin, cos) = (std::f64::consts::TAU * i as f64 / POINTS as f64).sin_cos();
            [0.1 + 0.5 * cos, 1.0 + 0.5 * sin]
        })
        .collect();
    let start = tape.leaf(&circle, [POINTS, 2]);
    let zs = fine().try_solve(|t, z| hamiltonian_field(f, t, z), start, [0.0, 0.5, 1.0])?;
    let mut outlines = Vec::new();
    let mut areas = Vec::new();
    for (i, colour) in [GREY, BLUE, RED].into_iter().enumerate() {
        let z = zs.index_axis(0, i).to_vec();
        let mut points: Vec<(f64, f64)> = z.chunks(2).map(|z| (z[0], z[1])).collect();
        areas.push(area(&points));
        points.push(points[0]);
        outlines.push(Series::line(&format!("t = {}", 0.5 * i as f64), colour, points));
    }
    println!("  areas of the patch of phase space: {areas:.4?}");

    // Volume of the states of a network, and of states and momenta.
    let mut params = Params::<f64>::seeded(seed);
    let body = FeedForwardOde::new(&mut params, "body", 2, 2, Activation::Tanh);
    let p = params.bind(&tape);
    let z = tape.constant(&Rng::seeded(seed).normals([1, 4]));
    let x = z.slice_axis(1, 0..2);
    let field = |t, x| Ok(body.field(&p, t, x));
    let (mut states, mut phase, mut divergences) = (Vec::new(), Vec::new(), Vec::new());
    for t in times(20).into_iter().skip(1) {
        let ends = [0.0, t];
        states.push((t, log_volume(&fine(), field, x, ends)?.to_vec()[0]));
        let both = |t, z| hamiltonian_field(|t, x| Ok(body.field(&p, t, x)), t, z);
        phase.push((t, log_volume(&fine(), both, z, ends)?.to_vec()[0]));
        let divergence = integrand(|at| body.divergence(&p, at.t, at.x));
        let (_, integral) = solve_with_integrals(&fine(), field, x, ends, &[&divergence])?;
        divergences.push((t, integral[0].to_vec()[0]));
    }
    let [a, b, c] = [&states, &divergences, &phase]
        .map(|points| points.iter().map(|p| p.1).collect::<Vec<f64>>());
    println!(
        "  ln of the volume: of states and the integral of the divergence differ by {:.1e}; of phase \
         space it is {:.1e} at most",
        distance(&a, &b),
        c.iter().map(|v| v.abs()).fold(0.0, f64::max)
    );
    draw(
        path,
        &[
            Panel::new("a patch of phase space", "x", "p", outlines),
            Panel::new(
                "ln of the volume",
                "t",
                "ln |det ∂z(t)/∂z(0)|",
                vec![
                    Series::line("states and momenta", GREY, phase),
                    Series::line("states", BLUE, states),
                    Series::dots("∫ div f dt", RED, divergences),
                ],
            ),
        ],
    )
}
