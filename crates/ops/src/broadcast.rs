//! Broadcasting by NumPy's rules, and its transpose, summation.
//!
//! Shapes are aligned at their last axis; an axis of length 1, or a missing one, repeats.

use crate::Real;
use crate::elementwise::check_len;
use crate::isa::{Isa, Kernel, dispatch_arithmetic};
use crate::reduce::{self, sum};

/// The common shape of two shapes, or `None` if an axis has two lengths of which neither is 1.
pub fn broadcast_shape(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let n = a.len().max(b.len());
    let length = |shape: &[usize], i: usize| match (i + shape.len()).checked_sub(n) {
        Some(i) => shape[i],
        None => 1,
    };
    (0..n)
        .map(|i| match (length(a, i), length(b, i)) {
            (a, b) if a == b => Some(a),
            (1, b) => Some(b),
            (a, 1) => Some(a),
            _ => None,
        })
        .collect()
}

/// A large shape seen from a small one that broadcasts to it: neighbouring axes that behave alike
/// are one. Each is `(length, repeats)`.
fn runs(small: &[usize], large: &[usize]) -> smallvec::SmallVec<[(usize, bool); 6]> {
    let missing = large.len() - small.len();
    let mut runs: smallvec::SmallVec<[(usize, bool); 6]> = smallvec::SmallVec::new();
    for (i, &length) in large.iter().enumerate() {
        let repeats = i < missing || small[i - missing] != length;
        match runs.last_mut() {
            _ if length == 1 => {}
            Some((last, same)) if *same == repeats => *last *= length,
            _ => runs.push((length, repeats)),
        }
    }
    runs
}

fn check(what: &str, x: &[usize], x_len: usize, out: &[usize], out_len: usize) {
    check_len(what, x_len, x.iter().product());
    check_len(what, out_len, out.iter().product());
}

#[track_caller]
fn check_fits(what: &str, small: &[usize], large: &[usize]) {
    let fits = small.len() <= large.len()
        && small.iter().rev().zip(large.iter().rev()).all(|(&s, &l)| s == 1 || s == l);
    assert!(fits, "{what}: shape {small:?} does not broadcast to {large:?}");
}

/// Writes `x`, of shape `shape`, repeated to `out_shape`.
///
/// # Panics
/// If the shapes do not fit each other or the lengths.
#[track_caller]
pub fn expand<T: Real>(x: &[T], shape: &[usize], out: &mut [T], out_shape: &[usize]) {
    check("expand", shape, x.len(), out_shape, out.len());
    check_fits("expand", shape, out_shape);
    if !out.is_empty() {
        expand_runs(&runs(shape, out_shape), x, out);
    }
}

fn expand_runs<T: Real>(runs: &[(usize, bool)], x: &[T], out: &mut [T]) {
    match runs {
        [] | [(_, false)] => out.copy_from_slice(x),
        [(_, true)] => out.fill(x[0]),
        [(n, true), rest @ ..] => {
            // The first copy is made, the others are copied from it.
            let (first, others) = out.split_at_mut(out.len() / n);
            expand_runs(rest, x, first);
            others.chunks_exact_mut(first.len()).for_each(|o| o.copy_from_slice(first));
        }
        [(n, false), rest @ ..] => {
            let (piece, from) = (out.len() / n, x.len() / n);
            for (out, x) in out.chunks_exact_mut(piece).zip(x.chunks_exact(from)) {
                expand_runs(rest, x, out);
            }
        }
    }
}

/// Writes the sums of `x`, of shape `shape`, over the axes that [`expand`] from `out_shape` to
/// `shape` repeats: its transpose.
///
/// A sum over last axes is added like [`sum`](crate::sum); rows, where leading axes are summed
/// over, are added from first to last.
///
/// # Panics
/// If the shapes do not fit each other or the lengths.
#[track_caller]
pub fn sum_to<T: Real>(x: &[T], shape: &[usize], out: &mut [T], out_shape: &[usize]) {
    check("sum_to", shape, x.len(), out_shape, out.len());
    check_fits("sum_to", out_shape, shape);
    out.fill(T::zero());
    if !x.is_empty() {
        sum_runs(&runs(out_shape, shape), x, out);
    }
}

/// Adds rows of the length of `out`, from first to last.
struct SumRows<'a, T>(&'a [T], &'a mut [T]);

impl<T: Real> Kernel for SumRows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let SumRows(x, out) = self;
        for x in x.chunks_exact(out.len()) {
            for (out, &x) in out.iter_mut().zip(x) {
                *out += x;
            }
        }
    }
}

/// Adds the sum of a row to each entry of `out`, as [`sum`] adds.
struct AddSums<'a, T>(&'a [T], &'a mut [T]);

impl<T: Real> Kernel for AddSums<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let AddSums(x, out) = self;
        for (x, out) in x.chunks_exact(x.len() / out.len()).zip(out) {
            *out += reduce::block(x, x, |x, _| x);
        }
    }
}

/// Adds to `out`.
fn sum_runs<T: Real>(runs: &[(usize, bool)], x: &[T], out: &mut [T]) {
    match runs {
        [] | [(_, false)] => crate::axpy(T::one(), x, out),
        [(_, true)] => out[0] += sum(x),
        // Rows that are short enough for one block of a sum, whose instruction set is chosen once.
        [(n, false), (m, true)] if *n > 1 && *m <= reduce::BLOCK => {
            dispatch_arithmetic(Isa::detect(), AddSums(x, out))
        }
        [(_, true), (_, false)] => dispatch_arithmetic(Isa::detect(), SumRows(x, out)),
        [(n, true), rest @ ..] => {
            for x in x.chunks_exact(x.len() / n) {
                sum_runs(rest, x, out);
            }
        }
        [(n, false), rest @ ..] => {
            let (piece, to) = (x.len() / n, out.len() / n);
            for (out, x) in out.chunks_exact_mut(to).zip(x.chunks_exact(piece)) {
                sum_runs(rest, x, out);
            }
        }
    }
}
