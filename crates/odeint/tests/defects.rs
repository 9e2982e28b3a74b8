//! Defects that other solvers have had, each with a test that would catch it. Names say which
//! solver; the numbers that order conditions could show are in `order_conditions` as well.

use std::ops::ControlFlow;

use costate_odeint::{
    Auto, Dopri5, Dopri5Shampine, ErrorKind, Event, Gradient, Heun, Integrator, KenCarp4Imex,
    Kvaerno5, Method, Midpoint, Ode, Options, Ralston, Rk4, Rodas5P, Sample, Solver, Stepping,
    Tsit5, solve, solve_batch,
};
use costate_tape::{Tape, Var};
use ndarray::Array1;

fn all() -> Vec<Method> {
    let mut all = Method::all().to_vec();
    all.extend(Method::symplectic());
    all.extend(Method::implicit());
    all.extend([Method::from(KenCarp4Imex), Rodas5P.into(), Auto.into()]);
    all
}

fn name(method: Method) -> &'static str {
    method.tableau().name
}

/// A driven oscillator with the solution `cos t + sin 2t`, and its slope.
fn driven(t: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[1];
    dy[1] = -y[0] - 3.0 * (2.0 * t).sin();
}

fn exact(t: f64) -> [f64; 2] {
    [t.cos() + (2.0 * t).sin(), -t.sin() + 2.0 * (2.0 * t).cos()]
}

fn end_error(method: Method, n: usize) -> f64 {
    let found = solve(method, driven, &exact(0.0), &[0.0, 2.0], &Options::steps(n)).unwrap();
    let errors = found.y(1).iter().zip(exact(2.0)).map(|(y, e)| (y - e).abs());
    errors.fold(0.0, f64::max)
}

/// torchdiffeq's `tsit5` goes on with the embedded weights: order 4, and 20 times the error of
/// `dopri5`.
#[test]
fn tsit5_goes_on_with_order_five() {
    let slope = (end_error(Tsit5.into(), 16) / end_error(Tsit5.into(), 64)).log2() / 2.0;
    assert!(slope > 4.7, "{slope}");
    assert!(end_error(Tsit5.into(), 32) < 3.0 * end_error(Dopri5.into(), 32));
}

/// torchdiffeq's `adaptive_heun` takes the slope at the Euler predictor for that at the next state,
/// as any loop does that takes the last slope for the end slope.
#[test]
fn the_first_slope_of_a_step_is_that_of_its_state() {
    for method in all().into_iter().filter(|m| m.tableau().uses_first()) {
        for options in [Options::steps(7), Options::tolerance(1e-4, 1e-4)] {
            if options.stepping == Stepping::Adaptive && method.tableau().error.is_none() {
                continue;
            }
            let mut integrator = Integrator::new(method, &exact(0.0), 0.0, 2.0, options).unwrap();
            let mut f = driven;
            while !integrator.is_done() {
                integrator.step(&mut f).unwrap();
                let step = integrator.last_step();
                let mut slope = [0.0; 2];
                driven(step.t0, step.y0, &mut slope);
                for (k, e) in step.k.iter().zip(slope) {
                    // An implicit end slope comes from the equation of its stage.
                    assert!((k - e).abs() < 1e-9, "{}: {k} for {e}", name(method));
                }
            }
        }
    }
}

/// torchdiffeq's `gl4` has both stages at one time: equations without time do not notice.
#[test]
fn stages_are_at_the_sums_of_their_rows() {
    for method in all() {
        let tableau = method.tableau();
        for i in 0..tableau.slopes() {
            let sum: f64 = tableau.row(i).iter().sum();
            let c = tableau.node(i);
            // Splitting methods are at the time of their positions; additive ones, both halves, and
            // Rosenbrock methods, whose rows are others, are looked at in `order_conditions`.
            let shown = matches!(method, Method::Additive(_) | Method::Rosenbrock(_));
            if !(tableau.is_partitioned() || shown) {
                assert!((sum - c).abs() < 1e-13, "{}: slope {i} at {c}, {sum}", tableau.name);
            }
        }
    }
}

