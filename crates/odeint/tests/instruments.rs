//! Instruments of a gradient, on fields whose derivatives are right and on one whose are wrong.

use std::sync::Arc;

use costate_odeint::{
    Auto, Dopri5, Euler, Gradient, Heun, KenCarp4Imex, Kvaerno4, Measured, Memory, Method, Ode,
    Options, Rk4, Rodas5P, Scheme, Tsit5, Verner6, Verner7, Verner9, Way, compare_gradients,
    compare_ways, gradient_with_error, momentum_trajectory, p_dot_delta,
};
use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Tape, Var};

type V<'t> = Var<'t, f64>;

/// A loss whose argument and result live on one tape.
fn loss_of<'t, F: Fn(V<'t>) -> Result<V<'t>>>(loss: F) -> F {
    loss
}

fn field_of<'t, F: Fn(V<'t>, V<'t>) -> Result<V<'t>>>(field: F) -> F {
    field
}

fn numbers(n: usize, seed: f64, size: f64) -> Vec<f64> {
    (0..n).map(|i| size * (seed + 12.9898 * i as f64).sin()).collect()
}

/// A small network that depends on the time.
fn network<'t>(w: &[V<'t>], t: V<'t>, y: V<'t>) -> V<'t> {
    (y.matmul(w[0]) + w[1] * t.sin()).tanh().matmul(w[2]) - y * 0.3
}

fn weights(tape: &Tape<f64>) -> Vec<V<'_>> {
    vec![
        tape.leaf(&numbers(8, 1.7, 0.9), [2, 4]),
        tape.leaf(&numbers(4, 2.9, 0.4), [4]),
        tape.leaf(&numbers(8, 4.1, 0.8), [4, 2]),
    ]
}

/// All methods, with adaptive steps where they can.
fn solvers() -> Vec<Ode> {
    let methods = Method::all()
        .into_iter()
        .chain(Method::symplectic())
        .chain(Method::implicit())
        .chain([Rodas5P.into(), Auto.into(), KenCarp4Imex.into()]);
    let one = |method: Method| match method.tableau().error {
        Some(_) => vec![Ode::new(method).tolerance(1e-3, 1e-4), Ode::new(method).steps(5)],
        None => vec![Ode::new(method).steps(9)],
    };
    let one = |method: Method| {
        let checkpoints = Ode::new(method).steps(9).memory(Memory::Checkpoints(2));
        [one(method), vec![checkpoints]].concat()
    };
    let pairs = [
        Scheme::ReversibleHeun,
        Scheme::AsynchronousLeapfrog,
        Scheme::coupled(Heun, 0.9),
        Scheme::coupled(Rk4, 0.999),
        Scheme::coupled(Dopri5, 0.99),
    ];
    methods.chain(pairs.map(Method::from)).flat_map(one).collect()
}

#[test]
fn p_dot_delta_is_constant_along_the_pass() {
    for ode in solvers() {
        let tape = Tape::new();
        let y0 = tape.leaf(&[0.5, -0.9], [1, 2]);
        let w = weights(&tape);
        // Times within steps, and a direction that is a function of another variable.
        let scale = tape.scalar(1.1);
        let scaled = w[0] * scale;
        let ts = [0.0, 0.35, 0.4, 1.7];
        let field = |t, y| Ok(network(&[scaled, w[1], w[2]], t, y));
        let cotangent = tape.leaf(&numbers(8, 0.4, 1.0), [4, 1, 2]);
        let wrt = [y0, scale, w[1], w[2]];
        let tangents: Vec<_> = wrt
            .iter()
            .map(|x| tape.leaf(&numbers(x.shape().numel(), 3.3, 1.0), x.shape()))
            .collect();
        let found = p_dot_delta(&ode, field, y0, &ts, cotangent, &wrt, &tangents).unwrap();
        assert!(found.holds(), "{ode:?}: {:e}, allowed {:e}", found.deviation(), found.rounding);
        assert!(found.rounding < 1e-12, "{:e}", found.rounding);
        assert!(found.values.len() > 3 && found.size > 0.0);
    }
}

