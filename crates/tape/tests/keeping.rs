//! A vjp in two halves gives the bits of the vjp in one.

use crate::cases::{Apply, for_every_case};
use costate_tape::Real;
use costate_tape::{Function, Program, Shape, Tape, Var, Workspace};
use ndarray::{Array2, ArrayD};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

fn run<T: Real>(f: &Function<T>, inputs: &[Vec<T>]) -> Vec<Vec<T>> {
    let program = Program::compile(f).unwrap();
    let mut workspace = Workspace::new(&program);
    let inputs: Vec<&[T]> = inputs.iter().map(Vec::as_slice).collect();
    let outputs = program.evaluate(&mut workspace, &inputs).unwrap();
    (0..f.output_shapes().len()).map(|i| outputs.get(i).to_vec()).collect()
}

/// Checks both ways to the vjp against each other, and returns how many numbers are kept.
fn halves<T: Real>(f: &Function<T>, x: &[ArrayD<T>]) -> Result<Option<usize>, String> {
    let wrt: Vec<usize> = (0..x.len()).collect();
    let whole = f.vjp(&wrt).unwrap();
    let Some(halves) = f.vjp_keeping(&wrt, 0..0).unwrap() else { return Ok(None) };
    let x: Vec<Vec<T>> = x.iter().map(|x| x.iter().copied().collect()).collect();
    let shapes = f.output_shapes();
    let cotangent = |shape: &Shape| {
        (0..shape.numel()).map(|i| T::from_f64((i as f64).cos())).collect::<Vec<_>>()
    };
    let cotangents: Vec<Vec<T>> = shapes.iter().map(cotangent).collect();
    let bits = |x: &[Vec<T>]| -> Vec<u64> {
        // The signs of zero and NaN are left open.
        let bits = |x: f64| if x.is_nan() { f64::NAN } else { x + 0.0 }.to_bits();
        x.iter().flatten().map(|x| bits(x.as_f64())).collect()
    };
    let all: Vec<Vec<T>> = x.iter().chain(&cotangents).cloned().collect();
    let expected = run(&whole, &all);
    let forward = run(&halves.forward, &x);
    let (y, kept) = forward.split_at(shapes.len());
    if bits(y) != bits(&run(f, &x)) {
        return Err("other outputs".into());
    }
    let given: Vec<Vec<T>> = x.iter().chain(kept).chain(&cotangents).cloned().collect();
    if bits(&run(&halves.backward, &given)) != bits(&expected) {
        return Err("another vjp".into());
    }
    let last = x.len() - 1;
    let part = run(&halves.backward.with_outputs(&[last, 0]), &given);
    if bits(&part) != bits(&[expected[last].clone(), expected[0].clone()]) {
        return Err("another part of the vjp".into());
    }
    Ok(Some(kept.iter().map(Vec::len).sum()))
}

fn check<T: Real>(name: &str, f: Apply<T>, x: &[ArrayD<T>]) -> Result<(), TestCaseError> {
    let function = Function::trace(x, |tape, x| Ok(vec![f(tape, x)?])).unwrap();
    match halves(&function, x) {
        Ok(_) => Ok(()),
        Err(e) => Err(TestCaseError::fail(format!("{name}: {e}"))),
    }
}

#[test]
fn every_operation_in_halves() {
    for_every_case::<f64>(check);
    for_every_case::<f32>(check);
}

type Network = for<'t> fn(&'t Tape<f64>, &[Var<'t, f64>], usize) -> Var<'t, f64>;

/// A network with biases: `x ↦ f(f(x W + b) W + b) …`.
fn network<'t>(
    x: &[Var<'t, f64>],
    depth: usize,
    f: fn(Var<'t, f64>) -> Var<'t, f64>,
) -> Var<'t, f64> {
    (0..depth).fold(x[0], |h, _| f(h.matmul(x[1]) + x[2]))
}

proptest! {
    #[test]
    fn networks_in_halves(rows in 1usize..9, width in 5usize..20, depth in 1usize..4, kind in 0..4) {
        let entry = |i: usize| (i as f64 * 0.7).sin();
        let array = |m, n| Array2::from_shape_fn((m, n), |(i, j)| entry(i * n + j)).into_dyn();
        let x = [array(rows, width), array(width, width), array(1, width)];
        let f: Network = match kind {
            0 => |_, x, n| network(x, n, |h| h.tanh()),
            1 => |_, x, n| network(x, n, |h| h.softplus()),
            2 => |_, x, n| network(x, n, |h| h.powi(3).exp().recip()),
            _ => |_, x, n| network(x, n, |h| h.softmax(1)),
        };
        let function = Function::trace(&x, |tape, x| Ok(vec![f(tape, x, depth)])).unwrap();
        let kept = halves(&function, &x).map_err(TestCaseError::fail)?;
        prop_assert!(kept.is_some());
        // The activations, from which their derivatives follow.
        if kind < 2 {
            prop_assert_eq!(kept.unwrap(), depth * rows * width);
        }
    }
}

/// What is cheap is not kept, however often it is read.
#[test]
fn plain_arithmetic_is_not_kept() {
    let x = [Array2::<f64>::ones((30, 4)).into_dyn()];
    let f = Function::trace(&x, |_, x| Ok(vec![x[0].square() * x[0].powi(3) + x[0]])).unwrap();
    assert!(f.vjp_keeping(&[0], 0..0).unwrap().is_none());
}
