//! The public strategies, used as a user's property tests use them.

use costate_tape::check::{self, strategy};
use costate_tape::{CallError, CallOp, CallRule, Evaluation, Shape, Var};
use ndarray::ArrayD;
use proptest::prelude::*;
use std::sync::Arc;

fn passes(result: Result<(), impl std::fmt::Display>) -> Result<(), TestCaseError> {
    result.map_err(|e| TestCaseError::fail(e.to_string()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn pairs_broadcast((a, b) in strategy::broadcasting_arrays::<f64>(3, 4, 0.5..2.0)) {
        prop_assert!(costate_ops::broadcast_shape(a.shape(), b.shape()).is_some());
        passes(check::gradient(|_, x| Ok(x[0] / x[1] + (x[0] * x[1]).sqrt()), &[a, b]))?;
    }

    #[test]
    fn networks_are_differentiated_twice(
        (net, x) in strategy::network::<f64>(2, 1)
            .prop_flat_map(|net| (Just(net), strategy::array(&[3, 2], -1.0..1.0)))
    ) {
        let inputs: Vec<ArrayD<f64>> = net.weights.iter().cloned().chain([x]).collect();
        passes(check::gradient(
            |tape, v| {
                let (x, weights) = v.split_last().expect("weights and x");
                let y = net.apply(weights, *x);
                Ok(y.sin().sum() + tape.vjp(&[y], &[y.cos()], &[*x])?[0].square().sum())
            },
            &inputs,
        ))?;
    }
}

/// `x²` whose reverse rule forgets the 2.
#[derive(Debug)]
struct Wrong;

impl CallOp<f64> for Wrong {
    fn name(&self) -> &str {
        "wrong_square"
    }
    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        vec![inputs[0].clone()]
    }
    fn eval(&self, e: &mut Evaluation<'_, f64>) -> Result<(), CallError> {
        e.output.iter_mut().zip(e.inputs[0].data).for_each(|(y, x)| *y = x * x);
        Ok(())
    }
    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, f64>,
        cts: &[Option<Var<'t, f64>>],
    ) -> costate_tape::Result<Vec<Option<Var<'t, f64>>>> {
        Ok(vec![cts[0].map(|g| g * rule.inputs[0])])
    }
    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, f64>,
        dots: &[Option<Var<'t, f64>>],
    ) -> costate_tape::Result<Vec<Option<Var<'t, f64>>>> {
        Ok(vec![dots[0].map(|dot| dot * rule.inputs[0] * 2.0)])
    }
}

/// A wrong rule is found, with the entry, both numbers and the line that recorded the operation.
#[test]
fn a_wrong_rule_is_caught_and_named() {
    let x = ndarray::arr1(&[0.5, 3.0]).into_dyn();
    let line = line!() + 2;
    let e =
        check::gradient(|tape, x| Ok(tape.call(Arc::new(Wrong), &[x[0].sin()])?[0].exp()), &[x])
            .unwrap_err();
    let mismatch = e.downcast_ref::<check::Mismatch>().expect("a mismatch");
    let culprit = mismatch.culprit.clone().expect("a culprit");
    assert_eq!(culprit.operation, "wrong_square");
    assert!(culprit.line.file().ends_with("strategies.rs"));
    assert_eq!(culprit.line.line(), line);
    let (input, entry) = mismatch.at.expect("an entry");
    assert!(input == 0 && entry < 2);
    // The two differ by the factor that was forgotten.
    assert!((mismatch.other - 2.0 * mismatch.reverse).abs() < 1e-12 * mismatch.other.abs());
    let text = e.to_string();
    assert!(text.contains("wrong_square") && text.contains("strategies.rs"), "{text}");
}

/// What fails is shrunk: to few axes, small lengths and small entries.
#[test]
fn failures_shrink() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let e = runner
        .run(&strategy::any_array::<f64>(3, 4, 0.5..2.0), |x| {
            passes(check::gradient(|_, x| Ok(x[0] * x[0].detach()), &[x]))
        })
        .unwrap_err();
    let proptest::test_runner::TestError::Fail(_, x) = e else { panic!("{e}") };
    assert!(x.len() == 1, "{x}");
}

/// A rule that is right by itself, but whose own derivative is not, is caught at order 2.
#[test]
fn higher_derivatives_are_checked() {
    fn cube<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
        x.square() * x
    }
    let x = ndarray::arr1(&[0.5, 3.0]).into_dyn();
    check::derivatives(4, |_, x| Ok(cube(x[0]).sin()), std::slice::from_ref(&x)).unwrap();
    check::derivatives(0, |_, x| Ok(x[0]), std::slice::from_ref(&x)).unwrap();

    /// `x²`, whose rules hold for first derivatives only.
    #[derive(Debug)]
    struct Cut;
    impl CallOp<f64> for Cut {
        fn name(&self) -> &str {
            "cut_square"
        }
        fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
            vec![inputs[0].clone()]
        }
        fn eval(&self, e: &mut Evaluation<'_, f64>) -> Result<(), CallError> {
            e.output.iter_mut().zip(e.inputs[0].data).for_each(|(y, x)| *y = x * x);
            Ok(())
        }
        fn vjp<'t>(
            &self,
            rule: &CallRule<'_, 't, f64>,
            cts: &[Option<Var<'t, f64>>],
        ) -> costate_tape::Result<Vec<Option<Var<'t, f64>>>> {
            Ok(vec![cts[0].map(|g| g * rule.inputs[0].detach() * 2.0)])
        }
        fn jvp<'t>(
            &self,
            rule: &CallRule<'_, 't, f64>,
            dots: &[Option<Var<'t, f64>>],
        ) -> costate_tape::Result<Vec<Option<Var<'t, f64>>>> {
            Ok(vec![dots[0].map(|dot| dot * rule.inputs[0].detach() * 2.0)])
        }
    }
    check::derivatives(1, |tape, x| Ok(tape.call(Arc::new(Cut), x)?[0]), std::slice::from_ref(&x))
        .unwrap();
    let error = check::derivatives(2, |tape, x| Ok(tape.call(Arc::new(Cut), x)?[0]), &[x]);
    assert!(error.is_err());
}
