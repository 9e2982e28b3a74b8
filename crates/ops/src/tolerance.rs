//! How large errors are beside their tolerances: the measure that steps of solves are controlled by.

use crate::Real;
use crate::elementwise::check_len;
use crate::isa::{Isa, Kernel, dispatch};

/// How many sums are made side by side.
const LANES: usize = 8;

/// `Σ (e_i / (atol + rtol max(|a_i|, |b_i|)))²`, in double precision, where a term with `e_i = 0` is 0; NaN if
/// anything is.
///
/// By reciprocals of the tolerances, which are known before the errors. The sum is that of eight sums, of
/// every eighth term each, or from the first to the last of fewer.
///
/// ```
/// let (e, a, b) = ([0.2, 0.0], [1.0, 0.0], [-3.0, 0.0]);
/// assert_eq!(costate_ops::sum_squared_ratios(&e, &a, &b, 0.0, 0.1), (0.2f64 / (0.1 * 3.0)).powi(2));
/// ```
///
/// # Panics
/// If the lengths differ.
#[inline]
#[track_caller]
pub fn sum_squared_ratios<T: Real>(e: &[T], a: &[T], b: &[T], atol: f64, rtol: f64) -> f64 {
    check_len("sum_squared_ratios", a.len(), e.len());
    check_len("sum_squared_ratios", b.len(), e.len());
    let mut sum = 0.0;
    let kernel = SquaredRatios { e, a, b, atol, rtol, sum: &mut sum };
    if e.len() < LANES {
        // The same sum.
        return e.iter().zip(a).zip(b).map(|((&e, &a), &b)| kernel.term(e, a, b)).sum();
    }
    dispatch(Isa::detect(), kernel);
    sum
}

struct SquaredRatios<'a, T> {
    e: &'a [T],
    a: &'a [T],
    b: &'a [T],
    atol: f64,
    rtol: f64,
    sum: &'a mut f64,
}

impl<T: Real> SquaredRatios<'_, T> {
    #[inline(always)]
    fn term(&self, e: T, a: T, b: T) -> f64 {
        let size = a.abs().max(b.abs()).as_f64();
        let ratio = e.as_f64() * (1.0 / (self.atol + self.rtol * size));
        // 0/0 where nothing happens to a component that is 0.
        if e == T::zero() { 0.0 } else { ratio * ratio }
    }
}

impl<T: Real> Kernel for SquaredRatios<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let (e, e_rest) = self.e.as_chunks::<LANES>();
        let (a, a_rest) = self.a.as_chunks::<LANES>();
        let (b, b_rest) = self.b.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for ((e, a), b) in e.iter().zip(a).zip(b) {
            for i in 0..LANES {
                lanes[i] += self.term(e[i], a[i], b[i]);
            }
        }
        let rest = e_rest.iter().zip(a_rest).zip(b_rest);
        for (lane, ((&e, &a), &b)) in lanes.iter_mut().zip(rest) {
            *lane += self.term(e, a, b);
        }
        *self.sum = lanes.iter().sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Real>(n: usize) {
        let numbers = |s: usize| -> Vec<T> {
            (0..n).map(|i| T::from_f64(((i * 7 + s) % 23) as f64 * 0.37 - 3.1)).collect()
        };
        let (mut e, a, b) = (numbers(1), numbers(5), numbers(11));
        if n > 3 {
            e[3] = T::zero();
        }
        let term = |i: usize| {
            let size = a[i].as_f64().abs().max(b[i].as_f64().abs());
            (e[i].as_f64() / (0.01 + 0.1 * size)).powi(2)
        };
        let expected: f64 = (0..n).map(term).sum();
        let found = sum_squared_ratios(&e, &a, &b, 0.01, 0.1);
        assert!((found - expected).abs() <= 1e-13 * expected, "{n}: {found}, {expected}");
    }

    #[test]
    fn sums_follow_their_formula() {
        for n in [0, 1, 2, 7, 8, 9, 16, 40, 47, 1000] {
            check::<f64>(n);
            check::<f32>(n);
        }
    }

    #[test]
    fn nothing_beside_nothing_is_nothing_and_nan_is_nan() {
        assert_eq!(sum_squared_ratios(&[0.0; 9], &[0.0; 9], &[0.0; 9], 0.0, 0.1), 0.0);
        for n in [1, 9] {
            let (mut e, ones) = (vec![1.0; n], vec![1.0; n]);
            e[n - 1] = f64::NAN;
            assert!(sum_squared_ratios(&e, &ones, &ones, 0.0, 0.1).is_nan());
        }
    }
}
