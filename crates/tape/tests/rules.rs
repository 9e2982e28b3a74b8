//! Every operation's two rules, against each other and against finite differences, to second
//! order, in both element types, over shapes that include 0-d, empty and broadcast.

use crate::cases::{Apply, binary, for_every_case, unary};
use costate_ops::{Binary, Unary};
use costate_tape::Real;
use costate_tape::{Function, Tape, Var, check};
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

/// The pattern of each operation has every place where its Jacobian differs from 0.
fn check_pattern<T: Real>(name: &str, f: Apply<T>, x: &[ArrayD<T>]) -> Result<(), TestCaseError> {
    let trace = Function::trace(x, |tape, x| Ok(vec![f(tape, x)?])).unwrap();
    if trace.is_value_dependent() {
        return Ok(());
    }
    for wrt in 0..x.len() {
        let Some(pattern) = trace.sparsity(0, wrt) else { continue };
        let tape = Tape::new();
        let x: Vec<_> = x.iter().map(|x| tape.constant(x)).collect();
        let columns = x[wrt].shape().numel();
        let jacobian = f(&tape, &x).unwrap().jacobian(x[wrt]).unwrap().to_vec();
        for (ij, entry) in jacobian.into_iter().enumerate() {
            let place = (ij / columns, ij % columns);
            if entry != T::zero() && !pattern.contains(&place) {
                return Err(TestCaseError::fail(format!("{name}: {place:?} is {entry:?}")));
            }
        }
    }
    Ok(())
}

#[test]
fn patterns_cover_jacobians() {
    for_every_case::<f64>(check_pattern);
}

/// Patterns are no larger than they need be: a stencil by slices, by gathering and by a constant
/// matrix; a sum; a broadcast.
#[test]
fn patterns_are_sharp() -> costate_tape::Result<()> {
    const N: usize = 6;
    let x = ArrayD::from_elem(vec![N], 1.0);
    let pattern = |f: Apply<f64>| {
        let f = Function::trace(std::slice::from_ref(&x), |tape, x| Ok(vec![f(tape, x)?]));
        f.map(|f| f.sparsity(0, 0).unwrap())
    };
    let around = |i: usize| [(i + N - 1) % N, i, (i + 1) % N];
    let mut stencil: Vec<_> = (0..N).flat_map(|i| around(i).map(|j| (i, j))).collect();
    stencil.sort_unstable();
    let by_slices: Apply<f64> = |_, x| {
        let x = x[0];
        let left = Var::concat(0, &[x.slice_axis(0, N - 1..N), x.slice_axis(0, 0..N - 1)]);
        let right = Var::concat(0, &[x.slice_axis(0, 1..N), x.slice_axis(0, 0..1)]);
        Ok((left - 2.0 * x + right).tanh())
    };
    assert_eq!(pattern(by_slices)?, stencil);
    let by_gathering: Apply<f64> = |_, x| {
        let left: Vec<usize> = (0..N).map(|i| (i + N - 1) % N).collect();
        let right: Vec<usize> = (0..N).map(|i| (i + 1) % N).collect();
        Ok(x[0].gather(0, left) * x[0].exp() + x[0].gather(0, right))
    };
    assert_eq!(pattern(by_gathering)?, stencil);
    let by_a_matrix: Apply<f64> = |tape, x| {
        let mut matrix = [0.0; N * N];
        for i in 0..N {
            [(i + N - 1) % N, i, (i + 1) % N].iter().for_each(|j| matrix[i * N + j] = 1.5);
        }
        Ok(tape.leaf(&matrix, [N, N]).matmul(x[0].reshape([N, 1])))
    };
    assert_eq!(pattern(by_a_matrix)?, stencil);
    let sums: Apply<f64> = |_, x| Ok(x[0].reshape([2, 3]).sum_axis(1));
    assert_eq!(pattern(sums)?, [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]);
    Ok(())
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
