//! How steps are chosen, recorded and taken again.

use costate_odeint::{
    Controller, ErrorKind, Integrator, Method, Options, Rk4, Stats, Stepping, Tsit5, Verner7,
    rk_step, solve, solve_with,
};
use proptest::prelude::*;

/// A pendulum that is pushed.
fn pendulum(t: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[1];
    dy[1] = -y[0].sin() + 0.3 * t.cos();
}

/// Options under which each method can solve.
fn options(method: Method) -> Vec<Options> {
    let fixed = Options { stepping: Stepping::Fixed(0.07), ..Options::default() };
    let adaptive = method.tableau().error.map(|_| Options::tolerance(1e-7, 1e-8));
    adaptive.into_iter().chain([fixed, Options::steps(41)]).collect()
}

#[test]
fn a_step_of_rk4_is_its_polynomial() {
    let tableau = Method::from(Rk4).tableau();
    let mut f = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0];
    let (mut k, mut y1) = ([0.0; 5], [0.0]);
    k[0] = -1.0;
    let h = 0.5f64;
    rk_step(tableau, &mut f, 3.0, 3.0 + h, &[1.0], &mut k, &mut y1).unwrap();
    let expected = 1.0 - h + h * h / 2.0 - h.powi(3) / 6.0 + h.powi(4) / 24.0;
    assert!((y1[0] - expected).abs() < 1e-15);
    assert_eq!(k[4], 0.0, "the end slope is not needed");
}

/// Steps of small states, which go another way, have the bits of `rk_step`.
#[test]
fn small_states_have_the_same_bits() {
    for method in Method::all().into_iter().filter(|m| !m.tableau().coupled) {
        for n in 1..=6 {
            let mut f = |t: f64, y: &[f64], dy: &mut [f64]| {
                for i in 0..y.len() {
                    dy[i] = (y[i] * (1.0 + i as f64) + t).sin() - 0.1 * y[(i + 1) % y.len()];
                }
            };
            let y0: Vec<f64> = (0..n).map(|i| 0.3 + 0.4 * f64::from(i)).collect();
            let (tableau, n) = (method.tableau(), y0.len());
            let mut integrator = Integrator::new(method, &y0, 0.2, 1.0, Options::steps(3)).unwrap();
            let (mut y, mut y1) = (y0, vec![0.0; n]);
            let mut k = vec![0.0; n * tableau.rows()];
            while !integrator.is_done() {
                let t0 = integrator.t();
                integrator.step(&mut f).unwrap();
                f(t0, &y, &mut k[..n]);
                rk_step(tableau, &mut f, t0, integrator.t(), &y, &mut k, &mut y1).unwrap();
                assert_eq!(integrator.y(), y1, "{}, {n}", tableau.name);
                y.copy_from_slice(&y1);
            }
        }
    }
}

#[test]
#[should_panic(expected = "y0 has length 2, but y1 has length 1")]
fn a_step_checks_lengths() {
    let tableau = Method::from(Rk4).tableau();
    let mut f = pendulum;
    rk_step(tableau, &mut f, 0.0, 1.0, &[1.0, 2.0], &mut [0.0; 10], &mut [0.0]).unwrap();
}

#[test]
fn a_recorded_grid_is_taken_again_to_the_same_bits() {
    for method in Method::all() {
        for o in options(method) {
            for ends in [[0.0, 5.0], [5.0, -1.0]] {
                let mut times = Vec::new();
                let record = |step: &costate_odeint::Step<'_, f64>, _| times.push(step.t1);
                let y0 = [1.0, 0.2];
                let solution = solve_with(method, pendulum, &y0, &ends, &o, record).unwrap();
                let mut again = Integrator::new(method, &y0, ends[0], ends[1], o).unwrap();
                for &t in &times {
                    again.step_to(&mut { pendulum }, t).unwrap();
                    assert_eq!(again.t(), t);
                }
                assert!(again.is_done());
                assert_eq!(again.y(), solution.y(1), "{}", method.tableau().name);
                assert_eq!(again.stats().accepted, solution.stats.accepted);
            }
        }
    }
}