/// Several libraries have Shampine's error weights for Dormand and Prince's method, two thirds of the
/// classical ones: the same tolerance is then looser by half.
#[test]
fn dopri5_has_its_classical_error_weights() {
    let classical = [
        35.0 / 384.0 - 5179.0 / 57600.0,
        0.0,
        500.0 / 1113.0 - 7571.0 / 16695.0,
        125.0 / 192.0 - 393.0 / 640.0,
        -2187.0 / 6784.0 + 92097.0 / 339200.0,
        11.0 / 84.0 - 187.0 / 2100.0,
        -1.0 / 40.0,
    ];
    let found = Method::from(Dopri5).tableau().error.unwrap();
    for (found, classical) in found.iter().zip(classical) {
        assert!((found - classical).abs() < 1e-16, "{found} for {classical}");
    }
    // Shampine's are there under a name that says so.
    let shampine = Method::from(Dopri5Shampine).tableau().error.unwrap();
    for (found, classical) in shampine.iter().zip(classical) {
        assert!((found - classical * (2.0 / 3.0)).abs() < 1e-16, "{found} for {classical}");
    }
}

/// The paper on Tsit5 has a sign error in its last error weight, and its program another number.
#[test]
fn tsit5_has_the_right_last_error_weight() {
    let e = Method::from(Tsit5).tableau().error.unwrap();
    assert_eq!(e[6], -1.0 / 66.0);
    assert!(e.iter().sum::<f64>().abs() < 1e-15);
}

/// `ode_solvers` had an error weight of Dormand and Prince's method wrong in the ninth digit.
#[test]
fn error_weights_are_right_to_the_last_digit() {
    for method in all() {
        let tableau = method.tableau();
        let (Some(e), Some(order)) = (tableau.error, tableau.embedded_order) else { continue };
        if matches!(method, Method::Additive(_) | Method::Rosenbrock(_)) {
            continue;
        }
        // Both solutions integrate polynomials exactly, so their difference integrates them to 0.
        for power in 0..order as i32 {
            let moment: f64 = e.iter().zip(tableau.c).map(|(e, c)| e * c.powi(power)).sum();
            assert!(moment.abs() < 1e-13, "{}, power {power}: {moment:e}", tableau.name);
        }
    }
}

/// diffrax's Dopri8, midpoint and Ralston have interpolants of lower order than they claim, and
/// torchdiffeq has one for its quartics through a middle that is not of order 4. Measured within one
/// step from an exact state.
#[test]
fn interpolants_have_the_order_they_state() {
    for method in all() {
        let tableau = method.tableau();
        let stated = tableau.interpolant.order.min(tableau.order);
        let within = |h: f64| {
            let ts: Vec<f64> = (0..=4).map(|i| 0.3 + h * 0.25 * f64::from(i)).collect();
            let found = solve(method, driven, &exact(0.3), &ts, &Options::steps(1)).unwrap();
            let errors = ts.iter().enumerate().flat_map(|(i, &t)| {
                let pairs = found.y(i).iter().zip(exact(t));
                pairs.map(|(y, e)| (y - e).abs()).collect::<Vec<_>>()
            });
            errors.fold(0.0, f64::max)
        };
        let (long, short) = if stated >= 6 { (0.8, 0.4) } else { (0.1, 0.05) };
        let slope = (within(long) / within(short)).log2();
        let least = f64::from(stated) + 1.0 - 0.35;
        assert!(slope > least, "{}: {slope} for {stated} + 1", tableau.name);
    }
}

