//! The gradient of solves whose steps are by more than one rule: the choice of the method by itself,
//! and additive methods.

use costate_odeint::{
    Auto, Bdf, Gradient, KenCarp4Imex, Memory, Ode, Options, Stepping, Times, p_dot_delta,
};
use costate_tape::{Result, Tape, Var, check};
use ndarray::{Array1, ArrayD};

use crate::network::{array, close, symmetric_hessian};

const TIMES: [f64; 5] = [0.1, 1.3, 2.9, 4.55, 6.0];

/// `y0, w1, b, w2, rate`.
fn inputs() -> Vec<ArrayD<f64>> {
    vec![
        array(&[2, 2], 0.3, 1.0),
        array(&[2, 4], 1.7, 0.9),
        array(&[4], 2.9, 0.4),
        array(&[4, 2], 4.1, 0.8),
        array(&[2], 1.3, 0.5).mapv(|x| 210.0 * (1.0 + x)),
    ]
}

/// Decay of the first column that is fast at times, and slow at others.
fn stiff<'t>(x: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let at_times = (t * 1.5).sin().affine(0.5, 0.5).square().square();
    let fast = (y.slice_axis(1, 0..1) - t.sin()) * x[4].reshape([2, 1]) * at_times;
    -Var::concat(1, &[fast, y.slice_axis(1, 1..2) * 0.3])
}

fn rest<'t>(x: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    (y.matmul(x[1]) + x[2] * t.sin()).tanh().matmul(x[3])
}

fn is_additive(ode: &Ode) -> bool {
    format!("{ode:?}").contains("IMEX")
}

/// A field in parts where the method tells them apart.
fn solve<'t>(ode: &Ode, x: &[Var<'t, f64>], ts: Times<'_, 't, f64>) -> Result<Var<'t, f64>> {
    if is_additive(ode) {
        return ode.solve_split(|t, y| stiff(x, t, y), |t, y| rest(x, t, y), x[0], ts);
    }
    ode.solve(|t, y| stiff(x, t, y) + rest(x, t, y), x[0], ts)
}

fn solvers() -> [Ode; 4] {
    let fixed = Options { stepping: Stepping::Fixed(0.3), ..Options::default() };
    [
        Ode::new(Auto).tolerance(1e-4, 1e-4),
        Ode::new(Auto).tolerance(9e-9, 1e-5),
        Ode::new(KenCarp4Imex).tolerance(1e-3, 1e-5),
        Ode::new(KenCarp4Imex).options(fixed),
    ]
}

/// The cotangents of the inputs and the times.
fn gradient(ode: &Ode, ts: &[f64], times: bool) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let var = tape.constant(&Array1::from(ts.to_vec()));
    let ys = solve(ode, &x, if times { var.into() } else { ts.into() }).unwrap();
    let g = tape.constant(&array(&[ts.len(), 2, 2], 5.5, 1.0));
    let wrt: Vec<_> = if times { x.iter().copied().chain([var]).collect() } else { x };
    tape.vjp(&[ys], &[g], &wrt).unwrap().iter().map(|g| g.to_vec()).collect()
}

/// The choice changes to and fro, or there would be nothing to test.
#[test]
fn there_are_switches() {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    for (ode, least) in [(solvers()[0].clone(), 3), (solvers()[1].clone(), 1)] {
        let stats = Ode::stats(solve(&ode, &x, TIMES[..].into()).unwrap()).unwrap();
        assert!(stats.switches >= least, "{stats}");
    }
}

#[test]
fn exact_is_unrolled() {
    let [auto, _, additive, fixed] = solvers();
    for (i, ode) in [auto, additive, fixed].iter().enumerate() {
        for ts in [&TIMES[..], &[0.0, 4.5, 9.0], &[1.0], &[0.003, 0.002, 0.0]] {
            for times in [false, true] {
                let exact = gradient(ode, ts, times);
                let unrolled = gradient(&ode.clone().gradient(Gradient::Unrolled), ts, times);
                close(&exact, &unrolled, 1e-11, &format!("solver {i} {ts:?} {times}"));
            }
        }
    }
}

#[test]
fn memory_changes_no_bit() {
    for ode in solvers() {
        for times in [false, true] {
            let expected = gradient(&ode, &TIMES, times);
            for memory in [Memory::Steps, Memory::Checkpoints(5)] {
                let found = gradient(&ode.clone().memory(memory), &TIMES, times);
                assert_eq!(found, expected, "{memory:?} {ode:?}");
            }
        }
    }
}

