//! Gradients through 1,000 layers: those of a near-identity network with antisymmetric weights stay
//! within bounds, whatever the weights; those of a plain network vanish or explode.

use std::path::Path;

use costate::nn::mechanics::jacobian_bounds;
use costate::prelude::*;

use crate::Outcome;
use crate::picture::{BLUE, GREEN, GREY, ORANGE, Panel, RED, Series, draw};

const WIDTH: usize = 16;
const DEPTH: usize = 1000;

/// `log₁₀ |∂L/∂x_l|` for the states of some layers, from the first on; the loss is a random
/// direction of the last state.
fn sizes(states: &[Var<'_, f64>], rng: &mut Rng) -> Outcome<Vec<(f64, f64)>> {
    let last = states[states.len() - 1];
    let loss = (last * last.tape().constant(&rng.normals([1, WIDTH]))).sum();
    let momenta = loss.grad(states)?;
    let size = |p: &Var<'_, f64>| p.square().sum().sqrt().item().max(1e-300).log10();
    Ok(momenta.iter().map(size).enumerate().map(|(l, s)| (l as f64, s)).step_by(20).collect())
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let mut lines = Vec::new();
    for (name, antisymmetric, size, colour) in [
        ("antisymmetric", true, 1.0, RED),
        ("antisymmetric, weights × 5", true, 5.0, ORANGE),
        ("free, weights × 5", false, 5.0, BLUE),
    ] {
        let mut params = Params::<f64>::seeded(seed);
        let net = NearIdentityNet::new(&mut params, "net", WIDTH, DEPTH, Activation::Tanh);
        let net = if antisymmetric { net.antisymmetric() } else { net };
        // The same weights in all layers: others in each would cancel each other.
        let (first, others) = params.values_mut().split_at_mut(WIDTH * WIDTH);
        first.iter_mut().for_each(|w| *w *= size);
        others
            .chunks_exact_mut(WIDTH * WIDTH)
            .take(DEPTH - 1)
            .for_each(|w| w.copy_from_slice(first));
        let mut rng = Rng::seeded(seed);
        let tape = Tape::new();
        let x = tape.constant(&rng.normals([1, WIDTH]));
        let points = sizes(&net.states(&params.bind(&tape), x), &mut rng)?;
        report(name, &points);
        lines.push(Series::line(name, colour, points));
    }
    let mut plain = Vec::new();
    for (name, gain, colour) in [
        ("plain, gain 0.9", 0.9, GREY),
        ("plain, gain 1", 1.0, BLUE),
        ("plain, gain 2", 2.0, GREEN),
    ] {
        let mut rng = Rng::seeded(seed);
        let tape = Tape::new();
        let mut states = vec![tape.constant(&rng.normals([1, WIDTH]))];
        for l in 0..DEPTH {
            let w = rng.normals([WIDTH, WIDTH]) * (gain / (WIDTH as f64).sqrt());
            states.push(states[l].matmul(tape.constant(&w)).tanh());
        }
        let points = sizes(&states, &mut rng)?;
        report(name, &points);
        plain.push(Series::line(name, colour, points));
    }
    let [low, high] = jacobian_bounds(Activation::Tanh, 1.0);
    println!("  the bounds of |p(0)|/|p(1)|: {low:.2} to {high:.2}");

    // The Jacobian of the equation itself, for weights of growing size.
    let (mut least, mut most) = (Vec::new(), Vec::new());
    for i in 0..=20 {
        let size = 0.5 * f64::from(i);
        let mut params = Params::<f64>::seeded(seed);
        let ode = FeedForwardOde::new(&mut params, "f", 4, 2, Activation::Tanh).antisymmetric();
        params.values_mut().iter_mut().for_each(|w| *w *= size);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&Rng::seeded(seed).normals([1, 4])));
        let y = ode.forward(&p, &crate::fine(), x)?;
        let jacobian = y.reshape([4]).jacobian(x)?.reshape([4, 4]);
        let largest = largest_singular(jacobian);
        let smallest = 1.0 / largest_singular(jacobian.inv());
        least.push((size, smallest));
        most.push((size, largest));
    }
    let bound = |y: f64| vec![(0.0, y), (10.0, y)];
    draw(
        path,
        &[
            Panel::new("1,000 layers near the identity", "layer", "log₁₀ |∂L/∂x|", lines),
            Panel::new("1,000 plain layers", "layer", "log₁₀ |∂L/∂x|", plain),
            Panel::new(
                "singular values of ∂x(1)/∂x(0)",
                "size of the antisymmetric A",
                "",
                vec![
                    Series::line("bounds", GREY, bound(low)),
                    Series::line("", GREY, bound(high)),
                    Series::line("largest", RED, most),
                    Series::line("least", BLUE, least),
                ],
            ),
        ],
    )
}

fn report(name: &str, points: &[(f64, f64)]) {
    let ratio = points[0].1 - points[points.len() - 1].1;
    println!("  {name}: |p(0)|/|p(1)| = 10^{ratio:.2}");
}

/// By power iteration with `JᵀJ`.
fn largest_singular(j: Var<'_, f64>) -> f64 {
    let square = j.t().matmul(j);
    let mut v = j.tape().leaf(&[1.0, 0.9, -0.7, 0.4], [4, 1]);
    for _ in 0..300 {
        let next = square.matmul(v);
        v = next / next.square().sum().sqrt();
    }
    (j.matmul(v).square().sum() / v.square().sum()).sqrt().item()
}
