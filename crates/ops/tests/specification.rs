//! Element-wise kernels against their specifications, for every instruction set there is.

use crate::common::{LENGTHS, assert_same, awkward, numbers, same};
use costate_ops::{
    Binary, Isa, Real, Unary, axpy, binary, binary_in_place_left, binary_in_place_right, binary_on,
    copy, lincomb, unary, unary_in_place, unary_in_place_on, unary_on,
};

/// A function's place in [`Unary::ALL`], and whether its kernel follows [`Unary::eval`] to the
/// bit; the others are held to higher precision in `accuracy.rs`. A new variant does not compile
/// until it is here, and is not found in `ALL` until it is there.
fn unary_entry(op: Unary) -> (usize, bool) {
    match op {
        Unary::Neg => (0, true),
        Unary::Abs => (1, true),
        Unary::Sign => (2, true),
        Unary::Square => (3, true),
        Unary::Sqrt => (4, true),
        Unary::Recip => (5, true),
        Unary::Exp => (6, false),
        Unary::Ln => (7, false),
        Unary::Sin => (8, true),
        Unary::Cos => (9, true),
        Unary::Tanh => (10, false),
        Unary::Sigmoid => (11, false),
        Unary::Softplus => (12, false),
        Unary::SoftplusSlope => (13, false),
        Unary::Relu => (14, true),
        Unary::ExpM1 => (15, true),
        Unary::Ln1p => (16, true),
        Unary::Tan => (17, true),
        Unary::Asin => (18, true),
        Unary::Acos => (19, true),
        Unary::Atan => (20, true),
        Unary::Sinh => (21, true),
        Unary::Cosh => (22, true),
        Unary::Asinh => (23, true),
        Unary::Acosh => (24, true),
        Unary::Atanh => (25, true),
        Unary::Erf => (26, true),
        Unary::Floor => (27, true),
    }
}

/// The same for [`Binary::ALL`].
fn binary_entry(op: Binary) -> usize {
    match op {
        Binary::Add => 0,
        Binary::Sub => 1,
        Binary::Mul => 2,
        Binary::Div => 3,
        Binary::Max => 4,
        Binary::Min => 5,
        Binary::Pow => 6,
        Binary::Lt => 7,
        Binary::Le => 8,
        Binary::Gt => 9,
        Binary::Ge => 10,
        Binary::Eq => 11,
        Binary::TanhGrad => 12,
        Binary::SigmoidGrad => 13,
        Binary::Atan2 => 14,
    }
}

#[test]
fn all_lists_every_variant_once_and_in_order() {
    let unary: Vec<usize> = Unary::ALL.iter().map(|&op| unary_entry(op).0).collect();
    assert_eq!(unary, (0..28).collect::<Vec<_>>());
    let binary: Vec<usize> = Binary::ALL.iter().map(|&op| binary_entry(op)).collect();
    assert_eq!(binary, (0..15).collect::<Vec<_>>());
    let mut names: Vec<&str> = Unary::ALL.iter().map(|op| op.name()).collect();
    names.extend(Binary::ALL.iter().map(|op| op.name()));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 43);
}

fn unary_kernels<T: Real>() {
    for isa in Isa::available() {
        for &op in Unary::ALL {
            for &n in LENGTHS {
                let mut x = numbers::<T>(n, n as u64);
                let awkward = awkward::<T>();
                let m = n.min(awkward.len());
                x[..m].copy_from_slice(&awkward[..m]);
                let mut out = vec![T::one(); n];
                unary_on(isa, op, &x, &mut out);
                let mut in_place = x.clone();
                unary_in_place_on(isa, op, &mut in_place);
                assert_same(&in_place, &out, &("in place", op, isa, n));
                for (i, (&x, &y)) in x.iter().zip(&out).enumerate() {
                    // An entry by itself: neither the length nor the place matters.
                    let mut alone = [T::zero()];
                    unary_on(isa, op, &[x], &mut alone);
                    assert!(same(alone[0], y), "{op:?} {isa:?} entry {i} of {n}: f({x:e})");
                    let expected = op.eval(x);
                    if unary_entry(op).1 || !expected.is_finite() {
                        assert!(same(y, expected), "{op:?} {isa:?}: {x:e} gives {y:e}");
                    } else {
                        // A coarse look; at the edge of overflow even this is too fine.
                        let near = (y - expected).abs()
                            <= expected.abs() * T::from_f64(8.0) * T::EPSILON
                                + T::min_positive_value();
                        assert!(near, "{op:?} {isa:?}: {x:e} gives {y:e}, not {expected:e}");
                    }
                }
            }
        }
    }
}

#[test]
fn unary_kernels_follow_their_specification() {
    unary_kernels::<f32>();
    unary_kernels::<f64>();
}

