//! Sums of outer products against their specification.

use costate_ops::{Isa, Real, sum_outer, sum_outer_on};
use proptest::prelude::*;

use crate::common::{assert_same, moderate};

/// Whole numbers, so small that sums of their products are exact; no zero is negative.
fn whole<T: Real>(n: usize, seed: u64) -> Vec<T> {
    moderate::<T>(n, seed).iter().map(|&x| (x * T::from_f64(9.0)).round() + T::zero()).collect()
}

fn check<T: Real>(size: [usize; 3], accumulate: bool) {
    let [rows, m, n] = size;
    let (a, b) = (whole::<T>(rows * m, 1), whole::<T>(rows * n, 2));
    for with_sums in [false, true] {
        let (c, sums) = (whole::<T>(m * n, 3), whole::<T>(if with_sums { n } else { 0 }, 4));
        let (mut right, mut right_sums) = (c.clone(), sums.clone());
        if !accumulate {
            right.fill(T::zero());
            right_sums.fill(T::zero());
        }
        for l in 0..rows {
            for j in 0..n {
                (0..m).for_each(|i| right[i * n + j] += a[l * m + i] * b[l * n + j]);
                right_sums.get_mut(j).into_iter().for_each(|sum| *sum += b[l * n + j]);
            }
        }
        for isa in Isa::available() {
            let (mut found, mut found_sums) = (c.clone(), sums.clone());
            sum_outer_on(isa, size, accumulate, &a, &b, &mut found, &mut found_sums);
            assert_same(&found, &right, &(size, isa));
            assert_same(&found_sums, &right_sums, &(size, isa, "sums"));
        }
        let (mut found, mut found_sums) = (c, sums);
        sum_outer(size, accumulate, &a, &b, &mut found, &mut found_sums);
        assert_same(&found, &right, &size);
        assert_same(&found_sums, &right_sums, &size);
    }
}

proptest! {
    #[test]
    fn sums_of_outer_products_follow_their_specification(
        rows in 0usize..40, m in 0usize..70, n in 0usize..140, accumulate: bool,
    ) {
        check::<f64>([rows, m, n], accumulate);
        check::<f32>([rows, m, n], accumulate);
    }
}

/// Around the sides of tiles and vectors.
#[test]
fn sums_of_outer_products_of_sizes_around_those_of_tiles() {
    for m in [0, 1, 2, 3, 4, 5, 6, 7] {
        for n in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 48, 50, 64, 67, 130] {
            for rows in [0, 1, 2, 9] {
                for accumulate in [false, true] {
                    check::<f64>([rows, m, n], accumulate);
                    check::<f32>([rows, m, n], accumulate);
                }
            }
        }
    }
}

/// Products that are shared between threads, with sides that are no multiples of those of tiles and strips,
/// and more rows than are gone through at a time.
#[test]
fn large_sums_of_outer_products_follow_their_specification() {
    for size in [[70, 241, 250], [300, 130, 105], [4100, 32, 33], [1, 2050, 2000], [70, 3, 20_000]]
    {
        for accumulate in [false, true] {
            check::<f64>(size, accumulate);
            check::<f32>(size, accumulate);
        }
    }
}

#[test]
fn large_sums_of_outer_products_have_the_same_bits_on_any_number_of_threads() {
    let [rows, m, n] = [300, 130, 105];
    let (a, b) = (moderate::<f32>(rows * m, 1), moderate::<f32>(rows * n, 2));
    let on = |threads: usize| {
        let (mut c, mut sums) = (moderate::<f32>(m * n, 3), moderate::<f32>(n, 4));
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| sum_outer([rows, m, n], true, &a, &b, &mut c, &mut sums));
        (c, sums)
    };
    let one = on(1);
    for threads in [2, 3, 7] {
        assert_eq!(on(threads), one, "{threads} threads");
    }
}

/// What rounding does to one of many terms does not depend on where a column lies.
#[test]
fn rounding_is_that_of_sums_from_the_first_row_to_the_last() {
    let [rows, m, n] = [20, 3, 50];
    let (a, b) = (moderate::<f64>(rows * m, 1), moderate::<f64>(rows * n, 2));
    let (mut c, mut sums) = (vec![0.0; m * n], vec![0.0; n]);
    for isa in Isa::available() {
        sum_outer_on(isa, [rows, m, n], false, &a, &b, &mut c, &mut sums);
        for j in 0..n {
            assert_eq!(sums[j], (0..rows).fold(0.0, |sum, l| sum + b[l * n + j]));
            for i in 0..m {
                let terms = (0..rows).map(|l| (a[l * m + i], b[l * n + j]));
                let plain = terms.clone().fold(0.0, |sum, (a, b)| sum + a * b);
                let fused = terms.fold(0.0, |sum, (a, b)| f64::mul_add(a, b, sum));
                let found = c[i * n + j];
                assert!(found == plain || found == fused, "{i} {j}: {found}, {plain}, {fused}");
            }
        }
    }
}

#[test]
#[should_panic(expected = "sum_outer, right")]
fn a_length_that_does_not_fit_is_refused() {
    sum_outer([2, 2, 3], false, &[1.0; 4], &[1.0; 5], &mut [0.0; 6], &mut []);
}
