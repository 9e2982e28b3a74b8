//! `x' = -k1 x + k3 y z`, `y' = k1 x - k2 y² - k3 y z`, `z' = k2 y²`: a stiff reaction.

use costate::odeint::Controller;
use costate::prelude::*;

use crate::{Data, Solved, Workload};

pub fn workload() -> Workload<f64> {
    Workload {
        name: "robertson",
        wrt: &["k"],
        loss,
        ode: Ode::new(Kvaerno5).options(Options {
            // The interpolant is of lower order than the method.
            stop_at_saves: true,
            // With the usual 0.9 it takes 145 steps, and the gradient has ten times the error.
            controller: Controller { safety: 0.7, ..Controller::default() },
            ..Options::default()
        }),
        tolerance: (1e-8, 1e-10),
    }
}

fn loss<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f64>,
    x: &[Var<'t, f64>],
) -> costate::Result<Solved<'t, f64>> {
    let [k1, k2, k3] = [0, 1, 2].map(|i| x[0].index_axis(0, i));
    let f = |_, u: Var<'t, f64>| {
        let [x, y, z] = [0, 1, 2].map(|i| u.index_axis(0, i));
        let (a, b, c) = (k1 * x, k2 * y * y, k3 * y * z);
        Var::stack(0, &[c - a, a - b - c, b])
    };
    let ys = ode.solve(f, data.leaf(tape, "y0"), data.numbers("ts").1)?;
    let scale = tape.constant(&ndarray::arr1(&[1.0, 1e4, 1.0]));
    Ok(Solved { loss: ((ys - data.leaf(tape, "target")) * scale).square().sum(), ys })
}
