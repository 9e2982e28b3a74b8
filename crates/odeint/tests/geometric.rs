//! Symplectic and symmetric methods: their coefficients, their order, and what they conserve.

use costate_odeint::{
    ErrorKind, GaussLegendre4, GaussLegendre6, Gradient, Integrator, Method, Ode, Options, Part,
    Rk4, Separable, Stepping, SymplecticEuler, VelocityVerlet, Yoshida4, Yoshida6, solve,
};
use costate_tape::{Tape, Var};
use ndarray::Array1;

/// `b_i â_ij + b̂_j a_ji = b_i b̂_j` for every kick `i` and drift `j` (Hairer, Lubich, Wanner,
/// VI.4.3), and weights that sum to 1.
#[test]
fn coefficients_are_symplectic() {
    for method in Method::symplectic() {
        let tableau = method.tableau();
        let a = |i: usize, j: usize| tableau.a[i].get(j).copied().unwrap_or(0.0);
        let b = tableau.b;
        let mut sums = [0.0, 0.0];
        for i in 0..tableau.rows() {
            match tableau.part(i) {
                Part::All => assert_eq!(b[i], 0.0),
                Part::Positions => sums[0] += b[i],
                Part::Momenta => sums[1] += b[i],
            }
            for j in 0..tableau.rows() {
                if tableau.part(i) == Part::Momenta && tableau.part(j) == Part::Positions {
                    assert_eq!(b[i] * a(i, j) + b[j] * a(j, i), b[i] * b[j], "{}", tableau.name);
                }
            }
        }
        assert!(sums.iter().all(|s| (s - 1.0).abs() < 4e-16), "{}: {sums:?}", tableau.name);
    }
}

/// Symmetric compositions of Verlet steps of sizes `γ`: order 4 needs `Σ γ³ = 0`, order 6 also
/// `Σ γ⁵ = 0` and one condition more (Hairer, Lubich, Wanner, V.3.2), which shows in the measured
/// order.
#[test]
fn compositions_cancel_the_powers() {
    for (method, powers) in [(Method::from(Yoshida4), &[3][..]), (Yoshida6.into(), &[3, 5])] {
        let tableau = method.tableau();
        let drifts = (0..tableau.rows()).filter(|&i| tableau.part(i) == Part::Positions);
        let sizes: Vec<f64> = drifts.map(|i| tableau.b[i]).collect();
        assert!(sizes.iter().eq(sizes.iter().rev()), "{}", tableau.name);
        for &power in powers {
            let sum: f64 = sizes.iter().map(|x| x.powi(power)).sum();
            assert!(sum.abs() < 1e-14, "{}: {power} {sum:e}", tableau.name);
        }
    }
}

/// An oscillator whose frequency and whose mass change, so that kicks and drifts depend on the time.
fn driven() -> impl FnMut(f64, &[f64], &mut [f64]) + Copy {
    |t: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = y[1] * (1.0 + 0.3 * t.sin());
        dy[1] = -y[0].sin() * (1.0 + 0.5 * t.cos());
    }
}

/// A pendulum with a quartic kinetic energy.
fn autonomous() -> impl FnMut(f64, &[f64], &mut [f64]) + Copy {
    |_: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = y[1] + 0.3 * y[1].powi(3);
        dy[1] = -y[0].sin();
    }
}

#[test]
fn order_of_convergence() {
    orders(driven());
    orders(autonomous());
}

