//! The multistep method beyond the test set in `stiff.rs`, and mass matrices.

use costate_odeint::{
    Bdf, Error, ErrorKind, Event, Field, Gradient, Integrator, Kvaerno5, Mass, Method, Ode,
    Options, Rodas5P, Solver, Tsit5, solve, with_jacobian, with_mass,
};
use costate_tape::Tape;
use ndarray::arr1;
use proptest::prelude::*;

/// `y' = y cos t` and a coupled pair, with known solutions.
fn field(t: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[0] * t.cos();
    dy[1] = -y[2] + (y[1] * y[1] + y[2] * y[2] - 1.0) * t;
    dy[2] = y[1];
}

fn exact(t: f64) -> [f64; 3] {
    [t.sin().exp(), t.cos(), t.sin()]
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn errors_follow_the_tolerance() {
    let ts: Vec<f64> = (0..=97).map(|i| 2.0 * f64::from(i) / 97.0).collect();
    let back: Vec<f64> = ts.iter().rev().copied().collect();
    for ts in [ts, back] {
        for exponent in [3, 5, 7, 9] {
            let tolerance = 10f64.powi(-exponent);
            let options = Options::tolerance(tolerance, tolerance);
            let solution = solve(Bdf, field, &exact(ts[0]), &ts, &options).unwrap();
            for (i, &t) in ts.iter().enumerate() {
                let e = distance(solution.y(i), &exact(t));
                assert!(e < 150.0 * tolerance, "{e:e} at {t} for {tolerance:e}");
            }
        }
    }
}

/// Few Jacobians and factorisations serve many steps, and most steps take one or two evaluations.
#[test]
fn work_is_kept() {
    let f = with_jacobian(
        |_: f64, y: &[f64], dy: &mut [f64]| {
            let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
            (dy[0], dy[1], dy[2]) = (b - a, a - b - c, c);
        },
        |_: f64, y: &[f64], j: &mut [f64]| {
            let (b1, b2, c) = (1e4 * y[2], 1e4 * y[1], 6e7 * y[1]);
            j.copy_from_slice(&[-0.04, b1, b2, 0.04, -b1 - c, -b2, 0.0, c, 0.0]);
        },
    );
    let options = Options::tolerance(1e-6, 1e-12);
    let stats = solve(Bdf, f, &[1.0, 0.0, 0.0], &[0.0, 4e10], &options).unwrap().stats;
    assert!(stats.jacobian_evals < stats.accepted / 20, "{stats}");
    assert!(stats.factorisations < stats.accepted / 5, "{stats}");
    assert!(stats.f_evals < 9 * stats.accepted / 4, "{stats}");
}

#[test]
fn dense_solutions_and_events() {
    let options = Options::tolerance(1e-8, 1e-8);
    let solution = Solver::new(Bdf).options(options).dense(field, &exact(0.0), 0.0, 2.0).unwrap();
    let (mut y, mut dy, mut slope) = ([0.0; 3], [0.0; 3], [0.0; 3]);
    for i in 0..=200 {
        let t = 0.01 * f64::from(i);
        solution.evaluate(t, &mut y).unwrap();
        solution.derivative(t, &mut dy).unwrap();
        field(t, &exact(t), &mut slope);
        assert!(distance(&y, &exact(t)) < 3e-6 && distance(&dy, &slope) < 1e-3, "{t}");
    }
    // It is continuous where steps meet.
    let times: Vec<f64> = solution.times().collect();
    for t in &times[1..times.len() - 1] {
        let mut after = [0.0; 3];
        solution.evaluate(t.next_down(), &mut y).unwrap();
        solution.evaluate(t.next_up(), &mut after).unwrap();
        assert!(distance(&y, &after) < 1e-13);
    }
    // A ball that bounces: each bounce begins anew.
    let fall = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -9.81);
    let bounce = Event::new(|_, y: &[f64]| y[0]).falling().change(|_, y| y[1] *= -0.9);
    let solver = Solver::new(Bdf).options(options).event(bounce);
    let solved = solver.solve(fall, &[1.0, 0.0], &[0.0, 1.5]).unwrap();
    let first = (2.0 / 9.81f64).sqrt();
    assert_eq!(solved.events.len(), 2);
    assert!((solved.events[0].t - first).abs() < 1e-7);
    assert!((solved.events[1].t - 2.8 * first).abs() < 1e-7, "{}", solved.events[1].t / first);
}

