//! Traces of Jacobians: with their terms merged they are what they were, and take fewer products.

use costate_tape::{Function, Program, Result, Shape, Tape, Var, Workspace};
use proptest::prelude::*;

fn run(f: &Function<f64>) -> Vec<Vec<f64>> {
    let program = Program::compile(f).unwrap();
    let mut workspace = Workspace::new(&program);
    let shapes = f.input_shapes();
    let inputs: Vec<Vec<f64>> = (1..)
        .zip(&shapes)
        .map(|(i, s)| (0..s.numel()).map(|j| ((i * 31 + j) as f64 * 0.618).sin() * 0.7).collect())
        .collect();
    let inputs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
    let outputs = program.evaluate(&mut workspace, &inputs).unwrap();
    (0..f.output_shapes().len()).map(|i| outputs.get(i).to_vec()).collect()
}

/// How many products a function takes, those that follow from inputs after the first alone left out.
fn products(f: &Function<f64>) -> usize {
    let f = f.hoist(1..f.input_shapes().len()).map_or(f.clone(), |parts| parts.each);
    Program::compile(&f).unwrap().to_string().matches("matmul").count()
}

/// The function and its derivatives, with the terms of traces merged and without.
fn check(f: &Function<f64>) -> Function<f64> {
    let inputs = f.input_shapes().len();
    let merged = f.merge_traces(0, 1..inputs);
    assert_eq!(merged.output_shapes(), f.output_shapes());
    let all: Vec<usize> = (0..inputs).collect();
    for (found, expected) in
        [(run(&merged), run(f)), (run(&merged.vjp(&all).unwrap()), run(&f.vjp(&all).unwrap()))]
    {
        let size = |x: &[f64]| x.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found.len(), expected.len());
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() <= 1e-12 * (1.0 + size(expected)), "{a} and {b}");
            }
        }
    }
    merged
}

/// Networks, and ways to write down their traces.
#[derive(Clone, Debug)]
struct Case {
    rows: usize,
    width: usize,
    hidden: Vec<usize>,
    activations: Vec<u8>,
    forward: bool,
    sum: u8,
    transposed: bool,
    residual: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let hidden = prop::collection::vec(1..24usize, 1..4);
    let activations = prop::collection::vec(0..5u8, 3);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0..4u8);
    (2..40usize, 1..4usize, hidden, activations, flags).prop_map(
        |(rows, width, hidden, activations, (forward, transposed, residual, sum))| Case {
            rows,
            width,
            hidden,
            activations,
            forward,
            sum,
            transposed,
            residual,
        },
    )
}

impl Case {
    /// The value and the trace of a network of `x[0]` with weights and biases `x[1..]`.
    fn function(&self) -> Function<f64> {
        let mut shapes = vec![Shape::from([self.rows, self.width])];
        let mut last = self.width;
        for &next in self.hidden.iter().chain([&self.width]) {
            shapes.push(if self.transposed { [next, last].into() } else { [last, next].into() });
            shapes.push([next].into());
            last = next;
        }
        Function::trace_shapes(&shapes, |tape, x| {
            let y = self.network(x);
            Ok(vec![y, self.trace(tape, x[0], y)?])
        })
        .unwrap()
    }

    fn network<'t>(&self, x: &[Var<'t, f64>]) -> Var<'t, f64> {
        let mut y = x[0];
        for (i, layer) in x[1..].chunks(2).enumerate() {
            let weights = if self.transposed { layer[0].t() } else { layer[0] };
            let sum = y.matmul(weights) + layer[1];
            if i == self.hidden.len() {
                return sum;
            }
            let next = match self.activations[i] {
                0 => sum.tanh(),
                1 => sum.sigmoid(),
                2 => sum.softplus(),
                3 => sum.sin().scale(0.5),
                _ => sum.square(),
            };
            y = if self.residual && next.shape() == y.shape() {
                y + next.scale(-0.3)
            } else {
                next
            };
        }
        unreachable!("the last layer is linear")
    }

    fn trace<'t>(
        &self,
        tape: &'t Tape<f64>,
        x: Var<'t, f64>,
        y: Var<'t, f64>,
    ) -> Result<Var<'t, f64>> {
        let mut entries = Vec::new();
        for i in 0..self.width {
            let unit = tape.eye(self.width).slice_axis(0, i..i + 1).broadcast_to(x.shape());
            let row = match self.forward {
                true => tape.jvp(&[y], &[x], &[unit])?[0],
                false => y.slice_axis(1, i..i + 1).sum().grad(&[x])?[0],
            };
            entries.push(row.slice_axis(1, i..i + 1));
        }
        Ok(match self.sum {
            0 => Var::concat(1, &entries).sum_axis(1),
            1 => -entries.into_iter().reduce(|a, b| a + b).unwrap(),
            2 => {
                let columns: Vec<_> = entries.iter().map(|x| x.reshape([self.rows])).collect();
                let c: Vec<f64> = (0..self.width).map(|i| 1.0 - 0.3 * i as f64).collect();
                Var::lincomb(&c, &columns).unwrap()
            }
            // With something else in the sum.
            _ => {
                let other = x.sin().slice_axis(1, 0..1);
                entries.into_iter().fold(other, |sum, entry| sum - entry.scale(0.5))
            }
        })
    }
}