#[test]
fn a_step_goes_forward_and_not_beyond_the_end() {
    for (start, end) in [(0.0, 2.0), (2.0, 0.0)] {
        let mut integrator =
            Integrator::new(Tsit5, &[1.0, 0.0], start, end, Options::default()).unwrap();
        integrator.step_to(&mut { pendulum }, 1.0).unwrap();
        let before = integrator.y().to_vec();
        for t in [1.0, 2.0 * start - 1.0, 1.0 + 2.0 * (end - 1.0), f64::NAN, f64::INFINITY] {
            let e = integrator.step_to(&mut { pendulum }, t).unwrap_err();
            assert!(matches!(e.kind(), ErrorKind::BadOption { option: "t", .. }), "{t}: {e}");
        }
        assert_eq!(integrator.y(), before);
        // Steps of its own choice follow.
        while !integrator.is_done() {
            integrator.step(&mut { pendulum }).unwrap();
        }
        assert_eq!(integrator.t(), end);
    }
}

#[test]
fn equal_steps_do_not_go_back_after_a_step_of_another_size() {
    let mut integrator = Integrator::new(Rk4, &[1.0, 0.0], 0.0, 1.0, Options::steps(10)).unwrap();
    integrator.step_to(&mut { pendulum }, 0.75).unwrap();
    let e = integrator.step(&mut { pendulum }).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NoProgress { .. }), "{e}");
    assert_eq!(integrator.t(), 0.75);
}

#[test]
fn a_failed_step_leaves_the_last_good_state() {
    let mut broken = |t: f64, y: &[f64], dy: &mut [f64]| {
        pendulum(t, y, dy);
        dy[1] = f64::NAN;
    };
    let mut a = Integrator::new(Tsit5, &[1.0, 0.0], 0.0, 3.0, Options::default()).unwrap();
    a.step(&mut { pendulum }).unwrap();
    let mut b = a.clone();
    let e = b.step(&mut broken).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NonFinite { component: 1, .. }), "{e}");
    assert_eq!((a.t(), a.y()), (b.t(), b.y()));
    a.step(&mut { pendulum }).unwrap();
    b.step(&mut { pendulum }).unwrap();
    assert_eq!((a.t(), a.y()), (b.t(), b.y()));
}

/// Backward in time is forward in mirrored time, to the bit.
#[test]
fn backward_mirrors_forward() {
    let mirrored = |s: f64, y: &[f64], dy: &mut [f64]| {
        pendulum(-s, y, dy);
        dy.iter_mut().for_each(|d| *d = -*d);
    };
    let ts: Vec<f64> = (0..=17).map(|i| 2.0 - 0.31 * f64::from(i)).collect();
    let minus: Vec<f64> = ts.iter().map(|t| -t).collect();
    for method in Method::all() {
        for o in options(method) {
            let backward = solve(method, pendulum, &[1.0, 0.2], &ts, &o).unwrap();
            let forward = solve(method, mirrored, &[1.0, 0.2], &minus, &o).unwrap();
            assert_eq!(backward.ys, forward.ys, "{}", method.tableau().name);
            assert_eq!(backward.stats, forward.stats);
        }
    }
}

#[test]
fn evaluations_are_counted() {
    for method in Method::all() {
        for o in options(method) {
            let mut calls = 0;
            let f = |t: f64, y: &[f64], dy: &mut [f64]| {
                calls += 1;
                pendulum(t, y, dy);
            };
            let ts = [0.0, 0.33, 1.0, 2.5];
            let solution = solve(method, f, &[1.0, 0.2], &ts, &o).unwrap();
            assert_eq!(calls, solution.stats.f_evals, "{}", method.tableau().name);
        }
    }
}

/// The slopes of an interpolant are evaluated only where a time lies inside a step.
#[test]
fn slopes_between_steps_are_lazy() {
    for method in Method::all().into_iter().chain(Method::symplectic()) {
        let tableau = method.tableau();
        if tableau.coupled {
            continue;
        }
        let evaluations = |ts: &[f64]| {
            let y0 = [1.0, 0.2];
            solve(method, pendulum, &y0, ts, &Options::steps(4)).unwrap().stats.f_evals
        };
        let ends = evaluations(&[0.0, 4.0]);
        assert_eq!(
            ends,
            evaluations(&[0.0, 1.0, 2.0, 4.0]) - usize::from(!tableau.uses_first()) * 2
        );
        // In the middle of the third step; its end slope is the next one's first.
        let inside = evaluations(&[0.0, 2.3, 2.6, 4.0]);
        let own = tableau.interpolant.c.len();
        let extra = if tableau.uses_first() { own } else { 2 };
        assert_eq!(inside, ends + extra, "{}", tableau.name);
    }
}

