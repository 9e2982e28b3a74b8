//! Every method on problems: the order it converges with, also between steps, and its error.

use costate_odeint::{
    Bosh3, Dopri5, KenCarp4Imex, Method, Options, Rk4, Rodas5P, Scheme, Stepping, solve,
};

/// Every method for any field that can take equal steps.
fn every() -> Vec<Method> {
    let mut all = Method::all().to_vec();
    all.extend(Method::implicit());
    all.extend([Method::from(Rodas5P), KenCarp4Imex.into()]);
    let coupled = [Method::from(Bosh3), Rk4.into(), Dopri5.into()];
    all.extend(coupled.map(|m| Method::from(Scheme::coupled(m, 0.999))));
    all.extend([Scheme::ReversibleHeun, Scheme::AsynchronousLeapfrog].map(Method::from));
    all
}

/// A problem with a known solution.
struct Problem {
    field: fn(f64, &[f64], &mut [f64]),
    exact: fn(f64) -> [f64; 3],
}

/// `y' = y cos t` and a coupled nonlinear pair, both with the time in the field; and the rotation of
/// a rigid body with two equal moments, with a nonlinear equation, without it.
const PROBLEMS: [Problem; 2] = [
    Problem {
        field: |t, y, dy| {
            dy[0] = y[0] * t.cos();
            dy[1] = -y[2] + (y[1] * y[1] + y[2] * y[2] - 1.0) * t;
            dy[2] = y[1];
        },
        exact: |t| [t.sin().exp(), t.cos(), t.sin()],
    },
    Problem {
        field: |_, y, dy| {
            dy[0] = -y[0] * y[0];
            dy[1] = y[2] * (y[1] * y[1] + y[2] * y[2]);
            dy[2] = -y[1] * (y[1] * y[1] + y[2] * y[2]);
        },
        exact: |t| [1.0 / (1.0 + t), t.cos(), -t.sin()],
    },
];

/// The error at given times with `n` equal steps over [0, 2], or backward.
fn error(method: Method, problem: &Problem, n: usize, ts: &[f64]) -> f64 {
    let options = Options { stepping: Stepping::Steps(n), ..Options::default() };
    let solution = solve(method, problem.field, &(problem.exact)(ts[0]), ts, &options).unwrap();
    let errors = ts.iter().enumerate().flat_map(|(i, &t)| {
        solution.y(i).iter().zip((problem.exact)(t)).map(|(y, e)| (y - e).abs()).collect::<Vec<_>>()
    });
    errors.fold(0.0, f64::max)
}

/// The order measured between `n` and `m` steps: enough to be in the regime of the leading term,
/// and not so many that rounding shows.
fn slope(method: Method, problem: &Problem, ts: &[f64]) -> f64 {
    let (n, m) = match method.tableau().order {
        5 if method.needs_jacobian() => (16, 64),
        1 => (1000, 4000),
        2..=5 => (60, 240),
        6 => (10, 20),
        7 => (12, 24),
        8 => (10, 20),
        _ => (6, 12),
    };
    let (coarse, fine) = (error(method, problem, n, ts), error(method, problem, m, ts));
    (coarse / fine).ln() / (m as f64 / n as f64).ln()
}

/// Asserts that a measured order is the one stated. Methods of high order are measured with few
/// steps, where terms of higher order still show; that they are of no higher order than stated is
/// shown by their order conditions.
#[track_caller]
fn is_order(method: Method, found: f64, order: u32) {
    let (name, order) = (method.tableau().name, f64::from(order));
    let (below, above) = match method {
        // Two steps of it, forward and back, may cancel each other's errors.
        Method::Reversible(_) => (0.4, 1.4),
        _ if order < 6.0 => (0.4, 0.4),
        _ => (0.8, 2.0),
    };
    assert!(found > order - below && found < order + above, "{name}: {found} for {order}");
}

#[test]
fn order_of_convergence() {
    for method in every() {
        for problem in &PROBLEMS {
            for ts in [[0.0, 2.0], [2.0, 0.0]] {
                is_order(method, slope(method, problem, &ts), method.tableau().order);
            }
        }
    }
}

/// The states between steps converge with the order of the method, or one above that of the weights.
#[test]
fn order_of_the_states_between_steps() {
    let ts: Vec<f64> = (0..=271).map(|i| 2.0 * f64::from(i) / 271.0).collect();
    for method in every() {
        let tableau = method.tableau();
        for problem in &PROBLEMS {
            let order = tableau.order.min(tableau.interpolant.order + 1);
            is_order(method, slope(method, problem, &ts), order);
        }
    }
}

/// The two-body problem with eccentricity 0.5, whose orbit closes after 2π.
#[test]
fn error_follows_the_tolerance() {
    let kepler = |_: f64, y: &[f64], dy: &mut [f64]| {
        let r3 = (y[0] * y[0] + y[1] * y[1]).powf(1.5);
        (dy[0], dy[1], dy[2], dy[3]) = (y[2], y[3], -y[0] / r3, -y[1] / r3);
    };
    let y0 = [0.5, 0.0, 0.0, 3f64.sqrt()];
    for method in Method::all().into_iter().filter(|m| m.tableau().embedded_order >= Some(4)) {
        let mut last = f64::INFINITY;
        for exponent in [4, 6, 8, 10] {
            let tolerance = 10f64.powi(-exponent);
            let options = Options::tolerance(tolerance, tolerance);
            let ts = [0.0, std::f64::consts::TAU];
            let solution = solve(method, kepler, &y0, &ts, &options).unwrap();
            let error =
                solution.y(1).iter().zip(y0).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 3000.0 * tolerance, "{}: {error:e}", method.tableau().name);
            assert!(error < last / 5.0, "{}: {error:e} after {last:e}", method.tableau().name);
            last = error;
        }
    }
}

/// The Arenstorf orbit (Hairer, Nørsett, Wanner, II.0), which closes after the stated period.
#[test]
fn arenstorf_orbit_closes() {
    const MU: f64 = 0.012277471;
    let f = |_: f64, y: &[f64], dy: &mut [f64]| {
        let d1 = ((y[0] + MU).powi(2) + y[1].powi(2)).powf(1.5);
        let d2 = ((y[0] - 1.0 + MU).powi(2) + y[1].powi(2)).powf(1.5);
        dy[0] = y[2];
        dy[1] = y[3];
        dy[2] = y[0] + 2.0 * y[3] - (1.0 - MU) * (y[0] + MU) / d1 - MU * (y[0] - 1.0 + MU) / d2;
        dy[3] = y[1] - 2.0 * y[2] - (1.0 - MU) * y[1] / d1 - MU * y[1] / d2;
    };
    let y0 = [0.994, 0.0, 0.0, -2.001_585_106_379_082_5];
    let ts = [0.0, 17.065_216_560_157_964];
    for method in Method::all().into_iter().filter(|m| m.tableau().embedded_order >= Some(4)) {
        let solution = solve(method, f, &y0, &ts, &Options::tolerance(1e-12, 1e-12)).unwrap();
        assert!((solution.y(1)[0] - y0[0]).abs() < 1e-5);
        assert!(solution.y(1)[1].abs() < 1e-5);
    }
}
