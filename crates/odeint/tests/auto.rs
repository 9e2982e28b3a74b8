//! The choice of the method by itself.

use costate_odeint::{
    Auto, ErrorKind, Integrator, Kvaerno5, Method, Options, Solver, Tsit5, Verner7, solve,
};

fn name(method: Method) -> &'static str {
    method.tableau().name
}

fn van_der_pol(mu: f64) -> impl Fn(f64, &[f64], &mut [f64]) + Copy {
    move |_, y, dy| {
        dy[0] = y[1];
        dy[1] = mu * (1.0 - y[0] * y[0]) * y[1] - y[0];
    }
}

fn lotka_volterra(_: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = 1.5 * y[0] - y[0] * y[1];
    dy[1] = y[0] * y[1] - 3.0 * y[1];
}

fn robertson(_: f64, y: &[f64], dy: &mut [f64]) {
    let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
    (dy[0], dy[1], dy[2]) = (b - a, a - b - c, c);
}

/// Stiff while it creeps, not stiff while it jumps: there and back several times, with far fewer
/// evaluations than the explicit method, and the accuracy of the implicit one.
#[test]
fn van_der_pol_switches_to_and_fro() {
    let f = van_der_pol(1e3);
    let ts = [0.0, 700.0, 3000.0];
    let tight = Options::tolerance(1e-11, 1e-11);
    let reference = solve(Kvaerno5, f, &[2.0, 0.0], &ts, &tight).unwrap();
    for (rtol, most) in [(1e-4, 1e-2), (1e-6, 1e-4), (1e-9, 1e-6)] {
        let options = Options::tolerance(rtol, rtol);
        let found = solve(Auto, f, &[2.0, 0.0], &ts, &options).unwrap();
        assert!(found.stats.switches >= 4, "{rtol:e}: {}", found.stats);
        assert!(found.stats.f_evals < 60_000, "{rtol:e}: {}", found.stats);
        for i in 1..3 {
            let e = (found.y(i)[0] - reference.y(i)[0]).abs();
            assert!(e < most, "{rtol:e}: {e:e}");
        }
    }
    let explicit =
        solve(Tsit5, f, &[2.0, 0.0], &[0.0, 700.0], &Options::tolerance(1e-6, 1e-6)).unwrap();
    assert!(explicit.stats.f_evals > 1_000_000, "{}", explicit.stats);
}

/// What is not stiff is solved by the explicit method, to the same bits.
#[test]
fn what_is_not_stiff_stays_so() {
    for exponent in 3..=12 {
        let rtol = 10f64.powi(-exponent);
        let options = Options::tolerance(rtol, rtol);
        let method = if rtol < 1e-8 { Method::from(Verner7) } else { Tsit5.into() };
        let kepler = |_: f64, y: &[f64], dy: &mut [f64]| {
            let r3 = y[0].hypot(y[1]).powi(3);
            (dy[0], dy[1], dy[2], dy[3]) = (y[2], y[3], -y[0] / r3, -y[1] / r3);
        };
        let lorenz = |_: f64, y: &[f64], dy: &mut [f64]| {
            dy[0] = 10.0 * (y[1] - y[0]);
            dy[1] = y[0] * (28.0 - y[2]) - y[1];
            dy[2] = y[0] * y[1] - 8.0 / 3.0 * y[2];
        };
        let ts = [0.0, 3.0, 30.0];
        let run = |method: Method| {
            [
                solve(method, lotka_volterra, &[1.0, 1.0], &ts, &options).unwrap(),
                solve(method, kepler, &[0.5, 0.0, 0.0, 3f64.sqrt()], &ts, &options).unwrap(),
                solve(method, lorenz, &[1.0, 0.0, 0.0], &ts, &options).unwrap(),
            ]
        };
        assert_eq!(run(Auto.into()), run(method), "{rtol:e}");
    }
}

/// Stiff after a short start, and to the end.
#[test]
fn robertson_switches_once() {
    let reference =
        [0.208_334_014_970_125_5e-7, 0.833_336_077_033_471_3e-13, 0.999_999_979_166_505];
    for rtol in [1e-5, 1e-7, 1e-9] {
        let options = Options::tolerance(rtol, 1e-12 * rtol);
        let found = solve(Auto, robertson, &[1.0, 0.0, 0.0], &[0.0, 1e11], &options).unwrap();
        assert_eq!(found.stats.switches, 1, "{rtol:e}: {}", found.stats);
        assert!(found.stats.accepted < 3000, "{rtol:e}: {}", found.stats);
        for (y, e) in found.y(1).iter().zip(reference) {
            assert!((y / e - 1.0).abs() < 100.0 * rtol, "{rtol:e}: {y:e} for {e:e}");
        }
    }
}

