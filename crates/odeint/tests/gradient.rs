//! The gradient of a solve, each way against the others and against finite differences.

use costate_odeint::{Dopri5, Euler, Gradient, Method, Ode, Options, Rk4, Stepping, Times, Tsit5};
use costate_tape::{Function, Program, Result, Tape, Var, Workspace, check};
use ndarray::{Array1, ArrayD};
use proptest::prelude::*;

use crate::network::{array, close, symmetric_hessian};

const TIMES: [f64; 5] = [0.1, 0.37, 0.9, 1.55, 2.0];

/// A small network that depends on the time, `[3, 2] → [3, 2]`: `w1, b, w2` are captured.
fn inputs() -> Vec<ArrayD<f64>> {
    vec![
        array(&[3, 2], 0.3, 1.0),
        array(&[2, 4], 1.7, 0.9),
        array(&[4], 2.9, 0.4),
        array(&[4, 2], 4.1, 0.8),
    ]
}

fn field<'t>(x: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    (y.matmul(x[1]) + x[2] * t.sin()).tanh().matmul(x[3]) - y * 0.3
}

fn solve<'t>(ode: &Ode, x: &[Var<'t, f64>], ts: Times<'_, 't, f64>) -> Result<Var<'t, f64>> {
    ode.solve(|t, y| field(x, t, y), x[0], ts)
}

/// Weights that make a loss of all states.
fn weights(n: usize) -> ArrayD<f64> {
    array(&[n, 3, 2], 5.5, 1.0)
}

/// The cotangents of `y0, w1, b, w2` and the times.
fn gradient(ode: &Ode, ts: &[f64], times: bool) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let var = tape.constant(&Array1::from(ts.to_vec()));
    let ys = solve(ode, &x, if times { var.into() } else { ts.into() }).unwrap();
    let g = tape.constant(&weights(ts.len()));
    let wrt: Vec<_> = if times { x.iter().copied().chain([var]).collect() } else { x };
    tape.vjp(&[ys], &[g], &wrt).unwrap().iter().map(|g| g.to_vec()).collect()
}

/// Every method, with steps of its own choice where it can, and equal ones.
fn solvers() -> Vec<(String, Ode)> {
    let mut solvers = Vec::new();
    for method in Method::all().into_iter().chain(Method::symplectic()) {
        let name = method.tableau().name;
        solvers.push((format!("{name}, steps"), Ode::new(method).steps(7)));
        let options = Options { stepping: Stepping::Fixed(0.3), ..Options::default() };
        solvers.push((format!("{name}, dt"), Ode::new(method).options(options)));
        if method.tableau().error.is_some() {
            solvers.push((format!("{name}, adaptive"), Ode::new(method).tolerance(1e-4, 1e-6)));
        }
    }
    solvers
}

#[test]
fn exact_is_unrolled() {
    for (name, ode) in solvers() {
        // Times between steps, at steps, one step, one time, and backward.
        for ts in [&TIMES[..], &[0.0, 1.0, 2.0], &[0.0, 0.2], &[1.0], &[2.0, 1.3, 0.0]] {
            for times in [false, true] {
                let exact = gradient(&ode, ts, times);
                let unrolled = gradient(&ode.clone().gradient(Gradient::Unrolled), ts, times);
                close(&exact, &unrolled, 1e-11, &format!("{name} {ts:?} {times}"));
            }
        }
    }
}

/// Systems of few numbers go back by their Jacobians, side by side.
#[test]
fn exact_is_unrolled_for_few_numbers() {
    let gradient = |ode: &Ode, ts: &[f64], seed: f64| {
        let tape = Tape::new();
        let x = [array(&[2], seed, 1.0), array(&[2], seed + 3.0, 1.0)].map(|x| tape.constant(&x));
        let ys = ode.solve(|t, y| (y * x[1] + t).sin() * 2.0 - y, x[0], ts).unwrap();
        let g = tape.constant(&array(&[ts.len(), 2], 5.5, 1.0));
        tape.vjp(&[ys], &[g], &x).unwrap().iter().map(|g| g.to_vec()).collect::<Vec<_>>()
    };
    for (name, ode) in solvers() {
        for ts in [&TIMES[..], &[0.0, 1.0, 2.0], &[0.0, 0.2], &[2.0, 1.3, 0.0]] {
            for seed in [1.0, 2.0, 3.0] {
                let exact = gradient(&ode, ts, seed);
                let unrolled = gradient(&ode.clone().gradient(Gradient::Unrolled), ts, seed);
                close(&exact, &unrolled, 1e-11, &format!("{name} {ts:?} {seed}"));
            }
        }
    }
}

