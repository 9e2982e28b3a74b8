//! Checkpoints: the same numbers, less memory.

use costate_tape::{Tape, Var, check};
use ndarray::{Array1, Array2};

fn layer<'t>(x: Var<'t, f64>, w: Var<'t, f64>) -> Var<'t, f64> {
    (x.matmul(w).tanh() + x).sin()
}

#[test]
fn derivatives_of_any_order_agree() {
    let x = Array2::from_shape_fn((3, 2), |(i, j)| (i as f64 - 0.7 * j as f64).sin()).into_dyn();
    let w = Array2::from_shape_fn((2, 2), |(i, j)| 0.3 * (i + 2 * j) as f64 - 0.4).into_dyn();
    let inputs = [x, w];
    check::gradient(
        |tape, x| Ok(tape.checkpoint(&x[..1], |y| Ok(vec![layer(y[0], x[1]), y[0] * y[0]]))?[0]),
        &inputs,
    )
    .unwrap();
    check::gradient(
        |tape, x| {
            let y = tape.checkpoint(&x[..1], |y| Ok(vec![layer(y[0], x[1])]))?[0];
            let g = tape.vjp(&[y], &[y.cos()], x)?;
            Ok(g[0].sum() * g[1].sin())
        },
        &inputs,
    )
    .unwrap();
}

#[test]
fn values_inside_are_not_kept() {
    let tape = Tape::new();
    let x = tape.constant(&Array1::from_elem(10_000, 0.1));
    let grow = |checkpointed: bool| {
        let before = tape.bytes();
        let y = if checkpointed {
            tape.checkpoint(&[x], |x| Ok(vec![(0..50).fold(x[0], |x, _| x.sin())])).unwrap()[0]
        } else {
            (0..50).fold(x, |x, _| x.sin())
        };
        (y.to_vec(), y.sum().grad(&[x]).unwrap()[0].to_vec(), tape.bytes() - before)
    };
    let (plain, plain_gradient, plain_bytes) = grow(false);
    let (value, gradient, bytes) = grow(true);
    assert_eq!(plain, value);
    assert_eq!(plain_gradient, gradient);
    assert!(bytes * 10 < plain_bytes, "{bytes} {plain_bytes}");
}
