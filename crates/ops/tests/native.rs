//! Programs as machine code give the bits of their steps, one by one.

use costate_ops::{
    Apart, Binary, Isa, LANES, LaneRegisters, Native, NativeLanes, Real, SCALAR_REGISTERS,
    ScalarOp, ScalarStep, Unary, run_lanes, run_scalars,
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

fn check<T: Real>(
    steps: &[ScalarStep],
    results: usize,
    numbers: &[f64],
) -> Result<(), TestCaseError> {
    let Some(native) = Native::<T>::compile(steps, results) else { return Ok(()) };
    let registers: Vec<T> = numbers.iter().map(|&x| T::from_f64(x)).collect();
    let mut expected: [T; SCALAR_REGISTERS] = registers.try_into().expect("as many");
    let start = expected;
    run_scalars(steps, &mut expected);
    // Twice in a row, from the same registers.
    for _ in 0..2 {
        let mut found = start;
        native.run(&mut found);
        for i in 0..results {
            same(i, found[i], expected[i])?;
        }
    }

    let apart = apart(steps);
    let native = Native::<T>::compile_apart(steps, results, &apart).expect("as above");
    let (mut found, mut slices) = (start, vec![vec![T::zero(); 7]; 4]);
    for Apart { registers, slice, offset } in &apart {
        for (i, register) in registers.clone().enumerate() {
            slices[*slice][offset + i] = std::mem::replace(&mut found[register], T::from_f64(99.0));
        }
    }
    let [a, b, c, d] = &mut slices[..] else { unreachable!("four") };
    native.run_on(&mut found, [a, b], [c, d]);
    for Apart { registers, slice, offset } in &apart {
        for (i, register) in registers.clone().enumerate() {
            found[register] = slices[*slice][offset + i];
            same(register, found[register], expected[register])?;
        }
    }
    for i in 0..results {
        same(i, found[i], expected[i])?;
    }

    // One passed, and one returned.
    if results > 7 {
        let native = Native::<T>::compile_passing(steps, results, &[], [200, 7]).expect("as above");
        let mut found = start;
        let x = std::mem::replace(&mut found[200], T::from_f64(99.0));
        let returned = native.run_passing(x, &mut found, [&[], &[]], [&mut [], &mut []]);
        same(7, returned, expected[7])?;
        let written = steps.iter().any(|step| step.out == 200);
        for i in (0..results).filter(|i| *i != 200 || written) {
            same(i, found[i], expected[i])?;
        }
    }
    Ok(())
}

/// Some registers apart, of which those that are read have not to be written.
fn apart(steps: &[ScalarStep]) -> Vec<Apart> {
    let written = |register: usize| steps.iter().any(|step| usize::from(step.out) == register);
    let mut apart = vec![
        Apart { registers: 0..3, slice: 2, offset: 4 },
        Apart { registers: 5..9, slice: 3, offset: 0 },
    ];
    let read = [3..5, 250..256].into_iter().enumerate().filter(|(_, r)| !r.clone().any(written));
    apart.extend(read.map(|(slice, registers)| Apart { registers, slice, offset: slice }));
    apart
}

/// [`check`] on several sets of numbers, in each of which they are turned on.
fn check_lanes<T: Real>(
    steps: &[ScalarStep],
    results: usize,
    numbers: &[f64],
) -> Result<(), TestCaseError> {
    let mut start = LaneRegisters::<T>::new();
    for (i, register) in start.all_mut().iter_mut().enumerate() {
        *register =
            std::array::from_fn(|lane| T::from_f64(numbers[(i + 3 * lane) % SCALAR_REGISTERS]));
    }
    let mut expected = start.clone();
    run_lanes(steps, &mut expected);
    for isa in Isa::available() {
        for apart in [vec![], apart(steps)] {
            let Some(native) = NativeLanes::<T>::compile_on(isa, steps, results, &apart) else {
                continue;
            };
            let (mut found, mut slices) = (start.clone(), vec![vec![[T::zero(); LANES]; 7]; 4]);
            let hole = [T::from_f64(99.0); LANES];
            for Apart { registers, slice, offset } in &apart {
                for (i, register) in registers.clone().enumerate() {
                    let place = &mut slices[*slice][offset + i];
                    *place = std::mem::replace(&mut found.all_mut()[register], hole);
                }
            }
            let [a, b, c, d] = &mut slices[..] else { unreachable!("four") };
            native.run_on(&mut found, [a, b], [c, d]);
            for Apart { registers, slice, offset } in &apart {
                for (i, register) in registers.clone().enumerate() {
                    found.all_mut()[register] = slices[*slice][offset + i];
                }
            }
            let wanted = (0..results).chain(apart.iter().flat_map(|apart| apart.registers.clone()));
            for i in wanted {
                for lane in 0..LANES {
                    same(i, found.all()[i][lane], expected.all()[i][lane])?;
                }
            }
        }
    }
    Ok(())
}

fn same<T: Real>(i: usize, found: T, expected: T) -> Result<(), TestCaseError> {
    // Which NaN comes out depends on the order of operands, which the compiler may change.
    let both_nan = found.is_nan() && expected.is_nan();
    let same = bytemuck::bytes_of(&found) == bytemuck::bytes_of(&expected);
    prop_assert!(both_nan || same, "register {i}: {found} instead of {expected}");
    Ok(())
}

proptest! {
    #[test]
    fn machine_code_gives_the_same_bits(
        steps in steps(),
        results in prop_oneof![Just(SCALAR_REGISTERS), 0..SCALAR_REGISTERS],
        numbers in numbers(),
    ) {
        check::<f64>(&steps, results, &numbers)?;
        check::<f32>(&steps, results, &numbers)?;
        check_lanes::<f64>(&steps, results, &numbers)?;
        check_lanes::<f32>(&steps, results, &numbers)?;
    }
}

#[test]
#[should_panic(expected = "slice 1 is only read")]
fn what_is_only_read_is_not_written() {
    let steps = [ScalarStep { op: ScalarOp::Copy, args: [0; 3], out: 7 }];
    Native::<f64>::compile_apart(&steps, 0, &[Apart { registers: 6..8, slice: 1, offset: 0 }]);
}

#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#[test]
#[should_panic(expected = "entries, where [0, 0, 0, 5] are needed")]
fn slices_must_be_long_enough() {
    let steps = [ScalarStep { op: ScalarOp::Copy, args: [0; 3], out: 1 }];
    let apart = [Apart { registers: 1..3, slice: 3, offset: 3 }];
    let Some(native) = Native::<f64>::compile_apart(&steps, 0, &apart) else {
        panic!("a machine without AVX has no entries, where [0, 0, 0, 5] are needed");
    };
    native.run_on(&mut [0.0; SCALAR_REGISTERS], [&[], &[]], [&mut [], &mut [0.0; 4]]);
}

/// Here it must be made, or the tests above test nothing.
#[cfg(all(target_arch = "x86_64", target_os = "linux", not(miri)))]
#[test]
fn machine_code_is_made_where_it_can_be() {
    let made = Native::<f64>::compile(&[], 0).is_some();
    assert_eq!(made, is_x86_feature_detected!("avx"));
    for isa in Isa::available() {
        let made = NativeLanes::<f64>::compile_on(isa, &[], 0, &[]).is_some();
        assert_eq!(made, isa > Isa::Baseline);
    }
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
                check::<f64>(&steps, 256, &numbers).unwrap_or_else(|e| panic!("{step:?}: {e}"));
                check::<f32>(&steps, 256, &numbers).unwrap_or_else(|e| panic!("{step:?}: {e}"));
                for check in [check_lanes::<f64>, check_lanes::<f32>] {
                    check(&steps, 256, &numbers).unwrap_or_else(|e| panic!("{step:?}: {e}"));
                }
            }
        }
    }
}
