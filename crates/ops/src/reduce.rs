//! Sums, inner products and maxima.
//!
//! Sums are added in an order that depends on the length alone: in [`LANES`] interleaved partial
//! sums within a block, blocks in a balanced tree. So the error grows like `log n`, and the bits
//! depend neither on the instruction set nor on the number of threads.

use rayon::prelude::*;

use crate::Real;
use crate::elementwise::{check_len, share};
use crate::isa::{Isa, Kernel, dispatch_arithmetic};

const LANES: usize = 16;
/// How many entries are added without a tree.
pub(crate) const BLOCK: usize = 1024;

/// Adds the lanes of a partial sum in a balanced tree.
#[inline(always)]
fn fold<T: Real>(mut lanes: [T; LANES]) -> T {
    let mut n = LANES;
    while n > 1 {
        n /= 2;
        for i in 0..n {
            lanes[i] += lanes[i + n];
        }
    }
    lanes[0]
}

struct Block<'a, T, F>(&'a [T], &'a [T], F, &'a mut T);

impl<T: Real, F: Fn(T, T) -> T> Kernel for Block<'_, T, F> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Block(a, b, f, out) = self;
        *out = block(a, b, f);
    }
}

/// `Σ f(a_i, b_i)` without a tree: of at most [`BLOCK`] entries, where errors are not to grow with the length.
#[inline(always)]
pub(crate) fn block<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T) -> T {
    let mut lanes = [T::zero(); LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] += f(a[i], b[i]);
        }
    }
    for (i, (&a, &b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[i] += f(a, b);
    }
    fold(lanes)
}

fn tree<T: Real>(a: &[T], b: &[T], f: impl Fn(T, T) -> T + Copy) -> T {
    if a.len() <= BLOCK {
        let mut sum = T::zero();
        let kernel = Block(a, b, f, &mut sum);
        if a.len() < LANES {
            kernel.run::<false, 16>();
        } else {
            dispatch_arithmetic(Isa::detect(), kernel);
        }
        return sum;
    }
    let half = (a.len() / 2).next_multiple_of(BLOCK);
    tree(&a[..half], &b[..half], f) + tree(&a[half..], &b[half..], f)
}

/// `Σ x_i`; 0 for no entries.
pub fn sum<T: Real>(x: &[T]) -> T {
    tree(x, x, |x, _| x)
}

/// `Σ a_i b_i`; 0 for no entries.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    check_len("dot", a.len(), b.len());
    tree(a, b, |a, b| a * b)
}

/// `out = max_j x[·, j, ·]` with `x` seen as `[outer, n, inner]`: NaN if any entry is, `-∞` for
/// `n = 0`.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn max_axis<T: Real>(x: &[T], outer: usize, n: usize, inner: usize, out: &mut [T]) {
    check_len("max_axis", x.len(), outer * n * inner);
    check_len("max_axis", out.len(), outer * inner);
    out.fill(T::neg_infinity());
    if !x.is_empty() {
        dispatch_arithmetic(Isa::detect(), MaxAxis { x, n, inner, out });
    }
}

struct MaxAxis<'a, T> {
    x: &'a [T],
    n: usize,
    inner: usize,
    out: &'a mut [T],
}

impl<T: Real> Kernel for MaxAxis<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let MaxAxis { x, n, inner, out } = self;
        let max = |a, b| crate::Binary::Max.eval(a, b);
        if inner == 1 {
            for (x, out) in x.chunks_exact(n).zip(out) {
                *out = x.iter().fold(*out, |a, &b| max(a, b));
            }
            return;
        }
        for (x, out) in x.chunks_exact(n * inner).zip(out.chunks_exact_mut(inner)) {
            for x in x.chunks_exact(inner) {
                for (out, &x) in out.iter_mut().zip(x) {
                    *out = max(*out, x);
                }
            }
        }
    }
}

/// Where along the middle axis of `[outer, n, inner]` the largest entry is: the first of equals,
/// and the first NaN if there is one.
///
/// # Panics
/// If a length does not fit, or `n = 0` while there are outputs.
#[track_caller]
pub fn argmax_axis<T: Real>(x: &[T], outer: usize, n: usize, inner: usize, out: &mut [usize]) {
    check_len("argmax_axis", x.len(), outer * n * inner);
    check_len("argmax_axis", out.len(), outer * inner);
    assert!(n > 0 || out.is_empty(), "argmax_axis: the axis has no entries");
    for (o, out) in out.iter_mut().enumerate() {
        let (i, j) = (o / inner, o % inner);
        let at = |l: usize| x[(i * n + l) * inner + j];
        *out = (1..n).fold(0, |best, l| {
            let (y, top) = (at(l), at(best));
            if y > top || (y.is_nan() && !top.is_nan()) { l } else { best }
        });
    }
}

