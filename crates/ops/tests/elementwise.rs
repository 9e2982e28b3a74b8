//! Element-wise kernels against their specification, for every instruction set of this machine,
//! over awkward lengths.

use costate_ops::{
    Binary, Isa, Real, Unary, affine, affine_in_place, axpy, binary, binary_in_place_left,
    binary_in_place_right, binary_on, lincomb, powi, powi_in_place, select, unary, unary_in_place,
    unary_in_place_on, unary_on,
};
use proptest::prelude::*;

const LENGTHS: [usize; 20] =
    [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 127, 255, 256, 257, 1000];

/// Numbers of all sizes, and the special ones.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => -20.0..20.0f64,
        2 => prop::num::f64::ANY,
        1 => prop::sample::select(vec![
            0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE,
            5e-324, f64::MAX, f64::MIN, 1e-40, -1e-40,
        ]),
    ]
}

fn numbers(len: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), len)
}

fn cast<T: Real>(x: &[f64]) -> Vec<T> {
    x.iter().map(|&x| T::from_f64(x)).collect()
}

/// The bits, all NaN being one.
fn bits<T: Real>(x: &[T]) -> Vec<u64> {
    x.iter().map(|x| if x.is_nan() { u64::MAX } else { x.as_f64().to_bits() }).collect()
}

/// Functions that are approximated; `ulp.rs` tests how well.
fn is_approximate(f: Unary) -> bool {
    use Unary::*;
    matches!(f, Exp | Ln | Tanh | Sigmoid | Softplus)
}

fn check_unary<T: Real>(x: &[f64]) {
    let x: Vec<T> = cast(x);
    for &f in Unary::ALL {
        let expected: Vec<T> = x.iter().map(|&x| f.eval(x)).collect();
        for isa in Isa::available() {
            let mut out = vec![T::one(); x.len()];
            unary_on(isa, f, &x, &mut out);
            let mut in_place = x.clone();
            unary_in_place_on(isa, f, &mut in_place);
            assert_eq!(bits(&out), bits(&in_place), "{f:?} in place, {isa:?}");
            if !is_approximate(f) {
                assert_eq!(bits(&out), bits(&expected), "{f:?}, {isa:?}");
            }
            for (i, &x) in x.iter().enumerate() {
                // An entry depends neither on the others nor on its place.
                let mut alone = [T::one()];
                unary_on(isa, f, &[x], &mut alone);
                assert_eq!(bits(&alone), bits(&out[i..=i]), "{f:?} of {x}, {isa:?}");
                let (out, expected) = (out[i], expected[i]);
                let wrong = out.is_nan() != expected.is_nan()
                    || out.is_infinite() != expected.is_infinite()
                        && expected.abs() < T::max_value() / T::from_f64(2.0)
                    || out * expected < T::zero();
                assert!(!wrong, "{f:?} of {x} is {out}, not {expected}, {isa:?}");
            }
        }
        let mut default = vec![T::one(); x.len()];
        unary(f, &x, &mut default);
        let mut best = default.clone();
        unary_on(Isa::detect(), f, &x, &mut best);
        assert_eq!(bits(&default), bits(&best));
    }
}

fn check_binary<T: Real>(a: &[f64], b: &[f64]) {
    let (a, b): (Vec<T>, Vec<T>) = (cast(a), cast(b));
    let n = a.len();
    for &f in Binary::ALL {
        // Operands as long as the result, numbers, and rows of a matrix.
        for (la, lb) in [(n, n), (n, 1), (1, n), (n, n / 4), (n / 4, n), (1, n / 4), (1, 1)] {
            if n == 0 && (la, lb) != (0, 0) || la == 0 && n > 0 || lb == 0 && n > 0 {
                continue;
            }
            if n > 0 && (n % la != 0 || n % lb != 0) {
                continue;
            }
            let (a, b) = (&a[..la], &b[..lb]);
            let expected: Vec<T> = (0..n).map(|i| f.eval(a[i % la], b[i % lb])).collect();
            for isa in Isa::available() {
                let mut out = vec![T::one(); n];
                binary_on(isa, f, a, b, &mut out);
                assert_eq!(bits(&out), bits(&expected), "{f:?} {la} {lb} {isa:?}");
            }
            let mut out = vec![T::one(); n];
            binary(f, a, b, &mut out);
            assert_eq!(bits(&out), bits(&expected), "{f:?}");
            if la == n {
                let mut left = a.to_vec();
                binary_in_place_left(f, &mut left, b);
                assert_eq!(bits(&left), bits(&expected), "{f:?} in place of the left operand");
            }
            if lb == n {
                let mut right = b.to_vec();
                binary_in_place_right(f, a, &mut right);
                assert_eq!(bits(&right), bits(&expected), "{f:?} in place of the right operand");
            }
        }
    }
}

