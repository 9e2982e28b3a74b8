//! The code of a program, instruction by instruction.
//!
//! It is for x86-64 with AVX, which encodes `x = y op z` in one instruction, and straight-line: the
//! addresses of the program's registers and of the slices are in registers of their own. Results that
//! are wanted are written at once; others only if the processor runs out of registers before they
//! were read last. Operations that take more than an instruction or two are calls to [`evaluate`], or,
//! where an instruction is on several numbers, to [`evaluate_lanes`].

use std::marker::PhantomData;

use super::SLICES;
use super::encoding::{Code, DOUBLE, Operand, Width};
use super::lifetimes::{Result, Until, results_of};
use crate::lanes::{Apart, LANES, SCALAR_REGISTERS, ScalarOp, ScalarStep};
use crate::{Binary, Real, Unary};

/// What is called for a step that is not translated.
///
/// # Safety
/// `step` points to a step.
unsafe extern "sysv64" fn evaluate<T: Real>(step: *const ScalarStep, a: T, b: T, c: T) -> T {
    // SAFETY: by contract.
    unsafe { (*step).op.eval(a, b, c) }
}

/// The same on several numbers.
///
/// # Safety
/// `step` points to a step, the others to numbers.
unsafe extern "sysv64" fn evaluate_lanes<T: Real, const N: usize>(
    step: *const ScalarStep,
    a: *const [T; N],
    b: *const [T; N],
    c: *const [T; N],
    out: *mut [T; N],
) {
    // SAFETY: by contract.
    unsafe { *out = (*step).op.eval_lanes(&*a, &*b, &*c) };
}

/// A register of the processor.
pub(super) type Xmm = u8;

/// The processor's registers with the addresses that a program is called with (`rdi`, `rsi`, `rdx`,
/// `rcx`, `r8`), and those that keep them where it calls others (`rbx`, `rbp`, `r13`, `r14`, `r15`).
const ARGUMENTS: [u8; 1 + SLICES] = [7, 6, 2, 1, 8];
const PRESERVED: [u8; 1 + SLICES] = [3, 5, 13, 14, 15];

/// Where an operand is.
#[derive(Clone, Copy)]
enum Place {
    Xmm(Xmm),
    /// A register of the program, in memory.
    Memory(u8),
}

/// The instructions, by their opcode, on the lowest number of a register.
#[derive(Clone, Copy)]
enum Arithmetic {
    Sqrt = 0x51,
    Add = 0x58,
    Mul = 0x59,
    Sub = 0x5c,
    Min = 0x5d,
    Div = 0x5e,
    Max = 0x5f,
}

/// The same on all bits of a register.
#[derive(Clone, Copy)]
enum Bitwise {
    And = 0x54,
    Or = 0x56,
    Xor = 0x57,
}

/// What a register of the processor holds.
#[derive(Clone, Copy)]
struct Held {
    /// The register of the program whose value it is.
    register: u8,
    /// The last step that reads it, if any does.
    until: Option<usize>,
    /// Whether it is there alone.
    alone: bool,
}

/// Where a register of the program lies.
#[derive(Clone, Copy)]
struct Home {
    /// The number of the address, of which 0 is that of the registers.
    base: usize,
    entry: usize,
}

pub(super) struct Assembler<'a, T> {
    steps: &'a [ScalarStep],
    results: Vec<Result>,
    /// The last step that reads what a register holds at first, if any does.
    until: Until,
    /// The registers that an argument and the result of the function are in.
    passed: Option<[u8; 2]>,
    homes: [Home; SCALAR_REGISTERS],
    /// The processor's registers with the addresses.
    bases: [u8; 1 + SLICES],
    code: Code,
    /// What its registers hold, but for the last one.
    holds: Vec<Option<Held>>,
    /// When each was used last.
    used: Vec<usize>,
    /// The last one, which holds what no step names.
    scratch: Xmm,
    time: usize,
    /// The number of the step at hand.
    now: usize,
    of: PhantomData<T>,
}

impl<'a, T: Real> Assembler<'a, T> {
    /// The arguments of [`Native::compile_apart`](super::Native::compile_apart). With instructions on
    /// several numbers, each entry has one of every lane.
    pub fn new(steps: &'a [ScalarStep], results: usize, apart: &[Apart], width: Width) -> Self {
        let mut homes = std::array::from_fn(|entry| Home { base: 0, entry });
        let mut wanted = [false; SCALAR_REGISTERS];
        let scratch = width.registers() - 1;
        wanted[..results].fill(true);
        for Apart { registers, slice, offset } in apart {
            for (i, register) in registers.clone().enumerate() {
                homes[register] = Home { base: 1 + slice, entry: offset + i };
                wanted[register] = true;
            }
        }
        let (results, until) = results_of(steps, wanted);
        Assembler {
            steps,
            results,
            until,
            passed: None,
            homes,
            bases: ARGUMENTS,
            code: Code { bytes: Vec::new(), width },
            holds: vec![None; usize::from(scratch)],
            used: vec![0; usize::from(scratch)],
            scratch,
            time: 0,
            now: 0,
            of: PhantomData,
        }
    }

