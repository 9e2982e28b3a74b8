//! A network trained in other variables: the same loss, the same gradients of its weights, and
//! momenta that change as they must; and the rotation that removes the linear part.

use std::path::Path;

use costate::nn::mechanics::{rotated_forward, trajectory, transform_field, transform_momentum};
use costate::prelude::*;

use crate::picture::{BLUE, GREY, Panel, RED, Series, draw};
use crate::{Outcome, data, distance, fine, flat, times};

/// `y = g(t, x) = asinh(2 x) + t`.
fn g<'t>(t: Var<'t, f64>, x: Var<'t, f64>) -> Var<'t, f64> {
    x.scale(2.0).asinh() + t
}

fn inverse<'t>(t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    (y - t).sinh().scale(0.5)
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let (x, target) = data(seed);
    let mut params = Params::<f64>::seeded(seed);
    let block = OdeBlock::new(&mut params, "body", 2, &[8], Basis::Linear(2), Activation::Tanh);
    let tape = Tape::new();
    let (p, start) = (params.bind(&tape), tape.constant(&x));
    let ts = times(10);
    let f = |t, x| Ok(block.field(&p, t, x));
    let plain =
        trajectory(&fine(), f, start, &ts, |x| Ok((x - &target).square().mean()), p.vars())?;
    let end = tape.scalar(1.0);
    let changed = trajectory(
        &fine(),
        |t, y| transform_field(g, inverse, f, t, y),
        g(tape.scalar(0.0), start),
        &ts,
        |y| Ok((inverse(end, y) - &target).square().mean()),
        p.vars(),
    )?;
    let [a, b] =
        [&plain, &changed].map(|path| path.gradient.iter().flat_map(flat).collect::<Vec<_>>());
    let mut momenta = 0.0f64;
    for (i, &t) in ts.iter().enumerate() {
        let (t, y) = (tape.scalar(t), changed.states[i]);
        let expected = transform_momentum(inverse, t, y, plain.momenta[i])?;
        momenta = momenta.max(distance(&expected.to_vec(), &changed.momenta[i].to_vec()));
    }
    println!(
        "  y = asinh(2 x) + t: losses differ by {:.1e}, gradients by {:.1e}, momenta from (∂g/∂x)⁻ᵀ p \
         by {momenta:.1e}",
        (plain.loss - changed.loss).abs(),
        distance(&a, &b)
    );

    // The feed-forward ODE with a fast linear part, in its own frame and in the one that turns.
    let mut params = Params::<f64>::seeded(seed);
    let body = FeedForwardOde::new(&mut params, "body", 2, 1, Activation::Tanh).antisymmetric();
    let weight = ndarray::arr3(&[[[0.0, 30.0], [0.0, 0.0]]]);
    params.set(body.weight, &weight);
    let mut rotating = params.clone();
    let (mut still, mut turning) = (Vec::new(), Vec::new());
    let (mut adam, mut same) = (Adam::new(0.05), Adam::new(0.05));
    let ode = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    for step in 0..60 {
        let a = params.step(&mut adam, |tape, p| {
            Ok((body.forward(p, &ode, tape.constant(&x))? - &target).square().mean())
        })?;
        let b = rotating.step(&mut same, |tape, p| {
            Ok((rotated_forward(&body, p, &ode, tape.constant(&x))? - &target).square().mean())
        })?;
        still.push((f64::from(step), a));
        if step % 3 == 0 {
            turning.push((f64::from(step), b));
        }
    }
    let last = [&params, &rotating].map(|params| params.values().to_vec());
    println!(
        "  trained in the frame that turns: after 60 steps of Adam the weights differ by {:.1e}",
        distance(&last[0], &last[1])
    );
    // The path of one point in both frames.
    let tape = Tape::new();
    let p = params.bind(&tape);
    let point = tape.leaf(&[1.0, 0.3], [1, 2]);
    let ts = times(120);
    let xs = fine().solve(|t, x| body.field(&p, t, x), point, &ts)?.value();
    let angle = 0.5 * (params.values()[1] - params.values()[2]);
    let (mut lab, mut frame) = (Vec::new(), Vec::new());
    for (i, &t) in ts.iter().enumerate() {
        let (u, v, (sin, cos)) = (xs[[i, 0, 0]], xs[[i, 0, 1]], (angle * t).sin_cos());
        lab.push((u, v));
        // y = x R⁻¹ with R = e^{tA}.
        frame.push((u * cos + v * sin, -u * sin + v * cos));
    }
    let at_rest = {
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&x));
        Ode::stats(ode.solve(|t, x| body.field(&p, t, x), x, [0.0, 1.0])?)
    };
    // The field that `rotated_forward` solves, with the rotation of a plane in the place of the
    // exponential of a matrix.
    let turning_frame = {
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&x));
        let beta = body.weights(&p, tape.scalar(0.0)).1;
        let end = ode.solve(
            |t, y| rotate(beta + rotate(y, t.scale(angle)).tanh(), t.scale(-angle)),
            x,
            [0.0, 1.0],
        )?;
        Ode::stats(end)
    };
    println!(
        "  evaluations of the field: {} at rest, {} in the frame that turns",
        at_rest.map_or(0, |stats| stats.f_evals),
        turning_frame.map_or(0, |stats| stats.f_evals)
    );
    draw(
        path,
        &[
            Panel::new(
                "gradients in x and in y = asinh(2x) + t",
                "∂L/∂θ in x",
                "∂L/∂θ in y",
                vec![
                    Series::line("equal", GREY, vec![range(&a)[0], range(&a)[1]]),
                    Series::dots("a weight", BLUE, a.iter().copied().zip(b).collect()),
                ],
            ),
            Panel::new(
                "training in both frames",
                "step",
                "loss",
                vec![
                    Series::line("frame at rest", GREY, still),
                    Series::dots("frame that turns", RED, turning),
                ],
            ),
            Panel::new(
                "the path of a point",
                "first component",
                "second component",
                vec![
                    Series::line("frame at rest", GREY, lab),
                    Series::line("frame that turns", RED, frame),
                ],
            ),
        ],
    )
}

/// Rows of the plane turned by an angle: `y e^{angle J}`.
fn rotate<'t>(y: Var<'t, f64>, angle: Var<'t, f64>) -> Var<'t, f64> {
    let (u, v) = (y.slice_axis(1, 0..1), y.slice_axis(1, 1..2));
    let (sin, cos) = (angle.sin(), angle.cos());
    Var::concat(1, &[u * cos - v * sin, u * sin + v * cos])
}

/// The ends of the diagonal.
fn range(a: &[f64]) -> [(f64, f64); 2] {
    let ends = a.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    [(ends.0, ends.0), (ends.1, ends.1)]
}
