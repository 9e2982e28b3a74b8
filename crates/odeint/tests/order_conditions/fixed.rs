//! Numbers with 400 binary places, about 120 decimal ones: exact enough that an order condition
//! which holds is told from one that nearly holds.

use std::iter::Sum;
use std::ops::{Add, Mul, Sub};

use num_bigint::BigInt;

const BITS: usize = 400;

/// `number / 2^BITS`.
#[derive(Clone, Debug, PartialEq)]
pub struct Fixed(BigInt);

impl Fixed {
    pub fn ratio(p: impl Into<BigInt>, q: impl Into<BigInt>) -> Fixed {
        Fixed((p.into() << BITS) / q.into())
    }

    pub fn zero() -> Fixed {
        Fixed(BigInt::ZERO)
    }

    pub fn one() -> Fixed {
        Fixed::ratio(1, 1)
    }

    /// `p/q`, or a decimal with or without an exponent.
    pub fn parse(text: &str) -> Fixed {
        let whole = |s: &str| s.parse::<BigInt>().unwrap_or_else(|e| panic!("{text:?}: {e}"));
        if let Some((p, q)) = text.split_once('/') {
            return Fixed::ratio(whole(p), whole(q));
        }
        let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let exponent = exponent.parse::<i64>().expect("an exponent") - fraction.len() as i64;
        let number = whole(&format!("{integer}{fraction}"));
        let power = BigInt::from(10).pow(exponent.unsigned_abs() as u32);
        if exponent < 0 { Fixed::ratio(number, power) } else { Fixed::ratio(number * power, 1) }
    }

    /// The number that a constant of the code is, to its last bit.
    pub fn from_f64(x: f64) -> Fixed {
        let bits = x.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i64;
        let fraction = (bits & ((1 << 52) - 1)) as i64;
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        let shift = BITS as i64 + exponent.max(1) - 1075;
        let size = BigInt::from(mantissa);
        let size = if shift >= 0 { size << shift } else { size >> -shift };
        Fixed(if x < 0.0 { -size } else { size })
    }

    pub fn abs(&self) -> Fixed {
        Fixed(self.0.magnitude().clone().into())
    }

    /// Roughly.
    pub fn as_f64(&self) -> f64 {
        // 100 binary places are enough to look at, and fit.
        let short: BigInt = &self.0 >> (BITS - 300);
        short.to_string().parse::<f64>().expect("digits") / 2f64.powi(300)
    }

    /// Whether `x` is the nearest number to this one.
    pub fn rounds_to(&self, x: f64) -> bool {
        let ulp = Fixed::from_f64(x.abs().next_up() - x.abs());
        let distance = (self - &Fixed::from_f64(x)).abs();
        distance.0 * 2 <= ulp.0
    }
}

impl Add for &Fixed {
    type Output = Fixed;
    fn add(self, other: &Fixed) -> Fixed {
        Fixed(&self.0 + &other.0)
    }
}

impl Sub for &Fixed {
    type Output = Fixed;
    fn sub(self, other: &Fixed) -> Fixed {
        Fixed(&self.0 - &other.0)
    }
}

impl Mul for &Fixed {
    type Output = Fixed;
    fn mul(self, other: &Fixed) -> Fixed {
        Fixed((&self.0 * &other.0) >> BITS)
    }
}

impl Sum for Fixed {
    fn sum<I: Iterator<Item = Fixed>>(terms: I) -> Fixed {
        Fixed(terms.map(|x| x.0).sum())
    }
}

pub fn dot(a: &[Fixed], b: &[Fixed]) -> Fixed {
    let used = a.iter().zip(b).filter(|(a, b)| a.0 != BigInt::ZERO && b.0 != BigInt::ZERO);
    used.map(|(a, b)| a * b).sum()
}