/// `x³`, with a rule of reverse mode that is wrong by a hundredth where `x > 1`.
#[derive(Debug)]
struct WrongCube;

impl CallOp<f64> for WrongCube {
    fn name(&self) -> &str {
        "wrong_cube"
    }
    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        vec![inputs[0].clone()]
    }
    fn eval(&self, e: &mut Evaluation<'_, f64>) -> std::result::Result<(), CallError> {
        e.output.iter_mut().zip(e.inputs[0].data).for_each(|(y, x)| *y = x * x * x);
        Ok(())
    }
    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, f64>,
        g: &[Option<V<'t>>],
    ) -> Result<Vec<Option<V<'t>>>> {
        let x = rule.inputs[0];
        Ok(vec![g[0].map(|g| g * x * x * (3.0 + 0.03 * x.gt(x.ones_like())))])
    }
    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, f64>,
        d: &[Option<V<'t>>],
    ) -> Result<Vec<Option<V<'t>>>> {
        let x = rule.inputs[0];
        Ok(vec![d[0].map(|d| d * x * x * 3.0)])
    }
}

/// The place of the worst deviation is where the wrong rule was used.
#[test]
fn p_dot_delta_finds_a_wrong_rule() {
    let tape = Tape::new();
    let y0 = tape.leaf(&[2.0], [1]);
    let field = |_, y| Ok(-0.5 * tape.call(Arc::new(WrongCube), &[y])?[0]);
    let (g, d) = (tape.leaf(&[0.0, 1.0], [2, 1]), tape.leaf(&[1.0], [1]));
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-6);
    let found = p_dot_delta(&ode, field, y0, &[0.0, 2.0], g, &[y0], &[d]).unwrap();
    assert!(!found.holds() && found.deviation() > 1e-3, "{:e}", found.deviation());
    // y > 1 until t = 3/4: going backward the invariant is right up to there.
    assert!(found.worst_at() < 0.75);
    let last = found.values[found.values.len() - 1];
    for (value, t) in found.values.iter().zip(&found.ts).filter(|(_, t)| **t > 0.9) {
        assert!((value - last).abs() < 1e-14 * found.size, "{t}");
    }
}

fn lotka_volterra<'t>(k: V<'t>, y: V<'t>) -> V<'t> {
    let (a, b) = (y.index_axis(0, 0), y.index_axis(0, 1));
    let k = |i| k.index_axis(0, i);
    Var::stack(0, &[a * (k(0) - k(1) * b), b * (k(2) * a - k(3))])
}

const LOTKA_VOLTERRA: [f64; 4] = [1.5, 1.0, 1.0, 3.0];

