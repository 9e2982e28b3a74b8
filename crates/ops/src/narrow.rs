//! Products with few columns: inner products of rows that lie without gaps.
//!
//! Sums across a vector are what the compiler does not find by itself: written as a loop, this takes
//! five times as long. So this one kernel is written with the instructions' names.

use std::arch::x86_64::{
    __m512, __m512d, _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_loadu_pd, _mm512_loadu_ps,
    _mm512_maskz_loadu_pd, _mm512_maskz_loadu_ps, _mm512_reduce_add_pd, _mm512_reduce_add_ps,
    _mm512_setzero_pd, _mm512_setzero_ps,
};

use num_traits::Zero;

use crate::Real;
use crate::isa::Isa;
use crate::product::Add;

/// How many rows are done at once: with four columns, their sums take half of the registers.
const ROWS: usize = 4;

/// `C = A B` and what is to be added, where `A` has rows of length `k`, and `B` at most four columns, which
/// lie one after another. Returns whether it was done: it is not if the machine has no AVX-512.
///
/// # Panics
/// If the lengths do not fit, or there are no or more columns.
pub(crate) fn narrow<T: Real>(
    k: usize,
    and: Add<'_, T>,
    a: &[T],
    columns: &[T],
    c: &mut [T],
) -> bool {
    if Isa::detect() < Isa::Avx512 {
        return false;
    }
    let (a64, columns64): (Option<&[f64]>, Option<&[f64]>) = (cast(a), cast(columns));
    if let (Some(a), Some(columns)) = (a64, columns64) {
        // SAFETY: the machine has AVX-512.
        unsafe { all::<__m512d>(k, same(and), a, columns, bytemuck::cast_slice_mut(c)) };
    } else {
        let (a, columns) = (bytemuck::cast_slice(a), bytemuck::cast_slice(columns));
        // SAFETY: as above.
        unsafe { all::<__m512>(k, same(and), a, columns, bytemuck::cast_slice_mut(c)) };
    }
    true
}

/// The same for the type that `T` is.
fn same<U: Real, T: Real>(and: Add<'_, T>) -> Add<'_, U> {
    match and {
        Add::Nothing => Add::Nothing,
        Add::Result => Add::Result,
        Add::Bias(bias) => Add::Bias(bytemuck::cast_slice(bias)),
    }
}

/// A slice as one of double precision, if it is.
fn cast<T: Real>(x: &[T]) -> Option<&[f64]> {
    (size_of::<T>() == size_of::<f64>()).then(|| bytemuck::cast_slice(x))
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
fn all<V: Vector>(k: usize, and: Add<'_, V::Of>, a: &[V::Of], columns: &[V::Of], c: &mut [V::Of]) {
    match columns.len() / k {
        1 => rows::<V, 1>(k, and, a, columns, c),
        2 => rows::<V, 2>(k, and, a, columns, c),
        3 => rows::<V, 3>(k, and, a, columns, c),
        4 => rows::<V, 4>(k, and, a, columns, c),
        n => panic!("{n} columns are not few"),
    }
}

#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
#[inline]
fn rows<V: Vector, const N: usize>(
    k: usize,
    and: Add<'_, V::Of>,
    a: &[V::Of],
    columns: &[V::Of],
    c: &mut [V::Of],
) {
    let mut results = c.chunks_exact_mut(ROWS * N);
    let mut rows = a.chunks_exact(ROWS * k);
    for (a, c) in rows.by_ref().zip(results.by_ref()) {
        tile::<V, ROWS, N>(k, and, a, columns, c);
    }
    let (rest, results) = (rows.remainder(), results.into_remainder());
    for (a, c) in rest.chunks_exact(k).zip(results.chunks_exact_mut(N)) {
        tile::<V, 1, N>(k, and, a, columns, c);
    }
}

/// The products of `R` rows with `N` columns.
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
#[inline]
fn tile<V: Vector, const R: usize, const N: usize>(
    k: usize,
    and: Add<'_, V::Of>,
    a: &[V::Of],
    columns: &[V::Of],
    c: &mut [V::Of],
) {
    assert!(a.len() == R * k && columns.len() == N * k && c.len() == R * N);
    if let Add::Bias(bias) = and {
        assert!(bias.len() == N);
    }
    // SAFETY: what is loaded are numbers of a row or a column of `k`, from number `l` on: `LEN` if there
    // are so many, else all that are left. The lengths are those of as many rows and columns. The
    // processor has the instructions, or this could not have been called.
    unsafe {
        let mut sums = [[V::zero(); N]; R];
        let mut l = 0;
        while l < k {
            // Whole vectors but for the last one; a mask that is known costs nothing.
            let load =
                |from| if k - l >= V::LEN { V::load(from) } else { V::load_some(from, k - l) };
            let mut b = [V::zero(); N];
            for (j, b) in b.iter_mut().enumerate() {
                *b = load(columns.as_ptr().add(j * k + l));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let a = load(a.as_ptr().add(i * k + l));
                for (sum, &b) in sums.iter_mut().zip(&b) {
                    *sum = a.fma(b, *sum);
                }
            }
            l += V::LEN;
        }
        for (c, sums) in c.as_chunks_mut::<N>().0.iter_mut().zip(sums) {
            let mut sum = [V::Of::zero(); N];
            for j in 0..N {
                sum[j] = sums[j].sum();
            }
            match and {
                Add::Nothing => {}
                Add::Result => (0..N).for_each(|j| sum[j] += c[j]),
                Add::Bias(bias) => (0..N).for_each(|j| sum[j] += bias[j]),
            }
            *c = sum;
        }
    }
}

/// A vector of numbers of a type. What it does needs AVX-512 F.
trait Vector: Copy {
    type Of: Real;
    const LEN: usize;
    /// Zeros.
    unsafe fn zero() -> Self;
    /// The numbers from a place on.
    unsafe fn load(from: *const Self::Of) -> Self;
    /// `len` numbers from a place on, fewer than `LEN`, and zeros.
    unsafe fn load_some(from: *const Self::Of, len: usize) -> Self;
    /// `self b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// The sum of the numbers.
    unsafe fn sum(self) -> Self::Of;
}

impl Vector for __m512d {
    type Of = f64;
    const LEN: usize = 8;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_setzero_pd() }
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_loadu_pd(from) }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f64, len: usize) -> Self {
        // SAFETY: that of the trait; what the mask leaves out is not read.
        unsafe { _mm512_maskz_loadu_pd((1u8 << len) - 1, from) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_fmadd_pd(self, b, c) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f64 {
        // SAFETY: that of the trait.
        unsafe { _mm512_reduce_add_pd(self) }
    }
}

impl Vector for __m512 {
    type Of = f32;
    const LEN: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, len: usize) -> Self {
        // SAFETY: that of the trait; what the mask leaves out is not read.
        unsafe { _mm512_maskz_loadu_ps((1u16 << len) - 1, from) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }
    #[inline(always)]
    unsafe fn sum(self) -> f32 {
        // SAFETY: that of the trait.
        unsafe { _mm512_reduce_add_ps(self) }
    }
}
