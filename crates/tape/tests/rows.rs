//! Programs that are split into blocks of rows: the results of recording, and the same bits for any
//! number of threads.

use std::ops::Range;

use costate_tape::Real;
use costate_tape::{Function, Program, Result, Tape, Var, Workspace};
use ndarray::{ArrayD, IxDyn};

fn numbers<T: Real>(shape: &[usize], seed: f64) -> ArrayD<T> {
    let mut i = seed;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1.0;
        T::from_f64((i * 0.618_034).fract() - 0.5)
    })
}

type Body<T> = for<'t> fn(&'t Tape<T>, &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>>;

/// Compiles `f` with its gradient, compares with recording and for one to three threads, and
/// returns the programs as text.
fn run<T: Real>(f: Body<T>, inputs: &[ArrayD<T>]) -> String {
    let function = Function::trace(inputs, f).unwrap();
    let wrt: Vec<usize> = (0..inputs.len()).collect();
    let vjp = function.vjp(&wrt).unwrap();
    let seeds: Vec<ArrayD<T>> = function.output_shapes().iter().map(|s| numbers(s, 77.0)).collect();
    let given: Vec<ArrayD<T>> = inputs.iter().chain(&seeds).cloned().collect();
    compare(&function, inputs) + &compare(&vjp, &given)
}

/// Compares a program with recording and for one to three threads, and returns it as text.
fn compare<T: Real>(function: &Function<T>, inputs: &[ArrayD<T>]) -> String {
    let program = Program::compile(function).unwrap();
    let text = program.to_string();
    let tape = Tape::new();
    let vars: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
    let expected: Vec<ArrayD<T>> =
        function.inline(&tape, &vars).unwrap().iter().map(|y| y.value()).collect();
    let slices: Vec<&[T]> = inputs.iter().map(|x| x.as_slice().unwrap()).collect();
    let replay = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut workspace = Workspace::new(&program);
            let read: Vec<Vec<T>> = {
                let outputs = program.evaluate(&mut workspace, &slices).unwrap();
                (0..expected.len()).map(|i| outputs.get(i).to_vec()).collect()
            };
            let mut written: Vec<Vec<T>> =
                expected.iter().map(|y| vec![T::zero(); y.len()]).collect();
            let mut places: Vec<&mut [T]> = written.iter_mut().map(|y| &mut y[..]).collect();
            program.run(&mut workspace, &slices, &mut places).unwrap();
            assert_eq!(read, written, "the two ways to read results differ");
            read
        })
    };
    let one = replay(1);
    for (i, (found, expected)) in one.iter().zip(&expected).enumerate() {
        let size = expected.iter().map(|x| x.as_f64().abs()).fold(1e-3, f64::max);
        for (a, b) in found.iter().zip(expected) {
            let error = (a.as_f64() - b.as_f64()).abs();
            assert!(error <= 300.0 * T::EPSILON.as_f64() * size, "output {i}: {a} and {b}\n{text}");
        }
    }
    for threads in 2..=3 {
        for (i, (a, b)) in replay(threads).iter().zip(&one).enumerate() {
            let differ =
                a.iter().zip(b).position(|(a, b)| a.as_f64().to_bits() != b.as_f64().to_bits());
            assert_eq!(differ, None, "output {i} on {threads} threads\n{text}");
        }
    }
    text
}

/// A network on a batch: hidden layers, a constant with a row for each sample, sums along a row and
/// over the batch.
fn network<'t, T: Real>(tape: &'t Tape<T>, x: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
    let &[x, w1, b1, w2, t] = x else { panic!("five inputs") };
    let rows = x.shape()[0];
    let fixed = tape.constant(&numbers::<T>(&[rows, 3], 5.0));
    let h = (x.matmul(w1) + b1 * t).tanh();
    let y = h.matmul(w2).softplus() + fixed;
    let norms = y.square().sum_axis(1).unsqueeze(1);
    let joined = Var::concat(1, &[y, norms, h.slice_axis(1, 3..5)]);
    Ok(vec![joined, y.sum(), y.mean_axis(0), w1.sum(), joined])
}

fn networks<T: Real>(rows: usize, hidden: usize) {
    let inputs = [
        numbers::<T>(&[rows, 2], 1.0),
        numbers(&[2, hidden], 2.0),
        numbers(&[hidden], 3.0),
        numbers(&[hidden, 3], 4.0),
        numbers(&[], 5.0),
    ];
    let text = run::<T>(network, &inputs);
    assert_eq!(text.matches("in blocks of").count(), 2, "{text}");
}

#[test]
fn networks_on_a_batch_are_split() {
    networks::<f32>(512, 400);
    networks::<f64>(512, 400);
    // The last block is shorter; a block has hardly any rows; as many hidden units as samples.
    networks::<f64>(509, 400);
    networks::<f64>(37, 5000);
    networks::<f64>(400, 400);
}

/// What mixes rows is not split, or not where it mixes them.
#[test]
fn what_joins_the_rows_is_computed_as_before() {
    fn normalised<'t>(_: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>> {
        let y = x[0].tanh();
        Ok(vec![(y - y.mean_axis(0)).exp()])
    }
    fn shifted<'t>(_: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>> {
        Ok(vec![x[0].tanh().flip(0) + x[0].exp().t().t()])
    }
    fn gram<'t>(_: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>> {
        let y = x[0].tanh();
        Ok(vec![y.matmul(y.t()), y.cumsum(0)])
    }
    let x = [numbers(&[600, 300], 1.0)];
    for f in [normalised as Body<f64>, shifted, gram] {
        let text = run::<f64>(f, &x);
        assert!(!text.contains("in blocks of"), "{text}");
    }
}

