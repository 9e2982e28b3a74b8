//! Vectors of AVX2.

use std::arch::x86_64::{
    __m256, __m256d, __m256i, _mm256_add_pd, _mm256_add_ps, _mm256_blendv_pd, _mm256_blendv_ps,
    _mm256_castpd_ps, _mm256_castps_pd, _mm256_castsi256_pd, _mm256_castsi256_ps, _mm256_fmadd_pd,
    _mm256_fmadd_ps, _mm256_loadu_pd, _mm256_loadu_ps, _mm256_loadu_si256, _mm256_maskload_pd,
    _mm256_maskload_ps, _mm256_mul_pd, _mm256_mul_ps, _mm256_permute2f128_pd,
    _mm256_permute2f128_ps, _mm256_set1_pd, _mm256_set1_ps, _mm256_setzero_pd, _mm256_setzero_ps,
    _mm256_storeu_pd, _mm256_storeu_ps, _mm256_sub_pd, _mm256_sub_ps, _mm256_unpackhi_pd,
    _mm256_unpackhi_ps, _mm256_unpacklo_pd, _mm256_unpacklo_ps,
};

use super::vector::Vector;

/// The bytes of a vector.
const BYTES: usize = 32;

/// A mask of the first bytes of a vector, of at most so many.
///
/// # Safety
/// That of [`Vector`].
#[inline(always)]
unsafe fn below(bytes: usize) -> __m256i {
    static MASKS: [[u8; BYTES]; 2] = [[u8::MAX; BYTES], [0; BYTES]];
    // SAFETY: that of the function; a vector from byte `BYTES - bytes` on ends within these two.
    unsafe {
        let masks = MASKS.as_ptr().cast::<u8>();
        _mm256_loadu_si256(masks.add(BYTES - bytes.min(BYTES)).cast())
    }
}

/// Sums of neighbours, of two vectors in turns.
///
/// # Safety
/// That of [`Vector`], as for the following.
#[inline(always)]
unsafe fn pairs(a: __m256d, b: __m256d) -> __m256d {
    // SAFETY: that of the function.
    unsafe { _mm256_unpacklo_pd(a, b).add(_mm256_unpackhi_pd(a, b)) }
}

/// Sums of both halves, first those of one vector.
#[inline(always)]
unsafe fn halves(a: __m256d, b: __m256d) -> __m256d {
    // SAFETY: that of the function.
    unsafe {
        let (low, high) =
            (_mm256_permute2f128_pd::<0x20>(a, b), _mm256_permute2f128_pd::<0x31>(a, b));
        low.add(high)
    }
}

impl Vector for __m256d {
    type Of = f64;
    const LEN: usize = 4;
    const REGISTERS: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: that of the trait, as for all that follow.
        unsafe { _mm256_setzero_pd() }
    }
    #[inline(always)]
    unsafe fn splat(x: f64) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_set1_pd(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_loadu_pd(from) }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f64, len: usize) -> Self {
        // SAFETY: that of the trait; what the mask leaves out is not read.
        unsafe { _mm256_maskload_pd(from, below(len * size_of::<f64>())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64) {
        // SAFETY: that of the trait.
        unsafe { _mm256_storeu_pd(to, self) }
    }
    #[inline(always)]
    unsafe fn store_from(self, first: usize, to: *mut f64) {
        // SAFETY: that of the trait. What was there is written again, since processors by AMD take long to
        // store by a mask.
        unsafe {
            let mask = _mm256_castsi256_pd(below(first * size_of::<f64>()));
            _mm256_blendv_pd(self, Self::load(to), mask).store(to);
        }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_fmadd_pd(self, b, c) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_mul_pd(self, b) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_add_pd(self, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_sub_pd(self, b) }
    }
    #[inline(always)]
    unsafe fn sums(of: [Self; 8]) -> [f64; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: that of the trait; `sums` has eight numbers, two vectors.
        unsafe {
            let [a, b, c, d, e, f, g, h] = of;
            halves(pairs(a, b), pairs(c, d)).store(sums.as_mut_ptr());
            halves(pairs(e, f), pairs(g, h)).store(sums.as_mut_ptr().add(4));
        }
        sums
    }
}

/// Of each four numbers the sums of the first and the third, and of the others, of two vectors in turns.
#[inline(always)]
unsafe fn pairs_f32(a: __m256, b: __m256) -> __m256 {
    // SAFETY: that of the function.
    unsafe { _mm256_unpacklo_ps(a, b).add(_mm256_unpackhi_ps(a, b)) }
}

/// The sums of what that gives: each four numbers are then of four vectors.
#[inline(always)]
unsafe fn fours_f32(a: __m256, b: __m256) -> __m256 {
    // SAFETY: that of the function.
    unsafe {
        let (a, b) = (_mm256_castps_pd(a), _mm256_castps_pd(b));
        let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
        _mm256_castpd_ps(low).add(_mm256_castpd_ps(high))
    }
}

/// Sums of both halves, first those of one vector.
#[inline(always)]
unsafe fn halves_f32(a: __m256, b: __m256) -> __m256 {
    // SAFETY: that of the function.
    unsafe {
        let (low, high) =
            (_mm256_permute2f128_ps::<0x20>(a, b), _mm256_permute2f128_ps::<0x31>(a, b));
        low.add(high)
    }
}

impl Vector for __m256 {
    type Of = f32;
    const LEN: usize = 8;
    const REGISTERS: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: that of the trait, as for all that follow.
        unsafe { _mm256_setzero_ps() }
    }
    #[inline(always)]
    unsafe fn splat(x: f32) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_some(from: *const f32, len: usize) -> Self {
        // SAFETY: that of the trait; what the mask leaves out is not read.
        unsafe { _mm256_maskload_ps(from, below(len * size_of::<f32>())) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: that of the trait.
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn store_from(self, first: usize, to: *mut f32) {
        // SAFETY: that of the trait. What was there is written again, since processors by AMD take long to
        // store by a mask.
        unsafe {
            let mask = _mm256_castsi256_ps(below(first * size_of::<f32>()));
            _mm256_blendv_ps(self, Self::load(to), mask).store(to);
        }
    }
    #[inline(always)]
    unsafe fn fma(self, b: Self, c: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_fmadd_ps(self, b, c) }
    }
    #[inline(always)]
    unsafe fn mul(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_mul_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn add(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_add_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn sub(self, b: Self) -> Self {
        // SAFETY: that of the trait.
        unsafe { _mm256_sub_ps(self, b) }
    }
    #[inline(always)]
    unsafe fn sums(of: [Self; 8]) -> [f32; 8] {
        let mut sums = [0.0; 8];
        // SAFETY: that of the trait; `sums` has eight numbers, a vector.
        unsafe {
            let [a, b, c, d, e, f, g, h] = of;
            let first = fours_f32(pairs_f32(a, b), pairs_f32(c, d));
            let second = fours_f32(pairs_f32(e, f), pairs_f32(g, h));
            halves_f32(first, second).store(sums.as_mut_ptr());
        }
        sums
    }
}
