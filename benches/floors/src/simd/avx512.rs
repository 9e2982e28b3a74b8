//! Vectors of AVX-512: one register each.
//!
//! Why the blocks are safe: the module is compiled for processors with AVX-512 alone,
//! and as many numbers are read and written as there are.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::Vector;

/// The vectors of a tile of a product, which has four rows: sixteen registers of 32 are sums.
pub const TILE: usize = 4;

/// Eight numbers in double precision.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F64x8(__m512d);

/// Sixteen numbers in single precision.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct F32x16(__m512);

/// What both types do, by the processor's instructions of one suffix.
macro_rules! vector {
    ($type:ident, $real:ty, $lanes:literal, $set:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
     $mul:ident, $fma:ident, $fnma:ident, $reduce:ident) => {
        impl Vector for $type {
            type Real = $real;
            type Lanes = [$real; $lanes];
            #[inline(always)]
            fn set(x: $real) -> $type {
                $type(unsafe { $set(x) })
            }
            #[inline(always)]
            fn load(x: &[$real; $lanes]) -> $type {
                $type(unsafe { $load(x.as_ptr()) })
            }
            #[inline(always)]
            fn array(self) -> [$real; $lanes] {
                let mut out = [0.0; $lanes];
                unsafe { $store(out.as_mut_ptr(), self.0) };
                out
            }
            #[inline(always)]
            fn add(self, b: $type) -> $type {
                $type(unsafe { $add(self.0, b.0) })
            }
            #[inline(always)]
            fn sub(self, b: $type) -> $type {
                $type(unsafe { $sub(self.0, b.0) })
            }
            #[inline(always)]
            fn mul(self, b: $type) -> $type {
                $type(unsafe { $mul(self.0, b.0) })
            }
            #[inline(always)]
            fn fma(self, b: $type, c: $type) -> $type {
                $type(unsafe { $fma(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn fnma(self, b: $type, c: $type) -> $type {
                $type(unsafe { $fnma(self.0, b.0, c.0) })
            }
            #[inline(always)]
            fn sum(self) -> $real {
                unsafe { $reduce(self.0) }
            }
        }
    };
}

vector!(
    F64x8,
    f64,
    8,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_add_pd,
    _mm512_sub_pd,
    _mm512_mul_pd,
    _mm512_fmadd_pd,
    _mm512_fnmadd_pd,
    _mm512_reduce_add_pd
);
vector!(
    F32x16,
    f32,
    16,
    _mm512_set1_ps,
    _mm512_loadu_ps,
    _mm512_storeu_ps,
    _mm512_add_ps,
    _mm512_sub_ps,
    _mm512_mul_ps,
    _mm512_fmadd_ps,
    _mm512_fnmadd_ps,
    _mm512_reduce_add_ps
);

impl F64x8 {
    #[inline(always)]
    pub fn over(self, b: F64x8) -> F64x8 {
        F64x8(unsafe { _mm512_div_pd(self.0, b.0) })
    }

    /// The last four numbers of `self` and the first four of `b`.
    #[inline(always)]
    pub fn middle(self, b: F64x8) -> F64x8 {
        F64x8(unsafe { _mm512_shuffle_f64x2::<0x4e>(self.0, b.0) })
    }

    /// `c + a b` in the first four numbers, and `c` in the others.
    #[inline(always)]
    pub fn fma_first(self, b: F64x8, c: F64x8) -> F64x8 {
        F64x8(unsafe { _mm512_mask3_fmadd_pd(self.0, b.0, c.0, 0x0f) })
    }

    #[inline(always)]
    pub fn fma_last(self, b: F64x8, c: F64x8) -> F64x8 {
        F64x8(unsafe { _mm512_mask3_fmadd_pd(self.0, b.0, c.0, 0xf0) })
    }

    /// With another number in the eighth place.
    #[inline(always)]
    pub fn with_eighth(self, x: f64) -> F64x8 {
        F64x8(unsafe { _mm512_mask_mov_pd(self.0, 0x80, _mm512_set1_pd(x)) })
    }
}

/// `Σ wᵢ kᵢ` of seven pairs.
#[inline(always)]
pub fn sum_of_pairs(w: F64x8, k: [__m128d; 7]) -> __m128d {
    let four = |a, b, c, d| unsafe {
        let (low, high) = (_mm256_set_m128d(b, a), _mm256_set_m128d(d, c));
        _mm512_insertf64x4::<1>(_mm512_castpd256_pd512(low), high)
    };
    // Each weight twice.
    let twice = |i: i64| unsafe {
        let index = _mm512_setr_epi64(i, i, i + 1, i + 1, i + 2, i + 2, i + 3, i + 3);
        _mm512_permutexvar_pd(index, w.0)
    };
    unsafe {
        let sum = _mm512_mul_pd(four(k[0], k[1], k[2], k[3]), twice(0));
        let sum = _mm512_fmadd_pd(four(k[4], k[5], k[6], _mm_setzero_pd()), twice(4), sum);
        let sum = _mm256_add_pd(_mm512_castpd512_pd256(sum), _mm512_extractf64x4_pd::<1>(sum));
        _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd::<1>(sum))
    }
}

/// Rows to columns.
#[inline(always)]
pub fn transpose(rows: [F64x8; 8]) -> [F64x8; 8] {
    let r = rows.map(|r| r.0);
    unsafe {
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
            F64x8(if column < 4 {
                _mm512_shuffle_f64x2::<0x88>(low, high)
            } else {
                _mm512_shuffle_f64x2::<0xdd>(low, high)
            })
        })
    }
}

impl F32x16 {
    /// Written past the cache, for what is not read again before long.
    #[inline(always)]
    pub fn stream(self, to: &mut F32x16) {
        unsafe { _mm512_stream_ps(std::ptr::from_mut(to).cast(), self.0) };
    }
}

/// The sums over the lanes of sixteen vectors.
#[inline(always)]
pub fn sums(vector: impl Fn(usize) -> F32x16) -> F32x16 {
    // Two into one, four times.
    let four = |i: usize| unsafe {
        let two = |a: F32x16, b: F32x16| {
            _mm512_add_ps(_mm512_unpacklo_ps(a.0, b.0), _mm512_unpackhi_ps(a.0, b.0))
        };
        let a = _mm512_castps_pd(two(vector(i), vector(i + 1)));
        let b = _mm512_castps_pd(two(vector(i + 2), vector(i + 3)));
        let (low, high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
        _mm512_add_ps(_mm512_castpd_ps(low), _mm512_castpd_ps(high))
    };
    let two = |a, b| unsafe {
        let (low, high) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        _mm512_add_ps(low, high)
    };
    F32x16(two(two(four(0), four(4)), two(four(8), four(12))))
}

/// The constants of `tanh` in double precision.
#[derive(Clone, Copy)]
pub struct Tanh {
    /// `2^(i/16)`.
    low: __m512d,
    high: __m512d,
}

impl Tanh {
    pub fn new() -> Tanh {
        let power = |i: usize| (i as f64 / 16.0).exp2();
        Tanh {
            low: F64x8::load(&std::array::from_fn(power)).0,
            high: F64x8::load(&std::array::from_fn(|i| power(i + 8))).0,
        }
    }

    /// `tanh x = 1 - 2 / (1 + e^2x)`, with an absolute error below 4e-15.
    #[inline(always)]
    pub fn of(&self, x: F64x8) -> F64x8 {
        unsafe {
            let set = |x: f64| _mm512_set1_pd(x);
            // Beyond 20 it is 1.
            let x = _mm512_min_pd(x.0, set(20.0));
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
            F64x8(_mm512_fnmadd_pd(set(2.0), inverse, set(1.0)))
        }
    }
}

/// The constants of `tanh` in single precision.
#[derive(Clone, Copy)]
pub struct TanhF32 {
    /// `2^(i/32)`.
    power: [__m512; 2],
}

/// A table of 32 numbers.
fn table(f: impl Fn(f64) -> f64) -> [__m512; 2] {
    [0, 16].map(|first| F32x16::load(&std::array::from_fn(|i| f((first + i) as f64) as f32)).0)
}

impl TanhF32 {
    pub fn new() -> TanhF32 {
        TanhF32 { power: table(|i| (i / 32.0).exp2()) }
    }

    /// `tanh x = 1 - 2 / (1 + e^2x)`, with an absolute error of a few units of rounding of 1.
    #[inline(always)]
    pub fn of(&self, x: F32x16) -> F32x16 {
        unsafe {
            let set = |x: f32| _mm512_set1_ps(x);
            // Beyond 10 it is 1.
            let x = _mm512_min_ps(x.0, set(10.0));
            // 2x = n ln 2 + 2r, where n is a multiple of 1/32 that the last digits of `shifted` hold.
            let magic = set(1.5 * (1 << 18) as f32);
            let shifted = _mm512_fmadd_ps(x, set(2.0 * std::f32::consts::LOG2_E), magic);
            let n = _mm512_sub_ps(shifted, magic);
            let r = _mm512_fnmadd_ps(n, set(0.5 * std::f32::consts::LN_2), x);
            let index = _mm512_castps_si512(shifted);
            let power = _mm512_permutex2var_ps(self.power[0], index, self.power[1]);
            let power = _mm512_scalef_ps(power, n);
            // e^2r with |2r| < ln 2 / 64
            let e = _mm512_fmadd_ps(r, _mm512_fmadd_ps(r, set(2.0), set(2.0)), set(1.0));
            let sum = _mm512_fmadd_ps(power, e, set(1.0));
            let guess = _mm512_rcp14_ps(sum);
            let rest = _mm512_fnmadd_ps(sum, guess, set(1.0));
            let inverse = _mm512_fmadd_ps(guess, rest, guess);
            F32x16(_mm512_fnmadd_ps(set(2.0), inverse, set(1.0)))
        }
    }
}

/// The constants of `ln(1 + e^x)`.
#[derive(Clone, Copy)]
pub struct Softplus {
    /// `2^(i/32)`.
    power: [__m512; 2],
    /// `1 / (1 + i/31)` and the logarithm of its inverse.
    inverse: [__m512; 2],
    logarithm: [__m512; 2],
}

impl Softplus {
    pub fn new() -> Softplus {
        // The logarithm is that of the rounded inverse.
        let inverse = |i: f64| (1.0 / (1.0 + i / 31.0)) as f32;
        Softplus {
            power: table(|i| (i / 32.0).exp2()),
            inverse: table(|i| inverse(i).into()),
            logarithm: table(|i| -f64::from(inverse(i)).ln()),
        }
    }

    /// `max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and the derivative, `1 / (1 + e)` or `e / (1 + e)`.
    #[inline(always)]
    pub fn of(&self, x: F32x16) -> (F32x16, F32x16) {
        unsafe {
            let x = x.0;
            let set = |x: f32| _mm512_set1_ps(x);
            let look = |table: [__m512; 2], index: __m512| {
                _mm512_permutex2var_ps(table[0], _mm512_castps_si512(index), table[1])
            };
            // e^-|x|: -|x| = n ln 2 + r, n a multiple of 1/32.
            let minus = _mm512_or_ps(x, set(-0.0));
            let magic = set(1.5 * (1 << 18) as f32);
            let shifted = _mm512_fmadd_ps(minus, set(std::f32::consts::LOG2_E), magic);
            let n = _mm512_sub_ps(shifted, magic);
            let r = _mm512_fnmadd_ps(n, set(std::f32::consts::LN_2), minus);
            let power = _mm512_scalef_ps(look(self.power, shifted), n);
            // |r| < ln 2 / 64
            let series = _mm512_fmadd_ps(r, _mm512_fmadd_ps(r, set(0.5), set(1.0)), set(1.0));
            let e = _mm512_mul_ps(power, series);
            // 1 + e = (1 + s) / inverse, |s| < 1/62.
            let index = _mm512_fmadd_ps(e, set(31.0), set(1.5 * (1 << 23) as f32));
            let inverse = look(self.inverse, index);
            let sum = _mm512_add_ps(e, set(1.0));
            let s = _mm512_fmsub_ps(sum, inverse, set(1.0));
            let series = _mm512_fmadd_ps(s, set(1.0 / 3.0), set(-0.5));
            let series = _mm512_fmadd_ps(_mm512_mul_ps(s, s), series, s);
            let logarithm = _mm512_add_ps(look(self.logarithm, index), series);
            let value = _mm512_add_ps(_mm512_max_ps(x, set(0.0)), logarithm);
            // inverse (1 - s + s² - s³)
            let series = _mm512_fnmadd_ps(s, set(1.0), set(1.0));
            let series = _mm512_fmadd_ps(_mm512_mul_ps(s, s), series, series);
            let quotient = _mm512_mul_ps(inverse, series);
            let negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
            (F32x16(value), F32x16(_mm512_mask_mul_ps(quotient, negative, quotient, e)))
        }
    }
}
