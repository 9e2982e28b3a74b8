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
        // There are more than four columns.
        match (VECTOR / size_of::<T>()).min(self.n) {
            16.. => self.of_length::<16, FMA>(),
            8.. => self.of_length::<8, FMA>(),
            4.. => self.of_length::<4, FMA>(),
            _ => self.of_length::<2, FMA>(),
        }
    }
}

impl<T: Real> Short<'_, T> {
    #[inline(always)]
    fn of_length<const L: usize, const FMA: bool>(self) {
        match self.k {
            1 => self.then::<1, L, FMA>(),
            2 => self.then::<2, L, FMA>(),
            3 => self.then::<3, L, FMA>(),
            4 => self.then::<4, L, FMA>(),
            k => panic!("an inner length of {k} is not short"),
        }
    }

    #[inline(always)]
    fn then<const K: usize, const L: usize, const FMA: bool>(self) {
        let after = self.after;
        match after {
            After::Nothing => self.all::<K, L, FMA>(&[], false, |sum, _| sum),
            After::Bias(x) => self.all::<K, L, FMA>(x, false, |sum, x| sum + x),
            After::Mul(x) => self.all::<K, L, FMA>(x, true, |sum, x| sum * x),
            After::TanhGrad(x) => {
                self.all::<K, L, FMA>(x, true, |sum, x| Binary::TanhGrad.eval(x, sum));
            }
            After::SigmoidGrad(x) => {
                self.all::<K, L, FMA>(x, true, |sum, x| Binary::SigmoidGrad.eval(x, sum));
            }
        }
    }

    /// `f` is given each sum, and the entry of `x` at its column, or if there is one for each at its place.
    #[inline(always)]
    fn all<const K: usize, const L: usize, const FMA: bool>(
        self,
        x: &[T],
        each: bool,
        f: impl Fn(T, T) -> T + Copy,
    ) {
        let Short { n, a, b, c, .. } = self;
        let (rest_of_b, mut b) = (b, [&b[..0]; K]);
        for l in 0..K {
            b[l] = &rest_of_b[l * n..][..n];
        }
        let x_at = |i: usize, rows: usize| if each { &x[i * n..][..rows * n] } else { x };
        let (fours, rest) = a.as_chunks::<K>().0.as_chunks::<ROWS>();
        let mut blocks = c.chunks_exact_mut(ROWS * n);
        for (i, (a, c)) in fours.iter().zip(blocks.by_ref()).enumerate() {
            rows::<T, K, ROWS, L, FMA>(a, b, x_at(i * ROWS, ROWS), each, c, f);
        }
        let done = fours.len() * ROWS;
        for (i, (a, c)) in rest.iter().zip(blocks.into_remainder().chunks_exact_mut(n)).enumerate()
        {
            rows::<T, K, 1, L, FMA>(&[*a], b, x_at(done + i, 1), each, c, f);
        }
    }
}

/// Some rows of the result.
#[inline(always)]
fn rows<T: Real, const K: usize, const R: usize, const L: usize, const FMA: bool>(
    a: &[[T; K]; R],
    b: [&[T]; K],
    x: &[T],
    each: bool,
    c: &mut [T],
    f: impl Fn(T, T) -> T + Copy,
) {
    let (n, mut j) = (b[0].len(), 0);
    while n - j >= L {
        columns::<T, K, R, L, FMA>(a, &b, x, each, j, c, f);
        j += L;
    }
    if j < n {
        // The last ones begin among columns that are done, and give those the same bits.
        columns::<T, K, R, L, FMA>(a, &b, x, each, n - L, c, f);
    }
}

/// `L` columns of them, from `j` on.
#[inline(always)]
fn columns<T: Real, const K: usize, const R: usize, const L: usize, const FMA: bool>(
    a: &[[T; K]; R],
    b: &[&[T]; K],
    x: &[T],
    each: bool,
    j: usize,
    c: &mut [T],
    f: impl Fn(T, T) -> T + Copy,
) {
    let n = b[0].len();
    let mut right = [[T::zero(); L]; K];
    for l in 0..K {
        right[l].copy_from_slice(&b[l][j..j + L]);
    }
    let mut other = [T::zero(); L];
    if !each && !x.is_empty() {
        other.copy_from_slice(&x[j..j + L]);
    }
    for r in 0..R {
        let mut sums = [T::zero(); L];
        for l in 0..K {
            for w in 0..L {
                sums[w] = T::fma::<FMA>(a[r][l], right[l][w], sums[w]);
            }
        }
        if each {
            other.copy_from_slice(&x[r * n + j..][..L]);
        }
        for w in 0..L {
            sums[w] = f(sums[w], other[w]);
        }
        c[r * n + j..][..L].copy_from_slice(&sums);
    }
}