/// By steps: the method can be seen, a clone goes on in the same way, and a grid taken again makes
/// the same choices.
#[test]
fn by_steps() {
    let mut f = van_der_pol(1e3);
    let options = Options::tolerance(1e-6, 1e-6);
    let start = || Integrator::new(Auto, &[2.0, 0.0], 0.0, 1000.0, options).unwrap();
    let (mut a, mut again) = (start(), start());
    assert_eq!(name(a.method()), "Tsit5");
    let mut seen = Vec::new();
    while !a.is_done() {
        a.step(&mut f).unwrap();
        again.step_to(&mut f, a.t()).unwrap();
        assert_eq!(a.y(), again.y());
        if seen.last() != Some(&name(a.method())) {
            seen.push(name(a.method()));
        }
    }
    assert!(seen.starts_with(&["Tsit5", "Kvaerno5", "Tsit5", "Kvaerno5"]), "{seen:?}");
    assert_eq!(a.stats().switches, again.stats().switches);
    let whole = solve(Auto, f, &[2.0, 0.0], &[0.0, 1000.0], &options).unwrap();
    assert_eq!(a.y(), whole.y(1));
    // Anew, it knows nothing of what it has seen.
    a.restart(&[2.0, 0.0], 0.0, 1000.0).unwrap();
    while !a.is_done() {
        a.step(&mut f).unwrap();
    }
    assert_eq!((a.y(), a.stats()), (whole.y(1), whole.stats));
}

/// Dense output goes over the changes, and so do save times.
#[test]
fn dense_output() {
    let f = van_der_pol(1e3);
    let ts: Vec<f64> = (0..=100).map(|i| 10.0 * f64::from(i)).collect();
    let options = Options::tolerance(1e-7, 1e-7);
    let saved = solve(Auto, f, &[2.0, 0.0], &ts, &options).unwrap();
    let dense = Solver::new(Auto).options(options).dense(f, &[2.0, 0.0], 0.0, 1000.0).unwrap();
    assert!(dense.stats.switches >= 3);
    assert_eq!(dense.at(&ts).unwrap().ys, saved.ys);
}

#[test]
fn backward_and_with_equal_steps() {
    // Backward it is not stiff, but unstable.
    let decay = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -1e3 * (y[0] - 1.0);
    let o = Options::default();
    let found = solve(Auto, decay, &[2.0], &[0.0, -0.01], &o).unwrap();
    assert_eq!(found.stats.switches, 0);
    assert!((found.y(1)[0] - 1.0 - 10f64.exp()).abs() < 1.0);
    // And the other way round.
    let growth = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = 1e3 * (y[0] - 1.0);
    let found = solve(Auto, growth, &[2.0], &[0.0, -10.0], &o).unwrap();
    assert_eq!(found.stats.switches, 1, "{}", found.stats);
    assert!((found.y(1)[0] - 1.0).abs() < 1e-5);
    let steps = Options::steps(50);
    let a = solve(Auto, lotka_volterra, &[1.0, 1.0], &[0.0, 3.0], &steps).unwrap();
    assert_eq!(a, solve(Tsit5, lotka_volterra, &[1.0, 1.0], &[0.0, 3.0], &steps).unwrap());
}

/// A field that fails near the solution is no reason to fail.
#[test]
fn hard_cases() {
    let nan = |t: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = if t > 1.0 { f64::NAN } else { -1e4 * (y[0] - t.cos()) }
    };
    let e = solve(Auto, nan, &[0.0], &[0.0, 2.0], &Options::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NonFinite { component: 0, .. }), "{e}");
    assert!(e.partial().unwrap().t > 0.99);
    // From 0 the direction and the size of the state are nothing.
    let still = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -1e5 * y[0];
    let found = solve(Auto, still, &[0.0], &[0.0, 1e3], &Options::default()).unwrap();
    assert_eq!(found.y(1), [0.0]);
}
