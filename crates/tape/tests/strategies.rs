//! The public strategies, used as a user's property tests use them.

use costate_tape::check::{self, strategy};
use ndarray::ArrayD;
use proptest::prelude::*;

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
