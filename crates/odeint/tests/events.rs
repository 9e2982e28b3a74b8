//! Events: found where they are, in the right order, and acted upon.

use std::cell::RefCell;

use costate_odeint::{
    DenseSolution, Direction, Dopri5, ErrorKind, Event, GaussLegendre4, Kvaerno5, Method, Options,
    Rk4, Solver, TrBdf2, Tsit5, Verner7,
};
use proptest::prelude::*;

fn fall(_: f64, y: &[f64], dy: &mut [f64]) {
    (dy[0], dy[1]) = (y[1], -9.81);
}

fn rotate(_: f64, y: &[f64], dy: &mut [f64]) {
    (dy[0], dy[1]) = (y[1], -y[0]);
}

/// Time and speed at each bounce from rest at height 1, in closed form.
fn bounces(restitution: f64, n: usize) -> Vec<(f64, f64)> {
    let speed = (2.0 * 9.81f64).sqrt();
    let (mut t, mut v) = (speed / 9.81, speed);
    let mut found = Vec::new();
    for _ in 0..n {
        v *= restitution;
        found.push((t, v));
        t += 2.0 * v / 9.81;
    }
    found
}

#[test]
fn a_bouncing_ball() {
    for method in [
        Method::from(Tsit5),
        Dopri5.into(),
        Verner7.into(),
        Kvaerno5.into(),
        TrBdf2.into(),
        GaussLegendre4.into(),
    ] {
        let stepping = match method.tableau().error {
            Some(_) => Options::tolerance(1e-8, 1e-10),
            None => Options::steps(300),
        };
        let bounce = Event::new(|_, y: &[f64]| y[0]).falling().change(|_, y| y[1] *= -0.9);
        let solver = Solver::new(method).options(stepping).event(bounce);
        let solved = solver.solve(fall, &[1.0, 0.0], &[0.0, 1.0, 2.0, 4.0]).unwrap();
        let expected = bounces(0.9, 20);
        let count = expected.iter().filter(|(t, _)| *t < 4.0).count();
        assert_eq!(solved.events.len(), count, "{method:?}");
        for (found, (t, v)) in solved.events.iter().zip(&expected) {
            assert!((found.t - t).abs() < 1e-8, "{method:?}: {} and {t}", found.t);
            assert!((found.after[1] - v).abs() < 1e-7, "{method:?}: {} and {v}", found.after[1]);
            assert!(found.before[0].abs() < 1e-9);
        }
        assert_eq!(solved.solution.ts.len(), 4);
    }
}

#[test]
fn directions_and_ends() {
    for (direction, expected) in [
        (Direction::Rising, vec![1.5]),
        (Direction::Falling, vec![0.5, 2.5]),
        (Direction::Either, vec![0.5, 1.5, 2.5]),
    ] {
        let event = Event::new(|_, y: &[f64]| y[0]).direction(direction);
        let solver = Solver::new(Tsit5).tolerance(1e-10, 1e-12).event(event);
        let solved = solver.solve(rotate, &[1.0, 0.0], &[0.0, 9.0]).unwrap();
        let times: Vec<f64> = solved.events.iter().map(|e| e.t / std::f64::consts::PI).collect();
        assert_eq!(times.len(), expected.len(), "{direction:?}: {times:?}");
        for (found, right) in times.iter().zip(expected) {
            assert!((found - right).abs() < 1e-9);
        }
    }
    let end = Event::new(|_, y: &[f64]| y[0]).terminal();
    let solver = Solver::new(Tsit5).tolerance(1e-10, 1e-12).event(end);
    let solved = solver.solve(rotate, &[1.0, 0.0], &[0.0, 1.0, 2.0, 3.0]).unwrap();
    assert_eq!(solved.solution.ts, [0.0, 1.0]);
    assert!((solved.t - std::f64::consts::FRAC_PI_2).abs() < 1e-9);
    assert!(solved.y[0].abs() < 1e-9 && (solved.y[1] + 1.0).abs() < 1e-9);
}

