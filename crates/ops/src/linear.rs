//! Linear functions with constant coefficients, whole powers, and choice.

use rayon::prelude::*;
use smallvec::SmallVec;

use crate::Real;
use crate::elementwise::{check_len, map, map_in_place, share};
use crate::isa::{Kernel, dispatch_len};

struct Affine<'a, T>(T, T, &'a [T], &'a mut [T]);

impl<T: Real> Kernel for Affine<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Affine(mul, add, x, out) = self;
        map(x, out, |x| mul * x + add);
    }
}

/// `out_i = mul · x_i + add`, rounded twice.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn affine<T: Real>(mul: T, add: T, x: &[T], out: &mut [T]) {
    check_len("affine", x.len(), out.len());
    dispatch_len(x.len(), Affine(mul, add, x, out));
}

struct AffineInPlace<'a, T>(T, T, &'a mut [T]);

impl<T: Real> Kernel for AffineInPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let AffineInPlace(mul, add, x) = self;
        map_in_place(x, |x| mul * x + add);
    }
}

/// `x_i = mul · x_i + add`, with the same bits as [`affine`].
pub fn affine_in_place<T: Real>(mul: T, add: T, x: &mut [T]) {
    dispatch_len(x.len(), AffineInPlace(mul, add, x));
}

#[inline(always)]
pub(crate) fn power<T: Real>(n: u32, x: T) -> T {
    let (mut n, mut square, mut product) = (n, x, T::one());
    while n > 0 {
        if n & 1 == 1 {
            product *= square;
        }
        n >>= 1;
        if n > 0 {
            square *= square;
        }
    }
    product
}

/// `out_i = x_iⁿ` by repeated squaring; for negative `n`, `1 / x_i^|n|`; 1 for `n = 0`.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn powi<T: Real>(n: i32, x: &[T], out: &mut [T]) {
    check_len("powi", x.len(), out.len());
    out.copy_from_slice(x);
    powi_in_place(n, out);
}

struct PowiInPlace<'a, T>(i32, &'a mut [T]);

impl<T: Real> Kernel for PowiInPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let PowiInPlace(n, x) = self;
        match n {
            3 => map_in_place(x, |x| power(3, x)),
            4 => map_in_place(x, |x| power(4, x)),
            _ if n < 0 => map_in_place(x, |x| T::one() / power(n.unsigned_abs(), x)),
            _ => map_in_place(x, |x| power(n.unsigned_abs(), x)),
        }
    }
}

/// `x_i = x_iⁿ`, with the same bits as [`powi`].
pub fn powi_in_place<T: Real>(n: i32, x: &mut [T]) {
    dispatch_len(x.len(), PowiInPlace(n, x));
}

/// Terms that [`lincomb`] adds in one pass; enough for the stages of most Runge–Kutta methods.
const TERMS: usize = 10;

struct LinComb<'a, 'x, T> {
    c: &'a [T],
    xs: &'a [&'x [T]],
    out: &'a mut [T],
}

impl<T: Real> LinComb<'_, '_, T> {
    #[inline(always)]
    fn pass<const N: usize>(self) {
        let n = self.out.len();
        let c: [T; N] = std::array::from_fn(|j| self.c[j]);
        let xs: [&[T]; N] = std::array::from_fn(|j| &self.xs[j][..n]);
        for (i, out) in self.out.iter_mut().enumerate() {
            let mut sum = c[0] * xs[0][i];
            for j in 1..N {
                sum += c[j] * xs[j][i];
            }
            *out = sum;
        }
    }
}

impl<T: Real> Kernel for LinComb<'_, '_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        match self.c.len() {
            0 => self.out.fill(T::zero()),
            1 => self.pass::<1>(),
            2 => self.pass::<2>(),
            3 => self.pass::<3>(),
            4 => self.pass::<4>(),
            5 => self.pass::<5>(),
            6 => self.pass::<6>(),
            7 => self.pass::<7>(),
            8 => self.pass::<8>(),
            9 => self.pass::<9>(),
            _ => {
                let LinComb { c, xs, out } = self;
                LinComb { c: &c[..TERMS], xs: &xs[..TERMS], out }.pass::<TERMS>();
                for (&c, x) in c.iter().zip(xs).skip(TERMS) {
                    for (out, &x) in out.iter_mut().zip(*x) {
                        *out += c * x;
                    }
                }
            }
        }
    }
}

/// `out_i = Σ_j c_j xs_j,i`, added from first to last; zeros for an empty sum.
///
/// # Panics
/// If the numbers of coefficients and terms differ, or the length of a term from that of `out`.
#[track_caller]
pub fn lincomb<T: Real>(c: &[T], xs: &[&[T]], out: &mut [T]) {
    check_len("lincomb coefficients", c.len(), xs.len());
    for x in xs {
        check_len("lincomb", x.len(), out.len());
    }
    T::lincomb(c, xs, out);
}

