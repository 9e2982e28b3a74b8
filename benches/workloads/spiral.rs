//! `dy/dt = tanh(y³ W₁ + b₁) W₂ + b₂`, 20 samples as one system, by the method that diffrax and
//! torchdiffeq call Dopri5.

use costate::prelude::*;

use crate::{Data, Solved, Workload};

pub fn workload() -> Workload<f64> {
    Workload {
        name: "spiral",
        wrt: &["w1", "b1", "w2", "b2", "y0"],
        loss,
        ode: Ode::new(Dopri5Shampine),
        tolerance: (1e-7, 1e-9),
    }
}

fn loss<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f64>,
    x: &[Var<'t, f64>],
) -> costate::Result<Solved<'t, f64>> {
    let &[w1, b1, w2, b2, y0] = x else { panic!("five inputs") };
    let f = |_, y: Var<'t, f64>| (y.powi(3).matmul(w1) + b1).tanh().matmul(w2) + b2;
    let ys = ode.solve(f, y0, data.numbers("ts").1)?;
    Ok(Solved { loss: (ys - data.leaf(tape, "target")).abs().mean(), ys })
}
