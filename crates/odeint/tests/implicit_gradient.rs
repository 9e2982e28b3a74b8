//! The gradient of a solve by an implicit method, each way against the others and against finite
//! differences.

use costate_odeint::{
    Gradient, ImplicitEuler, KenCarp4, Kvaerno3, Kvaerno5, Method, Ode, Options, Rodas5P, Stepping,
    TrBdf2, Tsit5,
};
use costate_tape::{Function, Program, Tape, Var, Workspace, check};
use ndarray::{Array1, ArrayD};
use proptest::prelude::*;

use crate::network::{TIMES, array, close, gradient, inputs, solve, symmetric_hessian};

/// The methods with an exact gradient that goes through linear systems.
fn methods() -> impl Iterator<Item = Method> {
    Method::implicit().into_iter().chain([Rodas5P.into()])
}

/// Every method, with steps of its own choice, and equal ones.
fn solvers() -> Vec<(String, Ode)> {
    let mut solvers = Vec::new();
    for method in methods() {
        let name = method.tableau().name;
        solvers.push((format!("{name}, steps"), Ode::new(method).steps(7)));
        let options = Options { stepping: Stepping::Fixed(0.3), ..Options::default() };
        solvers.push((format!("{name}, dt"), Ode::new(method).options(options)));
        solvers.push((format!("{name}, adaptive"), Ode::new(method).tolerance(1e-3, 1e-5)));
    }
    solvers
}

#[test]
fn exact_is_unrolled() {
    for (name, ode) in solvers() {
        // Times between steps, at steps, one step, one time, and backward.
        for ts in [&TIMES[..], &[0.0, 1.0, 2.0], &[0.0, 0.2], &[1.0], &[0.003, 0.002, 0.0]] {
            for times in [false, true] {
                let exact = gradient(&ode, ts, times);
                let unrolled = gradient(&ode.clone().gradient(Gradient::Unrolled), ts, times);
                close(&exact, &unrolled, 1e-11, &format!("{name} {ts:?} {times}"));
            }
        }
    }
}

#[test]
fn exact_agrees_with_differences_on_a_fixed_grid() {
    for ode in
        [Ode::new(Kvaerno5).steps(6), Ode::new(ImplicitEuler).steps(9), Ode::new(Rodas5P).steps(5)]
    {
        check::gradient(|_, x| solve(&ode, x, TIMES[..].into()), &inputs()).unwrap();
    }
}

#[test]
fn times_agree_with_differences_at_tight_tolerance() {
    let odes =
        [Kvaerno5.into(), Method::from(Rodas5P)].map(|m| Ode::new(m).tolerance(1e-11, 1e-12));
    let mut x = inputs();
    // The start is on the slow solution, so that the times' gradients are not dominated by a layer.
    x[4].fill(20.0);
    x.push(Array1::from(TIMES.to_vec()).into_dyn());
    for ode in odes {
        check::gradient(|_, x| solve(&ode, &x[..5], x[5].into()), &x).unwrap();
    }
}

#[test]
fn second_derivatives() {
    let ts = [0.0, 0.4, 1.0];
    for ode in [Ode::new(Kvaerno3).steps(2), Ode::new(TrBdf2).steps(3), Ode::new(Rodas5P).steps(2)]
    {
        let mut x = inputs();
        x[4].fill(10.0);
        check::gradient(
            |tape, x| {
                let loss = solve(&ode, x, ts[..].into())?.square().sum();
                let bars = tape.vjp(&[loss], &[tape.scalar(1.0)], x)?;
                let flat: Vec<_> = bars.iter().map(|g| g.reshape([g.shape().numel()])).collect();
                Ok(Var::concat(0, &flat))
            },
            &x,
        )
        .unwrap();
    }
}

#[test]
fn hessian_vector_products_are_symmetric() {
    let ode = Ode::new(Kvaerno5).tolerance(1e-4, 1e-4);
    symmetric_hessian(
        &inputs(),
        |x| solve(&ode, x, TIMES[..].into()).unwrap().square().sum(),
        1e-10,
    );
}