#[test]
fn backward_in_time() {
    let event = Event::new(|_, y: &[f64]| y[0] - 0.5);
    let solver = Solver::new(Tsit5).tolerance(1e-10, 1e-12).event(event);
    let solved = solver.solve(rotate, &[1.0, 0.0], &[0.0, -4.0]).unwrap();
    assert_eq!(solved.events.len(), 1);
    assert!((solved.events[0].t + std::f64::consts::FRAC_PI_3).abs() < 1e-9);
}

/// Those at one time change the state in the order of their numbers; others do not notice.
#[test]
fn several_at_one_time() {
    let log = RefCell::new(Vec::new());
    let note = |i: usize| {
        let log = &log;
        move |t: f64, y: &mut [f64]| {
            log.borrow_mut().push((i, y[0]));
            assert!((t - 1.0).abs() < 1e-12);
            y[0] = if i == 0 { y[0] + 10.0 } else { y[0] * 2.0 };
        }
    };
    let solver = Solver::new(Tsit5)
        .event(Event::new(|t, _: &[f64]| t - 1.0).change(note(0)))
        .event(Event::new(|t, _: &[f64]| 2.0 - 2.0 * t).change(note(1)))
        .event(Event::new(|t, _: &[f64]| t - 1.5));
    let constant = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 0.0;
    let solved = solver.solve(constant, &[1.0], &[0.0, 1.0, 2.0]).unwrap();
    assert_eq!(*log.borrow(), [(0, 1.0), (1, 11.0)]);
    assert_eq!(solved.solution.ys, [1.0, 1.0, 22.0], "the state before the event is saved");
    let order: Vec<usize> = solved.events.iter().map(|e| e.event).collect();
    assert_eq!(order, [0, 1, 2]);
    assert_eq!((solved.events[0].after[0], solved.events[1].before[0]), (11.0, 11.0));
}

#[test]
fn at_the_start_is_no_event() {
    // y is 0 at the start, then rises, falls back through 0, and so on.
    let event = Event::new(|_, y: &[f64]| y[0]);
    let solver = Solver::new(Tsit5).event(event);
    let solved = solver.solve(rotate, &[0.0, 1.0], &[0.0, 4.0]).unwrap();
    assert_eq!(solved.events.len(), 1);
    assert!((solved.events[0].t - std::f64::consts::PI).abs() < 1e-4);
    let always = Event::new(|_, _: &[f64]| 0.0);
    let solved = Solver::new(Tsit5).event(always).solve(rotate, &[0.0, 1.0], &[0.0, 4.0]);
    assert!(solved.unwrap().events.is_empty());
}

/// A save time next to an event, on either side, and at it.
#[test]
fn a_save_time_within_one_ulp() {
    let at = 0.7f64;
    for t in [at.next_down(), at, at.next_up()] {
        let jump = Event::new(move |t, _: &[f64]| t - at).change(|_, y| y[0] += 1.0);
        let slope = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 1.0;
        let solved = Solver::new(Tsit5).event(jump).solve(slope, &[0.0], &[0.0, t, 1.0]).unwrap();
        assert_eq!(solved.events.len(), 1);
        assert_eq!(solved.solution.ts.len(), 3);
        let y = solved.solution.ys[1];
        let right = if t <= solved.events[0].t { t } else { t + 1.0 };
        assert!((y - right).abs() < 1e-14, "at {t}: {y}");
        assert!((solved.solution.ys[2] - 2.0).abs() < 1e-14);
    }
}

#[test]
fn many_in_one_step() {
    // One long step; the event is looked for at 64 times in it.
    let constant = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 1.0;
    let wave = Event::new(|t: f64, _: &[f64]| (20.0 * t).sin()).looks(64);
    let solver = Solver::new(Rk4).options(Options::steps(1)).event(wave);
    let solved = solver.solve(constant, &[0.0], &[0.0, 1.0]).unwrap();
    let expected: Vec<f64> = (1..=6).map(|i| f64::from(i) * std::f64::consts::PI / 20.0).collect();
    assert_eq!(solved.events.len(), expected.len());
    for (found, right) in solved.events.iter().zip(expected) {
        assert!((found.t - right).abs() < 1e-14, "{} and {right}", found.t);
        assert!((found.before[0] - right).abs() < 1e-12);
    }
}

