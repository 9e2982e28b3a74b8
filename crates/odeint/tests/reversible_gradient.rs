//! The gradient through reversible steps: each way against the others, against differences, and in
//! how much memory.

use costate_odeint::{
    Dopri5, Gradient, Heun, Memory, Ode, Options, Rk4, Scheme, Stats, Times, Tsit5,
};
use costate_tape::{Tape, Var, check};
use ndarray::{Array1, ArrayD, IxDyn};

fn array(shape: &[usize], seed: f64, size: f64) -> ArrayD<f64> {
    let len: usize = shape.iter().product();
    let entries = (0..len).map(|i| size * (seed + 12.9898 * i as f64).sin()).collect();
    ArrayD::from_shape_vec(IxDyn(shape), entries).unwrap()
}

/// A small network that depends on the time, `[3, 2] → [3, 2]`.
fn field<'t>(x: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    (y.matmul(x[1]) + x[2] * t.sin()).tanh().matmul(x[3]) - y * 0.3
}

fn inputs() -> Vec<ArrayD<f64>> {
    vec![
        array(&[3, 2], 0.3, 1.0),
        array(&[2, 4], 1.7, 0.9),
        array(&[4], 2.9, 0.4),
        array(&[4, 2], 4.1, 0.8),
    ]
}

const TIMES: [f64; 4] = [0.1, 0.4, 1.1, 1.5];

fn schemes() -> [Scheme; 5] {
    [
        Scheme::ReversibleHeun,
        Scheme::AsynchronousLeapfrog,
        Scheme::coupled(Heun, 0.9),
        Scheme::coupled(Rk4, 0.999),
        Scheme::coupled(Dopri5, 0.99),
    ]
}

/// Equal steps, and adaptive ones where there is an error estimate.
fn solvers() -> Vec<Ode> {
    let equal = schemes().into_iter().map(|scheme| Ode::new(scheme).steps(7));
    let adaptive = [
        Ode::new(Scheme::ReversibleHeun).tolerance(1e-3, 1e-3),
        Ode::new(Scheme::coupled(Tsit5, 0.999)).tolerance(1e-5, 1e-5),
        Ode::new(Scheme::coupled(Dopri5, 0.99))
            .options(Options { stop_at_saves: true, ..Options::tolerance(1e-4, 1e-4) }),
    ];
    equal.chain(adaptive).collect()
}

/// Gradients with respect to all inputs, and what the passes did.
fn gradient(ode: Ode, ts: &[f64]) -> (Vec<f64>, Option<[Stats; 2]>) {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let ys = ode.solve(|t, y| field(&x, t, y), x[0], ts).unwrap();
    let bars = ys.dot(tape.constant(&array(&[ts.len(), 3, 2], 5.5, 1.0))).grad(&x).unwrap();
    let stats = Ode::stats(ys).zip(Ode::stats(bars[0])).map(|(a, b)| [a, b]);
    (bars.iter().flat_map(|g| g.to_vec()).collect(), stats)
}

#[test]
fn every_way_is_the_gradient_of_what_was_computed() {
    for ode in solvers() {
        for ts in [&TIMES[..], &[0.0, 1.0], &[1.0, 0.2], &[0.5]] {
            let unrolled = gradient(ode.clone().gradient(Gradient::Unrolled), ts).0;
            let exact = gradient(ode.clone(), ts).0;
            let few = gradient(ode.clone().memory(Memory::Checkpoints(3)), ts).0;
            let undone = gradient(ode.clone().gradient(Gradient::Reversible), ts).0;
            assert!(exact == few, "{ode:?}, {ts:?}");
            let size = exact.iter().map(|x| x.abs()).fold(0.0, f64::max);
            for (i, a) in unrolled.iter().enumerate() {
                assert!((exact[i] - a).abs() < 1e-12 * size, "{ode:?}: {} {a}", exact[i]);
                assert!((undone[i] - a).abs() < 1e-11 * size, "{ode:?}: {} {a}", undone[i]);
            }
        }
    }
}

#[test]
fn agrees_with_differences() {
    for scheme in schemes() {
        let ode = Ode::new(scheme).steps(6).gradient(Gradient::Reversible);
        check::gradient(|_, x| ode.solve(|t, y| field(x, t, y), x[0], TIMES), &inputs()).unwrap();
    }
}