/// diffrax feeds the slope at the midpoint to an interpolant that takes it for that at the end, and
/// SciML's DP8 overshoots at the edges: values and slopes meet those of the neighbouring steps.
#[test]
fn interpolants_join_smoothly() {
    for method in [Method::from(Midpoint), Ralston.into(), Heun.into(), Rk4.into()]
        .into_iter()
        .chain(all().into_iter().filter(|m| m.tableau().order > 1))
    {
        let solver = Solver::new(method).options(Options::steps(9));
        let dense = solver.dense(driven, &exact(0.0), 0.0, 2.0).unwrap();
        let times: Vec<f64> = dense.times().collect();
        let [mut before, mut after] = [[0.0; 2]; 2];
        for &t in &times[1..times.len() - 1] {
            let d = 1e-7;
            dense.evaluate(t - d, &mut before).unwrap();
            dense.evaluate(t + d, &mut after).unwrap();
            for (a, b) in before.iter().zip(after) {
                assert!((a - b).abs() < 20.0 * d, "{} at {t}", name(method));
            }
            dense.derivative(t - d, &mut before).unwrap();
            dense.derivative(t + d, &mut after).unwrap();
            for (a, b) in before.iter().zip(after) {
                assert!((a - b).abs() < 1e-4, "{} at {t}: {a} and {b}", name(method));
            }
        }
    }
}

/// SciML gives linear interpolation where only the ends were saved.
#[test]
fn what_is_saved_changes_no_interpolant() {
    let o = Options::tolerance(1e-6, 1e-6);
    for method in all().into_iter().filter(|m| m.tableau().error.is_some()) {
        let dense = Solver::new(method).options(o).dense(driven, &exact(0.0), 0.0, 2.0).unwrap();
        let ends = dense.at(&[0.0, 2.0]).unwrap();
        let inner = dense.at(&[0.0, 0.7, 1.3, 2.0]).unwrap();
        let saved = solve(method, driven, &exact(0.0), &[0.0, 0.7, 1.3, 2.0], &o).unwrap();
        assert_eq!(inner.ys, saved.ys, "{}", name(method));
        assert_eq!(ends.y(1), saved.y(3));
    }
}

/// torchdiffeq's grid of equal steps loses its last point by rounding, and diffrax goes round in
/// circles at the end for the same reason.
#[test]
fn equal_steps_end_at_the_end() {
    for (start, end, dt) in
        [(0.0, 0.3, 0.1), (0.1, 0.7, 0.1), (0.0, 1.0, 1.0 / 3.0), (1e6, 1e6 + 1.1, 0.1)]
    {
        let stepping = Stepping::Fixed(dt);
        let steps = ((end - start) / dt).round() as usize;
        let o = Options { stepping, ..Options::default() };
        let found = Solver::new(Rk4).options(o).steps(driven, &[1.0, 0.0], start, end).unwrap();
        let ts = &found.solution.ts;
        assert_eq!(ts[ts.len() - 1], end);
        assert_eq!(found.solution.stats.accepted, steps, "{start} {end} {dt}");
        assert!(ts.windows(2).all(|w| w[1] - w[0] > 0.99 * dt), "{ts:?}");
    }
}

fn van_der_pol<'t>(_: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
    Var::stack(0, &[v, 10.0 * (1.0 - x * x) * v - x])
}

/// Rejected steps are no part of what is differentiated (SciMLSensitivity asked for coarser
/// checkpoints): the exact gradient is that of all operations of the solve.
#[test]
fn a_gradient_over_rejected_steps() {
    let gradient = |gradient: Gradient| {
        let tape = Tape::<f64>::new();
        let y0 = tape.constant(&Array1::from(vec![2.0, 0.0]));
        let ode = Ode::new(Tsit5).tolerance(1e-5, 1e-5).gradient(gradient);
        let ys = ode.solve(van_der_pol, y0, [0.0, 5.0, 20.0]).unwrap();
        if let Some(stats) = Ode::stats(ys) {
            assert!(stats.rejected > 10, "{stats}");
        }
        ys.index_axis(0, 2).square().sum().grad(&[y0]).unwrap()[0].to_vec()
    };
    let (found, expected) = (gradient(Gradient::Exact), gradient(Gradient::Unrolled));
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() <= 1e-11 * (1e-3 + b.abs()), "{a:e} and {b:e}");
    }
}

