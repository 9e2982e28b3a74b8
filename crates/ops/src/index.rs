//! Reading from, and adding to, given places of an axis.

use crate::Real;
use crate::elementwise::check_len;

/// `out[·, j, ·] = x[·, index[j], ·]` with `x` seen as `[outer, n, inner]`.
///
/// # Panics
/// If a length does not fit, or a place is not below `n`.
#[track_caller]
pub fn gather<T: Real>(
    x: &[T],
    outer: usize,
    n: usize,
    inner: usize,
    index: &[usize],
    out: &mut [T],
) {
    check_len("gather", x.len(), outer * n * inner);
    check_len("gather", out.len(), outer * index.len() * inner);
    for o in 0..outer {
        for (j, &i) in index.iter().enumerate() {
            assert!(i < n, "gather: place {i} of an axis of length {n}");
            let from = &x[(o * n + i) * inner..][..inner];
            out[(o * index.len() + j) * inner..][..inner].copy_from_slice(from);
        }
    }
}

/// `out[·, index[j], ·] += x[·, j, ·]` with `out` seen as `[outer, n, inner]`: the transpose of
/// [`gather`].
///
/// # Panics
/// If a length does not fit, or a place is not below `n`.
#[track_caller]
pub fn scatter_add<T: Real>(
    x: &[T],
    outer: usize,
    n: usize,
    inner: usize,
    index: &[usize],
    out: &mut [T],
) {
    check_len("scatter_add", out.len(), outer * n * inner);
    check_len("scatter_add", x.len(), outer * index.len() * inner);
    for o in 0..outer {
        for (j, &i) in index.iter().enumerate() {
            assert!(i < n, "scatter_add: place {i} of an axis of length {n}");
            let from = &x[(o * index.len() + j) * inner..][..inner];
            for (out, x) in out[(o * n + i) * inner..][..inner].iter_mut().zip(from) {
                *out += *x;
            }
        }
    }
}
