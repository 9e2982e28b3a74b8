//! Vectors of AVX2 with multiply-add: two registers each, which also keeps two chains of sums going.
//!
//! Why the blocks are safe: the module is compiled for processors with AVX2 and multiply-add alone,
//! and as many numbers are read and written as there are.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::Vector;

/// The vectors of a tile of a product, which has four rows: eight registers of sixteen are sums.
pub const TILE: usize = 1;

/// Eight numbers in double precision.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct F64x8([__m256d; 2]);

/// Sixteen numbers in single precision.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct F32x16([__m256; 2]);

/// What both types do, by the processor's instructions of one suffix.
macro_rules! vector {
    ($type:ident, $real:ty, $lanes:literal, $set:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
     $mul:ident, $fma:ident, $fnma:ident) => {
        impl Vector for $type {
            type Real = $real;
            type Lanes = [$real; $lanes];
            #[inline(always)]
            fn set(x: $real) -> $type {
                $type([unsafe { $set(x) }; 2])
            }
            #[inline(always)]
            fn load(x: &[$real; $lanes]) -> $type {
                let (first, last) = x.split_at($lanes / 2);
                $type(unsafe { [$load(first.as_ptr()), $load(last.as_ptr())] })
            }
            #[inline(always)]
            fn array(self) -> [$real; $lanes] {
                let mut out = [0.0; $lanes];
                let (first, last) = out.split_at_mut($lanes / 2);
                unsafe {
                    $store(first.as_mut_ptr(), self.0[0]);
                    $store(last.as_mut_ptr(), self.0[1]);
                }
                out
            }
            #[inline(always)]
            fn add(self, b: $type) -> $type {
                $type(unsafe { [$add(self.0[0], b.0[0]), $add(self.0[1], b.0[1])] })
            }
            #[inline(always)]
            fn sub(self, b: $type) -> $type {
                $type(unsafe { [$sub(self.0[0], b.0[0]), $sub(self.0[1], b.0[1])] })
            }
            #[inline(always)]
            fn mul(self, b: $type) -> $type {
                $type(unsafe { [$mul(self.0[0], b.0[0]), $mul(self.0[1], b.0[1])] })
            }
            #[inline(always)]
            fn fma(self, b: $type, c: $type) -> $type {
                let ([a, d], [b, e], [c, f]) = (self.0, b.0, c.0);
                $type(unsafe { [$fma(a, b, c), $fma(d, e, f)] })
            }
            #[inline(always)]
            fn fnma(self, b: $type, c: $type) -> $type {
                let ([a, d], [b, e], [c, f]) = (self.0, b.0, c.0);
                $type(unsafe { [$fnma(a, b, c), $fnma(d, e, f)] })
            }
            #[inline(always)]
            fn sum(self) -> $real {
                let all = self.array();
                let (first, last) = all.split_at($lanes / 2);
                let mut sums: [$real; $lanes / 2] = std::array::from_fn(|i| first[i] + last[i]);
                let mut left = $lanes / 2;
                while left > 1 {
                    left /= 2;
                    for i in 0..left {
                        sums[i] += sums[i + left];
                    }
                }
                sums[0]
            }
        }
    };
}

vector!(
    F64x8,
    f64,
    8,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_add_pd,
    _mm256_sub_pd,
    _mm256_mul_pd,
    _mm256_fmadd_pd,
    _mm256_fnmadd_pd
);
vector!(
    F32x16,
    f32,
    16,
    _mm256_set1_ps,
    _mm256_loadu_ps,
    _mm256_storeu_ps,
    _mm256_add_ps,
    _mm256_sub_ps,
    _mm256_mul_ps,
    _mm256_fmadd_ps,
    _mm256_fnmadd_ps
);

impl F64x8 {
    #[inline(always)]
    pub fn over(self, b: F64x8) -> F64x8 {
        F64x8(unsafe { [_mm256_div_pd(self.0[0], b.0[0]), _mm256_div_pd(self.0[1], b.0[1])] })
    }

    /// The last four numbers of `self` and the first four of `b`.
    #[inline(always)]
    pub fn middle(self, b: F64x8) -> F64x8 {
        F64x8([self.0[1], b.0[0]])
    }

