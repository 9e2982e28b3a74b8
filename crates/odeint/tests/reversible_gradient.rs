//! The gradient through reversible steps: against differences, against every operation on the tape,
//! and in how much memory.

use costate_odeint::{Dopri5, Heun, ReversibleOde, Rk4, Scheme};
use costate_tape::{Result, Tape, Var};
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
    let coupled = |method, coupling| Scheme::Coupled { method, coupling };
    [
        Scheme::ReversibleHeun,
        Scheme::AsynchronousLeapfrog,
        coupled(Heun.into(), 0.9),
        coupled(Rk4.into(), 0.999),
        coupled(Dopri5.into(), 0.99),
    ]
}

#[test]
fn agrees_with_differences() {
    for scheme in schemes() {
        for ts in [&TIMES[..], &[1.0, 0.2], &[0.5]] {
            let ode = ReversibleOde::new(scheme, 3);
            let weights = array(&[ts.len(), 3, 2], 5.5, 1.0);
            let loss = |x: &[ArrayD<f64>]| {
                let tape = Tape::new();
                let x: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
                let ys = ode.solve(|t, y| field(&x, t, y), x[0], ts).unwrap();
                let loss = ys.dot(tape.constant(&weights));
                let found = loss.grad(&x).unwrap();
                (loss.item(), found.iter().map(|g| g.to_vec()).collect::<Vec<_>>())
            };
            let gradient = loss(&inputs()).1;
            for (i, gradient) in gradient.iter().enumerate() {
                for (j, g) in gradient.iter().enumerate() {
                    let moved = |h: f64| {
                        let mut x = inputs();
                        x[i].as_slice_mut().unwrap()[j] += h;
                        loss(&x).0
                    };
                    let difference = (moved(1e-5) - moved(-1e-5)) / 2e-5;
                    let distance = (difference - g).abs();
                    assert!(distance < 1e-8, "{scheme:?} {ts:?} {i} {j}: {difference} {g}");
                }
            }
        }
    }
}

/// The two schemes of order 2, written with operations of the tape.
fn unrolled<'t>(scheme: Scheme, x: &[Var<'t, f64>], steps: usize) -> Result<Var<'t, f64>> {
    let tape = x[0].tape();
    let f = |t: f64, y| field(x, tape.scalar(t), y);
    let (mut t, h) = (0.0, 1.0 / steps as f64);
    let mut y = x[0];
    let mut companion = if matches!(scheme, Scheme::ReversibleHeun) { y } else { f(t, y) };
    for n in 1..=steps {
        let next = n as f64 * h;
        if matches!(scheme, Scheme::ReversibleHeun) {
            let k = f(t, companion);
            companion = 2.0 * y - companion + h * k;
            y = y + 0.5 * h * (k + f(next, companion));
        } else {
            let middle = y + 0.5 * h * companion;
            companion = 2.0 * f(0.5 * (t + next), middle) - companion;
            y = middle + 0.5 * h * companion;
        }
        t = next;
    }
    Ok(y)
}

#[test]
fn is_the_gradient_of_what_was_computed() {
    for scheme in [Scheme::ReversibleHeun, Scheme::AsynchronousLeapfrog] {
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
        let ys = ReversibleOde::new(scheme, 40).solve(|t, y| field(&x, t, y), x[0], &[0.0, 1.0]);
        let end = ys.unwrap().index_axis(0, 1);
        let plain = unrolled(scheme, &x, 40).unwrap();
        let loss = |y: Var<'_, f64>| {
            y.square()
                .sum()
                .grad(&x)
                .map(|g| g.iter().flat_map(|g| g.to_vec()).collect::<Vec<f64>>())
        };
        let loss = |y| loss(y).unwrap();
        for (a, b) in loss(end).iter().zip(loss(plain)) {
            assert!((a - b).abs() < 1e-12, "{scheme:?}: {a} {b}");
        }
    }
}

/// A thousand times as many steps keep no more.
#[test]
fn memory_does_not_grow_with_steps() {
    let kept = |steps| {
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
        let ode = ReversibleOde::new(Scheme::AsynchronousLeapfrog, steps);
        let ys = ode.solve(|t, y| field(&x, t, y), x[0], &[0.0, 1.0]).unwrap();
        let g = ys.sum().grad(&x).unwrap();
        assert!(g.iter().all(|g| g.to_vec().iter().all(|g| g.is_finite())));
        tape.len()
    };
    assert_eq!(kept(4), kept(4000));
}

#[test]
fn what_it_cannot_do() {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0, 2.0]));
    let ode = ReversibleOde::new(Scheme::ReversibleHeun, 10);
    let text =
        |ode: ReversibleOde, ts: &[f64]| ode.solve(|_, y| -y, y0, ts).unwrap_err().to_string();
    assert!(text(ReversibleOde::new(Scheme::ReversibleHeun, 0), &[0.0, 1.0]).contains("`steps`"));
    assert!(text(ode, &[0.0, 1.0, 0.5]).contains("increase or decrease"));
    let blow_up = ode.solve(|_, y| (y * 400.0).exp(), y0, &[0.0, 1.0]).unwrap_err();
    assert!(blow_up.to_string().contains("not finite"), "{blow_up}");
    let ys = ode.solve(|_, y| -y, y0, &[0.0, 1.0]).unwrap();
    let e = tape.jvp(&[ys], &[y0], &[y0]).unwrap_err();
    assert!(e.to_string().contains("reverse mode only"), "{e}");
    let read = ode.solve(|_, y| if y.sum().item() > 0.0 { y } else { -y }, y0, &[0.0, 1.0]);
    assert!(read.is_err());
}