#[test]
fn stops_and_restarts() {
    let options = Options::tolerance(1e-7, 1e-7);
    let ts = [0.0, 0.3, 0.31, 1.7, 2.0];
    let stopping = Options { stop_at_saves: true, ..options };
    for options in [options, stopping] {
        let solution = solve(Bdf, field, &exact(0.0), &ts, &options).unwrap();
        for (i, &t) in ts.iter().enumerate() {
            assert!(distance(solution.y(i), &exact(t)) < 1e-5);
        }
    }
    let mut f = field;
    let mut integrator = Integrator::new(Bdf, &exact(0.0), 0.0, 2.0, options).unwrap();
    while integrator.t() < 0.7 {
        integrator.step(&mut f).unwrap();
    }
    // Another state: as from a new start, to the bit.
    let t = integrator.t();
    integrator.set_state(&exact(1.0)).unwrap();
    let mut new = Integrator::new(Bdf, &exact(1.0), t, 2.0, options).unwrap();
    while !integrator.is_done() {
        integrator.step(&mut f).unwrap();
        new.step(&mut f).unwrap();
        assert_eq!((integrator.t(), integrator.y()), (new.t(), new.y()));
    }
}

fn kind(e: Result<impl Sized, Error>) -> String {
    match e {
        Ok(_) => "solved".into(),
        Err(e) => format!("{:?}", e.kind()),
    }
}

#[test]
fn what_it_cannot_do_it_says() {
    let found = solve(Bdf, field, &exact(0.0), &[0.0, 1.0], &Options::steps(10)).unwrap_err();
    assert!(found.to_string().starts_with("Bdf cannot take equal steps"), "{found}");
    let mut integrator = Integrator::new(Bdf, &exact(0.0), 0.0, 1.0, Options::default()).unwrap();
    let found = integrator.step_to(&mut { field }, 0.5).unwrap_err();
    assert!(found.to_string().starts_with("Bdf cannot step to a given time"), "{found}");
}

#[test]
fn the_continuous_gradient() {
    let tape = Tape::new();
    let (y0, rate) = (tape.constant(&arr1(&[1.0, 2.0])), tape.scalar(0.5));
    let ode = Ode::new(Bdf).tolerance(1e-9, 1e-9).gradient(Gradient::Continuous);
    let ys = ode.solve(|_, y| -(rate * y), y0, [0.0, 2.0]).unwrap();
    let g = ys.index_axis(0, 1).sum().grad(&[rate, y0]).unwrap();
    assert!((g[0].item() + 6.0 * (-1f64).exp()).abs() < 1e-6);
    assert!((g[1].to_vec()[0] - (-1f64).exp()).abs() < 1e-6);
}

#[test]
fn hard_cases() {
    type Plain = dyn Fn(f64, &[f64], &mut [f64]);
    let options = Options { max_steps: 100_000, ..Options::default() };
    let run = |f: &Plain| kind(solve(Bdf, f, &[1.0], &[0.0, 2.0], &options));
    let nan = run(&|t, _, dy| dy[0] = if t > 1.0 { f64::NAN } else { 1.0 });
    assert!(nan.contains("NonFinite") || nan.contains("Diverged"), "{nan}");
    let blow_up = run(&|_, y, dy| dy[0] = y[0] * y[0]);
    assert!(["NonFinite", "StepTooSmall", "Diverged"].iter().any(|e| blow_up.contains(e)));
    let at_rest =
        solve(Bdf, |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 0.0, &[1.0], &[0.0, 2.0], &options);
    assert_eq!(at_rest.unwrap().y(1), [1.0]);
    let zero = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -1e6 * y[0];
    assert!(solve(Bdf, zero, &[0.0], &[0.0, 2.0], &options).unwrap().y(1)[0].abs() < 1e-9);
    let single = |t: f64, y: &[f32], dy: &mut [f32]| dy[0] = -1e3 * (y[0] - (t as f32).cos());
    let loose = Options::tolerance(1e-3, 1e-4);
    let y = solve(Bdf, single, &[0.0f32], &[0.0, 2.0], &loose).unwrap();
    assert!((y.y(1)[0] - 2f32.cos()).abs() < 3e-3);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]
    /// Whatever a field returns, a solve ends after the steps it may try.
    #[test]
    fn nothing_hangs(seed in any::<u64>()) {
        let mut state = seed;
        let f = |_: f64, y: &[f64], dy: &mut [f64]| {
            for (dy, y) in dy.iter_mut().zip(y) {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *dy = match state >> 60 {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => 1e300 * y,
                    n => n as f64 - 8.0 - y,
                };
            }
        };
        let options = Options { max_steps: 200, ..Options::default() };
        let result = solve(Bdf, f, &[1.0, -0.5], &[0.0, 1.0], &options);
        if let Err(e) = result
            && let ErrorKind::MaxSteps { steps, .. } = e.kind()
        {
            prop_assert_eq!(*steps, 200);
        }
    }
}

const WITH_MASS: [fn() -> Method; 2] = [|| Rodas5P.into(), || Bdf.into()];