    /// `c + a b` in the first four numbers, and `c` in the others.
    #[inline(always)]
    pub fn fma_first(self, b: F64x8, c: F64x8) -> F64x8 {
        F64x8([unsafe { _mm256_fmadd_pd(self.0[0], b.0[0], c.0[0]) }, c.0[1]])
    }

    #[inline(always)]
    pub fn fma_last(self, b: F64x8, c: F64x8) -> F64x8 {
        F64x8([c.0[0], unsafe { _mm256_fmadd_pd(self.0[1], b.0[1], c.0[1]) }])
    }

    /// With another number in the eighth place.
    #[inline(always)]
    pub fn with_eighth(self, x: f64) -> F64x8 {
        let last = unsafe { _mm256_blend_pd::<0b1000>(self.0[1], _mm256_set1_pd(x)) };
        F64x8([self.0[0], last])
    }
}

/// `Σ wᵢ kᵢ` of seven pairs.
#[inline(always)]
pub fn sum_of_pairs(w: F64x8, k: [__m128d; 7]) -> __m128d {
    unsafe {
        // Two at a time, each weight twice.
        let two = |a, b| _mm256_set_m128d(b, a);
        let [w0, w1] = w.0;
        let sum = _mm256_mul_pd(two(k[0], k[1]), _mm256_permute4x64_pd::<0x50>(w0));
        let sum = _mm256_fmadd_pd(two(k[2], k[3]), _mm256_permute4x64_pd::<0xfa>(w0), sum);
        let other = _mm256_mul_pd(two(k[4], k[5]), _mm256_permute4x64_pd::<0x50>(w1));
        let last = two(k[6], _mm_setzero_pd());
        let other = _mm256_fmadd_pd(last, _mm256_permute4x64_pd::<0xfa>(w1), other);
        let sum = _mm256_add_pd(sum, other);
        _mm_add_pd(_mm256_castpd256_pd128(sum), _mm256_extractf128_pd::<1>(sum))
    }
}

/// Rows to columns.
#[inline(always)]
pub fn transpose(rows: [F64x8; 8]) -> [F64x8; 8] {
    // The columns of four rows, of one half.
    let four = |first: usize, half: usize| unsafe {
        let r = |i: usize| rows[first + i].0[half];
        let (a, b) = (_mm256_unpacklo_pd(r(0), r(1)), _mm256_unpackhi_pd(r(0), r(1)));
        let (c, d) = (_mm256_unpacklo_pd(r(2), r(3)), _mm256_unpackhi_pd(r(2), r(3)));
        [
            _mm256_permute2f128_pd::<0x20>(a, c),
            _mm256_permute2f128_pd::<0x20>(b, d),
            _mm256_permute2f128_pd::<0x31>(a, c),
            _mm256_permute2f128_pd::<0x31>(b, d),
        ]
    };
    let halves = [0, 1].map(|half| (four(0, half), four(4, half)));
    std::array::from_fn(|column| {
        let (low, high) = &halves[column / 4];
        F64x8([low[column % 4], high[column % 4]])
    })
}

impl F32x16 {
    /// Written past the cache, for what is not read again before long.
    #[inline(always)]
    pub fn stream(self, to: &mut F32x16) {
        for (to, from) in to.0.iter_mut().zip(self.0) {
            unsafe { _mm256_stream_ps(std::ptr::from_mut(to).cast(), from) };
        }
    }
}

/// The sums over the lanes of sixteen vectors.
#[inline(always)]
pub fn sums(vector: impl Fn(usize) -> F32x16) -> F32x16 {
    unsafe {
        let one = |i: usize| {
            let [low, high] = vector(i).0;
            _mm256_add_ps(low, high)
        };
        let two = |i: usize| {
            let (a, b) = (one(i), one(i + 1));
            _mm256_castps_pd(_mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b)))
        };
        let four = |i: usize| {
            let (a, b) = (two(i), two(i + 2));
            let (low, high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            _mm256_add_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high))
        };
        let eight = |i: usize| {
            let (a, b) = (four(i), four(i + 4));
            let low = _mm256_permute2f128_ps::<0x20>(a, b);
            _mm256_add_ps(low, _mm256_permute2f128_ps::<0x31>(a, b))
        };
        F32x16([eight(0), eight(8)])
    }
}

