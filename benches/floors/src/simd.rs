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

/// The constants of `tanh` in double precision.
#[derive(Clone, Copy)]
pub struct Tanh {
    /// `2^(i/16)`.
    low: __m512d,
    high: __m512d,
}

impl Tanh {
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new() -> Tanh {
        let power = |i: usize| (i as f64 / 16.0).exp2();
        Tanh {
            low: load(&std::array::from_fn(power)),
            high: load(&std::array::from_fn(|i| power(i + 8))),
        }
    }

    /// `tanh x = 1 - 2 / (1 + e^2x)`, with an absolute error below 4e-15.
    #[inline]
    #[target_feature(enable = "avx512f,fma")]
    pub fn of(&self, x: __m512d) -> __m512d {
        let set = |x: f64| _mm512_set1_pd(x);
        // Beyond 20 it is 1.
        let x = _mm512_min_pd(x, set(20.0));
        // 2x = n ln 2 + 2r, where n is a multiple of 1/16 that the last digits of `shifted` hold.
        let magic = set(1.5 * (1u64 << 48) as f64);
        let shifted = _mm512_fmadd_pd(x, set(2.0 * std::f64::consts::LOG2_E), magic);
        let n = _mm512_sub_pd(shifted, magic);
        let r = _mm512_fnmadd_pd(n, set(0.5 * std::f64::consts::LN_2), x);
        let power = _mm512_permutex2var_pd(self.low, _mm512_castpd_si512(shifted), self.high);
        let power = _mm512_scalef_pd(power, n);
        // e^2r, by interpolation at the Chebyshev nodes of |r| <= ln 2 / 64.
        let square = _mm512_mul_pd(r, r);
        let high = _mm512_fmadd_pd(r, set(0.26668054201914027), set(0.6666823552431657));
        let middle = _mm512_fmadd_pd(r, set(1.333333332023151), set(1.9999999993077504));
        let low = _mm512_fmadd_pd(r, set(2.0000000000000253), set(1.0000000000000053));
        let e = _mm512_fmadd_pd(square, _mm512_fmadd_pd(square, high, middle), low);
        let sum = _mm512_fmadd_pd(power, e, set(1.0));
        // 1 / sum, from 14 digits by the geometric series of the rest.
        let guess = _mm512_rcp14_pd(sum);
        let rest = _mm512_fnmadd_pd(sum, guess, set(1.0));
        let inverse = _mm512_fmadd_pd(guess, rest, guess);
        let inverse = _mm512_fmadd_pd(inverse, _mm512_mul_pd(rest, rest), inverse);
        _mm512_fnmadd_pd(set(2.0), inverse, set(1.0))
    }
}

/// 64 numbers.
pub type Row = [__m512; 4];

