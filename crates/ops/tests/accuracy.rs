//! The errors of the functions that are computed here, over their whole domains, against higher
//! precision: `f32` against the standard library's `f64`, `f64` against double-double arithmetic.
//!
//! With the environment variable `COSTATE_TEST_DENSITY` set to a number, there are that many times
//! as many arguments; from 997 on, every `f32`.

use crate::common::double_double::Dd;
use crate::common::{assert_same, awkward, same};
use costate_ops::{Isa, Real, Unary, unary_on};

/// The functions computed here and the errors their documentation promises, in ulp.
const BOUNDS: &[(Unary, f64)] = &[
    (Unary::Exp, 1.5),
    (Unary::Ln, 1.5),
    (Unary::Tanh, 2.5),
    (Unary::Sigmoid, 3.0),
    (Unary::Softplus, 3.0),
    (Unary::SoftplusSlope, 2.5),
];

fn density() -> usize {
    std::env::var("COSTATE_TEST_DENSITY").map_or(1, |d| d.parse().expect("a number"))
}

fn apply<T: Real>(isa: Isa, op: Unary, x: &[T]) -> Vec<T> {
    let mut out = vec![T::zero(); x.len()];
    unary_on(isa, op, x, &mut out);
    out
}

/// `2^e`, also where `powi` would go through a subnormal number.
fn two_to(e: i32) -> f64 {
    2f64.powi(e / 2) * 2f64.powi(e - e / 2)
}

/// The size of an ulp at `x`, where numbers have `digits` mantissa bits and the smallest normal
/// one is `2^least`.
fn ulp(x: f64, digits: i32, least: i32) -> f64 {
    let exponent = if x.abs() < f64::MIN_POSITIVE {
        least
    } else {
        ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023
    };
    two_to(exponent.max(least) - digits)
}

/// The largest error over some arguments, and where.
struct Worst(f64, f64);

impl Worst {
    fn see(&mut self, error: f64, x: f64) {
        if error > self.0 {
            *self = Worst(error, x);
        }
    }
}

fn f32_error(found: f32, expected: f64) -> f64 {
    let rounded = expected as f32;
    if found == rounded || (found.is_nan() && rounded.is_nan()) {
        return 0.0;
    }
    // Beyond the largest number, ∞ stands for 2^128.
    let found = if found.is_infinite() { two_to(128).copysign(found.into()) } else { found.into() };
    (found - expected).abs() / ulp(expected.clamp(-3.4e38, 3.4e38), 23, -126)
}

fn f32_reference(op: Unary, x: f64) -> f64 {
    match op {
        Unary::Softplus => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        _ => op.eval(x),
    }
}

fn f32_worst(isa: Isa, op: Unary, step: usize) -> Worst {
    let mut worst = Worst(0.0, 0.0);
    let bits: Vec<u32> = (0..=u32::MAX).step_by(step).collect();
    for bits in bits.chunks(1 << 12) {
        let x: Vec<f32> = bits.iter().map(|&b| f32::from_bits(b)).collect();
        for (&x, y) in x.iter().zip(apply(isa, op, &x)) {
            let expected = f32_reference(op, x.into());
            if expected.is_nan() {
                assert!(y.is_nan(), "{op:?} {isa:?}: {x:e} gives {y:e}");
            } else {
                worst.see(f32_error(y, expected), x.into());
            }
        }
    }
    worst
}

#[test]
fn f32_errors_are_within_the_bounds() {
    for &isa in &Isa::available() {
        for &(op, bound) in BOUNDS {
            let Worst(error, x) = f32_worst(isa, op, 997 / density().min(997));
            println!("f32 {isa:?} {}: {error:.3} ulp at {x:e}", op.name());
            assert!(error <= bound, "{op:?} {isa:?}: {error} ulp at {x:e}");
        }
    }
}

