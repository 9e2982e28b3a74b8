//! The loops of element-wise kernels: over one or two arrays, in place or not.

use rayon::prelude::*;

use crate::Real;
use crate::awake::threads;

/// Number of entries that an expensive function is computed for at a time. The last few entries
/// of an array are padded to this, so that they go through the same vector instructions.
pub(crate) const LANES: usize = 16;
/// How many vectors are worked on at once where there are 16 registers.
pub(crate) const FOUR: usize = 4;

/// From how many entries on an expensive function is spread over threads. Waking the pool costs
/// about 25 µs, the time of `tanh` of 2¹⁷ numbers in `f32` on AVX-512.
const PARALLEL: usize = 1 << 18;
/// How many entries a thread takes at a time. Fixed, although the result does not depend on it.
const CHUNK: usize = 1 << 14;
/// From how many entries on any function is, where the pool is awake: on one of its threads.
const SHARED: usize = 1 << 16;

/// How many entries each thread takes of an array of `len`, if it is worth sharing out: a multiple of
/// `unit`.
#[inline(always)]
pub(crate) fn share(len: usize, unit: impl FnOnce() -> usize) -> Option<usize> {
    if len < SHARED { None } else { share_long(len, unit()) }
}

#[cold]
fn share_long(len: usize, unit: usize) -> Option<usize> {
    rayon::current_thread_index()?;
    let threads = threads();
    (threads > 1).then(|| len.div_ceil(threads).next_multiple_of(unit))
}

/// `out_i = f(x_i)` for a cheap `f`.
#[inline(always)]
pub(crate) fn map<T: Real>(x: &[T], out: &mut [T], f: impl Fn(T) -> T) {
    for (out, &x) in out.iter_mut().zip(x) {
        *out = f(x);
    }
}

/// `x_i = f(x_i)` for a cheap `f`.
#[inline(always)]
pub(crate) fn map_in_place<T: Real>(x: &mut [T], f: impl Fn(T) -> T) {
    for x in x {
        *x = f(*x);
    }
}

/// A function of `N` numbers at once.
pub(crate) trait Wide<T> {
    /// The function; `#[inline(always)]`, or it would not be compiled for the instruction set.
    fn of<const N: usize>(&self, x: [T; N]) -> [T; N];
}

/// `f` of as many numbers as `V` vectors of `N` have, of all vectors at once. The results go to an array of
/// their own: the compiler does not know of a slice that it has no entry in common with a table that `f` may
/// read, and would take the numbers one after another.
#[inline(always)]
fn vectors<T: Real, const N: usize, const V: usize>(f: &impl Wide<T>, x: &[T]) -> [[T; N]; V] {
    let mut results = [[T::zero(); N]; V];
    for i in 0..N {
        let y = f.of::<V>(std::array::from_fn(|j| x[j * N + i]));
        for j in 0..V {
            results[j][i] = y[j];
        }
    }
    results
}

/// `f` of the last few numbers, and of zeros.
#[inline(always)]
fn padded<T: Real>(f: &impl Wide<T>, x: &[T]) -> [T; LANES] {
    let mut some = [T::zero(); LANES];
    some[..x.len()].copy_from_slice(x);
    let [results] = vectors::<T, LANES, 1>(f, &some);
    results
}

/// `out_i = f(x_i)` for an expensive `f`, for several vectors at once: each of its operations waits for the one
/// before, and there are more operations in it than a processor looks ahead. `AT_ONCE` are for registers
/// of 64 bytes.
#[inline(always)]
pub(crate) fn map_wide<T: Real, const VECTOR: usize, const AT_ONCE: usize>(
    x: &[T],
    out: &mut [T],
    f: impl Wide<T>,
) {
    let done = match VECTOR / size_of::<T>() {
        _ if VECTOR == 64 => blocks::<T, LANES, AT_ONCE>(x, out, &f),
        8 => blocks::<T, 8, FOUR>(x, out, &f),
        4 if VECTOR == 32 => blocks::<T, 4, FOUR>(x, out, &f),
        _ => 0,
    };
    let (x, out) = (&x[done..], &mut out[done..]);
    let done = blocks::<T, LANES, 1>(x, out, &f);
    let (x, out) = (&x[done..], &mut out[done..]);
    if !x.is_empty() {
        out.copy_from_slice(&padded(&f, x)[..x.len()]);
    }
}

/// `f` of whole blocks of `V` vectors of `N` numbers. Returns how many numbers these are.
#[inline(always)]
fn blocks<T: Real, const N: usize, const V: usize>(
    x: &[T],
    out: &mut [T],
    f: &impl Wide<T>,
) -> usize {
    for (out, x) in out.chunks_exact_mut(V * N).zip(x.chunks_exact(V * N)) {
        out.copy_from_slice(vectors::<T, N, V>(f, x).as_flattened());
    }
    x.len() - x.len() % (V * N)
}