#[test]
fn exact_agrees_with_differences_on_a_fixed_grid() {
    for ode in [Ode::new(Rk4).steps(6), Ode::new(Euler).steps(9), Ode::new(Tsit5).steps(4)] {
        check::gradient(|_, x| solve(&ode, x, TIMES[..].into()), &inputs()).unwrap();
    }
}

#[test]
fn times_agree_with_differences_at_tight_tolerance() {
    let ode = Ode::new(Dopri5).tolerance(1e-11, 1e-12);
    let mut x = inputs();
    x.push(Array1::from(TIMES.to_vec()).into_dyn());
    check::gradient(|_, x| solve(&ode, &x[..4], x[4].into()), &x).unwrap();
}

#[test]
fn continuous_converges_to_exact() {
    let mut last = f64::INFINITY;
    for tolerance in [1e-4, 1e-6, 1e-8, 1e-10] {
        let ode = Ode::new(Tsit5).tolerance(tolerance, tolerance);
        let exact = gradient(&Ode::new(Tsit5).tolerance(1e-12, 1e-12), &TIMES, true);
        let continuous = gradient(&ode.gradient(Gradient::Continuous), &TIMES, true);
        let distance = |a: &[Vec<f64>], b: &[Vec<f64>]| {
            let pairs = a.iter().flatten().zip(b.iter().flatten());
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        let error = distance(&exact, &continuous);
        assert!(error < 100.0 * tolerance, "{tolerance:e}: {error:e}");
        assert!(error < last / 3.0, "{tolerance:e}: {error:e} after {last:e}");
        last = error;
    }
    let ode = Ode::new(Rk4).steps(400);
    let exact = gradient(&ode, &TIMES, true);
    close(&exact, &gradient(&ode.gradient(Gradient::Continuous), &TIMES, true), 1e-7, "RK4");
}

fn van_der_pol<'t>(_: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
    Var::stack(0, &[v, 10.0 * (1.0 - x * x) * v - x])
}

/// Where a contracting solution is solved backward, the state departs: an error, not a number.
#[test]
fn continuous_notices_that_it_departs() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![2.0, 0.0]));
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-8).gradient(Gradient::Continuous);
    let ys = ode.solve(van_der_pol, y0, [0.0, 8.0]).unwrap();
    let e = ys.sum().grad(&[y0]).unwrap_err();
    assert!(e.to_string().contains("departs from the solution"), "{e}");
    let exact = ode.gradient(Gradient::Exact).solve(van_der_pol, y0, [0.0, 8.0]).unwrap();
    assert!(exact.sum().grad(&[y0]).unwrap()[0].to_vec().iter().all(|g| g.is_finite()));
}

#[test]
fn second_derivatives() {
    let ode = Ode::new(Rk4).steps(3);
    let ts = [0.0, 0.4, 1.0];
    // The gradient of a function that contains a gradient, against differences.
    check::gradient(
        |tape, x| {
            let loss = solve(&ode, x, ts[..].into())?.square().sum();
            let bars = tape.vjp(&[loss], &[tape.scalar(1.0)], x)?;
            Ok(Var::concat(
                0,
                &bars.iter().map(|g| g.reshape([g.shape().numel()])).collect::<Vec<_>>(),
            ))
        },
        &inputs(),
    )
    .unwrap();
}

/// The Hessian of the loss through an adaptive solve is symmetric, since the grid is frozen.
#[test]
fn hessian_vector_products_are_symmetric() {
    let ode = Ode::new(Tsit5).tolerance(1e-4, 1e-4);
    symmetric_hessian(
        &inputs(),
        |x| solve(&ode, x, TIMES[..].into()).unwrap().square().sum(),
        1e-12,
    );
}