pub(crate) fn lincomb_of<T: Real>(c: &[T], xs: &[&[T]], out: &mut [T]) {
    let Some(chunk) = share(out.len(), || 16) else {
        return dispatch_len(out.len(), LinComb { c, xs, out });
    };
    out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| {
        let xs: SmallVec<[&[T]; 32]> = xs.iter().map(|x| &x[i * chunk..][..out.len()]).collect();
        dispatch_len(out.len(), LinComb { c, xs: &xs, out });
    });
}

struct Axpy<'a, T>(T, &'a [T], &'a mut [T]);

impl<T: Real> Kernel for Axpy<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        for (y, &x) in self.2.iter_mut().zip(self.1) {
            *y += self.0 * x;
        }
    }
}

/// `y_i += c · x_i`.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn axpy<T: Real>(c: T, x: &[T], y: &mut [T]) {
    check_len("axpy", x.len(), y.len());
    let Some(chunk) = share(x.len(), || 16) else { return dispatch_len(x.len(), Axpy(c, x, y)) };
    let pieces = y.par_chunks_mut(chunk).zip(x.par_chunks(chunk));
    pieces.for_each(|(y, x)| dispatch_len(x.len(), Axpy(c, x, y)));
}

struct AxpyCompensated<'a, T>(T, &'a [T], &'a mut [T], &'a mut [T]);

impl<T: Real> Kernel for AxpyCompensated<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        for ((y, rest), &x) in self.2.iter_mut().zip(self.3).zip(self.1) {
            let (before, x) = (*y, self.0 * x);
            let sum = before + x;
            let added = sum - before;
            *rest += (before - (sum - added)) + (x - added);
            *y = sum;
        }
    }
}

/// `y_i += c · x_i`, and to `rest_i` is added what rounding takes from that sum: after many sums,
/// `y_i + rest_i` is about as exact as one rounding of the whole.
///
/// The error of a sum is found as in Knuth, "The art of computer programming", volume 2, section
/// 4.2.2.
///
/// ```
/// let (mut y, mut rest) = ([1.0f32], [0.0]);
/// for _ in 0..1000 {
///     costate_ops::axpy_compensated(1.0, &[1e-8], &mut y, &mut rest);
/// }
/// assert_eq!(y, [1.0]);
/// assert!((rest[0] - 1e-5).abs() < 1e-9);
/// ```
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn axpy_compensated<T: Real>(c: T, x: &[T], y: &mut [T], rest: &mut [T]) {
    check_len("axpy_compensated", x.len(), y.len());
    check_len("axpy_compensated, rest", rest.len(), y.len());
    let Some(chunk) = share(x.len(), || 16) else {
        return dispatch_len(x.len(), AxpyCompensated(c, x, y, rest));
    };
    let pieces = y.par_chunks_mut(chunk).zip(rest.par_chunks_mut(chunk)).zip(x.par_chunks(chunk));
    pieces.for_each(|((y, rest), x)| dispatch_len(x.len(), AxpyCompensated(c, x, y, rest)));
}

struct Select<'a, T>(&'a [T], &'a [T], &'a [T], &'a mut [T]);

impl<T: Real> Kernel for Select<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Select(cond, a, b, out) = self;
        for (((out, &cond), &a), &b) in out.iter_mut().zip(cond).zip(a).zip(b) {
            *out = if cond != T::zero() { a } else { b };
        }
    }
}

