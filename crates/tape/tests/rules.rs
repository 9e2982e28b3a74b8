//! Every operation's two rules, against each other and against finite differences, to second
//! order, in both element types, over shapes that include 0-d, empty and broadcast.

mod cases;

use cases::{Apply, binary, for_every_case, unary};
use costate_ops::{Binary, Real, Unary};
use costate_tape::{Tape, Var, check};
use ndarray::ArrayD;
use proptest::test_runner::TestCaseError;

/// Checks `f`, and the gradient of `f`, so that the rules of what its rules emit are checked too.
fn check_twice<T: Real>(name: &str, f: Apply<T>, x: &[ArrayD<T>]) -> Result<(), TestCaseError> {
    let fail = |order: &str, e: Box<dyn std::error::Error + Send + Sync>| {
        let shapes: Vec<_> = x.iter().map(|x| x.shape().to_vec()).collect();
        TestCaseError::fail(format!("{name} of {} {shapes:?}, {order}: {e}", T::NAME))
    };
    check::gradient(f, x).map_err(|e| fail("first order", e))?;
    check::gradient(
        |tape, x| {
            let y = f(tape, x)?;
            let bars = tape.vjp(&[y], &[y.cos()], x)?;
            let flat: Vec<_> = bars.iter().map(|g| g.reshape([g.shape().numel()])).collect();
            Ok(Var::concat(0, &flat))
        },
        x,
    )
    .map_err(|e| fail("second order", e))
}

#[test]
fn every_rule_in_f64() {
    for_every_case::<f64>(check_twice);
}

#[test]
fn every_rule_in_f32() {
    for_every_case::<f32>(check_twice);
}

/// An element-wise kernel that is on the tape but not in the tables above fails here.
#[test]
fn every_kernel_has_a_rule_test() {
    let unary: Vec<_> = unary::<f64>().iter().map(|case| case.0).collect();
    for f in Unary::ALL {
        assert!(unary.contains(&f.name()), "{} is not tested", f.name());
    }
    let binary: Vec<_> = binary::<f64>().iter().map(|case| case.0).collect();
    for f in Binary::ALL {
        assert!(binary.contains(&f.name()), "{} is not tested", f.name());
    }
}

/// `detach` has derivative 0 by definition, which finite differences do not see.
#[test]
fn detach_stops_both_modes() -> costate_tape::Result<()> {
    let tape = Tape::new();
    let x = tape.scalar(3.0);
    let y = x * x.detach();
    assert_eq!(y.item(), 9.0);
    assert_eq!(y.grad(&[x])?[0].item(), 3.0);
    assert_eq!(tape.jvp(&[y], &[x], &[tape.scalar(2.0)])?[0].item(), 6.0);
    Ok(())
}
