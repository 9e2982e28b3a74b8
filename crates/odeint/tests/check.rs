//! The checks of a solve: they hold for right fields, and notice wrong ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use costate_odeint::check::{self, CheckError, Property, Violation, strategy};
use costate_odeint::{
    Auto, Bdf, Bosh3, Dopri5, ErrorKind, Heun, KenCarp4Imex, Method, Ode, Rk4, Rodas5P, Scheme,
    Tsit5,
};
use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Var};
use ndarray::{ArrayD, arr1, arr2};
use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

type V<'t> = Var<'t, f64>;

/// Whether stages could not be solved for: equal steps may be too long.
pub fn is_not_solved(e: &CheckError) -> bool {
    let kind = |e: &costate_tape::Error| {
        let e = e.call_error().and_then(|e| e.downcast_ref::<costate_odeint::Error>());
        e.is_some_and(|e| {
            matches!(e.kind(), ErrorKind::Diverged { .. } | ErrorKind::NoConvergence { .. })
        })
    };
    e.downcast_ref().is_some_and(kind)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_properties_hold_for_random_fields(
        random in strategy::solve::<f64>(
            Method::all()
                .into_iter()
                .chain(Method::symplectic())
                .chain(Method::implicit())
                .chain([Rodas5P.into(), Auto.into(), KenCarp4Imex.into(), Bdf.into()])
                .chain([
                    Scheme::ReversibleHeun.into(),
                    Scheme::AsynchronousLeapfrog.into(),
                    Scheme::coupled(Rk4, 0.999).into(),
                    Scheme::coupled(Tsit5, 0.99).into(),
                ])
        ),
    ) {
        let (ode, inputs) = (random.ode(), random.inputs());
        for property in Property::ALL {
            check::property(
                property,
                &ode,
                |w, t, y| Ok(random.field(w, t, y)),
                &inputs,
                &random.ts,
                random.seed,
            )
                .map_err(|e| match is_not_solved(&e) {
                    true => TestCaseError::reject(e.to_string()),
                    false => TestCaseError::fail(e.to_string()),
                })?;
        }
    }

    #[test]
    fn single_precision(random in strategy::solve::<f32>([Tsit5.into(), Bosh3.into()])) {
        let (ode, inputs) = (random.ode(), random.inputs());
        for property in Property::ALL {
            check::property(
                property,
                &ode,
                |w, t, y| Ok(random.field(w, t, y)),
                &inputs,
                &random.ts,
                random.seed,
            )
                .map_err(|e| TestCaseError::fail(e.to_string()))?;
        }
    }
}

/// What is wrong with an operation that computes the sine.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Reverse mode is wrong by a hundredth.
    Factor,
    /// Forward mode is.
    Forward,
    /// Reverse mode is not linear.
    NotLinear,
    /// Reverse mode gives something from nothing.
    Offset,
    /// The result depends on how often it was computed.
    Impure,
}

#[derive(Debug)]
struct Sine(Fault, AtomicUsize);

impl CallOp<f64> for Sine {
    fn name(&self) -> &str {
        "my_sine"
    }
    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        vec![inputs[0].clone()]
    }
    fn eval(&self, e: &mut Evaluation<'_, f64>) -> std::result::Result<(), CallError> {
        let count = self.1.fetch_add(1, Ordering::Relaxed);
        let factor = if self.0 == Fault::Impure { 1.0 + 1e-2 * (count as f64).sin() } else { 1.0 };
        e.output.iter_mut().zip(e.inputs[0].data).for_each(|(y, x)| *y = factor * x.sin());
        Ok(())
    }
    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, f64>,
        g: &[Option<V<'t>>],
    ) -> Result<Vec<Option<V<'t>>>> {
        let right = |g: V<'t>| g * rule.inputs[0].cos();
        Ok(vec![g[0].map(|g| match self.0 {
            Fault::Factor => right(g) * 1.01,
            Fault::NotLinear => right(g + g.square() * 0.1),
            Fault::Offset => right(g) + 1e-4,
            _ => right(g),
        })])
    }
    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, f64>,
        d: &[Option<V<'t>>],
    ) -> Result<Vec<Option<V<'t>>>> {
        let factor = if self.0 == Fault::Forward { 1.01 } else { 1.0 };
        Ok(vec![d[0].map(|d| d * rule.inputs[0].cos() * factor)])
    }
}