/// `out_i = a_i` where `cond_i ≠ 0`, `b_i` elsewhere.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn select<T: Real>(cond: &[T], a: &[T], b: &[T], out: &mut [T]) {
    for x in [cond, a, b] {
        check_len("select", x.len(), out.len());
    }
    dispatch_len(cond.len(), Select(cond, a, b, out));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, dispatch_arithmetic};

    const LENGTHS: [usize; 14] = [0, 1, 2, 3, 7, 8, 15, 16, 17, 33, 65, 255, 257, 1000];

    fn numbers<T: Real>(n: usize, seed: usize) -> Vec<T> {
        let number = |i: usize| ((i + 31 * seed) as f64 * 0.618_034).fract() * 6.0 - 3.0;
        (0..n).map(|i| T::from_f64(number(i))).collect()
    }

    /// Runs a kernel with every instruction set.
    fn each<T: Real>(n: usize, f: impl Fn(Isa, &mut [T])) -> Vec<(Isa, Vec<T>)> {
        let run = |isa| {
            let mut out = numbers::<T>(n, 99);
            f(isa, &mut out);
            (isa, out)
        };
        Isa::available().into_iter().map(run).collect()
    }

    fn follow_their_specification<T: Real>() {
        let lit = T::from_f64;
        for n in LENGTHS {
            let (x, y, z) = (numbers::<T>(n, 1), numbers::<T>(n, 2), numbers::<T>(n, 99));
            let (mul, add) = (lit(1.1), lit(-0.3));
            let expected: Vec<T> = x.iter().map(|&x| mul * x + add).collect();
            for (isa, out) in each(n, |isa, out| {
                dispatch_arithmetic(isa, Affine(mul, add, &x, out));
            }) {
                assert_eq!(out, expected, "affine {isa:?} {n}");
            }
            for (isa, out) in each(n, |isa, out| {
                out.copy_from_slice(&x);
                dispatch_arithmetic(isa, AffineInPlace(mul, add, out));
            }) {
                assert_eq!(out, expected, "affine in place {isa:?} {n}");
            }
            let expected: Vec<T> = z.iter().zip(&x).map(|(&z, &x)| z + mul * x).collect();
            for (isa, out) in each(n, |isa, out| dispatch_arithmetic(isa, Axpy(mul, &x, out))) {
                assert_eq!(out, expected, "axpy {isa:?} {n}");
            }
            let cond: Vec<T> = (0..n).map(|i| lit([0.0, 1.0, -0.0, 0.5][i % 4])).collect();
            let expected: Vec<T> = (0..n).map(|i| if i % 2 == 1 { x[i] } else { y[i] }).collect();
            for (isa, out) in each(n, |isa, out| {
                dispatch_arithmetic(isa, Select(&cond, &x, &y, out));
            }) {
                assert_eq!(out, expected, "select {isa:?} {n}");
            }
        }
    }

    #[test]
    fn kernels_follow_their_specification() {
        follow_their_specification::<f32>();
        follow_their_specification::<f64>();
    }

    fn combinations<T: Real>() {
        for n in LENGTHS {
            for terms in 0..=13 {
                let mut c = numbers::<T>(terms, 7);
                if let Some(first) = c.first_mut() {
                    *first = T::one();
                }
                let xs: Vec<Vec<T>> = (0..terms).map(|j| numbers(n, j)).collect();
                let xs: Vec<&[T]> = xs.iter().map(|x| &x[..]).collect();
                let expected: Vec<T> = (0..n)
                    .map(|i| {
                        let product = |j: usize| c[j] * xs[j][i];
                        (1..terms)
                            .fold(if terms == 0 { T::zero() } else { product(0) }, |sum, j| {
                                sum + product(j)
                            })
                    })
                    .collect();
                for (isa, out) in each(n, |isa, out| {
                    dispatch_arithmetic(isa, LinComb { c: &c, xs: &xs, out });
                }) {
                    assert_eq!(out, expected, "{terms} terms {isa:?} {n}");
                }
                let mut out = numbers::<T>(n, 99);
                lincomb(&c, &xs, &mut out);
                assert_eq!(out, expected, "{terms} terms {n}");
            }
        }
    }

    #[test]
    fn combinations_are_added_from_first_to_last() {
        combinations::<f32>();
        combinations::<f64>();
    }

    #[test]
    fn a_coefficient_of_one_changes_no_bits() {
        let x = [-0.0, f64::MIN_POSITIVE / 8.0, 1.0 / 3.0, f64::MAX, f64::INFINITY];
        let mut out = [7.0; 5];
        lincomb(&[1.0], &[&x], &mut out);
        assert_eq!(out.map(f64::to_bits), x.map(f64::to_bits));
    }

    fn powers<T: Real>() {
        for n in [i32::MIN, -7, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7, 13, i32::MAX] {
            let mut x = numbers::<T>(33, 3);
            x.extend([T::zero(), -T::zero(), T::infinity(), T::one(), -T::one()]);
            let expected: Vec<T> = x
                .iter()
                .map(|&x| {
                    let p = power(n.unsigned_abs(), x);
                    if n < 0 { T::one() / p } else { p }
                })
                .collect();
            for (isa, out) in each(x.len(), |isa, out| {
                out.copy_from_slice(&x);
                dispatch_arithmetic(isa, PowiInPlace(n, out));
            }) {
                assert_eq!(out, expected, "{isa:?} {n}");
            }
            let mut out = x.clone();
            powi(n, &x, &mut out);
            assert_eq!(out, expected, "{n}");
        }
    }

    #[test]
    fn powers_follow_their_specification() {
        powers::<f32>();
        powers::<f64>();
        // Exact in whole numbers, so the order of the products does not show.
        for (n, expected) in [(0, 1.0), (1, -3.0), (5, -243.0), (10, 59049.0), (-2, 1.0 / 9.0)] {
            let mut x = [-3.0f64];
            powi_in_place(n, &mut x);
            assert_eq!(x, [expected], "{n}");
        }
    }

    #[test]
    #[should_panic(expected = "an operand of 3 entries does not fit a result of 2")]
    fn terms_that_do_not_fit_panic() {
        lincomb(&[1.0, 2.0], &[&[1.0, 2.0], &[1.0, 2.0, 3.0]], &mut [0.0, 0.0]);
    }
}
