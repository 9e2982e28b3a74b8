//! `x' = a x - b x y`, `y' = -c y + d x y`.

use costate::prelude::*;

use crate::{Data, Solved, Workload};

pub fn workload() -> Workload<f64> {
    Workload {
        name: "lotka_volterra",
        wrt: &["p", "y0"],
        loss,
        ode: Ode::new(Tsit5),
        tolerance: (1e-8, 1e-8),
    }
}

fn loss<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f64>,
    x: &[Var<'t, f64>],
) -> costate::Result<Solved<'t, f64>> {
    let &[p, y0] = x else { panic!("two inputs") };
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| p.index_axis(0, i));
    let f = |_, z: Var<'t, f64>| {
        let (x, y) = (z.index_axis(0, 0), z.index_axis(0, 1));
        Var::stack(0, &[a * x - b * x * y, -c * y + d * x * y])
    };
    let ys = ode.solve(f, y0, data.numbers("ts").1)?;
    Ok(Solved { loss: (ys - data.leaf(tape, "target")).square().sum(), ys })
}