#[test]
#[should_panic(expected = "Verner7 needs 17 slopes, but the step has 11")]
fn interpolation_needs_its_slopes() {
    let mut integrator =
        Integrator::new(Verner7, &[1.0, 0.2], 0.0, 1.0, Options::default()).unwrap();
    integrator.step(&mut { pendulum }).unwrap();
    integrator.last_step().interpolate(0.5, &mut [0.0; 2]);
}

#[test]
fn slopes_between_steps_on_demand() {
    for method in Method::all() {
        let o = Options::steps(40);
        let mut integrator = Integrator::new(method, &[1.0, 0.2], 0.0, 4.0, o).unwrap();
        let mut plain = integrator.clone();
        let mut f = pendulum;
        while !integrator.is_done() {
            integrator.step(&mut f).unwrap();
            plain.step(&mut f).unwrap();
            integrator.dense_slopes(&mut f).unwrap();
            let before = integrator.stats();
            integrator.dense_slopes(&mut f).unwrap();
            assert_eq!(integrator.stats(), before, "they are there already");
            let step = integrator.last_step();
            let (mut y, mut dy, mut slope) = ([0.0; 2], [0.0; 2], [0.0; 2]);
            step.interpolate(1.0, &mut y);
            for (a, b) in y.iter().zip(step.y1) {
                assert!((a - b).abs() < 1e-11, "{}: {a} {b}", method.tableau().name);
            }
            step.interpolate(0.5, &mut y);
            step.interpolate_derivative(0.5, &mut dy);
            f(step.t0 + 0.5 * step.h, &y, &mut slope);
            for (a, b) in dy.iter().zip(slope) {
                assert!((a - b).abs() < 0.5 * step.h, "{}: {a} {b}", method.tableau().name);
            }
        }
        // What is evaluated between steps changes no step.
        assert_eq!(integrator.y(), plain.y(), "{}", method.tableau().name);
    }
}

#[test]
fn steps_stay_between_their_limits() {
    // The end is a little farther than a whole number of the largest steps.
    let o = Options { max_dt: 0.1, min_dt: 0.02, ..Options::tolerance(1e-3, 1e-3) };
    let mut sizes = Vec::new();
    let record = |step: &costate_odeint::Step<'_, f64>, _| sizes.push(step.h);
    solve_with(Tsit5, pendulum, &[1.0, 0.2], &[0.0, 2.0005], &o, record).unwrap();
    let (_, but_last) = sizes.split_last().unwrap();
    assert!(sizes.iter().all(|h| *h < 0.1 + 1e-12), "{sizes:?}");
    assert!(but_last.iter().all(|h| *h > 0.02 - 1e-12), "{sizes:?}");

    let fast = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -1e4 * y[0];
    let o = Options { min_dt: 0.02, ..Options::default() };
    let e = solve(Tsit5, fast, &[1.0], &[0.0, 1.0], &o).unwrap_err();
    let ErrorKind::StepTooSmall { dt, error, component: 0, .. } = e.kind() else { panic!("{e}") };
    assert!(*dt < 0.02 && *error > 1.0, "{e}");
}

/// A trial step that leaves the field's domain is made shorter.
#[test]
fn a_trial_outside_the_domain_is_no_failure() {
    let f = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0].sqrt();
    let o = Options { dt0: Some(1.9), ..Options::default() };
    let solution = solve(Tsit5, f, &[1.0], &[0.0, 1.9], &o).unwrap();
    assert!(solution.stats.rejected > 0);
    assert!((solution.y(1)[0] - 0.05f64.powi(2)).abs() < 1e-5);
}

#[test]
fn no_step_grows_right_after_a_rejection() {
    // The field becomes a thousand times faster at t = 1.
    let mut f =
        |t: f64, y: &[f64], dy: &mut [f64]| dy[0] = y[0] * if t < 1.0 { -1.0 } else { -1e3 };
    let mut integrator = Integrator::new(Tsit5, &[1.0], 0.0, 2.0, Options::default()).unwrap();
    let mut seen = 0;
    while !integrator.is_done() {
        let rejected = integrator.stats().rejected;
        integrator.step(&mut f).unwrap();
        if integrator.stats().rejected > rejected {
            seen += 1;
            assert!(integrator.dt() <= integrator.last_step().h);
        }
    }
    assert!(seen > 0);
}

