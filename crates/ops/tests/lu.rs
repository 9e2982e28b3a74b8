//! Linear systems: residuals, determinants, and matrices that have no solution.

use crate::common::moderate;
use costate_ops::{Real, log_det, solve};

/// Whether `A X = B` up to rounding, row by row in the sense of Oettli and Prager.
fn residuals<T: Real>() {
    for (batch, n, k) in
        [(1, 1, 1), (2, 2, 3), (3, 5, 1), (1, 17, 4), (2, 40, 2), (2, 0, 3), (1, 3, 0)]
    {
        for seed in 0..20 {
            let a = moderate::<T>(batch * n * n, seed);
            let b = moderate::<T>(batch * n * k, 1000 + seed);
            let mut x = vec![T::zero(); b.len()];
            solve(batch, n, k, &a, &b, &mut x);
            for (place, &b) in b.iter().enumerate() {
                let (m, i, j) = (place / (n * k), place / k % n, place % k);
                let column = |l: usize| x[(m * n + l) * k + j].as_f64();
                let row = &a[(m * n + i) * n..][..n];
                let found: f64 = (0..n).map(|l| row[l].as_f64() * column(l)).sum();
                // The largest entry of A is 1, and pivots grow little.
                let size: f64 = (0..n).map(|l| column(l).abs()).sum::<f64>() + b.as_f64().abs();
                let allowed = 8.0 * n as f64 * T::EPSILON.as_f64() * size;
                assert!((found - b.as_f64()).abs() <= allowed, "{n} {k} {seed}: {found:e} {b:e}");
            }
        }
    }
}

#[test]
fn solutions_have_small_residuals() {
    residuals::<f32>();
    residuals::<f64>();
}

/// By cofactors: exact for small whole entries.
fn determinant(n: usize, a: &[f64]) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let minor = |j: usize| -> Vec<f64> {
        (1..n).flat_map(|i| (0..n).filter(move |&l| l != j).map(move |l| a[i * n + l])).collect()
    };
    let sign = |j: usize| if j.is_multiple_of(2) { 1.0 } else { -1.0 };
    (0..n).map(|j| sign(j) * a[j] * determinant(n - 1, &minor(j))).sum()
}

#[test]
fn logarithms_of_determinants() {
    for n in 0..6 {
        for seed in 0..20 {
            let a: Vec<f64> =
                moderate(n * n, seed).iter().map(|x: &f64| (x * 5.0).round()).collect();
            let (mut found, det) = ([0.0], determinant(n, &a));
            log_det(1, n, &a, &mut found);
            if det == 0.0 {
                // Rounding may leave a tiny pivot.
                assert!(found[0] < -25.0, "{n} {seed}: {found:?}");
            } else {
                assert!((found[0] - det.abs().ln()).abs() < 1e-12, "{n} {seed}: {found:?} {det}");
            }
        }
    }
    // The determinant itself would underflow.
    let mut diagonal = vec![0.0; 10_000];
    (0..100).for_each(|i| diagonal[i * 101] = -1e-10);
    let mut found = [0.0];
    log_det(1, 100, &diagonal, &mut found);
    assert!((found[0] + 1000.0 * std::f64::consts::LN_10).abs() < 1e-9);
}

#[test]
fn a_zero_pivot_is_exchanged() {
    let mut x = [0.0_f64; 2];
    solve(1, 2, 1, &[0.0, 2.0, 3.0, 1.0], &[4.0, 5.0], &mut x);
    assert_eq!(x, [1.0, 2.0]);
}

#[test]
fn singular_matrices_give_no_finite_solution_and_do_not_panic() {
    let mut x = [0.0_f64; 2];
    solve(1, 2, 1, &[1.0, 2.0, 2.0, 4.0], &[1.0, 1.0], &mut x);
    assert!(x.iter().all(|x| !x.is_finite()), "{x:?}");
    solve(1, 2, 1, &[0.0; 4], &[1.0, 1.0], &mut x);
    assert!(x.iter().all(|x| !x.is_finite()), "{x:?}");
    let mut found = [0.0; 3];
    log_det(3, 2, &[1.0, 2.0, 2.0, 4.0, 0.0, 0.0, 0.0, 0.0, f64::NAN, 1.0, 1.0, 1.0], &mut found);
    assert_eq!(found[..2], [f64::NEG_INFINITY; 2]);
    assert!(found[2].is_nan());
}

#[test]
#[should_panic(expected = "3")]
fn lengths_must_fit() {
    solve(1, 2, 1, &[1.0; 4], &[1.0; 3], &mut [0.0; 2]);
}