#[test]
fn a_trajectory_is_that_of_the_gradient() {
    for method in [Tsit5.into(), Kvaerno4.into(), Verner7.into(), Method::from(Dopri5)] {
        let tape = Tape::new();
        let y0 = tape.leaf(&[1.0, 1.2], [2]);
        let k = tape.leaf(&LOTKA_VOLTERRA, [4]);
        let options = Options { stop_at_saves: true, ..Options::tolerance(1e-7, 1e-9) };
        let ode = Ode::new(method).options(options);
        let ts = [0.0, 0.8, 1.1, 2.0];
        // Nothing is observed at the third time.
        let loss = loss_of(|ys| {
            let (b, d) = (ys.index_axis(0, 1), ys.index_axis(0, 3));
            Ok(b.square().sum() + d.index_axis(0, 0) * k.sum())
        });
        let path =
            momentum_trajectory(&ode, |_, y| Ok(lotka_volterra(k, y)), y0, &ts, loss, &[k, y0])
                .unwrap();

        // The gradient is that of the tape, with what the loss has of the parameters itself.
        let ys = ode.solve(|_, y| lotka_volterra(k, y), y0, ts).unwrap();
        let l = loss(ys).unwrap();
        assert_eq!(l.item(), path.loss);
        let expected = l.grad(&[k, y0]).unwrap();
        for (found, expected) in path.gradient.iter().zip(&expected) {
            for (a, b) in found.iter().zip(expected.to_vec()) {
                assert!((a - b).abs() < 1e-12 * b.abs().max(1.0), "{a} {b}");
            }
        }
        assert_eq!(path.momentum(0), path.gradient[1]);
        assert_eq!(path.forward.accepted, Ode::stats(ys).unwrap().accepted);
        assert!(path.forward.f_evals > 0 && path.backward.vjp_evals > 0);

        // One jump, by the cotangent there.
        let twice: Vec<usize> =
            (1..path.ts.len()).filter(|&i| path.ts[i] == path.ts[i - 1]).collect();
        assert_eq!(twice.len(), 1);
        let i = twice[0];
        assert_eq!(path.ts[i], 0.8);
        for c in 0..2 {
            let jump = path.momentum(i - 1)[c] - path.momentum(i)[c];
            assert!((jump - 2.0 * path.state(i)[c]).abs() < 1e-12);
        }
        assert_eq!(path.segments.len(), 2);
        assert!(path.time_momentum.iter().all(|p| *p == 0.0));
        assert!(path.drift() > 0.0 && path.drift() < 1e-5, "{:e}", path.drift());

        // The rates integrate to the gradient, less the loss's own part: by the trapezoidal rule, to
        // its accuracy.
        for c in 0..4 {
            let rate = |i: usize| path.rates[0][i * 4 + c];
            let integral: f64 = (1..path.ts.len())
                .map(|i| 0.5 * (path.ts[i] - path.ts[i - 1]) * (rate(i) + rate(i - 1)))
                .sum();
            let own = path.state(path.ts.len() - 1)[0];
            let expected = path.gradient[0][c] - own;
            assert!((integral - expected).abs() < 0.1 * expected.abs(), "{integral} {expected}");
        }
    }
}

/// The momentum at a time is the gradient of a solve that starts there.
#[test]
fn momenta_are_gradients_of_the_rest() {
    let tape = Tape::new();
    let y0 = tape.leaf(&[0.5, -0.9], [1, 2]);
    let w = weights(&tape);
    let ode = Ode::new(Dopri5).tolerance(1e-9, 1e-10);
    let (ts, field) = ([0.0, 0.6, 2.0], field_of(|t, y| Ok(network(&w, t, y))));
    let loss = loss_of(|ys| Ok(ys.square().sum()));
    let path = momentum_trajectory(&ode, field, y0, &ts, loss, &[]).unwrap();
    let n = path.ts.len();
    for i in [1, n / 2, n - 3] {
        let y = tape.leaf(path.state(i), [1, 2]);
        let t = path.ts[i];
        let rest: Vec<f64> = [t].into_iter().chain(ts.into_iter().filter(|&s| s > t)).collect();
        let ys = ode.try_solve(field, y, &rest).unwrap();
        // The state at the start of the rest is not observed.
        let l = ys.slice_axis(0, 1..rest.len()).square().sum();
        for (a, b) in l.grad(&[y]).unwrap()[0].to_vec().iter().zip(path.momentum(i)) {
            assert!((a - b).abs() < 1e-7, "{t}: {a} {b}");
        }
    }
}

/// `H` drifts in proportion to the error; where the field depends on the time, together with the
/// momentum of the time.
#[test]
fn drift_follows_the_tolerance() {
    let drift = |method: Method, tolerance: f64, forced: f64| {
        let tape = Tape::new();
        let y0 = tape.leaf(&[0.5, -0.9], [1, 2]);
        let w = weights(&tape);
        let ode = Ode::new(method).tolerance(tolerance, tolerance);
        let field = field_of(|t, y| Ok(network(&w, t * forced + 1.0, y)));
        let loss = loss_of(|ys| Ok(ys.index_axis(0, 1).square().sum()));
        let path = momentum_trajectory(&ode, field, y0, &[0.0, 3.0], loss, &[]).unwrap();
        let h = &path.hamiltonian;
        let spread =
            h.iter().fold(f64::MIN, |a, &b| a.max(b)) - h.iter().fold(f64::MAX, |a, &b| a.min(b));
        (path.drift(), spread)
    };
    for method in [Method::from(Tsit5), Kvaerno4.into(), Rodas5P.into(), Dopri5.into()] {
        for forced in [0.0, 1.0] {
            let (loose, _) = drift(method, 1e-3, forced);
            let (tight, spread) = drift(method, 1e-8, forced);
            let name = method.tableau().name;
            assert!(loose < 0.1 && tight < 1e-3 * loose, "{name} {forced}: {loose:e} {tight:e}");
            assert_eq!(spread > 1e-3, forced > 0.0, "{name}: {spread:e}");
        }
    }
}