/// `(y, k)`: the value is `y 2^k`.
fn f64_reference(op: Unary, x: f64) -> (Dd, i32) {
    let one = Dd(1.0, 0.0);
    let exp_of_minus_size = || Dd(-x.abs(), 0.0).exp();
    match op {
        Unary::Exp => Dd(x, 0.0).exp(),
        Unary::Ln if x < f64::MIN_POSITIVE => {
            (Dd(x * two_to(54), 0.0).ln() - Dd(two_to(54), 0.0).ln(), 0)
        }
        Unary::Ln => (Dd(x, 0.0).ln(), 0),
        Unary::Tanh if x.abs() < 1e-150 => (Dd(x, 0.0), 0),
        Unary::Tanh => {
            let e = Dd(2.0 * x.abs().min(40.0), 0.0).exp_m1();
            ((e / (e + Dd(2.0, 0.0))).scale(1f64.copysign(x)), 0)
        }
        Unary::Sigmoid => {
            let (e, k) = exp_of_minus_size();
            let sum = one + e.scale(two_to(k.max(-1000)));
            if x < 0.0 { (e / sum, k) } else { (one / sum, 0) }
        }
        Unary::Softplus => {
            let (e, k) = exp_of_minus_size();
            match () {
                // ln(1 + z) is z to within z².
                () if x < -100.0 => (e, k),
                () if x > 100.0 => (Dd(x, 0.0), 0),
                () => (Dd(x.max(0.0), 0.0) + e.scale(two_to(k)).ln_1p(), 0),
            }
        }
        Unary::SoftplusSlope if x.abs() < 1e-150 => (Dd(x, 0.0), 0),
        Unary::SoftplusSlope if x < -100.0 => {
            let (e, k) = Dd(-x, 0.0).exp();
            (-e, k)
        }
        Unary::SoftplusSlope => (-Dd(-x.min(100.0), 0.0).exp_m1(), 0),
        _ => unreachable!("not computed here"),
    }
}

fn f64_error(found: f64, (y, k): (Dd, i32)) -> f64 {
    let (top, digits) = (k + ((y.0.to_bits() >> 52) & 0x7ff) as i32 - 1023, 52);
    if top > 1023 {
        return if found.is_infinite() { 0.0 } else { f64::INFINITY };
    }
    if found.is_infinite() {
        return f64::INFINITY;
    }
    let scaled = found * two_to(-k / 2) * two_to(-k + k / 2);
    let unit = two_to((top.max(-1022) - digits) - k);
    (Dd(scaled, 0.0) - y).0.abs() / unit
}

/// Arguments all over the domain of a function: dense where it is curved, and every magnitude.
fn f64_arguments(op: Unary) -> Vec<f64> {
    let mut x = Vec::new();
    let (from, to) = if op == Unary::Exp { (-746.0, 709.78) } else { (-746.0, 746.0) };
    let count = 60_000 * density() as u32;
    for i in 0..count {
        let t = (f64::from(i) + 0.377) / f64::from(count);
        x.push(from + t * (to - from));
        x.push(-3.0 + 6.0 * t);
        x.push(-40.0 + 80.0 * t);
        // All magnitudes, with mantissas that do not repeat.
        let bits = (t * 0x7ff0_0000_0000_0000u64 as f64) as u64;
        x.push(f64::from_bits(bits.wrapping_add(0x5_1234_5678 * i as u64 % (1 << 30))));
        x.push(-x[x.len() - 1]);
        x.push(0.5 + 1.5 * t);
        x.push(1.0 + (t - 0.5) * 1e-3);
    }
    x.retain(|&x| match op {
        Unary::Exp | Unary::Sigmoid | Unary::Softplus => x.abs() < 745.0 && x < 709.78,
        Unary::SoftplusSlope => x > -709.78 && x.is_finite(),
        Unary::Ln => x > 0.0 && x.is_finite(),
        _ => x.is_finite(),
    });
    // A result of 0 has no ulp; where functions vanish, they are tested for being exact.
    x.retain(|&x| x != 0.0 && !(op == Unary::Ln && x == 1.0));
    x
}

#[test]
fn f64_errors_are_within_the_bounds() {
    for &(op, bound) in BOUNDS {
        let x = f64_arguments(op);
        let expected: Vec<_> = x.iter().map(|&x| f64_reference(op, x)).collect();
        for &isa in &Isa::available() {
            let mut worst = Worst(0.0, 0.0);
            for ((&x, &e), y) in x.iter().zip(&expected).zip(apply(isa, op, &x)) {
                assert!(!y.is_nan(), "{op:?} {isa:?} at {x:e}");
                worst.see(f64_error(y, e), x);
            }
            let Worst(error, at) = worst;
            println!("f64 {isa:?} {}: {error:.3} ulp at {at:e} of {}", op.name(), x.len());
            assert!(error <= bound, "{op:?} {isa:?}: {error} ulp at {at:e}");
        }
    }
}

