//! `exp`, `ln`, `tanh`, `sigmoid`, `softplus` and its slope: without branches, so that loops over them vectorise.
//!
//! Each is a chain of operations of which one waits for the other. So they take `N` numbers at once,
//! operation by operation, and where a loop is over as many vectors, one is at work while the others
//! wait.
//!
//! All are exact at 0, ±∞ and NaN and monotone enough for their error bounds, which hold over the
//! whole domain, in units in the last place (ulp):
//!
//! | | `exp` | `ln` | `tanh` | `sigmoid` | `softplus` | `softplus_slope` |
//! | --- | --- | --- | --- | --- | --- | --- |
//! | bound | 1.5 | 1.5 | 2.5 | 3 | 3 | 2.5 |
//!
//! The argument is split as `x = k ln 2 + r` with whole `k`, `|r| ≤ ln 2 / 2`, the two-part `ln 2`
//! of Cody and Waite making `r` exact enough; `eʳ - 1` is a polynomial. Logarithms use
//! `ln m = 2 artanh((m - 1)/(m + 1))` with `m` between `√½` and `√2`.

use num_traits::Float;

use crate::elementwise::Wide;

pub(crate) mod scalar;
mod tanh;

/// What the functions below need to know of a type.
pub trait Math: Float + 'static {
    /// `1.5 · 2^p + b` with `p` the number of mantissa bits and `b` the exponents' bias: added to a
    /// number, it rounds that to a whole `k`, and the last bits of the sum are the exponent of `2^k`.
    const ROUND: Self;
    /// `1/ln 2`.
    const LOG2_E: Self;
    /// The leading bits of `ln 2`, so few that whole multiples are exact; and the rest.
    const LN2: (Self, Self);
    /// Where `exp` is 0, and where it is `∞`.
    const EXP_RANGE: (Self, Self);
    /// Where `1 - exp` is 1.
    const SLOPE_ONE: Self;
    /// `(eʳ - 1 - r)/r²` for `|r| ≤ ln 2 / 2` in powers of `r`, the last first: in `f32` the polynomial
    /// with the smallest relative error of `eʳ`, in `f64` that of `eʳ - 1`, both at most 0.1 ulp; Taylor's would
    /// be one and two degrees longer.
    const EXPM1: &'static [Self];
    /// `2/3, 2/5, 2/7, …`, last first.
    const ARTANH: &'static [Self];
    /// `ln(1 + z)/z` between 0 and 1 in powers of `z - ½`, the last first: of all polynomials of
    /// its degree the one with the smallest relative error, 0.04 ulp in both types.
    const LN_1P: &'static [Self];
    /// `(d, 2^-d)`, where `2^(k + d)` is a normal number for the `k` of every `eˣ` but 0.
    const DOWN: (Self, Self);

    /// `a b + c`, fused if the machine can.
    fn fma<const FMA: bool>(a: Self, b: Self, c: Self) -> Self;
    /// `2^k` from `k + ROUND`.
    fn two_to(k: Self) -> Self;
    /// `(m, e)` with `x = m 2^e` and `m` between `√½` and `√2`, for positive finite `x`.
    fn split(x: Self) -> (Self, Self);
    /// A literal.
    fn lit(x: f64) -> Self;
    /// `tanh x`.
    fn tanh<const FMA: bool, const N: usize>(x: [Self; N]) -> [Self; N];
}

