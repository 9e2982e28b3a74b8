//! What programs look like: a dozen of them, as text, in `tests/golden`.
//!
//! A change of the compiler shows here. `COSTATE_BLESS=1 cargo test -p costate-tape --test golden`
//! writes the texts anew.

use std::path::Path;

use costate_tape::{Function, Program, Result, Slice, Tape, Var};
use ndarray::{ArrayD, IxDyn};

type Record = for<'t> fn(&'t Tape<f64>, &[Var<'t, f64>]) -> Result<Vec<Var<'t, f64>>>;

/// A name, the shapes of the inputs, what is recorded, and whether its reverse rule is what is
/// compiled.
const PROGRAMS: &[(&str, &[&[usize]], Record, bool)] = &[
    (
        "dead_code",
        &[&[20]],
        |_, x| {
            let _unused = x[0].exp();
            Ok(vec![x[0].matmul(x[0])])
        },
        false,
    ),
    (
        "common_subexpressions",
        &[&[20], &[20]],
        |_, x| {
            let (a, b) = ((x[0] * x[1]).sin(), (x[0] * x[1]).sin());
            Ok(vec![a + b, a.sum()])
        },
        false,
    ),
    (
        "constants",
        &[&[20]],
        |t, x| Ok(vec![x[0] * (t.scalar(2.0) * t.scalar(3.0)).square()]),
        false,
    ),
    ("views", &[&[4, 6]], |_, x| Ok(vec![x[0].reshape([24]).detach().reshape([2, 12])]), false),
    (
        "slices_and_joins",
        &[&[20, 3]],
        |_, x| {
            let even = x[0].slice(&[Slice::new(..).by(2)]);
            Ok(vec![Var::concat(0, &[even.flip(1), even]).t()])
        },
        false,
    ),
    ("choice", &[&[20], &[20]], |_, x| Ok(vec![x[0].lt(x[1]).select(x[0].exp(), x[1])]), false),
    ("softmax", &[&[10, 5]], |_, x| Ok(vec![x[0].softmax(1)]), false),
    ("row_and_number", &[&[8, 20], &[20], &[]], |_, x| Ok(vec![(x[0] + x[1]) * x[2]]), false),
    (
        "several_lengths",
        &[&[8, 20], &[20]],
        |_, x| {
            let scale = x[1].exp() + 1.0;
            Ok(vec![(x[0] * scale).tanh().sum_axis(1), scale])
        },
        false,
    ),
    (
        "mlp_field",
        &[&[8, 2], &[2, 20], &[20], &[20, 2], &[2]],
        |_, x| Ok(vec![(x[0].matmul(x[1]) + x[2]).softplus().matmul(x[3]) + x[4]]),
        false,
    ),
    (
        "mlp_field_vjp",
        &[&[8, 2], &[2, 20], &[20], &[20, 2], &[2]],
        |_, x| Ok(vec![(x[0].matmul(x[1]) + x[2]).softplus().matmul(x[3]) + x[4]]),
        true,
    ),
    (
        "lotka_volterra_vjp",
        &[&[2], &[4]],
        |_, x| {
            let (u, v) = (x[0].index_axis(0, 0), x[0].index_axis(0, 1));
            let p = |i| x[1].index_axis(0, i);
            Ok(vec![Var::stack(0, &[p(0) * u - p(1) * u * v, p(3) * u * v - p(2) * v])])
        },
        true,
    ),
    (
        "linear_systems",
        &[&[4, 4], &[4]],
        |_, x| Ok(vec![x[0].solve(x[1]), x[0].solve_triangular(x[1], true), x[0].logdet()]),
        false,
    ),
    (
        "checkpoint_vjp",
        &[&[20]],
        |t, x| Ok(vec![t.checkpoint(&[x[0]], |x| Ok(vec![x[0].sin().tanh()]))?[0]]),
        true,
    ),
];

#[test]
fn programs_look_as_they_did() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let bless = std::env::var_os("COSTATE_BLESS").is_some();
    let mut different = Vec::new();
    for (name, shapes, record, reverse) in PROGRAMS {
        // Away from zero, so that systems are regular.
        let x: Vec<ArrayD<f64>> = shapes
            .iter()
            .map(|shape| {
                let mut i = 0.0;
                ArrayD::from_shape_simple_fn(IxDyn(shape), || {
                    i += 1.0;
                    1.0 + (i * 1.618f64).sin()
                })
            })
            .collect();
        let mut function = Function::trace(&x, record).expect("no program fails");
        if *reverse {
            let wrt: Vec<usize> = (0..x.len()).collect();
            function = function.vjp(&wrt).expect("every operation has a rule");
        }
        let text = Program::compile(&function).expect("no number is read").to_string();
        let file = folder.join(format!("{name}.txt"));
        if bless {
            std::fs::write(&file, text).expect("the folder can be written to");
            continue;
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if text != expected.replace("\r\n", "\n") {
            different.push(format!("{name}:\n{text}"));
        }
    }
    assert!(different.is_empty(), "other than in tests/golden:\n{}", different.join("\n"));
}
