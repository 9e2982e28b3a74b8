//! Derivatives as matrices, composed with each other.

use costate_tape::{Function, Program, Result, Tape, Var, Workspace, check};
use ndarray::{Array1, ArrayD, IxDyn, arr1};

fn close(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 1e-12 * (1.0 + b.abs()), "{a} {b}");
    }
}

/// A function of two entries with four outputs.
fn wide<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
    let (a, b) = (x.index_axis(0, 0), x.index_axis(0, 1));
    Var::stack(0, &[a * b, a.sin(), b.exp() * a, b.powi(3)]).reshape([2, 2])
}

#[test]
fn both_jacobians_are_the_matrix() {
    let tape = Tape::new();
    let x = tape.constant(&arr1(&[0.7, -0.3]));
    let (a, b) = (0.7f64, -0.3f64);
    let expected = [b, a, a.cos(), 0.0, b.exp(), b.exp() * a, 0.0, 3.0 * b * b];
    for jacobian in [wide(x).jacobian_reverse(x), wide(x).jacobian_forward(x), wide(x).jacobian(x)]
    {
        let jacobian = jacobian.unwrap();
        assert_eq!(*jacobian.shape(), [2, 2, 2]);
        close(&jacobian.to_vec(), &expected);
    }
}

#[test]
fn hessians_and_their_products() {
    let tape = Tape::new();
    let x = tape.constant(&arr1(&[0.4, 0.9, -0.2]));
    let y = (x.sin().sum() * x.square().sum()).exp();
    let h = y.hessian(x).unwrap();
    assert_eq!(*h.shape(), [3, 3]);
    close(&h.to_vec(), &h.t().to_vec());
    let v = tape.constant(&arr1(&[1.0, -2.0, 0.5]));
    close(&y.hvp(x, v).unwrap().to_vec(), &h.matmul(v).to_vec());
    // The Jacobian of the gradient, in reverse.
    let g = y.grad(&[x]).unwrap()[0];
    close(&g.jacobian_reverse(x).unwrap().to_vec(), &h.to_vec());
}

#[test]
fn the_hessian_of_a_loss_through_a_choice() {
    let tape = Tape::new();
    let x = tape.constant(&arr1(&[-0.5, 0.8]));
    let zero = tape.scalar(0.0);
    // x² below zero, x³ above.
    let y = x.lt(zero).select(x.square(), x.powi(3)).sum();
    close(&y.hessian(x).unwrap().to_vec(), &[2.0, 0.0, 0.0, 6.0 * 0.8]);
}

#[test]
fn third_derivatives_of_several_variables() {
    // A number made of a Hessian, differentiated once more.
    let x: ArrayD<f64> = Array1::from(vec![0.3, -0.6]).into_dyn();
    check::gradient(trace_of_hessian, &[x]).unwrap();
}

fn trace_of_hessian<'t>(tape: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Var<'t, f64>> {
    let y = (x[0].tanh() * x[0].cos()).sum().exp();
    let h = y.hessian(x[0])?;
    Ok((h * tape.constant(&ndarray::arr2(&[[1.0, 0.5], [0.2, 2.0]]))).sum())
}

#[test]
fn empty_jacobians_have_their_shape() {
    let tape = Tape::<f64>::new();
    let x = tape.constant(&ArrayD::zeros(IxDyn(&[0, 2])));
    assert_eq!(*x.sin().jacobian(x).unwrap().shape(), [0, 2, 0, 2]);
    assert_eq!(*x.sum().jacobian(x).unwrap().shape(), [0, 2]);
}

