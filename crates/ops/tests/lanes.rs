//! Programs on several sets of numbers at once give each the bits that it gets alone.

use costate_ops::{
    Binary, Isa, LANES, LaneRegisters, Real, ScalarOp, ScalarStep, Unary, powi, run_lanes_on, unary,
};
use proptest::prelude::*;

/// What a step computes, by definition.
fn alone<T: Real>(op: ScalarOp, a: T, b: T, c: T) -> T {
    let mut out = [T::zero()];
    match op {
        ScalarOp::Copy => a,
        ScalarOp::Add => a + b,
        ScalarOp::Sub => a - b,
        ScalarOp::Mul => a * b,
        ScalarOp::Unary(f) => {
            unary(f, &[a], &mut out);
            out[0]
        }
        ScalarOp::Binary(f) => f.eval(a, b),
        ScalarOp::Powi(n) => {
            powi(n, &[a], &mut out);
            out[0]
        }
        ScalarOp::Select => {
            if a != T::zero() {
                b
            } else {
                c
            }
        }
        ScalarOp::MulAdd => (a * b) + c,
        ScalarOp::MulSub => (a * b) - c,
        ScalarOp::SubMul => c - (a * b),
        ScalarOp::MulMul => (a * b) * c,
        ScalarOp::AddAdd => (a + b) + c,
    }
}

fn every_op() -> Vec<ScalarOp> {
    let mut all = {
        use ScalarOp::{AddAdd, Copy, Mul, MulAdd, MulMul, MulSub, Select, Sub, SubMul};
        vec![Copy, ScalarOp::Add, Sub, Mul, Select, MulAdd, MulSub, SubMul, MulMul, AddAdd]
    };
    all.extend(Unary::ALL.iter().map(|&f| ScalarOp::Unary(f)));
    all.extend(Binary::ALL.iter().map(|&f| ScalarOp::Binary(f)));
    all.extend([-2, 0, 3].map(ScalarOp::Powi));
    all
}

fn check<T: Real>(numbers: &[f64]) {
    for isa in Isa::available() {
        for op in every_op() {
            let mut registers = LaneRegisters::<T>::new();
            for (i, &x) in numbers.iter().enumerate() {
                registers.all_mut()[i / LANES][i % LANES] = T::from_f64(x);
            }
            let before = registers.clone();
            // The result lies over an argument.
            let step = ScalarStep { op, args: [0, 1, 2], out: 1 };
            run_lanes_on(isa, &[step], &mut registers);
            for lane in 0..LANES {
                let [a, b, c] = [0, 1, 2].map(|r| before.all()[r][lane]);
                let (found, expected) = (registers.all()[1][lane], alone(op, a, b, c));
                let same = found == expected || found.is_nan() && expected.is_nan();
                assert!(same, "{op:?} of {a}, {b}, {c} with {isa:?}: {found}, not {expected}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn each_lane_is_alone(numbers in proptest::collection::vec(-3.0..3.0f64, 3 * LANES)) {
        check::<f64>(&numbers);
        check::<f32>(&numbers);
    }
}

#[test]
fn special_numbers() {
    let special = [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-320, 1e300, -1.0];
    let numbers: Vec<f64> = (0..3 * LANES).map(|i| special[(i * 5 + i / LANES) % 8]).collect();
    check::<f64>(&numbers);
    check::<f32>(&numbers);
}
