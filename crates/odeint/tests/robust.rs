//! Bad input and hard cases: each has its clear error, and nothing hangs.

use costate_odeint::{
    Auto, Bdf, Controller, ErrorKind, Euler, Event, Integrator, KenCarp4Imex, Method, Options, Rk4,
    Rodas5P, Scheme, Solver, Stepping, Tsit5, solve,
};
use proptest::prelude::*;

fn decay(_: f64, y: &[f64], dy: &mut [f64]) {
    for (dy, y) in dy.iter_mut().zip(y) {
        *dy = -y;
    }
}

fn every_method() -> Vec<Method> {
    let mut all = Method::all().to_vec();
    all.extend(Method::symplectic());
    all.extend(Method::implicit());
    all.extend([Method::from(KenCarp4Imex), Auto.into(), Rodas5P.into(), Bdf.into()]);
    let schemes =
        [Scheme::ReversibleHeun, Scheme::AsynchronousLeapfrog, Scheme::coupled(Tsit5, 0.999)];
    all.extend(schemes.map(Method::from));
    all
}

/// Adaptive where the method is.
fn options_for(method: Method) -> Options {
    match (method, method.tableau().error) {
        (Method::Multistep(_), _) | (_, Some(_)) => Options::default(),
        (_, None) => Options::steps(200),
    }
}

#[test]
fn bad_times() {
    let o = Options::default();
    let error = |ts: &[f64]| solve(Tsit5, decay, &[1.0], ts, &o).unwrap_err();
    assert!(matches!(error(&[]).kind(), ErrorKind::EmptyTimes));
    assert!(error(&[]).to_string().contains("the list of times is empty"));
    let e = error(&[0.0, 1.0, 0.5]);
    assert!(matches!(e.kind(), ErrorKind::TimesNotMonotone { index: 2, .. }));
    assert!(e.to_string().contains("time 2 is 0.5 after 1"));
    assert!(matches!(error(&[0.0, 0.0]).kind(), ErrorKind::TimesNotMonotone { index: 1, .. }));
    assert!(matches!(error(&[0.0, f64::NAN]).kind(), ErrorKind::NonFiniteTime { index: 1 }));
}

#[test]
fn one_time_gives_the_initial_state() {
    let solution = solve(Tsit5, decay, &[3.0], &[7.0], &Options::default()).unwrap();
    assert_eq!(solution.ys, [3.0]);
    assert_eq!(solution.stats.accepted, 0);
}

#[test]
fn empty_state() {
    let e = solve(Tsit5, decay, &[], &[0.0, 1.0], &Options::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::EmptyState));
    assert!(e.to_string().contains("no components"));
}

#[test]
fn bad_options() {
    for (rtol, atol) in [(-1.0, 1.0), (f64::NAN, 1.0), (1.0, -1.0), (0.0, 0.0), (1.0, f64::NAN)] {
        let e =
            solve(Tsit5, decay, &[1.0], &[0.0, 1.0], &Options::tolerance(rtol, atol)).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::BadOption { .. }), "{rtol} {atol}: {e}");
    }
    for stepping in [Stepping::Steps(0), Stepping::Fixed(0.0), Stepping::Fixed(f64::NAN)] {
        let o = Options { stepping, ..Options::default() };
        let e = solve(Rk4, decay, &[1.0], &[0.0, 1.0], &o).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::BadOption { .. }));
    }
    let e = solve(Euler, decay, &[1.0], &[0.0, 1.0], &Options::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NoErrorEstimate { method: "Euler" }));
}

#[test]
fn nan_field_says_when_and_where_and_keeps_what_it_has() {
    let f = |t: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = -y[0];
        dy[1] = if t > 0.5 { f64::NAN } else { 1.0 };
    };
    let ts = [0.0, 0.25, 1.0];
    for (method, options) in [
        (Method::from(Tsit5), Options::default()),
        (Method::from(Rk4), Options::steps(64)),
        (Method::from(Euler), Options::steps(64)),
    ] {
        let e = solve(method, f, &[1.0, 0.0], &ts, &options).unwrap_err();
        let ErrorKind::NonFinite { t, component: 1, .. } = e.kind() else { panic!("{e}") };
        assert!((t - 0.5).abs() < 0.02, "{e}");
        let partial = e.partial().unwrap();
        assert_eq!(partial.ts, [0.0, 0.25]);
        assert!((partial.ys[2] - (-0.25f64).exp()).abs() < 0.02);
        assert!(partial.t > 0.45 && partial.t < 0.52);
        assert!(partial.y.iter().all(|y| y.is_finite()));
    }
}

