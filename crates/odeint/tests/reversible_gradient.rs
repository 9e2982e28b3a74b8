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
            let unrolled = gradient(ode.gradient(Gradient::Unrolled), ts).0;
            let exact = gradient(ode, ts).0;
            let few = gradient(ode.memory(Memory::Checkpoints(3)), ts).0;
            let undone = gradient(ode.gradient(Gradient::Reversible), ts).0;
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

/// Times by operations on the tape.
#[test]
fn times_when_unrolled() {
    for scheme in [Scheme::ReversibleHeun, Scheme::coupled(Rk4, 0.999)] {
        let ode = Ode::new(scheme).steps(5).gradient(Gradient::Unrolled);
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
        let ts = tape.constant(&Array1::from(TIMES.to_vec()));
        let ys = ode.solve(|t, y| field(&x, t, y), x[0], Times::Var(ts)).unwrap();
        let g = ys.square().sum().grad(&[ts]).unwrap()[0].to_vec();
        // dL/dt of a state between steps is that of the solution, to the accuracy of the steps.
        let slope = field(&x, ts.index_axis(0, 1), ys.index_axis(0, 1));
        let expected = 2.0 * ys.index_axis(0, 1).dot(slope).item();
        assert!((g[1] - expected).abs() < 1e-2 * expected.abs(), "{} {expected}", g[1]);
    }
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
    let undone = ode.gradient(Gradient::Reversible);
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
    let ts = tape.constant(&Array1::from(vec![0.0, 1.0]));
    let ys = ode.solve(|_, y| -y, y0, ts).unwrap();
    assert!(ys.sum().grad(&[y0]).is_ok());
    let e = ys.sum().grad(&[ts]).unwrap_err();
    assert!(e.to_string().contains("no gradient with respect to its times"), "{e}");
}