/// Gradients with respect to the times: those within steps, at their ends, and the first and the last.
#[test]
fn times_move() {
    let gradient = |ode: Ode, ts: &[f64]| {
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
        let ts = tape.constant(&Array1::from(ts.to_vec()));
        let ys = ode.solve(|t, y| field(&x, t, y), x[0], Times::Var(ts)).unwrap();
        let weights = tape.constant(&array(&[ts.shape()[0], 3, 2], 5.5, 1.0));
        let bars = ys.dot(weights).grad(&[ts, x[0], x[2]]).unwrap();
        let bars = bars.iter().flat_map(|g| g.to_vec()).collect::<Vec<_>>();
        (bars, ys.to_vec(), x[1..].iter().map(|x| x.to_vec()).collect::<Vec<_>>())
    };
    for ode in solvers() {
        // The second list has times at ends of seven equal steps.
        for ts in [&TIMES[..], &[0.0, 0.2, 0.5, 0.6, 1.4], &[0.0, 1.0], &[1.0, 0.7, 0.2], &[0.5]] {
            let unrolled = gradient(ode.clone().gradient(Gradient::Unrolled), ts).0;
            let size = unrolled.iter().map(|x| x.abs()).fold(0.0, f64::max);
            let few = ode.clone().memory(Memory::Checkpoints(2));
            for (ode, rounding) in [
                (ode.clone(), 1e-12),
                (few, 1e-12),
                (ode.clone().gradient(Gradient::Reversible), 1e-11),
            ] {
                for (a, b) in gradient(ode.clone(), ts).0.iter().zip(&unrolled) {
                    assert!((a - b).abs() < rounding * size, "{ode:?}, {ts:?}: {a} {b}");
                }
            }
        }
    }
    // That of a state between steps is the slope there, to the accuracy of the steps.
    let (g, ys, w) = gradient(Ode::new(Scheme::coupled(Rk4, 0.999)).steps(40), &TIMES);
    let tape = Tape::new();
    let w: Vec<_> = w.iter().zip(&inputs()[1..]).map(|(w, x)| tape.leaf(w, x.shape())).collect();
    let y = tape.leaf(&ys[6..12], [3, 2]);
    let slope = field(&[&[y], &w[..]].concat(), tape.scalar(TIMES[1]), y);
    let weights = array(&[4, 3, 2], 5.5, 1.0);
    let weights = tape.leaf(&weights.as_slice().unwrap()[6..12], [3, 2]);
    assert!((g[1] - slope.dot(weights).item()).abs() < 1e-5);
}

/// A thousand times as many steps keep no more states.
#[test]
fn memory_does_not_grow_with_steps() {
    let kept = |scheme, steps| {
        let ode = Ode::new(scheme).steps(steps).gradient(Gradient::Reversible);
        let (gradient, stats) = gradient(ode, &[0.0, 1.0]);
        assert!(gradient.iter().all(|g| g.is_finite()));
        stats.unwrap().map(|stats| (stats.states_kept, stats.bytes_kept - stats.grid_bytes))
    };
    for scheme in schemes() {
        assert_eq!(kept(scheme, 2), kept(scheme, 100));
    }
    let few = kept(Scheme::AsynchronousLeapfrog, 4);
    assert_eq!(few, kept(Scheme::AsynchronousLeapfrog, 4000));
    // The state and its companion.
    assert_eq!(few[0], (1, 2 * 6 * 8));
}

/// Going back multiplies rounding errors by `1/λ` a step. Where that is too much, it fails.
#[test]
fn going_back_notices_that_it_departs() {
    let ode = Ode::new(Scheme::coupled(Rk4, 0.9)).steps(2000);
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let undone = ode.clone().gradient(Gradient::Reversible);
    let ys = undone.solve(|t, y| field(&x, t, y), x[0], [0.0, 1.0]).unwrap();
    let e = ys.sum().grad(&x).unwrap_err();
    assert!(e.to_string().contains("departs from the solution"), "{e}");
    let exact = gradient(ode.memory(Memory::Checkpoints(20)), &[0.0, 1.0]).0;
    let reference = gradient(Ode::new(Tsit5).tolerance(1e-12, 1e-12), &[0.0, 1.0]).0;
    for (a, b) in exact.iter().zip(reference) {
        assert!((a - b).abs() < 1e-8, "{a} {b}");
    }
}

#[test]
fn what_it_cannot_do() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0, 2.0]));
    let ode = Ode::new(Scheme::ReversibleHeun).steps(10).gradient(Gradient::Reversible);
    let text = |ode: Ode| ode.solve(|_, y| -y, y0, [0.0, 1.0]).unwrap_err().to_string();
    let other = text(Ode::new(Tsit5).gradient(Gradient::Reversible));
    assert!(other.contains("the steps of Tsit5 cannot be undone"), "{other}");
    let other = text(Ode::new(Scheme::coupled(Rk4, 1.5)).steps(3));
    assert!(other.contains("`coupling` is 1.5"), "{other}");
    let blow_up = ode.solve(|_, y| (y * 400.0).exp(), y0, [0.0, 1.0]).unwrap_err();
    assert!(blow_up.to_string().contains("not finite"), "{blow_up}");
}
