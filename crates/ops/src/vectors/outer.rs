//! Sums of outer products.
//!
//! The compiler keeps the sums of such a tile in memory, or a part of them, which takes half as long again.

use super::vector::Vector;
use super::{Vectors, run, with_vectors_of};
use crate::Real;
use crate::isa::Isa;
use crate::outer::Outer;

/// How many rows a turn of the loop takes: with one the compiler keeps some sums in memory, with eight it has no
/// registers for their places.
const AT_ONCE: usize = 2;

/// What [`sum_outer`](crate::sum_outer()) computes, of rows that are as long as a vector at least. Returns
/// whether it was done: it is not if they are shorter, or there are no such vectors.
///
/// # Panics
/// If the lengths do not fit, or the machine lacks the instruction set.
#[inline]
pub(crate) fn outer<T: Real>(isa: Isa, job: &mut Outer<'_, T>) -> bool {
    let Outer { size, accumulate, a, b, ref mut c, ref mut sums } = *job;
    let [rows, m, n] = size;
    let Some(isa) = with_vectors_of::<T>(isa, n) else { return false };
    assert!(a.len() == rows * m && b.len() == rows * n && c.len() == m * n);
    assert!(sums.is_empty() || sums.len() == n);
    run(isa, Job(Outer { size, accumulate, a, b, c, sums }));
    true
}

/// A row of `b` is as long as a vector at least, and the lengths are those of `size`; there may be no `sums`.
struct Job<'a, T>(Outer<'a, T>);

impl<S: Real> Vectors<S> for Job<'_, S> {
    #[inline(always)]
    unsafe fn run<V: Vector<Of = S>>(mut self) {
        let [_, m, n] = self.0.size;
        let mut j = 0;
        // SAFETY: that of this function; the first of the vectors begins at `j < n`, the last one but one
        // ends within the row, and so begins the last one.
        unsafe {
            while j < n {
                let left = (n - j).div_ceil(V::LEN);
                // As many at once as there are registers for, since the sums of a few wait for each other.
                let vectors = match left {
                    7 if m <= 2 && V::REGISTERS == 32 => self.columns::<V, 7>(j),
                    4.. if m <= 2 || V::REGISTERS == 32 => self.columns::<V, 4>(j),
                    2.. => self.columns::<V, 2>(j),
                    _ => self.columns::<V, 1>(j),
                };
                j += vectors * V::LEN;
            }
        }
    }
}