/// The oracle itself, against numbers known to more digits than `f64` has: e and ln 10 are OEIS
/// A001113 and A002392, tanh 1 is A073744; and against the standard library all over.
#[test]
fn the_oracle_is_right() {
    let close = |a: Dd, high: f64, low: f64| {
        assert!((a - Dd(high, low)).0.abs() < 1e-30 * high.abs(), "{a:?} {high} {low}");
    };
    let (y, k) = Dd(1.0, 0.0).exp();
    close(y.scale(two_to(k)), std::f64::consts::E, 1.445_646_891_729_250_2e-16);
    close(Dd(10.0, 0.0).ln(), std::f64::consts::LN_10, -2.170_756_223_382_249_4e-16);
    for &(op, _) in BOUNDS {
        for &x in f64_arguments(op).iter().step_by(7) {
            let error = f64_error(op.eval(x), f64_reference(op, x));
            assert!(error < 4.0, "{op:?} of the standard library at {x:e}: {error} ulp");
        }
    }
}

fn special<T: Real>(isa: Isa) {
    let (zero, one, inf, nan) = (T::zero(), T::one(), T::infinity(), T::nan());
    let half = T::from_f64(0.5);
    let cases: &[(Unary, T, T)] = &[
        (Unary::Exp, zero, one),
        (Unary::Exp, -zero, one),
        (Unary::Exp, inf, inf),
        (Unary::Exp, -inf, zero),
        (Unary::Exp, T::max_value(), inf),
        (Unary::Exp, -T::max_value(), zero),
        (Unary::Ln, one, zero),
        (Unary::Ln, zero, -inf),
        (Unary::Ln, -zero, -inf),
        (Unary::Ln, inf, inf),
        (Unary::Ln, -inf, nan),
        (Unary::Ln, -one, nan),
        (Unary::Ln, -T::min_positive_value() * T::EPSILON, nan),
        (Unary::Tanh, zero, zero),
        (Unary::Tanh, -zero, -zero),
        (Unary::Tanh, inf, one),
        (Unary::Tanh, -inf, -one),
        (Unary::Sigmoid, zero, half),
        (Unary::Sigmoid, -zero, half),
        (Unary::Sigmoid, inf, one),
        (Unary::Sigmoid, -inf, zero),
        (Unary::Softplus, inf, inf),
        (Unary::Softplus, -inf, zero),
        (Unary::Softplus, T::max_value(), T::max_value()),
        (Unary::SoftplusSlope, zero, zero),
        (Unary::SoftplusSlope, inf, one),
        (Unary::SoftplusSlope, T::max_value(), one),
        (Unary::SoftplusSlope, -inf, -inf),
        (Unary::SoftplusSlope, -T::max_value(), -inf),
    ];
    for &(op, x, expected) in cases {
        let y = apply(isa, op, &[x])[0];
        assert!(same(y, expected), "{op:?} {isa:?} {}: {x:e} gives {y:e}", T::NAME);
    }
    for &(op, _) in BOUNDS {
        assert!(apply(isa, op, &[nan])[0].is_nan(), "{op:?} {isa:?} {}", T::NAME);
        assert!(apply(isa, op, &[-nan])[0].is_nan(), "{op:?} {isa:?} {}", T::NAME);
        for x in awkward::<T>() {
            let y = apply(isa, op, &[x])[0];
            let nan = x.is_nan() || (op == Unary::Ln && x < zero);
            assert_eq!(y.is_nan(), nan, "{op:?} {isa:?} {}: {x:e} gives {y:e}", T::NAME);
        }
    }
}

#[test]
fn special_values() {
    for isa in Isa::available() {
        special::<f32>(isa);
        special::<f64>(isa);
    }
}

/// The functions computed one number at a time, and their bounds.
const SCALAR: &[(Unary, f64)] =
    &[(Unary::Erf, 1.5), (Unary::Asinh, 3.0), (Unary::Acosh, 3.0), (Unary::Atanh, 3.0)];

/// `erf x` from its series of positive terms, `2/√π e^(-x²) Σ 2ⁿ x^(2n+1) / (2n+1)!!`.
fn erf_reference(x: f64) -> Dd {
    let square = Dd(x, 0.0) * Dd(x, 0.0);
    let (mut term, mut sum) = (Dd(x, 0.0), Dd(x, 0.0));
    for n in 1..200 {
        term = term * square.scale(2.0) / Dd(f64::from(2 * n + 1), 0.0);
        sum = sum + term;
    }
    let (e, k) = (-square).exp();
    // 2/√π, OEIS A190732.
    let factor = Dd(std::f64::consts::FRAC_2_SQRT_PI, 1.533_545_961_316_588e-17);
    factor * e.scale(two_to(k)) * sum
}

fn root(x: Dd) -> Dd {
    let y = Dd(x.0.sqrt(), 0.0);
    y + (x - y * y) / y.scale(2.0)
}

