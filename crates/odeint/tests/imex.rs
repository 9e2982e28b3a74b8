//! Additive methods: explicit for one part of the field, implicit for the other.

use costate_odeint::{
    ErrorKind, Integrator, KenCarp4, KenCarp4Imex, Kvaerno5, Options, Solver, Sparsity, Split,
    Verner9, solve, split, with_jacobian, with_sparsity,
};

type Plain = fn(f64, &[f64], &mut [f64]);

/// A field with the solution `exp(sin t)`, `cos t`, `sin t`, halved in a way in which neither half
/// has that solution.
fn halves() -> Split<f64, Plain, Plain> {
    let stiff: Plain = |t, y, dy| {
        dy[0] = 0.3 * y[0] * t.cos() + y[1];
        dy[1] = -0.2 * y[2] + t * y[0];
        dy[2] = 2.0 * y[1] - y[2] * y[2];
    };
    let rest: Plain = |t, y, dy| {
        dy[0] = 0.7 * y[0] * t.cos() - y[1];
        dy[1] = -0.8 * y[2] - t * y[0] + (y[1] * y[1] + y[2] * y[2] - 1.0) * t;
        dy[2] = y[2] * y[2] - y[1];
    };
    split(stiff, rest)
}

fn exact(t: f64) -> [f64; 3] {
    [t.sin().exp(), t.cos(), t.sin()]
}

fn error(n: usize, ts: &[f64]) -> f64 {
    let solution = solve(KenCarp4Imex, halves(), &exact(ts[0]), ts, &Options::steps(n)).unwrap();
    let states = ts.iter().enumerate().flat_map(|(i, &t)| {
        solution.y(i).iter().zip(exact(t)).map(|(y, e)| (y - e).abs()).collect::<Vec<_>>()
    });
    states.fold(0.0, f64::max)
}

#[test]
fn order_of_convergence() {
    let between: Vec<f64> = (0..=271).map(|i| 2.0 * f64::from(i) / 271.0).collect();
    for ts in [&[0.0, 2.0], &[2.0, 0.0], &between[..]] {
        let slope = (error(40, ts) / error(160, ts)).log2() / 2.0;
        assert!((slope - 4.0).abs() < 0.3, "{slope}");
    }
}

/// `u_t = ε u_xx - a u_x + r u (1 - u)` on [0, 1] with `u = 1` at the left and no flux at the right:
/// diffusion by central differences is stiff, advection and reaction are not.
fn front(n: usize) -> impl FnMut(f64, &[f64], &mut [f64], bool) + Clone {
    let (epsilon, a, r) = (0.05, 1.0, 4.0);
    let dx = 1.0 / n as f64;
    move |_, y, dy, diffusion| {
        for i in 0..n {
            let left = if i > 0 { y[i - 1] } else { 1.0 };
            let right = if i + 1 < n { y[i + 1] } else { y[i] };
            dy[i] = if diffusion {
                epsilon * (left - 2.0 * y[i] + right) / (dx * dx)
            } else {
                -a * (y[i] - left) / dx + r * y[i] * (1.0 - y[i])
            };
        }
    }
}

/// On a stiff equation of advection, diffusion and reaction: the error follows the tolerance, and
/// the nonlinear part takes no part in the iterations, whose matrix is constant.
#[test]
fn advection_diffusion_reaction() {
    const N: usize = 60;
    let f = front(N);
    let (mut f1, mut f2, mut f3) = (f.clone(), f.clone(), f);
    let whole = |t: f64, y: &[f64], dy: &mut [f64]| {
        let mut part = [0.0; N];
        f1(t, y, dy, true);
        f1(t, y, &mut part, false);
        for (dy, part) in dy.iter_mut().zip(part) {
            *dy += part;
        }
    };
    let y0 = [0.0; N];
    let ts = [0.0, 0.1, 0.4];
    let tight = Options::tolerance(1e-11, 1e-11);
    let reference = solve(Verner9, whole, &y0, &ts, &tight).unwrap();
    let scale = 0.05 * (N * N) as f64;
    let matrix = move |_: f64, _: &[f64], j: &mut [f64]| {
        j.fill(0.0);
        for i in 0..N {
            j[i * N + i] = if i + 1 < N { -2.0 * scale } else { -scale };
            if i > 0 {
                j[i * N + i - 1] = scale;
            }
            if i + 1 < N {
                j[i * N + i + 1] = scale;
            }
        }
    };
    for exponent in [4, 6, 8] {
        let tolerance = 10f64.powi(-exponent);
        let field = split(
            with_jacobian(|t: f64, y: &[f64], dy: &mut [f64]| f2(t, y, dy, true), matrix),
            |t: f64, y: &[f64], dy: &mut [f64]| f3(t, y, dy, false),
        );
        let options = Options::tolerance(tolerance, tolerance);
        let found = solve(KenCarp4Imex, field, &y0, &ts, &options).unwrap();
        for i in 1..3 {
            for (a, b) in found.y(i).iter().zip(reference.y(i)) {
                assert!((a - b).abs() < 20.0 * tolerance, "{a} and {b} at {tolerance:e}");
            }
        }
        // Far fewer steps than stability of an explicit method would take: it allows about 4/ρ.
        if exponent == 4 {
            let explicit = 0.4 * 4.0 * scale / 4.0;
            assert!((found.stats.accepted as f64) < 0.5 * explicit, "{}", found.stats);
        }
        // Linear stages converge with one Jacobian a step.
        assert!(found.stats.jacobian_evals <= found.stats.accepted + 1, "{}", found.stats);
    }
}

