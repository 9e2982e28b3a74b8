//! No operation without a test of its rules: the table of cases in `tests/cases`, over which
//! `tests/rules.rs`, `tests/programs.rs` and `tests/vmap.rs` run, records every one of them.

#[path = "../../tests/cases/mod.rs"]
#[allow(dead_code, missing_docs)]
mod cases;

use std::cell::RefCell;

use crate::Tape;
use crate::op::Op;

/// The number of an operation. A new one does not compile until it is given a number here, and
/// then fails the test below until it has a case.
fn number(op: &Op<f64>) -> usize {
    match op {
        Op::Const => 0,
        Op::Unary(_) => 1,
        Op::Binary(_) => 2,
        Op::Affine { .. } => 3,
        Op::Powi(_) => 4,
        Op::LinComb(_) => 5,
        Op::Select => 6,
        Op::MatMul { .. } => 7,
        Op::MatMulBatch { .. } => 8,
        Op::Solve => 9,
        Op::SolveTriangular { .. } => 10,
        Op::LogDet => 11,
        Op::Expand => 12,
        Op::SumTo => 13,
        Op::Reshape => 14,
        Op::Permute(_) => 15,
        Op::Slice(_) => 16,
        Op::Pad(_) => 17,
        Op::Concat { .. } => 18,
        Op::MaxAxis { .. } => 19,
        Op::CumSum { .. } => 20,
        Op::Gather { .. } => 21,
        Op::ScatterAdd { .. } => 22,
        Op::Detach => 23,
        // A leaf without a value, and the open end: `CallOp` brings its own rules and tests.
        Op::Input | Op::Call(_) | Op::Project { .. } => 24,
    }
}

#[test]
fn every_operation_is_in_the_table() {
    let seen = RefCell::new([false; 25]);
    cases::for_every_case::<f64>(|_, f, x| {
        let tape = Tape::new();
        let x: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
        let y = f(&tape, &x).expect("no case fails");
        tape.vjp(&[y], &[y.cos()], &x).expect("no case fails");
        for node in tape.graph().borrow().nodes.iter() {
            seen.borrow_mut()[number(&node.op)] = true;
        }
        Ok(())
    });
    let missing: Vec<usize> = (0..24).filter(|&i| !seen.borrow()[i]).collect();
    assert!(missing.is_empty(), "operations {missing:?} have no case in tests/cases");
}
