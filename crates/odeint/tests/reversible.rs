//! Reversible steps: they return to their start to rounding, and converge with their order.

use costate_odeint::{
    Bosh3, Dopri5, ErrorKind, GaussLegendre4, Kvaerno5, Method, Options, Reversible, Rk4, Rodas5P,
    Scheme, Tsit5, VelocityVerlet, Verner9, solve,
};
use proptest::prelude::*;

fn schemes() -> Vec<(Scheme, f64)> {
    let coupled = |method: Method, order| (Scheme::coupled(method, 0.999), order);
    vec![
        (Scheme::ReversibleHeun, 2.0),
        (Scheme::AsynchronousLeapfrog, 2.0),
        coupled(Bosh3.into(), 3.0),
        coupled(Rk4.into(), 4.0),
        coupled(Dopri5.into(), 5.0),
    ]
}

/// `y' = y cos t` and a nonlinear rotation, both depending on the time.
fn field(t: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[0] * t.cos();
    dy[1] = -y[2] + (y[1] * y[1] + y[2] * y[2] - 1.0) * t;
    dy[2] = y[1];
}

fn exact(t: f64) -> [f64; 3] {
    [t.sin().exp(), t.cos(), t.sin()]
}

/// The state after `n` steps from `start` to `end`.
fn forward(scheme: Scheme, n: usize, start: f64, end: f64) -> Reversible<f64> {
    let mut solve = Reversible::new(scheme, &mut { field }, start, &exact(start)).unwrap();
    for i in 1..=n {
        solve.step_to(&mut { field }, start + (end - start) * i as f64 / n as f64).unwrap();
    }
    solve
}

#[test]
fn order_of_convergence() {
    for (scheme, order) in schemes() {
        for (start, end) in [(0.0, 2.0), (2.0, 0.0)] {
            let error = |n| {
                let solve = forward(scheme, n, start, end);
                let pairs = solve.y().iter().zip(exact(end));
                pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            };
            let slope = (error(80) / error(160)).log2();
            assert!((slope - order).abs() < 0.5, "{scheme:?}: {slope}");
        }
    }
}

/// A pendulum that is pushed; it neither grows nor decays, which two of the schemes ask for.
fn pendulum(t: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[1];
    dy[1] = -y[0].sin() + 0.3 * t.cos();
}

#[test]
fn they_return_to_their_start() {
    const N: usize = 1000;
    let all = schemes().into_iter().map(|s| s.0);
    let tight = Scheme::coupled(Verner9, 0.99);
    for scheme in all.chain([tight]) {
        let y0 = [1.0, 0.2];
        let time = |i: usize| 20.0 * i as f64 / N as f64;
        let mut solve = Reversible::new(scheme, &mut { pendulum }, 0.0, &y0).unwrap();
        for i in 1..=N {
            solve.step_to(&mut { pendulum }, time(i)).unwrap();
        }
        assert!((solve.y()[0] - y0[0]).abs() > 0.1);
        for i in (0..N).rev() {
            solve.step_back_to(&mut { pendulum }, time(i)).unwrap();
        }
        assert_eq!(solve.t(), 0.0);
        // Rounding, times what a thousand divisions by the coupling make of it.
        let growth = match scheme {
            Scheme::Coupled { coupling, .. } => coupling.powi(-(N as i32)),
            _ => 1.0,
        };
        for (a, b) in solve.y().iter().zip(y0) {
            assert!((a - b).abs() < 1e-12 * growth, "{scheme:?}: {a} {b}");
        }
    }
}

