//! Solves of batches so large that blocks of rows go through whole steps, and back, each for itself.

use costate_odeint::{
    Dop853, Dopri5, Euler, Gradient, Heun, Memory, Method, Ode, Real, Rk4, Ssprk3, Tsit5, Verner7,
};
use costate_tape::{Result, Tape, Var};
use ndarray::{ArrayD, IxDyn};

fn numbers<T: Real>(shape: &[usize], seed: usize) -> ArrayD<T> {
    let mut i = seed;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1;
        T::from_f64((i as f64 * 0.618_034).fract() - 0.5)
    })
}

/// Of a state of rows, what comes beside each row, a matrix that only its antisymmetric part counts of, a bias,
/// and times.
fn loss<'t, T: Real>(ode: &Ode, x: &[Var<'t, T>]) -> Result<Var<'t, T>> {
    let &[y0, beside, w, b, ts] = x else { panic!("five inputs") };
    let field = |t: Var<'t, T>, y: Var<'t, T>| {
        (y.matmul(w - w.t()) + b * t).tanh() - y.scale(T::from_f64(0.3)) + beside * t.cos()
    };
    let ys = ode.solve(field, y0, ts)?;
    Ok((ys.square() + ys.tanh()).mean())
}

/// The gradient with respect to all inputs, or only some, on so many threads.
fn gradient<T: Real>(ode: &Ode, rows: usize, wrt: &[usize], threads: usize) -> Vec<Vec<T>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let tape = Tape::<T>::new();
        let shapes = [vec![rows, 48], vec![rows, 48], vec![48, 48], vec![48]];
        let numbers = |(i, shape): (usize, &Vec<usize>)| numbers::<T>(shape, 99 * i);
        let mut x: Vec<_> = shapes.iter().enumerate().map(|x| tape.constant(&numbers(x))).collect();
        let ts = [0.0, 0.21, 0.34, 1.0].map(T::from_f64);
        x.push(tape.leaf(&ts, [4]));
        let wrt: Vec<_> = wrt.iter().map(|&i| x[i]).collect();
        let found = loss(ode, &x).unwrap().grad(&wrt).unwrap();
        found.iter().map(|g| g.to_vec()).collect()
    })
}

fn assert_close<T: Real>(found: &[Vec<T>], expected: &[Vec<T>], limit: f64) {
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let size = expected.iter().map(|x| x.as_f64().abs()).fold(0.0, f64::max);
        for (a, b) in found.iter().zip(expected) {
            let error = (a.as_f64() - b.as_f64()).abs() / size;
            assert!(error <= limit, "input {i}: {a} and {b}");
        }
    }
}

fn all_ways<T: Real>(method: Method, steps: Option<usize>, limit: f64) {
    // The last block has fewer rows.
    let rows = 1000;
    let all = [0, 1, 2, 3, 4];
    let ode = Ode::new(method);
    let ode = match steps {
        Some(n) => ode.steps(n),
        None => ode.tolerance(1e-4, 1e-4),
    };
    let exact = gradient::<T>(&ode, rows, &all, 1);
    for threads in [2, 3] {
        assert!(gradient::<T>(&ode, rows, &all, threads) == exact, "{threads} threads");
    }
    let unrolled = ode.clone().gradient(Gradient::Unrolled);
    assert_close(&exact, &gradient(&unrolled, rows, &all, 2), limit);
    // Some of them are the same.
    let some = gradient::<T>(&ode, rows, &[3, 1], 2);
    assert_close(&some, &[exact[3].clone(), exact[1].clone()], limit);
    for memory in [Memory::Steps, Memory::Checkpoints(2)] {
        let way = ode.clone().memory(memory);
        assert!(gradient::<T>(&way, rows, &all, 2) == exact, "{memory:?}");
    }
    // Nothing kept of the evaluations, or of the first ones only.
    for bytes in [0, 3_000_000] {
        let found = gradient::<T>(&ode.clone().activations(bytes), rows, &all, 2);
        assert_close(&found, &exact, limit);
    }
}

#[test]
fn adaptive_methods() {
    for method in [Tsit5.into(), Dopri5.into(), Verner7.into(), Dop853.into()] {
        all_ways::<f64>(method, None, 1e-11);
    }
    all_ways::<f32>(Tsit5.into(), None, 2e-4);
}

#[test]
fn equal_steps() {
    for method in [Rk4.into(), Ssprk3.into(), Heun.into(), Euler.into()] {
        all_ways::<f64>(method, Some(8), 1e-11);
    }
    all_ways::<f32>(Rk4.into(), Some(8), 2e-4);
}

/// A field that has no value in some rows ends the solve as it does elsewhere.
#[test]
fn a_block_that_overflows_is_an_error() {
    let tape = Tape::<f64>::new();
    let mut start = numbers::<f64>(&[1000, 48], 1);
    start[[990, 7]] = 3e3;
    let (y0, w) = (tape.constant(&start), tape.constant(&numbers(&[48, 48], 2)));
    let ode = Ode::new(Rk4).steps(8);
    let found = ode.solve(|_, y| y.matmul(w).tanh() + y.square() * y, y0, [0.0, 2.0]);
    let message = found.unwrap_err().to_string();
    assert!(message.contains("not finite") || message.contains("NaN"), "{message}");
}