impl Math for f64 {
    const ROUND: f64 = 6_755_399_441_055_744.0 + 1023.0;
    const LOG2_E: f64 = std::f64::consts::LOG2_E;
    // The split of FreeBSD's msun, e_exp.c.
    const LN2: (f64, f64) = (6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10);
    const EXP_RANGE: (f64, f64) = (-746.0, 710.0);
    const SLOPE_ONE: f64 = -40.0;
    const EXPM1: &'static [f64] = &[
        2.511_392_899_655_065e-8,
        2.762_559_811_395_644e-7,
        2.755_722_976_280_394e-6,
        2.480_150_656_696_273_3e-5,
        1.984_126_990_088_761_1e-4,
        1.388_888_893_026_644e-3,
        8.333_333_333_315_646e-3,
        4.166_666_666_658_18e-2,
        1.666_666_666_666_668_5e-1,
        5.000_000_000_000_004e-1,
    ];
    const ARTANH: &'static [f64] = &[
        2.0 / 21.0,
        2.0 / 19.0,
        2.0 / 17.0,
        2.0 / 15.0,
        2.0 / 13.0,
        2.0 / 11.0,
        2.0 / 9.0,
        2.0 / 7.0,
        2.0 / 5.0,
        2.0 / 3.0,
    ];
    const LN_1P: &'static [f64] = &[
        2.504_186_856_178_399_5e-5,
        -3.839_040_095_168_365e-5,
        2.752_439_597_153_798_8e-5,
        -4.479_520_980_123_49e-5,
        8.973_273_215_347_215e-5,
        -1.421_166_128_928_164_6e-4,
        2.210_743_808_506_232e-4,
        -3.548_159_596_945_35e-4,
        5.730_654_155_612_108e-4,
        -9.288_581_622_497_933e-4,
        1.515_382_822_327_575_2e-3,
        -2.491_841_122_845_061e-3,
        4.136_179_121_929_614e-3,
        -6.945_394_979_125_669e-3,
        1.183_379_210_965_504_3e-2,
        -2.054_881_191_899_173_4e-2,
        3.661_185_452_315_81e-2,
        -6.768_864_331_096_612e-2,
        1.326_097_537_542_029e-1,
        -2.885_270_990_993_239e-1,
        8.109_302_162_163_288e-1,
    ];
    const DOWN: (f64, f64) = (54.0, 1.0 / 18_014_398_509_481_984.0);

    #[inline(always)]
    fn fma<const FMA: bool>(a: f64, b: f64, c: f64) -> f64 {
        if FMA { a.mul_add(b, c) } else { a * b + c }
    }
    #[inline(always)]
    fn two_to(k: f64) -> f64 {
        f64::from_bits(k.to_bits() << 52)
    }
    #[inline(always)]
    fn split(x: f64) -> (f64, f64) {
        const SQRT_HALF: u64 = std::f64::consts::FRAC_1_SQRT_2.to_bits();
        const TWO_52: f64 = 4_503_599_627_370_496.0;
        let tiny = x < f64::MIN_POSITIVE;
        let x = if tiny { x * TWO_52 } else { x };
        let bits = x.to_bits().wrapping_add(1f64.to_bits() - SQRT_HALF);
        // A whole number written into the mantissa of 2^52 is that number plus 2^52.
        let e = f64::from_bits((bits >> 52) | TWO_52.to_bits()) - (TWO_52 + 1023.0);
        let m = f64::from_bits((bits & ((1 << 52) - 1)).wrapping_add(SQRT_HALF));
        (m, if tiny { e - 52.0 } else { e })
    }
    #[inline(always)]
    fn lit(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn tanh<const FMA: bool, const N: usize>(x: [f64; N]) -> [f64; N] {
        tanh::of_f64::<FMA, N>(x)
    }
}

impl Math for f32 {
    const ROUND: f32 = 12_582_912.0 + 127.0;
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // The split of FreeBSD's msun, e_expf.c.
    const LN2: (f32, f32) = (6.931_457_5e-1, 1.428_606_8e-6);
    const EXP_RANGE: (f32, f32) = (-104.0, 89.0);
    const SLOPE_ONE: f32 = -20.0;
    const EXPM1: &'static [f32] =
        &[1.388_666_2e-3, 8.373_339e-3, 4.166_759_6e-2, 1.666_647_3e-1, 4.999_999_4e-1];
    const ARTANH: &'static [f32] = &[2.0 / 11.0, 2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0];
    const LN_1P: &'static [f32] = &[
        -3.244_037_4e-3,
        5.253_362_3e-3,
        -6.749_906e-3,
        1.157_614_4e-2,
        -2.057_029_6e-2,
        3.663_547_4e-2,
        -6.768_77e-2,
        1.326_090_1e-1,
        -2.885_271e-1,
        8.109_302e-1,
    ];
    const DOWN: (f32, f32) = (24.0, 1.0 / 16_777_216.0);

    #[inline(always)]
    fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
        if FMA { a.mul_add(b, c) } else { a * b + c }
    }
    #[inline(always)]
    fn two_to(k: f32) -> f32 {
        f32::from_bits(k.to_bits() << 23)
    }
    #[inline(always)]
    fn split(x: f32) -> (f32, f32) {
        const SQRT_HALF: u32 = std::f32::consts::FRAC_1_SQRT_2.to_bits();
        const TWO_23: f32 = 8_388_608.0;
        let tiny = x < f32::MIN_POSITIVE;
        let x = if tiny { x * TWO_23 } else { x };
        let bits = x.to_bits().wrapping_add(1f32.to_bits() - SQRT_HALF);
        let e = f32::from_bits((bits >> 23) | TWO_23.to_bits()) - (TWO_23 + 127.0);
        let m = f32::from_bits((bits & ((1 << 23) - 1)).wrapping_add(SQRT_HALF));
        (m, if tiny { e - 23.0 } else { e })
    }
    #[inline(always)]
    fn lit(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn tanh<const FMA: bool, const N: usize>(x: [f32; N]) -> [f32; N] {
        tanh::of_f32::<FMA, N>(x)
    }
}

