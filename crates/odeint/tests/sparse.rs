//! Sparse Jacobians: patterns, colourings, and the Brusselator in two dimensions by each implicit
//! method. With the feature `faer` the same tests go through its factorisations.

use std::sync::Arc;

use costate_odeint::{
    Bdf, Field, FieldError, Gradient, Kvaerno3, Kvaerno5, Mass, Method, Ode, Options, Rodas5P,
    Solution, Sparsity, TrBdf2, solve, with_mass, with_sparse_jacobian, with_sparsity,
};
use costate_tape::{Tape, Var};
use ndarray::Array1;
use proptest::prelude::*;

/// Grid points along each side.
const SIDE: usize = 9;
const N: usize = 2 * SIDE * SIDE;

/// `u' = 1 + u² v - 4.4 u + α Δu + g(t, x, y)`, `v' = 3.4 u - u² v + α Δv`, periodic on the unit
/// square (E. Hairer, G. Wanner, *Solving Ordinary Differential Equations II*, IV.10, BRUSS-2D).
fn brusselator(t: f64, y: &[f64], dy: &mut [f64]) {
    let (u, v) = y.split_at(N / 2);
    let (du, dv) = dy.split_at_mut(N / 2);
    let at = |i: usize, j: usize| (i % SIDE) * SIDE + j % SIDE;
    let stiffness = 0.1 * (SIDE * SIDE) as f64;
    for i in 0..SIDE {
        for j in 0..SIDE {
            let here = at(i, j);
            let around = [at(i + 1, j), at(i + SIDE - 1, j), at(i, j + 1), at(i, j + SIDE - 1)];
            let laplacian = |w: &[f64]| around.map(|k| w[k]).iter().sum::<f64>() - 4.0 * w[here];
            let (x, z) = (i as f64 / SIDE as f64, j as f64 / SIDE as f64);
            let source = (x - 0.3).powi(2) + (z - 0.6).powi(2) <= 0.01 && t >= 0.3;
            let reaction = u[here] * u[here] * v[here];
            du[here] = 1.0 + reaction - 4.4 * u[here] + stiffness * laplacian(u);
            du[here] += if source { 5.0 } else { 0.0 };
            dv[here] = 3.4 * u[here] - reaction + stiffness * laplacian(v);
        }
    }
}

fn start() -> Vec<f64> {
    let mut y = vec![0.0; N];
    for i in 0..SIDE {
        for j in 0..SIDE {
            let (x, z) = (i as f64 / SIDE as f64, j as f64 / SIDE as f64);
            y[i * SIDE + j] = 22.0 * z * (1.0 - z).powf(1.5);
            y[N / 2 + i * SIDE + j] = 27.0 * x * (1.0 - x).powf(1.5);
        }
    }
    y
}

fn pattern() -> Arc<Sparsity> {
    Arc::new(Sparsity::detect(&mut { brusselator }, 0.0, &start()).unwrap())
}

fn methods() -> [Method; 5] {
    [Bdf.into(), Rodas5P.into(), Kvaerno5.into(), Kvaerno3.into(), TrBdf2.into()]
}

const TIMES: [f64; 4] = [0.0, 0.2, 0.5, 1.5];

