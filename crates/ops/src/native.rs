//! A small program on single numbers as machine code.
//!
//! Taking up an operation costs more than the operation, and a number that was just written is read
//! from memory again. Machine code has neither: it keeps results in the processor's registers. What
//! it computes is what [`run_scalars`](crate::run_scalars) does, to the same bits.
//!
//! The code is for x86-64 with AVX, which encodes `x = y op z` in one instruction. It is
//! straight-line: `rbx` holds the address of the registers of the program; every result is also
//! written there at once, so that one may be dropped from the processor's registers at any time.
//! Operations that take more than an instruction or two are calls to [`evaluate`]. The encoding is
//! that of Intel's *Software Developer's Manual*, volume 2, chapter 2.3 (VEX) and the instructions'
//! pages.

use std::fmt;
use std::marker::PhantomData;

use memmap2::{Mmap, MmapMut};

use crate::lanes::{SCALAR_REGISTERS, ScalarOp, ScalarStep};
use crate::{Binary, Real, Unary};

/// A program as machine code: see [`Native::compile`].
pub struct Native<T> {
    code: Mmap,
    /// What calls of [`evaluate`] point to.
    _steps: Box<[ScalarStep]>,
    of: PhantomData<fn(T)>,
}

impl<T> fmt::Debug for Native<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Native({} bytes)", self.code.len())
    }
}

impl<T: Real> Native<T> {
    /// Translates steps, which takes some microseconds; `None` if the machine has no AVX, or the
    /// system does not let a program make code.
    ///
    /// ```
    /// use costate_ops::{Native, SCALAR_REGISTERS, ScalarOp, ScalarStep};
    ///
    /// let steps = [ScalarStep { op: ScalarOp::MulAdd, args: [0, 1, 2], out: 9 }];
    /// if let Some(native) = Native::<f64>::compile(&steps) {
    ///     let mut registers = [0.0; SCALAR_REGISTERS];
    ///     registers[..3].copy_from_slice(&[2.0, 3.0, 4.0]);
    ///     native.run(&mut registers);
    ///     assert_eq!(registers[9], 10.0);
    /// }
    /// ```
    pub fn compile(steps: &[ScalarStep]) -> Option<Native<T>> {
        if cfg!(miri) || !is_x86_feature_detected!("avx") {
            return None;
        }
        let steps: Box<[ScalarStep]> = steps.into();
        let mut assembler = Assembler::<T>::new();
        assembler.begin();
        for step in &steps {
            assembler.step(step);
        }
        assembler.end();
        let mut code = MmapMut::map_anon(assembler.code.len()).ok()?;
        code.copy_from_slice(&assembler.code);
        // Never writable and executable at once.
        let code = code.make_exec().ok()?;
        Some(Native { code, _steps: steps, of: PhantomData })
    }

    /// Runs the program.
    #[inline]
    pub fn run(&self, registers: &mut [T; SCALAR_REGISTERS]) {
        let entry = self.code.as_ptr();
        // SAFETY: the code is a whole function of this signature, which the assembler below wrote.
        // It reads and writes the registers alone: an operand's address is `rbx`, which holds theirs,
        // plus eight bits times the size of a number. It uses the processor's registers that the
        // calling convention leaves to it, and puts `rbx` back. The steps that it points to live as
        // long as it does.
        unsafe {
            let entry: unsafe extern "sysv64" fn(*mut T) = std::mem::transmute(entry);
            entry(registers.as_mut_ptr());
        }
    }
}

/// What is called for a step that is not translated.
///
/// # Safety
/// `step` points to a step.
unsafe extern "sysv64" fn evaluate<T: Real>(step: *const ScalarStep, a: T, b: T, c: T) -> T {
    // SAFETY: by contract.
    unsafe { (*step).op.eval(a, b, c) }
}

/// A register of the processor.
type Xmm = u8;

/// The one that holds what no step names.
const SCRATCH: Xmm = 15;

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
    Div = 0x5e,
}

/// The same on all bits of a register.
#[derive(Clone, Copy)]
enum Bitwise {
    And = 0x54,
    Xor = 0x57,
}

struct Assembler<T> {
    code: Vec<u8>,
    /// The register of the program whose value each of the processor's holds.
    holds: [Option<u8>; SCRATCH as usize],
    /// When each was used last.
    used: [usize; SCRATCH as usize],
    time: usize,
    of: PhantomData<T>,
}

