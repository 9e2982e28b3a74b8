//! A field that turns with the plane conserves `p · J x`, whatever the loss; one that does not
//! turn with the plane does not.

use std::path::Path;

use costate::nn::mechanics::{conserved, lie_bracket, trajectory};
use costate::prelude::*;

use crate::picture::{BLUE, GREEN, Panel, RED, Series, draw};
use crate::{Outcome, fine, times};

/// `J x`, the generator of rotations.
fn turn(x: Var<'_, f64>) -> Var<'_, f64> {
    Var::concat(1, &[-x.slice_axis(1, 1..2), x.slice_axis(1, 0..1)])
}

/// `(1 - |x|²) x + 3 sin(|x|²) J x`, plus a part that singles out a direction.
fn field(x: Var<'_, f64>, broken: f64) -> Var<'_, f64> {
    let r = x.square().sum_axis(1).unsqueeze(1);
    let other = x.tanh() * x.tape().leaf(&[broken, 0.0], [2]);
    x * (1.0 - r) + turn(x) * r.sin().scale(3.0) + other
}

pub fn run(path: &Path, seed: u64) -> Outcome {
    let x = Rng::seeded(seed).normals([3, 2]);
    let ts = times(40);
    let mut panels = Vec::new();
    for (broken, title) in [(0.0, "f turns with the plane"), (0.8, "f does not")] {
        let tape = Tape::new();
        let start = tape.constant(&x);
        let bracket = lie_bracket(|x| field(x, broken), turn, start)?;
        let path = trajectory(
            &fine(),
            |_, x| Ok(field(x, broken)),
            start,
            &ts,
            |x| Ok((x.slice_axis(1, 0..1) - 0.5).square().sum() + x.slice_axis(1, 1..2).exp().sum()),
            &[],
        )?;
        let kept: Vec<Vec<f64>> = path
            .states
            .iter()
            .zip(&path.momenta)
            .map(|(x, p)| conserved(turn, *x, *p).to_vec())
            .collect();
        let drift = (0..3)
            .flat_map(|row| kept.iter().map(move |k| (row, k)))
            .map(|(row, k)| (k[row] - kept[0][row]).abs())
            .fold(0.0, f64::max);
        println!(
            "  {title}: the Lie bracket [f, Jx] is {:.1e} at most, p · Jx changes by {drift:.1e}",
            bracket.to_vec().iter().map(|b| b.abs()).fold(0.0, f64::max)
        );
        let line = |(row, colour)| {
            let points = ts.iter().zip(&kept).map(|(&t, k)| (t, k[row])).collect();
            Series::line(&format!("point {row}"), colour, points)
        };
        let lines = [BLUE, RED, GREEN].into_iter().enumerate().map(line).collect();
        panels.push(Panel::new(title, "t", "p · J x", lines));
    }
    draw(path, &panels)
}
