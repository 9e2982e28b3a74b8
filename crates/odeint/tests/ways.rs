//! The continuous ways to the gradient: how fast they converge to it, and where they refuse.

use costate_odeint::{
    Bosh3, Dop853, GaussLegendre4, Gradient, Heun, Kvaerno3, Kvaerno5, Method, Ode, Rk4, Rodas5P,
    TrBdf2, Tsit5, VelocityVerlet, Verner7, Verner9,
};
use costate_tape::{Tape, Var};

fn leaf<'t>(tape: &'t Tape<f64>, shape: &[usize], seed: f64, size: f64) -> Var<'t, f64> {
    let len: usize = shape.iter().product();
    let x: Vec<f64> = (0..len).map(|i| size * (seed + 12.9898 * i as f64).sin()).collect();
    tape.leaf(&x, shape)
}

/// The gradient with respect to the start, the weights of a small network with a stiff part of the
/// given rate, and the times.
fn gradient(ode: &Ode, ts: &[f64], rate: f64) -> Vec<f64> {
    let tape = Tape::new();
    let (y0, w1) = (leaf(&tape, &[3, 2], 0.3, 1.0), leaf(&tape, &[2, 4], 1.7, 0.9));
    let (b, w2) = (leaf(&tape, &[4], 2.9, 0.4), leaf(&tape, &[4, 2], 4.1, 0.8));
    let rates = tape.leaf(&[rate, 0.3], [1, 2]);
    let times = tape.leaf(ts, [ts.len()]);
    let ys = ode
        .solve(|t, y| (y.matmul(w1) + b * t.sin()).tanh().matmul(w2) - y * rates, y0, times)
        .unwrap();
    let weights = leaf(&tape, &[ts.len(), 3, 2], 5.5, 1.0);
    let bars = (ys * weights).sum().grad(&[y0, w1, b, w2, rates, times]).unwrap();
    bars.iter().flat_map(|g| g.to_vec()).collect()
}

/// The largest difference, relative to the largest entry.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    let most = |x: f64, y: f64| if y.is_nan() { y } else { x.max(y) };
    let size = b.iter().map(|x| x.abs()).fold(0.0, f64::max);
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, most) / size
}

/// With equal steps, the error falls with the order of the states between steps, which is that of
/// the method but where its interpolant is of lower order.
#[test]
fn interpolated_has_the_order_of_its_method() {
    let ts = [0.0, 1.0, 2.0];
    let reference = gradient(&Ode::new(Verner9).tolerance(1e-14, 1e-14), &ts, 2.0);
    let methods: [(Method, usize); 10] = [
        (Heun.into(), 40),
        (Bosh3.into(), 40),
        (Rk4.into(), 32),
        (Tsit5.into(), 24),
        (Verner7.into(), 12),
        (Dop853.into(), 10),
        (GaussLegendre4.into(), 24),
        (TrBdf2.into(), 40),
        (Kvaerno3.into(), 40),
        (Kvaerno5.into(), 32),
    ];
    for (method, steps) in methods {
        let tableau = method.tableau();
        let order = tableau.order.min(tableau.interpolant.order + 1);
        let error = |steps| {
            let ode = Ode::new(method).steps(steps).gradient(Gradient::Interpolated);
            distance(&gradient(&ode, &ts, 2.0), &reference)
        };
        let slope = (error(steps) / error(2 * steps)).log2();
        let name = tableau.name;
        assert!(slope > f64::from(order) - 0.5, "{name}: {slope}, error {:e}", error(2 * steps));
    }
}

/// Under error control, with times inside steps, forward and backward, stiff and not.
#[test]
fn interpolated_follows_the_tolerance() {
    let ts = [0.1, 0.37, 0.9, 1.55, 2.0];
    for (method, rate, reverse) in [
        (Method::from(Tsit5), 2.0, false),
        (Dop853.into(), 2.0, false),
        (Tsit5.into(), -1.0, true),
        (Kvaerno5.into(), 50.0, false),
        (Rodas5P.into(), 50.0, false),
    ] {
        let mut ts = ts;
        if reverse {
            ts.reverse();
        }
        let reference = gradient(&Ode::new(method).tolerance(1e-12, 1e-12), &ts, rate);
        let mut last = f64::INFINITY;
        for tolerance in [1e-4, 1e-6, 1e-8] {
            let ode = Ode::new(method).tolerance(tolerance, tolerance);
            let error =
                distance(&gradient(&ode.gradient(Gradient::Interpolated), &ts, rate), &reference);
            // The gradient with respect to the first time has the rate as a factor.
            let expected = 100.0 * rate.max(2.0) * tolerance;
            let name = method.tableau().name;
            assert!(error < expected && error < last / 5.0, "{name}, {tolerance:e}: {error:e}");
            last = error;
        }
    }
}