fn inputs() -> Vec<ArrayD<f64>> {
    vec![arr1(&[0.7, -0.4]).into_dyn(), arr2(&[[0.3, 1.1], [-0.8, 0.2]]).into_dyn()]
}

/// The check of one property of a field with such a sine.
fn check_with(fault: Fault, property: Property, ode: &Ode) -> std::result::Result<(), String> {
    let sine = Arc::new(Sine(fault, AtomicUsize::new(0)));
    check::property(
        property,
        ode,
        |w, t, y| Ok(y.tape().call(sine.clone(), &[y.matmul(w[0])])?[0] - y * t),
        &inputs(),
        &[0.0, 0.3, 1.6],
        7,
    )
    .map_err(|e| {
        let violation: &Violation = e.downcast_ref().unwrap_or_else(|| panic!("{e}"));
        assert_eq!(violation.property, property);
        e.to_string()
    })
}

/// Each check notices the faults that it is for.
#[test]
fn wrong_operations_are_noticed() {
    use Fault::*;
    use Property::*;
    let table: [(Fault, &[Property]); 5] = [
        (Factor, &[Invariant, Differences]),
        (Forward, &[Invariant]),
        (NotLinear, &[Linearity, Invariant, Differences]),
        (Offset, &[ZeroSeed, Linearity, Invariant, Differences]),
        (Impure, &[BackPropagation, Split, EndTimes, Batch, Permutation, Memory]),
    ];
    for ode in [Ode::new(Tsit5).tolerance(1e-4, 1e-6), Ode::new(Heun).steps(9)] {
        for (fault, noticed) in table {
            for &property in noticed {
                let message = check_with(fault, property, &ode)
                    .expect_err(&format!("{fault:?} was not noticed by the check of {property:?}"));
                assert!(message.starts_with(property.name()), "{message}");
            }
        }
        // Only the second derivative is wrong where the rule of the rule is.
        assert!(check_with(Factor, ZeroSeed, &ode).is_ok());
        assert!(check_with(Factor, Memory, &ode).is_ok());
    }
}

/// The message names the property, the place, both numbers, and the operation that is wrong.
#[test]
fn a_violation_says_what_is_wrong() {
    let message = check_with(Fault::Factor, Property::Invariant, &Ode::new(Dopri5)).unwrap_err();
    assert!(message.starts_with("constant p · δ: at t = "), "{message}");
    assert!(message.contains("`my_sine`") && message.contains("check.rs"), "{message}");
}

/// What fails shrinks to a small field.
#[test]
fn failures_shrink() {
    let config = ProptestConfig { failure_persistence: None, ..Default::default() };
    let random = strategy::solve::<f64>([Tsit5.into()]);
    let result = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(Default::default()),
    )
    .run(&random, |random| {
        let sine = Arc::new(Sine(Fault::Factor, AtomicUsize::new(0)));
        let (ode, inputs) = (random.ode(), random.inputs());
        check::property(
            Property::Invariant,
            &ode,
            |w, t, y| Ok(random.field(w, t, y.tape().call(sine.clone(), &[y])?[0])),
            &inputs,
            &random.ts,
            random.seed,
        )
        .map_err(|e| TestCaseError::fail(e.to_string()))
    });
    let Err(TestError::Fail(reason, smallest)) = result else { panic!("{result:?}") };
    assert!(reason.message().contains("my_sine"), "{reason}");
    // One component, one layer: a weight for the state, one for the time, and a bias.
    assert_eq!(smallest.network.weights.iter().map(|w| w.len()).sum::<usize>(), 3);
    assert_eq!(smallest.ts.len(), 2);
}
