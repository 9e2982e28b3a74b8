//! `dy/dt = tanh(y W₁ + b₁) W₂ + b₂`, 256 samples of width 256 as one system, 16 equal steps.

use costate::prelude::*;

use crate::{Data, Solved, Workload};

pub fn workload() -> Workload<f32> {
    Workload {
        name: "wide",
        wrt: &["w1", "b1", "w2", "b2", "y0"],
        loss,
        ode: Ode::new(Rk4).steps(16),
        tolerance: (1e-3, 1e-6),
    }
}

fn loss<'t>(
    data: &Data,
    ode: &Ode,
    _: &'t Tape<f32>,
    x: &[Var<'t, f32>],
) -> costate::Result<Solved<'t, f32>> {
    let &[w1, b1, w2, b2, y0] = x else { panic!("five inputs") };
    let f = |_, y: Var<'t, f32>| (y.matmul(w1) + b1).tanh().matmul(w2) + b2;
    let ys = ode.solve(f, y0, data.numbers("ts").1)?;
    Ok(Solved { loss: ys.index_axis(0, 1).square().mean(), ys })
}