/// `c_0 + c_1 x + …` with the coefficients last first.
#[inline(always)]
fn polynomial<T: Math, const FMA: bool>(c: &[T], x: T) -> T {
    let mut sum = c[0];
    for &c in &c[1..] {
        sum = T::fma::<FMA>(sum, x, c);
    }
    sum
}

/// [`polynomial`] as two in `x²`, of the even and the odd powers, which do not wait for each other.
#[inline(always)]
fn halves<T: Math, const FMA: bool, const N: usize>(c: &[T], x: [T; N]) -> [T; N] {
    let square = x.map(|x| x * x);
    let (mut first, mut second) = ([c[0]; N], [c[1]; N]);
    let (pairs, last) = c[2..].as_chunks::<2>();
    for &[c, d] in pairs {
        first = each(|i| T::fma::<FMA>(first[i], square[i], c));
        second = each(|i| T::fma::<FMA>(second[i], square[i], d));
    }
    match last {
        [c] => {
            first = each(|i| T::fma::<FMA>(first[i], square[i], *c));
            each(|i| T::fma::<FMA>(second[i], x[i], first[i]))
        }
        _ => each(|i| T::fma::<FMA>(first[i], x[i], second[i])),
    }
}

#[inline(always)]
fn each<T, const N: usize>(f: impl FnMut(usize) -> T) -> [T; N] {
    std::array::from_fn(f)
}

/// Each function as a type, for loops to be generic over.
macro_rules! wide {
    ($($name:ident = $function:ident),*) => {$(
        #[derive(Clone, Copy)]
        pub(crate) struct $name<const FMA: bool>;

        impl<T: Math, const FMA: bool> Wide<T> for $name<FMA> {
            #[inline(always)]
            fn of<const N: usize>(&self, x: [T; N]) -> [T; N] {
                $function::<T, FMA, N>(x)
            }
        }
    )*};
}
wide!(
    Exp = exp,
    Ln = ln,
    Tanh = tanh,
    Sigmoid = sigmoid,
    Softplus = softplus,
    SoftplusSlope = softplus_slope
);

/// `(k + round, k, eʳ - 1)` where `x = k ln 2 + r`; `round` is [`Math::ROUND`], or that and a small whole number.
#[inline(always)]
fn reduce<T: Math, const FMA: bool, const N: usize>(
    x: [T; N],
    round: T,
) -> ([T; N], [T; N], [T; N]) {
    let shifted = each(|i| T::fma::<FMA>(x[i], T::LOG2_E, round));
    let k: [T; N] = each(|i| shifted[i] - round);
    let (high, low) = T::LN2;
    let r: [T; N] = each(|i| T::fma::<FMA>(-k[i], high, x[i]));
    let r: [T; N] = each(|i| T::fma::<FMA>(-k[i], low, r[i]));
    let square: [T; N] = each(|i| r[i] * r[i]);
    let q = halves::<T, FMA, N>(T::EXPM1, r);
    (shifted, k, each(|i| T::fma::<FMA>(square[i], q[i], r[i])))
}

