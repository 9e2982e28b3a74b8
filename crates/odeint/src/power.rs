//! The power of an error that a step size follows.
//!
//! A step cannot begin before its size is known, so that what counts is how long one power takes, not
//! how many a second there can be: tables of the powers of a number's exponent and of its leading
//! digits, and a short polynomial for the rest, take a third of the time of `exp` of `ln`. Nine digits are
//! more than a size asks for.

use std::sync::OnceLock;

/// The leading digits are this many bits.
const DIGITS: u32 = 6;
/// Exponents from minus this on, and as many, are in the table.
const EXPONENTS: u64 = 64;
const EXPONENT_BIAS: u64 = 1023;
const FRACTION_BITS: u32 = 52;

/// `x` to one power.
#[derive(Debug)]
struct Power {
    /// The powers of `2^e`.
    exponents: [f64; 2 * EXPONENTS as usize],
    /// For each interval of `[1, 2)` its middle, and the coefficients of the power in the distance from it.
    digits: [[f64; 5]; 1 << DIGITS],
}

impl Power {
    fn new(y: f64) -> Power {
        Power {
            exponents: std::array::from_fn(|e| (e as f64 - EXPONENTS as f64).exp2().powf(y)),
            digits: std::array::from_fn(|i| {
                let middle = 1.0 + (i as f64 + 0.5) / f64::from(1 << DIGITS);
                let mut coefficient = middle.powf(y);
                let mut entry = [middle, coefficient, 0.0, 0.0, 0.0];
                for n in 0..3 {
                    coefficient *= (y - n as f64) / ((n as f64 + 1.0) * middle);
                    entry[n + 2] = coefficient;
                }
                entry
            }),
        }
    }

    /// `c` times the power of `x`, to nine digits; `None` if that is not in the tables.
    #[inline]
    fn of(&self, x: f64, c: f64) -> Option<f64> {
        let bits = x.to_bits();
        // A sign, or an exponent that is not in the table, makes this too large.
        let exponent = (bits >> FRACTION_BITS).wrapping_sub(EXPONENT_BIAS - EXPONENTS);
        let power = *self.exponents.get(exponent as usize)?;
        let interval = bits >> (FRACTION_BITS - DIGITS) & ((1 << DIGITS) - 1);
        let [middle, p0, p1, p2, p3] = self.digits[interval as usize];
        let fraction = bits & ((1 << FRACTION_BITS) - 1) | EXPONENT_BIAS << FRACTION_BITS;
        let r = f64::from_bits(fraction) - middle;
        // In this order little waits for anything.
        Some((c * power) * ((p0 + p1 * r) + (r * r) * (p2 + p3 * r)))
    }
}

/// `c` times `x` to the power `-1/k`, for positive numbers and `k` of at least 2.
#[inline]
pub(crate) fn inverse_root_times(c: f64, x: f64, k: u32) -> f64 {
    static TABLES: [OnceLock<Power>; 24] = [const { OnceLock::new() }; 24];
    let y = -1.0 / f64::from(k);
    let table = TABLES.get(k as usize).map(|table| table.get_or_init(|| Power::new(y)));
    table.and_then(|table| table.of(x, c)).unwrap_or_else(|| c * power(x, y))
}

/// `x` to the power `y`. Where it is between the limits of a factor, it is as exact as `powf`, and
/// takes three quarters of the time.
#[inline]
pub(crate) fn power(x: f64, y: f64) -> f64 {
    (y * x.ln()).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_have_nine_digits() {
        for k in 2..30 {
            let mut x = 1e-22;
            while x < 1e22 {
                let exact = 3.0 * f64::powf(x, -1.0 / f64::from(k));
                let error = (inverse_root_times(3.0, x, k) / exact - 1.0).abs();
                assert!(error <= 1.1e-9, "{x} to the power -1/{k}: {error}");
                x *= 1.0137;
            }
        }
    }

    #[test]
    fn what_is_no_positive_number_has_the_powers_of_the_standard_library() {
        let inverse_root = |x: f64| inverse_root_times(1.0, x, 10);
        for x in [f64::NAN, -1.0, -1e-300] {
            assert!(inverse_root(x).is_nan());
        }
        assert_eq!(inverse_root(f64::INFINITY), 0.0);
        assert_eq!(inverse_root(0.0), f64::INFINITY);
        assert!((inverse_root(1e-310) / 1e31 - 1.0).abs() < 1e-12);
    }
}