fn binary_kernels<T: Real>() {
    for isa in Isa::available() {
        for &op in Binary::ALL {
            for &n in LENGTHS {
                // Lengths of operands: the same, a number, and one that repeats.
                let mut repeating = vec![n];
                repeating
                    .extend((1..=n).filter(|d| n % d == 0 && [1, 2, 3, 5, 16, 50].contains(d)));
                for &na in &repeating {
                    for &nb in &repeating {
                        let a = numbers::<T>(na, 1 + n as u64);
                        let b = numbers::<T>(nb, 1000 + n as u64);
                        let expected: Vec<T> =
                            (0..n).map(|i| op.eval(a[i % na], b[i % nb])).collect();
                        let mut out = vec![T::one(); n];
                        binary_on(isa, op, &a, &b, &mut out);
                        assert_same(&out, &expected, &(op, isa, na, nb, n));
                    }
                }
            }
        }
    }
}

#[test]
fn binary_kernels_follow_their_specification() {
    binary_kernels::<f32>();
    binary_kernels::<f64>();
}

fn pairs_of_awkward_numbers<T: Real>() {
    let all = awkward::<T>();
    for isa in Isa::available() {
        for &op in Binary::ALL {
            for &a in &all {
                let expected: Vec<T> = all.iter().map(|&b| op.eval(a, b)).collect();
                let mut out = vec![T::one(); all.len()];
                binary_on(isa, op, &[a], &all, &mut out);
                assert_same(&out, &expected, &(op, isa, a));
            }
        }
    }
}

#[test]
fn binary_kernels_are_right_at_awkward_numbers() {
    pairs_of_awkward_numbers::<f32>();
    pairs_of_awkward_numbers::<f64>();
}

/// The specification itself, where it is easy to get wrong.
#[test]
fn the_specification_says_what_it_should() {
    let nan = f64::NAN;
    for (a, b) in [(nan, 1.0), (1.0, nan), (nan, nan)] {
        assert!(Binary::Max.eval(a, b).is_nan() && Binary::Min.eval(a, b).is_nan());
        for op in [Binary::Lt, Binary::Le, Binary::Gt, Binary::Ge, Binary::Eq] {
            assert_eq!(op.eval(a, b), 0.0, "{op:?}");
        }
    }
    assert_eq!((Binary::Max.eval(1.0, 2.0), Binary::Min.eval(1.0, 2.0)), (2.0, 1.0));
    assert_eq!((Binary::Lt.eval(1.0, 2.0), Binary::Gt.eval(1.0, 2.0)), (1.0, 0.0));
    assert_eq!((Binary::Le.eval(2.0, 2.0), Binary::Ge.eval(1.0, 2.0)), (1.0, 0.0));
    assert_eq!((Binary::Eq.eval(2.0, 2.0), Binary::Sub.eval(1.0, 2.0)), (1.0, -1.0));
    assert_eq!(Binary::Pow.eval(2.0, 3.0), 8.0);
    assert!(Unary::Relu.eval(nan).is_nan() && Unary::Sign.eval(nan).is_nan());
    assert_eq!((Unary::Sign.eval(-3.0), Unary::Relu.eval(-3.0)), (-1.0, 0.0));
}

fn fused_derivatives<T: Real>() {
    let (y, g) = (numbers::<T>(1000, 1), numbers::<T>(1000, 2));
    let one = [T::one()];
    let run = |op, a: &[T], b: &[T]| {
        let mut out = vec![T::zero(); 1000];
        binary(op, a, b, &mut out);
        out
    };
    let mut square = vec![T::zero(); 1000];
    unary(Unary::Square, &y, &mut square);
    let unfused = run(Binary::Mul, &g, &run(Binary::Sub, &one, &square));
    assert_same(&run(Binary::TanhGrad, &y, &g), &unfused, &Binary::TanhGrad);
    let unfused = run(Binary::Mul, &g, &run(Binary::Mul, &y, &run(Binary::Sub, &one, &y)));
    assert_same(&run(Binary::SigmoidGrad, &y, &g), &unfused, &Binary::SigmoidGrad);
}

#[test]
fn derivatives_have_the_bits_of_the_sequence() {
    fused_derivatives::<f32>();
    fused_derivatives::<f64>();
}

fn in_place<T: Real>() {
    for &op in Binary::ALL {
        for (n, short) in [(0, 0), (1, 1), (17, 17), (17, 1), (60, 20), (257, 1), (1000, 50)] {
            let (long, small) = (numbers::<T>(n, 5), numbers::<T>(short, 6));
            let mut expected = vec![T::zero(); n];
            binary(op, &long, &small, &mut expected);
            let mut left = long.clone();
            binary_in_place_left(op, &mut left, &small);
            assert_same(&left, &expected, &("left", op, n, short));
            binary(op, &small, &long, &mut expected);
            let mut right = long.clone();
            binary_in_place_right(op, &small, &mut right);
            assert_same(&right, &expected, &("right", op, n, short));
        }
    }
}