#[test]
fn nan_initial_state() {
    let e = solve(Tsit5, decay, &[1.0, f64::NAN], &[0.0, 1.0], &Options::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NonFinite { stage: None, component: 1, .. }));
}

#[test]
fn blow_up_underflows_with_its_time() {
    let f = |_: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = 0.0;
        dy[1] = y[1] * y[1];
    };
    let e = solve(Tsit5, f, &[0.0, 1.0], &[0.0, 2.0], &Options::default()).unwrap_err();
    match e.kind() {
        ErrorKind::StepTooSmall { t, component: 1, .. } => assert!((t - 1.0).abs() < 1e-4),
        ErrorKind::NonFinite { t, component: 1, .. } => assert!((t - 1.0).abs() < 1e-4),
        _ => panic!("{e}"),
    }
    assert!(e.partial().unwrap().stats.accepted > 10);
}

#[test]
fn a_jump_that_no_step_can_pass_underflows() {
    // The slope depends on the last bits of the time, so no step is small enough.
    let f = |t: f64, _: &[f64], dy: &mut [f64]| {
        dy[0] = if t > 0.5 { (t * 1e17).sin() * 1e30 } else { 1.0 };
    };
    let e = solve(Tsit5, f, &[0.0], &[0.0, 1.0], &Options::default()).unwrap_err();
    let ErrorKind::StepTooSmall { t, dt, component: 0, .. } = e.kind() else { panic!("{e}") };
    assert!((t - 0.5).abs() < 1e-3 && *dt < 1e-15, "{e}");
    assert!(e.to_string().contains("try a larger tolerance"));
}

#[test]
fn max_steps() {
    let o = Options { max_steps: 5, ..Options::tolerance(1e-10, 1e-10) };
    let e = solve(Tsit5, decay, &[1.0], &[0.0, 10.0], &o).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::MaxSteps { steps: 5, .. }));
    assert!(e.partial().unwrap().t > 0.0);
}

#[test]
fn field_errors_come_through() {
    struct Failing;
    impl costate_odeint::Field<f64> for Failing {
        fn eval(
            &mut self,
            t: f64,
            _: &[f64],
            dy: &mut [f64],
        ) -> Result<(), costate_odeint::FieldError> {
            dy[0] = 1.0;
            if t > 0.5 { Err("out of fuel".into()) } else { Ok(()) }
        }
    }
    let e = solve(Tsit5, Failing, &[0.0], &[0.0, 1.0], &Options::default()).unwrap_err();
    assert!(e.to_string().contains("out of fuel"));
}

#[test]
fn far_times_and_short_spans() {
    for (start, span) in [(1e12, 10.0), (0.0, 1e-12), (-1e12, 3.0), (5.0, 1e-9)] {
        let ts = [start, start + span / 2.0, start + span];
        let rate = 1.0 / span;
        let f = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -rate * y[0];
        let solution = solve(Tsit5, f, &[1.0], &ts, &Options::default()).unwrap();
        assert!((solution.y(2)[0] - (-1f64).exp()).abs() < 1e-4, "{start} {span}");
        let back = [ts[2], ts[0]];
        let again = solve(Tsit5, f, solution.y(2), &back, &Options::default()).unwrap();
        assert!((again.y(1)[0] - 1.0).abs() < 1e-4, "{start} {span}");
    }
}