impl<T: Real> Assembler<T> {
    fn new() -> Self {
        let (holds, used) = ([None; SCRATCH as usize], [0; SCRATCH as usize]);
        Assembler { code: Vec::new(), holds, used, time: 0, of: PhantomData }
    }

    /// `push rbx; mov rbx, rdi`, after which the stack is aligned for calls.
    fn begin(&mut self) {
        self.code.extend([0x53, 0x48, 0x89, 0xfb]);
    }

    /// `pop rbx; ret`.
    fn end(&mut self) {
        self.code.extend([0x5b, 0xc3]);
    }

    fn step(&mut self, step: &ScalarStep) {
        use Arithmetic::{Add, Div, Mul, Sqrt, Sub};
        let [a, b, c] = step.args.map(|register| self.place(register));
        let out = self.room(&step.args[..step.op.arguments()]);
        match step.op {
            ScalarOp::Copy => self.load(out, a),
            ScalarOp::Add | ScalarOp::Binary(Binary::Add) => self.two(Add, out, a, b),
            ScalarOp::Sub | ScalarOp::Binary(Binary::Sub) => self.two(Sub, out, a, b),
            ScalarOp::Mul | ScalarOp::Binary(Binary::Mul) => self.two(Mul, out, a, b),
            ScalarOp::Binary(Binary::Div) => self.two(Div, out, a, b),
            ScalarOp::Unary(Unary::Square) => self.two(Mul, out, a, a),
            ScalarOp::MulAdd => {
                self.two(Mul, SCRATCH, a, b);
                self.arithmetic(Add, out, SCRATCH, c);
            }
            ScalarOp::MulSub => {
                self.two(Mul, SCRATCH, a, b);
                self.arithmetic(Sub, out, SCRATCH, c);
            }
            ScalarOp::SubMul => {
                self.two(Mul, SCRATCH, a, b);
                // `out` is none of the arguments' registers, so that it can take `c`.
                self.two(Sub, out, c, Place::Xmm(SCRATCH));
            }
            ScalarOp::MulMul => {
                self.two(Mul, SCRATCH, a, b);
                self.arithmetic(Mul, out, SCRATCH, c);
            }
            ScalarOp::AddAdd => {
                self.two(Add, SCRATCH, a, b);
                self.arithmetic(Add, out, SCRATCH, c);
            }
            ScalarOp::Unary(Unary::Neg) => {
                self.constant(Self::SIGN);
                self.bitwise(Bitwise::Xor, out, a);
            }
            ScalarOp::Unary(Unary::Abs) => {
                self.constant(Self::SIGN - 1);
                self.bitwise(Bitwise::And, out, a);
            }
            ScalarOp::Unary(Unary::Recip) => {
                self.constant(Self::ONE);
                self.arithmetic(Div, out, SCRATCH, a);
            }
            ScalarOp::Unary(Unary::Sqrt) => {
                self.load(SCRATCH, a);
                self.arithmetic(Sqrt, out, SCRATCH, Place::Xmm(SCRATCH));
            }
            _ => {
                self.call(step);
                return self.result(0, step.out);
            }
        }
        self.result(out, step.out);
    }

    /// Where the value of a register of the program is.
    fn place(&mut self, register: u8) -> Place {
        self.time += 1;
        match self.holds.iter().position(|&held| held == Some(register)) {
            Some(xmm) => {
                self.used[xmm] = self.time;
                Place::Xmm(xmm as Xmm)
            }
            None => Place::Memory(register),
        }
    }

    /// A register of the processor for a result: that of which the last use is longest ago, and none
    /// that holds an argument.
    fn room(&mut self, args: &[u8]) -> Xmm {
        let free = |&xmm: &usize| self.holds[xmm].is_none_or(|held| !args.contains(&held));
        let key = |&xmm: &usize| (self.holds[xmm].is_some(), self.used[xmm]);
        let xmm = (0..self.holds.len()).filter(free).min_by_key(key).expect("more than arguments");
        self.holds[xmm] = None;
        xmm as Xmm
    }

