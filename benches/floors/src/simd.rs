//! Small things that registers lack.

use std::arch::x86_64::*;

#[inline]
#[target_feature(enable = "avx512f")]
pub fn load(x: &[f64; 8]) -> __m512d {
    // SAFETY: eight numbers are read where eight are.
    unsafe { _mm512_loadu_pd(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub fn array(x: __m512d) -> [f64; 8] {
    let mut out = [0.0; 8];
    // SAFETY: eight numbers are written where eight are.
    unsafe { _mm512_storeu_pd(out.as_mut_ptr(), x) };
    out
}

#[inline]
#[target_feature(enable = "sse2")]
pub fn pair(x: __m128d) -> [f64; 2] {
    [_mm_cvtsd_f64(x), _mm_cvtsd_f64(_mm_unpackhi_pd(x, x))]
}

/// Four pairs, one after another.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn four_pairs(a: __m128d, b: __m128d, c: __m128d, d: __m128d) -> __m512d {
    let (low, high) = (_mm256_set_m128d(b, a), _mm256_set_m128d(d, c));
    _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high)
}

/// The weights of the slopes at the place `theta` of a step, the eighth is 0.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn weights(coefficients: &[[f64; 8]; 4], theta: f64) -> __m512d {
    let t = _mm512_set1_pd(theta);
    let [one, two, three, four] = coefficients;
    let sum = _mm512_fmadd_pd(t, load(four), load(three));
    let sum = _mm512_fmadd_pd(t, sum, load(two));
    _mm512_mul_pd(t, _mm512_fmadd_pd(t, sum, load(one)))
}

/// Rows to columns.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn transpose(r: [__m512d; 8]) -> [__m512d; 8] {
    // Within pairs of lanes, then pairs, then halves.
    let mut a = r;
    for i in 0..4 {
        a[2 * i] = _mm512_unpacklo_pd(r[2 * i], r[2 * i + 1]);
        a[2 * i + 1] = _mm512_unpackhi_pd(r[2 * i], r[2 * i + 1]);
    }
    let mut b = a;
    for i in [0, 1, 4, 5] {
        b[i] = _mm512_shuffle_f64x2::<0x88>(a[i], a[i + 2]);
        b[i + 2] = _mm512_shuffle_f64x2::<0xdd>(a[i], a[i + 2]);
    }
    // b[0], b[1]: columns 0, 4 and 1, 5 of rows 0 to 3; b[2], b[3]: columns 2, 6 and 3, 7.
    std::array::from_fn(|column| {
        let (low, high) = (b[column % 4], b[column % 4 + 4]);
        if column < 4 {
            _mm512_shuffle_f64x2::<0x88>(low, high)
        } else {
            _mm512_shuffle_f64x2::<0xdd>(low, high)
        }
    })
}
