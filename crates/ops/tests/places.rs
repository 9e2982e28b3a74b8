//! Broadcasting, reductions, layout and indexing against loops over all places.

use crate::common::{assert_same, moderate, numbers};
use costate_ops::{
    Range1, argmax_axis, broadcast_shape, concat, dot, expand, gather, max_axis, permute,
    scatter_add, slice, slice_add, sum, sum_to, transpose,
};
use proptest::prelude::*;

fn size(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Every place of an array, the last axis fastest.
fn places(shape: &[usize]) -> Vec<Vec<usize>> {
    (0..size(shape))
        .map(|mut flat| {
            let mut place = vec![0; shape.len()];
            for (place, &n) in place.iter_mut().zip(shape).rev() {
                *place = flat % n;
                flat /= n;
            }
            place
        })
        .collect()
}

/// Where a place is in memory.
fn flat(shape: &[usize], place: &[usize]) -> usize {
    shape.iter().zip(place).fold(0, |flat, (&n, &i)| flat * n + i)
}

/// Where the entry that `place` of a broadcast array repeats is in memory.
fn source(small: &[usize], place: &[usize]) -> usize {
    let place = &place[place.len() - small.len()..];
    let place: Vec<usize> =
        small.iter().zip(place).map(|(&n, &i)| if n == 1 { 0 } else { i }).collect();
    flat(small, &place)
}

/// Whole numbers: their sums are exact, so any order of adding gives the same.
fn whole(n: usize, seed: u64) -> Vec<f64> {
    moderate::<f64>(n, seed).iter().map(|x| (x * 50.0).round()).collect()
}

/// A shape, and one that broadcasts to it.
fn broadcasting() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let axes = prop::collection::vec((0usize..=4, any::<bool>()), 0..=5);
    (axes, 0usize..=5).prop_map(|(axes, dropped)| {
        let large: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let kept = axes.iter().skip(dropped.min(axes.len()));
        (large, kept.map(|&(n, repeats)| if repeats { 1 } else { n }).collect())
    })
}