    /// Has the function take a number for one register, and return that in another one, which must be one
    /// that is wanted.
    pub fn passing(self, passed: Option<[u8; 2]>) -> Self {
        Assembler { passed, ..self }
    }

    /// The code.
    pub fn assemble(mut self) -> Vec<u8> {
        let calls = self.steps.iter().any(|step| !is_translated(step.op));
        if calls {
            // The addresses go to registers that calls leave alone, pushed before, five of them, after
            // which the stack is aligned for calls: `push rbx; push rbp; push r13; push r14; push r15;
            // mov rbx, rdi; mov rbp, rsi; mov r13, rdx; mov r14, rcx; mov r15, r8`.
            let code = &mut self.code.bytes;
            code.extend([0x53, 0x55, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]);
            code.extend([0x48, 0x89, 0xfb, 0x48, 0x89, 0xf5, 0x49, 0x89, 0xd5]);
            code.extend([0x49, 0x89, 0xce, 0x4d, 0x89, 0xc7]);
            self.bases = PRESERVED;
        }
        if let Some([register, _]) = self.passed {
            let until = self.until[usize::from(register)];
            self.holds[0] = Some(Held { register, until, alone: true });
        }
        for (now, step) in self.steps.iter().enumerate() {
            self.now = now;
            self.step(step);
        }
        if let Some([_, register]) = self.passed {
            match self.place(register) {
                Place::Xmm(0) => {}
                place => self.load(0, place),
            }
        }
        self.code.forget_upper();
        if calls {
            // `pop r15; pop r14; pop r13; pop rbp; pop rbx`.
            self.code.bytes.extend([0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x5d, 0x5b]);
        }
        // `ret`.
        self.code.bytes.push(0xc3);
        self.code.bytes
    }

    fn step(&mut self, step: &ScalarStep) {
        use Arithmetic::{Add, Div, Max, Min, Mul, Sqrt, Sub};
        if !is_translated(step.op) {
            return self.call(step);
        }
        let scratch = self.scratch;
        let [a, b, c] = step.args.map(|register| self.place(register));
        let out = self.room(&step.args[..step.op.arguments()]);
        match step.op {
            ScalarOp::Copy => self.load(out, a),
            ScalarOp::Add | ScalarOp::Binary(Binary::Add) => self.two(Add, out, a, b),
            ScalarOp::Sub | ScalarOp::Binary(Binary::Sub) => self.two(Sub, out, a, b),
            ScalarOp::Mul | ScalarOp::Binary(Binary::Mul) => self.two(Mul, out, a, b),
            ScalarOp::Binary(Binary::Div) => self.two(Div, out, a, b),
            ScalarOp::Binary(Binary::Max) => self.extreme(Max, out, a, b),
            ScalarOp::Binary(Binary::Min) => self.extreme(Min, out, a, b),
            ScalarOp::Unary(Unary::Square) => self.two(Mul, out, a, a),
            ScalarOp::MulAdd => {
                self.two(Mul, scratch, a, b);
                self.arithmetic(Add, out, scratch, c);
            }
            ScalarOp::MulSub => {
                self.two(Mul, scratch, a, b);
                self.arithmetic(Sub, out, scratch, c);
            }
            ScalarOp::SubMul => {
                self.two(Mul, scratch, a, b);
                // `out` is none of the arguments' registers, so that it can take `c`.
                self.two(Sub, out, c, Place::Xmm(scratch));
            }
            ScalarOp::MulMul => {
                self.two(Mul, scratch, a, b);
                self.arithmetic(Mul, out, scratch, c);
            }
            ScalarOp::AddAdd => {
                self.two(Add, scratch, a, b);
                self.arithmetic(Add, out, scratch, c);
            }
            ScalarOp::Unary(Unary::Neg) => {
                self.code.constant(Self::SIGN);
                self.bitwise(Bitwise::Xor, out, a);
            }
            ScalarOp::Unary(Unary::Abs) => {
                self.code.constant(!Self::SIGN);
                self.bitwise(Bitwise::And, out, a);
            }
            ScalarOp::Unary(Unary::Recip) => {
                self.code.constant(Self::ONE);
                self.arithmetic(Div, out, scratch, a);
            }
            ScalarOp::Unary(Unary::Sqrt) if self.code.width == Width::One => {
                self.load(scratch, a);
                self.arithmetic(Sqrt, out, scratch, Place::Xmm(scratch));
            }
            ScalarOp::Unary(Unary::Sqrt) => self.arithmetic(Sqrt, out, 0, a),
            _ => unreachable!("it is called"),
        }
        self.result(out, step.out);
    }

