//! `dy/dt = softplus(softplus(y W₁ + b₁) W₂ + b₂) W₃ + b₃`, 32 samples as one system.

use costate::prelude::Real;
use costate::prelude::*;

use crate::{Data, Solved, Workload};

pub fn workload<T: Real>() -> Workload<T> {
    Workload {
        name: "mlp",
        wrt: &["w1", "b1", "w2", "b2", "w3", "b3"],
        loss,
        ode: Ode::new(Tsit5),
        tolerance: (1e-3, 1e-6),
    }
}

fn loss<'t, T: Real>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<T>,
    x: &[Var<'t, T>],
) -> costate::Result<Solved<'t, T>> {
    let &[w1, b1, w2, b2, w3, b3] = x else { panic!("six inputs") };
    let f = |_, y: Var<'t, T>| {
        let h = (y.matmul(w1) + b1).softplus();
        (h.matmul(w2) + b2).softplus().matmul(w3) + b3
    };
    let ys = ode.solve(f, data.leaf(tape, "y0"), data.numbers("ts").1)?;
    Ok(Solved { loss: (ys - data.leaf(tape, "target")).square().mean(), ys })
}