/// A mere touch changes no sign. Passing it is all that can be asked for.
#[test]
fn grazing() {
    let touch = Event::new(|_, y: &[f64]| y[0] + 1.0 + 1e-9);
    let solver = Solver::new(Tsit5).tolerance(1e-10, 1e-12).event(touch);
    let solved = solver.solve(rotate, &[1.0, 0.0], &[0.0, 20.0]).unwrap();
    assert!(solved.events.len().is_multiple_of(2));
}

#[test]
fn equal_steps_keep_their_grid() {
    for options in [
        Options::steps(10),
        Options { stepping: costate_odeint::Stepping::Fixed(0.1), ..Options::default() },
    ] {
        let half = Event::new(|t, _: &[f64]| t - 0.45).change(|_, y| y[0] += 1.0);
        let solver = Solver::new(Rk4).options(options).event(half).stop_at([0.85]);
        let slope = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 1.0;
        let solved = solver.steps(slope, &[0.0], 0.0, 1.0).unwrap();
        let expected = [0.0, 0.1, 0.2, 0.3, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 1.0];
        assert_eq!(solved.solution.ts.len(), expected.len(), "{:?}", solved.solution.ts);
        for (found, right) in solved.solution.ts.iter().zip(expected) {
            assert!((found - right).abs() < 1e-12);
        }
        assert!((solved.y[0] - 2.0).abs() < 1e-12);
    }
}

#[test]
fn a_root_function_that_is_nan_says_so() {
    let bad = Event::new(|t: f64, _: &[f64]| (0.5 - t).sqrt());
    let error = Solver::new(Tsit5).event(bad).solve(rotate, &[0.0, 1.0], &[0.0, 1.0]).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::EventNotANumber { event: 0, .. }), "{error}");
    assert!(error.partial().is_some());
}

#[test]
fn dense_output_stops_at_events() {
    let bounce = Event::new(|_, y: &[f64]| y[0]).falling().change(|_, y| y[1] *= -0.9);
    let solver = Solver::new(Tsit5).tolerance(1e-9, 1e-11).event(bounce);
    let solution: DenseSolution<f64> = solver.dense(fall, &[1.0, 0.0], 0.0, 1.0).unwrap();
    let (t, v) = bounces(0.9, 1)[0];
    let mut y = [0.0; 2];
    for s in [0.1, 0.3, t - 1e-6, t + 1e-6, 0.8, 1.0] {
        solution.evaluate(s, &mut y).unwrap();
        let right = match s < t {
            true => 1.0 - 0.5 * 9.81 * s * s,
            false => v * (s - t) - 0.5 * 9.81 * (s - t) * (s - t),
        };
        assert!((y[0] - right).abs() < 1e-9, "at {s}: {} and {right}", y[0]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// The times are those of a fine search in the exact solution, for any line and speed.
    #[test]
    fn passages_are_found(level in -0.95..0.95f64, speed in 0.2..3.0f64, phase in 0.0..6.0f64) {
        let field = move |_: f64, y: &[f64], dy: &mut [f64]| {
            (dy[0], dy[1]) = (speed * y[1], -speed * y[0]);
        };
        let event = Event::new(move |_, y: &[f64]| y[0] - level).looks(8);
        let solver = Solver::new(Tsit5).tolerance(1e-10, 1e-12).event(event);
        let y0 = [phase.sin(), phase.cos()];
        prop_assume!((y0[0] - level).abs() > 1e-6);
        let solved = solver.solve(field, &y0, &[0.0, 5.0]).unwrap();
        // sin(phase + speed t) = level.
        let mut expected: Vec<f64> = (-2..8)
            .flat_map(|n| {
                let turn = f64::from(n) * std::f64::consts::TAU;
                [turn + level.asin(), turn + std::f64::consts::PI - level.asin()]
            })
            .map(|angle| (angle - phase) / speed)
            .filter(|t| (0.0..=5.0).contains(t))
            .collect();
        expected.sort_by(f64::total_cmp);
        prop_assume!(expected.iter().all(|t| (5.0 - t).abs() > 1e-6));
        let found: Vec<f64> = solved.events.iter().map(|e| e.t).collect();
        prop_assert_eq!(found.len(), expected.len(), "{:?} and {:?}", found, expected);
        for (a, b) in found.iter().zip(&expected) {
            prop_assert!((a - b).abs() < 1e-6, "{} and {}", a, b);
        }
    }
}