    /// Where the value of a register of the program is.
    fn place(&mut self, register: u8) -> Place {
        self.time += 1;
        let holds = |held: &Option<Held>| held.is_some_and(|held| held.register == register);
        match self.holds.iter().position(holds) {
            Some(xmm) => {
                self.used[xmm] = self.time;
                Place::Xmm(xmm as Xmm)
            }
            None => Place::Memory(register),
        }
    }

    /// A register of the processor for a result: one that is no longer read, or else that of which the
    /// last use is longest ago, and none that holds an argument.
    fn room(&mut self, args: &[u8]) -> Xmm {
        let free = |&xmm: &usize| self.holds[xmm].is_none_or(|held| !args.contains(&held.register));
        let key = |&xmm: &usize| (self.is_read(xmm), self.used[xmm]);
        let xmm = (0..self.holds.len()).filter(free).min_by_key(key).expect("more than arguments");
        self.save(xmm);
        self.holds[xmm] = None;
        xmm as Xmm
    }

    /// Whether the step at hand or a later one reads what a register of the processor holds.
    fn is_read(&self, xmm: usize) -> bool {
        self.holds[xmm].is_some_and(|held| held.until.is_some_and(|until| until >= self.now))
    }

    /// Writes what a register of the processor holds, if it is still to be read and nowhere else.
    fn save(&mut self, xmm: usize) {
        let is_read = self.is_read(xmm);
        if let Some(held) = self.holds[xmm].as_mut().filter(|held| held.alone && is_read) {
            held.alone = false;
            let register = held.register;
            self.store(xmm as Xmm, register);
        }
    }

    /// Notes that a register of the processor is the result of the step at hand for one of the program,
    /// and writes it if it is wanted.
    fn result(&mut self, xmm: Xmm, register: u8) {
        for held in &mut self.holds {
            held.take_if(|held| held.register == register);
        }
        let Result { until, wanted } = self.results[self.now];
        self.time += 1;
        self.holds[usize::from(xmm)] = Some(Held { register, until, alone: !wanted });
        self.used[usize::from(xmm)] = self.time;
        if wanted {
            self.store(xmm, register);
        }
    }

    fn store(&mut self, xmm: Xmm, register: u8) {
        self.instruction(0x11, self.number(), xmm, 0, Place::Memory(register));
    }

    const IS_DOUBLE: bool = size_of::<T>() == 8;
    /// The bits of 1, and of the sign; of numbers of single precision twice.
    const ONE: u64 = if Self::IS_DOUBLE { 1f64.to_bits() } else { twice(1f32.to_bits()) };
    const SIGN: u64 = if Self::IS_DOUBLE { 1 << 63 } else { twice(1 << 31) };

    /// The prefix that says what an instruction is on.
    fn number(&self) -> u8 {
        match (self.code.width, Self::IS_DOUBLE) {
            (Width::One, true) => 3,
            (Width::One, false) => 2,
            (_, true) => DOUBLE,
            (_, false) => 0,
        }
    }

    /// `out = a op b`.
    fn two(&mut self, op: Arithmetic, out: Xmm, a: Place, b: Place) {
        let first = match (a, b, op) {
            (Place::Xmm(xmm), ..) => xmm,
            // Sums and products commute, and the second may stay in memory.
            (_, Place::Xmm(xmm), Arithmetic::Add | Arithmetic::Mul) => {
                return self.arithmetic(op, out, xmm, a);
            }
            _ => {
                self.load(out, a);
                out
            }
        };
        self.arithmetic(op, out, first, b);
    }

    fn arithmetic(&mut self, op: Arithmetic, out: Xmm, a: Xmm, b: Place) {
        self.instruction(op as u8, self.number(), out, a, b);
    }

