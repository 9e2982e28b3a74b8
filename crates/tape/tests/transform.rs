//! Transformations, alone and composed, against derivatives written by hand.

use std::slice::from_ref;

use costate_ops::Real;
use costate_tape::{Function, Program, Result, Tape, Var, Workspace, check};
use ndarray::{ArrayD, IxDyn, arr1};

fn array(shape: &[usize], f: impl Fn(usize) -> f64) -> ArrayD<f64> {
    let len = shape.iter().product();
    ArrayD::from_shape_vec(IxDyn(shape), (0..len).map(f).collect()).expect("the shape's length")
}

fn run(f: &Function<f64>, x: &[ArrayD<f64>]) -> Vec<ArrayD<f64>> {
    let tape = Tape::new();
    let x: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
    f.inline(&tape, &x).expect("no call can fail").iter().map(|y| y.value()).collect()
}

fn assert_close(found: &ArrayD<f64>, expected: &ArrayD<f64>) {
    assert_eq!(found.shape(), expected.shape());
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-13 * (1.0 + e.abs()), "{found} is not {expected}");
    }
}

#[test]
fn value_and_grad_has_both() -> Result<()> {
    let x = [array(&[3], |i| i as f64 - 0.5), array(&[], |_| 2.0)];
    let f = Function::trace(&x, |_, x| Ok(vec![(x[0].square() * x[1]).sum()]))?;
    let found = run(&f.value_and_grad(&[1, 0])?, &x);
    let squares: f64 = x[0].iter().map(|x| x * x).sum();
    assert_close(&found[0], &array(&[], |_| 2.0 * squares));
    assert_close(&found[1], &array(&[], |_| squares));
    assert_close(&found[2], &x[0].map(|x| 4.0 * x));
    Ok(())
}

/// `y_i = Σ_j A_ij sin x_j`: the Jacobian is `A_ij cos x_j`, by columns or by rows.
#[test]
fn jacobians_of_any_form() -> Result<()> {
    for (m, n) in [(2, 5), (5, 2), (3, 3), (1, 4), (4, 1), (0, 3), (3, 0)] {
        let a = array(&[m, n], |i| (i as f64 * 0.7).cos());
        let x = array(&[n], |i| 0.3 * i as f64 - 0.4);
        let f = Function::trace(&[a.clone(), x.clone()], |_, x| {
            Ok(vec![x[1], x[0].matmul(x[1].sin())])
        })?;
        let expected = array(&[m, n], |i| a[[i / n, i % n]] * x[i % n].cos());
        let jacobian = f.jacobian(1, 1)?;
        assert_close(&run(&jacobian, &[a.clone(), x.clone()])[0], &expected);
        // Compiled, too.
        let program = Program::compile(&jacobian)?;
        let mut found = vec![0.0; m * n];
        let (a, x) = (a.as_slice().expect("row-major"), x.as_slice().expect("row-major"));
        program.run(&mut Workspace::new(&program), &[a, x], &mut [&mut found])?;
        assert_close(&ArrayD::from_shape_vec(IxDyn(&[m, n]), found).expect("m n"), &expected);
    }
    Ok(())
}

#[test]
fn a_jacobian_has_the_axes_of_both() -> Result<()> {
    let tape = Tape::<f64>::new();
    let x = tape.constant(&array(&[2, 2], |i| i as f64));
    let y = x.matmul(x).reshape([4]).slice_axis(0, 1..4);
    let jacobian = tape.jacobian(y, x)?;
    assert_eq!(*jacobian.shape(), [3, 2, 2]);
    // y_0 = (x²)_01 = x_00 x_01 + x_01 x_11 with x = [[0, 1], [2, 3]].
    assert_eq!(jacobian.index_axis(0, 0).to_vec(), [1.0, 3.0, 0.0, 1.0]);
    Ok(())
}

/// `f = Σ x_i³ x_(i+1)`, whose Hessian has two bands.
fn banded<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
    let n = x.shape()[0];
    (x.slice_axis(0, 0..n - 1).powi(3) * x.slice_axis(0, 1..n)).sum()
}

