//! Products with a short inner length: each row of the result is a sum of a few rows of the right side.
//!
//! A tile has nothing to keep in registers here: the time goes into writing the result. So what comes
//! after the product, such as a bias, is done before it is written.

use crate::isa::Kernel;
use crate::product::After;
use crate::{Binary, Real};

/// Up to which inner length.
pub(crate) const SHORT: usize = 4;
/// How many rows are done at once: what is read of the right side serves all of them.
const ROWS: usize = 4;
/// How many columns are done at once. There are as many: with fewer, products are not computed here. Those
/// with longer registers have [a loop of their own](crate::vectors::short()), for results that are wide enough.
const COLUMNS: usize = 4;

/// `C = A B`, and something done with each entry, of matrices that lie without gaps in row-major order.
pub(crate) struct Short<'a, T> {
    /// From 1 to [`SHORT`].
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) a: &'a [T],
    pub(crate) b: &'a [T],
    pub(crate) after: After<'a, T>,
    pub(crate) c: &'a mut [T],
}

impl<T: Real> Kernel for Short<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        match self.k {
            1 => self.all::<1, FMA>(),
            2 => self.all::<2, FMA>(),
            3 => self.all::<3, FMA>(),
            4 => self.all::<4, FMA>(),
            k => panic!("an inner length of {k} is not short"),
        }
    }
}

impl<T: Real> Short<'_, T> {
    #[inline(always)]
    fn all<const K: usize, const FMA: bool>(self) {
        let Short { n, a, b, after, c, .. } = self;
        let (rest_of_b, mut b) = (b, [&b[..0]; K]);
        for l in 0..K {
            b[l] = &rest_of_b[l * n..][..n];
        }
        let (fours, rest) = a.as_chunks::<K>().0.as_chunks::<ROWS>();
        let mut blocks = c.chunks_exact_mut(ROWS * n);
        for (i, (a, c)) in fours.iter().zip(blocks.by_ref()).enumerate() {
            rows::<T, K, ROWS, FMA>(a, b, after, i * ROWS, c);
        }
        let done = fours.len() * ROWS;
        for (i, (a, c)) in rest.iter().zip(blocks.into_remainder().chunks_exact_mut(n)).enumerate()
        {
            rows::<T, K, 1, FMA>(&[*a], b, after, done + i, c);
        }
    }
}

/// Some rows of the result, the first of which is row `i`.
#[inline(always)]
fn rows<T: Real, const K: usize, const R: usize, const FMA: bool>(
    a: &[[T; K]; R],
    b: [&[T]; K],
    after: After<'_, T>,
    i: usize,
    c: &mut [T],
) {
    let (n, mut j) = (b[0].len(), 0);
    while j < n {
        // The last columns begin among those that are done, and give those the same bits.
        let at = j.min(n - COLUMNS);
        let mut right = [[T::zero(); COLUMNS]; K];
        for l in 0..K {
            right[l].copy_from_slice(&b[l][at..at + COLUMNS]);
        }
        for r in 0..R {
            let mut sums = [T::zero(); COLUMNS];
            for l in 0..K {
                for w in 0..COLUMNS {
                    sums[w] = T::fma::<FMA>(a[r][l], right[l][w], sums[w]);
                }
            }
            let sums = then(sums, after, (i + r) * n, at);
            c[r * n + at..][..COLUMNS].copy_from_slice(&sums);
        }
        j += COLUMNS;
    }
}

/// What is done with the sums at columns `j` and after of the row that begins at `row`.
#[inline(always)]
fn then<T: Real>(sums: [T; COLUMNS], after: After<'_, T>, row: usize, j: usize) -> [T; COLUMNS] {
    let with = |x: &[T], f: &dyn Fn(T, T) -> T| {
        let mut result = sums;
        for (sum, &x) in result.iter_mut().zip(&x[..COLUMNS]) {
            *sum = f(*sum, x);
        }
        result
    };
    match after {
        After::Nothing => sums,
        After::Bias(x) => with(&x[j..], &|sum, x| sum + x),
        After::Mul(x) => with(&x[row + j..], &|sum, x| sum * x),
        After::TanhGrad(x) => with(&x[row + j..], &|sum, x| Binary::TanhGrad.eval(x, sum)),
        After::SigmoidGrad(x) => with(&x[row + j..], &|sum, x| Binary::SigmoidGrad.eval(x, sum)),
    }
}
