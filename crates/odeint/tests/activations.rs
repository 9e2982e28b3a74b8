//! Keeping activations changes how long a gradient takes, and not one bit of it.

use costate_odeint::{Dopri5, Euler, Method, Ode, Rk4, Tsit5, VelocityVerlet, Verner6};
use costate_tape::{Tape, Var};

fn field<'t>(
    t: Var<'t, f64>,
    y: Var<'t, f64>,
    w1: Var<'t, f64>,
    b1: Var<'t, f64>,
    w2: Var<'t, f64>,
) -> Var<'t, f64> {
    (y.matmul(w1) + b1 * t).tanh().matmul(w2).softplus()
}

/// Loss, gradients and bytes kept of a network with so many hidden numbers in the field.
fn solve(ode: &Ode, hidden: usize, times: bool) -> (Vec<u64>, usize) {
    let tape = Tape::<f64>::new();
    let entry = |i: usize| (i as f64 * 0.9).sin();
    let leaf = |m: usize, n: usize, seed: usize| {
        let x: Vec<f64> = (0..m * n).map(|i| entry(i + seed)).collect();
        tape.leaf(&x, [m, n])
    };
    let (w1, b1) = (leaf(4, hidden, 0), leaf(1, hidden, 40));
    let (w2, y0) = (leaf(hidden, 4, 60), leaf(6, 4, 110));
    let f = |t, y| field(t, y, w1, b1, w2);
    let ts = tape.leaf(&[0.0, 0.3, 0.35, 1.0], [4]);
    let ys = match times {
        true => ode.solve(f, y0, ts).unwrap(),
        false => ode.solve(f, y0, [0.0, 0.3, 0.35, 1.0]).unwrap(),
    };
    let wrt: Vec<_> = [w1, b1, w2, y0].into_iter().chain(times.then_some(ts)).collect();
    let loss = ys.cos().sum();
    let bars = loss.grad(&wrt).unwrap();
    let numbers = bars.iter().chain([&loss]).flat_map(|g| g.to_vec());
    (numbers.map(f64::to_bits).collect(), Ode::stats(ys).unwrap().bytes_kept)
}

#[test]
fn the_gradient_is_the_same_to_the_bit() {
    let methods: [(Method, usize); 6] = [
        (Tsit5.into(), 0),
        (Dopri5.into(), 0),
        (Verner6.into(), 0),
        (Euler.into(), 20),
        (Rk4.into(), 9),
        (VelocityVerlet.into(), 9),
    ];
    // Beside more than a few hidden numbers the states of stages are kept as well.
    for hidden in [10, 60] {
        for ((method, steps), times) in methods.iter().flat_map(|&m| [(m, false), (m, true)]) {
            let ode = match steps {
                0 => Ode::new(method).tolerance(1e-7, 1e-7),
                n => Ode::new(method).steps(n),
            };
            let (all, kept) = solve(&ode, hidden, times);
            let (none, states) = solve(&ode.clone().activations(0), hidden, times);
            assert!(all == none, "{method:?}, hidden {hidden}, times {times}");
            assert!(kept > 2 * states, "{kept} bytes, {states} without activations");
            // Those of the first steps only, to some byte in the middle.
            for part in [1, 2, 3] {
                let limit = (kept - states) * part / 4;
                let (some, bytes) = solve(&ode.clone().activations(limit), hidden, times);
                assert!(some == all, "{method:?}, hidden {hidden}, times {times}, {limit} bytes");
                assert!(bytes <= states + limit, "{bytes} bytes");
            }
        }
    }
}

/// Without the transcendental function, the second half of this field is a program on a few numbers.
#[test]
fn a_small_second_half() {
    let bits = |bytes| {
        let tape = Tape::<f64>::new();
        let (y0, c) = (tape.leaf(&[0.3, -0.2], [2]), tape.leaf(&[0.8, 1.7], [2]));
        let ode = Ode::new(Tsit5).activations(bytes);
        let ys = ode.solve(|_, y| (y * c).sin() - y, y0, [0.0, 0.4, 2.0]).unwrap();
        let bars = ys.square().sum().grad(&[y0, c]).unwrap();
        let bits: Vec<u64> = bars.iter().flat_map(|g| g.to_vec()).map(f64::to_bits).collect();
        (bits, Ode::stats(ys).unwrap().bytes_kept)
    };
    let (all, none) = (bits(1 << 20), bits(0));
    assert_eq!(all.0, none.0);
    assert!(all.1 > none.1);
}