impl<S: Real> Job<'_, S> {
    /// All sums of `N` vectors of columns from column `j` on, of which the last may begin among those of the
    /// one before. Returns `N`.
    #[inline(always)]
    unsafe fn columns<V: Vector<Of = S>, const N: usize>(&mut self, j: usize) -> usize {
        let (m, mut i) = (self.0.size[1], 0);
        // SAFETY: that of `run`; `i + R` is at most `m`.
        unsafe {
            if !self.0.sums.is_empty() {
                // Beside four products if the rest is a multiple of six then, else beside two.
                i = match m {
                    0 | 1 => self.tile::<V, 0, N, true>(i, j),
                    4.. if N == 2 && m % 6 == 4 => self.tile::<V, 4, N, true>(i, j),
                    _ => self.tile::<V, 2, N, true>(i, j),
                };
            }
            while N <= 2 && m - i >= 6 {
                i = self.tile::<V, 6, N, false>(i, j);
            }
            while N <= 4 && m - i >= 4 {
                i = self.tile::<V, 4, N, false>(i, j);
            }
            while m - i >= 2 {
                i = self.tile::<V, 2, N, false>(i, j);
            }
            if i < m {
                self.tile::<V, 1, N, false>(i, j);
            }
        }
        N
    }

    /// Those of `R` numbers of the rows of `a`, from number `i` on, and of the columns themselves if
    /// `AND_SUMS`. Returns the number after.
    #[inline(always)]
    unsafe fn tile<V: Vector<Of = S>, const R: usize, const N: usize, const AND_SUMS: bool>(
        &mut self,
        i: usize,
        j: usize,
    ) -> usize {
        let [rows, m, n] = self.0.size;
        let whole = j + (N - 1) * V::LEN;
        let last = whole.min(n - V::LEN);
        // SAFETY: that of `columns`: vectors but the last end at `whole` or before, and that one at `n` or
        // before; they lie within a row of `b`, of `c` or of `sums`.
        unsafe {
            let (mut c, mut sums) = ([[V::zero(); N]; R], [V::zero(); N]);
            let (mut left, mut right) = (self.0.a.as_ptr().add(i), self.0.b.as_ptr());
            for _ in 0..rows / AT_ONCE {
                for _ in 0..AT_ONCE {
                    let b = vectors::<V, N>(right, j, last);
                    add_row::<V, R, N, AND_SUMS>(left, b, &mut c, &mut sums);
                    (left, right) = (left.wrapping_add(m), right.wrapping_add(n));
                }
            }
            for _ in 0..rows % AT_ONCE {
                let b = vectors::<V, N>(right, j, last);
                add_row::<V, R, N, AND_SUMS>(left, b, &mut c, &mut sums);
                (left, right) = (left.wrapping_add(m), right.wrapping_add(n));
            }
            for (r, c) in c.iter().enumerate() {
                let to = self.0.c.as_mut_ptr().add((i + r) * n);
                self.write(*c, to, j, whole - last);
            }
            if AND_SUMS {
                let to = self.0.sums.as_mut_ptr();
                self.write(sums, to, j, whole - last);
            }
        }
        i + R
    }

    /// Writes sums to column `j` and those after, of the last vector those but the first `done`.
    #[inline(always)]
    unsafe fn write<V: Vector<Of = S>, const N: usize>(
        &self,
        sums: [V; N],
        to: *mut S,
        j: usize,
        done: usize,
    ) {
        for (v, sum) in sums.into_iter().enumerate() {
            let at = j + v * V::LEN;
            // SAFETY: that of `tile`.
            unsafe {
                let to = to.add(if v + 1 < N { at } else { at - done });
                // What was there comes last: added first, it would make each sum as inexact as itself.
                let sum = if self.0.accumulate { sum.add(V::load(to)) } else { sum };
                // A mask of all would cost as much as some rows.
                match v + 1 < N || done == 0 {
                    true => sum.store(to),
                    false => sum.store_from(done, to),
                }
            }
        }
    }
}

/// `N` vectors of a row, from column `j` on, of which the last begins at column `last`.
///
/// # Safety
/// That of [`Vector`].
#[inline(always)]
unsafe fn vectors<V: Vector, const N: usize>(row: *const V::Of, j: usize, last: usize) -> [V; N] {
    // SAFETY: that of the function.
    unsafe {
        let mut b = [V::zero(); N];
        for (v, b) in b.iter_mut().enumerate() {
            *b = V::load(row.add(if v + 1 < N { j + v * V::LEN } else { last }));
        }
        b
    }
}

/// Adds the outer product of `R` numbers and `N` vectors to `c`, and the vectors to `sums` if `AND_SUMS`.
///
/// # Safety
/// That of [`Vector`].
#[inline(always)]
unsafe fn add_row<V: Vector, const R: usize, const N: usize, const AND_SUMS: bool>(
    a: *const V::Of,
    b: [V; N],
    c: &mut [[V; N]; R],
    sums: &mut [V; N],
) {
    // SAFETY: that of the function.
    unsafe {
        for (r, c) in c.iter_mut().enumerate() {
            let a = V::splat(*a.add(r));
            for (c, b) in c.iter_mut().zip(b) {
                *c = a.fma(b, *c);
            }
        }
        if AND_SUMS {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = sum.add(b);
            }
        }
    }
}
