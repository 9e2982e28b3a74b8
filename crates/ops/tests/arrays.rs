//! Kernels on whole arrays against plain definitions: products, broadcasting, reductions,
//! rearrangements.

use costate_ops::{
    Isa, MatMul, Range1, Real, argmax_axis, broadcast_shape, concat, dot, expand, gather, matmul,
    matmul_naive, matmul_small, max_axis, permute, scatter_add, slice, slice_add, sum, sum_to,
    transpose,
};
use proptest::prelude::*;

fn array<T: Real>(n: usize, seed: f64) -> Vec<T> {
    (0..n).map(|i| T::from_f64((seed + i as f64 * 1.618).sin())).collect()
}

fn check_matmul<T: Real>(m: usize, k: usize, n: usize, isas: &[Isa]) {
    for (ta, tb, accumulate) in [
        (false, false, false),
        (true, false, false),
        (false, true, true),
        (true, true, false),
        (false, false, true),
    ] {
        let spec = MatMul { m, k, n, ta, tb, accumulate };
        let (a, b, c) = (array::<T>(m * k, 0.1), array::<T>(k * n, 0.7), array::<T>(m * n, 1.9));
        let mut expected = c.clone();
        matmul_naive(spec, &a, &b, &mut expected);
        let near = |found: &[T], what: &str| {
            for (found, expected) in found.iter().zip(&expected) {
                let error = (*found - *expected).abs().as_f64();
                let bound =
                    T::EPSILON.as_f64() * (k as f64 + 4.0) * (1.0 + expected.as_f64().abs());
                assert!(error <= bound, "{what} {spec:?}: {found} {expected}");
            }
        };
        let mut found = c.clone();
        matmul(spec, &a, &b, &mut found);
        near(&found, "matmul");
        for &isa in isas {
            let mut found = c.clone();
            matmul_small(isa, spec, &a, &b, &mut found);
            near(&found, "small");
        }
    }
}

#[test]
fn products_of_awkward_sizes() {
    let isas = Isa::available();
    for (m, k, n) in [
        (0, 3, 2),
        (3, 0, 2),
        (2, 3, 0),
        (1, 1, 1),
        (1, 7, 1),
        (20, 2, 50),
        (20, 50, 2),
        (32, 64, 64),
        (5, 3, 33),
        (7, 9, 15),
        (4, 4, 47),
        (3, 100, 17),
        (130, 70, 90),
    ] {
        check_matmul::<f64>(m, k, n, &isas);
        check_matmul::<f32>(m, k, n, &isas);
    }
}

/// The same bits for any number of threads, and for a row whatever rows are beside it.
#[test]
fn products_do_not_depend_on_threads() {
    let spec = MatMul { m: 300, k: 200, n: 150, ta: false, tb: false, accumulate: false };
    let (a, b) = (array::<f32>(300 * 200, 0.3), array::<f32>(200 * 150, 0.9));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut c = vec![0.0; 300 * 150];
        pool.install(|| matmul(spec, &a, &b, &mut c));
        c.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
    let small = MatMul { m: 33, k: 64, n: 40, ..spec };
    let mut all = vec![0.0; 33 * 40];
    matmul(small, &a[..33 * 64], &b[..64 * 40], &mut all);
    for row in 0..33 {
        let mut alone = vec![0.0; 40];
        matmul(MatMul { m: 1, ..small }, &a[row * 64..][..64], &b[..64 * 40], &mut alone);
        assert_eq!(alone, all[row * 40..][..40], "row {row}");
    }
}

/// A shape with its entries' index, as a slow reference.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    for &n in shape {
        all = all
            .iter()
            .flat_map(|i: &Vec<usize>| (0..n).map(move |j| [&i[..], &[j]].concat()))
            .collect();
    }
    all
}

fn offset(index: &[usize], shape: &[usize]) -> usize {
    index.iter().zip(shape).fold(0, |sum, (i, n)| sum * n + i)
}

/// Where in `small` an index of `large` falls.
fn below(index: &[usize], small: &[usize]) -> usize {
    let index = &index[index.len() - small.len()..];
    let index: Vec<usize> =
        index.iter().zip(small).map(|(&i, &n)| if n == 1 { 0 } else { i }).collect();
    offset(&index, small)
}

