//! The gradient of a solve by the multistep method of variable order, each way against the others.

use costate_odeint::{Bdf, Gradient, Memory, Ode, Options};
use costate_tape::{Tape, Var};

use crate::network::{TIMES, array, close, constants, gradient, inputs, solve};

fn solvers() -> Vec<Ode> {
    let tolerances = [(1e-3, 1e-5), (1e-7, 1e-9)];
    let stopping = Options { stop_at_saves: true, ..Options::tolerance(1e-5, 1e-7) };
    let ode = Ode::new(Bdf);
    tolerances
        .map(|(r, a)| ode.tolerance(r, a))
        .into_iter()
        .chain([ode.options(stopping)])
        .collect()
}

#[test]
fn exact_is_unrolled() {
    for ode in solvers() {
        // Times between steps, at steps, one step, one time, and backward.
        for ts in [&TIMES[..], &[0.0, 1.0, 2.0], &[0.0, 1e-7], &[1.0], &[0.003, 0.002, 0.0]] {
            for times in [false, true] {
                let exact = gradient(&ode, ts, times);
                let unrolled = gradient(&ode.gradient(Gradient::Unrolled), ts, times);
                close(&exact, &unrolled, 1e-11, &format!("{ode:?} {ts:?} {times}"));
            }
        }
    }
}

#[test]
fn forward_is_exact() {
    for ode in solvers() {
        for times in [false, true] {
            let exact = gradient(&ode, &TIMES, times);
            let forward = gradient(&ode.gradient(Gradient::Forward), &TIMES, times);
            close(&exact, &forward, 1e-11, &format!("{ode:?} {times}"));
        }
    }
}

#[test]
fn memory_changes_no_bit() {
    for ode in solvers() {
        for times in [false, true] {
            let expected = gradient(&ode, &TIMES, times);
            for memory in [Memory::Steps, Memory::Checkpoints(1), Memory::Checkpoints(7)] {
                let found = gradient(&ode.memory(memory), &TIMES, times);
                assert_eq!(found, expected, "{memory:?} {ode:?}");
            }
        }
    }
}

#[test]
fn p_dot_delta_is_constant() {
    for ode in solvers() {
        for memory in [Memory::Stages, Memory::Checkpoints(4)] {
            let tape = Tape::new();
            let x = constants(&tape);
            let dots: Vec<_> =
                inputs().iter().map(|x| tape.constant(&array(x.shape(), 3.0, 1.0))).collect();
            let p = tape.constant(&array(&[5, 2, 2], 0.7, 1.0));
            let ys = solve(&ode.memory(memory), &x, TIMES[..].into()).unwrap();
            let bars = tape.vjp(&[ys], &[p], &x).unwrap();
            let delta = tape.jvp(&[ys], &x, &dots).unwrap()[0];
            let products: Vec<f64> =
                bars.iter().zip(&dots).flat_map(|(p, d)| (*p * *d).to_vec()).collect();
            let (sum, size): (f64, f64) =
                (products.iter().sum(), products.iter().map(|x| x.abs()).sum());
            let at_end = p.dot(delta).item();
            assert!((at_end - sum).abs() <= 1e-12 * size, "{at_end:e} {sum:e} {ode:?}");
        }
    }
}

#[test]
fn hessian_vector_products_are_symmetric() {
    for ode in [solvers()[0], solvers()[0].memory(Memory::Checkpoints(3))] {
        let tape = Tape::new();
        let x = constants(&tape);
        let loss = solve(&ode, &x, TIMES[..].into()).unwrap().square().sum();
        let bars = tape.vjp(&[loss], &[tape.scalar(1.0)], &x).unwrap();
        let direction = |seed: f64| -> Vec<_> {
            inputs().iter().map(|x| tape.constant(&array(x.shape(), seed, 1.0))).collect()
        };
        let (u, v) = (direction(0.77), direction(9.1));
        let dot = |a: &[Var<'_, f64>], b: &[Var<'_, f64>]| {
            a.iter().zip(b).map(|(a, b)| a.dot(*b).item()).sum::<f64>()
        };
        let hu = tape.vjp(&bars, &u, &x).unwrap();
        let hv = tape.vjp(&bars, &v, &x).unwrap();
        let (a, b) = (dot(&v, &hu), dot(&u, &hv));
        assert!((a - b).abs() < 1e-11 * a.abs(), "{a:e} {b:e}");
        let forward = tape.jvp(&bars, &x, &u).unwrap();
        assert!((dot(&v, &forward) - a).abs() < 1e-11 * a.abs());
        // By operations on the tape.
        let loss = solve(&ode.gradient(Gradient::Unrolled), &x, TIMES[..].into());
        let loss = loss.unwrap().square().sum();
        let bars = tape.vjp(&[loss], &[tape.scalar(1.0)], &x).unwrap();
        let unrolled = tape.vjp(&bars, &u, &x).unwrap();
        let list = |x: &[Var<'_, f64>]| x.iter().map(|x| x.to_vec()).collect::<Vec<_>>();
        close(&list(&hu), &list(&unrolled), 1e-10, "unrolled");
    }
}
