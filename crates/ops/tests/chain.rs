//! Chains give the bits of their operations one by one, with every instruction set, and write
//! nowhere but to their results.

use costate_ops::{
    Binary, Chain, ChainMemory, ChainOp, ChainRegisters, ChainStep, Isa, Real, Unary, affine,
    binary, chain, chain_on, lincomb, powi, select, unary,
};
use proptest::prelude::*;

/// What marks the memory around results.
const GUARD: f64 = -12345.0;

struct Arrays<T> {
    operands: Vec<Vec<T>>,
    /// Each with one more entry at either end.
    results: Vec<Vec<T>>,
}

impl<T> ChainMemory<T> for Arrays<T> {
    fn operand(&self, i: usize) -> &[T] {
        &self.operands[i]
    }
    fn result(&mut self, i: usize) -> &mut [T] {
        let n = self.results[i].len();
        &mut self.results[i][1..n - 1]
    }
}

fn number<T: Real>(i: usize, seed: usize) -> T {
    T::from_f64(((i + 31 * seed) as f64 * 0.618_034).fract() * 6.0 - 3.0)
}

/// All operations that a chain can do.
fn all() -> Vec<ChainOp> {
    let unary = Unary::ALL.iter().map(|&u| ChainOp::Unary(u));
    let binary = Binary::ALL.iter().map(|&b| ChainOp::Binary(b));
    let powers = [-3, -1, 0, 1, 2, 3, 4, 7].map(ChainOp::Powi);
    let rest = [ChainOp::MulAdd, ChainOp::AddMul, ChainOp::Select];
    unary.chain(binary).chain(powers).chain(rest).collect()
}

/// The operation by itself.
fn alone<T: Real>(op: ChainOp, [a, b, c]: [&[T]; 3]) -> Vec<T> {
    let mut out = vec![T::zero(); a.len()];
    match op {
        ChainOp::Unary(u) => unary(u, a, &mut out),
        ChainOp::Binary(f) => binary(f, a, b, &mut out),
        ChainOp::Powi(n) => powi(n, a, &mut out),
        ChainOp::Select => select(a, b, c, &mut out),
        // With one number for each entry, since the kernels take one for all.
        ChainOp::MulAdd => {
            for i in 0..a.len() {
                affine(a[i], c[i], &b[i..=i], &mut out[i..=i]);
            }
        }
        ChainOp::AddMul => {
            for i in 0..a.len() {
                lincomb(&[T::one(), b[i]], &[&a[i..=i], &c[i..=i]], &mut out[i..=i]);
            }
        }
    }
    out
}

fn same<T: Real>(a: &[T], b: &[T]) -> bool {
    let same = |(a, b): (&T, &T)| a.as_f64().to_bits() == b.as_f64().to_bits();
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same((a, b)) || (a.is_nan() && b.is_nan()))
}

/// Runs `steps` on three arrays, a row, a number and a constant, and checks every step's result.
fn check<T: Real>(len: usize, row: usize, steps: &[(usize, [usize; 3])]) {
    let ops = all();
    let mut operands: Vec<Vec<T>> =
        (0..3).map(|s| (0..len).map(|i| number(i, s)).collect()).collect();
    operands.push((0..row).map(|i| number(i, 3)).collect());
    operands.push(vec![number(0, 4)]);
    let constant = number(0, 5);
    let mut whole: Vec<Vec<T>> =
        operands.iter().map(|x| (0..len).map(|i| x[i % x.len()]).collect()).collect();
    whole.push(vec![constant; len]);
    // Each step has a register of its own, so that all are results.
    let mut c =
        Chain { constants: vec![(5, constant)], loads: (0..5).collect(), ..Chain::default() };
    for (n, &(op, args)) in steps.iter().enumerate() {
        let args = args.map(|a| a % whole.len());
        let op = ops[op % ops.len()];
        whole.push(alone(op, args.map(|a| &whole[a][..])));
        c.steps.push(ChainStep { op, args: args.map(|a| a as u8), out: 6 + n as u8 });
        c.stores.push(6 + n as u8);
    }
    let results = vec![vec![T::from_f64(GUARD); len + 2]; steps.len()];
    for isa in [None].into_iter().chain(Isa::available().into_iter().map(Some)) {
        let mut memory = Arrays { operands: operands.clone(), results: results.clone() };
        let mut registers = ChainRegisters::new();
        match isa {
            None => chain(&c, len, &mut registers, &mut memory),
            // The baseline may have no fused multiply-add, and so other bits of `exp` and the like.
            Some(Isa::Baseline) if Isa::detect() > Isa::Baseline => continue,
            Some(isa) => chain_on(isa, &c, len, &mut registers, &mut memory),
        }
        for (n, result) in memory.results.iter().enumerate() {
            let guards = [result[0], result[len + 1]];
            assert_eq!(guards, [T::from_f64(GUARD); 2], "result {n} was written beyond its ends");
            let (found, expected) = (&result[1..=len], &whole[6 + n]);
            assert!(same(found, expected), "step {n}, {:?}: {found:?}, {expected:?}", c.steps[n]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_chain_has_the_bits_of_its_operations(
        row in prop_oneof![1usize..20, Just(64), Just(100)],
        rows in 1usize..8,
        steps in prop::collection::vec((0usize..1000, [0usize..100, 0..100, 0..100]), 1..26),
    ) {
        check::<f64>(row * rows, row, &steps);
        check::<f32>(row * rows, row, &steps);
    }
}

#[test]
fn every_operation_on_every_kind_of_length() {
    for len in [1, 2, 7, 8, 9, 63, 64, 65, 72, 128, 200] {
        for op in 0..all().len() {
            for args in [[0, 1, 2], [3, 4, 5], [5, 3, 0]] {
                check::<f64>(len, len, &[(op, args)]);
                check::<f32>(len, 1, &[(op, args)]);
            }
        }
    }
}

#[test]
fn an_empty_array_is_nothing_to_do() {
    let step = ChainStep { op: ChainOp::Unary(Unary::Neg), args: [0; 3], out: 0 };
    let c = Chain::<f64> { constants: vec![], loads: vec![0], steps: vec![step], stores: vec![0] };
    let mut memory = Arrays { operands: vec![vec![]], results: vec![vec![GUARD; 2]] };
    chain(&c, 0, &mut ChainRegisters::new(), &mut memory);
    assert_eq!(memory.results, [[GUARD; 2]]);
}