fn banded_hessian(x: &ArrayD<f64>) -> ArrayD<f64> {
    let n = x.len();
    array(&[n, n], |place| {
        let (i, j) = (place / n, place % n);
        match (i.min(j), i.max(j)) {
            (i, j) if i == j && i + 1 < n => 6.0 * x[i] * x[i + 1],
            (i, j) if i + 1 == j => 3.0 * x[i] * x[i],
            _ => 0.0,
        }
    })
}

#[test]
fn hessians_and_products_with_them() -> Result<()> {
    let x = array(&[4], |i| 0.5 + 0.4 * i as f64);
    let f = Function::trace(from_ref(&x), |_, x| Ok(vec![banded(x[0])]))?;
    let expected = banded_hessian(&x);
    assert_close(&run(&f.hessian(0)?, from_ref(&x))[0], &expected);
    // The Jacobian of the gradient is the same.
    let gradient = f.value_and_grad(&[0])?;
    assert_close(&run(&gradient.jacobian(1, 0)?, from_ref(&x))[0], &expected);
    let v = array(&[4], |i| 1.0 - i as f64 * 0.7);
    let product = array(&[4], |i| (0..4).map(|j| expected[[i, j]] * v[j]).sum());
    assert_close(&run(&f.hvp(&[0])?, &[x, v])[0], &product);
    Ok(())
}

/// `d³/dx³ sin(x²)`, each order by another transformation.
#[test]
fn third_derivatives_by_composition() -> Result<()> {
    let x = array(&[], |_| 0.7);
    let f = Function::trace(from_ref(&x), |_, x| Ok(vec![x[0].square().sin()]))?;
    let (s, c) = (0.7f64 * 0.7).sin_cos();
    let third = -12.0 * 0.7 * s - 8.0 * 0.7f64.powi(3) * c;
    let expected = array(&[], |_| third);
    let by_hessian = f.jacobian(0, 0)?.hessian(0)?;
    assert_close(&run(&by_hessian, from_ref(&x))[0], &expected);
    let by_jacobian = f.hessian(0)?.jacobian(0, 0)?;
    assert_close(&run(&by_jacobian, from_ref(&x))[0], &expected);
    let by_grad = f.hessian(0)?.value_and_grad(&[0])?;
    assert_close(&run(&by_grad, from_ref(&x))[1], &expected);
    let one = array(&[], |_| 1.0);
    let by_hvp = f.hvp(&[0])?.value_and_grad(&[0])?;
    assert_close(&run(&by_hvp, &[x, one])[1], &expected);
    Ok(())
}

/// Huber's loss, whose two pieces are chosen by `select`: the Hessian is 1 where it is quadratic.
#[test]
fn the_hessian_of_a_loss_through_select() -> Result<()> {
    let x = arr1(&[-3.0, -0.5, 0.2, 0.9, 4.0]).into_dyn();
    let f = Function::trace(from_ref(&x), |tape, x| {
        let size = x[0].abs();
        let near = size.lt(tape.scalar(1.0));
        Ok(vec![near.select(x[0].square() * 0.5, size - 0.5).sum()])
    })?;
    let inside = [0.0, 1.0, 1.0, 1.0, 0.0];
    let expected = array(&[5, 5], |i| if i / 5 == i % 5 { inside[i % 5] } else { 0.0 });
    assert_close(&run(&f.hessian(0)?, from_ref(&x))[0], &expected);
    let gradient = run(&f.value_and_grad(&[0])?, &[x]);
    assert_eq!(gradient[1].as_slice(), Some(&[-1.0, -0.5, 0.2, 0.9, 1.0][..]));
    Ok(())
}

fn hessians_have_gradients<T: Real>() {
    let x = [ArrayD::from_elem(IxDyn(&[2]), T::from_f64(0.6))];
    check::gradient(|tape, x| tape.hessian((x[0].tanh().sum() * x[0].sum()).exp(), x[0]), &x)
        .expect("the gradient of a Hessian");
}

#[test]
fn a_hessian_is_differentiable() {
    hessians_have_gradients::<f32>();
    hessians_have_gradients::<f64>();
}
