//! Matrix products against their specification.

use crate::common::{assert_same, moderate};
use costate_ops::{
    After, Binary, Isa, MatMul, Product, Real, binary_in_place_right, matmul, matmul_batch,
    matmul_naive, matmul_small, matmul_strips, permute,
};
use proptest::prelude::*;
use rayon::prelude::*;

/// The forms of a product.
fn forms(m: usize, k: usize, n: usize) -> impl Iterator<Item = MatMul> {
    (0..8).map(move |bits| MatMul {
        m,
        k,
        n,
        ta: bits & 1 != 0,
        tb: bits & 2 != 0,
        accumulate: bits & 4 != 0,
    })
}

/// Whole numbers, so small that sums of their products are exact: any order gives the same bits.
fn whole<T: Real>(n: usize, seed: u64) -> Vec<T> {
    moderate::<T>(n, seed).iter().map(|&x| (x * T::from_f64(9.0)).round()).collect()
}

type Compute<'f, T> = &'f dyn Fn(MatMul, &[T], &[T], &mut [T]);

fn exact<T: Real>(spec: MatMul, product: Compute<'_, T>) {
    let MatMul { m, k, n, .. } = spec;
    let (a, b, start) = (whole::<T>(m * k, 1), whole::<T>(k * n, 2), whole::<T>(m * n, 3));
    let (mut c, mut expected) = (start.clone(), start);
    product(spec, &a, &b, &mut c);
    matmul_naive(spec, &a, &b, &mut expected);
    for (i, (&found, &right)) in c.iter().zip(&expected).enumerate() {
        assert!(found == right, "{} {spec:?}: entry {i} is {found}, not {right}", T::NAME);
    }
}

/// Any order of adding keeps within `γ_(k+1) (|A||B| + |C|)`: Higham, "Accuracy and stability of
/// numerical algorithms", 2nd edition, section 3.5.
fn close<T: Real>(spec: MatMul, product: Compute<'_, T>) {
    let MatMul { m, k, n, .. } = spec;
    let (a, b, start) = (moderate::<T>(m * k, 1), moderate::<T>(k * n, 2), moderate::<T>(m * n, 3));
    let wide = |x: &[T]| x.iter().map(|x| x.as_f64()).collect::<Vec<f64>>();
    let size = |x: &[T]| x.iter().map(|x| x.as_f64().abs()).collect::<Vec<f64>>();
    let (mut c, mut right, mut bound) = (start.clone(), wide(&start), size(&start));
    product(spec, &a, &b, &mut c);
    matmul_naive(spec, &wide(&a), &wide(&b), &mut right);
    matmul_naive(spec, &size(&a), &size(&b), &mut bound);
    let unit = T::EPSILON.as_f64() / 2.0;
    for ((&found, right), bound) in c.iter().zip(right).zip(bound) {
        let error = (found.as_f64() - right).abs();
        // Twice, since in f64 what it is compared with has an error of its own.
        let bound = 2.0 * (k + 1) as f64 * unit * bound * 1.01;
        assert!(error <= bound, "{} {spec:?}: {found} and {right}", T::NAME);
    }
}

/// Around the sides of tiles, and shapes that take each of the ways through [`matmul`].
const SHAPES: &[(usize, usize, usize)] = &[
    (1, 1, 1),
    (1, 1, 17),
    (3, 1, 5),
    (20, 2, 50),
    (20, 50, 2),
    (2, 20, 50),
    (32, 64, 64),
    (32, 64, 2),
    (8, 15, 4),
    (9, 16, 4),
    (9, 17, 3),
    (7, 40, 1),
    (1, 40, 7),
    (13, 3, 31),
    (33, 5, 33),
    (5, 300, 130),
    (64, 600, 40),
];

fn shapes<T: Real>() {
    for &(m, k, n) in SHAPES {
        for spec in forms(m, k, n) {
            exact::<T>(spec, &matmul);
            close::<T>(spec, &matmul);
            for isa in Isa::available() {
                exact::<T>(spec, &|spec, a, b, c| matmul_small(isa, spec, a, b, c));
                close::<T>(spec, &|spec, a, b, c| matmul_small(isa, spec, a, b, c));
            }
        }
    }
}

#[test]
fn products_follow_their_specification() {
    shapes::<f32>();
    shapes::<f64>();
}

#[test]
fn every_small_product_follows_its_specification() {
    for m in 1..=10 {
        for k in [0, 1, 2, 3, 16, 17] {
            for n in (1..=9).chain([16, 19]) {
                for spec in forms(m, k, n) {
                    exact::<f64>(spec, &matmul);
                    for isa in Isa::available() {
                        exact::<f32>(spec, &|spec, a, b, c| matmul_small(isa, spec, a, b, c));
                    }
                }
            }
        }
    }
}