fn check_linear<T: Real>(x: &[f64], y: &[f64], z: &[f64]) {
    let (x, y, z): (Vec<T>, Vec<T>, Vec<T>) = (cast(x), cast(y), cast(z));
    let n = x.len();
    let (mul, add) = (T::from_f64(1.7), T::from_f64(-0.3));
    let mut out = vec![T::one(); n];
    affine(mul, add, &x, &mut out);
    let expected: Vec<T> = x.iter().map(|&x| mul * x + add).collect();
    assert_eq!(bits(&out), bits(&expected));
    let mut in_place = x.clone();
    affine_in_place(mul, add, &mut in_place);
    assert_eq!(bits(&in_place), bits(&expected));

    let mut sum = y.clone();
    axpy(mul, &x, &mut sum);
    let expected: Vec<T> = x.iter().zip(&y).map(|(&x, &y)| y + mul * x).collect();
    assert_eq!(bits(&sum), bits(&expected));

    select(&x, &y, &z, &mut out);
    let expected: Vec<T> = (0..n).map(|i| if x[i] != T::zero() { y[i] } else { z[i] }).collect();
    assert_eq!(bits(&out), bits(&expected));

    for terms in 0..=14 {
        let all = [&x, &y, &z];
        let xs: Vec<&[T]> = (0..terms).map(|j| &all[j % 3][..]).collect();
        let c: Vec<T> = (0..terms).map(|j| T::from_f64(1.0 - 0.3 * j as f64)).collect();
        lincomb(&c, &xs, &mut out);
        let expected: Vec<T> = (0..n)
            .map(|i| {
                let terms = c.iter().zip(&xs).map(|(&c, x)| c * x[i]);
                terms.reduce(|sum, x| sum + x).unwrap_or(T::zero())
            })
            .collect();
        assert_eq!(bits(&out), bits(&expected), "{terms} terms");
    }

    for exponent in [-3, -1, 0, 1, 2, 3, 4, 5, 8] {
        powi(exponent, &x, &mut out);
        let mut in_place = x.clone();
        powi_in_place(exponent, &mut in_place);
        assert_eq!(bits(&out), bits(&in_place));
        for (&x, &out) in x.iter().zip(&out) {
            let expected = x.as_f64().powi(exponent);
            let representable = expected == 0.0
                || expected.abs() > T::min_positive_value().as_f64() * 1e20
                    && expected.abs() < T::max_value().as_f64() * 1e-20;
            if representable && x.as_f64().abs() > 1e-5 {
                let error = (out.as_f64() - expected).abs();
                assert!(
                    error <= 6.0 * T::EPSILON.as_f64() * expected.abs(),
                    "{x}^{exponent} {out}"
                );
            }
        }
    }
}

#[test]
fn awkward_lengths() {
    for n in LENGTHS {
        let x: Vec<f64> = (0..n).map(|i| (i as f64 * 0.37).sin() * 9.0).collect();
        let y: Vec<f64> = (0..n).map(|i| (i as f64 * 0.71).cos() * 3.0).collect();
        check_unary::<f64>(&x);
        check_unary::<f32>(&x);
        check_binary::<f64>(&x, &y);
        check_binary::<f32>(&x, &y);
        check_linear::<f64>(&x, &y, &x);
        check_linear::<f32>(&x, &y, &x);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_numbers(
        (x, y, z) in prop::sample::select(LENGTHS[..17].to_vec())
            .prop_flat_map(|n| (numbers(n), numbers(n), numbers(n)))
    ) {
        check_unary::<f64>(&x);
        check_unary::<f32>(&x);
        check_binary::<f64>(&x, &y);
        check_binary::<f32>(&x, &y);
        check_linear::<f64>(&x, &y, &z);
        check_linear::<f32>(&x, &y, &z);
    }
}

/// The same bits for any number of threads.
#[test]
fn threads_change_nothing() {
    let x: Vec<f32> = (0..300_001).map(|i| (i as f32 * 0.01).sin() * 8.0).collect();
    let run = |threads: usize, f: Unary| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut out, mut in_place) = (vec![0.0; x.len()], x.clone());
            unary(f, &x, &mut out);
            unary_in_place(f, &mut in_place);
            assert_eq!(bits(&out), bits(&in_place));
            bits(&out)
        })
    };
    for &f in Unary::ALL {
        let one = run(1, f);
        for threads in [2, 3] {
            assert_eq!(one, run(threads, f), "{f:?} on {threads} threads");
        }
    }
}

#[test]
#[should_panic(expected = "add: an operand of 3 entries does not fit a result of 4")]
fn a_length_that_does_not_fit_panics() {
    binary(Binary::Add, &[1.0, 2.0, 3.0], &[1.0], &mut [0.0; 4]);
}