/// Two parameters' sums that are joined after the blocks.
#[test]
fn what_follows_from_sums_is_computed_once() {
    fn tied<'t>(_: &'t Tape<f32>, x: &[Var<'t, f32>]) -> Result<Vec<Var<'t, f32>>> {
        let &[x, w] = x else { panic!("two inputs") };
        // The same matrix twice, and a part of it.
        let h = x.matmul(w).tanh().matmul(w.t()).tanh();
        Ok(vec![h.matmul(w.slice_axis(1, 0..7)).sum()])
    }
    let inputs = [numbers(&[1000, 40], 1.0), numbers(&[40, 50], 2.0)];
    let text = run::<f32>(tied, &inputs);
    assert!(text.contains("then, with the sums"), "{text}");
}

/// An element-wise function of a long vector is one of rows with one entry.
#[test]
fn long_vectors_are_split() {
    fn wave<'t>(_: &'t Tape<f64>, x: &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>> {
        Ok(vec![(x[0].sin() * x[1]).exp(), x[0].cos().sum()])
    }
    let inputs = [numbers(&[100_003], 1.0), numbers(&[], 2.0)];
    let text = run::<f64>(wave, &inputs);
    assert!(text.contains("in blocks of"), "{text}");
}

/// With what follows from `fixed` inputs computed before, if anything does: compares for one to three threads, and some
/// outputs, bit for bit, with those of the whole function. Returns the program as text.
fn compare_hoisted<T: Real>(
    f: &Function<T>,
    inputs: &[ArrayD<T>],
    fixed: Range<usize>,
    outputs: &[usize],
) -> String {
    let slices = |x: &[ArrayD<T>]| -> Vec<Vec<T>> {
        x.iter().map(|x| x.as_slice().unwrap().to_vec()).collect()
    };
    let evaluate = |f: &Function<T>, inputs: &[ArrayD<T>]| -> Vec<ArrayD<T>> {
        let program = Program::compile(f).unwrap();
        let mut workspace = Workspace::new(&program);
        let given = slices(inputs);
        let given: Vec<&[T]> = given.iter().map(|x| &x[..]).collect();
        let found = program.evaluate(&mut workspace, &given).unwrap();
        let shapes = program.output_shapes().enumerate();
        shapes
            .map(|(i, s)| ArrayD::from_shape_vec(IxDyn(s), found.get(i).to_vec()).unwrap())
            .collect()
    };
    let Some(parts) = f.hoist(fixed.clone()) else { return compare(f, inputs) };
    let (before, after) = inputs.split_at(fixed.end);
    let once = evaluate(&parts.once, &inputs[fixed]);
    let given: Vec<ArrayD<T>> = before.iter().chain(&once).chain(after).cloned().collect();
    let text = compare(&parts.each, &given);
    let (split, whole) = (evaluate(&parts.each, &given), evaluate(f, inputs));
    for &i in outputs {
        assert_eq!(split[i], whole[i], "output {i}\n{text}");
    }
    text
}

/// Large weights in strips: the blocks go through all layers, and what they leave is multiplied to the
/// weights' cotangents as a whole.
#[test]
fn large_weights_that_are_fixed_are_split() {
    fn layers<'t, T: Real>(_: &'t Tape<T>, x: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        let &[x, w1, b1, w2] = x else { panic!("four inputs") };
        let y = (x.matmul(w1) + b1).tanh().matmul(w2);
        Ok(vec![y, y.square().sum_axis(1)])
    }
    /// The programs there and back; where products are computed in the same way for the rows of a block,
    /// with the bits of the whole.
    fn check<T: Real>(rows: usize, [width, hidden, out]: [usize; 3], same: bool) -> [String; 2] {
        let mut inputs = vec![
            numbers::<T>(&[rows, width], 1.0),
            numbers(&[width, hidden], 2.0),
            numbers(&[hidden], 3.0),
            numbers(&[hidden, out], 4.0),
        ];
        let f = Function::trace(&inputs, layers).unwrap();
        let vjp = f.vjp(&[0, 1, 2, 3]).unwrap();
        let there = compare_hoisted(&f, &inputs, 1..4, if same { &[0, 1] } else { &[] });
        inputs.extend([numbers(&[rows, out], 77.0), numbers(&[rows], 78.0)]);
        let back = compare_hoisted(&vjp, &inputs, 1..4, if same { &[0, 1, 3] } else { &[] });
        for text in [&there, &back] {
            assert!(text.contains("in blocks of"), "{text}");
        }
        [there, back]
    }
    let sizes = [
        (256, [160, 320, 160], true),
        (250, [160, 320, 160], true),
        // A last block of one row.
        (257, [160, 320, 160], true),
        // Beside the strips, how a product is computed depends on the number of rows.
        (257, [160, 320, 90], false),
        (6400, [160, 320, 2], false),
        (2400, [160, 320, 6], false),
    ];
    for (rows, widths, same) in sizes {
        let [_, back] = check::<f32>(rows, widths, same);
        assert!(back.contains("then, with the sums"), "{back}");
    }
    check::<f64>(160, [160, 320, 160], true);
    // Small weights, on so many rows that threads would share their products.
    check::<f32>(1100, [64, 64, 64], false);
}