#[test]
fn in_place_gives_the_same_bits() {
    in_place::<f32>();
    in_place::<f64>();
}

fn with_threads<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool").install(f)
}

fn threads<T: Real>() {
    // Enough for several threads, and not a whole number of pieces.
    let x = numbers::<T>((1 << 18) + (1 << 14) + 5, 9);
    for &op in Unary::ALL {
        let mut expected = vec![T::zero(); x.len()];
        unary_on(Isa::detect(), op, &x, &mut expected);
        for count in 1..=3 {
            let (out, in_place) = with_threads(count, || {
                let (mut out, mut in_place) = (vec![T::zero(); x.len()], x.clone());
                unary(op, &x, &mut out);
                unary_in_place(op, &mut in_place);
                (out, in_place)
            });
            assert_same(&out, &expected, &(op, count));
            assert_same(&in_place, &expected, &("in place", op, count));
        }
    }
}

/// Long arrays are shared out; operands that repeat begin anew in each piece.
fn pieces<T: Real>() {
    let n = 3 * (1 << 16);
    let (x, y) = (numbers::<T>(n, 9), numbers::<T>(n, 10));
    for len in [1, 3, 48, 1 << 16, n] {
        let short = numbers::<T>(len, 11);
        let mut expected = vec![T::zero(); n];
        for (i, out) in expected.iter_mut().enumerate() {
            *out = Binary::Sub.eval(x[i], short[i % len]);
        }
        for count in 1..=3 {
            let (out, left) = with_threads(count, || {
                let (mut out, mut left) = (vec![T::zero(); n], x.clone());
                binary(Binary::Sub, &x, &short, &mut out);
                binary_in_place_left(Binary::Sub, &mut left, &short);
                (out, left)
            });
            assert_same(&out, &expected, &(len, count));
            assert_same(&left, &expected, &("in place", len, count));
            if len == n {
                let right = with_threads(count, || {
                    let mut right = short.clone();
                    binary_in_place_right(Binary::Sub, &x, &mut right);
                    right
                });
                assert_same(&right, &expected, &("in place right", count));
            }
        }
    }
    let c = [T::from_f64(0.3), T::from_f64(-1.7)];
    let sum = |i: usize| c[0] * x[i] + c[1] * y[i];
    let expected: Vec<T> = (0..n).map(sum).collect();
    let added: Vec<T> = (0..n).map(|i| y[i] + c[0] * x[i]).collect();
    for count in 1..=3 {
        let (combined, copied, axpied) = with_threads(count, || {
            let (mut combined, mut copied, mut axpied) =
                (vec![T::zero(); n], vec![T::zero(); n], y.clone());
            lincomb(&c, &[&x, &y], &mut combined);
            copy(&x, &mut copied);
            axpy(c[0], &x, &mut axpied);
            (combined, copied, axpied)
        });
        assert_same(&combined, &expected, &count);
        assert_same(&copied, &x, &count);
        assert_same(&axpied, &added, &count);
    }
}

#[test]
fn the_number_of_threads_does_not_matter() {
    threads::<f32>();
    threads::<f64>();
    pieces::<f32>();
    pieces::<f64>();
}

/// The message of the panic in `f`.
fn message(f: impl FnOnce() + std::panic::UnwindSafe) -> String {
    let panic = std::panic::catch_unwind(f).expect_err("this should panic");
    panic.downcast_ref::<String>().expect("a message with numbers in it").clone()
}

#[test]
fn lengths_that_do_not_fit_panic_and_say_so() {
    let x = [1.0; 7];
    let all = [
        message(|| unary(Unary::Exp, &[1.0; 7], &mut [0.0; 8])),
        message(|| unary_on(Isa::detect(), Unary::Neg, &[1.0; 7], &mut [0.0; 8])),
        message(|| binary(Binary::Add, &[1.0; 7], &[1.0; 8], &mut [0.0; 8])),
        message(|| binary(Binary::Add, &[1.0; 8], &[1.0; 7], &mut [0.0; 8])),
        message(move || binary_in_place_left(Binary::Add, &mut [0.0; 8], &x)),
        message(move || binary_in_place_right(Binary::Add, &x, &mut [0.0; 8])),
    ];
    for text in all {
        assert!(text.contains('7') && text.contains('8'), "{text}");
    }
    let text = message(|| binary(Binary::Add, &[], &[1.0; 8], &mut [0.0; 8]));
    assert!(text.contains('0') && text.contains('8'), "{text}");
}