/// A problem: its name, the initial state, parameters, the end, the field.
type Problem = (&'static str, Vec<f64>, Vec<f64>, f64, for<'t> fn(V<'t>, V<'t>, V<'t>) -> V<'t>);

fn problems() -> [Problem; 4] {
    [
        ("lotka_volterra", vec![1.0, 1.2], LOTKA_VOLTERRA.to_vec(), 3.0, |k, _, y| {
            lotka_volterra(k, y)
        }),
        ("van_der_pol", vec![2.0, 0.0], vec![1.5], 4.0, |k, _, y| {
            let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
            let mu = k.index_axis(0, 0);
            Var::stack(0, &[v, mu * (1.0 - x * x) * v - x])
        }),
        ("lorenz", vec![1.0, 0.5, 0.0], vec![10.0, 28.0, 8.0 / 3.0], 1.5, |k, _, y| {
            let (k, y) = (|i| k.index_axis(0, i), |i| y.index_axis(0, i));
            Var::stack(
                0,
                &[k(0) * (y(1) - y(0)), y(0) * (k(1) - y(2)) - y(1), y(0) * y(1) - k(2) * y(2)],
            )
        }),
        ("forced", vec![0.3], vec![0.8], 3.0, |k, t, y| (k.index_axis(0, 0) * t).sin() * y.cos()),
    ]
}

#[test]
fn the_estimated_error_is_the_error() {
    for (name, start, parameters, end, field) in problems() {
        let setups = [
            (Ode::new(Tsit5).tolerance(1e-5, 1e-7), false),
            (Ode::new(Tsit5).tolerance(1e-5, 1e-7), true),
            (Ode::new(Dopri5).tolerance(1e-7, 1e-9), false),
            (Ode::new(Rk4).steps(150), false),
            (Ode::new(Heun).steps(2000), false),
            (Ode::new(Euler).steps(4000), false),
            (Ode::new(Kvaerno4).tolerance(1e-5, 1e-7), false),
        ];
        for (ode, inside) in setups {
            let tape = Tape::new();
            let y0 = tape.leaf(&start, [start.len()]);
            let k = tape.leaf(&parameters, [parameters.len()]);
            let ts = if inside { vec![0.0, 0.43 * end, end] } else { vec![0.0, end] };
            let loss = loss_of(|ys| Ok(ys.slice_axis(0, 1..ts.len()).square().sum()));
            let found =
                gradient_with_error(&ode, |t, y| Ok(field(k, t, y)), y0, &ts, loss, &[y0, k])
                    .unwrap();
            let tight = Ode::new(Verner9).tolerance(1e-13, 1e-14);
            let ys = tight.solve(|t, y| field(k, t, y), y0, &ts).unwrap();
            let exact = loss(ys).unwrap().grad(&[y0, k]).unwrap();
            let (mut error, mut size) = (0.0, 0.0);
            for (a, b) in found.gradient.iter().zip(&exact) {
                for (a, b) in a.to_vec().into_iter().zip(b.to_vec()) {
                    error += (a - b) * (a - b);
                    size += b * b;
                }
            }
            let ratio = found.relative() / (error / size).sqrt();
            assert!((0.5..2.0).contains(&ratio), "{name} {ode:?} {inside}: {ratio}");
        }
    }
}

#[test]
fn instruments_say_what_is_wrong() {
    let tape = Tape::new();
    let y0 = tape.leaf(&[1.0], [1]);
    let last = loss_of(|ys| Ok(ys.sum()));
    let ode = Ode::new(Tsit5).gradient(Gradient::Unrolled);
    let reads = field_of(|_, y| Ok(if y.item() > 0.5 { -y } else { y }));
    let e = gradient_with_error(&ode, reads, y0, &[0.0, 1.0], last, &[y0]).unwrap_err();
    assert!(e.is_value_dependent(), "{e}");
    let e = momentum_trajectory(&ode, |_, y| Ok(-y), y0, &[], last, &[]).unwrap_err();
    assert!(e.to_string().contains("the list of times is empty"), "{e}");
}

#[test]
fn ways_side_by_side() {
    let tape = Tape::new();
    let (y0, k) = (tape.leaf(&[1.0, 1.2], [2]), tape.leaf(&LOTKA_VOLTERRA, [4]));
    let target = tape.leaf(&[0.9, 1.1], [2]);
    let tolerances = [1e-4, 1e-7];
    let ode = Ode::new(Tsit5);
    let found = compare_gradients(
        &ode,
        |_, y| Ok(lotka_volterra(k, y)),
        y0,
        &[0.0, 1.0, 3.0],
        |ys| Ok((ys - target).square().sum()),
        &tolerances,
    )
    .unwrap();
    assert_eq!(found.rows.len(), Way::all(&ode).len() * tolerances.len());
    assert!(found.uncertainty < 1e-11, "{:e}", found.uncertainty);
    let row = |way: &str, tolerance: f64| -> Measured {
        let mut rows = found.rows.iter();
        let row = rows.find(|row| row.way == way && row.tolerance == Some(tolerance)).unwrap();
        row.outcome.clone().unwrap()
    };
    for way in Way::all(&ode) {
        let (loose, tight) = (row(&way.name, 1e-4), row(&way.name, 1e-7));
        assert!(tight.distance < 1e-5 && tight.distance < 0.05 * loose.distance, "{}", way.name);
        assert!(loose.distance > found.uncertainty && tight.accepted > loose.accepted);
        assert!(tight.forward > 0.0 && tight.backward > 0.0 && tight.f_evals >= 6 * tight.accepted);
    }
    let (exact, unrolled) = (row("exact", 1e-7), row("unrolled", 1e-7));
    for same in [unrolled, row("forward", 1e-7)] {
        assert!((exact.distance - same.distance).abs() < 1e-11);
    }
    assert!(unrolled.bytes > 3 * exact.bytes && exact.bytes > 0);
    // On the tape every evaluation is there to be differentiated, those between steps among them.
    assert!(unrolled.vjp_evals >= exact.vjp_evals && exact.vjp_evals >= 6 * exact.accepted);
    let text = found.to_string();
    assert_eq!(text.lines().count(), 2 + found.rows.len(), "{text}");
}

/// A way that fails says why in its row, and the others are measured; equal steps have one row.
#[test]
fn a_way_that_fails_says_why() {
    let tape = Tape::new();
    let (y0, mu) = (tape.leaf(&[2.0, 0.0], [2]), tape.scalar(10.0));
    let van_der_pol = field_of(|_, y| {
        let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
        Ok(Var::stack(0, &[v, mu * (1.0 - x * x) * v - x]))
    });
    let adaptive = Ode::new(Tsit5).tolerance(1e-6, 1e-8);
    let ways = [
        Way::new("continuous", adaptive.clone().gradient(Gradient::Continuous)),
        Way::new("exact", adaptive.clone()),
        Way::new("equal steps", Ode::new(Rk4).steps(4000)),
    ];
    let reference = Way::reference(&adaptive, f64::EPSILON);
    let sum = loss_of(|ys| Ok(ys.sum()));
    let found =
        compare_ways(&ways, &reference, van_der_pol, y0, &[0.0, 8.0], sum, &[1e-6]).unwrap();
    let error = found.rows[0].outcome.as_ref().unwrap_err();
    assert!(error.contains("departs from the solution"), "{error}");
    assert!(found.rows[1].outcome.as_ref().unwrap().distance < 1e-2);
    let equal = found.rows[2].outcome.as_ref().unwrap();
    assert_eq!((found.rows[2].tolerance, equal.accepted, equal.rejected), (None, 4000, 0));
    assert!(found.to_string().contains("departs from the solution"));
}

/// On random fields that do not depend on the time the drift of `H` follows the error of the
/// gradient with respect to the initial state.
#[test]
fn drift_shows_the_size_of_the_error() {
    let mut found: Vec<(f64, f64)> = Vec::new();
    for seed in 0..40 {
        let n = 2 + seed % 5;
        let seed = seed as f64;
        let tape = Tape::new();
        let y0 = tape.leaf(&numbers(n, 0.7 + seed, 1.0), [n]);
        let (a, b) = (
            tape.leaf(&numbers(n * n, 1.3 + 2.1 * seed, 1.5), [n, n]),
            tape.leaf(&numbers(n * n, 2.9 + 1.7 * seed, 1.0), [n, n]),
        );
        let field = field_of(|_, y| Ok(y.matmul(a).tanh().matmul(b)));
        let last = loss_of(|ys| Ok(ys.index_axis(0, 1).square().sum()));
        let of = |tolerance: f64| {
            let ode = Ode::new(Tsit5).tolerance(tolerance, tolerance);
            momentum_trajectory(&ode, field, y0, &[0.0, 3.0], last, &[y0]).unwrap()
        };
        let exact = of(1e-12).gradient.concat();
        for tolerance in [1e-3, 1e-4, 1e-5, 1e-6] {
            let path = of(tolerance);
            let pairs = path.gradient.concat().into_iter().zip(&exact);
            let error: f64 = pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let size: f64 = exact.iter().map(|x| x * x).sum::<f64>().sqrt();
            found.push((path.drift(), error / size));
        }
    }
    let mut ratios: Vec<f64> = found.iter().map(|(drift, error)| drift / error).collect();
    ratios.sort_by(f64::total_cmp);
    let at = |quantile: f64| ratios[(quantile * (ratios.len() - 1) as f64) as usize];
    let correlation = rank_correlation(&found);
    println!("{:.3} {:.3} {:.3} {correlation:.3}", at(0.1), at(0.5), at(0.9));
    assert!(at(0.1) > 0.005 && at(0.9) < 5.0, "{} {}", at(0.1), at(0.9));
    assert!(correlation > 0.8, "{correlation}");
}

/// Spearman's.
fn rank_correlation(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |of: &dyn Fn(&(f64, f64)) -> f64| -> Vec<f64> {
        let below = |x: f64| pairs.iter().filter(|p| of(p) < x).count() as f64;
        pairs.iter().map(|p| below(of(p))).collect()
    };
    let (a, b) = (ranks(&|p| p.0), ranks(&|p| p.1));
    let n = pairs.len() as f64;
    let squares: f64 = a.iter().zip(&b).map(|(a, b)| (a - b) * (a - b)).sum();
    1.0 - 6.0 * squares / (n * (n * n - 1.0))
}

/// The rates are the gradient as a function of time: their integral is the gradient.
#[test]
fn rates_integrate_to_the_gradient() {
    let tape = Tape::new();
    let y0 = tape.leaf(&[0.5, -0.9], [1, 2]);
    let w = weights(&tape);
    let ode = Ode::new(Rk4).steps(3000);
    let field = field_of(|t, y| Ok(network(&w, t, y)));
    let loss = loss_of(|ys| Ok(ys.square().sum()));
    // The second time is the end of a step.
    let path = momentum_trajectory(&ode, field, y0, &[0.0, 1.0, 3.0], loss, &w).unwrap();
    for (rates, gradient) in path.rates.iter().zip(&path.gradient) {
        let n = gradient.len();
        for (c, expected) in gradient.iter().enumerate() {
            let steps = 1..path.ts.len();
            let both = |i: usize| rates[i * n + c] + rates[(i - 1) * n + c];
            let integral: f64 = steps.map(|i| 0.5 * (path.ts[i] - path.ts[i - 1]) * both(i)).sum();
            assert!((integral - expected).abs() < 1e-5, "{integral} {expected}");
        }
    }
    assert_eq!(path.ts.windows(2).filter(|t| t[0] == t[1]).count(), 2);
}

/// Where stability holds the steps of an explicit method, tangents that should die out do not: the
/// gradient of what was computed is right, and far from that of the solution. Halved steps show it.
#[test]
fn halved_steps_show_what_stability_hides() {
    let tape = Tape::new();
    let (y0, mu) = (tape.leaf(&[2.0, 0.0], [2]), tape.leaf(&[30.0], [1]));
    let van_der_pol = field_of(|_, y| {
        let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
        Ok(Var::stack(0, &[v, mu.index_axis(0, 0) * (1.0 - x * x) * v - x]))
    });
    let last = loss_of(|ys| Ok(ys.index_axis(0, 1).sum()));
    let of = |tolerance| {
        let ode = Ode::new(Tsit5).tolerance(tolerance, tolerance);
        gradient_with_error(&ode, van_der_pol, y0, &[0.0, 10.0], last, &[y0, mu]).unwrap()
    };
    assert!(of(1e-3).relative() > 0.1, "{:e}", of(1e-3).relative());
    assert!(of(1e-9).relative() < 1e-6, "{:e}", of(1e-9).relative());
}

#[test]
fn reversible_schemes_have_one_way_more() {
    let tape = Tape::new();
    let (y0, k) = (tape.leaf(&[1.0, 1.2], [2]), tape.leaf(&LOTKA_VOLTERRA, [4]));
    let scheme = Scheme::coupled(Rk4, 0.999);
    let field = field_of(|_, y| Ok(lotka_volterra(k, y)));
    let sum = loss_of(|ys| Ok(ys.sum()));
    let ode = Ode::new(scheme).steps(300);
    let found = compare_gradients(&ode, field, y0, &[0.0, 2.0], sum, &[]).unwrap();
    for way in ["exact", "reversible"] {
        let row = found.rows.iter().find(|row| row.way == way).unwrap();
        assert!(row.outcome.as_ref().unwrap().distance < 1e-5, "{found}");
    }
}

/// At a single time there is the observation there, and no step.
#[test]
fn no_steps() {
    for ode in [Ode::new(Tsit5), Ode::new(Scheme::AsynchronousLeapfrog).steps(3)] {
        let tape = Tape::new();
        let (y0, g) = (tape.leaf(&[0.5, -0.9], [2]), tape.leaf(&[2.0, 1.0], [1, 2]));
        let d = tape.leaf(&[1.0, -1.0], [2]);
        let found = p_dot_delta(&ode, |_, y| Ok(-y), y0, &[0.3], g, &[y0], &[d]).unwrap();
        assert_eq!(found.values, [1.0, 1.0]);
    }
}

/// The momentum of a reversible solve is that of the solution: it is conjugate to the state alone.
#[test]
fn momenta_of_reversible_schemes() {
    let path = |ode: Ode| {
        let tape = Tape::new();
        let y0 = tape.leaf(&[0.5, -0.9], [1, 2]);
        let w = weights(&tape);
        let field = field_of(|t, y| Ok(network(&w, t, y)));
        let loss = loss_of(|ys| Ok(ys.slice_axis(0, 1..3).square().sum()));
        momentum_trajectory(&ode, field, y0, &[0.0, 0.8, 2.0], loss, &w[..1]).unwrap()
    };
    let right = path(Ode::new(Verner9).tolerance(1e-12, 1e-12).steps(400));
    for scheme in [
        Scheme::ReversibleHeun,
        Scheme::AsynchronousLeapfrog,
        Scheme::coupled(Heun, 0.99),
        Scheme::coupled(Rk4, 0.999),
    ] {
        let found = path(Ode::new(scheme).steps(400));
        assert_eq!(found.ts.len(), right.ts.len());
        for (i, t) in found.ts.iter().enumerate() {
            assert!((t - right.ts[i]).abs() < 1e-14);
            let both = [&found, &right].map(|path| {
                let p = path.momentum(i).iter().copied();
                let rest = [path.hamiltonian[i], path.time_momentum[i]];
                p.chain(rest).chain(path.rates[0][8 * i..8 * i + 8].iter().copied())
            });
            let [found, right] = both;
            for (a, b) in found.zip(right) {
                assert!((a - b).abs() < 2e-4, "{scheme:?} at {t}: {a} {b}");
            }
        }
        assert!(found.drift() < 1e-4, "{scheme:?}: {:e}", found.drift());
    }
}

/// Where the companion runs away, the estimate is right to a factor of 2, or refused.
#[test]
fn estimates_of_reversible_schemes() {
    let (_, start, parameters, _, field) = problems()[2].clone();
    let (mut refused, mut given) = (0, 0);
    for scheme in [
        Scheme::coupled(Rk4, 0.999),
        Scheme::coupled(Rk4, 0.9),
        Scheme::ReversibleHeun,
        Scheme::AsynchronousLeapfrog,
    ] {
        for (steps, end) in
            [(25, 0.3), (50, 0.5), (250, 0.5), (300, 1.0), (250, 1.5), (350, 1.5), (1600, 1.5)]
        {
            let tape = Tape::new();
            let y0 = tape.leaf(&start, [start.len()]);
            let k = tape.leaf(&parameters, [parameters.len()]);
            let ts = [0.0, 0.43 * end, end];
            let field = field_of(|t, y| Ok(field(k, t, y)));
            let loss = loss_of(|ys| Ok(ys.slice_axis(0, 1..3).square().sum()));
            let ode = Ode::new(scheme).steps(steps);
            let found = match gradient_with_error(&ode, field, y0, &ts, loss, &[y0, k]) {
                Ok(found) => found,
                Err(e) => {
                    let e = e.to_string();
                    assert!(e.contains("not finite") || e.contains("cannot be estimated"), "{e}");
                    refused += 1;
                    continue;
                }
            };
            let tight = Ode::new(Verner9).tolerance(1e-13, 1e-14);
            let exact = loss(tight.try_solve(field, y0, ts).unwrap()).unwrap();
            let exact = exact.grad(&[y0, k]).unwrap();
            let (mut error, mut estimate) = (0.0, 0.0);
            for ((a, b), e) in found.gradient.iter().zip(&exact).zip(&found.error) {
                for ((a, b), e) in a.to_vec().into_iter().zip(b.to_vec()).zip(e) {
                    error += (a - b) * (a - b);
                    estimate += e * e;
                }
            }
            let ratio = f64::sqrt(estimate / error);
            assert!((0.5..2.0).contains(&ratio), "{scheme:?} {steps} {end}: {ratio}");
            given += 1;
        }
    }
    assert!(refused > 3 && given > 10, "{refused} {given}");
}

/// The largest deviation of `p · δ` over some fields, in units of the roundoff of the type.
fn units<T: costate_odeint::Real>(ode: &Ode) -> f64 {
    let deviation = |seed: usize| {
        let tape = Tape::<T>::new();
        let leaf = |n: usize, seed: f64| {
            let numbers: Vec<T> = numbers(n, seed, 1.0).iter().map(|&x| T::from_f64(x)).collect();
            tape.leaf(&numbers, [n])
        };
        let seed = 10.0 * seed as f64;
        let (y0, w) = (leaf(2, seed), leaf(2, seed + 1.0));
        let field = |t, y| Ok(Var::sin(y * w + t) - y);
        let cotangent = leaf(6, seed + 2.0).reshape([3, 2]);
        let tangents = [leaf(2, seed + 3.0), leaf(2, seed + 4.0)];
        let ts = [0.0, 0.35, 1.7];
        let found = p_dot_delta(ode, field, y0, &ts, cotangent, &[y0, w], &tangents).unwrap();
        found.deviation() / T::EPSILON.as_f64()
    };
    (0..30).map(deviation).fold(0.0, f64::max)
}

/// What is left of `p · δ` is rounding: it has the same size in both types, in units of their
/// roundoff. Of a method with large coefficients that is more in either.
#[test]
fn what_deviates_is_rounding() {
    for (method, most) in [(Method::from(Tsit5), 100.0), (Verner6.into(), 1000.0)] {
        let ode = Ode::new(method).steps(7);
        let (double, single) = (units::<f64>(&ode), units::<f32>(&ode));
        println!("{}: {double:.0} and {single:.0} units", method.tableau().name);
        assert!(double <= most && single <= most, "{double} and {single} of {most}");
        assert!(double < 30.0 * single, "{double} units in f64, {single} in f32");
    }
}