fn orders(f: impl FnMut(f64, &[f64], &mut [f64]) + Copy) {
    let options = Options::tolerance(1e-13, 1e-13);
    for ends in [[0.3, 2.3], [2.3, 0.3]] {
        let ts: Vec<f64> =
            (0..=37).map(|i| ends[0] + (ends[1] - ends[0]) * f64::from(i) / 37.0).collect();
        let y0 = [1.0, 0.4];
        let exact = solve(costate_odeint::Dop853, f, &y0, &ts, &options).unwrap();
        for method in Method::symplectic() {
            let (order, n) = match method.tableau().order {
                1 => (1.0, 400),
                2 => (2.0, 200),
                4 => (4.0, 60),
                _ => (6.0, 60),
            };
            let error = |n: usize| {
                let found = solve(method, f, &y0, &ts, &Options::steps(n)).unwrap();
                let distance = |(a, b): (&f64, &f64)| (a - b).abs();
                let all = found.ys.iter().zip(&exact.ys).map(distance).fold(0.0, f64::max);
                let end = found.y(37).iter().zip(exact.y(37)).map(distance).fold(0.0, f64::max);
                [end, all]
            };
            let (coarse, fine) = (error(n), error(2 * n));
            let name = method.tableau().name;
            let slope = |i: usize| (coarse[i] / fine[i]).log2();
            assert!((slope(0) - order).abs() < 0.3, "{name}: {} {coarse:?} {fine:?}", slope(0));
            // Cubic interpolation is of order 4.
            let order = order.min(4.0);
            assert!((slope(1) - order).abs() < 0.4, "{name}, dense: {}", slope(1));
        }
    }
}

/// The derivative `M` of some steps, by reverse differentiation.
fn derivative(
    method: Method,
    field: impl for<'t> Fn(Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>,
) -> Vec<Vec<f64>> {
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![0.7, -0.4, 0.3, 1.1]));
    let ode = Ode::new(method).steps(5);
    let end = ode.solve(field, y0, [0.0, 1.0]).unwrap().index_axis(0, 1);
    (0..4).map(|i| end.index_axis(0, i).grad(&[y0]).unwrap()[0].to_vec()).collect()
}

/// The largest entry of `Mᵀ J M - J`.
fn departure(m: &[Vec<f64>]) -> f64 {
    let form = |i: usize, j: usize| match (i, j) {
        (0, 2) | (1, 3) => 1.0,
        (2, 0) | (3, 1) => -1.0,
        _ => 0.0,
    };
    let mut largest = 0.0f64;
    for i in 0..4 {
        for j in 0..4 {
            let product: f64 = (0..2).map(|k| m[k][i] * m[k + 2][j] - m[k + 2][i] * m[k][j]).sum();
            largest = largest.max((product - form(i, j)).abs());
        }
    }
    largest
}

/// `H = p²/2 + p⁴/40 - cos q₀ - cos q₁ + 0.15 q₀² q₁²`.
fn separable<'t>(_: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (q, p) = (y.slice_axis(0, 0..2), y.slice_axis(0, 2..4));
    let (q0, q1) = (q.index_axis(0, 0), q.index_axis(0, 1));
    let coupling = 0.3 * q0 * q1 * Var::stack(0, &[q1, q0]);
    Var::concat(0, &[p + 0.1 * p * p * p, -q.sin() - coupling])
}

/// `H = ½ (p · p)(1 + q · q) - cos q₀ - cos q₁`, which does not separate.
fn entangled<'t>(_: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (q, p) = (y.slice_axis(0, 0..2), y.slice_axis(0, 2..4));
    Var::concat(0, &[p * (1.0 + q.dot(q)), -(q * p.dot(p)) - q.sin()])
}

/// The derivative `M` of a step satisfies `Mᵀ J M = J`.
#[test]
fn steps_are_symplectic() {
    let gauss: [Method; 2] = [GaussLegendre4.into(), GaussLegendre6.into()];
    for method in Method::symplectic().into_iter().chain(gauss) {
        let d = departure(&derivative(method, separable));
        assert!(d < 1e-13, "{}: {d:e}", method.tableau().name);
    }
    for method in gauss {
        let d = departure(&derivative(method, entangled));
        assert!(d < 1e-13, "{}: {d:e}", method.tableau().name);
    }
    // The measure is not blind.
    assert!(departure(&derivative(Rk4.into(), separable)) > 1e-7);
    assert!(departure(&derivative(Yoshida4.into(), entangled)) > 1e-4);
}

/// `b_i a_ij + b_j a_ji = b_i b_j`: the condition for every Hamiltonian, and for every quadratic
/// invariant (Hairer, Lubich, Wanner, IV.2.2 and VI.4.2).
#[test]
fn collocation_is_symplectic() {
    for method in [Method::from(GaussLegendre4), GaussLegendre6.into()] {
        let tableau = method.tableau();
        let stages = 1..tableau.rows() - 1;
        for i in stages.clone() {
            for j in stages.clone() {
                let (a, b) = (tableau.a, tableau.b);
                let sum = b[i] * a[i][j] + b[j] * a[j][i] - b[i] * b[j];
                assert!(sum.abs() < 1e-16, "{}: {i} {j} {sum:e}", tableau.name);
            }
        }
    }
}