/// First guesses that are below the last digit of the time, or that overflow, still make progress.
#[test]
fn a_first_step_always_makes_progress() {
    let one = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 1.0;
    let o = Options { max_steps: 400, ..Options::default() };
    for (start, dt0) in [(1e13, None), (-1e13, None), (1e12, Some(1e-9))] {
        let o = Options { dt0, ..o };
        let solution = solve(Tsit5, one, &[0.0], &[start, start + 1.0], &o).unwrap();
        assert!((solution.y(1)[0] - 1.0).abs() < 1e-12, "{start} {dt0:?}");
    }
    for slope in [1e160, 1e300, 1e-300] {
        let f = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = slope;
        for y0 in [0.0, 1.0, 1e150] {
            let solution = solve(Tsit5, f, &[y0], &[0.0, 1.0], &o).unwrap();
            assert!((solution.y(1)[0] / (y0 + slope) - 1.0).abs() < 1e-9, "{slope} {y0}");
            // From a state that is not 0, the first step is a part of y/f, which may take 300
            // tenfold steps to grow; from 0 there is no reason to begin that small.
            assert!(y0 != 0.0 || solution.stats.accepted <= 40, "{slope} {}", solution.stats);
        }
    }
}

#[test]
fn steps_too_small_for_the_time_say_so() {
    let ts = [1e12, 1e12 + 0.001];
    for (method, o) in [
        (Method::from(Tsit5), Options { max_dt: 1e-9, ..Options::default() }),
        (Method::from(Rk4), Options { stepping: Stepping::Fixed(1e-9), ..Options::default() }),
        (Method::from(Euler), Options::steps(1000)),
    ] {
        let e = solve(method, decay, &[1.0], &ts, &o).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NoProgress { .. }), "{e}");
        assert!(e.to_string().contains("does not change the time t = 1000000000000"), "{e}");
        assert_eq!(e.partial().unwrap().ys, [1.0]);
    }
}

/// Slopes that are finite, but whose error measure overflows, are no slopes that are not finite.
#[test]
fn an_error_that_overflows_is_told_from_a_field_that_does() {
    let f = |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = (t * 1e17).sin() * 1e200;
    let o = Options::tolerance(0.0, 1e-9);
    let e = solve(Tsit5, f, &[0.0], &[0.5, 1.0], &o).unwrap_err();
    let ErrorKind::StepTooSmall { component: 0, error, .. } = e.kind() else { panic!("{e}") };
    assert_eq!(*error, f64::INFINITY);
}

/// An end slope that is not finite must not get into the states between steps.
#[test]
fn fixed_steps_check_the_end_slope() {
    let f = |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = if t < 1.0 { 1.0 } else { f64::NAN };
    for method in Method::all() {
        match solve(method, f, &[0.0], &[0.0, 0.3, 0.95, 1.0], &Options::steps(2)) {
            Ok(solution) => assert!(solution.ys.iter().all(|y| y.is_finite())),
            Err(e) => {
                assert!(
                    matches!(e.kind(), ErrorKind::NonFinite { t: 1.0, component: 0, .. }),
                    "{e}"
                )
            }
        }
    }
    let e = solve(Tsit5, f, &[0.0], &[0.0, 0.3, 1.0], &Options::steps(2)).unwrap_err();
    assert!(e.to_string().contains("not finite at t = 1 "), "{e}");
}

#[test]
fn bad_limits_and_controllers() {
    let c = Controller::default();
    let o = Options::default();
    for (name, o) in [
        ("min_dt", Options { min_dt: -1.0, ..o }),
        ("min_dt", Options { min_dt: f64::NAN, ..o }),
        ("min_dt", Options { min_dt: 1.0, max_dt: 0.5, ..o }),
        ("max_dt", Options { max_dt: 0.0, ..o }),
        ("dt0", Options { dt0: Some(-0.1), ..o }),
        (
            "controller.integral",
            Options { controller: Controller { integral: f64::NAN, ..c }, ..o },
        ),
        ("controller.safety", Options { controller: Controller { safety: 0.0, ..c }, ..o }),
        ("controller.min_factor", Options { controller: Controller { min_factor: 1.0, ..c }, ..o }),
        ("controller.max_factor", Options { controller: Controller { max_factor: 0.5, ..c }, ..o }),
    ] {
        let e = solve(Tsit5, decay, &[1.0], &[0.0, 1.0], &o).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::BadOption { option, .. } if *option == name), "{e}");
        assert!(e.to_string().contains(name), "{e}");
    }
}

