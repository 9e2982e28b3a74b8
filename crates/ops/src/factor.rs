//! The factors of a dense matrix, kept to solve with it more than once: `P A = L U` by elimination with
//! partial pivoting (Golub and Van Loan, "Matrix computations", 4th edition, section 3.4).
//!
//! Newton's method solves with one matrix many times, and an adjoint with its transpose. `L` lies
//! below the diagonal and has ones on it; `U` lies above; on the diagonal are the reciprocals of
//! `U`'s, so that a solve does not divide. Sizes up to 4 are compiled on their own, and large matrices are
//! factored a few columns at a time, what these take off the rest being a product (section 3.4.8 there).
//! Where a matrix is 0 beside its diagonal, as for a batch whose samples have nothing to do with each
//! other, nothing is done.

use std::ops::Range;

use crate::Real;
use crate::elementwise::check_len;
use crate::isa::{Isa, Kernel, dispatch};
use crate::matmul::with_scratch;
use crate::reduce::block;
use crate::tile::{Next, Rows};

/// From how many rows on a matrix is large, and how many of its columns are factored at a time.
const LARGE: usize = 48;
const COLUMNS: usize = 16;
/// From how many rows on the sums of a solution are long.
const LONG: usize = 128;

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
        _ if n < LARGE => factor(n, a, pivots),
        _ => factor_large(n, a, pivots),
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
        _ if n < LONG => solve(n, lu, pivots, b),
        _ => dispatch(Isa::detect(), Solve { n, lu, pivots, b }),
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

/// Brings the row with the largest entry in column `j`, from row `j` on, to row `j`, and puts the reciprocal of
/// that entry in its place, which it returns.
#[inline(always)]
fn exchange<T: Real>(n: usize, j: usize, a: &mut [T], pivot: &mut usize) -> T {
    *pivot = j;
    for i in j + 1..n {
        if a[i * n + j].abs() > a[*pivot * n + j].abs() {
            *pivot = i;
        }
    }
    if *pivot != j {
        for l in 0..n {
            a.swap(j * n + l, *pivot * n + l);
        }
    }
    let reciprocal = T::one() / a[j * n + j];
    a[j * n + j] = reciprocal;
    reciprocal
}

#[inline(always)]
fn factor<T: Real>(n: usize, a: &mut [T], pivots: &mut [usize]) -> bool {
    let (a, pivots) = (&mut a[..n * n], &mut pivots[..n]);
    let mut regular = true;
    for j in 0..n {
        let reciprocal = exchange(n, j, a, &mut pivots[j]);
        regular &= reciprocal.is_finite() && reciprocal != T::zero();
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

/// [`lu_factor`] of a large matrix.
fn factor_large<T: Real>(n: usize, a: &mut [T], pivots: &mut [usize]) -> bool {
    let mut regular = true;
    for start in (0..n).step_by(COLUMNS) {
        let end = (start + COLUMNS).min(n);
        regular &= factor_columns(n, start..end, a, pivots);
        subtract_product(n, start..end, a);
    }
    regular
}

/// Factors some columns of a matrix, those before being done, and finds the rows of `U` that follow.
fn factor_columns<T: Real>(
    n: usize,
    columns: Range<usize>,
    a: &mut [T],
    pivots: &mut [usize],
) -> bool {
    let mut regular = true;
    dispatch(Isa::detect(), Columns { n, columns, a, pivots, regular: &mut regular });
    regular
}

struct Columns<'a, T> {
    n: usize,
    columns: Range<usize>,
    a: &'a mut [T],
    pivots: &'a mut [usize],
    regular: &'a mut bool,
}

impl<T: Real> Kernel for Columns<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Columns { n, columns: Range { start, end }, a, pivots, regular } = self;
        for j in start..end {
            let reciprocal = exchange(n, j, a, &mut pivots[j]);
            *regular &= reciprocal.is_finite() && reciprocal != T::zero();
            let (done, rows) = a.split_at_mut((j + 1) * n);
            let top = &done[j * n..][j + 1..end];
            for row in rows.chunks_exact_mut(n) {
                if row[j] != T::zero() {
                    let factor = row[j] * reciprocal;
                    row[j] = factor;
                    subtract(factor, top, &mut row[j + 1..end]);
                }
            }
        }
        for i in start + 1..end {
            let (done, rows) = a.split_at_mut(i * n);
            let row = &mut rows[..n];
            for j in start..i {
                if row[j] != T::zero() {
                    subtract(row[j], &done[j * n..][end..n], &mut row[end..]);
                }
            }
        }
    }
}

/// `y -= factor x`.
#[inline(always)]
fn subtract<T: Real>(factor: T, x: &[T], y: &mut [T]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y -= factor * x;
    }
}

/// Takes from what is left of a matrix the product of `L`'s columns and `U`'s rows that were found last, as
/// far as these differ from 0.
fn subtract_product<T: Real>(n: usize, Range { start, end }: Range<usize>, a: &mut [T]) {
    let depth = end - start;
    let differs = |x: &T| *x != T::zero();
    let in_row = |i: &usize| a[i * n..][start..end].iter().any(differs);
    let in_column = |j: &usize| (start..end).any(|i| differs(&a[i * n + j]));
    let (Some(top), Some(bottom)) = ((end..n).find(in_row), (end..n).rfind(in_row)) else { return };
    let (Some(left), Some(right)) = ((end..n).find(in_column), (end..n).rfind(in_column)) else {
        return;
    };
    let (height, width) = (bottom + 1 - top, right + 1 - left);
    with_scratch((height + width) * depth, |copied: &mut [T]| {
        let (lower, upper) = copied.split_at_mut(height * depth);
        for (to, row) in lower.chunks_exact_mut(depth).zip(a[top * n..].chunks_exact(n)) {
            to.iter_mut().zip(&row[start..end]).for_each(|(to, &from)| *to = -from);
        }
        for (to, row) in upper.chunks_exact_mut(width).zip(a[start * n..].chunks_exact(n)) {
            to.copy_from_slice(&row[left..=right]);
        }
        let product = Rows {
            size: [height, depth, width],
            accumulate: true,
            a_strides: (depth, 1),
            a_panel: height,
            c_row: n,
            a: lower,
            b: upper,
            c: &mut a[top * n + left..],
            next: Next::default(),
        };
        dispatch(Isa::detect(), product);
    });
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

/// [`lu_solve`] with long sums.
struct Solve<'a, T> {
    n: usize,
    lu: &'a [T],
    pivots: &'a [usize],
    b: &'a mut [T],
}

impl<T: Real> Kernel for Solve<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Solve { n, lu, pivots, b } = self;
        for (j, &pivot) in pivots.iter().enumerate() {
            b.swap(j, pivot);
        }
        for i in 1..n {
            b[i] -= block(&lu[i * n..][..i], &b[..i], |l, y| l * y);
        }
        for i in (0..n).rev() {
            let row = &lu[i * n..][..n];
            let sum = block(&row[i + 1..], &b[i + 1..], |u, y| u * y);
            b[i] = (b[i] - sum) * row[i];
        }
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