/// jax returns numbers when its steps are used up or too small.
#[test]
fn no_failure_is_silent() {
    let circle = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -y[0]);
    let wall = |t: f64, _: &[f64], dy: &mut [f64]| {
        (dy[0], dy[1]) = (1.0, (1e17 * (t - 0.5).max(0.0)).sin() * 1e30);
    };
    for method in all().into_iter().filter(|m| m.tableau().error.is_some()) {
        let o = Options { max_steps: 20, ..Options::tolerance(1e-9, 1e-9) };
        let e = solve(method, circle, &[1.0, 0.0], &[0.0, 500.0], &o).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::MaxSteps { steps: 20, .. }), "{e}");
        let o = Options { max_steps: 20_000, ..Options::default() };
        let e = solve(method, wall, &[0.0, 0.0], &[0.0, 1.0], &o).unwrap_err();
        assert!(e.partial().unwrap().t < 0.51, "{}: {e}", name(method));
    }
}

/// torchdiffeq reports a field that is NaN as "underflow in dt", and loses what it had
/// (torchdiffeq 27, 278).
#[test]
fn a_nan_is_not_called_a_small_step() {
    let f = |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = if t > 1.0 { f64::NAN } else { 1.0 };
    for method in all().into_iter().filter(|m| !m.tableau().is_partitioned()) {
        let o = match method.tableau().error {
            Some(_) => Options::default(),
            None => Options::steps(20),
        };
        let e = solve(method, f, &[0.0], &[0.0, 0.5, 2.0], &o).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::NonFinite { component: 0, .. }), "{e}");
        let partial = e.partial().unwrap();
        assert_eq!(partial.ts, [0.0, 0.5], "{}", name(method));
        assert!((partial.ys[1] - 0.5).abs() < 1e-6 && partial.y[0].is_finite());
    }
}

/// diffrax allows 4096 steps unless told otherwise, for lack of memory that grows (diffrax 207).
#[test]
fn many_steps_need_no_leave() {
    let circle = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -y[0]);
    let mut last = 0.0;
    let stats = Solver::new(Tsit5)
        .options(Options { max_dt: 0.01, ..Options::default() })
        .stream(circle, &[1.0, 0.0], &[0.0, 500.0, 1000.0], |t, y| {
            assert!((y[0] - t.cos()).abs() < 1e-8);
            last = t;
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(stats.accepted >= 100_000 && last == 1000.0);
}

/// Under `vmap`, diffrax takes other steps than for one sample (diffrax 692, galpy 1344); and others
/// have one grid of times for all (torchdiffeq 122, torchode 21).
#[test]
fn samples_have_their_own_steps_and_times() {
    let f = |i: usize| {
        let rate = 1.0 + 3.0 * i as f64;
        move |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (rate * y[1], -rate * y[0].sin())
    };
    let times: [&[f64]; 4] = [&[0.0, 1.0], &[2.0, 1.5, -3.0, -4.0], &[0.0, 1e-9], &[7.0]];
    let samples: Vec<Sample<'_, f64>> = times
        .iter()
        .zip([1e-4, 1e-10, 1e-6, 1e-6])
        .map(|(&ts, rtol)| Sample { y0: &[1.0, 0.2], ts, options: Options::tolerance(rtol, rtol) })
        .collect();
    for method in [Method::from(Tsit5), Kvaerno5.into(), Auto.into()] {
        let found = solve_batch(method, &samples, f);
        for (i, (found, sample)) in found.into_iter().zip(&samples).enumerate() {
            let alone = solve(method, f(i), sample.y0, sample.ts, &sample.options).unwrap();
            assert_eq!(found.unwrap(), alone);
            assert_eq!(alone.ts, times[i]);
        }
    }
}

/// diffrax loops for ever at its smallest step when times are rounded, and has a tolerance for times
/// that does not follow their size (diffrax 632, 657, 703).
#[test]
fn times_of_every_size() {
    for method in all() {
        for (start, span) in [(0.0, 1e-12), (0.0, 1e12), (1e12, 1e3), (-1e12, 10.0), (3e-9, 1e-9)] {
            let f = |_: f64, y: &[f64], dy: &mut [f64]| {
                (dy[0], dy[1]) = (y[1] / span, -y[0] / span);
            };
            let o = match method.tableau().error {
                Some(_) => Options { max_steps: 100_000, ..Options::tolerance(1e-5, 1e-5) },
                None => Options::steps(2000),
            };
            let ts = [start, start + 0.25 * span, start + span];
            let found = solve(method, f, &[1.0, 0.0], &ts, &o)
                .unwrap_or_else(|e| panic!("{}: {e}", name(method)));
            // The span as it comes out at such a time.
            let exact = ((ts[2] - ts[0]) / span).cos();
            let most = if method.tableau().order == 1 { 2e-2 } else { 2e-3 };
            assert!((found.y(2)[0] - exact).abs() < most, "{} {start} {span}", name(method));
        }
    }
}

/// diffrax took a step whose stage had not been found, since its error was finite (diffrax 752).
#[test]
fn a_stage_that_is_not_found_makes_no_step() {
    // The iteration for a stage that goes beyond 1 has no fixed point.
    let stuck = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = if y[0] > 1.0 { -1.0 } else { 1.0 };
    let mut implicit = Method::implicit().to_vec();
    implicit.push(KenCarp4Imex.into());
    for method in implicit {
        let e = solve(method, stuck, &[0.95], &[0.0, 0.4], &Options::steps(2)).unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Diverged { .. }), "{}: {e}", name(method));
        assert_eq!(e.partial().unwrap().y, [0.95]);
        // With steps of its own it comes as near as it can.
        let o = Options { max_steps: 5000, ..Options::default() };
        match solve(method, stuck, &[0.95], &[0.0, 0.4], &o) {
            Ok(found) => assert!((found.y(1)[0] - 1.0).abs() < 1e-3),
            Err(e) => assert!((e.partial().unwrap().y[0] - 1.0).abs() < 1e-3, "{e}"),
        }
    }
}