fn afterwards<T: Real>(m: usize, k: usize, n: usize) {
    let ops = [Binary::Add, Binary::Mul, Binary::TanhGrad, Binary::SigmoidGrad];
    for spec in forms(m, k, n).filter(|spec| !spec.accumulate) {
        let (a, b) = (moderate::<T>(m * k, 1), moderate::<T>(k * n, 2));
        for op in ops {
            let other = moderate::<T>(if op == Binary::Add { n } else { m * n }, 3);
            let after = match op {
                Binary::Add => After::Bias(&other),
                Binary::Mul => After::Mul(&other),
                Binary::TanhGrad => After::TanhGrad(&other),
                _ => After::SigmoidGrad(&other),
            };
            let mut right = vec![T::zero(); m * n];
            matmul(spec, &a, &b, &mut right);
            binary_in_place_right(op, &other, &mut right);
            let mut found = vec![T::zero(); m * n];
            Product::new::<T>(spec).run(&a, &b, after, &mut found);
            assert_same(&found, &right, &(spec, op));
        }
    }
}

/// On the ways that do it within the product, and on the others.
#[test]
fn what_is_done_after_a_product() {
    for (m, n) in [(1, 1), (7, 2), (20, 4), (20, 5), (9, 50), (32, 64), (33, 37)] {
        for k in [0, 1, 2, 3, 4, 5, 15, 16, 50] {
            afterwards::<f64>(m, k, n);
            afterwards::<f32>(m, k, n);
        }
    }
    afterwards::<f32>(80, 300, 200);
}

proptest! {
    #[test]
    fn any_product_follows_its_specification(m in 0usize..70, k in 0usize..70, n in 0usize..70) {
        for spec in forms(m, k, n) {
            exact::<f64>(spec, &matmul);
            exact::<f32>(spec, &matmul);
        }
    }
}

/// NaN and ∞ in one row of `A` reach that row of the result, and no other.
#[test]
fn what_is_not_finite_stays_in_its_row() {
    for &(m, k, n) in SHAPES {
        for spec in forms(m, k, n).filter(|spec| !spec.ta) {
            let (mut a, b) = (moderate::<f64>(m * k, 1), moderate::<f64>(k * n, 2));
            let (mut clean, mut c) = (vec![0.0; m * n], vec![0.0; m * n]);
            matmul(spec, &a, &b, &mut clean);
            let row = m / 2;
            a[row * k + k / 2] = f64::NAN;
            matmul(spec, &a, &b, &mut c);
            for (i, (c, clean)) in c.chunks(n).zip(clean.chunks(n)).enumerate() {
                if i == row {
                    assert!(c.iter().all(|c| c.is_nan()), "{spec:?}");
                } else {
                    assert_same(c, clean, &spec);
                }
            }
        }
    }
}

#[test]
fn nothing_to_add_gives_zeros_or_leaves_what_was() {
    for spec in forms(3, 0, 2) {
        let mut c = [1.0, -2.0, f64::NAN, 4.0, 5.0, 6.0];
        let before = c;
        matmul(spec, &[], &[], &mut c);
        assert_same(&c, if spec.accumulate { &before } else { &[0.0; 6] }, &spec);
    }
    for (m, k, n) in [(0, 3, 2), (3, 3, 0), (0, 0, 0)] {
        for spec in forms(m, k, n) {
            matmul(spec, &vec![1.0f32; m * k], &vec![1.0; k * n], &mut []);
        }
    }
}

#[test]
fn a_batch_is_its_products() {
    let (m, k, n, batch) = (5, 7, 3, 4);
    for spec in forms(m, k, n) {
        let (a, b) = (moderate::<f64>(batch * m * k, 1), moderate::<f64>(batch * k * n, 2));
        let start = moderate::<f64>(batch * m * n, 3);
        let (mut c, mut expected) = (start.clone(), start);
        matmul_batch(spec, batch, &a, &b, &mut c);
        for i in 0..batch {
            let c = &mut expected[i * m * n..][..m * n];
            matmul(spec, &a[i * m * k..][..m * k], &b[i * k * n..][..k * n], c);
        }
        assert_same(&c, &expected, &spec);
    }
    matmul_batch(
        MatMul { m, k, n, ta: false, tb: false, accumulate: true },
        0,
        &[0f32; 0],
        &[],
        &mut [],
    );
}

fn threads<T: Real>() {
    // Small, narrow, and large enough for threads.
    for (m, k, n) in [(32, 64, 64), (64, 50, 2), (40_000, 60, 2), (130, 310, 120), (257, 129, 65)] {
        for spec in forms(m, k, n) {
            let (a, b) = (moderate::<T>(m * k, 1), moderate::<T>(k * n, 2));
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                pool.expect("a pool").install(|| {
                    let mut c = vec![T::one(); m * n];
                    matmul(spec, &a, &b, &mut c);
                    c
                })
            };
            let one = run(1);
            for count in 2..=3 {
                assert_same(&run(count), &one, &(spec, count));
            }
            assert_same(&run(1), &one, &(spec, "again"));
        }
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    threads::<f32>();
    threads::<f64>();
}