/// As methods of a solve: equal steps give the same bits, and adaptive ones keep to the tolerance.
#[test]
fn as_methods_of_a_solve() {
    for (scheme, order) in schemes() {
        let end = forward(scheme, 50, 0.0, 2.0);
        let ts = [0.0, 0.33, 2.0];
        let found = solve(scheme, field, &exact(0.0), &ts, &Options::steps(50)).unwrap();
        // The times of steps are computed in another order.
        for (a, b) in found.y(2).iter().zip(end.y()) {
            assert!((a - b).abs() < 1e-13, "{scheme:?}: {a} {b}");
        }
        let error = |steps| {
            let found = solve(scheme, field, &exact(0.0), &ts, &Options::steps(steps)).unwrap();
            let pairs = found.y(1).iter().zip(exact(0.33));
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        // The solution between steps is a cubic. The time is at another place of its step each time.
        let slope = (error(40) / error(320)).log2() / 3.0;
        assert!(slope > order.min(4.0) - 0.7, "{scheme:?}: {slope}");
    }
    for (method, tolerance) in
        [(Method::from(Bosh3), 1e-5), (Tsit5.into(), 1e-9), (Dopri5.into(), 1e-7)]
    {
        let scheme = Scheme::coupled(method, 0.999);
        let options = Options::tolerance(tolerance, tolerance);
        let found = solve(scheme, field, &exact(0.0), &[0.0, 1.0, 2.0], &options).unwrap();
        for (a, b) in found.y(2).iter().zip(exact(2.0)) {
            assert!((a - b).abs() < 300.0 * tolerance, "{}: {a} {b}", method.tableau().name);
        }
        assert!(found.stats.accepted > 10 && found.stats.accepted < 500, "{}", found.stats);
    }
    let e =
        solve(Scheme::AsynchronousLeapfrog, field, &exact(0.0), &[0.0, 1.0], &Options::default());
    assert!(matches!(e.unwrap_err().kind(), ErrorKind::NoErrorEstimate { .. }));
}

#[test]
fn bad_input() {
    let error = |scheme, y0: &[f64]| Reversible::new(scheme, &mut { field }, 0.0, y0).unwrap_err();
    let coupled = |method: Method, coupling| Scheme::coupled(method, coupling);
    let y0 = [1.0, 1.0, 0.0];
    assert!(matches!(error(Scheme::ReversibleHeun, &[]).kind(), ErrorKind::EmptyState));
    for coupling in [0.0, -1.0, 1.1, f64::NAN] {
        let e = error(coupled(Rk4.into(), coupling), &y0);
        assert!(matches!(e.kind(), ErrorKind::BadOption { option: "coupling", .. }), "{e}");
    }
    for method in
        [Method::from(VelocityVerlet), GaussLegendre4.into(), Kvaerno5.into(), Rodas5P.into()]
    {
        let e = error(coupled(method, 0.99), &y0);
        assert!(matches!(e.kind(), ErrorKind::NotExplicit { .. }), "{e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..Default::default() })]

    /// One step and back, of any size, on a random field.
    #[test]
    fn a_step_is_undone(
        a in prop::collection::vec(-2.0..2.0f64, 9),
        y0 in prop::collection::vec(-2.0..2.0f64, 3),
        t in -3.0..3.0f64,
        h in prop_oneof![-0.5..-1e-3f64, 1e-3..0.5f64],
        which in 0usize..5,
    ) {
        let mut f = |t: f64, y: &[f64], dy: &mut [f64]| {
            for i in 0..3 {
                let sum: f64 = (0..3).map(|j| a[3 * i + j] * y[j]).sum();
                dy[i] = (sum + t).sin();
            }
        };
        let mut solve = Reversible::new(schemes()[which].0, &mut f, t, &y0).unwrap();
        solve.step_to(&mut f, t + h).unwrap();
        let companion = solve.companion().to_vec();
        let middle = solve.y().to_vec();
        solve.step_to(&mut f, t + 2.0 * h).unwrap();
        solve.step_back_to(&mut f, t + h).unwrap();
        let pairs = solve.y().iter().zip(&middle).chain(solve.companion().iter().zip(&companion));
        for (a, b) in pairs {
            prop_assert!((a - b).abs() < 1e-13, "{a} {b}");
        }
        solve.step_back_to(&mut f, t).unwrap();
        for (a, b) in solve.y().iter().zip(&y0) {
            prop_assert!((a - b).abs() < 1e-13, "{a} {b}");
        }
    }
}
