//! Products with a short inner length: each row of the result is a sum of a few rows of the right side.

use super::vector::Vector;
use super::{Vectors, run, with_vectors_of};
use crate::Real;
use crate::isa::Isa;
use crate::product::After;

/// `C = A B`, and something done with each entry, of matrices that lie without gaps in row-major order, with
/// the bits of [`Short`](crate::short::Short). `[k, n]` are the inner length, at most four, and the
/// number of columns. Returns whether it was done: it is not if there are no such vectors, or a row is shorter
/// than one.
///
/// # Panics
/// If the lengths do not fit, or the machine lacks the instruction set.
#[inline]
pub(crate) fn short<T: Real>(
    isa: Isa,
    [k, n]: [usize; 2],
    a: &[T],
    b: &[T],
    after: After<'_, T>,
    c: &mut [T],
) -> bool {
    let Some(isa) = with_vectors_of::<T>(isa, n) else { return false };
    let m = a.len() / k;
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let other = match after {
        After::Nothing => &[][..],
        After::Bias(row) => {
            assert!(row.len() == n);
            row
        }
        After::Mul(x) | After::TanhGrad(x) | After::SigmoidGrad(x) => {
            assert!(x.len() == m * n);
            x
        }
    };
    run(isa, Job { k, n, after, a, b, other, c });
    true
}

/// `n` is at least the length of a vector, and the lengths are those of `[m, k]`, `[k, n]`, what comes
/// after, and `[m, n]`.
struct Job<'a, T> {
    k: usize,
    n: usize,
    /// What comes after; its numbers are in `other`.
    after: After<'a, T>,
    a: &'a [T],
    b: &'a [T],
    other: &'a [T],
    c: &'a mut [T],
}

/// What is done with the sums.
trait Then {
    /// Whether there is another number for each sum, and not for each column.
    const EACH: bool;
    /// Whether there is none.
    const ALONE: bool = false;
    /// # Safety
    /// That of [`Vector`].
    unsafe fn of<V: Vector>(sum: V, other: V) -> V;
}

struct Nothing;
struct Bias;
struct Mul;
struct TanhGrad;
struct SigmoidGrad;

impl Then for Nothing {
    const EACH: bool = false;
    const ALONE: bool = true;
    #[inline(always)]
    unsafe fn of<V: Vector>(sum: V, _: V) -> V {
        sum
    }
}
impl Then for Bias {
    const EACH: bool = false;
    #[inline(always)]
    unsafe fn of<V: Vector>(sum: V, other: V) -> V {
        // SAFETY: that of the trait, as for all that follow.
        unsafe { sum.add(other) }
    }
}
impl Then for Mul {
    const EACH: bool = true;
    #[inline(always)]
    unsafe fn of<V: Vector>(sum: V, other: V) -> V {
        // SAFETY: that of the trait.
        unsafe { sum.mul(other) }
    }
}
// The bits of `Binary::eval`, which rounds each operation.
impl Then for TanhGrad {
    const EACH: bool = true;
    #[inline(always)]
    unsafe fn of<V: Vector>(sum: V, other: V) -> V {
        // SAFETY: that of the trait.
        unsafe { sum.mul(V::splat(num_traits::one()).sub(other.mul(other))) }
    }
}
impl Then for SigmoidGrad {
    const EACH: bool = true;
    #[inline(always)]
    unsafe fn of<V: Vector>(sum: V, other: V) -> V {
        // SAFETY: that of the trait.
        unsafe { sum.mul(other.mul(V::splat(num_traits::one()).sub(other))) }
    }
}

impl<T: Real> Vectors<T> for Job<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector<Of = T>>(self) {
        // How many rows are done at once: what is read of the right side serves all of them, while there are
        // registers for the left side.
        // SAFETY: that of this function.
        unsafe {
            match self.k {
                1 => self.then::<V, 1, 4>(),
                2 => self.then::<V, 2, 4>(),
                3 if V::REGISTERS == 32 => self.then::<V, 3, 4>(),
                3 => self.then::<V, 3, 2>(),
                4 if V::REGISTERS == 32 => self.then::<V, 4, 4>(),
                4 => self.then::<V, 4, 2>(),
                k => panic!("an inner length of {k} is not short"),
            }
        }
    }
}