#[inline]
#[target_feature(enable = "avx512f")]
pub fn load_f32(x: &[f32; 16]) -> __m512 {
    // SAFETY: sixteen numbers are read where sixteen are.
    unsafe { _mm512_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub fn array_f32(x: __m512) -> [f32; 16] {
    let mut out = [0.0; 16];
    // SAFETY: sixteen numbers are written where sixteen are.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), x) };
    out
}

#[inline]
#[target_feature(enable = "avx512f")]
pub fn row(x: &[f32; 64]) -> Row {
    let (parts, _) = x.as_chunks::<16>();
    std::array::from_fn(|i| load_f32(&parts[i]))
}

/// The numbers of a row.
#[inline]
pub fn floats(row: &Row) -> &[f32; 64] {
    // SAFETY: a row is 64 floats, and needs more alignment than they do.
    unsafe { &*std::ptr::from_ref(row).cast() }
}

/// A matrix of 64 rows, turned.
#[target_feature(enable = "avx512f")]
pub fn transpose_64(from: &[Row], to: &mut [Row]) {
    let mut turned = [[0.0; 64]; 64];
    for (i, from) in from.iter().enumerate() {
        for (j, &x) in floats(from).iter().enumerate() {
            turned[j][i] = x;
        }
    }
    for (to, turned) in to.iter_mut().zip(&turned) {
        *to = row(turned);
    }
}

/// `start + a b` for `R` rows.
#[inline]
#[target_feature(enable = "avx512f,fma")]
pub fn product<const R: usize>(a: &[Row], b: &[Row], start: Row) -> [Row; R] {
    let a: &[Row; R] = a.try_into().expect("as many rows");
    let b: &[Row; 64] = b.try_into().expect("64 rows");
    let mut sums = [start; R];
    for k in 0..64 {
        for r in 0..R {
            let factor = _mm512_set1_ps(floats(&a[r])[k]);
            for v in 0..4 {
                sums[r][v] = _mm512_fmadd_ps(factor, b[k][v], sums[r][v]);
            }
        }
    }
    sums
}

/// Adds the rows from `i` on of `aᵀ b` to `sums`.
#[inline]
#[target_feature(enable = "avx512f,fma")]
pub fn row_bar<const R: usize>(a: &[Row], i: usize, b: &[Row], sums: &mut [Row; R]) {
    let mut found = *sums;
    for (a, b) in a.iter().zip(b) {
        let a: &[f32; R] = floats(a)[i..i + R].try_into().expect("as many rows");
        for r in 0..R {
            let factor = _mm512_set1_ps(a[r]);
            for v in 0..4 {
                found[r][v] = _mm512_fmadd_ps(factor, b[v], found[r][v]);
            }
        }
    }
    *sums = found;
}

/// The products of two rows, still to be added over the lanes.
#[inline]
#[target_feature(enable = "avx512f,fma")]
pub fn dot(a: &Row, b: &Row) -> __m512 {
    let low = _mm512_fmadd_ps(a[1], b[1], _mm512_mul_ps(a[0], b[0]));
    let high = _mm512_fmadd_ps(a[3], b[3], _mm512_mul_ps(a[2], b[2]));
    _mm512_add_ps(low, high)
}

/// The sums over the lanes of sixteen vectors.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn sums(vector: impl Fn(usize) -> __m512) -> __m512 {
    // Two into one, four times.
    let four = |i: usize| {
        let two = |a, b| _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let a = _mm512_castps_pd(two(vector(i), vector(i + 1)));
        let b = _mm512_castps_pd(two(vector(i + 2), vector(i + 3)));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    };
    let two = |a, b| {
        let (low, high) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        _mm512_add_ps(low, high)
    };
    two(two(four(0), four(4)), two(four(8), four(12)))
}

/// Rows to numbers in double precision.
pub fn widen(rows: &[Row], to: &mut [f64]) {
    for (to, row) in to.as_chunks_mut::<64>().0.iter_mut().zip(rows) {
        *to = floats(row).map(f64::from);
    }
}

/// The constants of `tanh` in single precision.
#[derive(Clone, Copy)]
pub struct TanhF32 {
    /// `2^(i/32)`.
    low: __m512,
    high: __m512,
}

impl TanhF32 {
    #[target_feature(enable = "avx512f")]
    pub fn new() -> TanhF32 {
        let power = |i: usize| (i as f64 / 32.0).exp2() as f32;
        TanhF32 {
            low: load_f32(&std::array::from_fn(power)),
            high: load_f32(&std::array::from_fn(|i| power(i + 16))),
        }
    }

    /// `tanh x = 1 - 2 / (1 + e^2x)`, with an absolute error of a few units of rounding of 1.
    #[inline]
    #[target_feature(enable = "avx512f,fma")]
    pub fn of(&self, x: __m512) -> __m512 {
        let set = |x: f32| _mm512_set1_ps(x);
        // Beyond 10 it is 1.
        let x = _mm512_min_ps(x, set(10.0));
        // 2x = n ln 2 + 2r, where n is a multiple of 1/32 that the last digits of `shifted` hold.
        let magic = set(1.5 * (1 << 18) as f32);
        let shifted = _mm512_fmadd_ps(x, set(2.0 * std::f32::consts::LOG2_E), magic);
        let n = _mm512_sub_ps(shifted, magic);
        let r = _mm512_fnmadd_ps(n, set(0.5 * std::f32::consts::LN_2), x);
        let power = _mm512_permutex2var_ps(self.low, _mm512_castps_si512(shifted), self.high);
        let power = _mm512_scalef_ps(power, n);
        // e^2r with |2r| < ln 2 / 64
        let e = _mm512_fmadd_ps(r, _mm512_fmadd_ps(r, set(2.0), set(2.0)), set(1.0));
        let sum = _mm512_fmadd_ps(power, e, set(1.0));
        let guess = _mm512_rcp14_ps(sum);
        let rest = _mm512_fnmadd_ps(sum, guess, set(1.0));
        let inverse = _mm512_fmadd_ps(guess, rest, guess);
        _mm512_fnmadd_ps(set(2.0), inverse, set(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against the standard library: 800 k places, and far out.
    #[test]
    fn tanh_is_as_exact_as_is_said() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        let places = (-400_000..400_000).map(|i| f64::from(i) * 6e-5).chain([-700.0, 700.0]);
        let (mut double, mut single) = (0.0f64, 0.0f64);
        for x in places {
            // SAFETY: the processor has these instructions.
            let (d, s) = unsafe {
                let d = Tanh::new().of(_mm512_set1_pd(x));
                let s = TanhF32::new().of(_mm512_set1_ps(x as f32));
                (array(d)[3], array_f32(s)[3])
            };
            double = double.max((d - x.tanh()).abs());
            single = single.max((f64::from(s) - f64::from(x as f32).tanh()).abs());
        }
        assert!(double < 4e-15, "{double:e}");
        assert!(single < 4.0 * f64::from(f32::EPSILON), "{single:e}");
    }

    #[test]
    fn rows_become_columns() {
        if !is_x86_feature_detected!("avx512f") {
            return;
        }
        // SAFETY: the processor has these instructions.
        let turned = unsafe {
            let row = |i: usize| load(&std::array::from_fn(|j| (10 * i + j) as f64));
            transpose(std::array::from_fn(row)).map(|row| array(row))
        };
        for (i, row) in turned.iter().enumerate() {
            assert_eq!(*row, std::array::from_fn(|j| (10 * j + i) as f64));
        }
    }
}