/// Where the first entry is that is infinite or NaN.
///
/// ```
/// assert_eq!(costate_ops::first_not_finite(&[1.0, f64::NAN, f64::INFINITY]), Some(1));
/// ```
#[inline]
pub fn first_not_finite<T: Real>(x: &[T]) -> Option<usize> {
    let Some(piece) = share(x.len(), || 16) else { return search(x) };
    let pieces = x.par_chunks(piece).enumerate();
    pieces.find_map_first(|(i, x)| search(x).map(|j| i * piece + j))
}

#[inline]
fn search<T: Real>(x: &[T]) -> Option<usize> {
    // What can end anywhere goes number by number, what cannot, by vectors.
    const CHUNK: usize = 1024;
    let at = |x: &[T]| x.iter().position(|x| !x.is_finite());
    if x.len() < 128 {
        return at(x);
    }
    let (i, chunk) = x.chunks(CHUNK).enumerate().find(|(_, chunk)| !all_finite(chunk))?;
    at(chunk).map(|j| i * CHUNK + j)
}

fn all_finite<T: Real>(x: &[T]) -> bool {
    let mut all = true;
    dispatch_arithmetic(Isa::detect(), AllFinite(x, &mut all));
    all
}

/// Whether all are finite. 0 times anything else is NaN, and so is a sum with it.
struct AllFinite<'a, T>(&'a [T], &'a mut bool);

impl<T: Real> Kernel for AllFinite<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let AllFinite(x, all) = self;
        let mut lanes = [T::zero(); 2 * LANES];
        let (x, rest) = x.as_chunks::<{ 2 * LANES }>();
        for x in x {
            for i in 0..2 * LANES {
                lanes[i] += T::zero() * x[i];
            }
        }
        *all = rest.iter().all(|x| x.is_finite()) && lanes.iter().all(|&sum| sum == T::zero());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers<T: Real>(n: usize) -> Vec<T> {
        (0..n).map(|i| T::from_f64((i as f64 * 0.618_034).fract() - 0.3)).collect()
    }

    fn blocks<T: Real>() {
        for n in [0, 1, 2, 7, 15, 16, 17, 31, 33, 127, 255, 256, 257, 1000, BLOCK] {
            let (a, b) = (numbers::<T>(n), numbers::<T>(n + 3));
            let mut lanes = [T::zero(); LANES];
            for i in 0..n {
                lanes[i % LANES] += a[i] * b[3 + i];
            }
            for isa in Isa::available() {
                let mut sum = T::zero();
                dispatch_arithmetic(isa, Block(&a, &b[3..], |a, b| a * b, &mut sum));
                assert_eq!(sum, fold(lanes), "{isa:?} {n}");
            }
            assert_eq!(dot(&a, &b[3..]), fold(lanes), "{n}");
        }
    }

    #[test]
    fn blocks_have_the_same_bits_with_every_instruction_set() {
        blocks::<f32>();
        blocks::<f64>();
    }

    #[test]
    fn finds_what_is_not_finite() {
        for n in [1, 2, 127, 128, 129, 1000, 1024, 1025, 3000] {
            assert_eq!(first_not_finite(&numbers::<f32>(n)), None);
            for i in [0, n / 2, n - 1] {
                for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                    let mut x = numbers::<f32>(n);
                    x[i] = bad;
                    x[n - 1] = bad;
                    assert_eq!(first_not_finite(&x), Some(i), "{n}");
                }
            }
        }
        assert_eq!(first_not_finite::<f64>(&[]), None);
    }

    #[test]
    fn long_sums_stay_accurate() {
        let x = numbers::<f32>(1 << 20);
        let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
        let size: f64 = x.iter().map(|&x| f64::from(x.abs())).sum();
        // A block adds 64 numbers to a lane, then there are 4 + 10 levels of trees: Higham,
        // "Accuracy and stability of numerical algorithms", 2nd edition, section 4.2.
        let bound = f64::from(f32::EPSILON) / 2.0 * (64.0 + 14.0) * size;
        assert!((f64::from(sum(&x)) - exact).abs() <= bound);
        // Equal numbers, whose errors do not cancel: added one by one they miss the bound.
        let x = vec![0.1f32; 1 << 20];
        let exact = f64::from(0.1f32) * x.len() as f64;
        let bound = f64::from(f32::EPSILON) / 2.0 * (64.0 + 14.0) * exact;
        assert!((f64::from(sum(&x)) - exact).abs() <= bound);
        let naive = x.iter().fold(0.0f32, |sum, x| sum + x);
        assert!((f64::from(naive) - exact).abs() > bound);
    }
}
