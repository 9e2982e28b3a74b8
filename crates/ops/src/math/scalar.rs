//! The error function and the inverse hyperbolic functions, one number at a time.
//!
//! [`erf`] is computed in `f64` for both types, from the rational approximations of FreeBSD's msun
//! (`s_erf.c`), to 1.5 ulp. The inverse hyperbolic functions are made from `ln_1p` so that nothing
//! cancels and nothing overflows, to 3 ulp.

use super::Math;

/// `erf x = x + x P(x²)/Q(x²)` for `|x| < 0.84375`: the coefficients of `P`, last first.
const PP: [f64; 5] = [
    -2.376_301_665_665_016_3e-5,
    -0.005_770_270_296_489_442,
    -0.028_481_749_575_598_51,
    -0.325_042_107_247_001_5,
    0.128_379_167_095_512_56,
];
/// The coefficients of `Q`.
const QQ: [f64; 6] = [
    -3.960_228_278_775_368e-6,
    0.000_132_494_738_004_321_64,
    0.005_081_306_281_875_766,
    0.065_022_249_988_767_3,
    0.397_917_223_959_155_35,
    1.0,
];
/// `erf x = ERX + P(s)/Q(s)`, `s = x - 1`, up to 1.25: the coefficients of `P`.
const PA: [f64; 7] = [
    -0.002_166_375_594_868_791,
    0.035_478_304_325_618_236,
    -0.110_894_694_282_396_68,
    0.318_346_619_901_161_75,
    -0.372_207_876_035_701_3,
    0.414_856_118_683_748_33,
    -0.002_362_118_560_752_659_4,
];
/// The coefficients of `Q`.
const QA: [f64; 7] = [
    0.011_984_499_846_799_107,
    0.013_637_083_912_029_05,
    0.126_171_219_808_761_64,
    0.071_828_654_414_196_27,
    0.540_397_917_702_171,
    0.106_420_880_400_844_23,
    1.0,
];
/// `x eˣ² erfc x = exp(-0.5625 + R(s)/S(s))`, `s = 1/x²`, up to 1/0.35: the coefficients of `R`.
const RA: [f64; 8] = [
    -9.814_329_344_169_145,
    -81.287_435_506_306_6,
    -184.605_092_906_711_04,
    -162.396_669_462_573_47,
    -62.375_332_450_326_006,
    -10.558_626_225_323_291,
    -0.693_858_572_707_181_8,
    -0.009_864_944_034_847_148,
];
/// The coefficients of `S`.
const SA: [f64; 9] = [
    -0.060_424_415_214_858_1,
    6.570_249_770_319_282,
    108.635_005_541_779_44,
    429.008_140_027_567_83,
    645.387_271_733_267_9,
    434.565_877_475_229_23,
    137.657_754_143_519_04,
    19.651_271_667_439_257,
    1.0,
];
/// The same above 1/0.35.
const RB: [f64; 7] = [
    -483.519_191_608_651_4,
    -1_025.095_131_611_077_2,
    -637.566_443_368_389_6,
    -160.636_384_855_821_92,
    -17.757_954_917_754_752,
    -0.799_283_237_680_523,
    -0.009_864_942_924_700_1,
];
/// The coefficients of `S`.
const SB: [f64; 8] = [
    -22.440_952_446_585_82,
    474.528_541_206_955_37,
    2_553.050_406_433_164_4,
    3_199.858_219_508_595_5,
    1_536.729_586_084_437,
    325.792_512_996_573_9,
    30.338_060_743_482_46,
    1.0,
];
/// `erf 1`, rounded to 24 bits.
const ERX: f64 = 0.845_062_911_510_467_5;
/// From here on, `erf x` rounds to 1.
const ERF_ONE: f64 = 6.0;

fn ratio(p: &[f64], q: &[f64], x: f64) -> f64 {
    let horner = |c: &[f64]| c.iter().fold(0.0, |sum, c| sum * x + c);
    horner(p) / horner(q)
}

/// `2/√π ∫₀ˣ e^(-t²) dt`: odd, ±1 at ±∞, NaN at NaN.
pub fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size < 0.84375 {
        return x + x * ratio(&PP, &QQ, x * x);
    }
    if x.is_nan() {
        return x;
    }
    let y = if size < 1.25 {
        ERX + ratio(&PA, &QA, size - 1.0)
    } else if size < ERF_ONE {
        // What is subtracted is below 0.08, so that rounding x² does no harm.
        let (s, low) = (1.0 / (size * size), size < 1.0 / 0.35);
        let r = if low { ratio(&RA, &SA, s) } else { ratio(&RB, &SB, s) };
        1.0 - (-(size * size) - 0.5625 + r).exp() / size
    } else {
        1.0
    };
    y.copysign(x)
}

/// `arsinh x = ln(x + √(x² + 1))`: odd, ±∞ at ±∞, NaN at NaN.
pub(crate) fn asinh<T: Math>(x: T) -> T {
    let (size, one) = (x.abs(), T::one());
    let y = if size > one / T::epsilon() {
        // The square would overflow, and 1 is lost beside it.
        size.ln() + T::lit(std::f64::consts::LN_2)
    } else {
        let square = size * size;
        (size + square / (one + (one + square).sqrt())).ln_1p()
    };
    y.copysign(x)
}

/// `arcosh x = ln(x + √(x² - 1))`: 0 at 1, ∞ at ∞, NaN below 1 and at NaN.
pub(crate) fn acosh<T: Math>(x: T) -> T {
    let one = T::one();
    if x > one / T::epsilon() {
        return x.ln() + T::lit(std::f64::consts::LN_2);
    }
    // Below 1 the root is of a negative number: NaN.
    let above = x - one;
    (above + (above * (x + one)).sqrt()).ln_1p()
}

/// `artanh x = ln((1 + x)/(1 - x))/2`: odd, ±∞ at ±1, NaN beyond and at NaN.
pub(crate) fn atanh<T: Math>(x: T) -> T {
    let size = x.abs();
    let y = T::lit(0.5) * ((size + size) / (T::one() - size)).ln_1p();
    y.copysign(x)
}
