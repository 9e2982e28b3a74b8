//! Programs as machine code give the bits of their steps, one by one.

use costate_ops::{
    Binary, Native, Real, SCALAR_REGISTERS, ScalarOp, ScalarStep, Unary, run_scalars,
};
use proptest::prelude::*;

fn ops() -> impl Strategy<Value = ScalarOp> {
    use ScalarOp::{Add, AddAdd, Copy, Mul, MulAdd, MulMul, MulSub, Select, Sub, SubMul};
    let arithmetic = vec![Copy, Add, Sub, Mul, Select, MulAdd, MulSub, SubMul, MulMul, AddAdd];
    prop_oneof![
        4 => proptest::sample::select(arithmetic),
        2 => proptest::sample::select(Unary::ALL).prop_map(ScalarOp::Unary),
        2 => proptest::sample::select(Binary::ALL).prop_map(ScalarOp::Binary),
        1 => (-3..4).prop_map(ScalarOp::Powi),
    ]
}

/// Steps on few registers, which depend on each other, or on all.
fn steps() -> impl Strategy<Value = Vec<ScalarStep>> {
    (prop_oneof![Just(6u8), Just(40), Just(255)]).prop_flat_map(|last| {
        let register = move || 0..=last;
        let step = (ops(), [register(), register(), register()], register())
            .prop_map(|(op, args, out)| ScalarStep { op, args, out });
        proptest::collection::vec(step, 0..80)
    })
}

fn numbers() -> impl Strategy<Value = Vec<f64>> {
    let number = prop_oneof![
        8 => -3.0..3.0f64,
        1 => proptest::num::f64::ANY,
        1 => proptest::sample::select(vec![0.0, -0.0, 1.0, f64::INFINITY, f64::NAN, 1e-310]),
    ];
    proptest::collection::vec(number, SCALAR_REGISTERS)
}

fn check<T: Real>(steps: &[ScalarStep], numbers: &[f64]) -> Result<(), TestCaseError> {
    let Some(native) = Native::<T>::compile(steps) else { return Ok(()) };
    let registers: Vec<T> = numbers.iter().map(|&x| T::from_f64(x)).collect();
    let mut expected: [T; SCALAR_REGISTERS] = registers.try_into().expect("as many");
    let mut found = expected;
    run_scalars(steps, &mut expected);
    // Twice in a row, from the same registers.
    let start = found;
    native.run(&mut found);
    found = start;
    native.run(&mut found);
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        // Which NaN comes out depends on the order of operands, which the compiler may change.
        let both_nan = found.is_nan() && expected.is_nan();
        let same = bytemuck::bytes_of(found) == bytemuck::bytes_of(expected);
        prop_assert!(both_nan || same, "register {i}: {found} instead of {expected}");
    }
    Ok(())
}

proptest! {
    #[test]
    fn machine_code_gives_the_same_bits(steps in steps(), numbers in numbers()) {
        check::<f64>(&steps, &numbers)?;
        check::<f32>(&steps, &numbers)?;
    }
}

/// Here it must be made, or the tests above test nothing.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#[test]
fn machine_code_is_made_where_it_can_be() {
    let made = Native::<f64>::compile(&[]).is_some();
    assert_eq!(made, is_x86_feature_detected!("avx"));
}

/// One step of each operation, with operands in memory and in the processor's registers.
#[test]
fn each_operation_alone() {
    let mut all: Vec<ScalarOp> = {
        use ScalarOp::{Add, AddAdd, Copy, Mul, MulAdd, MulMul, MulSub, Select, Sub, SubMul};
        vec![Copy, Add, Sub, Mul, Select, MulAdd, MulSub, SubMul, MulMul, AddAdd]
    };
    all.extend(Unary::ALL.iter().map(|&f| ScalarOp::Unary(f)));
    all.extend(Binary::ALL.iter().map(|&f| ScalarOp::Binary(f)));
    let numbers: Vec<f64> = (0..SCALAR_REGISTERS).map(|i| 0.37 * i as f64 - 1.0).collect();
    let add = |a, b, out| ScalarStep { op: ScalarOp::Add, args: [a, b, 0], out };
    for op in all {
        for args in [[1, 2, 3], [10, 2, 3], [1, 11, 3], [1, 2, 12], [10, 11, 12], [10, 10, 10]] {
            for out in [200, 10, 1] {
                let step = ScalarStep { op, args, out };
                let steps = [add(1, 2, 10), add(2, 3, 11), add(3, 4, 12), step, add(out, 12, 13)];
                check::<f64>(&steps, &numbers).unwrap_or_else(|e| panic!("{step:?}: {e}"));
                check::<f32>(&steps, &numbers).unwrap_or_else(|e| panic!("{step:?}: {e}"));
            }
        }
    }
}