/// Where stability limits the step, the classical law swings around the limit and a PI controller
/// settles at it.
#[test]
fn a_pi_controller_rejects_fewer_steps_where_stability_limits_them() {
    let f = |t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -200.0 * (y[0] - t.cos());
    let rejected = |controller| {
        let o = Options { controller, ..Options::tolerance(1e-4, 1e-4) };
        let solution = solve(Tsit5, f, &[0.0], &[0.0, 10.0], &o).unwrap();
        // The slow solution: y = (a² cos t + a sin t)/(1 + a²).
        let exact = (4e4 * 10f64.cos() + 200.0 * 10f64.sin()) / 40001.0;
        assert!((solution.y(1)[0] - exact).abs() < 1e-3);
        solution.stats.rejected
    };
    let classical = rejected(Controller::i());
    for pi in [Controller::pi33(), Controller::pi34()] {
        let pi = rejected(pi);
        assert!(2 * pi < classical, "{pi} and {classical}");
    }
}

/// On an orbit that is not stiff, a controller costs about as much as the classical law.
#[test]
fn controllers_on_a_smooth_problem() {
    let kepler = |_: f64, y: &[f64], dy: &mut [f64]| {
        let r3 = y[0].hypot(y[1]).powi(3);
        (dy[0], dy[1], dy[2], dy[3]) = (y[2], y[3], -y[0] / r3, -y[1] / r3);
    };
    let run = |controller| {
        let o = Options { controller, ..Options::tolerance(1e-8, 1e-8) };
        let mut steps: Vec<f64> = Vec::new();
        let start = [0.3, 0.0, 0.0, (1.7f64 / 0.3).sqrt()];
        let end = 6.0 * std::f64::consts::PI;
        let found = solve_with(Tsit5, kepler, &start, &[0.0, end], &o, |step, _| {
            steps.push(step.h.ln());
        })
        .unwrap();
        let error = found.y(1).iter().zip(start).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-4, "{controller:?}: {error:e}");
        // How much the ratio of steps changes from one to the next, but for the ends.
        let inner = &steps[5..steps.len() - 5];
        let bends = inner.windows(3).map(|w| (w[0] - 2.0 * w[1] + w[2]).powi(2));
        (found.stats, (bends.sum::<f64>() / inner.len() as f64).sqrt())
    };
    let (classical, rough) = run(Controller::i());
    let tried = |stats: Stats| stats.accepted + stats.rejected;
    for controller in [Controller::pi42(), Controller::pi33(), Controller::pi34()] {
        let (stats, _) = run(controller);
        assert!(stats.rejected <= classical.rejected, "{controller:?}: {stats}");
        assert!(tried(stats) < tried(classical) * 6 / 5, "{controller:?}: {stats}, {classical}");
    }
    // What filters are for.
    let (_, h211pi) = run(Controller::h211pi());
    let (_, h312pid) = run(Controller::h312pid());
    assert!(h211pi < 0.5 * rough, "{h211pi} and {rough}");
    assert!(h312pid < h211pi, "{h312pid} and {h211pi}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    /// Steps follow each other from the first time to the last, which is hit exactly, and each
    /// time belongs to the step that reaches it.
    #[test]
    fn steps_are_contiguous_and_share_out_the_times(
        start in -1e3..1e3f64,
        gaps in prop::collection::vec(1e-6..0.7f64, 1..12),
        backward in any::<bool>(),
        which in 0usize..4,
        way in 0usize..3,
    ) {
        let sign = if backward { -1.0 } else { 1.0 };
        let mut ts = vec![start];
        for gap in gaps {
            ts.push(ts[ts.len() - 1] + sign * gap);
        }
        let method = Method::all()[which];
        let all = options(method);
        let o = all[way % all.len()];
        let mut end = ts[0];
        let mut next = 1;
        let mut steps = 0;
        let mut wrong = None;
        let solution = solve_with(method, pendulum, &[1.0, 0.2], &ts, &o, |step, saves| {
            let inside = |t: f64| {
                let slack = 8.0 * f64::EPSILON * step.t1.abs();
                sign * (t - step.t0) > 0.0 && sign * (step.t1 - t) >= -slack
            };
            let good = step.t0 == end
                && step.h == step.t1 - step.t0
                && sign * step.h > 0.0
                && saves.start == next
                && ts[saves.clone()].iter().all(|&t| inside(t));
            if !good && wrong.is_none() {
                wrong = Some((step.t0, step.t1, saves.clone()));
            }
            (end, next, steps) = (step.t1, saves.end, steps + 1);
        }).unwrap();
        prop_assert_eq!(wrong, None);
        prop_assert_eq!(end, ts[ts.len() - 1]);
        prop_assert_eq!(next, ts.len());
        prop_assert_eq!(steps, solution.stats.accepted);
        if o.stepping == Stepping::Steps(41) {
            prop_assert_eq!(steps, 41);
        }
    }
}
