//! Running sums along an axis.

use crate::Real;
use crate::elementwise::check_len;

/// `out[·, j, ·] = Σ_{l ≤ j} x[·, l, ·]` with `x` seen as `[outer, n, inner]`; in reverse,
/// `Σ_{l ≥ j}`, which is the transpose. Terms are added one by one in the order of the axis, so
/// the error grows with `n`.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn cumsum<T: Real>(
    x: &[T],
    outer: usize,
    n: usize,
    inner: usize,
    reverse: bool,
    out: &mut [T],
) {
    check_len("cumsum", x.len(), outer * n * inner);
    check_len("cumsum, result", out.len(), x.len());
    out.copy_from_slice(x);
    if n * inner == 0 {
        return;
    }
    for block in out.chunks_exact_mut(n * inner) {
        for j in 1..n {
            let (before, after) = block.split_at_mut(if reverse { n - j } else { j } * inner);
            let (from, to) = if reverse {
                (&after[..inner], &mut before[(n - j - 1) * inner..])
            } else {
                (&before[(j - 1) * inner..], &mut after[..inner])
            };
            // `to += from` has the same bits as `from + to`.
            for (to, &from) in to.iter_mut().zip(from) {
                *to += from;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_its_definition() {
        let (outer, n, inner) = (2, 3, 2);
        let x: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect();
        for reverse in [false, true] {
            let mut out = vec![0.0; 12];
            cumsum(&x, outer, n, inner, reverse, &mut out);
            for (place, &found) in out.iter().enumerate() {
                let (o, j, i) = (place / 6, place / 2 % 3, place % 2);
                let range = if reverse { j..n } else { 0..j + 1 };
                let expected: f64 = range.map(|l| x[o * 6 + l * 2 + i]).sum();
                assert_eq!(found, expected, "{reverse} {place}");
            }
        }
        for n in [0, 1] {
            let mut out = vec![0.0; n];
            cumsum(&x[..n], 1, n, 1, true, &mut out);
            assert_eq!(out, x[..n]);
        }
        cumsum::<f64>(&[], 3, 2, 0, false, &mut []);
    }
}