/// `M y' = M f` has the solution of `y' = f`.
#[test]
fn a_regular_mass_matrix() {
    let m = [2.0, 1.0, 0.0, -1.0, 3.0, 0.5, 0.0, 0.2, 1.5];
    let f = |t: f64, y: &[f64], dy: &mut [f64]| {
        let mut slope = [0.0; 3];
        field(t, y, &mut slope);
        for (row, dy) in m.chunks(3).zip(dy) {
            *dy = row.iter().zip(&slope).map(|(m, s)| m * s).sum();
        }
    };
    for method in WITH_MASS {
        let options = Options::tolerance(1e-8, 1e-8);
        let f = with_mass(f, Mass::dense(m));
        let solution = solve(method(), f, &exact(0.0), &[0.0, 0.77, 2.0], &options).unwrap();
        for (i, &t) in solution.ts.iter().enumerate() {
            let e = distance(solution.y(i), &exact(t));
            assert!(e < 3e-6, "{} at {t}: {e:e}", method().tableau().name);
        }
    }
}

/// Robertson's kinetics with the conservation of mass in place of the third equation.
#[test]
fn robertson_as_an_algebraic_equation() {
    let ode = |_: f64, y: &[f64], dy: &mut [f64]| {
        let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
        (dy[0], dy[1], dy[2]) = (b - a, a - b - c, c);
    };
    let dae = |t: f64, y: &[f64], dy: &mut [f64]| {
        ode(t, y, dy);
        dy[2] = y[0] + y[1] + y[2] - 1.0;
    };
    let (y0, ts) = ([1.0, 0.0, 0.0], [0.0, 0.4, 40.0, 4e3, 4e6]);
    let tight = Options::tolerance(1e-11, 1e-15);
    let reference = solve(Kvaerno5, ode, &y0, &ts, &tight).unwrap();
    for method in WITH_MASS {
        for (rtol, atol) in [(1e-4, 1e-9), (1e-6, 1e-11), (1e-7, 1e-12)] {
            let f = with_mass(dae, Mass::diagonal([1.0, 1.0, 0.0]));
            let options = Options::tolerance(rtol, atol);
            let solution = solve(method(), f, &y0, &ts, &options).unwrap();
            let name = method().tableau().name;
            for (i, t) in ts.iter().enumerate() {
                let y = solution.y(i);
                assert!((y.iter().sum::<f64>() - 1.0).abs() < 1e-2 * rtol, "{name} at {t}");
                for (y, r) in y.iter().zip(reference.y(i)) {
                    let e = (y - r).abs() / (rtol * r + atol);
                    assert!(e < 40.0, "{name} at {t}, {rtol:e}: {y:e} {r:e}");
                }
            }
            assert!(solution.stats.accepted < 3000, "{name}: {}", solution.stats);
        }
    }
}

/// `x' = -x z` with `z = 1 + sin² t` from a nonlinear equation that depends on the time, both ways in
/// time: the solution is known.
#[test]
fn algebraic_equations_hold_at_every_step() {
    let f = |t: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = -y[0] * y[1];
        dy[1] = 1.0 + t.sin().powi(2) - y[1] + 0.1 * (y[1] - 1.0 - t.sin().powi(2)).powi(3);
    };
    let exact = |t: f64| [(-(1.5 * t - (2.0 * t).sin() / 4.0)).exp(), 1.0 + t.sin().powi(2)];
    for method in WITH_MASS {
        for (start, end) in [(0.0, 2.0), (2.0, 0.0)] {
            let options = Options::tolerance(1e-8, 1e-8);
            let field = with_mass(f, Mass::diagonal([1.0, 0.0]));
            let steps = Solver::new(method()).options(options);
            let steps = steps.steps(field, &exact(start), start, end).unwrap().solution;
            for (i, &t) in steps.ts.iter().enumerate() {
                assert!(
                    distance(steps.y(i), &exact(t)) < 2e-6,
                    "{} at {t}",
                    method().tableau().name
                );
            }
        }
    }
}

#[test]
fn mass_matrices_that_do_not_fit() {
    let f = || with_mass(field, Mass::diagonal([1.0, 1.0, 0.0]));
    let options = Options::default();
    for method in [Method::from(Kvaerno5), Tsit5.into()] {
        let found = solve(method, f(), &exact(0.0), &[0.0, 1.0], &options).unwrap_err();
        let expected =
            format!("{} cannot solve equations with a mass matrix", method.tableau().name);
        assert!(found.to_string().starts_with(&expected), "{found}");
    }
    let wrong = with_mass(field, Mass::diagonal([1.0, 1.0]));
    let found = kind(solve(Bdf, wrong, &exact(0.0), &[0.0, 1.0], &options));
    assert!(found.contains("WrongMass"), "{found}");
    assert_eq!(Field::<f64>::mass(&f()).unwrap().rows(), 3);
    // A singular matrix where nothing determines the component.
    let loose = |_: f64, _: &[f64], dy: &mut [f64]| dy.fill(1.0);
    for method in WITH_MASS {
        let field = with_mass(loose, Mass::diagonal([1.0, 0.0]));
        let found = kind(solve(method(), field, &[0.0, 0.0], &[0.0, 1.0], &options));
        assert!(found.contains("Diverged"), "{found}");
    }
}