fn scalar_reference(op: Unary, x: f64) -> Dd {
    let (size, one) = (Dd(x.abs(), 0.0), Dd(1.0, 0.0));
    let y = match op {
        Unary::Erf => erf_reference(x.abs()),
        Unary::Asinh => (size + size * size / (one + root(one + size * size))).ln_1p(),
        Unary::Acosh => {
            let above = Dd(x, 0.0) - one;
            (above + root(above * (above + Dd(2.0, 0.0)))).ln_1p()
        }
        Unary::Atanh => (size.scale(2.0) / (one - size)).ln_1p().scale(0.5),
        _ => unreachable!("not computed one number at a time"),
    };
    y.scale(1f64.copysign(x))
}

#[test]
fn functions_of_one_number_are_within_their_bounds() {
    for &(op, bound) in SCALAR {
        let (mut double, mut single) = (Worst(0.0, 0.0), Worst(0.0, 0.0));
        let count = 20_000 * density() as u32;
        for i in 0..count {
            let t = (f64::from(i) + 0.377) / f64::from(count);
            // Spread out, close to 0, close to 1, and of many magnitudes.
            let near = [7.0 * t, 1e-3 * t, 0.7 + 0.7 * t, 1.0 + 1e-6 * t, 1.0 - 1e-6 * t];
            for x in near.into_iter().chain([two_to(-60) * 2f64.powf(100.0 * t)]) {
                let outside = match op {
                    Unary::Erf => x > 7.0,
                    Unary::Acosh => x < 1.0,
                    Unary::Atanh => x >= 1.0,
                    _ => false,
                };
                if !outside {
                    double.see(f64_error(op.eval(x), (scalar_reference(op, x), 0)), x);
                    assert!(same(op.eval(-x), -op.eval(x)) || op == Unary::Acosh);
                }
                let x = x as f32;
                if !outside && (op != Unary::Atanh || x < 1.0) {
                    single.see(f32_error(op.eval(x), op.eval(f64::from(x))), x.into());
                }
            }
        }
        println!("{}: {:.3} ulp at {:e}, f32 {:.3}", op.name(), double.0, double.1, single.0);
        assert!(double.0 <= bound, "{op:?}: {} ulp at {:e}", double.0, double.1);
        assert!(single.0 <= bound, "{op:?}: {} ulp at {:e} in f32", single.0, single.1);
    }
}

fn special_of_one_number<T: Real>() {
    let (zero, one, inf, nan) = (T::zero(), T::one(), T::infinity(), T::nan());
    let cases: &[(Unary, T, T)] = &[
        (Unary::Erf, zero, zero),
        (Unary::Erf, -zero, -zero),
        (Unary::Erf, inf, one),
        (Unary::Erf, -inf, -one),
        (Unary::Asinh, -zero, -zero),
        (Unary::Asinh, -inf, -inf),
        (Unary::Acosh, one, zero),
        (Unary::Acosh, inf, inf),
        (Unary::Acosh, zero, nan),
        (Unary::Acosh, -inf, nan),
        (Unary::Atanh, -zero, -zero),
        (Unary::Atanh, one, inf),
        (Unary::Atanh, -one, -inf),
        (Unary::Atanh, one + one, nan),
        (Unary::Floor, T::from_f64(-1.5), T::from_f64(-2.0)),
        (Unary::Floor, -inf, -inf),
        (Unary::Ln1p, -one, -inf),
        (Unary::ExpM1, -inf, -one),
    ];
    for &(op, x, expected) in cases {
        assert!(same(op.eval(x), expected), "{op:?} of {x:e} is {:e}", op.eval(x));
    }
    for &(op, _) in SCALAR {
        assert!(op.eval(nan).is_nan());
    }
    // Where squares overflow: ln 2x.
    for op in [Unary::Asinh, Unary::Acosh] {
        let expected = T::max_value().as_f64().ln() + std::f64::consts::LN_2;
        let y = op.eval(T::max_value()).as_f64();
        assert!((y / expected - 1.0).abs() < 2.0 * T::EPSILON.as_f64(), "{op:?}: {y}");
    }
}

#[test]
fn special_values_of_functions_of_one_number() {
    special_of_one_number::<f32>();
    special_of_one_number::<f64>();
}

/// AVX2 and AVX-512 both fuse, so they agree to the bit.
#[test]
fn the_fused_instruction_sets_agree() {
    let fused: Vec<Isa> = Isa::available().into_iter().filter(|&i| i != Isa::Baseline).collect();
    for &(op, _) in BOUNDS {
        let x = f64_arguments(op);
        for pair in fused.windows(2) {
            assert_same(&apply(pair[1], op, &x), &apply(pair[0], op, &x), &(op, pair));
        }
    }
}
