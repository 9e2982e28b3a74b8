//! The checks of a solve with events: they hold for right ones, and notice wrong ones.

use costate_odeint::check::{self, NoRoom, Property, Violation, strategy};
use costate_odeint::{Auto, Method, Ode, Rodas5P, Tsit5, VarEvent};
use costate_tape::Var;
use ndarray::{ArrayD, arr1};
use proptest::prelude::*;

use super::check::is_not_solved;

type V<'t> = Var<'t, f64>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_properties_hold_for_random_events(
        random in strategy::solve_events::<f64>(
            Method::all()
                .into_iter()
                .chain(Method::symplectic())
                .chain(Method::implicit())
                .chain([Rodas5P.into(), Auto.into()])
        ),
    ) {
        let (solve, inputs) = (&random.solve, random.inputs());
        for property in Property::WITH_EVENTS {
            check::property_events(
                property,
                &solve.ode(),
                |w, t, y| Ok(random.field(w, t, y)),
                |w| random.events(w),
                &inputs,
                &solve.ts,
                solve.seed,
            )
            .map_err(|e| match e.is::<NoRoom>() || is_not_solved(&e) {
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

/// An event at one of the times: the state is the one before it, and stays so where the event moves.
#[test]
fn an_event_at_a_time() {
    check::solve_events(
        &Ode::new(Tsit5),
        |w, _, y: V<'_>| Ok(y * at(w[0], 0)),
        |w| vec![VarEvent::new(|t, _| t - at(w[0], 1)).change(|_, y| 2.0 * y)],
        &[arr1(&[1.0]).into_dyn(), arr1(&[0.5, 1.0]).into_dyn()],
        &[0.0, 1.0, 2.0],
    )
    .unwrap();
}

/// An event just after another one leaves no room for differences.
#[test]
fn two_events_that_almost_coincide() {
    let e = check::property_events(
        Property::Differences,
        &Ode::new(Tsit5),
        |w, _, y: V<'_>| Ok(y * at(w[0], 0)),
        |w| {
            let double = |i| VarEvent::new(move |t, _| t - at(w[0], i)).change(|_, y| 2.0 * y);
            vec![double(1), double(2)]
        },
        &[arr1(&[1.0]).into_dyn(), arr1(&[0.5, 1.0, 1.0 + 1e-10]).into_dyn()],
        &[0.0, 2.0],
        0,
    )
    .unwrap_err();
    assert!(e.is::<NoRoom>(), "{e}");
}
