//! `tanh`: in `f64` from a table and the addition theorem, without a division, which would take longer
//! than all the rest; in `f32`, where the processor divides faster and has eight or sixteen places of
//! a table to read for a vector, from `eˣ`.

use super::{Math, each, halves};

/// How many values the table holds. Any number of which all bits but the last twelve are cut off is
/// a place in it, and so is that of NaN.
const LEN: usize = 1 << 12;

/// `tanh(i/128)`.
static TABLE: [f64; LEN] = table();

/// `tanh x = (1 - e^-2x) / (1 + e^-2x)`, the powers one after another in twice the precision.
const fn table() -> [f64; LEN] {
    /// `e^(-1/64)`.
    const DECAY: Twice = (0.984_496_437_005_408_5, -4.749_302_656_635_618_6e-17);
    let mut table = [0.0; LEN];
    let (mut power, mut i) = (DECAY, 1);
    while i < LEN {
        let numerator = add((1.0, 0.0), (-power.0, -power.1));
        let denominator = add((1.0, 0.0), power);
        let quotient = numerator.0 / denominator.0;
        let product = multiply((quotient, 0.0), denominator);
        table[i] = quotient + add(numerator, (-product.0, -product.1)).0 / denominator.0;
        power = multiply(power, DECAY);
        i += 1;
    }
    table
}

/// A number as the sum of two, of which the second is less than a unit in the last place of the
/// first.
type Twice = (f64, f64);

/// The sum, where the first number is at least as large as the second.
const fn add(a: Twice, b: Twice) -> Twice {
    let sum = a.0 + b.0;
    let rest = (b.0 - (sum - a.0)) + (a.1 + b.1);
    (sum + rest, rest - ((sum + rest) - sum))
}

/// The product, by Dekker's splitting into halves.
const fn multiply(a: Twice, b: Twice) -> Twice {
    const fn halves(x: f64) -> (f64, f64) {
        let high = f64::from_bits(x.to_bits() & !((1 << 27) - 1));
        (high, x - high)
    }
    let ((a1, a2), (b1, b2)) = (halves(a.0), halves(b.0));
    let product = a.0 * b.0;
    let rest = (((a1 * b1 - product) + a1 * b2) + a2 * b1) + a2 * b2;
    let rest = rest + (a.0 * b.1 + a.1 * b.0);
    (product + rest, rest - ((product + rest) - product))
}

/// `tanh x`. With `t = tanh a` for the `a` next to `|x| = a + r` in the table,
///
/// ```text
/// tanh(a + r) = (t + tanh r) / (1 + t tanh r) = t + (1 - t²) r / (t r + r coth r)
/// ```
///
/// and `r coth r = 1 + r²/3 - r⁴/45 + …`. With `|r| ≤ 1/256`, the divisor `1 + s` is so close to 1 that
/// its inverse is `(1 - s)(1 + s² + s⁴)`.
#[inline(always)]
pub(super) fn of_f64<const FMA: bool, const N: usize>(x: [f64; N]) -> [f64; N] {
    /// Added to a number, it rounds that to a multiple of 1/128; the last bits of the sum say to which.
    const ROUND: f64 = 1.5 * (1u64 << 45) as f64;
    let fma = f64::fma::<FMA>;
    let size = at_most(20.0, x);
    let shifted = size.map(|x| x + ROUND);
    let t: [f64; N] = each(|i| TABLE[shifted[i].to_bits() as usize % LEN]);
    let r: [f64; N] = each(|i| size[i] - (shifted[i] - ROUND));
    let s: [f64; N] = each(|i| fma(r[i], fma(r[i] * r[i], -1.0 / 45.0, 1.0 / 3.0), t[i]) * r[i]);
    let square = s.map(|s| s * s);
    let inverse: [f64; N] =
        each(|i| fma(1.0 - s[i], fma(square[i], square[i], square[i]), 1.0 - s[i]));
    let slope: [f64; N] = each(|i| fma(-t[i], t[i], 1.0) * r[i]);
    each(|i| fma(slope[i], inverse[i], t[i]).copysign(x[i]))
}

/// `tanh x = e / (e + 1)` with `e = (e^(2x) - 1)/2`.
///
/// Here `x = k ln 2 / 2 + r`. An error of `r` relative to `x` is one of the result times
/// `2x / sinh 2x`, which is at most 1: a `ln 2` in one part is exact enough.
#[inline(always)]
pub(super) fn of_f32<const FMA: bool, const N: usize>(x: [f32; N]) -> [f32; N] {
    /// `(e²ʳ - 1 - 2r)/2r²` in powers of `r`, the last first.
    const EXPM1: &[f32] = &[4.0 / 315.0, 2.0 / 45.0, 2.0 / 15.0, 1.0 / 3.0, 2.0 / 3.0, 1.0];
    use std::f32::consts::{LN_2, LOG2_E};
    let fma = f32::fma::<FMA>;
    let size = at_most(10.0, x);
    let shifted: [f32; N] = each(|i| fma(size[i], 2.0 * LOG2_E, f32::ROUND));
    let r: [f32; N] = each(|i| fma(f32::ROUND - shifted[i], 0.5 * LN_2, size[i]));
    let q = halves::<f32, FMA, N>(EXPM1, r);
    let p: [f32; N] = each(|i| fma(r[i] * r[i], q[i], r[i]));
    let scale = shifted.map(f32::two_to);
    // (2^k - 1)/2 is exact until it is much larger than 1.
    let e: [f32; N] = each(|i| fma(scale[i], p[i], fma(scale[i], 0.5, -0.5)));
    each(|i| (e[i] / (e[i] + 1.0)).copysign(x[i]))
}

/// `|x|`, or `one`, from where on `tanh` is 1.
#[inline(always)]
fn at_most<T: Math, const N: usize>(one: T, x: [T; N]) -> [T; N] {
    let size = x.map(|x| x.abs());
    size.map(|x| if x > one { one } else { x })
}