proptest! {
    #[test]
    fn traces_stay_what_they_are(case in cases()) {
        check(&case.function());
    }
}

fn case(hidden: &[usize]) -> Case {
    Case {
        rows: 64,
        width: 3,
        hidden: hidden.to_vec(),
        activations: vec![0, 1, 2],
        forward: true,
        sum: 0,
        transposed: false,
        residual: false,
    }
}

/// Whatever way it is written down, a trace takes one large product more than the value, or with one
/// hidden layer none.
#[test]
fn fewer_products() {
    for forward in [true, false] {
        for sum in 0..4 {
            for transposed in [false, true] {
                let way = Case { forward, sum, transposed, ..case(&[32, 32]) };
                assert_eq!(products(&check(&way.function())), 4, "{way:?}");
                // The product with the derivative of the hidden layer has one column.
                let one = Case { hidden: vec![32], ..way };
                assert_eq!(products(&check(&one.function())), 3, "{one:?}");
            }
        }
    }
    // Terms that go through one layer and through two.
    let residual = Case { residual: true, ..case(&[32, 32]) };
    let before = products(&residual.function());
    assert!(products(&check(&residual.function())) < before);
    // With three hidden layers there is no such formula.
    let three = case(&[32, 32, 32]).function();
    assert_eq!(products(&check(&three)), products(&three));
}

/// What is needed by itself as well is not merged.
#[test]
fn entries_that_are_outputs() {
    let shapes = [[64, 2], [2, 32], [32, 32], [32, 2]].map(Shape::from);
    let f = Function::trace_shapes(&shapes, |tape, x| {
        let y = x[0].matmul(x[1]).tanh().matmul(x[2]).tanh().matmul(x[3]);
        let mut columns = vec![];
        for i in 0..2 {
            let unit = tape.eye(2).slice_axis(0, i..i + 1).broadcast_to([64, 2]);
            columns.push(tape.jvp(&[y], &[x[0]], &[unit])?[0]);
        }
        let trace = columns[0].slice_axis(1, 0..1) + columns[1].slice_axis(1, 1..2);
        Ok(vec![trace, columns[0], columns[1]])
    })
    .unwrap();
    assert_eq!(products(&check(&f)), products(&f));
}

/// What is the same in every row is computed for one, whether it is a row repeated or a constant.
#[test]
fn rows_that_are_alike() {
    let shapes = [vec![16, 2], vec![4, 8], vec![8]].map(Shape::from);
    let f = Function::trace_shapes(&shapes, |tape, x| {
        let unit = tape.leaf(&[0.0, 1.0, 0.5, 2.0].repeat(16), [16, 4]);
        let alike = (unit.matmul(x[1]) + x[2]).sin().pad(1, 1, 0).slice_axis(1, 0..8);
        let all = Var::concat(1, &[alike, x[0].square()]);
        Ok(vec![all, alike, unit, alike.sum_axis(1), alike.sum_axis(0)])
    })
    .unwrap();
    let merged = check(&f);
    let text = Program::compile(&merged).unwrap().to_string();
    assert!(text.contains("sin @") && !text.contains("[16, 8] = sin"), "{text}");
    assert!(text.contains("[1, 8]"), "{text}");
}

/// What is cut off from differentiation stays so, beside the same entries that are not.
#[test]
fn detached_values() {
    let shapes = [[8, 4], [4, 4]].map(Shape::from);
    let f = Function::<f64>::trace_shapes(&shapes, |_, x| {
        let h = x[0].matmul(x[1]).tanh();
        let cut = h.detach() * h.fresh();
        let cut_first = x[0].detach() + x[0].fresh();
        Ok(vec![cut, cut_first * x[0], h.fresh() * x[0].detach()])
    })
    .unwrap();
    check(&f);
}

/// Batches of one row, without columns, and without rows.
#[test]
fn small_and_empty() {
    for (rows, width) in [(1, 2), (2, 1), (0, 2), (1, 1)] {
        check(&Case { rows, width, ..case(&[4, 4]) }.function());
    }
}

/// Long sums are not gone through to their ends.
#[test]
fn long_sums() {
    let long = |terms: usize| {
        let shapes = [[16, 1], [1, 16], [16, 1]].map(Shape::from);
        Function::trace_shapes(&shapes, |_, x| {
            let h = x[0].matmul(x[1]).tanh();
            let y = h.matmul(x[2]);
            let sum = (0..terms).fold(y, |sum, i| sum + y.scale(i as f64 * 1e-5));
            let doubled = (0..terms.min(200)).fold(y.sin(), |sum, _| sum + sum);
            let negated = (0..terms).fold(h, |h, _| -h).matmul(x[2]);
            Ok(vec![sum, doubled, negated])
        })
        .unwrap()
    };
    check(&long(600));
    long(20_000).merge_traces(0, 1..3);
}

/// A function that holds for its example inputs only stays as it is.
#[test]
fn value_dependent() {
    let x = ndarray::arr2(&[[1.0, 2.0], [3.0, 4.0]]).into_dyn();
    let f = Function::<f64>::trace(&[x], |_, x| Ok(vec![x[0].scale(x[0].to_vec()[0])])).unwrap();
    assert!(f.merge_traces(0, 1..1).is_value_dependent());
}
