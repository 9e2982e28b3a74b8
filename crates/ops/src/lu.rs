//! Linear systems with small dense matrices: elimination with partial pivoting (Golub and Van
//! Loan, "Matrix computations", 4th edition, section 3.4).
//!
//! A singular matrix is no error: a pivot of 0 is divided by, and infinite or NaN entries follow.

use crate::Real;
use crate::elementwise::check_len;
use crate::matmul::with_scratch;

/// Makes the `n × n` matrix `a` upper triangular by row operations, and does the same to the
/// `n × k` matrix `b`. Returns the number of row exchanges.
fn eliminate<T: Real>(n: usize, k: usize, a: &mut [T], b: &mut [T]) -> usize {
    let mut exchanges = 0;
    for j in 0..n {
        // The first of the largest; NaN is not larger, but stays where it is and spreads.
        let mut pivot = j;
        for i in j + 1..n {
            if a[i * n + j].abs() > a[pivot * n + j].abs() {
                pivot = i;
            }
        }
        if pivot != j {
            exchanges += 1;
            let (upper, lower) = a.split_at_mut(pivot * n);
            upper[j * n..][..n].swap_with_slice(&mut lower[..n]);
            let (upper, lower) = b.split_at_mut(pivot * k);
            upper[j * k..][..k].swap_with_slice(&mut lower[..k]);
        }
        let (done, rows) = a.split_at_mut((j + 1) * n);
        let top = &done[j * n..];
        let (done_b, rows_b) = b.split_at_mut((j + 1) * k);
        let top_b = &done_b[j * k..];
        for i in 0..n - j - 1 {
            let row = &mut rows[i * n..][..n];
            if row[j] == T::zero() && top[j] == T::zero() {
                // Nothing to eliminate: the column is 0, and the matrix singular.
                continue;
            }
            let factor = row[j] / top[j];
            for (x, &y) in row[j + 1..].iter_mut().zip(&top[j + 1..]) {
                *x -= factor * y;
            }
            for (x, &y) in rows_b[i * k..][..k].iter_mut().zip(top_b) {
                *x -= factor * y;
            }
        }
    }
    exchanges
}

/// `X` with `A X = B`, for `batch` matrices `A`, `n × n`, and `B`, `n × k`, that lie one after
/// another in each array.
///
/// Backward stable for the matrices of practice; entries are infinite or NaN if `A` is singular to
/// working precision. Costs `2/3 n³ + 2 n² k` operations for each matrix, on one thread.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn solve<T: Real>(batch: usize, n: usize, k: usize, a: &[T], b: &[T], out: &mut [T]) {
    check_len("solve, matrix", a.len(), batch * n * n);
    check_len("solve, right side", b.len(), batch * n * k);
    check_len("solve, result", out.len(), batch * n * k);
    out.copy_from_slice(b);
    if out.is_empty() {
        return;
    }
    with_scratch(n * n, |u: &mut [T]| {
        for (a, x) in a.chunks_exact(n * n).zip(out.chunks_exact_mut(n * k)) {
            u.copy_from_slice(a);
            eliminate(n, k, u, x);
            for i in (0..n).rev() {
                let (head, solved) = x.split_at_mut((i + 1) * k);
                let row = &mut head[i * k..];
                for (l, solved) in solved.chunks_exact(k).enumerate() {
                    let factor = u[i * n + i + 1 + l];
                    for (x, &y) in row.iter_mut().zip(solved) {
                        *x -= factor * y;
                    }
                }
                let pivot = u[i * n + i];
                row.iter_mut().for_each(|x| *x /= pivot);
            }
        }
    });
}

/// Which triangle of a matrix a system is solved with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Triangle {
    /// The lower one of the matrix as it is stored, else the upper one.
    pub lower: bool,
    /// Whether it is transposed.
    pub transposed: bool,
}

/// `X` with `op(L) X = B`, for `batch` matrices, by substitution. `L` is the given triangle of the
/// first matrix; its other entries are not read. Entries are infinite or NaN where a diagonal entry
/// is 0.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn solve_triangular<T: Real>(
    triangle: Triangle,
    batch: usize,
    n: usize,
    k: usize,
    a: &[T],
    b: &[T],
    out: &mut [T],
) {
    check_len("solve_triangular, matrix", a.len(), batch * n * n);
    check_len("solve_triangular, right side", b.len(), batch * n * k);
    check_len("solve_triangular, result", out.len(), batch * n * k);
    out.copy_from_slice(b);
    if out.is_empty() {
        return;
    }
    let Triangle { lower, transposed } = triangle;
    for (a, x) in a.chunks_exact(n * n).zip(out.chunks_exact_mut(n * k)) {
        let entry = |i: usize, j: usize| if transposed { a[j * n + i] } else { a[i * n + j] };
        // op(L) is lower triangular if just one of the two holds: solved from the first row on.
        let forward = lower != transposed;
        for step in 0..n {
            let i = if forward { step } else { n - 1 - step };
            let (before, rest) = x.split_at_mut(i * k);
            let (row, after) = rest.split_at_mut(k);
            let (solved, first) = if forward { (&*before, 0) } else { (&*after, i + 1) };
            for (l, solved) in solved.chunks_exact(k).enumerate() {
                let factor = entry(i, first + l);
                for (x, &y) in row.iter_mut().zip(solved) {
                    *x -= factor * y;
                }
            }
            let pivot = entry(i, i);
            row.iter_mut().for_each(|x| *x /= pivot);
        }
    }
}

/// `ln |det A|` of `batch` matrices, `n × n`, that lie one after another; `-∞` if a pivot is 0, and
/// 0 for `n = 0`. It is a sum of logarithms, so it does not overflow where the determinant does.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn log_det<T: Real>(batch: usize, n: usize, a: &[T], out: &mut [T]) {
    check_len("log_det, matrix", a.len(), batch * n * n);
    check_len("log_det, result", out.len(), batch);
    with_scratch(n * n, |u: &mut [T]| {
        for (i, out) in out.iter_mut().enumerate() {
            u.copy_from_slice(&a[i * n * n..][..n * n]);
            eliminate(n, 0, u, &mut []);
            *out = (0..n).fold(T::zero(), |sum, i| sum + u[i * n + i].abs().ln());
        }
    });
}
