//! Arithmetic with two `f64` to a number, about 31 digits: the oracle for `f64` functions.
//!
//! Sums and products are the error-free ones of Dekker and Knuth (Hida, Li and Bailey, "Algorithms
//! for quad-double precision floating point arithmetic", ARITH 2001).

use std::ops::{Add, Div, Mul, Neg, Sub};

/// The unevaluated sum of two numbers, the second below half an ulp of the first.
#[derive(Clone, Copy, Debug)]
pub struct Dd(pub f64, pub f64);

/// `ln 2`, whose digits are those of OEIS A002162.
const LN2: Dd = Dd(std::f64::consts::LN_2, 2.319_046_813_846_299_6e-17);

fn quick_two_sum(a: f64, b: f64) -> Dd {
    let s = a + b;
    Dd(s, b - (s - a))
}

fn two_sum(a: f64, b: f64) -> Dd {
    let s = a + b;
    let bb = s - a;
    Dd(s, (a - (s - bb)) + (b - bb))
}

impl From<f64> for Dd {
    fn from(x: f64) -> Dd {
        Dd(x, 0.0)
    }
}

impl Neg for Dd {
    type Output = Dd;
    fn neg(self) -> Dd {
        Dd(-self.0, -self.1)
    }
}

impl Add for Dd {
    type Output = Dd;
    fn add(self, b: Dd) -> Dd {
        let (s, t) = (two_sum(self.0, b.0), two_sum(self.1, b.1));
        let s = quick_two_sum(s.0, s.1 + t.0);
        quick_two_sum(s.0, s.1 + t.1)
    }
}

impl Sub for Dd {
    type Output = Dd;
    fn sub(self, b: Dd) -> Dd {
        self + -b
    }
}

impl Mul for Dd {
    type Output = Dd;
    fn mul(self, b: Dd) -> Dd {
        let p = self.0 * b.0;
        let e = self.0.mul_add(b.0, -p);
        quick_two_sum(p, e + (self.0 * b.1 + self.1 * b.0))
    }
}

impl Div for Dd {
    type Output = Dd;
    fn div(self, b: Dd) -> Dd {
        let q1 = self.0 / b.0;
        let r = self - b * Dd(q1, 0.0);
        let q2 = r.0 / b.0;
        let r = r - b * Dd(q2, 0.0);
        quick_two_sum(q1, q2) + Dd(r.0 / b.0, 0.0)
    }
}

impl Dd {
    /// Times a power of two, which is exact.
    pub fn scale(self, by: f64) -> Dd {
        Dd(self.0 * by, self.1 * by)
    }

    /// `(p, k)` with `eˣ = (1 + p) 2^k`.
    fn exp_parts(self) -> (Dd, i32) {
        let k = (self.0 / LN2.0).round();
        let r = (self - LN2 * Dd(k, 0.0)).scale(1.0 / 512.0);
        // |r| < 7e-4, so the twelfth term is below 1e-45.
        let mut p = Dd(0.0, 0.0);
        for n in (1..=12).rev() {
            p = (p + Dd(1.0, 0.0)) * r / Dd(f64::from(n), 0.0);
        }
        for _ in 0..9 {
            p = p.scale(2.0) + p * p;
        }
        (p, k as i32)
    }

    /// `(y, k)` with `eˣ = y 2^k` and `y` near 1.
    pub fn exp(self) -> (Dd, i32) {
        let (p, k) = self.exp_parts();
        (p + Dd(1.0, 0.0), k)
    }

    /// `eˣ - 1`, for `|x| < 700`.
    pub fn exp_m1(self) -> Dd {
        let (p, k) = self.exp_parts();
        let scale = 2f64.powi(k);
        p.scale(scale) + (Dd(scale, 0.0) - Dd(1.0, 0.0))
    }

    /// `ln(1 + x)` for `x` not below `-½`: one step of Halley's method, which triples the digits.
    pub fn ln_1p(self) -> Dd {
        let y = Dd(self.0.ln_1p(), 0.0);
        let e = y.exp_m1();
        y + (self - e).scale(2.0) / (self + e + Dd(2.0, 0.0))
    }

    /// `ln x` for a normal number.
    pub fn ln(self) -> Dd {
        let k = self.0.log2().round();
        let m = self.scale(2f64.powi(-(k as i32) / 2)).scale(2f64.powi(-(k as i32 - k as i32 / 2)));
        (m - Dd(1.0, 0.0)).ln_1p() + LN2 * Dd(k, 0.0)
    }
}