/// A rigid body (Hairer, Lubich, Wanner, IV.1): both the energy and the size of the angular momentum
/// are quadratic, and stay as they are to a few units in the last place over 100000 steps.
#[test]
fn collocation_conserves_quadratic_invariants() {
    let f = |_: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = (1.0 / 2.0 - 1.0) * y[1] * y[2];
        dy[1] = (1.0 - 3.0 / 2.0) * y[2] * y[0];
        dy[2] = (3.0 / 2.0 - 1.0 / 2.0) * y[0] * y[1];
    };
    let energy = |y: &[f64]| 1.5 * y[0] * y[0] + 0.5 * y[1] * y[1] + y[2] * y[2];
    let size = |y: &[f64]| y[0] * y[0] + y[1] * y[1] + y[2] * y[2];
    let y0 = [1.1f64.cos(), 0.0, 1.1f64.sin()];
    for method in [Method::from(GaussLegendre4), GaussLegendre6.into()] {
        let options = Options::steps(100_000);
        let mut integrator = Integrator::new(method, &y0, 0.0, 20_000.0, options).unwrap();
        let mut f = f;
        let mut worst = 0.0f64;
        while !integrator.is_done() {
            integrator.step(&mut f).unwrap();
            let y = integrator.y();
            worst = worst.max((size(y) - size(&y0)).abs()).max((energy(y) - energy(&y0)).abs());
        }
        assert!(worst < 1e-13, "{}: {worst:e}", method.tableau().name);
    }
}

/// Where a step is too long for the iteration, that is said, and the state is kept.
#[test]
fn fixed_point_iteration_may_fail() {
    let fast = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -100.0 * y[0];
    let e = solve(GaussLegendre6, fast, &[1.0], &[0.0, 1.0], &Options::steps(10)).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NoConvergence { .. }), "{e}");
    let slower = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -25.0 * y[0];
    let mut integrator =
        Integrator::new(GaussLegendre4, &[1.0], 0.0, 1.0, Options::steps(50)).unwrap();
    integrator.step(&mut { slower }).unwrap();
    let good = integrator.clone();
    let broken = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = f64::NAN;
    integrator.step(&mut { broken }).unwrap_err();
    assert_eq!((integrator.t(), integrator.y()), (good.t(), good.y()));
    integrator.step(&mut { slower }).unwrap();
    let mut good = good;
    good.step(&mut { slower }).unwrap();
    assert!((integrator.y()[0] - good.y()[0]).abs() < 1e-15);
}

/// Half of a separable system.
type Half = fn(f64, &[f64], &mut [f64]);

/// The two-body problem with its energy.
fn kepler() -> Separable<Half, Half> {
    Separable {
        drift: |_: f64, p: &[f64], dq: &mut [f64]| dq.copy_from_slice(p),
        kick: |_: f64, q: &[f64], dp: &mut [f64]| {
            let r2 = q[0] * q[0] + q[1] * q[1];
            let r3 = r2 * r2.sqrt();
            (dp[0], dp[1]) = (-q[0] / r3, -q[1] / r3);
        },
    }
}

fn energy(y: &[f64]) -> f64 {
    0.5 * (y[2] * y[2] + y[3] * y[3]) - 1.0 / y[0].hypot(y[1])
}