#[test]
fn f32_states_have_f64_times() {
    let f = |_: f64, y: &[f32], dy: &mut [f32]| dy[0] = -y[0];
    let ts = [1e9, 1e9 + 1.0];
    let solution = solve(Tsit5, f, &[1f32], &ts, &Options::tolerance(1e-5, 1e-6)).unwrap();
    assert!((solution.y(1)[0] - (-1f32).exp()).abs() < 1e-4);
}

#[test]
fn save_times_change_no_step() {
    let o = Options::default();
    let few = solve(Tsit5, decay, &[1.0], &[0.0, 3.0], &o).unwrap();
    let ts: Vec<f64> = (0..=300).map(|i| f64::from(i) / 100.0).collect();
    let many = solve(Tsit5, decay, &[1.0], &ts, &o).unwrap();
    assert_eq!(few.y(1), many.y(300));
    assert_eq!(few.stats, many.stats);
    for (i, t) in ts.iter().enumerate() {
        assert!((many.y(i)[0] - (-t).exp()).abs() < 1e-6);
    }
}

#[test]
fn an_integrator_can_be_inspected_and_cloned() {
    let mut f = decay;
    let mut a = Integrator::new(Tsit5, &[1.0], 0.0, 3.0, Options::default()).unwrap();
    a.step(&mut f).unwrap();
    let mut b = a.clone();
    while !a.is_done() {
        let before = a.t();
        a.step(&mut f).unwrap();
        let step = a.last_step();
        assert_eq!(step.t0, before);
        let mut middle = [0.0];
        step.interpolate(0.5, &mut middle);
        assert!((middle[0] - (-(step.t0 + 0.5 * step.h)).exp()).abs() < 1e-5);
        step.interpolate_derivative(0.5, &mut middle);
        assert!((middle[0] + (-(step.t0 + 0.5 * step.h)).exp()).abs() < 1e-4);
    }
    while !b.is_done() {
        b.step(&mut f).unwrap();
    }
    assert_eq!(a.y(), b.y());
    assert_eq!(a.t(), 3.0);
}

/// What makes no sense is refused by every method in the same way.
#[test]
fn bad_input_to_every_method() {
    for method in every_method() {
        let o = options_for(method);
        let kind = |y0: &[f64], ts: &[f64], o: &Options| {
            let e = solve(method, decay, y0, ts, o).map(|s| s.ys).unwrap_err();
            format!("{:?}", e.kind())
        };
        let name = method.tableau().name;
        assert!(kind(&[1.0; 2], &[], &o).starts_with("EmptyTimes"), "{name}");
        assert!(kind(&[1.0; 2], &[0.0, 1.0, 1.0], &o).starts_with("TimesNotMonotone"), "{name}");
        assert!(kind(&[1.0; 2], &[0.0, 1.0, 0.5], &o).starts_with("TimesNotMonotone"), "{name}");
        assert!(kind(&[1.0; 2], &[0.0, f64::INFINITY], &o).starts_with("NonFiniteTime"), "{name}");
        assert!(kind(&[], &[0.0, 1.0], &o).starts_with("EmptyState"), "{name}");
        assert!(kind(&[1.0, f64::NAN], &[0.0, 1.0], &o).starts_with("NonFinite"), "{name}");
        if method.tableau().error.is_some() {
            for (rtol, atol) in
                [(0.0, 0.0), (-1.0, 1.0), (1.0, -1.0), (f64::NAN, 1.0), (1.0, f64::NAN)]
            {
                let o = Options { rtol, atol, ..o };
                assert!(kind(&[1.0; 2], &[0.0, 1.0], &o).starts_with("BadOption"), "{name}");
            }
        }
        // A span without length.
        let found = solve(method, decay, &[1.0; 2], &[3.0], &o).unwrap();
        assert_eq!((found.ys, found.stats.accepted), (vec![1.0; 2], 0), "{name}");
        let mut integrator = Integrator::new(method, &[1.0; 2], 3.0, 3.0, o).unwrap();
        assert!(integrator.is_done());
        integrator.step(&mut decay).unwrap();
        assert_eq!((integrator.t(), integrator.y()), (3.0, &[1.0; 2][..]), "{name}");
    }
}