/// A field that is itself a gradient: a Hamiltonian network.
fn hamiltonian<'t>(_: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    Ode::new(Rk4).steps(4).try_solve(
        |_, z| {
            let energy = z.matmul(x[1]).tanh().square().sum() + z.square().sum();
            let g = energy.grad(&[z])?[0];
            Ok(Var::concat(0, &[g.slice_axis(0, 1..2), -g.slice_axis(0, 0..1)]))
        },
        x[0],
        [0.0, 0.7],
    )
}

/// A field that solves another equation.
fn nested<'t>(_: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    let ode = Ode::new(Rk4).steps(4);
    ode.try_solve(
        |_, y| {
            let inner = ode.solve(|_, z| (z * x[1]).sin() - z, y, [0.0, 0.5])?;
            Ok(inner.index_axis(0, 1))
        },
        x[0],
        [0.0, 1.0],
    )
}

#[test]
fn fields_that_differentiate_and_solve() {
    let x = [array(&[2], 0.2, 1.0), array(&[2, 3], 0.9, 0.7)];
    check::gradient(hamiltonian, &x).unwrap();

    let x = [array(&[2], 0.2, 1.0), array(&[2], 0.9, 0.7)];
    let tape = Tape::new();
    let vars: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
    let bars = tape.vjp(
        &[nested(&tape, &vars).unwrap()],
        &[tape.constant(&array(&[2, 2], 1.0, 1.0))],
        &vars,
    );
    let bars: Vec<_> = bars.unwrap().iter().map(|g| g.to_vec()).collect();
    let loss = |x: &[ArrayD<f64>]| {
        let tape = Tape::new();
        let vars: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
        (nested(&tape, &vars).unwrap() * tape.constant(&array(&[2, 2], 1.0, 1.0))).sum().item()
    };
    for i in 0..2 {
        for j in 0..2 {
            let moved = |h: f64| {
                let mut x = x.clone();
                x[i][j] += h;
                loss(&x)
            };
            let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((difference - bars[i][j]).abs() < 1e-8, "{difference} {}", bars[i][j]);
        }
    }
}

/// A field that decides by a number it reads is recorded anew each time.
#[test]
fn a_field_may_read_numbers() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0, 2.0]));
    let rate = tape.scalar(0.5);
    let ode = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    let ys = ode
        .solve(|_, y| if y.sum().item() > 2.0 { -(rate * y) } else { -y }, y0, [0.0, 2.0])
        .unwrap();
    let end: Vec<f64> = ys.index_axis(0, 1).to_vec();
    // e^(-t/2) until the sum is 2, at t* = 2 ln(3/2); then e^(-t).
    let switch = 2.0 * 1.5f64.ln();
    let expected = 1.0 / 1.5 * (-(2.0 - switch)).exp();
    assert!((end[0] - expected).abs() < 1e-5, "{end:?} {expected}");
    let g = ys.index_axis(0, 1).sum().grad(&[rate]).unwrap()[0].item();
    assert!(g.is_finite() && g != 0.0);
}

#[test]
#[should_panic(expected = "returns shape [3] for a state of shape [2]")]
fn a_field_of_the_wrong_shape() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0, 2.0]));
    let three = tape.constant(&Array1::from(vec![1.0, 2.0, 3.0]));
    let _ = Ode::new(Tsit5).solve(|_, _| three * 2.0, y0, [0.0, 1.0]);
}