/// The largest error of the energy in the first and in the last tenth of a million steps around an
/// orbit of eccentricity 0.3, 100 to a revolution, and the error of the angular momentum.
fn drift(method: Method) -> (f64, f64, f64) {
    const STEPS: usize = 1_000_000;
    let dt = std::f64::consts::TAU / 100.0;
    let y0 = [0.7, 0.0, 0.0, (1.3f64 / 0.7).sqrt()];
    let options =
        Options { stepping: Stepping::Fixed(dt), max_steps: 2 * STEPS, ..Options::default() };
    let mut f = kepler();
    let mut integrator = Integrator::new(method, &y0, 0.0, dt * STEPS as f64, options).unwrap();
    let (mut first, mut last, mut momentum) = (0.0f64, 0.0f64, 0.0f64);
    let spin = |y: &[f64]| y[0] * y[3] - y[1] * y[2];
    for i in 0..STEPS {
        integrator.step(&mut f).unwrap();
        let y = integrator.y();
        let error = (energy(y) - energy(&y0)).abs();
        if i < STEPS / 10 {
            first = first.max(error);
        } else if i >= STEPS - STEPS / 10 {
            last = last.max(error);
        }
        momentum = momentum.max((spin(y) - spin(&y0)).abs());
    }
    (first, last, momentum)
}

#[test]
fn energy_does_not_drift_over_a_million_steps() {
    let gauss: [Method; 2] = [GaussLegendre4.into(), GaussLegendre6.into()];
    for method in Method::symplectic().into_iter().chain(gauss) {
        let (first, last, momentum) = drift(method);
        let name = method.tableau().name;
        assert!(first < 0.1 && last < 1.05 * first + 1e-11, "{name}: {first:e} {last:e}");
        // It is quadratic, and conserved to rounding.
        assert!(momentum < 1e-10, "{name}: {momentum:e}");
    }
}

/// The same measure finds the drift of a method that is not symplectic.
#[test]
fn energy_drifts_where_a_method_is_not_symplectic() {
    let (first, last, _) = drift(Rk4.into());
    assert!(last > 3.0 * first, "{first:e} {last:e}");
}

/// Only what is used is evaluated: one drift and two kicks for Verlet.
#[test]
fn parts_are_evaluated_alone() {
    let (mut drifts, mut kicks) = (0, 0);
    let f = Separable {
        drift: |_: f64, p: &[f64], dq: &mut [f64]| {
            drifts += 1;
            dq.copy_from_slice(p);
        },
        kick: |_: f64, q: &[f64], dp: &mut [f64]| {
            kicks += 1;
            dp[0] = -q[0];
        },
    };
    let y0 = [1.0, 0.0];
    let solution = solve(VelocityVerlet, f, &y0, &[0.0, 1.0], &Options::steps(10)).unwrap();
    assert_eq!((drifts, kicks), (10, 20));
    assert_eq!(solution.stats.f_evals, 30);
    let whole = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -y[0]);
    let same = solve(VelocityVerlet, whole, &y0, &[0.0, 1.0], &Options::steps(10)).unwrap();
    assert_eq!(solution, same);
}

/// Symmetric methods go back to where they came from.
#[test]
fn symmetric_methods_return() {
    let y0 = [0.7, 0.0, 0.0, (1.3f64 / 0.7).sqrt()];
    let [verlet, four, six]: [Method; 3] =
        [VelocityVerlet.into(), Yoshida4.into(), Yoshida6.into()];
    for method in [verlet, four, six, GaussLegendre4.into(), GaussLegendre6.into()] {
        let there = solve(method, kepler(), &y0, &[0.0, 10.0], &Options::steps(500)).unwrap();
        let back = solve(method, kepler(), there.y(1), &[10.0, 0.0], &Options::steps(500)).unwrap();
        for (a, b) in back.y(1).iter().zip(y0) {
            assert!((a - b).abs() < 1e-12, "{}: {a} {b}", method.tableau().name);
        }
    }
}

#[test]
fn what_symplectic_methods_cannot_do() {
    let f = |_: f64, _: &[f64], dy: &mut [f64]| dy.fill(0.0);
    let e = solve(SymplecticEuler, f, &[1.0; 3], &[0.0, 1.0], &Options::steps(2)).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::OddState { components: 3, .. }), "{e}");
    let e = solve(SymplecticEuler, f, &[1.0; 2], &[0.0, 1.0], &Options::default()).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NoErrorEstimate { .. }), "{e}");
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from(vec![1.0, 0.0]));
    let ode = Ode::new(VelocityVerlet).steps(3).gradient(Gradient::Continuous);
    let e = ode.solve(|_, y| -y, y0, [0.0, 1.0]).unwrap_err();
    assert!(e.to_string().contains("velocity Verlet cannot solve them"), "{e}");
}
