//! The checks of a solve with events: they hold for right ones, and notice wrong ones.

use costate_odeint::check::{self, NotSmooth, Property, Violation, strategy};
use costate_odeint::{Auto, Dopri5, ErrorKind, Heun, Kvaerno3, Ode, Rodas5P, Tsit5, VarEvent};
use costate_tape::Var;
use ndarray::{ArrayD, arr1};
use proptest::prelude::*;

type V<'t> = Var<'t, f64>;

/// Whether there is no derivative to check: of the solve, or of those near it.
fn without_derivative(e: &check::CheckError) -> bool {
    let grazes = |e: &costate_tape::Error| {
        let of_solve = e.call_error().and_then(|e| e.downcast_ref::<costate_odeint::Error>());
        of_solve.is_some_and(|e| matches!(e.kind(), ErrorKind::Grazing { .. }))
    };
    e.is::<NotSmooth>() || e.downcast_ref().is_some_and(grazes)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_properties_hold_for_random_events(
        random in strategy::solve_events::<f64>([
            Tsit5.into(), Dopri5.into(), Heun.into(), Kvaerno3.into(), Rodas5P.into(), Auto.into(),
        ]),
    ) {
        let (solve, inputs) = (&random.solve, random.inputs());
        for property in Property::WITH_EVENTS {
            check::property_events(
                property,
                &solve.ode(),
                |w, t, y| Ok(solve.field(random.of_field(w), t, y)),
                |w| random.events(w),
                &inputs,
                &solve.ts,
                solve.seed,
            )
            .map_err(|e| match without_derivative(&e) {
                true => TestCaseError::reject(e.to_string()),
                false => TestCaseError::fail(e.to_string()),
            })?;
        }
    }
}

/// Where a derivative is cut off.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Nothing,
    Field,
    Root,
    Change,
}

fn at(y: V<'_>, i: usize) -> V<'_> {
    y.index_axis(0, i)
}

fn inputs() -> Vec<ArrayD<f64>> {
    vec![arr1(&[1.0, 0.2]).into_dyn(), arr1(&[1.3, 0.4, -0.6]).into_dyn()]
}

/// A pendulum whose speed changes as it passes an angle.
fn check_with(cut: Cut, property: Property) -> Result<(), check::CheckError> {
    fn pick<'t>(cut: bool, x: V<'t>) -> V<'t> {
        if cut { x.detach() } else { x }
    }
    check::property_events(
        property,
        &Ode::new(Tsit5).tolerance(1e-5, 1e-7),
        |w, _, y| {
            let stiffness = pick(cut == Cut::Field, at(w[0], 0));
            Ok(Var::stack(0, &[at(y, 1), -stiffness * at(y, 0).sin()]))
        },
        |w| {
            let level = pick(cut == Cut::Root, at(w[0], 1));
            let factor = pick(cut == Cut::Change, at(w[0], 2));
            let passes = VarEvent::new(move |_, y| at(y, 0) - level);
            vec![passes.change(move |_, y| Var::stack(0, &[at(y, 0), factor * at(y, 1)]))]
        },
        &inputs(),
        &[0.0, 0.5, 2.0],
        3,
    )
}

#[test]
fn cut_derivatives_are_noticed() {
    for property in Property::WITH_EVENTS {
        check_with(Cut::Nothing, property).unwrap();
    }
    for cut in [Cut::Field, Cut::Root, Cut::Change] {
        let e = check_with(cut, Property::Differences).expect_err("a cut is noticed");
        let violation = e.downcast_ref::<Violation>().unwrap_or_else(|| panic!("{cut:?}: {e}"));
        assert_eq!(violation.property, Property::Differences);
        // Only one in the field is the field's own.
        assert_eq!(violation.field.is_some(), cut == Cut::Field, "{e}");
        assert!(check_with(cut, Property::Linearity).is_ok());
    }
}

/// An event at one of the times has two states on its sides: no difference is a derivative.
#[test]
fn an_event_at_a_time_is_not_smooth() {
    let e = check::solve_events(
        &Ode::new(Tsit5),
        |w, _, y: V<'_>| Ok(y * at(w[0], 0)),
        |w| vec![VarEvent::new(|t, _| t - at(w[0], 1)).change(|_, y| 2.0 * y)],
        &[arr1(&[1.0]).into_dyn(), arr1(&[0.5, 1.0]).into_dyn()],
        &[0.0, 1.0, 2.0],
    )
    .unwrap_err();
    assert!(e.is::<NotSmooth>(), "{e}");
}