/// A gradient was 7 % wrong where an event came within one unit in the last place of a save time
/// (SciMLSensitivity 1447): the state saved is the one before the change.
#[test]
fn an_event_at_a_save_time() {
    let f = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 1.0;
    for shift in -2..=2 {
        let mut save = 0.7f64;
        for _ in 0..i32::abs(shift) {
            save = if shift > 0 { save.next_up() } else { save.next_down() };
        }
        let event = Event::new(|t, _: &[f64]| t - 0.7).change(|_, y| y[0] = 10.0);
        let found = Solver::new(Tsit5).event(event).solve(f, &[0.0], &[0.0, save, 1.0]).unwrap();
        assert_eq!(found.solution.ts, [0.0, save, 1.0]);
        assert_eq!(found.events.len(), 1);
        let saved = found.solution.y(1)[0];
        let (before, after) = ((saved - 0.7).abs() < 1e-12, (saved - 10.0).abs() < 1e-12);
        assert!(before || (after && shift > 0), "{shift}: {saved}");
        assert!((found.y[0] - 10.3).abs() < 1e-12);
    }
}

/// Users ask for one step, for inspection and for going on (torchdiffeq 248, diffrax 737).
#[test]
fn steps_one_by_one() {
    for method in all().into_iter().filter(|m| m.tableau().error.is_some()) {
        let o = Options::tolerance(1e-6, 1e-6);
        let whole = solve(method, driven, &exact(0.0), &[0.0, 2.0], &o).unwrap();
        let mut a = Integrator::new(method, &exact(0.0), 0.0, 2.0, o).unwrap();
        let mut f = driven;
        while !a.is_done() {
            // A copy goes on as the original would.
            let mut copy = a.clone();
            copy.step(&mut f).unwrap();
            a.step(&mut f).unwrap();
            assert_eq!((a.t(), a.y()), (copy.t(), copy.y()));
        }
        assert_eq!((a.y(), a.stats()), (whole.y(1), whole.stats), "{}", name(method));
    }
}