impl<T: Real> Job<'_, T> {
    /// # Safety
    /// The machine has the instructions of `V`, as for those below.
    #[inline(always)]
    unsafe fn then<V: Vector<Of = T>, const K: usize, const R: usize>(self) {
        // SAFETY: that of this function.
        unsafe {
            match self.after {
                After::Nothing => self.all::<V, Nothing, K, R>(),
                After::Bias(_) => self.all::<V, Bias, K, R>(),
                After::Mul(_) => self.all::<V, Mul, K, R>(),
                After::TanhGrad(_) => self.all::<V, TanhGrad, K, R>(),
                After::SigmoidGrad(_) => self.all::<V, SigmoidGrad, K, R>(),
            }
        }
    }

    #[inline(always)]
    unsafe fn all<V: Vector<Of = T>, F: Then, const K: usize, const R: usize>(mut self) {
        let m = self.a.len() / K;
        let whole = m - m % R;
        // SAFETY: that of `then`; all rows are below `m`.
        unsafe {
            for i in (0..whole).step_by(R) {
                self.rows::<V, F, K, R>(i);
            }
            for i in whole..m {
                self.rows::<V, F, K, 1>(i);
            }
        }
    }

    /// `R` rows, from row `i` on.
    #[inline(always)]
    unsafe fn rows<V: Vector<Of = T>, F: Then, const K: usize, const R: usize>(
        &mut self,
        i: usize,
    ) {
        let n = self.n;
        // SAFETY: that of `then`: `i + R` is at most the number of rows, and a vector from column
        // `at` on ends within its row.
        unsafe {
            let (a, b) = (self.a.as_ptr().add(i * K), self.b.as_ptr());
            let c = self.c.as_mut_ptr().add(i * n);
            let mut left = [[V::zero(); K]; R];
            for (r, left) in left.iter_mut().enumerate() {
                for (l, left) in left.iter_mut().enumerate() {
                    *left = V::splat(*a.add(r * K + l));
                }
            }
            let mut j = 0;
            while j < n {
                // The last columns begin among those that are done, and give those the same bits.
                let at = j.min(n - V::LEN);
                let mut right = [V::zero(); K];
                for (l, right) in right.iter_mut().enumerate() {
                    *right = V::load(b.add(l * n + at));
                }
                let row = match F::EACH || F::ALONE {
                    true => right[0],
                    false => V::load(self.other.as_ptr().add(at)),
                };
                for (r, left) in left.iter().enumerate() {
                    let mut sum = left[0].mul(right[0]);
                    for l in 1..K {
                        sum = left[l].fma(right[l], sum);
                    }
                    let other = match F::EACH {
                        true => V::load(self.other.as_ptr().add((i + r) * n + at)),
                        false => row,
                    };
                    F::of(sum, other).store(c.add(r * n + at));
                }
                j += V::LEN;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::dispatch;
    use crate::short::Short;

    fn check<T: Real>(isa: Isa) {
        let numbers = |len: usize, from: f64| -> Vec<T> {
            (0..len).map(|i| T::from_f64(from + (i * 7 % 23) as f64 * 0.083)).collect()
        };
        for k in 1..=4 {
            for n in [5, 8, 15, 16, 17, 50] {
                for m in [0, 1, 4, 7] {
                    let (a, b, row) = (numbers(m * k, -0.7), numbers(k * n, 0.2), numbers(n, 0.4));
                    let each = numbers(m * n, -0.9);
                    for after in [
                        After::Nothing,
                        After::Bias(&row),
                        After::Mul(&each),
                        After::TanhGrad(&each),
                        After::SigmoidGrad(&each),
                    ] {
                        let (mut found, mut expected) = (numbers(m * n, 1.0), numbers(m * n, 1.0));
                        let c = &mut expected;
                        dispatch(isa, Short { k, n, a: &a, b: &b, after, c });
                        if short(isa, [k, n], &a, &b, after, &mut found) {
                            assert_eq!(
                                found, expected,
                                "{isa:?}, [{m}, {k}] [{k}, {n}], {after:?}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_bits_are_those_of_the_loop() {
        for isa in Isa::available() {
            check::<f32>(isa);
            check::<f64>(isa);
        }
    }
}