#[test]
fn errors_name_the_line_and_keep_the_solution_so_far() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0]));
    let ode = Ode::new(Tsit5);
    let text = |ts: &[f64], y0| ode.solve(|_, y| -y, y0, ts).unwrap_err().to_string();
    assert!(text(&[], y0).contains("the list of times is empty"));
    assert!(text(&[0.0, 2.0, 1.0], y0).contains("time 2 is 1 after 2"));
    assert!(text(&[0.0, 1.0], tape.constant(&Array1::zeros(0))).contains("no components"));
    assert!(text(&[0.0, 1.0], y0 * f64::NAN).contains("component 0 of the state is not finite"));

    let e = ode.solve(|t, y| -y / (0.5 - t).sqrt(), y0, [0.0, 0.25, 1.0]).unwrap_err();
    assert!(e.to_string().contains("gradient.rs"), "{e}");
    let source = e.call_error().unwrap().downcast_ref::<costate_odeint::Error>().unwrap();
    assert_eq!(source.partial().unwrap().ts, [0.0, 0.25]);

    let e = ode.solve(|_, y| y * y, y0, [0.0, 2.0]).unwrap_err();
    assert!(e.to_string().contains("t = 1.0"), "{e}");
    let ts = tape.constant(&Array1::from(vec![0.0, 2.0, 1.0]));
    assert!(ode.solve(|_, y| -y, y0, ts).unwrap_err().to_string().contains("increase or decrease"));
}

#[test]
fn statistics_come_with_the_solution() {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let ys = solve(&Ode::new(Tsit5), &x, TIMES[..].into()).unwrap();
    let stats = Ode::stats(ys).unwrap();
    assert!(stats.accepted > 3 && stats.f_evals > 6 * stats.accepted && stats.bytes_kept > 1000);
    assert!(Ode::stats(x[0]).is_none());
    // Each of the six slopes of each step is differentiated once, and the last end slope if a
    // state inside the last step needs it.
    let g = ys.sum().grad(&[x[1]]).unwrap()[0];
    let steps = stats.accepted;
    assert!((6 * steps..=6 * steps + 1).contains(&Ode::stats(g).unwrap().vjp_evals));
}

/// Loss and gradient as a program: replayed on other inputs, it solves on another grid, and gives
/// the bits that recording gives.
#[test]
fn replay_is_recording() {
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-8);
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
        (0..5).flat_map(|i| outputs.get(i).to_vec()).collect::<Vec<f64>>()
    };
    let other: Vec<_> = inputs().iter().map(|x| x * 1.7 + 0.1).collect();
    let replayed = run(&Program::compile(&record(&inputs())).unwrap(), &other);
    let recorded = run(&Program::compile(&record(&other)).unwrap(), &other);
    assert_eq!(replayed, recorded);
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
        which in 0usize..20,
    ) {
        let method = *Method::all().iter().chain(&Method::symplectic()).nth(which).unwrap();
        let ode = match method.tableau().error {
            Some(_) if method.tableau().order >= 3 => Ode::new(method).tolerance(10f64.powi(-exponent), 10f64.powi(-exponent)),
            _ => Ode::new(method).steps(3 * exponent as usize),
        };
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(&(x * size))).collect();
        let ts = [0.0, 0.3 * end, end];
        let ys = solve(&ode, &x, ts[..].into()).unwrap();
        let p = tape.constant(&array(&[3, 3, 2], seed, 1.0));
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

/// A solve written for one sample, for a batch: each sample has its own steps, and its gradient is
/// that which it has alone, bit for bit.
#[test]
fn a_batch_of_solves() {
    let ode = Ode::new(Tsit5).tolerance(1e-5, 1e-7);
    let tape = Tape::new();
    let starts = tape.constant(&array(&[4, 2], 0.4, 1.5));
    let w = tape.constant(&array(&[2, 2], 1.2, 2.0));
    let solve = |y0| ode.solve(|t, y| (y.matmul(w) * t).sin() - y, y0, [0.0, 0.3, 2.0]);
    let ys = tape.vmap(&[starts], |y0| Ok(vec![solve(y0[0])?])).unwrap()[0];
    assert_eq!(*ys.shape(), [4, 3, 2]);
    let g = ys.square().sum().grad(&[starts]).unwrap()[0];
    for i in 0..4 {
        let y0 = starts.index_axis(0, i);
        let alone = solve(y0).unwrap();
        assert_eq!(alone.to_vec(), ys.index_axis(0, i).to_vec());
        let alone = alone.square().sum().grad(&[y0]).unwrap()[0];
        assert_eq!(alone.to_vec(), g.index_axis(0, i).to_vec());
    }
}