/// The gradient of `|y(t1)|²` with respect to the start and one parameter.
fn of_the_end(
    ode: Ode,
    f: impl for<'t> Fn(Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>,
    y0: &[f64],
    parameter: f64,
    end: f64,
) -> costate_tape::Result<Vec<f64>> {
    let tape = Tape::new();
    let (y0, parameter) = (tape.leaf(y0, [y0.len()]), tape.scalar(parameter));
    let ys = ode.solve(|_, y| f(parameter, y), y0, [0.0, end])?;
    let bars = ys.index_axis(0, 1).square().sum().grad(&[y0, parameter])?;
    Ok(bars.iter().flat_map(|g| g.to_vec()).collect())
}

fn van_der_pol<'t>(mu: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (x, v) = (y.index_axis(0, 0), y.index_axis(0, 1));
    Var::stack(0, &[v, mu * (1.0 - x * x) * v - x])
}

fn lorenz<'t>(rho: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let (x, v, z) = (y.index_axis(0, 0), y.index_axis(0, 1), y.index_axis(0, 2));
    Var::stack(0, &[10.0 * (v - x), x * (rho - z) - v, x * v - z * (8.0 / 3.0)])
}

/// Problems on which solving backward has returned gradients that are wrong by up to a hundred
/// orders of magnitude. Here it fails at every tolerance, and the other ways are right.
#[test]
fn continuous_fails_where_it_departs() {
    for tolerance in [1e-3, 1e-5, 1e-7, 1e-9] {
        for method in [Method::from(Tsit5), Dop853.into()] {
            let ode =
                Ode::new(method).tolerance(tolerance, tolerance).gradient(Gradient::Continuous);
            for found in [
                of_the_end(ode.clone(), van_der_pol, &[2.0, 0.0], 30.0, 10.0),
                of_the_end(ode, lorenz, &[1.0, 1.0, 1.0], 28.0, 15.0),
            ] {
                let e = found.unwrap_err();
                assert!(e.to_string().contains("departs from the solution"), "{tolerance:e}: {e}");
            }
        }
    }
    // Nor with equal steps, which have no tolerance.
    let ode = Ode::new(Rk4).steps(6000).gradient(Gradient::Continuous);
    let e = of_the_end(ode, lorenz, &[1.0, 1.0, 1.0], 28.0, 15.0).unwrap_err();
    assert!(e.to_string().contains("departs from the solution"), "{e}");

    let tight = Ode::new(Verner9).tolerance(1e-13, 1e-13);
    let vdp = of_the_end(tight.clone(), van_der_pol, &[2.0, 0.0], 30.0, 10.0).unwrap();
    let chaos = of_the_end(tight, lorenz, &[1.0, 1.0, 1.0], 28.0, 15.0).unwrap();
    for way in [Gradient::Exact, Gradient::Interpolated] {
        let ode = Ode::new(Tsit5).tolerance(1e-9, 1e-9).gradient(way);
        let found = of_the_end(ode.clone(), van_der_pol, &[2.0, 0.0], 30.0, 10.0).unwrap();
        assert!(distance(&found, &vdp) < 1e-4, "{way:?}: {found:?} {vdp:?}");
        let found = of_the_end(ode, lorenz, &[1.0, 1.0, 1.0], 28.0, 15.0).unwrap();
        assert!(distance(&found, &chaos) < 1e-3, "{way:?}: {found:?} {chaos:?}");
    }
}

#[test]
fn a_method_that_splits_its_state_has_no_continuous_adjoint() {
    let tape = Tape::new();
    let y0 = tape.leaf(&[1.0, 0.0], [2]);
    let ode = Ode::new(VelocityVerlet).steps(10).gradient(Gradient::Interpolated);
    let e = ode.solve(|_, y| y, y0, [0.0, 1.0]).unwrap_err();
    assert!(e.to_string().contains("do not split"), "{e}");
}