fn strips<T: Real>() {
    // Some have too few rows for it to be worth it; as many more are added.
    for (m, k, n) in [(16, 600, 128), (37, 700, 96), (258, 530, 64), (1, 257, 160), (7, 300, 128)] {
        for spec in forms(m, k, n).filter(|spec| !spec.tb) {
            let tall = MatMul { m: m.max(16), ..spec };
            let width = tall.strips::<T>().expect("it is large");
            let (all, b) = (moderate::<T>(tall.m * k, 1), moderate::<T>(k * n, 2));
            let mut expected = vec![T::one(); tall.m * n];
            matmul(tall, &all, &b, &mut expected);
            expected.truncate(m * n);
            // Of a transposed left side, the first columns.
            let column = |l: usize| all[l * tall.m..][..m].iter().copied();
            let a = if spec.ta { (0..k).flat_map(column).collect() } else { all[..m * k].to_vec() };
            let mut strips = vec![T::zero(); k * n];
            permute(&b, &[k, n / width, width], &[1, 0, 2], &mut strips);
            for threads in 1..=3 {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                let mut c = vec![T::one(); m * n];
                pool.expect("a pool").install(|| matmul_strips(spec, &a, &strips, &mut c));
                assert_same(&c, &expected, &(spec, threads));
            }
        }
    }
}

/// Where it is said so, the rows of a product have the same bits beside more or fewer others.
fn same_rows<T: Real>() {
    let mut claimed = 0;
    for (k, n) in
        [(3, 20), (20, 3), (300, 2), (300, 6), (200, 40), (320, 90), (260, 200), (600, 128)]
    {
        for m in [1, 5, 16, 100, 300, 7000] {
            for spec in forms(m, k, n).filter(|spec| !spec.ta && !spec.accumulate) {
                let (a, b) = (moderate::<T>(m * k, 1), moderate::<T>(k * n, 2));
                let mut all = vec![T::zero(); m * n];
                matmul(spec, &a, &b, &mut all);
                for rows in [1, 4, 17, 128, 4000] {
                    if rows < m && spec.same_rows::<T>(rows) {
                        let mut some = vec![T::zero(); rows * n];
                        matmul(MatMul { m: rows, ..spec }, &a[..rows * k], &b, &mut some);
                        assert_same(&some, &all[..rows * n], &(spec, rows));
                        claimed += 1;
                    }
                }
            }
        }
    }
    assert!(claimed > 50, "{claimed}");
}

#[test]
fn rows_have_the_same_bits_beside_others() {
    same_rows::<f32>();
    same_rows::<f64>();
}

#[test]
fn a_right_side_in_strips_gives_the_same_bits() {
    strips::<f32>();
    strips::<f64>();
}

/// A thread that waits for its part of one product may be given another to compute.
#[test]
fn products_run_inside_parallel_loops() {
    let (m, k, n) = (10_000, 300, 2);
    let spec = MatMul { m, k, n, ta: false, tb: false, accumulate: false };
    let (a, b) = (moderate::<f32>(m * k, 1), moderate::<f32>(k * n, 2));
    let mut expected = vec![0.0; m * n];
    matmul(spec, &a, &b, &mut expected);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(4).build().expect("a pool");
    pool.install(|| {
        (0..64).into_par_iter().for_each(|_| {
            let mut c = vec![0.0; m * n];
            matmul(spec, &a, &b, &mut c);
            assert_same(&c, &expected, &spec);
        });
    });
}

#[test]
fn lengths_that_do_not_fit_panic_and_say_so() {
    let spec = MatMul { m: 2, k: 3, n: 4, ta: false, tb: false, accumulate: false };
    for (a, b, c) in [(5, 12, 8), (6, 11, 8), (6, 12, 9)] {
        let panic = std::panic::catch_unwind(|| {
            matmul(spec, &vec![0.0; a], &vec![0.0; b], &mut vec![0.0; c]);
        });
        let panic = panic.expect_err("this should panic");
        let text = panic.downcast_ref::<String>().expect("a message");
        let expected = [(a, 6), (b, 12), (c, 8)].into_iter().find(|(x, y)| x != y).expect("one");
        assert!(text.contains(&expected.0.to_string()), "{text}");
        assert!(text.contains(&expected.1.to_string()), "{text}");
    }
}

/// `8 (2⁶¹ + 1)` wraps to 8.
#[test]
#[cfg(target_pointer_width = "64")]
#[should_panic(expected = "overflow")]
fn extents_that_overflow_panic() {
    let spec = MatMul { m: 8, k: (1 << 61) + 1, n: 8, ta: false, tb: false, accumulate: false };
    matmul(spec, &[1.0; 8], &[1.0; 8], &mut [0.0; 64]);
}