/// The same of functions: compiled, they replay at other inputs.
#[test]
fn functions_have_gradients_hessians_and_products() {
    let x = [arr1(&[0.3, 0.7]).into_dyn()];
    let f = Function::trace(&x, |_, x| Ok(vec![(x[0].square() * x[0].sin()).sum()])).unwrap();
    let run = |f: &Function<f64>, inputs: &[&[f64]]| -> Vec<Vec<f64>> {
        let program = Program::compile(f).unwrap();
        let mut workspace = Workspace::new(&program);
        let outputs = program.evaluate(&mut workspace, inputs).unwrap();
        (0..program.output_shapes().len()).map(|i| outputs.get(i).to_vec()).collect()
    };
    let at = [0.5f64, -1.1];
    let first = |x: f64| 2.0 * x * x.sin() + x * x * x.cos();
    let second = |x: f64| (2.0 - x * x) * x.sin() + 4.0 * x * x.cos();
    let value: f64 = at.iter().map(|x| x * x * x.sin()).sum();
    let found = run(&f.value_and_grad(&[0]).unwrap(), &[&at]);
    close(&found[0], &[value]);
    close(&found[1], &at.map(first));
    let diagonal = [second(at[0]), 0.0, 0.0, second(at[1])];
    close(&run(&f.hessian(0).unwrap(), &[&at])[0], &diagonal);
    let product = run(&f.hvp(&[0]).unwrap(), &[&at, &[2.0, 3.0]]);
    close(&product[0], &[2.0 * diagonal[0], 3.0 * diagonal[3]]);
    let jacobian = run(&f.vjp(&[0]).unwrap().jacobian(0, 0).unwrap(), &[&at, &[1.0]]);
    close(&jacobian[0], &diagonal);
}

#[test]
fn a_linear_map_is_that_of_forward_mode_and_computes_the_point_once() {
    let x = [arr1(&[0.3, -0.7, 1.1]).into_dyn(), arr1(&[0.2, 0.4, -0.5]).into_dyn()];
    let f = Function::trace(&x, |_, x| Ok(vec![(x[0].tanh() * x[1].sin()).exp(), x[0].sum()]));
    let f = f.unwrap();
    let linearized = f.linearize(&x, &[0, 1]).unwrap();
    let text = Program::compile(&linearized.tangent).unwrap().to_string();
    assert!(!["tanh ", "sin ", "cos ", "exp "].iter().any(|name| text.contains(name)), "{text}");
    let tape = Tape::new();
    let dots = [arr1(&[1.0, -2.0, 0.5]), arr1(&[0.1, 0.7, 3.0])];
    let dots: Vec<_> = dots.iter().map(|d| tape.constant(d)).collect();
    let at: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
    let all: Vec<_> = at.iter().chain(&dots).copied().collect();
    let expected = f.jvp(&[0, 1]).unwrap().inline(&tape, &all).unwrap();
    let found = linearized.tangent.inline(&tape, &dots).unwrap();
    for i in 0..2 {
        let value: Vec<f64> = linearized.values[i].iter().copied().collect();
        close(&value, &expected[i].to_vec());
        close(&found[i].to_vec(), &expected[2 + i].to_vec());
    }
}

/// Seeds go through in a batch: a Jacobian with many rows has no more operations than one with few.
#[test]
fn jacobians_are_taken_in_batches() {
    let operations = |n: usize, forward: bool| {
        let tape = Tape::new();
        let x = tape.constant(&Array1::from_iter((0..n).map(|i| i as f64 / 7.0)));
        let y = (x.sin() * x.sum()).tanh();
        let jacobian = if forward { y.jacobian_forward(x) } else { y.jacobian_reverse(x) };
        close(&jacobian.unwrap().to_vec(), &y.jacobian_reverse(x).unwrap().to_vec());
        tape.len()
    };
    for forward in [false, true] {
        assert_eq!(operations(3, forward), operations(30, forward));
    }
}

#[test]
fn vmap_of_a_gradient_and_the_jacobian_of_a_gradient_compose() {
    let tape = Tape::new();
    let x = tape.constant(&ndarray::arr2(&[[0.1, 0.2], [0.5, -0.4], [0.9, 1.3]]));
    // The Hessian of each sample's own loss.
    fn loss<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
        (x.sin().sum() * x.square().sum()).tanh()
    }
    let hessians =
        tape.vmap(&[x], |x| Ok(vec![loss(x[0]).grad(&[x[0]])?[0].jacobian(x[0])?])).unwrap()[0];
    assert_eq!(*hessians.shape(), [3, 2, 2]);
    for i in 0..3 {
        let sample = tape.constant(&x.value().index_axis(ndarray::Axis(0), i));
        let expected = loss(sample).hessian(sample).unwrap().to_vec();
        close(&hessians.index_axis(0, i).to_vec(), &expected);
    }
}