/// The constants of `tanh` in double precision.
#[derive(Clone, Copy)]
pub struct Tanh {
    /// `2^(i/4)`, from whose bits `i` at the exponent's place is subtracted, so that `n` can be added there
    /// with its fraction.
    power: __m256,
}

impl Tanh {
    pub fn new() -> Tanh {
        let power: [f64; 4] = std::array::from_fn(|i| {
            f64::from_bits((i as f64 / 4.0).exp2().to_bits() - ((i as u64) << 50))
        });
        Tanh { power: unsafe { _mm256_castpd_ps(_mm256_loadu_pd(power.as_ptr())) } }
    }

    /// `tanh x = 1 - 2 / (1 + e^2x)`, with an absolute error below 4e-15.
    #[inline(always)]
    pub fn of(&self, x: F64x8) -> F64x8 {
        F64x8(x.0.map(|x| self.of_four(x)))
    }

    #[inline(always)]
    fn of_four(&self, x: __m256d) -> __m256d {
        unsafe {
            let set = |x: f64| _mm256_set1_pd(x);
            // Beyond 20 it is 1.
            let x = _mm256_max_pd(_mm256_min_pd(x, set(20.0)), set(-20.0));
            // 2x = n ln 2 + 2r, where n is a multiple of 1/4 that the last digits of `shifted` hold.
            let magic = set(1.5 * (1u64 << 50) as f64);
            let shifted = _mm256_fmadd_pd(x, set(2.0 * std::f64::consts::LOG2_E), magic);
            let n = _mm256_sub_pd(shifted, magic);
            let r = _mm256_fnmadd_pd(n, set(0.5 * std::f64::consts::LN_2), x);
            // Both words of an entry.
            let bits = _mm256_castpd_si256(shifted);
            let index = _mm256_shuffle_epi32::<0xa0>(_mm256_slli_epi64::<1>(bits));
            let index = _mm256_add_epi32(index, _mm256_set1_epi64x(1 << 32));
            let power = _mm256_castps_si256(_mm256_permutevar8x32_ps(self.power, index));
            let power = _mm256_castsi256_pd(_mm256_add_epi64(power, _mm256_slli_epi64::<50>(bits)));
            // e^2r, by interpolation at the Chebyshev nodes of |r| <= ln 2 / 16.
            let square = _mm256_mul_pd(r, r);
            let fourth = _mm256_mul_pd(square, square);
            let seven = _mm256_fmadd_pd(r, set(0.025402121892652806), set(0.08891272361713724));
            let five = _mm256_fmadd_pd(r, set(0.2666666604537975), set(0.6666666387079924));
            let three = _mm256_fmadd_pd(r, set(1.3333333333356654), set(2.0000000000104945));
            let one = _mm256_fmadd_pd(r, set(2.0), set(0.9999999999999994));
            let high = _mm256_fmadd_pd(square, seven, five);
            let e = _mm256_fmadd_pd(fourth, high, _mm256_fmadd_pd(square, three, one));
            let sum = _mm256_fmadd_pd(power, e, set(1.0));
            _mm256_sub_pd(set(1.0), _mm256_div_pd(set(2.0), sum))
        }
    }
}

/// `2^(i/8)` as in `Tanh`.
fn powers() -> __m256 {
    let power: [f32; 8] = std::array::from_fn(|i| {
        f32::from_bits(((i as f64 / 8.0).exp2() as f32).to_bits() - ((i as u32) << 20))
    });
    unsafe { _mm256_loadu_ps(power.as_ptr()) }
}

/// `2^n` and what is left of `x scale`, where `n` is the multiple of 1/8 nearest to it.
#[inline(always)]
fn split(powers: __m256, x: __m256, scale: f32) -> (__m256, __m256) {
    unsafe {
        let magic = _mm256_set1_ps(1.5 * (1 << 20) as f32);
        let shifted = _mm256_fmadd_ps(x, _mm256_set1_ps(scale * std::f32::consts::LOG2_E), magic);
        let n = _mm256_sub_ps(shifted, magic);
        let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(std::f32::consts::LN_2 / scale), x);
        let bits = _mm256_castps_si256(shifted);
        let power = _mm256_castps_si256(_mm256_permutevar8x32_ps(powers, bits));
        (_mm256_castsi256_ps(_mm256_add_epi32(power, _mm256_slli_epi32::<20>(bits))), r)
    }
}