/// `x_i = f(x_i)` for an expensive `f`, as [`map_wide`].
#[inline(always)]
pub(crate) fn map_wide_in_place<T: Real, const VECTOR: usize, const AT_ONCE: usize>(
    x: &mut [T],
    f: impl Wide<T>,
) {
    let done = match VECTOR / size_of::<T>() {
        _ if VECTOR == 64 => blocks_in_place::<T, LANES, AT_ONCE>(x, &f),
        8 => blocks_in_place::<T, 8, FOUR>(x, &f),
        4 if VECTOR == 32 => blocks_in_place::<T, 4, FOUR>(x, &f),
        _ => 0,
    };
    let x = &mut x[done..];
    let done = blocks_in_place::<T, LANES, 1>(x, &f);
    let x = &mut x[done..];
    if !x.is_empty() {
        x.copy_from_slice(&padded(&f, x)[..x.len()]);
    }
}

/// [`blocks`] in place.
#[inline(always)]
fn blocks_in_place<T: Real, const N: usize, const V: usize>(
    x: &mut [T],
    f: &impl Wide<T>,
) -> usize {
    for x in x.chunks_exact_mut(V * N) {
        x.copy_from_slice(vectors::<T, N, V>(f, x).as_flattened());
    }
    x.len() - x.len() % (V * N)
}

/// Runs an expensive `f` on pieces of a long array, on all threads.
pub(crate) fn in_parallel<T: Real>(x: &[T], out: &mut [T], f: impl Fn(&[T], &mut [T]) + Sync) {
    let chunk = share_or_chunk(x.len());
    out.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(out, x)| f(x, out));
}

/// Runs an expensive `f` on pieces of a long array, on all threads.
pub(crate) fn in_parallel_in_place<T: Real>(x: &mut [T], f: impl Fn(&mut [T]) + Sync) {
    let chunk = share_or_chunk(x.len());
    x.par_chunks_mut(chunk).for_each(&f);
}

/// How many entries of a long array a thread takes at a time.
pub(crate) fn share_or_chunk(len: usize) -> usize {
    share(len, || LANES).unwrap_or(CHUNK)
}

/// Whether an expensive function of so many entries is worth several threads.
pub(crate) fn is_long(len: usize) -> bool {
    (len >= PARALLEL && threads() > 1) || share(len, || LANES).is_some()
}

/// Copies a slice of the same length, a long one on all threads.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn copy<T: Real>(x: &[T], out: &mut [T]) {
    check_len("copy", x.len(), out.len());
    match share(x.len(), || LANES) {
        None => out.copy_from_slice(x),
        Some(chunk) => {
            let pieces = out.par_chunks_mut(chunk).zip(x.par_chunks(chunk));
            pieces.for_each(|(out, x)| out.copy_from_slice(x));
        }
    }
}

/// `out_i = f(a_i, b_i)`, an operand shorter than the result repeating.
#[inline(always)]
pub(crate) fn zip<T: Real>(a: &[T], b: &[T], out: &mut [T], f: impl Fn(T, T) -> T) {
    let n = out.len();
    if a.len() == n && b.len() == n {
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = f(a, b);
        }
    } else if a.len() == n && b.len() == 1 {
        let b = b[0];
        map(a, out, |a| f(a, b));
    } else if a.len() == 1 && b.len() == n {
        let a = a[0];
        map(b, out, |b| f(a, b));
    } else if a.len() == n && n > 0 {
        for (out, a) in out.chunks_exact_mut(b.len()).zip(a.chunks_exact(b.len())) {
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = f(a, b);
            }
        }
    } else if b.len() == n && n > 0 {
        for (out, b) in out.chunks_exact_mut(a.len()).zip(b.chunks_exact(a.len())) {
            for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
                *out = f(a, b);
            }
        }
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            *out = f(a[i % a.len()], b[i % b.len()]);
        }
    }
}

/// `a_i = f(a_i, b_i)`, `b` repeating if it is shorter.
#[inline(always)]
pub(crate) fn zip_in_place<T: Real>(a: &mut [T], b: &[T], f: impl Fn(T, T) -> T) {
    if b.len() == 1 {
        let b = b[0];
        map_in_place(a, |a| f(a, b));
    } else if !b.is_empty() {
        for a in a.chunks_exact_mut(b.len()) {
            for (a, &b) in a.iter_mut().zip(b) {
                *a = f(*a, b);
            }
        }
    }
}

/// Panics unless an operand's length divides that of the result.
#[inline(always)]
#[track_caller]
pub(crate) fn check_repeats(what: &str, operand: usize, out: usize) {
    if operand != out && (operand == 0 || !out.is_multiple_of(operand)) {
        mismatch(what, operand, out);
    }
}

/// Panics unless two lengths are equal.
#[inline(always)]
#[track_caller]
pub(crate) fn check_len(what: &str, found: usize, expected: usize) {
    if found != expected {
        mismatch(what, found, expected);
    }
}

#[cold]
#[track_caller]
fn mismatch(what: &str, found: usize, expected: usize) -> ! {
    panic!("{what}: an operand of {found} entries does not fit a result of {expected}")
}
