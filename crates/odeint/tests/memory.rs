//! Whatever is kept for the backward pass, the gradient is the same to the bit; and no more is kept
//! than is said.

use costate_odeint::{Euler, Kvaerno5, Memory, Method, Ode, Options, Rk4, Rodas5P, Stats, Tsit5};
use costate_tape::{Function, Program, Tape, Var, Workspace};
use proptest::prelude::*;

/// What a solve and its backward pass give and did.
struct Found {
    bits: Vec<u64>,
    forward: Stats,
    backward: Stats,
}

/// A small network with a stiff part.
fn field<'t>(t: Var<'t, f64>, y: Var<'t, f64>, x: [Var<'t, f64>; 4]) -> Var<'t, f64> {
    let [w1, b, w2, rates] = x;
    (y.matmul(w1) + b * t.sin()).tanh().matmul(w2) - y * rates
}

/// Its solve on a state of `rows` pairs, whose weights follow from a seed.
fn solve(ode: &Ode, ts: &[f64], rows: usize, seed: f64, times: bool) -> Found {
    let tape = Tape::<f64>::new();
    let leaf = |shape: &[usize], number: f64, size: f64| {
        let len: usize = shape.iter().product();
        let x: Vec<f64> =
            (0..len).map(|i| size * (seed + number + 12.9898 * i as f64).sin()).collect();
        tape.leaf(&x, shape)
    };
    let (w1, b, w2) = (leaf(&[2, 5], 1.0, 0.9), leaf(&[5], 2.0, 0.5), leaf(&[5, 2], 3.0, 0.9));
    let (y0, var) = (leaf(&[rows, 2], 4.0, 1.5), tape.leaf(ts, [ts.len()]));
    let rates = tape.leaf(&[3.0, 0.3], [1, 2]);
    let f = |t, y| field(t, y, [w1, b, w2, rates]);
    let ys = match times {
        true => ode.solve(f, y0, var).unwrap(),
        false => ode.solve(f, y0, ts).unwrap(),
    };
    let loss = (ys * leaf(&[ts.len(), rows, 2], 5.0, 1.0)).sin().sum();
    let wrt: Vec<_> = [y0, w1, b, w2].into_iter().chain(times.then_some(var)).collect();
    let bars = loss.grad(&wrt).unwrap();
    // A second backward pass finds what the first one has left.
    let again = loss.grad(&wrt).unwrap();
    let bits = |bars: &[Var<'_, f64>]| -> Vec<u64> {
        bars.iter().flat_map(|g| g.to_vec()).map(f64::to_bits).collect()
    };
    assert!(bits(&bars) == bits(&again), "a second pass finds another gradient");
    let backward = if ts.len() > 1 { Ode::stats(bars[1]).unwrap() } else { Stats::default() };
    Found { bits: bits(&bars), forward: Ode::stats(ys).unwrap(), backward }
}

fn methods() -> Vec<Method> {
    let (all, symplectic, implicit) = (Method::all(), Method::symplectic(), Method::implicit());
    all.into_iter().chain(symplectic).chain(implicit).chain([Rodas5P.into()]).collect()
}

/// Adaptive steps if the method can, unless their number is a multiple of 3.
fn solver(method: Method, steps: usize, exponent: i32, stop_at_saves: bool) -> Ode {
    let adaptive = method.tableau().error.is_some() && !steps.is_multiple_of(3);
    let tolerance = 10f64.powi(-exponent);
    // Coupled stages are found by iteration if steps are short.
    let steps = if method.tableau().coupled { steps.max(6) } else { steps };
    Ode::new(method).options(match adaptive {
        true => Options { stop_at_saves, ..Options::tolerance(tolerance, tolerance) },
        false => Options { stop_at_saves, ..Options::steps(steps) },
    })
}