/// A fast relaxation to a slow curve: the step is that of the slow motion.
#[test]
fn stiffness_costs_no_stability() {
    for rate in [1e4, 1e8] {
        let field = split(
            move |t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -rate * (y[0] - t.sin()),
            |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = t.cos(),
        );
        let found = solve(KenCarp4Imex, field, &[0.0], &[0.0, 1.0], &Options::steps(20)).unwrap();
        let e = (found.y(1)[0] - 1f64.sin()).abs();
        assert!(e < 1e-3, "{e:e} at rate {rate:e}");
    }
}

/// A field without parts is all stiff, and then the method is its implicit half.
#[test]
fn without_parts_it_is_the_implicit_method() {
    let van_der_pol = |_: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = y[1];
        dy[1] = 50.0 * (1.0 - y[0] * y[0]) * y[1] - y[0];
    };
    let run = |options: &Options| {
        let a = solve(KenCarp4Imex, van_der_pol, &[2.0, 0.0], &[0.0, 30.0], options).unwrap();
        let b = solve(KenCarp4, van_der_pol, &[2.0, 0.0], &[0.0, 30.0], options).unwrap();
        (a, b)
    };
    let (a, b) = run(&Options::tolerance(1e-6, 1e-8));
    assert!(a.stats.accepted.abs_diff(b.stats.accepted) < 10, "{} and {}", a.stats, b.stats);
    for (a, b) in a.y(1).iter().zip(b.y(1)) {
        assert!((a - b).abs() < 1e-5);
    }
}

/// To other methods a field in two parts is one field, with the sum of both Jacobians.
/// A field in parts stays one where it has a sparse Jacobian: the stiff part's is by an evaluation of
/// that part for each colour, here three.
#[test]
fn parts_of_a_sparse_field() {
    let options = Options::tolerance(1e-6, 1e-6);
    let ts = [0.0, 0.7, 2.0];
    let plain = solve(KenCarp4Imex, halves(), &exact(0.0), &ts, &options).unwrap();
    let full = Sparsity::new(3, (0..9).map(|i| (i / 3, i % 3)));
    let sparse = with_sparsity(halves(), full);
    assert_eq!(solve(KenCarp4Imex, sparse, &exact(0.0), &ts, &options).unwrap(), plain);
}

#[test]
fn other_methods_take_the_sum() {
    let t1 = 1.5;
    for found in [
        solve(Kvaerno5, halves(), &exact(0.0), &[0.0, t1], &Options::tolerance(1e-9, 1e-9)),
        solve(Verner9, halves(), &exact(0.0), &[0.0, t1], &Options::tolerance(1e-9, 1e-9)),
    ] {
        for (y, e) in found.unwrap().y(1).iter().zip(exact(t1)) {
            assert!((y - e).abs() < 1e-7);
        }
    }
}

#[test]
fn by_steps_and_with_company() {
    let options = Options::tolerance(1e-8, 1e-8);
    let whole = solve(KenCarp4Imex, halves(), &exact(0.0), &[0.0, 2.0], &options).unwrap();
    let mut f = halves();
    let start = || Integrator::new(KenCarp4Imex, &exact(0.0), 0.0, 2.0, options).unwrap();
    let (mut first, mut again) = (start(), start());
    while !first.is_done() {
        first.step(&mut f).unwrap();
        // A grid taken again gives the same bits.
        again.step_to(&mut f, first.t()).unwrap();
        assert_eq!(first.y(), again.y());
    }
    assert_eq!(first.y(), whole.y(1));
    let solver = Solver::new(KenCarp4Imex).options(options);
    let dense = solver.dense(halves(), &exact(0.0), 0.0, 2.0).unwrap();
    let mut y = [0.0; 3];
    for i in 0..=20 {
        let t = 0.1 * f64::from(i);
        dense.evaluate(t, &mut y).unwrap();
        for (y, e) in y.iter().zip(exact(t)) {
            assert!((y - e).abs() < 1e-5, "{y} and {e} at {t}");
        }
    }
}

#[test]
fn a_part_that_is_not_finite() {
    let one = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 1.0;
    let nan = |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = if t > 0.5 { f64::NAN } else { 0.0 };
    for options in [Options::default(), Options::steps(10)] {
        let a = solve(KenCarp4Imex, split(one, nan), &[0.0], &[0.0, 1.0], &options).unwrap_err();
        let b = solve(KenCarp4Imex, split(nan, one), &[0.0], &[0.0, 1.0], &options).unwrap_err();
        for e in [a, b] {
            let ErrorKind::NonFinite { t, component: 0, .. } = e.kind() else { panic!("{e}") };
            assert!((t - 0.5).abs() < 0.1, "{e}");
        }
    }
}
