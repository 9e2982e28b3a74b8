//! Vectors of AVX-512.

use std::arch::x86_64::{
    __m512, __m512d, _mm256_storeu_ps, _mm512_add_pd, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps512_ps256, _mm512_fmadd_pd, _mm512_fmadd_ps, _mm512_loadu_pd,
    _mm512_loadu_ps, _mm512_mask_storeu_pd, _mm512_mask_storeu_ps, _mm512_maskz_loadu_pd,
    _mm512_maskz_loadu_ps, _mm512_mul_pd, _mm512_mul_ps, _mm512_set1_pd, _mm512_set1_ps,
    _mm512_setzero_pd, _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_f64x2,
    _mm512_storeu_pd, _mm512_storeu_ps, _mm512_sub_pd, _mm512_sub_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::vector::Vector;

/// Sums of neighbours, of two vectors in turns.
///
/// # Safety
/// That of [`Vector`], as for the following.
#[inline(always)]
unsafe fn pairs(a: __m512d, b: __m512d) -> __m512d {
    // SAFETY: that of the function.
    unsafe { _mm512_unpacklo_pd(a, b).add(_mm512_unpackhi_pd(a, b)) }
}

/// Sums of neighbouring pairs, first those of one vector.
#[inline(always)]
unsafe fn lanes(a: __m512d, b: __m512d) -> __m512d {
    // SAFETY: that of the function.
    unsafe { _mm512_shuffle_f64x2::<0x88>(a, b).add(_mm512_shuffle_f64x2::<0xdd>(a, b)) }
}

impl Vector for __m512d {
    type Of = f64;
    const LEN: usize = 8;
    const REGISTERS: usize = 32;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: that of the trait, as for all that follow.
        unsafe { _mm512_setzero_pd() }
    }
    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_set1_pd(x) }
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
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: that of the trait.
        unsafe { _mm512_storeu_pd(to, self) }
    }
    #[inline(always)]
    unsafe fn store_from(self, first: usize, to: *mut f64) {
        // SAFETY: that of the trait; what the mask leaves out is not written.
        unsafe { _mm512_mask_storeu_pd(to, u8::MAX << first, self) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_fmadd_pd(self, b, c) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_mul_pd(self, b) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_add_pd(self, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_sub_pd(self, b) }
    }
    #[inline(always)]
    unsafe fn sums(of: [Self; 8]) -> [f64; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: that of the trait; `sums` has eight numbers.
        unsafe {
            let [a, b, c, d, e, f, g, h] = of;
            let (first, second) =
                (lanes(pairs(a, b), pairs(c, d)), lanes(pairs(e, f), pairs(g, h)));
            lanes(first, second).store(sums.as_mut_ptr());
        }
        sums
    }
}

/// Of each four numbers the sums of the first and the third, and of the others, of two vectors in turns.
#[inline(always)]
unsafe fn pairs_f32(a: __m512, b: __m512) -> __m512 {
    // SAFETY: that of the function.
    unsafe { _mm512_unpacklo_ps(a, b).add(_mm512_unpackhi_ps(a, b)) }
}

/// The sums of what that gives: each four numbers are then of four vectors.
#[inline(always)]
unsafe fn fours_f32(a: __m512, b: __m512) -> __m512 {
    // SAFETY: that of the function.
    unsafe {
        let (a, b) = (_mm512_castps_pd(a), _mm512_castps_pd(b));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        _mm512_castpd_ps(low).add(_mm512_castpd_ps(high))
    }
}

/// Sums of neighbouring fours, first those of one vector.
#[inline(always)]
unsafe fn lanes_f32(a: __m512, b: __m512) -> __m512 {
    // SAFETY: that of the function.
    unsafe { _mm512_shuffle_f32x4::<0x88>(a, b).add(_mm512_shuffle_f32x4::<0xdd>(a, b)) }
}

impl Vector for __m512 {
    type Of = f32;
    const LEN: usize = 16;
    const REGISTERS: usize = 32;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: that of the trait, as for all that follow.
        unsafe { _mm512_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_set1_ps(x) }
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
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: that of the trait.
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn store_from(self, first: usize, to: *mut f32) {
        // SAFETY: that of the trait; what the mask leaves out is not written.
        unsafe { _mm512_mask_storeu_ps(to, u16::MAX << first, self) }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_fmadd_ps(self, b, c) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_mul_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_add_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm512_sub_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn sums(of: [Self; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: that of the trait; `sums` has eight numbers, which are half a vector.
        unsafe {
            let [a, b, c, d, e, f, g, h] = of;
            let (first, second) = (
                fours_f32(pairs_f32(a, b), pairs_f32(c, d)),
                fours_f32(pairs_f32(e, f), pairs_f32(g, h)),
            );
            let halves = lanes_f32(first, second);
            let all = lanes_f32(halves, halves);
            _mm256_storeu_ps(sums.as_mut_ptr(), _mm512_castps512_ps256(all));
        }
        sums
    }
}
