//! The error of the approximated functions, in units in the last place, over their whole domain,
//! for every instruction set of this machine. The bounds are those that the documentation states.

use costate_ops::{Isa, Real, Unary, unary_on};
use dashu_float::FBig;
use dashu_float::round::mode::HalfEven;

type Big = FBig<HalfEven, 2>;

const FUNCTIONS: [(Unary, f64); 5] = [
    (Unary::Exp, 1.5),
    (Unary::Ln, 1.5),
    (Unary::Tanh, 2.5),
    (Unary::Sigmoid, 3.0),
    (Unary::Softplus, 3.0),
];

/// The function in 160 bits.
fn exact(f: Unary, x: f64) -> Big {
    let x = Big::try_from(x).unwrap().with_precision(160).value();
    let one = Big::ONE.with_precision(160).value();
    match f {
        Unary::Exp => x.exp(),
        Unary::Ln => x.ln(),
        Unary::Tanh => {
            let e = (x.clone() + x).exp_m1();
            e.clone() / (e + one.clone() + one)
        }
        Unary::Sigmoid => one.clone() / (one + (-x).exp()),
        Unary::Softplus => x.exp().ln_1p(),
        _ => unreachable!("not approximated"),
    }
}

/// The distance from a result to the exact value, in units of the spacing of numbers there.
fn ulps<T: Real>(found: T, exact: &Big) -> f64 {
    let near = exact.to_f64().value();
    let (digits, lowest) = if size_of::<T>() == 4 { (23, -149) } else { (52, -1074) };
    let exponent = if near == 0.0 { lowest } else { near.abs().log2().floor() as i32 };
    let spacing = (exponent - digits).max(lowest);
    let difference = Big::try_from(found.as_f64()).unwrap().with_precision(160).value() - exact;
    // Scaled before it is rounded to a double, since it may be too small for one.
    (difference * Big::from_parts(1.into(), -(spacing as isize))).to_f64().value().abs()
}

/// Points in the domain of a function: densely where it bends, then of all sizes.
fn points<T: Real>(f: Unary, n: usize) -> Vec<T> {
    let (low, high) = match (f, size_of::<T>()) {
        (Unary::Exp, 4) => (-103.0, 88.7),
        (Unary::Exp, _) => (-744.0, 709.7),
        (Unary::Ln, _) => (1e-3, 30.0),
        (_, 4) => (-87.0, 87.0),
        _ => (-700.0, 700.0),
    };
    let positive = f == Unary::Ln;
    let mut points: Vec<f64> = Vec::new();
    for i in 0..n {
        let u = (i as f64 + 0.37) / n as f64;
        points.push(low + (high - low) * u);
        points.push(if positive { 0.5 + u } else { 8.0 * u - 4.0 });
        points.push(if positive { 0.99 + 0.02 * u } else { 2.0 * u - 1.0 });
        let (small, large) = if size_of::<T>() == 4 { (-140.0, 6.0) } else { (-1070.0, 9.0) };
        let size = (small + (large - small) * u).exp2();
        points.push(size);
        if !positive {
            points.push(-size);
        }
    }
    points.into_iter().map(T::from_f64).filter(|x| *x >= T::from_f64(low) || positive).collect()
}

fn check<T: Real>(n: usize) {
    for (f, bound) in FUNCTIONS {
        let points = points::<T>(f, n);
        let points: Vec<T> =
            points.into_iter().filter(|x| f != Unary::Ln || *x > T::zero()).collect();
        let exact: Vec<Big> = points.iter().map(|x| exact(f, x.as_f64())).collect();
        for isa in Isa::available() {
            let mut out = vec![T::zero(); points.len()];
            unary_on(isa, f, &points, &mut out);
            let (mut worst, mut at) = (0.0, T::zero());
            for ((&x, &y), exact) in points.iter().zip(&out).zip(&exact) {
                if y.is_finite() {
                    let error = ulps(y, exact);
                    if error > worst {
                        (worst, at) = (error, x);
                    }
                }
            }
            println!("{} of {}, {isa:?}: {worst:.3} ulp at {at:e}", f.name(), T::NAME);
            assert!(worst <= bound, "{} of {}, {isa:?}: {worst} ulp at {at:e}", f.name(), T::NAME);
        }
    }
}

#[test]
fn double_precision() {
    check::<f64>(1500);
}

#[test]
fn single_precision() {
    check::<f32>(1500);
}

/// What must be exact: the ends of the domain.
#[test]
fn special_values() {
    fn at<T: Real>(isa: Isa, f: Unary, x: f64) -> f64 {
        let mut out = [T::one()];
        unary_on(isa, f, &[T::from_f64(x)], &mut out);
        out[0].as_f64()
    }
    fn check<T: Real>(isa: Isa) {
        let inf = f64::INFINITY;
        for (f, x, y) in [
            (Unary::Exp, 0.0, 1.0),
            (Unary::Exp, -0.0, 1.0),
            (Unary::Exp, inf, inf),
            (Unary::Exp, -inf, 0.0),
            (Unary::Exp, 1e9, inf),
            (Unary::Exp, -1e9, 0.0),
            (Unary::Ln, 1.0, 0.0),
            (Unary::Ln, 0.0, -inf),
            (Unary::Ln, -0.0, -inf),
            (Unary::Ln, inf, inf),
            (Unary::Tanh, 0.0, 0.0),
            (Unary::Tanh, -0.0, -0.0),
            (Unary::Tanh, inf, 1.0),
            (Unary::Tanh, -inf, -1.0),
            (Unary::Tanh, 1e30, 1.0),
            (Unary::Sigmoid, 0.0, 0.5),
            (Unary::Sigmoid, inf, 1.0),
            (Unary::Sigmoid, -inf, 0.0),
            (Unary::Softplus, inf, inf),
            (Unary::Softplus, -inf, 0.0),
            (Unary::Softplus, 1e30, T::from_f64(1e30).as_f64()),
        ] {
            let found = at::<T>(isa, f, x);
            assert_eq!(found.to_bits(), y.to_bits(), "{} of {x}: {found}, {isa:?}", f.name());
        }
        for (f, _) in FUNCTIONS {
            assert!(at::<T>(isa, f, f64::NAN).is_nan(), "{} of NaN", f.name());
        }
        for x in [-1.0, -1e-30, -inf] {
            assert!(at::<T>(isa, Unary::Ln, x).is_nan(), "ln of {x}");
        }
    }
    for isa in Isa::available() {
        check::<f64>(isa);
        check::<f32>(isa);
    }
}