/// The most steps that a backward pass may take again: those whose stages it needs, and those of the
/// binomial schedule.
fn bound(steps: usize, points: usize) -> usize {
    let choose = |n: usize, k: usize| {
        (0..k.min(n - k) as u128).fold(1, |c, i| c * (n as u128 - i) / (i + 1)) as usize
    };
    let r = (0..).find(|&r| choose(points + r, r) >= steps).expect("it grows");
    steps + r * steps - if r > 0 { choose(points + r, r - 1) } else { 0 }
}

#[test]
fn every_method() {
    let ts = [0.0, 0.3, 0.31, 0.5, 1.0];
    for (i, method) in methods().into_iter().enumerate() {
        for (steps, times) in [(10, true), (12, false)] {
            let ode = solver(method, steps, 4, i % 2 == 0);
            let all = solve(&ode, &ts, 3, 0.7, times);
            let m = all.forward.accepted;
            assert!(m >= 3, "{}: {m} steps", method.tableau().name);
            for (memory, most) in [
                (Memory::Steps, m),
                (Memory::Checkpoints(1), 1),
                (Memory::Checkpoints(3), 3),
                (Memory::Checkpoints(1000), m),
            ] {
                let found = solve(&ode.clone().memory(memory), &ts, 3, 0.7, times);
                assert!(found.bits == all.bits, "{method:?}, {memory:?}, {steps}, {times}");
                if method.tableau().coupled && memory == Memory::Steps {
                    assert_eq!(found.forward.states_kept, m + 1);
                    continue;
                }
                let stats = found.backward;
                assert_eq!(stats.states_kept, most, "{method:?}, {memory:?}");
                assert!((m..=bound(m, most)).contains(&stats.retaken), "{method:?}, {memory:?}");
                assert!(found.forward.bytes_kept <= stats.bytes_kept);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn gradients_are_the_same_to_the_bit(
        which in 0usize..27,
        seed in 0.0..10.0f64,
        rows in prop::sample::select(vec![1usize, 4]),
        steps in 1usize..24,
        exponent in 2..7i32,
        inner in prop::collection::vec(0.01..0.99f64, 0..4),
        backward in any::<bool>(),
        stop in any::<bool>(),
        times in any::<bool>(),
        activations in prop::sample::select(vec![0usize, 4000, 1 << 20]),
        points in 1usize..9,
    ) {
        let ode = solver(methods()[which], steps, exponent, stop).activations(activations);
        let mut ts: Vec<f64> = inner.into_iter().chain([0.0, 1.0]).collect();
        ts.sort_by(f64::total_cmp);
        ts.dedup();
        if backward {
            // Over a short time, since the stiff part grows backward.
            ts.iter_mut().for_each(|t| *t *= -0.3);
        }
        let all = solve(&ode, &ts, rows, seed, times);
        prop_assert_eq!(all.backward.retaken, 0);
        for memory in [Memory::Steps, Memory::Checkpoints(points)] {
            let found = solve(&ode.clone().memory(memory), &ts, rows, seed, times);
            prop_assert!(found.bits == all.bits, "{:?}: another gradient", memory);
            prop_assert_eq!(found.forward.accepted, all.forward.accepted);
        }
    }
}

/// A hundred thousand steps from twenty states.
#[test]
fn many_steps_from_few_states() {
    const M: usize = 100_000;
    let gradient = |memory| {
        let tape = Tape::<f64>::new();
        let (y0, rate) = (tape.leaf(&[0.4, -0.2], [2]), tape.scalar(0.7));
        let ode = Ode::new(Euler).steps(M).memory(memory);
        let ys = ode.solve(|t, y| (y * rate + t).sin(), y0, [0.0, 3.0]).unwrap();
        let bars = ys.sum().grad(&[y0, rate]).unwrap();
        let bits: Vec<u64> = bars.iter().flat_map(|g| g.to_vec()).map(f64::to_bits).collect();
        (bits, Ode::stats(ys).unwrap(), Ode::stats(bars[0]).unwrap())
    };
    let (all, forward, _) = gradient(Memory::Stages);
    // States and slopes; the first slope of a step is the end slope of the one before.
    assert_eq!(forward.bytes_kept - forward.grid_bytes - 8 * M, 8 * 2 * (2 * M + 2));
    for n in [1000, 20] {
        let (few, forward, backward) = gradient(Memory::Checkpoints(n));
        assert!(few == all);
        assert_eq!((forward.states_kept, backward.states_kept), (n, n));
        // A state and where it is from.
        assert_eq!(forward.bytes_kept - forward.grid_bytes, n * (16 + 24));
        // Besides, the one step at hand.
        assert!(backward.bytes_kept - forward.bytes_kept < 250);
        assert!(backward.retaken <= bound(M, n), "{} steps taken again", backward.retaken);
        // The forward pass of the binomial schedule takes M - 1 steps of its number.
        assert!(backward.retaken + M > bound(M, n), "{} steps taken again", backward.retaken);
    }
}

/// A compiled gradient keeps its points in the same memory, solve after solve.
#[test]
fn a_program_of_a_gradient() {
    let x = [ndarray::arr1(&[0.3, -0.4]).into_dyn()];
    let run = |memory| {
        let ode = Ode::new(Tsit5).tolerance(1e-7, 1e-7).memory(memory);
        let function = Function::trace(&x, |_, x| {
            ode.solve(|t, y| (y * t).cos(), x[0], [0.0, 2.0])?.square().sum().grad(x)
        })
        .unwrap();
        let program = Program::compile(&function).unwrap();
        let mut workspace = Workspace::new(&program);
        let starts: [[f64; 2]; 4] = [[0.3, -0.4], [1.3, 0.1], [20.0, 30.0], [0.3, -0.4]];
        starts.map(|y0| program.evaluate(&mut workspace, &[&y0[..]]).unwrap().get(0).to_vec())
    };
    let all = run(Memory::Stages);
    assert_eq!(all[0], all[3]);
    for memory in [Memory::Steps, Memory::Checkpoints(4)] {
        assert_eq!(run(memory), all);
    }
}

/// Second derivatives take the states again on the recorded grid.
#[test]
fn second_derivatives() {
    for method in [Method::from(Tsit5), Kvaerno5.into(), Rodas5P.into()] {
        let gradient = |memory| {
            let tape = Tape::<f64>::new();
            let y0 = tape.leaf(&[0.3, -0.4], [2]);
            let ode = Ode::new(method).tolerance(1e-6, 1e-6).memory(memory);
            let ys = ode.solve(|t, y| (y * t).cos(), y0, [0.0, 0.7, 2.0]).unwrap();
            let g = ys.square().sum().grad(&[y0]).unwrap()[0];
            g.square().sum().grad(&[y0]).unwrap()[0].to_vec()
        };
        let all = gradient(Memory::Stages);
        for memory in [Memory::Steps, Memory::Checkpoints(3)] {
            assert_eq!(gradient(memory), all, "{}", method.tableau().name);
        }
    }
}

#[test]
fn what_it_cannot_do() {
    let tape = Tape::new();
    let y0 = tape.leaf(&[1.0, 2.0], [2]);
    let ode = Ode::new(Rk4).steps(3).memory(Memory::Checkpoints(0));
    let e = ode.solve(|_, y| -y, y0, [0.0, 1.0]).unwrap_err();
    assert!(e.to_string().contains("`checkpoints` is 0, but must be at least 1"), "{e}");
    let ts = tape.leaf(&[0.0, 1.0], [2]);
    let ys = Ode::new(Kvaerno5).memory(Memory::Steps).solve(|_, y| -y, y0, ts).unwrap();
    let e = tape.jvp(&[ys], &[ts], &[ts]).unwrap_err();
    assert!(e.to_string().contains("try `Memory::Stages`"), "{e}");
}
