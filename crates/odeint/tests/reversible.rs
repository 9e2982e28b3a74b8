//! Reversible steps: they return to their start to rounding, and converge with their order.

use costate_odeint::{
    Bosh3, Dopri5, ErrorKind, GaussLegendre4, Method, Reversible, Rk4, Scheme, VelocityVerlet,
    Verner9,
};
use proptest::prelude::*;

fn schemes() -> Vec<(Scheme, f64)> {
    let coupled = |method: Method, order| (Scheme::Coupled { method, coupling: 0.999 }, order);
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
    let tight = Scheme::Coupled { method: Verner9.into(), coupling: 0.99 };
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

#[test]
fn bad_input() {
    let error = |scheme, y0: &[f64]| Reversible::new(scheme, &mut { field }, 0.0, y0).unwrap_err();
    let coupled = |method: Method, coupling| Scheme::Coupled { method, coupling };
    let y0 = [1.0, 1.0, 0.0];
    assert!(matches!(error(Scheme::ReversibleHeun, &[]).kind(), ErrorKind::EmptyState));
    for coupling in [0.0, -1.0, 1.1, f64::NAN] {
        let e = error(coupled(Rk4.into(), coupling), &y0);
        assert!(matches!(e.kind(), ErrorKind::BadOption { option: "coupling", .. }), "{e}");
    }
    for method in [Method::from(VelocityVerlet), GaussLegendre4.into()] {
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