fn run(method: Method, f: impl Field<f64>, tolerance: f64) -> Solution<f64> {
    solve(method, f, &start(), &TIMES, &Options::tolerance(tolerance, tolerance)).unwrap()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn the_pattern_of_the_brusselator() {
    let pattern = pattern();
    // Each equation has its own component at five points, and the other one at its own.
    assert_eq!((pattern.rows(), pattern.len()), (N, 6 * N));
    assert!(pattern.colors() <= 14, "{}", pattern.colors());
}

/// With a sparse Jacobian the solution is the same, for fewer evaluations.
#[test]
fn the_brusselator_by_each_method() {
    let reference = run(Kvaerno5.into(), with_sparsity(brusselator, pattern()), 1e-8);
    for method in methods() {
        let name = method.tableau().name;
        let sparse = run(method, with_sparsity(brusselator, pattern()), 1e-5);
        let e = distance(&sparse.ys, &reference.ys);
        assert!(e < 3e-3, "{name}: {e:e}");
        let stats = sparse.stats;
        assert!(stats.jacobian_evals > 0, "{name}");
        if name == "Bdf" {
            let dense = run(method, brusselator, 1e-5);
            assert!(distance(&sparse.ys, &dense.ys) < 1e-4, "{name}");
            assert!(4 * stats.jacobian_evals < stats.accepted, "{stats}");
            assert!(2 * stats.factorisations < stats.accepted, "{stats}");
        }
    }
}

/// Counts evaluations.
struct Counted(usize);

impl Field<f64> for Counted {
    fn eval(&mut self, t: f64, y: &[f64], dy: &mut [f64]) -> Result<(), FieldError> {
        self.0 += 1;
        brusselator(t, y, dy);
        Ok(())
    }
}

#[test]
fn a_compressed_jacobian_is_the_jacobian() {
    let (y, pattern) = (start(), pattern());
    let mut dy = vec![0.0; N];
    brusselator(0.4, &y, &mut dy);
    let mut dense = vec![0.0; N * N];
    { brusselator }.jacobian(0.4, &y, &dy, &mut dense).unwrap();
    let mut field = with_sparsity(Counted(0), pattern.clone());
    let mut compressed = vec![0.0; N * N];
    field.jacobian(0.4, &y, &dy, &mut compressed).unwrap();
    assert_eq!(dense, compressed);
    let mut counted = Counted(0);
    let mut values = vec![0.0; pattern.len()];
    counted.sparse_jacobian(0.4, &y, &dy, &pattern, &mut values).unwrap();
    assert_eq!(counted.0, pattern.colors());
}

/// A chain of reactions in which nothing but the neighbours is known, with the entries given, and
/// with a mass matrix that has places of its own.
#[test]
fn given_entries_and_mass_matrices() {
    const M: usize = 90;
    let f = |_: f64, y: &[f64], dy: &mut [f64]| {
        for i in 0..M {
            let before = if i > 0 { y[i - 1] } else { 1.0 };
            dy[i] = 50.0 * (before - y[i] * y[i]);
        }
    };
    let entries = (0..M).flat_map(|i| [(i, i), (i, i.max(1) - 1)]);
    let pattern = Arc::new(Sparsity::new(M, entries));
    assert_eq!((pattern.len(), pattern.colors()), (2 * M - 1, 2));
    let order: Vec<(usize, usize)> = pattern.entries().collect();
    let jacobian = move |_: f64, y: &[f64], values: &mut [f64]| {
        for (value, &(i, j)) in values.iter_mut().zip(&order) {
            *value = if i == j { -100.0 * y[i] } else { 50.0 };
        }
    };
    let y0 = vec![0.5; M];
    let options = Options::tolerance(1e-8, 1e-8);
    let ts = [0.0, 0.1, 1.0];
    let expected = solve(Kvaerno5, f, &y0, &ts, &options).unwrap();
    for method in methods() {
        let tight = if method.tableau().order < 5 { 1e-6 } else { 1e-8 };
        let options = Options::tolerance(tight, tight);
        let field = with_sparse_jacobian(f, pattern.clone(), jacobian.clone());
        let found = solve(method, field, &y0, &ts, &options).unwrap();
        let e = distance(&found.ys, &expected.ys);
        assert!(e < 1e3 * tight, "{}: {e:e}", method.tableau().name);
    }
    // M y' = M f with M = 1 + a corner.
    let mut mass = vec![0.0; M * M];
    (0..M).for_each(|i| mass[i * M + i] = 1.0);
    mass[M - 1] = 2.0;
    let g = move |t: f64, y: &[f64], dy: &mut [f64]| {
        f(t, y, dy);
        dy[0] += 2.0 * dy[M - 1];
    };
    let pattern = Sparsity::detect(&mut { g }, 0.0, &y0).unwrap();
    assert_eq!(pattern.len(), 2 * M + 1);
    for method in [Method::from(Bdf), Rodas5P.into()] {
        let field = with_mass(with_sparsity(g, pattern.clone()), Mass::dense(mass.clone()));
        let found = solve(method, field, &y0, &ts, &options).unwrap();
        let e = distance(&found.ys, &expected.ys);
        assert!(e < 1e-5, "{}: {e:e}", method.tableau().name);
    }
}

/// A matrix that is singular ends the solve with an error, as a small one does.
#[test]
fn singular_matrices() {
    const M: usize = 80;
    let f = |_: f64, _: &[f64], dy: &mut [f64]| dy.fill(1.0);
    let pattern = Sparsity::new(M, [(0, 0)]);
    for method in [Method::from(Bdf), Rodas5P.into()] {
        let field = with_mass(with_sparsity(f, pattern.clone()), Mass::diagonal(vec![0.0; M]));
        let options = Options { max_steps: 1000, ..Options::default() };
        let found = solve(method, field, &[0.0; M], &[0.0, 1.0], &options).unwrap_err();
        let kind = format!("{:?}", found.kind());
        assert!(kind.contains("Diverged") || kind.contains("NonFinite"), "{kind}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    /// Columns of one colour share no row, and a field that is a sparse matrix is found back.
    #[test]
    fn random_patterns(
        n in 1..40usize,
        places in prop::collection::vec((0..40usize, 0..40usize), 0..160),
    ) {
        let places: Vec<_> =
            places.into_iter().filter(|&(i, j)| i < n && j < n).collect();
        let pattern = Sparsity::new(n, places.iter().copied());
        let entry = |i: usize, j: usize| {
            if places.contains(&(i, j)) { 1.0 + (i * n + j) as f64 } else { 0.0 }
        };
        let mut f = |_: f64, y: &[f64], dy: &mut [f64]| {
            dy.fill(0.0);
            places.iter().for_each(|&(i, j)| dy[i] += 0.0 * y[j]);
            for (i, j) in pattern.entries() {
                dy[i] += entry(i, j) * y[j];
            }
        };
        let y = vec![0.25; n];
        prop_assert_eq!(&Sparsity::detect(&mut f, 0.0, &y).unwrap(), &pattern);
        let mut dy = vec![0.0; n];
        f(0.0, &y, &mut dy);
        let mut values = vec![0.0; pattern.len()];
        f.sparse_jacobian(0.0, &y, &dy, &pattern, &mut values).unwrap();
        for ((i, j), value) in pattern.entries().zip(values) {
            prop_assert!((value - entry(i, j)).abs() < 1e-4 * entry(i, j));
        }
        prop_assert!(pattern.colors() <= n);
    }
}

/// A recorded field has its pattern found by itself, and the exact gradient is that of the steps, with
/// Jacobians found by that pattern on the way back, too.
#[test]
fn a_recorded_field() {
    const M: usize = 24;
    let tape = Tape::new();
    let y0 = tape.constant(&Array1::from_shape_fn(M, |i| (0.3 * i as f64).sin()));
    let rate = tape.scalar(400.0);
    let solve = |ode: Ode| {
        let ys = ode.solve(
            |t, y| {
                let left = Var::concat(0, &[y.slice_axis(0, M - 1..M), y.slice_axis(0, 0..M - 1)]);
                let right = Var::concat(0, &[y.slice_axis(0, 1..M), y.slice_axis(0, 0..1)]);
                rate * (left - 2.0 * y + right) - y.powi(3) + t.sin()
            },
            y0,
            [0.0, 0.02, 0.1, 1.0],
        );
        let ys = ys.unwrap();
        let weights = tape.constant(&ndarray::Array2::from_shape_fn((4, M), |(i, j)| {
            (1.3 * i as f64 + 0.7 * j as f64).cos()
        }));
        let loss = (ys * weights).sum();
        let g = loss.grad(&[y0, rate]).unwrap();
        let g = [g[0].to_vec(), g[1].to_vec()].concat();
        // Forward mode finds the same products.
        let along = tape.constant(&Array1::from_shape_fn(M, |i| (0.9 * i as f64).cos()));
        let directions = [along, tape.scalar(-0.6)];
        let product = tape.jvp(&[loss], &[y0, rate], &directions).unwrap()[0].item();
        let terms = g.iter().zip(along.to_vec().into_iter().chain([-0.6]));
        let expected: f64 = terms.map(|(g, d)| g * d).sum();
        let size = g.iter().map(|g| g.abs()).sum::<f64>();
        assert!((product - expected).abs() < 1e-11 * size, "{product} and {expected}");
        (ys.to_vec(), g)
    };
    for method in [Method::from(Kvaerno5), Rodas5P.into(), Bdf.into()] {
        let ode = Ode::new(method).tolerance(1e-6, 1e-6);
        let (ys, exact) = solve(ode.clone());
        let (also, unrolled) = solve(ode.gradient(Gradient::Unrolled));
        assert!(distance(&ys, &also) < 1e-11, "{}", method.tableau().name);
        let size = exact.iter().map(|g| g.abs()).fold(0.0, f64::max);
        let e = distance(&exact, &unrolled);
        assert!(e < 1e-10 * size, "{}: {e:e} of {size:e}", method.tableau().name);
        let closure = |t: f64, y: &[f64], dy: &mut [f64]| {
            for i in 0..M {
                let around = y[(i + M - 1) % M] - 2.0 * y[i] + y[(i + 1) % M];
                dy[i] = 400.0 * around - y[i].powi(3) + t.sin();
            }
        };
        let plain = Options::tolerance(1e-9, 1e-9);
        let expected =
            costate_odeint::solve(Kvaerno5, closure, &y0.to_vec(), &[0.0, 0.02, 0.1, 1.0], &plain);
        assert!(distance(&ys, &expected.unwrap().ys) < 1e-4);
    }
}