    /// Notes that a register of the processor is the result for one of the program, and writes it.
    fn result(&mut self, xmm: Xmm, register: u8) {
        for held in &mut self.holds {
            held.take_if(|held| *held == register);
        }
        self.time += 1;
        self.holds[usize::from(xmm)] = Some(register);
        self.used[usize::from(xmm)] = self.time;
        self.instruction(0x11, Self::NUMBER, xmm, 0, Place::Memory(register));
    }

    /// The bits of 1, and of the sign.
    const ONE: u64 = if size_of::<T>() == 8 { 1f64.to_bits() } else { 1f32.to_bits() as u64 };
    const SIGN: u64 = 1 << (8 * size_of::<T>() - 1);
    /// The prefix that says that an instruction is on one number of this type.
    const NUMBER: u8 = if size_of::<T>() == 8 { 3 } else { 2 };
    /// The prefix for all bits of a register, as numbers of double precision.
    const BITS: u8 = 1;

    /// `out = a op b`.
    fn two(&mut self, op: Arithmetic, out: Xmm, a: Place, b: Place) {
        let first = match a {
            Place::Xmm(xmm) => xmm,
            Place::Memory(_) => {
                self.load(out, a);
                out
            }
        };
        self.arithmetic(op, out, first, b);
    }

    fn arithmetic(&mut self, op: Arithmetic, out: Xmm, a: Xmm, b: Place) {
        self.instruction(op as u8, Self::NUMBER, out, a, b);
    }

    /// `out = scratch op a`.
    fn bitwise(&mut self, op: Bitwise, out: Xmm, a: Place) {
        let from = match a {
            Place::Xmm(_) => a,
            Place::Memory(_) => {
                self.load(out, a);
                Place::Xmm(out)
            }
        };
        self.instruction(op as u8, Self::BITS, out, SCRATCH, from);
    }

    fn load(&mut self, out: Xmm, from: Place) {
        match from {
            // `vmovapd`, which copies all bits.
            Place::Xmm(_) => self.instruction(0x28, Self::BITS, out, 0, from),
            Place::Memory(_) => self.instruction(0x10, Self::NUMBER, out, 0, from),
        }
    }

    /// Writes bits to the scratch register: `mov rax, bits; vmovq xmm15, rax`.
    fn constant(&mut self, bits: u64) {
        self.rax(bits);
        self.code.extend([0xc4, 0x61, 0xf9, 0x6e, 0xf8]);
    }

    /// `mov rax, bits`.
    fn rax(&mut self, bits: u64) {
        self.code.extend([0x48, 0xb8]);
        self.code.extend(bits.to_le_bytes());
    }

    /// Calls [`evaluate`], whose result is in register 0; what the others held is lost.
    fn call(&mut self, step: &ScalarStep) {
        for (xmm, &arg) in step.args[..step.op.arguments()].iter().enumerate() {
            self.load(xmm as Xmm, Place::Memory(arg));
        }
        // `mov rdi, step`.
        self.code.extend([0x48, 0xbf]);
        self.code.extend((std::ptr::from_ref(step) as u64).to_le_bytes());
        let function: unsafe extern "sysv64" fn(*const ScalarStep, T, T, T) -> T = evaluate::<T>;
        self.rax(function as usize as u64);
        // `call rax`.
        self.code.extend([0xff, 0xd0]);
        self.holds = [None; SCRATCH as usize];
    }

    /// An instruction with the registers `out` and `a` (the number 0 if it has no `a`) and the operand
    /// `b`, with the prefix C4: bits that extend the register numbers, inverted; `a`, inverted, and
    /// the kind of number; the opcode; the operands, one of which may be `[rbx + offset]`.
    fn instruction(&mut self, opcode: u8, kind: u8, out: Xmm, a: Xmm, b: Place) {
        let low = |xmm: Xmm| u8::from(xmm < 8);
        let b_low = match b {
            Place::Xmm(xmm) => low(xmm),
            Place::Memory(_) => 1,
        };
        self.code.extend([0xc4, low(out) << 7 | 1 << 6 | b_low << 5 | 1, (!a & 15) << 3 | kind]);
        let out = (out & 7) << 3;
        match b {
            Place::Xmm(xmm) => self.code.extend([opcode, 0xc0 | out | xmm & 7]),
            Place::Memory(register) => {
                self.code.extend([opcode, 0x80 | out | 3]);
                let offset = u32::from(register) * size_of::<T>() as u32;
                self.code.extend(offset.to_le_bytes());
            }
        }
    }
}
