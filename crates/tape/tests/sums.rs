//! Sums over rows that are taken out of a function: with them put back it gives what it gave.

use costate_tape::{Function, Part, Program, Result, Shape, Tape, Var, Workspace};

fn run(f: &Function<f64>, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let program = Program::compile(f).unwrap();
    let mut workspace = Workspace::new(&program);
    let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let outputs = program.evaluate(&mut workspace, &inputs).unwrap();
    (0..f.output_shapes().len()).map(|i| outputs.get(i).to_vec()).collect()
}

/// `Xᵀ G`, or the sums of the rows of `G` if there is no `X`.
fn sum([rows, m, n]: [usize; 3], x: Option<&[f64]>, g: &[f64]) -> Vec<f64> {
    let mut c = vec![0.0; m * n];
    for l in 0..rows {
        for i in 0..m {
            for j in 0..n {
                c[i * n + j] += x.map_or(1.0, |x| x[l * m + i]) * g[l * n + j];
            }
        }
    }
    c
}

/// The parts of the vjp of a function, checked against the whole.
fn parts<F>(shapes: &[Shape], f: F) -> Option<Vec<Part>>
where
    F: for<'t> FnOnce(&'t Tape<f64>, &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>>,
{
    let f = Function::<f64>::trace_shapes(shapes, f).unwrap();
    let cotangent = &f.output_shapes()[0];
    let inputs: Vec<Vec<f64>> = shapes
        .iter()
        .chain([cotangent])
        .map(|shape| (0..shape.numel()).map(|i| (i as f64 * 0.7).sin()).collect())
        .collect();
    let vjp = f.vjp(&(0..shapes.len()).collect::<Vec<_>>()).unwrap();
    let expected = run(&vjp, &inputs);
    let split = vjp.without_sums(1..shapes.len())?;
    let found = run(&split.function, &inputs);
    assert_eq!(found[0], expected[0]);
    for (part, expected) in split.parts.iter().zip(&expected[1..]) {
        let value = match *part {
            Part::Whole(i) => found[i].clone(),
            Part::Outer { size, left, right } => sum(size, Some(&found[left]), &found[right]),
            Part::Rows { size: [rows, n], of } => sum([rows, 1, n], None, &found[of]),
        };
        assert_eq!(value.len(), expected.len());
        for (a, b) in value.iter().zip(expected) {
            assert!((a - b).abs() < 1e-13 * (1.0 + b.abs()), "{part:?}: {a} and {b}");
        }
    }
    Some(split.parts)
}

/// Of a network of two layers with a matrix in the end that is used twice.
fn network(rows: usize) -> Option<Vec<Part>> {
    let shapes = [vec![rows, 3], vec![3, 7], vec![1, 7], vec![7, 3], vec![3, 3]].map(Shape::from);
    parts(&shapes, |_, x| {
        let h = (x[0].matmul(x[1]) + x[2]).tanh().matmul(x[3]);
        Ok(vec![h.matmul(x[4]).sin().matmul(x[4])])
    })
}

#[test]
fn sums_put_back_give_the_whole() {
    for rows in [1, 5, 64] {
        let parts = network(rows).expect("there are sums");
        let Part::Outer { size, right, .. } = parts[0] else { panic!("{parts:?}") };
        assert_eq!(size, [rows, 3, 7]);
        // The bias has the same factor; it is a sum only if there is more than one row.
        if rows > 1 {
            assert_eq!(parts[1], Part::Rows { size: [rows, 7], of: right });
        }
        assert!(matches!(parts[2], Part::Outer { size: [_, 7, 3], .. }), "{parts:?}");
        assert!(matches!(parts[3], Part::Whole(_)), "{parts:?}");
    }
}

/// Columns instead of rows: a product with a single one is one of rows as well.
#[test]
fn a_matrix_times_a_vector() {
    let shapes = [vec![4], vec![6, 4], vec![6]].map(Shape::from);
    let parts = parts(&shapes, |_, x| Ok(vec![(x[1].matmul(x[0]) + x[2]).tanh()])).unwrap();
    assert!(matches!(parts[0], Part::Outer { size: [1, 6, 4], .. }), "{parts:?}");
    assert!(matches!(parts[1], Part::Whole(_)), "{parts:?}");
}

/// A batch of several axes; a weight that is stored transposed, for which the factors change sides; and a
/// number that is added to all, a sum of too many entries.
#[test]
fn other_forms() {
    let shapes = [vec![2, 5, 3], vec![7, 3], vec![5, 7], vec![]].map(Shape::from);
    let parts = parts(&shapes, |_, x| Ok(vec![(x[0].matmul(x[1].t()) + x[2] + x[3]).tanh()]));
    let parts = parts.unwrap();
    assert!(matches!(parts[0], Part::Outer { size: [10, 7, 3], .. }), "{parts:?}");
    assert!(matches!(parts[1], Part::Rows { size: [2, 35], .. }), "{parts:?}");
    assert!(matches!(parts[2], Part::Whole(_)), "{parts:?}");
}

/// Large products of more rows, and the bias beside one of them; what is small stays where it is.
#[test]
fn large_sums_over_many_rows() {
    let shapes = [vec![100, 200], vec![200, 210], vec![1, 210], vec![210, 3], vec![1, 3]];
    let parts = parts(&shapes.map(Shape::from), |_, x| {
        let h = ((x[0] * 0.01).matmul(x[1]) + x[2]).tanh();
        Ok(vec![h.matmul(x[3]) + x[4]])
    });
    let parts = parts.expect("there are sums");
    let Part::Outer { size, right, .. } = parts[0] else { panic!("{parts:?}") };
    assert_eq!(size, [100, 200, 210]);
    assert_eq!(parts[1], Part::Rows { size: [100, 210], of: right });
    assert!(matches!(parts[2..], [Part::Whole(_), Part::Whole(_)]), "{parts:?}");
}

/// A model with transposed weights, as other frameworks store them.
#[test]
fn transposed_weights() {
    for rows in [1, 6] {
        let shapes = [vec![rows, 3], vec![7, 3], vec![7], vec![2, 7]].map(Shape::from);
        let parts = parts(&shapes, |_, x| {
            Ok(vec![(x[0].matmul(x[1].t()) + x[2]).tanh().matmul(x[3].t()).sin()])
        });
        let parts = parts.expect("there are sums");
        let Part::Outer { size, left, .. } = parts[0] else { panic!("{parts:?}") };
        assert_eq!(size, [rows, 7, 3]);
        if rows > 1 {
            assert_eq!(parts[1], Part::Rows { size: [rows, 7], of: left });
        }
        assert!(matches!(parts[2], Part::Outer { size: [_, 2, 7], .. }), "{parts:?}");
    }
}

/// Long sums of small products stay where they are, and so does what is no sum.
#[test]
fn nothing_to_take_out() {
    assert_eq!(network(1000), None);
    let sine = parts(&[Shape::from([4]), Shape::from([4])], |_, x| Ok(vec![x[0].sin() * x[1]]));
    assert_eq!(sine, None);
}