    /// The greater or less of two numbers; NaN if either is.
    fn extreme(&mut self, op: Arithmetic, out: Xmm, a: Place, b: Place) {
        let first = self.loaded(a, out);
        // All bits set, or a bit of a mask, if the first is NaN, where the instruction takes the second:
        // `vcmpunordsd`.
        let (unordered, itself) = (0xc2, Operand::Register(first));
        if self.code.width == Width::Zmm {
            let mask = 1;
            self.code.instruction(unordered, DOUBLE, mask, first, itself);
            self.code.bytes.push(3);
            // `out` may be where the first one is.
            self.load(self.scratch, Place::Xmm(first));
            self.arithmetic(op, out, first, b);
            self.code.evex(0x28, DOUBLE, out, 0, Operand::Register(self.scratch), mask);
            return;
        }
        self.code.instruction(unordered, self.number(), self.scratch, first, itself);
        self.code.bytes.push(3);
        self.arithmetic(op, out, first, b);
        self.bitwise(Bitwise::Or, out, Place::Xmm(out));
    }

    /// `out = scratch op a`.
    fn bitwise(&mut self, op: Bitwise, out: Xmm, a: Place) {
        let from = Place::Xmm(self.loaded(a, out));
        self.instruction(op as u8, DOUBLE, out, self.scratch, from);
    }

    fn load(&mut self, out: Xmm, from: Place) {
        match from {
            // `vmovapd`, which copies all bits.
            Place::Xmm(_) => self.instruction(0x28, DOUBLE, out, 0, from),
            Place::Memory(_) => self.instruction(0x10, self.number(), out, 0, from),
        }
    }

    /// The register that a number is in, which is `out` if it has to be read.
    fn loaded(&mut self, a: Place, out: Xmm) -> Xmm {
        match a {
            Place::Xmm(xmm) => xmm,
            Place::Memory(_) => {
                self.load(out, a);
                out
            }
        }
    }

    /// Calls [`evaluate`], whose result is in register 0, or [`evaluate_lanes`], whose result is in
    /// memory; what the registers held is lost.
    fn call(&mut self, step: &ScalarStep) {
        (0..self.holds.len()).for_each(|xmm| self.save(xmm));
        let one = self.code.width == Width::One;
        if one {
            for (xmm, &arg) in step.args[..step.op.arguments()].iter().enumerate() {
                self.load(xmm as Xmm, Place::Memory(arg));
            }
        } else {
            for (to, register) in ARGUMENTS[1..].iter().zip(step.args.into_iter().chain([step.out]))
            {
                let (base, offset) = self.address(register);
                self.code.address(*to, base, offset);
            }
            self.code.forget_upper();
        }
        // `mov rdi, step`.
        self.code.bytes.extend([0x48, 0xbf]);
        self.code.bytes.extend((std::ptr::from_ref(step) as u64).to_le_bytes());
        let function = match self.code.width {
            Width::One => evaluate::<T> as *const () as usize,
            // As many numbers as a register holds.
            Width::Ymm if Self::IS_DOUBLE => evaluate_lanes::<T, 4> as *const () as usize,
            _ => evaluate_lanes::<T, LANES> as *const () as usize,
        };
        self.code.rax(function as u64);
        // `call rax`.
        self.code.bytes.extend([0xff, 0xd0]);
        self.holds.fill(None);
        if one {
            self.result(0, step.out);
        }
    }

    fn instruction(&mut self, opcode: u8, kind: u8, out: Xmm, a: Xmm, b: Place) {
        let b = match b {
            Place::Xmm(xmm) => Operand::Register(xmm),
            Place::Memory(register) => {
                let (base, offset) = self.address(register);
                Operand::Memory(base, offset)
            }
        };
        self.code.instruction(opcode, kind, out, a, b);
    }

    /// The processor's register with the address of what a register of the program lies in, and how many
    /// bytes from there.
    fn address(&self, register: u8) -> (u8, usize) {
        let Home { base, entry } = self.homes[usize::from(register)];
        let lanes = if self.code.width == Width::One { 1 } else { LANES };
        (self.bases[base], entry * lanes * size_of::<T>())
    }
}

/// 32 bits twice.
const fn twice(bits: u32) -> u64 {
    (bits as u64) << 32 | bits as u64
}

/// Whether an operation is translated, not called.
fn is_translated(op: ScalarOp) -> bool {
    use Binary::{Add, Div, Max, Min, Mul, Sub};
    use Unary::{Abs, Neg, Recip, Sqrt, Square};
    match op {
        ScalarOp::Binary(f) => matches!(f, Add | Sub | Mul | Div | Max | Min),
        ScalarOp::Unary(f) => matches!(f, Neg | Abs | Square | Recip | Sqrt),
        ScalarOp::Powi(_) | ScalarOp::Select => false,
        _ => true,
    }
}