fn shapes() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    prop::collection::vec(0usize..4, 0..5).prop_flat_map(|large| {
        let n = large.len();
        (Just(large), prop::collection::vec(any::<bool>(), n), 0..=n).prop_map(
            |(large, repeat, missing)| {
                let small = large.iter().zip(&repeat).skip(missing);
                let small = small.map(|(&n, &r)| if r { 1 } else { n }).collect();
                (large, small)
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..Default::default() })]

    #[test]
    fn broadcasting((large, small) in shapes()) {
        let (n, m) = (large.iter().product(), small.iter().product());
        prop_assert_eq!(broadcast_shape(&large, &small), Some(large.clone()));
        prop_assert_eq!(broadcast_shape(&small, &large), Some(large.clone()));
        let x: Vec<f64> = array(m, 0.4);
        let mut out = vec![9.0; n];
        expand(&x, &small, &mut out, &large);
        for index in indices(&large) {
            prop_assert_eq!(out[offset(&index, &large)], x[below(&index, &small)]);
        }
        let y: Vec<f64> = array(n, 2.4);
        let mut found = vec![9.0; m];
        sum_to(&y, &large, &mut found, &small);
        let mut expected = vec![0.0; m];
        for index in indices(&large) {
            expected[below(&index, &small)] += y[offset(&index, &large)];
        }
        for (found, expected) in found.iter().zip(&expected) {
            prop_assert!((found - expected).abs() < 1e-13);
        }
    }

    #[test]
    fn permuting(shape in prop::collection::vec(0usize..5, 0..5), seed in any::<u64>()) {
        let mut axes: Vec<usize> = (0..shape.len()).collect();
        axes.sort_by_key(|&a| (seed >> (8 * a)) & 0xff);
        let x: Vec<f64> = array(shape.iter().product(), 0.0);
        let mut out = vec![0.0; x.len()];
        permute(&x, &shape, &axes, &mut out);
        let to: Vec<usize> = axes.iter().map(|&a| shape[a]).collect();
        for index in indices(&shape) {
            let moved: Vec<usize> = axes.iter().map(|&a| index[a]).collect();
            prop_assert_eq!(out[offset(&moved, &to)], x[offset(&index, &shape)]);
        }
    }

    #[test]
    fn slicing(
        axes in prop::collection::vec((0usize..5, 0usize..4, prop::sample::select(vec![1isize, 2, -1, -2])), 0..4)
    ) {
        let ranges: Vec<Range1> = axes
            .iter()
            .map(|&(skip, len, step)| {
                let reach = (len.max(1) - 1) as isize * step.abs();
                let start = if step < 0 { skip as isize + reach } else { skip as isize };
                Range1 { start: start as usize, len, step }
            })
            .collect();
        let shape: Vec<usize> =
            axes.iter().map(|&(skip, len, step)| skip + 1 + (len.max(1) - 1) * step.unsigned_abs()).collect();
        let lens: Vec<usize> = ranges.iter().map(|r| r.len).collect();
        let x: Vec<f64> = array(shape.iter().product(), 0.0);
        let mut out = vec![0.0; lens.iter().product()];
        slice(&x, &shape, &ranges, &mut out);
        let from = |index: &[usize]| -> usize {
            let places: Vec<usize> = index
                .iter()
                .zip(&ranges)
                .map(|(&i, r)| (r.start as isize + i as isize * r.step) as usize)
                .collect();
            offset(&places, &shape)
        };
        for index in indices(&lens) {
            prop_assert_eq!(out[offset(&index, &lens)], x[from(&index)]);
        }
        let mut back = array(x.len(), 5.0);
        let before: Vec<f64> = back.clone();
        slice_add(&out, &mut back, &shape, &ranges);
        let mut expected = before;
        for index in indices(&lens) {
            expected[from(&index)] += out[offset(&index, &lens)];
        }
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn reducing(outer in 0usize..4, n in 1usize..6, inner in 0usize..4, nan in any::<bool>()) {
        let mut x: Vec<f64> = array(outer * n * inner, 0.2);
        if nan && x.len() > 1 {
            x[1] = f64::NAN;
        }
        let (mut top, mut place) = (vec![0.0; outer * inner], vec![0; outer * inner]);
        max_axis(&x, outer, n, inner, &mut top);
        argmax_axis(&x, outer, n, inner, &mut place);
        for o in 0..outer {
            for j in 0..inner {
                let column: Vec<f64> = (0..n).map(|l| x[(o * n + l) * inner + j]).collect();
                let (top, place) = (top[o * inner + j], place[o * inner + j]);
                if column.iter().any(|x| x.is_nan()) {
                    prop_assert!(top.is_nan() && column[place].is_nan());
                } else {
                    prop_assert_eq!(top, column.iter().copied().fold(f64::NEG_INFINITY, f64::max));
                    prop_assert_eq!(column[place], top);
                    prop_assert!(column[..place].iter().all(|x| *x < top));
                }
            }
        }
    }

    #[test]
    fn indexing(outer in 0usize..3, n in 1usize..5, inner in 0usize..3, index in prop::collection::vec(0usize..100, 0..6)) {
        let index: Vec<usize> = index.into_iter().map(|i| i % n).collect();
        let x: Vec<f64> = array(outer * n * inner, 0.2);
        let mut out = vec![0.0; outer * index.len() * inner];
        gather(&x, outer, n, inner, &index, &mut out);
        let mut back = vec![0.0; x.len()];
        scatter_add(&out, outer, n, inner, &index, &mut back);
        for o in 0..outer {
            for l in 0..n {
                for j in 0..inner {
                    let at = (o * n + l) * inner + j;
                    let times = index.iter().filter(|&&i| i == l).count();
                    prop_assert!((back[at] - times as f64 * x[at]).abs() < 1e-14);
                }
            }
        }
    }
}

#[test]
fn transposing_and_joining() {
    for (rows, columns) in [(0, 3), (1, 5), (8, 8), (9, 17), (64, 30)] {
        let x: Vec<f32> = array(rows * columns, 0.0);
        let mut out = vec![0.0; x.len()];
        transpose(&x, rows, columns, &mut out);
        for i in 0..rows {
            for j in 0..columns {
                assert_eq!(out[j * rows + i], x[i * columns + j]);
            }
        }
    }
    let (a, b) = ([1.0, 2.0, 3.0, 4.0], [5.0, 6.0]);
    let mut out = [0.0; 6];
    concat(&[&a, &b, &[]], 2, &[2, 1, 0], 1, &mut out);
    assert_eq!(out, [1.0, 2.0, 5.0, 3.0, 4.0, 6.0]);
}

#[test]
fn sums_are_accurate() {
    for n in [0, 1, 5, 16, 17, 1000, 1024, 1025, 4097, 100_000] {
        let x: Vec<f32> = (0..n).map(|i| 1.0 + (i as f32).sin()).collect();
        let exact: f64 = x.iter().map(|&x| f64::from(x)).sum();
        assert!((f64::from(sum(&x)) - exact).abs() <= 4e-7 * exact, "{n}");
        let squares: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        assert!((f64::from(dot(&x, &x)) - squares).abs() <= 4e-7 * squares, "{n}");
    }
}
