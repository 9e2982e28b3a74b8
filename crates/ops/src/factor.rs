//! The factors of a small dense matrix, kept to solve with it more than once: `P A = L U` by
//! elimination with partial pivoting (Golub and Van Loan, "Matrix computations", 4th edition,
//! section 3.4).
//!
//! Newton's method solves with one matrix many times, and an adjoint with its transpose. `L` lies
//! below the diagonal and has ones on it; `U` lies above; on the diagonal are the reciprocals of
//! `U`'s, so that a solve does not divide. Sizes up to 4 are compiled on their own.

use crate::Real;
use crate::elementwise::check_len;

/// Factors the `n × n` matrix `a` in place and writes the row exchanges to `pivots`.
///
/// Returns whether all pivots are finite and not 0. If not, the factors are of no use, though
/// solving with them does no harm but to give infinite or NaN entries.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn lu_factor<T: Real>(n: usize, a: &mut [T], pivots: &mut [usize]) -> bool {
    check_len("lu_factor, matrix", a.len(), n * n);
    check_len("lu_factor, pivots", pivots.len(), n);
    match n {
        1 => factor(1, a, pivots),
        2 => factor(2, a, pivots),
        3 => factor(3, a, pivots),
        4 => factor(4, a, pivots),
        _ => factor(n, a, pivots),
    }
}

/// `b ← A⁻¹ b`, from the factors of `A`.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn lu_solve<T: Real>(n: usize, lu: &[T], pivots: &[usize], b: &mut [T]) {
    check_len("lu_solve, factors", lu.len(), n * n);
    check_len("lu_solve, pivots", pivots.len(), n);
    check_len("lu_solve, right side", b.len(), n);
    match n {
        1 => solve(1, lu, pivots, b),
        2 => solve(2, lu, pivots, b),
        3 => solve(3, lu, pivots, b),
        4 => solve(4, lu, pivots, b),
        _ => solve(n, lu, pivots, b),
    }
}

/// `b ← A⁻ᵀ b`, from the factors of `A`.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn lu_solve_transposed<T: Real>(n: usize, lu: &[T], pivots: &[usize], b: &mut [T]) {
    check_len("lu_solve_transposed, factors", lu.len(), n * n);
    check_len("lu_solve_transposed, pivots", pivots.len(), n);
    check_len("lu_solve_transposed, right side", b.len(), n);
    match n {
        1 => solve_transposed(1, lu, pivots, b),
        2 => solve_transposed(2, lu, pivots, b),
        3 => solve_transposed(3, lu, pivots, b),
        4 => solve_transposed(4, lu, pivots, b),
        _ => solve_transposed(n, lu, pivots, b),
    }
}

#[inline(always)]
fn factor<T: Real>(n: usize, a: &mut [T], pivots: &mut [usize]) -> bool {
    let (a, pivots) = (&mut a[..n * n], &mut pivots[..n]);
    let mut regular = true;
    for j in 0..n {
        let mut pivot = j;
        for i in j + 1..n {
            if a[i * n + j].abs() > a[pivot * n + j].abs() {
                pivot = i;
            }
        }
        pivots[j] = pivot;
        if pivot != j {
            for l in 0..n {
                a.swap(j * n + l, pivot * n + l);
            }
        }
        let reciprocal = T::one() / a[j * n + j];
        regular &= reciprocal.is_finite() && reciprocal != T::zero();
        a[j * n + j] = reciprocal;
        let (done, rows) = a.split_at_mut((j + 1) * n);
        let top = &done[j * n..];
        for i in 0..n - j - 1 {
            let row = &mut rows[i * n..][..n];
            let factor = row[j] * reciprocal;
            row[j] = factor;
            for l in j + 1..n {
                row[l] -= factor * top[l];
            }
        }
    }
    regular
}

#[inline(always)]
fn solve<T: Real>(n: usize, lu: &[T], pivots: &[usize], b: &mut [T]) {
    let (lu, pivots, b) = (&lu[..n * n], &pivots[..n], &mut b[..n]);
    for (j, &pivot) in pivots.iter().enumerate() {
        b.swap(j, pivot);
    }
    for i in 1..n {
        let (done, rest) = b.split_at_mut(i);
        let mut x = rest[0];
        for (l, &y) in lu[i * n..][..i].iter().zip(&*done) {
            x -= *l * y;
        }
        rest[0] = x;
    }
    for i in (0..n).rev() {
        let (head, done) = b.split_at_mut(i + 1);
        let row = &lu[i * n..][..n];
        let mut x = head[i];
        for (u, &y) in row[i + 1..].iter().zip(&*done) {
            x -= *u * y;
        }
        head[i] = x * row[i];
    }
}

#[inline(always)]
fn solve_transposed<T: Real>(n: usize, lu: &[T], pivots: &[usize], b: &mut [T]) {
    let (lu, pivots, b) = (&lu[..n * n], &pivots[..n], &mut b[..n]);
    // Row by row, so that the matrix is read along its rows.
    for i in 0..n {
        let (head, rest) = b.split_at_mut(i + 1);
        let row = &lu[i * n..][..n];
        let x = head[i] * row[i];
        head[i] = x;
        for (y, &u) in rest.iter_mut().zip(&row[i + 1..]) {
            *y -= u * x;
        }
    }
    for i in (1..n).rev() {
        let (head, rest) = b.split_at_mut(i);
        let x = rest[0];
        for (y, &l) in head.iter_mut().zip(&lu[i * n..][..i]) {
            *y -= l * x;
        }
    }
    for (j, &pivot) in pivots.iter().enumerate().rev() {
        b.swap(j, pivot);
    }
}
