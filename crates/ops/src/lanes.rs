//! A small program on single numbers, run on several sets of numbers at once.
//!
//! Taking up an operation on one number costs more than the operation. A register here holds a
//! number of each of [`LANES`] sets, so that one taking-up serves them all.

use std::ops::Range;

use crate::isa::{Isa, Kernel, dispatch};
use crate::{Binary, Buffer, Real, Unary, powi_in_place, unary_in_place};

/// How many sets of numbers there are.
pub const LANES: usize = 8;
/// How many registers there are: as many as a byte can name, so that no access needs a check.
pub const SCALAR_REGISTERS: usize = 256;

/// What a step computes from the registers `a`, `b`, `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScalarOp {
    /// `a`.
    Copy,
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a b`.
    Mul,
    /// `f(a)`.
    Unary(Unary),
    /// `f(a, b)`.
    Binary(Binary),
    /// `aⁿ`, as [`powi`](crate::powi).
    Powi(i32),
    /// `b` where `a ≠ 0`, else `c`.
    Select,
    /// `a b + c`, each rounded, as are the following.
    MulAdd,
    /// `a b - c`.
    MulSub,
    /// `c - a b`.
    SubMul,
    /// `a b c`.
    MulMul,
    /// `a + b + c`.
    AddAdd,
}

impl ScalarOp {
    /// How many registers it reads.
    pub fn arguments(self) -> usize {
        use ScalarOp::*;
        match self {
            Copy | Unary(_) | Powi(_) => 1,
            Add | Sub | Mul | Binary(_) => 2,
            Select | MulAdd | MulSub | SubMul | MulMul | AddAdd => 3,
        }
    }
}

impl ScalarOp {
    /// [`eval`](ScalarOp::eval) of several sets of arguments.
    #[inline(always)]
    pub(crate) fn eval_lanes<T: Real, const N: usize>(
        self,
        a: &[T; N],
        b: &[T; N],
        c: &[T; N],
    ) -> [T; N] {
        use ScalarOp::*;
        let each = |f: &dyn Fn(usize) -> T| std::array::from_fn(f);
        match self {
            Copy => *a,
            Add => std::array::from_fn(|i| a[i] + b[i]),
            Sub => std::array::from_fn(|i| a[i] - b[i]),
            Mul => std::array::from_fn(|i| a[i] * b[i]),
            MulAdd => std::array::from_fn(|i| a[i] * b[i] + c[i]),
            MulSub => std::array::from_fn(|i| a[i] * b[i] - c[i]),
            SubMul => std::array::from_fn(|i| c[i] - a[i] * b[i]),
            MulMul => std::array::from_fn(|i| a[i] * b[i] * c[i]),
            AddAdd => std::array::from_fn(|i| a[i] + b[i] + c[i]),
            Unary(crate::Unary::Neg) => std::array::from_fn(|i| -a[i]),
            Unary(crate::Unary::Square) => std::array::from_fn(|i| a[i] * a[i]),
            Binary(f) => each(&|i| f.eval(a[i], b[i])),
            Select => each(&|i| if a[i] != T::zero() { b[i] } else { c[i] }),
            Unary(f) => {
                let mut x = *a;
                unary_in_place(f, &mut x);
                x
            }
            Powi(n) => {
                let mut x = *a;
                powi_in_place(n, &mut x);
                x
            }
        }
    }
}

/// One operation on registers: `out = op(a, b, c)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalarStep {
    /// What is computed.
    pub op: ScalarOp,
    /// The registers that are read; those beyond [`ScalarOp::arguments`] are ignored.
    pub args: [u8; 3],
    /// The register that is written, which may be one of them.
    pub out: u8,
}

/// Registers of a program that lie in a slice, if it runs as [machine code](crate::Native).
#[derive(Clone, Debug)]
pub struct Apart {
    /// Which.
    pub registers: Range<usize>,
    /// The number of the slice: 0 and 1 are those that are read, 2 and 3 may be written.
    pub slice: usize,
    /// Where in it they begin.
    pub offset: usize,
}

/// The registers of [`run_lanes`], each with a number for every lane.
#[derive(Clone, Debug)]
pub struct LaneRegisters<T: Real>(Buffer<T>);

impl<T: Real> LaneRegisters<T> {
    /// Registers full of zeros.
    pub fn new() -> LaneRegisters<T> {
        LaneRegisters(Buffer::zeros(SCALAR_REGISTERS * LANES))
    }

    /// The registers.
    #[inline]
    pub fn all(&self) -> &[[T; LANES]] {
        self.0.as_chunks().0
    }

    /// The registers, to be written.
    #[inline]
    pub fn all_mut(&mut self) -> &mut [[T; LANES]] {
        self.0.as_chunks_mut().0
    }
}

impl<T: Real> Default for LaneRegisters<T> {
    fn default() -> LaneRegisters<T> {
        LaneRegisters::new()
    }
}

/// Runs steps on all lanes. Each lane gets the bits that it would get alone.
pub fn run_lanes<T: Real>(steps: &[ScalarStep], registers: &mut LaneRegisters<T>) {
    T::run_lanes(steps, registers);
}

/// [`run_lanes`] with the given instruction set, which the machine must have.
///
/// # Panics
/// If the machine lacks the instruction set.
pub fn run_lanes_on<T: Real>(isa: Isa, steps: &[ScalarStep], registers: &mut LaneRegisters<T>) {
    let registers = registers.all_mut().try_into().expect("as many as there are");
    dispatch(isa, Run { steps, registers });
}

pub(crate) fn run_lanes_of<T: Real>(steps: &[ScalarStep], registers: &mut LaneRegisters<T>) {
    run_lanes_on(Isa::detect(), steps, registers);
}

struct Run<'a, T: Real> {
    steps: &'a [ScalarStep],
    registers: &'a mut [[T; LANES]; SCALAR_REGISTERS],
}

impl<T: Real> Kernel for Run<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let r = self.registers;
        for step in self.steps {
            let [a, b, c] = &step.args;
            let (a, b, c) = (&r[usize::from(*a)], &r[usize::from(*b)], &r[usize::from(*c)]);
            let result = step.op.eval_lanes(a, b, c);
            r[usize::from(step.out)] = result;
        }
    }
}