/// Where the solution does not contract, solving backward is possible.
#[test]
fn continuous_converges_to_exact() {
    let oscillator = |ode: Ode| {
        let tape = Tape::new();
        let x = tape.constant(&Array1::from(vec![1.0, 0.2, 1.3]));
        let ys = ode.solve(
            |_, y| {
                let (q, p) = (y.index_axis(0, 0), y.index_axis(0, 1));
                Var::stack(0, &[p, -x.index_axis(0, 2) * q.sin()])
            },
            x.slice_axis(0, 0..2),
            [0.0, 1.0, 3.0],
        );
        let ys = ys.unwrap();
        ys.square().sum().grad(&[x]).unwrap()[0].to_vec()
    };
    let exact = oscillator(Ode::new(Tsit5).tolerance(1e-12, 1e-12));
    for (method, tolerance) in [(Method::from(Kvaerno5), 1e-8), (KenCarp4.into(), 1e-6)] {
        let ode = Ode::new(method).tolerance(tolerance, tolerance);
        for ode in [ode.clone(), ode.gradient(Gradient::Continuous)] {
            let found = oscillator(ode);
            close(std::slice::from_ref(&exact), &[found], 100.0 * tolerance, method.tableau().name);
        }
    }
}

fn van_der_pol<'t>(mu: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
    Var::stack(0, &[v, mu * (1.0 - x * x) * v - x])
}

/// Van der Pol's equation over three jumps, where solving backward fails.
#[test]
fn van_der_pol_with_strong_damping() {
    let tape = Tape::new();
    let mu = tape.scalar(1000.0);
    let y0 = tape.constant(&Array1::from(vec![2.0, 0.0]));
    let ode = Ode::new(Kvaerno5).tolerance(1e-10, 1e-10);
    let end = |ode: Ode, mu| {
        ode.solve(move |_, y| van_der_pol(mu, y), y0, [0.0, 2000.0]).unwrap().index_axis(0, 1)
    };
    // The same solution as in the test set, in another unit of time.
    let ys = end(ode.clone(), mu).to_vec();
    assert!((ys[0] - 1.706_167_732_170_483).abs() < 1e-6, "{ys:?}");
    let loss = |ode, mu| end(ode, mu).index_axis(0, 0);
    let exact = loss(ode.clone(), mu).grad(&[mu]).unwrap()[0].item();
    let unrolled =
        loss(ode.clone().gradient(Gradient::Unrolled), mu).grad(&[mu]).unwrap()[0].item();
    // Before each jump, tangents grow by ten orders of magnitude, and rounding with them.
    assert!((exact - unrolled).abs() < 1e-6 * exact.abs(), "{exact:e} {unrolled:e}");
    let tight = Ode::new(Kvaerno5).tolerance(1e-12, 1e-12);
    let moved = |d: f64| loss(tight.clone(), tape.scalar(1000.0 + d)).item();
    let difference = (moved(0.05) - moved(-0.05)) / 0.1;
    assert!((exact - difference).abs() < 2e-3 * exact.abs(), "{exact:e} {difference:e}");
    let e = loss(ode.gradient(Gradient::Continuous), mu).grad(&[mu]).unwrap_err();
    assert!(e.to_string().contains("departs from the solution"), "{e}");
}

/// A field that decides by a number it reads has no program, and its Jacobian is by differences.
#[test]
fn a_field_may_read_numbers() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0, 2.0]));
    let rate = tape.scalar(0.5);
    let ode = Ode::new(Kvaerno5).tolerance(1e-8, 1e-8);
    let ys = ode
        .solve(|_, y| if y.sum().item() > -1.0 { -(rate * y) } else { y }, y0, [0.0, 2.0])
        .unwrap();
    let g = ys.index_axis(0, 1).sum().grad(&[rate]).unwrap()[0].item();
    assert!((g + 6.0 * (-1f64).exp()).abs() < 1e-6, "{g}");
}