/// `1 / x`, from the processor's eleven digits by one step of Newton's.
#[inline(always)]
fn inverse(x: __m256) -> __m256 {
    unsafe {
        let guess = _mm256_rcp_ps(x);
        _mm256_fmadd_ps(guess, _mm256_fnmadd_ps(x, guess, _mm256_set1_ps(1.0)), guess)
    }
}

/// The constants of `tanh` in single precision.
#[derive(Clone, Copy)]
pub struct TanhF32 {
    powers: __m256,
}

impl TanhF32 {
    pub fn new() -> TanhF32 {
        TanhF32 { powers: powers() }
    }

    /// `tanh x = 1 - 2 / (1 + e^2x)`, with an absolute error of a few units of rounding of 1.
    #[inline(always)]
    pub fn of(&self, x: F32x16) -> F32x16 {
        F32x16(x.0.map(|x| self.of_eight(x)))
    }

    #[inline(always)]
    fn of_eight(&self, x: __m256) -> __m256 {
        unsafe {
            let set = |x: f32| _mm256_set1_ps(x);
            // Beyond 10 it is 1.
            let x = _mm256_max_ps(_mm256_min_ps(x, set(10.0)), set(-10.0));
            let (power, r) = split(self.powers, x, 2.0);
            // e^2r, by interpolation at the Chebyshev nodes of |r| <= ln 2 / 32.
            let high = _mm256_fmadd_ps(r, set(1.3334585), set(2.0003128));
            let low = _mm256_fmadd_ps(r, set(2.0), set(1.0));
            let e = _mm256_fmadd_ps(_mm256_mul_ps(r, r), high, low);
            let sum = _mm256_fmadd_ps(power, e, set(1.0));
            _mm256_fnmadd_ps(set(2.0), inverse(sum), set(1.0))
        }
    }
}

/// The constants of `ln(1 + e^x)`.
#[derive(Clone, Copy)]
pub struct Softplus {
    powers: __m256,
}

impl Softplus {
    pub fn new() -> Softplus {
        Softplus { powers: powers() }
    }

    /// `max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and the derivative, `1 / (1 + e)` or `e / (1 + e)`.
    #[inline(always)]
    pub fn of(&self, x: F32x16) -> (F32x16, F32x16) {
        let [(a, c), (b, d)] = x.0.map(|x| self.of_eight(x));
        (F32x16([a, b]), F32x16([c, d]))
    }

    #[inline(always)]
    fn of_eight(&self, x: __m256) -> (__m256, __m256) {
        unsafe {
            let set = |x: f32| _mm256_set1_ps(x);
            let fma = |a, b, c| _mm256_fmadd_ps(a, b, c);
            let minus = _mm256_max_ps(_mm256_or_ps(x, set(-0.0)), set(-87.0));
            let (power, r) = split(self.powers, minus, 1.0);
            // e^r, by interpolation at the Chebyshev nodes of |r| <= ln 2 / 16.
            let high = fma(r, set(0.166_682_3), set(0.5000782));
            let series = fma(_mm256_mul_ps(r, r), high, fma(r, set(1.0), set(1.0)));
            let e = _mm256_mul_ps(power, series);
            // ln(1 + e) / e, by interpolation at the Chebyshev nodes of 0 to 1.
            let square = _mm256_mul_ps(e, e);
            let fourth = _mm256_mul_ps(square, square);
            let seven = fma(e, set(-0.029_074_065), set(0.077_516_09));
            let five = fma(e, set(-0.136_022_48), set(0.190_768_81));
            let three = fma(e, set(-0.248_353_99), set(0.333_181_22));
            let one = fma(e, set(-0.499_994_45), set(0.999_999_97));
            let high = fma(fourth, set(0.005_126_102), fma(square, seven, five));
            let series = fma(fourth, high, fma(square, three, one));
            let value = fma(e, series, _mm256_max_ps(x, set(0.0)));
            let quotient = inverse(_mm256_add_ps(e, set(1.0)));
            (value, _mm256_blendv_ps(quotient, _mm256_mul_ps(quotient, e), x))
        }
    }
}