/// `eˣ`.
#[inline(always)]
fn exp<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    let (low, high) = T::EXP_RANGE;
    let x = x.map(|x| if x > high { high } else { x });
    let x = x.map(|x| if x < low { low } else { x });
    let (_, k, p) = reduce::<T, FMA, N>(x, T::ROUND);
    // 2^k may be too large or too small for a number where the result is not: two factors.
    let half: [T; N] = each(|i| T::fma::<FMA>(k[i], T::lit(0.5), T::ROUND));
    let rest: [T; N] = each(|i| (k[i] - (half[i] - T::ROUND)) + T::ROUND);
    each(|i| (T::one() + p[i]) * T::two_to(half[i]) * T::two_to(rest[i]))
}

/// `tanh x`.
#[inline(always)]
fn tanh<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    <T as Math>::tanh::<FMA, N>(x)
}

/// `ln x`.
#[inline(always)]
fn ln<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    each(|i| ln_of_one::<T, FMA>(x[i]))
}

#[inline(always)]
fn ln_of_one<T: Math, const FMA: bool>(x: T) -> T {
    let (m, e) = T::split(x);
    let f = m - T::one();
    let s = f / (f + T::lit(2.0));
    let s2 = s * s;
    // ln(1 + f) = f - f²/2 + s (f²/2 + R), R = Σ 2 s^(2i)/(2i + 1): the small parts are added
    // first.
    let r = s2 * polynomial::<T, FMA>(T::ARTANH, s2);
    let half = T::lit(0.5) * f * f;
    let (high, low) = T::LN2;
    let y = e * high - ((half - (s * (half + r) + e * low)) - f);
    let y = if x == T::zero() { T::neg_infinity() } else { y };
    let y = if x == T::infinity() { x } else { y };
    if x >= T::zero() { y } else { T::nan() }
}

/// `e^-|x|`.
#[inline(always)]
fn exp_of_minus<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    let low = T::EXP_RANGE.0;
    let x = x.map(|x| -x.abs());
    let x = x.map(|x| if x < low { low } else { x });
    // The last product is the only one that rounds, where the result is below the normal numbers.
    let (d, down) = T::DOWN;
    let (shifted, _, p) = reduce::<T, FMA, N>(x, T::ROUND + d);
    let scale = shifted.map(T::two_to);
    each(|i| T::fma::<FMA>(scale[i], p[i], scale[i]) * down)
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
fn sigmoid<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    let z = exp_of_minus::<T, FMA, N>(x);
    let numerator: [T; N] = each(|i| if x[i] < T::zero() { z[i] } else { T::one() });
    each(|i| numerator[i] / (T::one() + z[i]))
}

/// `ln(1 + eˣ) = max(x, 0) + ln(1 + z)` with `z = e^-|x|`.
#[inline(always)]
fn softplus<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    let z = exp_of_minus::<T, FMA, N>(x);
    // NaN fails the comparison and comes in through z.
    let positive = x.map(|x| if x > T::zero() { x } else { T::zero() });
    let ln = halves::<T, FMA, N>(T::LN_1P, z.map(|z| z - T::lit(0.5)));
    each(|i| T::fma::<FMA>(z[i], ln[i], positive[i]))
}

/// `1 - e⁻ˣ`.
#[inline(always)]
fn softplus_slope<T: Math, const FMA: bool, const N: usize>(x: [T; N]) -> [T; N] {
    // Where e⁻ˣ is too small to count, and where it is ∞.
    let (low, high) = (T::SLOPE_ONE, T::EXP_RANGE.1);
    let x = x.map(|x| -x);
    let x = x.map(|x| if x < low { low } else { x });
    let x = x.map(|x| if x > high { high } else { x });
    // Half of it, (½ - 2^(k-1)) - 2^(k-1) (eʳ - 1): 2^k may be too large where the result is not.
    let (shifted, _, p) = reduce::<T, FMA, N>(x, T::ROUND - T::one());
    let half = shifted.map(T::two_to);
    let y: [T; N] = each(|i| T::fma::<FMA>(-half[i], p[i], T::lit(0.5) - half[i]));
    y.map(|y| y + y)
}