/// A state so large that its Jacobian is computed in one batched pass.
#[test]
fn larger_states() {
    let tape = Tape::new();
    let y0 = tape.constant(&array(&[3, 7], 0.4, 1.0));
    let w = tape.constant(&array(&[7, 7], 2.3, 1.0));
    let loss = |ode: Ode| {
        let ys =
            ode.solve(|t, y| (y.matmul(w) * t).tanh() - 50.0 * y, y0, [0.0, 0.1, 1.0]).unwrap();
        let g = (ys * tape.constant(&array(&[3, 3, 7], 1.1, 1.0))).sum().grad(&[y0, w]).unwrap();
        (Ode::stats(ys), g.iter().map(|g| g.to_vec()).collect::<Vec<_>>())
    };
    let ode = Ode::new(Kvaerno5).tolerance(1e-4, 1e-4);
    let (stats, exact) = loss(ode.clone());
    let (_, unrolled) = loss(ode.gradient(Gradient::Unrolled));
    close(&exact, &unrolled, 1e-10, "21 components");
    let stats = stats.unwrap();
    // With the exact Jacobian a stage takes a few iterations.
    assert!(stats.f_evals < 40 * (stats.accepted + stats.rejected), "{stats}");
}

/// Loss and gradient as a program: replayed on other inputs, it solves on another grid, and gives
/// the bits that recording gives.
#[test]
fn replay_is_recording() {
    let ode = Ode::new(Kvaerno5).tolerance(1e-6, 1e-8);
    let record = |x: &[ArrayD<f64>]| {
        Function::trace(x, |tape, x| {
            let loss = solve(&ode, x, TIMES[..].into())?.square().sum();
            let mut out = tape.vjp(&[loss], &[tape.scalar(1.0)], x)?;
            out.push(loss);
            Ok(out)
        })
        .unwrap()
    };
    let run = |program: &Program<f64>, x: &[ArrayD<f64>]| {
        let x: Vec<_> = x.iter().map(|x| x.as_slice().unwrap()).collect();
        let mut workspace = Workspace::new(program);
        let outputs = program.evaluate(&mut workspace, &x).unwrap();
        (0..6).flat_map(|i| outputs.get(i).to_vec()).collect::<Vec<f64>>()
    };
    let other: Vec<_> = inputs().iter().map(|x| x * 1.7 + 0.1).collect();
    let replayed = run(&Program::compile(&record(&inputs())).unwrap(), &other);
    let recorded = run(&Program::compile(&record(&other)).unwrap(), &other);
    assert_eq!(replayed, recorded);
}

#[test]
fn statistics_come_with_the_solution() {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let ys = solve(&Ode::new(Kvaerno5), &x, TIMES[..].into()).unwrap();
    let stats = Ode::stats(ys).unwrap();
    let steps = stats.accepted;
    assert!(stats.jacobian_evals >= steps && stats.factorisations >= steps);
    let g = ys.sum().grad(&[x[1]]).unwrap()[0];
    // The six implicit stages of each step, and the first slope of all.
    let backward = Ode::stats(g).unwrap();
    assert_eq!((backward.vjp_evals, backward.factorisations), (6 * steps + 1, 6 * steps));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..Default::default() })]

    /// `p · δ` at the start, with the parameters' part, is `p · δ` at the end.
    #[test]
    fn p_dot_delta_is_constant(
        seed in 0.0..10.0f64,
        size in 0.1..2.0f64,
        end in 0.2..4.0f64,
        exponent in 2..9i32,
        which in 0..methods().count(),
    ) {
        let method = methods().nth(which).unwrap();
        let tolerance = 10f64.powi(-exponent);
        let ode = match method.tableau().order {
            3.. => Ode::new(method).tolerance(tolerance, tolerance),
            _ => Ode::new(method).steps(3 * exponent as usize),
        };
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(&(x * size))).collect();
        let ts = [0.0, 0.3 * end, end];
        let ys = solve(&ode, &x, ts[..].into()).unwrap();
        let p = tape.constant(&array(&[3, 2, 2], seed, 1.0));
        let dots: Vec<_> =
            inputs().iter().map(|x| tape.constant(&array(x.shape(), seed + 3.0, 1.0))).collect();
        let bars = tape.vjp(&[ys], &[p], &x).unwrap();
        let delta = tape.jvp(&[ys], &x, &dots).unwrap()[0];
        let at_end = p.dot(delta).item();
        let products: Vec<f64> =
            bars.iter().zip(&dots).flat_map(|(p, d)| (*p * *d).to_vec()).collect();
        let at_start: f64 = products.iter().sum();
        let terms: f64 = products.iter().map(|x| x.abs()).sum();
        prop_assert!((at_end - at_start).abs() <= 1e-12 * terms, "{at_end:e} {at_start:e}");
    }
}
