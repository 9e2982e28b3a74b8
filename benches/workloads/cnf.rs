//! A continuous normalising flow: `dx/dt = v(t, x)` and `dℓ/dt = -tr ∂v/∂x`, with
//! `v = tanh(tanh([x, t] W₁ + b₁) W₂ + b₂) W₃ + b₃` and the trace by forward mode, 512 samples as one
//! system. The loss is the mean of `ℓ(1) - ln N(x(1); 0, I)`.

use costate::prelude::*;
use costate::tape::Slice;

use crate::{Data, Solved, Workload};

pub fn workload() -> Workload<f32> {
    Workload {
        name: "cnf",
        wrt: &["w1", "b1", "w2", "b2", "w3", "b3"],
        loss,
        ode: Ode::new(Tsit5),
        tolerance: (1e-5, 1e-5),
    }
}

/// The same with the trace by a formula, which one has to derive by hand: with `h` and `g` the hidden
/// layers, `tr ∂v/∂x = Σ ((1 - h²) (W₂ ∘ (W₃ W₁)ᵀ)) (1 - g²)`.
pub fn workload_by_formula() -> Workload<f32> {
    Workload { name: "cnf_formula", loss: loss_by_formula, ..workload() }
}

fn loss<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f32>,
    x: &[Var<'t, f32>],
) -> costate::Result<Solved<'t, f32>> {
    let &[w1, b1, w2, b2, w3, b3] = x else { panic!("six inputs") };
    let v = |t: Var<'t, f32>, x: Var<'t, f32>| {
        let h = x.matmul(w1.slice(&[Slice::new(0..2)])) + t * w1.index_axis(0, 2) + b1;
        (h.tanh().matmul(w2) + b2).tanh().matmul(w3) + b3
    };
    // The state is [x, ℓ], a row a sample.
    let f = |t: Var<'t, f32>, y: Var<'t, f32>| {
        let x = columns(y, 0..2);
        let v = v(t, x);
        let e = |i: usize| tape.eye(2).index_axis(0, i).broadcast_to(x.shape());
        let d = |i: isize| Ok(columns(tape.jvp(&[v], &[x], &[e(i as usize)])?[0], i..i + 1));
        Ok(Var::concat(1, &[v, -(d(0)? + d(1)?)]))
    };
    finish(data, ode, tape, f)
}

fn loss_by_formula<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f32>,
    x: &[Var<'t, f32>],
) -> costate::Result<Solved<'t, f32>> {
    let &[w1, b1, w2, b2, w3, b3] = x else { panic!("six inputs") };
    let (wx, wt) = (w1.slice(&[Slice::new(0..2)]), w1.index_axis(0, 2));
    let f = |t: Var<'t, f32>, y: Var<'t, f32>| {
        let h = (columns(y, 0..2).matmul(wx) + t * wt + b1).tanh();
        let g = (h.matmul(w2) + b2).tanh();
        let weights = w2 * w3.matmul(wx).t();
        let (dh, dg) = (1.0 - h.square(), 1.0 - g.square());
        let trace = (dh.matmul(weights) * dg).sum_axis(1).unsqueeze(1);
        Ok(Var::concat(1, &[g.matmul(w3) + b3, -trace]))
    };
    finish(data, ode, tape, f)
}

/// The loss, given the field of the state `[x, ℓ]`.
fn finish<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f32>,
    f: impl Fn(Var<'t, f32>, Var<'t, f32>) -> costate::tape::Result<Var<'t, f32>>,
) -> costate::Result<Solved<'t, f32>> {
    let x0 = data.leaf(tape, "y0");
    let y0 = Var::concat(1, &[x0, tape.zeros([x0.shape()[0], 1])]);
    let ys = ode.try_solve(f, y0, data.numbers("ts").1)?;
    let end = ys.index_axis(0, 1);
    let (x, l) = (columns(end, 0..2), end.index_axis(1, 2));
    let log_normal = x.square().sum_axis(1).affine(-0.5, -std::f32::consts::TAU.ln());
    Ok(Solved { loss: (l - log_normal).mean(), ys })
}

fn columns<'t>(y: Var<'t, f32>, range: std::ops::Range<isize>) -> Var<'t, f32> {
    y.slice(&[Slice::all(), Slice::new(range)])
}
