//! What tests of gradients solve: a small network with a stiff part, random-looking numbers, and
//! the gradient of a sum of its states.

use costate_odeint::{Ode, Times};
use costate_tape::{Result, Tape, Var};
use ndarray::{Array1, ArrayD, IxDyn};

pub const TIMES: [f64; 5] = [0.1, 0.37, 0.9, 1.55, 2.0];

/// A random-looking array.
pub fn array(shape: &[usize], seed: f64, size: f64) -> ArrayD<f64> {
    let len: usize = shape.iter().product();
    let entries = (0..len).map(|i| size * (seed + 12.9898 * i as f64).sin()).collect();
    ArrayD::from_shape_vec(IxDyn(shape), entries).unwrap()
}

/// `y0, w1, b, w2, rate` of a network that depends on the time, with a part that decays fast.
pub fn inputs() -> Vec<ArrayD<f64>> {
    vec![
        array(&[2, 2], 0.3, 1.0),
        array(&[2, 4], 1.7, 0.9),
        array(&[4], 2.9, 0.4),
        array(&[4, 2], 4.1, 0.8),
        array(&[2], 1.3, 0.5).mapv(|x| 300.0 * (1.0 + x)),
    ]
}

/// The first column is fast, the second slow.
pub fn field<'t>(x: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let slow = (y.matmul(x[1]) + x[2] * t.sin()).tanh().matmul(x[3]);
    let fast = y.slice_axis(1, 0..1) * x[4].reshape([2, 1]);
    slow - Var::concat(1, &[fast, y.slice_axis(1, 1..2) * 0.3])
}

pub fn solve<'t>(ode: &Ode, x: &[Var<'t, f64>], ts: Times<'_, 't, f64>) -> Result<Var<'t, f64>> {
    ode.solve(|t, y| field(x, t, y), x[0], ts)
}

/// The inputs as constants of a tape.
pub fn constants(tape: &Tape<f64>) -> Vec<Var<'_, f64>> {
    inputs().iter().map(|x| tape.constant(x)).collect()
}

/// The cotangents of the inputs and the times.
pub fn gradient(ode: &Ode, ts: &[f64], times: bool) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let x = constants(&tape);
    let var = tape.constant(&Array1::from(ts.to_vec()));
    let ys = solve(ode, &x, if times { var.into() } else { ts.into() }).unwrap();
    let g = tape.constant(&array(&[ts.len(), 2, 2], 5.5, 1.0));
    let wrt: Vec<_> = if times { x.iter().copied().chain([var]).collect() } else { x };
    tape.vjp(&[ys], &[g], &wrt).unwrap().iter().map(|g| g.to_vec()).collect()
}

/// Lists differ by no more than so much of the largest entry.
#[track_caller]
pub fn close(a: &[Vec<f64>], b: &[Vec<f64>], tolerance: f64, what: &str) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert_eq!(a.len(), b.len());
        let size = a.iter().chain(b).map(|x| x.abs()).fold(0.0, f64::max);
        for (j, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() <= tolerance * size, "{what}: input {i}, entry {j}: {a:e} {b:e}");
        }
    }
}

/// Checks that the Hessian of a loss is symmetric, and that forward over reverse is the same product;
/// returns one with random-looking directions.
#[track_caller]
pub fn symmetric_hessian(
    inputs: &[ArrayD<f64>],
    loss: impl for<'t> Fn(&[Var<'t, f64>]) -> Var<'t, f64>,
    tolerance: f64,
) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let constant = |x: &ArrayD<f64>| tape.constant(x);
    let x: Vec<_> = inputs.iter().map(constant).collect();
    let bars = tape.vjp(&[loss(&x)], &[tape.scalar(1.0)], &x).unwrap();
    let direction = |seed: f64| -> Vec<_> {
        inputs.iter().map(|x| constant(&array(x.shape(), seed, 1.0))).collect()
    };
    let (u, v) = (direction(0.77), direction(9.1));
    let dot = |a: &[Var<'_, f64>], b: &[Var<'_, f64>]| {
        a.iter().zip(b).map(|(a, b)| a.dot(*b).item()).sum::<f64>()
    };
    let hu = tape.vjp(&bars, &u, &x).unwrap();
    let hv = tape.vjp(&bars, &v, &x).unwrap();
    let (a, b) = (dot(&v, &hu), dot(&u, &hv));
    assert!((a - b).abs() < tolerance * a.abs(), "{a:e} {b:e}");
    let forward = dot(&v, &tape.jvp(&bars, &x, &u).unwrap());
    assert!((forward - a).abs() < tolerance * a.abs(), "{a:e} {forward:e}");
    hu.iter().map(|x| x.to_vec()).collect()
}