/// A tolerance that rounding does not allow ends in an error or in a good solution, and soon.
#[test]
fn tolerances_below_rounding() {
    for method in every_method().into_iter().filter(|m| m.tableau().order > 3) {
        if method.tableau().error.is_none() {
            continue;
        }
        for (rtol, atol) in [(1e-17, 0.0), (0.0, 1e-17), (0.0, 1e-300)] {
            let o = Options { rtol, atol, max_steps: 20_000, ..Options::default() };
            match solve(method, decay, &[1.0, 2.0], &[0.0, 1.0], &o) {
                Ok(found) => assert!((found.y(1)[0] - (-1f64).exp()).abs() < 1e-12),
                Err(e) => assert!(e.partial().unwrap().y.iter().all(|y| y.is_finite()), "{e}"),
            }
        }
    }
}

/// By every method a solve ends when its steps are used up, at a state that is reached.
#[test]
fn max_steps_of_every_method() {
    for method in every_method() {
        let o = Options { max_steps: 5, rtol: 1e-10, atol: 1e-10, ..options_for(method) };
        let e = solve(method, decay, &[1.0, 2.0], &[0.0, 10.0], &o).unwrap_err();
        let name = method.tableau().name;
        assert!(matches!(e.kind(), ErrorKind::MaxSteps { steps: 5, .. }), "{name}: {e}");
        let partial = e.partial().unwrap();
        assert!(partial.t >= 0.0 && partial.t < 10.0, "{name}: {}", partial.t);
        // Splitting methods are for other fields.
        let error = (partial.y[0] - (-partial.t).exp()).abs();
        assert!(method.tableau().is_partitioned() || error < 0.02, "{name}: {:?}", partial.y);
    }
}

/// A solution that goes to infinity in finite time ends there, by every method with an error
/// estimate.
#[test]
fn blow_up_by_every_method() {
    let f = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[0] * y[0], -y[1]);
    let adaptive = |m: &Method| m.tableau().error.is_some() && !m.tableau().is_partitioned();
    for method in every_method().into_iter().filter(adaptive) {
        let o = Options { max_steps: 100_000, ..Options::default() };
        let e = solve(method, f, &[1.0, 1.0], &[0.0, 2.0], &o).unwrap_err();
        let (name, partial) = (method.tableau().name, e.partial().unwrap());
        assert!((partial.t - 1.0).abs() < 1e-2, "{name}: {e}");
        assert!(partial.y.iter().all(|y| y.is_finite()), "{name}: {:?}", partial.y);
    }
}

/// A right side that jumps is solved, to about the tolerance, where nobody says when it jumps.
#[test]
fn a_discontinuous_field() {
    let f = |t: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = if t < 0.37 { 1.0 } else { -2.0 };
        dy[1] = -y[1];
    };
    for method in every_method().into_iter().filter(|m| !m.tableau().is_partitioned()) {
        let o = Options { max_steps: 20_000, ..options_for(method) };
        let found = solve(method, f, &[0.0, 1.0], &[0.0, 1.0], &o).unwrap();
        let most = if method.tableau().error.is_some() { 1e-4 } else { 2e-2 };
        let error = (found.y(1)[0] - (0.37 - 2.0 * 0.63)).abs();
        assert!(error < most, "{}: {error:e}", method.tableau().name);
    }
}

