//! A function on blocks of rows is the function on those rows.

use costate_tape::{Function, Program, Shape, Var, Workspace};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

fn numbers(shape: &[usize], seed: usize) -> ArrayD<f64> {
    let mut i = seed;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1;
        (i as f64 * 0.618_034).fract() - 0.5
    })
}

fn run(function: &Function<f64>, inputs: &[&[f64]]) -> Vec<f64> {
    let program = Program::compile_unsplit(function).unwrap();
    let mut workspace = Workspace::new(&program);
    program.evaluate(&mut workspace, inputs).unwrap().get(0).to_vec()
}

/// With a state, an array beside it that is rows as well, a matrix, and what is added to each row.
fn field<'t>(x: &[Var<'t, f64>], depth: usize) -> Var<'t, f64> {
    let [y, beside, w, b] = x else { panic!("four inputs") };
    let ones = y.ones_like();
    let mut z = *y;
    for _ in 0..depth {
        z = (z.matmul(*w) + *b + *beside).tanh() * (ones + z.softmax(1));
    }
    z + y.tape().constant(&numbers(&[y.shape()[1]], 5))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn blocks_are_the_rows_of_the_whole(
        rows in 32usize..400, width in 1usize..70, depth in 1usize..3, runs in 1_000usize..100_000,
    ) {
        let shapes = [[rows, width].into(), [rows, width].into(), [width, width].into(), [width].into()];
        let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![field(x, depth)])).unwrap();
        let cut = f.row_blocks(0, runs);
        prop_assume!(cut.is_some());
        let cut = cut.unwrap();
        // With as many rows as columns, the matrix is none of rows all the same.
        prop_assert_eq!(&cut.over_rows, &[true, true, false, false]);
        prop_assert_eq!(cut.rows, rows);
        let inputs: Vec<_> = shapes.iter().enumerate().map(|(i, s)| numbers(s, 100 * i)).collect();
        let inputs: Vec<&[f64]> = inputs.iter().map(|x| x.as_slice().unwrap()).collect();
        let whole = run(&f, &inputs);
        for first in (0..rows).step_by(cut.per_block) {
            let last = (first + cut.per_block).min(rows);
            let short = last - first < cut.per_block;
            let function = if short { cut.last.as_ref().unwrap() } else { &cut.block };
            let of = |x: &[f64]| x[first * width..last * width].to_vec();
            let own = [of(inputs[0]), of(inputs[1])];
            let found = run(function, &[&own[0], &own[1], inputs[2], inputs[3]]);
            for (a, b) in found.iter().zip(&whole[first * width..last * width]) {
                prop_assert!((a - b).abs() < 1e-13, "{} and {}", a, b);
            }
        }
    }
}

fn cut(f: impl for<'t> Fn(Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>) -> bool {
    let shapes: [Shape; 2] = [[300, 64].into(), [64, 64].into()];
    let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![f(x[0], x[1])])).unwrap();
    f.row_blocks(0, 100).is_some()
}

#[test]
fn what_joins_rows_is_not_cut() {
    assert!(cut(|y, w| y.matmul(w)));
    assert!(!cut(|y, w| y.matmul(w) - y.mean_axis(0)));
    assert!(!cut(|y, w| y.matmul(w).slice_axis(0, 299..300) + y));
    // A constant that differs from row to row.
    assert!(!cut(|y, w| y.matmul(w) + y.tape().constant(&numbers(&[300, 1], 0))));
    assert!(cut(|y, w| y.matmul(w) + y.tape().constant(&numbers(&[1, 64], 0))));
    // The product with the batch on its right side.
    assert!(!cut(|y, w| y + w.matmul(y.t()).t().matmul(y.t().matmul(y))));
}

#[test]
fn what_is_soon_done_is_not_cut() {
    let shapes: [Shape; 2] = [[300, 2].into(), [2, 2].into()];
    let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![x[0].matmul(x[1])])).unwrap();
    assert!(f.row_blocks(0, 6).is_none());
}
