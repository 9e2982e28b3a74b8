//! Linear combinations of the rows of a matrix: the inner loop of a Runge–Kutta step.

use rayon::prelude::*;
use smallvec::SmallVec;

use crate::Real;
use crate::elementwise::{check_len, share};
use crate::isa::{Isa, Kernel, dispatch};

/// How many columns are worked on at once.
const BLOCK: usize = 16;

/// Coefficients that are not 0, and their rows.
type Terms<'a, T> = SmallVec<[(T, &'a [T]); 32]>;

struct Combine<'a, T> {
    terms: &'a [(T, &'a [T])],
    last: Option<&'a [T]>,
    /// The column of the first entry of `out`.
    start: usize,
    out: &'a mut [T],
}

impl<T: Real> Combine<'_, T> {
    /// `B` columns, from `column` on.
    #[inline(always)]
    fn block<const B: usize>(&self, column: usize) -> [T; B] {
        let of = |x: &[T]| -> [T; B] {
            let mut block = [T::zero(); B];
            block.copy_from_slice(&x[column..][..B]);
            block
        };
        let [(c, row), terms @ ..] = self.terms else {
            return self.last.map_or([T::zero(); B], of);
        };
        let mut sum = of(row).map(|x| *c * x);
        for &(c, row) in terms {
            let row = of(row);
            for i in 0..B {
                sum[i] += c * row[i];
            }
        }
        if let Some(last) = self.last {
            let last = of(last);
            for i in 0..B {
                sum[i] += last[i];
            }
        }
        sum
    }

    /// All columns, of which there are at least `B`: the last ones begin among those that are done, and
    /// give those the same bits.
    #[inline(always)]
    fn blocks<const B: usize>(self) {
        let (n, mut i) = (self.out.len(), 0);
        while i < n {
            let at = i.min(n - B);
            let sum = self.block::<B>(self.start + at);
            self.out[at..at + B].copy_from_slice(&sum);
            i += B;
        }
    }
}

impl<T: Real> Kernel for Combine<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        match self.out.len() {
            BLOCK.. => self.blocks::<BLOCK>(),
            8.. => self.blocks::<8>(),
            4.. => self.blocks::<4>(),
            _ => self.blocks::<1>(),
        }
    }
}

/// `out_i = Σ_j (h c_j) rows_ji + last_i`, added from first to last, of a matrix whose rows lie one after
/// another; rows with `c_j = 0`, and those beyond the last `c_j`, are left out, and so is `last` if it is not given.
///
/// This is `y + h Σ a_j k_j`, the inner loop of a Runge–Kutta step.
///
/// ```
/// let (y, k) = ([1.0, 2.0], [10.0, 20.0, 30.0, 40.0]);
/// let mut out = [0.0; 2];
/// costate_ops::combine(0.5, &[1.0, 2.0], &k, Some(&y), &mut out);
/// assert_eq!(out, [36.0, 52.0]);
/// ```
///
/// # Panics
/// If `last` is not as long as `out`, or a row with a coefficient that is not 0 is missing.
#[track_caller]
pub fn combine<T: Real>(h: f64, c: &[f64], rows: &[T], last: Option<&[T]>, out: &mut [T]) {
    let n = out.len();
    combine_terms(h, c, |j| rows.get(j * n..(j + 1) * n), last, out);
}

/// [`combine`] of rows that lie anywhere.
///
/// ```
/// let (first, second) = ([10.0, 20.0], [30.0, 40.0]);
/// let mut out = [0.0; 2];
/// costate_ops::combine_rows(0.5, &[1.0, 2.0], &[&first, &second], None, &mut out);
/// assert_eq!(out, [35.0, 50.0]);
/// ```
///
/// # Panics
/// If `last`, or a row with a coefficient that is not 0, is not as long as `out`, or such a row is missing.
#[track_caller]
pub fn combine_rows<T: Real>(h: f64, c: &[f64], rows: &[&[T]], last: Option<&[T]>, out: &mut [T]) {
    combine_terms(h, c, |j| rows.get(j).copied(), last, out);
}

#[track_caller]
fn combine_terms<'a, T: Real>(
    h: f64,
    c: &[f64],
    row: impl Fn(usize) -> Option<&'a [T]>,
    last: Option<&[T]>,
    out: &mut [T],
) {
    let mut terms: Terms<'_, T> = SmallVec::new();
    for (j, &c) in c.iter().enumerate().filter(|(_, c)| **c != 0.0) {
        let Some(row) = row(j) else { panic!("combine: row {j} is missing") };
        check_len("combine", row.len(), out.len());
        terms.push((T::from_f64(h * c), row));
    }
    if let Some(last) = last {
        check_len("combine", last.len(), out.len());
    }
    T::combine(&terms, last, out);
}

pub(crate) fn combine_of<T: Real>(terms: &[(T, &[T])], last: Option<&[T]>, out: &mut [T]) {
    let Some(chunk) = share(out.len(), || BLOCK) else {
        return dispatch(Isa::detect(), Combine { terms, last, start: 0, out });
    };
    out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| {
        dispatch(Isa::detect(), Combine { terms, last, start: i * chunk, out });
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Real>(n: usize, c: &[f64], last: bool) {
        let numbers = |len: usize, shift: usize| -> Vec<T> {
            (0..len).map(|i| T::from_f64(((i * 7 + shift) % 23) as f64 * 0.37 - 3.1)).collect()
        };
        let (rows, y) = (numbers(n * c.len(), 1), numbers(n, 5));
        let last = last.then_some(&y[..]);
        let mut out = numbers(n, 2);
        combine(0.7, c, &rows, last, &mut out);
        let mut apart = numbers(n, 3);
        let of = |j: usize| &rows[j * n..(j + 1) * n];
        let all: Vec<&[T]> = (0..c.len()).map(of).collect();
        combine_rows(0.7, c, &all, last, &mut apart);
        assert!(apart == out);
        for (i, out) in out.iter().enumerate() {
            let used = c.iter().enumerate().filter(|(_, c)| **c != 0.0);
            let terms = used.map(|(j, &c)| T::from_f64(0.7 * c) * rows[j * n + i]);
            let all = terms.chain(last.map(|y| y[i]));
            let expected = all.reduce(|sum, x| sum + x).unwrap_or(T::zero());
            assert!(*out == expected, "{i} of {n}, {c:?}: {out} instead of {expected}");
        }
    }

    #[test]
    fn sums_are_those_from_first_to_last() {
        for n in [0, 1, 5, 15, 16, 17, 40, 64, 70_000] {
            for c in [&[][..], &[0.0, 0.0], &[1.5], &[0.0, -0.3, 0.0, 2.0], &[0.1; 40]] {
                if n > 100 && c.len() > 4 {
                    continue;
                }
                for last in [false, true] {
                    check::<f64>(n, c, last);
                    check::<f32>(n, c, last);
                }
            }
        }
    }

    #[test]
    fn a_row_that_counts_for_nothing_is_not_read() {
        let mut out = [0.0; 2];
        combine(1.0, &[0.0, 1.0], &[f64::NAN, f64::NAN, 3.0, 4.0], None, &mut out);
        assert_eq!(out, [3.0, 4.0]);
    }

    #[test]
    #[should_panic(expected = "row 1 is missing")]
    fn rows_that_are_missing() {
        combine(1.0, &[1.0, 1.0], &[1.0, 2.0, 3.0], None, &mut [0.0, 0.0]);
    }
}
