//! Steps of a few numbers that are taken at once, forward and backward, are those taken stage by
//! stage: to the bits, or to rounding if stages are solved for. From its third run on a program takes
//! them so.

use costate_odeint::{
    Bosh3, Dop853, Dopri5, Euler, Gradient, Heun, Method, Ode, Rk4, Tsit5, Verner7, Verner9,
};
use costate_tape::{Function, Program, Result, Tape, Var, Workspace};
use ndarray::{ArrayD, IxDyn};

fn numbers<T: costate_odeint::Real>(shape: &[usize], seed: f64) -> ArrayD<T> {
    let mut i = seed;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1.0;
        T::from_f64((i * 0.618_034).fract() - 0.3)
    })
}

/// A field that depends on the time and on parameters, some through what is computed once.
fn loss<'t, T: costate_odeint::Real>(
    ode: &Ode,
    [y0, a, b]: [Var<'t, T>; 3],
    ts: &[f64],
) -> Result<Var<'t, T>> {
    let field = |t: Var<'t, T>, y: Var<'t, T>| {
        let decay = a.square() * y;
        Ok((b * t + y).sin() - decay * y.square())
    };
    Ok(ode.try_solve(field, y0, ts)?.square().sum())
}

fn with_gradient<T: costate_odeint::Real>(ode: Ode, n: usize, ts: &[f64]) -> Function<T> {
    let inputs = [numbers(&[n], 1.0), numbers(&[n], 20.0), numbers(&[], 50.0)];
    Function::trace(&inputs, |_: &Tape<T>, x| {
        let y = loss(&ode, [x[0], x[1], x[2]], ts)?;
        Ok([y].into_iter().chain(y.grad(x)?).collect())
    })
    .unwrap()
}

fn runs<T: costate_odeint::Real>(f: &Function<T>, n: usize, count: usize) -> Vec<Vec<T>> {
    let program = Program::compile(f).unwrap();
    let mut workspace = Workspace::new(&program);
    let inputs: [ArrayD<T>; 3] = [numbers(&[n], 1.0), numbers(&[n], 20.0), numbers(&[], 50.0)];
    let inputs: Vec<&[T]> = inputs.iter().map(|x| x.as_slice().unwrap()).collect();
    let run = |_| {
        let found = program.evaluate(&mut workspace, &inputs).unwrap();
        (0..4).flat_map(|i| found.get(i).to_vec()).collect()
    };
    (0..count).map(run).collect()
}

fn methods() -> Vec<Method> {
    vec![
        Euler.into(),
        Heun.into(),
        Rk4.into(),
        Bosh3.into(),
        Tsit5.into(),
        Dopri5.into(),
        Verner7.into(),
        Dop853.into(),
        Verner9.into(),
    ]
}

fn ode(method: Method) -> Ode {
    match method.tableau().error {
        Some(_) => Ode::new(method).tolerance(1e-6, 1e-8),
        None => Ode::new(method).steps(40),
    }
}

#[test]
fn all_runs_have_the_same_bits() {
    // Forward and backward in time, with times inside steps and at their ends.
    for ts in [[0.0, 0.3, 1.0, 2.0], [1.0, 0.9, 0.5, -1.0]] {
        for method in methods() {
            for n in 1..=5 {
                let double = runs(&with_gradient::<f64>(ode(method), n, &ts), n, 4);
                let single = runs(&with_gradient::<f32>(ode(method), n, &ts), n, 4);
                for run in 1..4 {
                    let name = method.tableau().name;
                    assert_eq!(double[run], double[0], "{name}, {n} components, run {run}");
                    assert_eq!(single[run], single[0], "{name}, {n} components, run {run}");
                }
            }
        }
    }
}

#[test]
fn all_runs_by_implicit_methods_agree() {
    fn near<T: costate_odeint::Real>(runs: &[Vec<T>], bound: f64, what: &str) {
        for (run, found) in runs.iter().enumerate() {
            for (a, b) in found.iter().zip(&runs[0]) {
                let (a, b) = (a.as_f64(), b.as_f64());
                let difference = (a - b).abs();
                assert!(difference <= bound * (1.0 + b.abs()), "{what}, run {run}: {a} and {b}");
            }
        }
    }
    for ts in [[0.0, 0.3, 1.0, 2.0], [1.0, 0.9, 0.5, 0.2]] {
        for method in Method::implicit() {
            for n in 1..=5 {
                let what = format!("{}, {n} components", method.tableau().name);
                near(&runs(&with_gradient::<f64>(ode(method), n, &ts), n, 4), 1e-11, &what);
                near(&runs(&with_gradient::<f32>(ode(method), n, &ts), n, 4), 1e-3, &what);
            }
        }
    }
}

#[test]
fn gradients_are_those_of_unrolling() {
    let ts = [0.0, 0.3, 1.0, 2.0];
    for method in methods().into_iter().chain(Method::implicit()) {
        for n in 1..=4 {
            let found = runs(&with_gradient::<f64>(ode(method), n, &ts), n, 1).remove(0);
            let tape = Tape::new();
            let inputs: [ArrayD<f64>; 3] =
                [numbers(&[n], 1.0), numbers(&[n], 20.0), numbers(&[], 50.0)];
            let x = inputs.each_ref().map(|x| tape.constant(x));
            let ode = ode(method).gradient(Gradient::Unrolled);
            let y = loss(&ode, x, &ts).unwrap();
            let bars = y.grad(&x).unwrap();
            let right: Vec<f64> = [y].iter().chain(&bars).flat_map(|bar| bar.to_vec()).collect();
            for (a, b) in found.iter().zip(&right) {
                let name = method.tableau().name;
                assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "{name}, {n}: {a} and {b}");
            }
        }
    }
}