/// An event at the start is none, and one with a save time close to it is found once, whatever the
/// method.
#[test]
fn events_by_every_method() {
    let f = |_: f64, _: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (1.0, 0.0);
    for method in every_method() {
        for shift in [0.0, f64::EPSILON, -f64::EPSILON] {
            let save = 0.5 + 0.5 * shift;
            let event = Event::new(|_, y: &[f64]| y[0] * (y[0] - 0.5));
            let o = Options { max_steps: 1000, ..options_for(method) };
            let solver = Solver::new(method).options(o).event(event);
            let found = solver.solve(f, &[0.0, 1.0], &[0.0, save, 1.0]).unwrap();
            let name = method.tableau().name;
            assert_eq!(found.events.len(), 1, "{name}: {:?}", found.events);
            assert!((found.events[0].t - 0.5).abs() < 1e-12, "{name}");
            assert!((found.solution.y(1)[0] - 0.5).abs() < 1e-12, "{name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    /// By every method: a field that is anything at all ends within the steps that may be tried, and
    /// so within evaluations in proportion; what is returned is finite.
    #[test]
    fn no_method_hangs(
        which in 0usize..64,
        seed in any::<u64>(),
        wild in 0u32..8,
        span in prop_oneof![-3.0..3.0f64, Just(1e12), Just(1e-12), Just(1e-300)],
        start in prop_oneof![Just(0.0), -1e3..1e3f64, Just(1e12)],
        adaptive in any::<bool>(),
    ) {
        let all = every_method();
        let method = all[which % all.len()];
        let (mut state, mut calls) = (seed, 0usize);
        let mut f = |_: f64, y: &[f64], dy: &mut [f64]| {
            calls += 1;
            for (dy, y) in dy.iter_mut().zip(y) {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *dy = match (state >> 56) as u32 {
                    n if n >= 4 * wild => (n % 7) as f64 - 3.0 - y,
                    n if n % 4 == 0 => f64::NAN,
                    n if n % 4 == 1 => f64::INFINITY,
                    n if n % 4 == 2 => f64::NEG_INFINITY,
                    _ => 1e300 * y,
                };
            }
        };
        const STEPS: usize = 150;
        let adaptive = adaptive && method.tableau().error.is_some();
        let stepping = if adaptive { Stepping::Adaptive } else { Stepping::Steps(40) };
        let o = Options { max_steps: STEPS, stepping, ..Options::default() };
        let ts = [start, start + 0.3 * span, start + span];
        let result = solve(method, &mut f, &[1.0, -0.5], &ts, &o);
        match result {
            Ok(found) => prop_assert!(found.ys.iter().all(|y| y.is_finite())),
            Err(e) => if let Some(partial) = e.partial() {
                prop_assert!(partial.y.iter().chain(&partial.ys).all(|y| y.is_finite()), "{}", e);
                prop_assert!(partial.stats.accepted + partial.stats.rejected <= STEPS);
            },
        }
        // An implicit stage is iterated at most 4 times 12 times, with differences for Jacobians, and
        // coupled ones 200 times.
        prop_assert!(calls <= (STEPS + 2) * 3 * 7 * (4 * 12 + 4 * 4), "{} {}", method.tableau().name, calls);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// A field that throws in NaN and infinities ends, one way or another, within its budget.
    #[test]
    fn nothing_hangs(
        values in prop::collection::vec(
            prop_oneof![-1e3..1e3f64, Just(f64::NAN), Just(f64::INFINITY), -1e300..1e300f64], 8),
        rate in -50.0..50.0f64,
        end in prop_oneof![-10.0..10.0f64, Just(1e12), Just(1e-300)],
        adaptive in any::<bool>(),
    ) {
        let mut calls = 0usize;
        let f = |t: f64, y: &[f64], dy: &mut [f64]| {
            calls += 1;
            let i = (t.abs() * 3.0) as usize % 16;
            dy[0] = rate * y[0];
            dy[1] = values.get(i).copied().unwrap_or(1.0);
        };
        let stepping = if adaptive { Stepping::Adaptive } else { Stepping::Steps(50) };
        let o = Options { max_steps: 2000, stepping, ..Options::default() };
        if end != 0.0 {
            match solve(Tsit5, f, &[1.0, 1.0], &[0.0, end], &o) {
                Ok(solution) => prop_assert!(solution.ys.iter().all(|y| y.is_finite())),
                Err(e) => prop_assert!(e.partial().unwrap().y.iter().all(|y| y.is_finite())),
            }
        }
        prop_assert!(calls <= 7 * 2001 + 2);
    }
}