proptest! {
    #[test]
    fn expand_repeats_and_sum_to_is_its_transpose((large, small) in broadcasting()) {
        prop_assert_eq!(broadcast_shape(&small, &large), Some(large.clone()));
        prop_assert_eq!(broadcast_shape(&large, &small), Some(large.clone()));
        let x = whole(size(&small), 1);
        let mut out = vec![9.0; size(&large)];
        expand(&x, &small, &mut out, &large);
        let y = whole(size(&large), 2);
        let mut sums = vec![9.0; size(&small)];
        sum_to(&y, &large, &mut sums, &small);
        let mut expected = vec![0.0; size(&small)];
        for place in places(&large) {
            let (at, from) = (flat(&large, &place), source(&small, &place));
            prop_assert_eq!(out[at], x[from]);
            expected[from] += y[at];
        }
        prop_assert_eq!(&sums, &expected);
        prop_assert_eq!(dot(&out, &y), dot(&x, &sums));
    }

    #[test]
    fn shapes_broadcast_by_the_rule(
        a in prop::collection::vec(0usize..4, 0..4),
        b in prop::collection::vec(0usize..4, 0..4),
    ) {
        let n = a.len().max(b.len());
        let pad = |s: &[usize]| [vec![1; n - s.len()], s.to_vec()].concat();
        let fits = pad(&a).iter().zip(pad(&b)).all(|(&a, b)| a == b || a == 1 || b == 1);
        let expected: Vec<usize> =
            pad(&a).iter().zip(pad(&b)).map(|(&a, b)| if a == 1 { b } else { a }).collect();
        prop_assert_eq!(broadcast_shape(&a, &b), fits.then_some(expected));
    }

    #[test]
    fn permute_moves_axes(
        (shape, axes) in prop::collection::vec(0usize..5, 0..=4).prop_flat_map(|shape| {
            let axes: Vec<usize> = (0..shape.len()).collect();
            (Just(shape), Just(axes).prop_shuffle())
        })
    ) {
        let x = whole(size(&shape), 1);
        let view: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
        let mut out = vec![9.0; x.len()];
        permute(&x, &shape, &axes, &mut out);
        for place in places(&view) {
            let mut from = vec![0; shape.len()];
            for (&axis, &i) in axes.iter().zip(&place) {
                from[axis] = i;
            }
            prop_assert_eq!(out[flat(&view, &place)], x[flat(&shape, &from)]);
        }
    }

    #[test]
    fn transpose_exchanges_rows_and_columns(rows in 0usize..40, columns in 0usize..40) {
        let x = numbers::<f32>(rows * columns, 1);
        let mut out = vec![9.0; x.len()];
        transpose(&x, rows, columns, &mut out);
        let expected: Vec<f32> =
            (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect();
        assert_same(&out, &expected, &(rows, columns));
    }

    #[test]
    fn slice_reads_ranges_and_slice_add_is_its_transpose(
        axes in prop::collection::vec((1usize..7, 0usize..100, 0usize..100, -3isize..=3), 0..=4)
    ) {
        let shape: Vec<usize> = axes.iter().map(|a| a.0).collect();
        let ranges: Vec<Range1> = axes
            .iter()
            .map(|&(n, start, len, step)| {
                let start = start % n;
                let most = match step {
                    0 => 4,
                    s if s > 0 => (n - 1 - start) / s as usize + 1,
                    s => start / s.unsigned_abs() + 1,
                };
                Range1 { start, len: len % (most + 1), step }
            })
            .collect();
        let lens: Vec<usize> = ranges.iter().map(|r| r.len).collect();
        let x = whole(size(&shape), 1);
        let mut out = vec![9.0; size(&lens)];
        slice(&x, &shape, &ranges, &mut out);
        let y = whole(out.len(), 2);
        let mut added = whole(x.len(), 3);
        let mut expected = added.clone();
        slice_add(&y, &mut added, &shape, &ranges);
        for place in places(&lens) {
            let from: Vec<usize> = place
                .iter()
                .zip(&ranges)
                .map(|(&i, r)| (r.start as isize + i as isize * r.step) as usize)
                .collect();
            let (at, from) = (flat(&lens, &place), flat(&shape, &from));
            prop_assert_eq!(out[at], x[from]);
            expected[from] += y[at];
        }
        prop_assert_eq!(added, expected);
    }

    #[test]
    fn concat_joins(
        outer in 0usize..4, lens in prop::collection::vec(0usize..4, 0..5), inner in 0usize..4
    ) {
        let xs: Vec<Vec<f64>> =
            lens.iter().zip(1..).map(|(l, seed)| whole(outer * l * inner, seed)).collect();
        let slices: Vec<&[f64]> = xs.iter().map(|x| &x[..]).collect();
        let mut expected = Vec::new();
        for o in 0..outer {
            for (x, &len) in xs.iter().zip(&lens) {
                expected.extend_from_slice(&x[o * len * inner..][..len * inner]);
            }
        }
        let mut out = vec![9.0; expected.len()];
        concat(&slices, outer, &lens, inner, &mut out);
        prop_assert_eq!(out, expected);
    }

    #[test]
    fn gather_reads_places_and_scatter_add_is_its_transpose(
        outer in 0usize..4, n in 1usize..5, inner in 0usize..4,
        index in prop::collection::vec(0usize..100, 0..7),
    ) {
        let index: Vec<usize> = index.iter().map(|i| i % n).collect();
        let x = whole(outer * n * inner, 1);
        let mut out = vec![9.0; outer * index.len() * inner];
        gather(&x, outer, n, inner, &index, &mut out);
        let y = whole(out.len(), 2);
        let mut added = whole(x.len(), 3);
        let mut expected = added.clone();
        scatter_add(&y, outer, n, inner, &index, &mut added);
        let shape = [outer, index.len(), inner];
        for place in places(&shape) {
            let from = flat(&[outer, n, inner], &[place[0], index[place[1]], place[2]]);
            prop_assert_eq!(out[flat(&shape, &place)], x[from]);
            expected[from] += y[flat(&shape, &place)];
        }
        prop_assert_eq!(added, expected);
    }

    #[test]
    fn maxima_are_the_largest_and_the_first(
        outer in 0usize..4, n in 1usize..7, inner in 0usize..20, seed in any::<u64>()
    ) {
        // Few different numbers, so that equals are common; NaN, ∞ and zeros of both signs.
        let some = [0.0, -0.0, 1.0, 2.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let few = if seed % 2 == 0 { 4 } else { some.len() };
        let x: Vec<f64> = moderate::<f64>(outer * n * inner, seed)
            .iter()
            .map(|x| some[((x + 1.0) * 1e6) as usize % few])
            .collect();
        let (mut max, mut arg) = (vec![9.0; outer * inner], vec![99; outer * inner]);
        max_axis(&x, outer, n, inner, &mut max);
        argmax_axis(&x, outer, n, inner, &mut arg);
        for place in places(&[outer, inner]) {
            let axis: Vec<f64> =
                (0..n).map(|l| x[flat(&[outer, n, inner], &[place[0], l, place[1]])]).collect();
            let at = flat(&[outer, inner], &place);
            if let Some(first) = axis.iter().position(|x| x.is_nan()) {
                prop_assert!(max[at].is_nan());
                prop_assert_eq!(arg[at], first);
            } else {
                let largest = axis.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                prop_assert_eq!(max[at], largest);
                prop_assert_eq!(Some(arg[at]), axis.iter().position(|&x| x == largest));
            }
        }
    }

    #[test]
    fn sums_of_whole_numbers_are_exact(n in 0usize..5000, seed in any::<u64>()) {
        let (a, b) = (whole(n, seed), whole(n, seed.wrapping_add(1)));
        prop_assert_eq!(sum(&a), a.iter().fold(0.0, |s, x| s + x));
        prop_assert_eq!(dot(&a, &b), a.iter().zip(&b).fold(0.0, |s, (x, y)| s + x * y));
    }
}

#[test]
fn the_maximum_of_nothing() {
    let mut out = [1.0f32; 6];
    max_axis(&[], 2, 0, 3, &mut out);
    assert_eq!(out, [f32::NEG_INFINITY; 6]);
    argmax_axis::<f32>(&[], 0, 0, 3, &mut []);
    max_axis::<f32>(&[], 0, 5, 3, &mut []);
}

/// Wide enough to reach the vectors and blocks of the fast ways.
#[test]
fn large_sums_over_axes() {
    for (shape, to) in [
        (vec![300, 70], vec![70]),
        (vec![300, 70], vec![300, 1]),
        (vec![3000], vec![]),
        (vec![7, 33, 5], vec![33, 1]),
        (vec![2100, 3], vec![1, 1]),
    ] {
        let x = whole(size(&shape), 4);
        let mut out = vec![9.0; size(&to)];
        sum_to(&x, &shape, &mut out, &to);
        let mut expected = vec![0.0; size(&to)];
        for place in places(&shape) {
            expected[source(&to, &place)] += x[flat(&shape, &place)];
        }
        assert_eq!(out, expected, "{shape:?} to {to:?}");
    }
}

/// The message of the panic in `f`.
fn message(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(f).expect_err("this should panic");
    panic.downcast_ref::<String>().expect("a message with numbers in it").clone()
}

#[test]
fn what_does_not_fit_panics_and_says_so() {
    let x = [1.0; 6];
    let full = |len| Range1 { start: 0, len, step: 1 };
    for (text, expected) in [
        (message(|| expand(&[1.0; 2], &[2], &mut [0.0; 6], &[2, 3])), "[2]"),
        (message(|| expand(&[1.0; 2], &[3], &mut [0.0; 6], &[2, 3])), "2"),
        (message(move || sum_to(&x, &[2, 3], &mut [0.0; 2], &[2])), "[2]"),
        (message(move || permute(&x, &[2, 3], &[1, 0], &mut [0.0; 5])), "5"),
        (message(move || slice(&x, &[6], &[full(7)], &mut [0.0; 7])), "length 6"),
        (message(move || slice_add(&[1.0; 7], &mut [0.0; 6], &[6], &[full(7)])), "length 6"),
        (message(move || slice(&x, &[2, 3], &[full(2)], &mut [0.0; 6])), "2"),
        (message(move || gather(&x, 1, 3, 2, &[3], &mut [0.0; 2])), "length 3"),
        (message(move || scatter_add(&[1.0; 2], 1, 3, 2, &[3], &mut [0.0; 6])), "length 3"),
        (message(move || concat(&[&x], 1, &[5], 1, &mut [0.0; 5])), "6"),
        (message(move || max_axis(&x, 1, 5, 1, &mut [0.0; 1])), "6"),
        (message(move || _ = dot(&x, &[1.0; 5])), "5"),
    ] {
        assert!(text.contains(expected), "{text} should mention {expected}");
    }
}

/// Wrong axes would read or leave out entries: they must not pass.
#[test]
fn axes_that_are_no_permutation_panic() {
    for axes in [[0, 0], [1, 1], [0, 2]] {
        let text = message(move || permute(&[1.0; 4], &[2, 2], &axes, &mut [0.0; 4]));
        assert!(text.contains("no order of the 2 axes"), "{text}");
    }
}