#[test]
fn p_dot_delta_is_constant() {
    for ode in solvers() {
        let tape = Tape::new();
        let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
        let dots: Vec<_> =
            inputs().iter().map(|x| tape.constant(&array(x.shape(), 3.0, 1.0))).collect();
        let p = tape.constant(&array(&[5, 2, 2], 0.7, 1.0));
        for memory in [Memory::Stages, Memory::Checkpoints(4)] {
            let ode = ode.clone().memory(memory);
            let ys = solve(&ode, &x, TIMES[..].into()).unwrap();
            let bars = tape.vjp(&[ys], &[p], &x).unwrap();
            let delta = tape.jvp(&[ys], &x, &dots).unwrap()[0];
            let forward = tape.vjp(
                &[solve(&ode.clone().gradient(Gradient::Forward), &x, TIMES[..].into()).unwrap()],
                &[p],
                &x,
            );
            let forward: Vec<_> = forward.unwrap().iter().map(|x| x.to_vec()).collect();
            let found: Vec<_> = bars.iter().map(|x| x.to_vec()).collect();
            close(&found, &forward, 1e-11, "forward");
            let products: Vec<f64> =
                bars.iter().zip(&dots).flat_map(|(p, d)| (*p * *d).to_vec()).collect();
            let (sum, size): (f64, f64) =
                (products.iter().sum(), products.iter().map(|x| x.abs()).sum());
            assert!((p.dot(delta).item() - sum).abs() <= 1e-12 * size, "{ode:?}");
            let field = |t, y| Ok(stiff(&x, t, y) + rest(&x, t, y));
            let found = p_dot_delta(&ode, field, x[0], &TIMES, p, &x, &dots).unwrap();
            assert!(found.holds() && found.deviation() < 1e-12, "{:e}", found.deviation());
        }
    }
}

#[test]
fn second_derivatives() {
    let ts = [0.0, 0.4, 1.0];
    for ode in [Ode::new(KenCarp4Imex).steps(2), Ode::new(Auto).steps(8)] {
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
    for ode in [solvers()[0].clone().memory(Memory::Checkpoints(3)), solvers()[2].clone()] {
        symmetric_hessian(
            &inputs(),
            |x| solve(&ode, x, TIMES[..].into()).unwrap().square().sum(),
            1e-11,
        );
    }
}

/// The adjoint equation solved with the state from the interpolants, on a stiff problem.
#[test]
fn interpolated_converges_to_exact() {
    let exact = gradient(&Ode::new(Auto).tolerance(1e-8, 1e-8), &TIMES, true);
    for ode in [Ode::new(Auto), Ode::new(KenCarp4Imex), Ode::new(Bdf)] {
        let ode = ode.tolerance(1e-6, 1e-6).gradient(Gradient::Interpolated);
        // The error is absolute, and some of these are small.
        let found = gradient(&ode, &TIMES, true).concat();
        close(&[exact.concat()], &[found], 1e-3, &format!("{ode:?}"));
    }
}

/// Without parts all of the field is stiff; to other methods a field in parts is one.
#[test]
fn parts_are_the_methods_choice() {
    let tape = Tape::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let whole =
        |ode: Ode| ode.solve(|t, y| stiff(&x, t, y) + rest(&x, t, y), x[0], [0.0, 2.0]).unwrap();
    let split = |ode: Ode| {
        ode.solve_split(|t, y| stiff(&x, t, y), |t, y| rest(&x, t, y), x[0], [0.0, 2.0]).unwrap()
    };
    let ode = Ode::new(KenCarp4Imex).tolerance(1e-8, 1e-8);
    let distance = (whole(ode.clone()) - split(ode.clone())).square().sum().item().sqrt();
    assert!(distance > 0.0 && distance < 1e-5, "{distance:e}");
    for way in [Gradient::Exact, Gradient::Unrolled, Gradient::Forward] {
        let bars = whole(ode.clone().gradient(way)).square().sum().grad(&x).unwrap();
        let exact = whole(ode.clone()).square().sum().grad(&x).unwrap();
        let list = |x: &[Var<'_, f64>]| x.iter().map(|x| x.to_vec()).collect::<Vec<_>>();
        close(&list(&bars), &list(&exact), 1e-11, &format!("{way:?}"));
    }
    let auto = Ode::new(Auto).tolerance(1e-6, 1e-6);
    assert_eq!(whole(auto.clone()).to_vec(), split(auto).to_vec());
}
