//! The factors of a matrix, against the products they solve.

use costate_ops::{Real, invert, lu_factor, lu_solve, lu_solve_transposed};
use proptest::prelude::*;

/// A random-looking `n × n` matrix; every third one has zeros on its diagonal.
fn matrix<T: Real>(n: usize, seed: f64) -> Vec<T> {
    sparse(n, seed, |_, _| true)
}

/// Such a matrix, 0 but in some places.
fn sparse<T: Real>(n: usize, seed: f64, place: impl Fn(usize, usize) -> bool) -> Vec<T> {
    let hollow = (seed as usize).is_multiple_of(3) && n > 1;
    let entry = |ij: usize| {
        let zero = hollow && ij / n == ij % n || !place(ij / n, ij % n);
        if zero { 0.0 } else { (seed + 12.9898 * (ij * ij) as f64).sin() }
    };
    (0..n * n).map(|ij| T::from_f64(entry(ij))).collect()
}

/// The largest entry of `A x - b`, or of `Aᵀ x - b`, over the size of `A` and `x`.
fn residual<T: Real>(n: usize, a: &[T], x: &[T], b: &[T], transposed: bool) -> f64 {
    let entry = |i: usize, j: usize| a[if transposed { j * n + i } else { i * n + j }].as_f64();
    let size = x.iter().map(|x| x.as_f64().abs()).fold(1.0, f64::max);
    let row = |i: usize| (0..n).map(|j| entry(i, j) * x[j].as_f64()).sum::<f64>() - b[i].as_f64();
    (0..n).map(|i| row(i).abs()).fold(0.0, f64::max) / size
}

fn solves<T: Real>(n: usize, seed: f64, a: Vec<T>) {
    let b: Vec<T> = (0..n).map(|i| T::from_f64((seed + 0.7 * i as f64).cos())).collect();
    let (mut lu, mut pivots) = (a.clone(), vec![0; n]);
    assert!(lu_factor(n, &mut lu, &mut pivots));
    // Partial pivoting is backward stable but for the growth of entries, which is small here.
    let bound = 100.0 * n as f64 * T::EPSILON.as_f64();
    for transposed in [false, true] {
        let mut x = b.clone();
        match transposed {
            false => lu_solve(n, &lu, &pivots, &mut x),
            true => lu_solve_transposed(n, &lu, &pivots, &mut x),
        }
        let r = residual(n, &a, &x, &b, transposed);
        assert!(r < bound, "{} {n} {seed} {transposed}: {r:e}", T::NAME);
    }
}

proptest! {
    #[test]
    fn factors_solve(n in 1usize..20, seed in 0.0..1000.0) {
        solves::<f64>(n, seed, matrix(n, seed));
        solves::<f32>(n, seed, matrix(n, seed));
    }

    /// Dense, of blocks on the diagonal, in a band, and in a triangle.
    #[test]
    fn factors_of_large_matrices_solve(n in 40usize..180, seed in 0.0..1000.0, block in 2usize..70) {
        let places: [&dyn Fn(usize, usize) -> bool; 5] = [
            &|_, _| true,
            &|i, j| i / block == j / block,
            &|i, j| i.abs_diff(j) <= block / 2 + 1,
            &|i, j| i / block <= j / block,
            &|i, j| i.abs_diff(j) <= 1 || (i + j) % n < 2,
        ];
        // A block of one row, or a triangle, is singular with zeros on the diagonal.
        let full = f64::floor(seed / 3.0) * 3.0 + 1.0;
        for place in places {
            solves::<f64>(n, full, sparse(n, full, place));
        }
        solves::<f64>(n, seed, matrix(n, seed));
        solves::<f32>(n, seed, matrix(n, seed));
    }
}

#[test]
fn singular_matrices_are_noticed() {
    let mut pivots = [0; 3];
    assert!(!lu_factor(2, &mut [1.0, 2.0, 2.0, 4.0], &mut pivots[..2]));
    assert!(!lu_factor(1, &mut [0.0f64], &mut pivots[..1]));
    assert!(!lu_factor(2, &mut [f64::NAN, 1.0, 1.0, 2.0], &mut pivots[..2]));
    assert!(!lu_factor(2, &mut [f64::INFINITY, 1.0, 1.0, 2.0], &mut pivots[..2]));
    assert!(lu_factor(0, &mut [0.0f64; 0], &mut []));
    assert!(!lu_factor(3, &mut [0.0; 9], &mut pivots));
}

/// A matrix against its products with the inverse.
fn inverts<T: Real, const D: usize>(seed: f64) {
    let a = matrix::<T>(D, seed);
    let mut m: [[T; D]; D] = std::array::from_fn(|i| std::array::from_fn(|j| a[i * D + j]));
    assert!(invert(&mut m));
    for c in 0..D {
        let x = m.map(|row| row[c]);
        let e: [T; D] = std::array::from_fn(|i| if i == c { T::one() } else { T::zero() });
        let r = residual(D, &a, &x, &e, false);
        assert!(r < 100.0 * D as f64 * T::EPSILON.as_f64(), "{} {D} {seed}: {r:e}", T::NAME);
    }
}

proptest! {
    #[test]
    fn inverses_are_inverse(seed in 0.0..1000.0) {
        inverts::<f64, 1>(seed);
        inverts::<f64, 2>(seed);
        inverts::<f64, 3>(seed);
        inverts::<f64, 4>(seed);
        inverts::<f32, 3>(seed);
        inverts::<f32, 4>(seed);
    }
}

#[test]
fn matrices_without_inverse_are_noticed() {
    assert!(!invert(&mut [[1.0, 2.0], [2.0, 4.0]]));
    assert!(!invert(&mut [[0.0f64]]));
    assert!(!invert(&mut [[f64::NAN, 1.0], [1.0, 2.0]]));
    assert!(!invert(&mut [[f64::INFINITY, 1.0], [1.0, 2.0]]));
    assert!(!invert(&mut [[0.0; 3]; 3]));
}
