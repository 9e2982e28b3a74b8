//! Chains: several element-wise operations on arrays of one length, in one pass.
//!
//! A chain is a small program on registers of 64 entries. For each tile of 64 entries it reads its
//! operands into registers, performs its steps there, and writes its results. What only the chain
//! itself needs never goes to memory, and taking up an operation costs about a nanosecond a tile,
//! which is what counts on the arrays of a few numbers of which small systems are made.

use crate::Real;
use crate::elementwise::Wide;
use crate::isa::{Isa, Kernel, dispatch};
use crate::linear::power;
use crate::math;
use crate::unary::{relu, sign};
use crate::{Binary, Buffer, Unary};

/// How many registers a chain has.
pub const CHAIN_REGISTERS: usize = 32;
/// How many entries a register has.
const TILE: usize = 64;
/// How many of them are worked on where an array has only few left.
const SHORT: usize = 8;
/// Up to how many entries that is better than a tile that is mostly empty.
const FEW: usize = 16;
/// How many are worked on at a time in a full tile: a register of AVX-512 in `f32`, two in `f64`.
const BLOCK: usize = 16;

type Registers<T> = [[T; TILE]; CHAIN_REGISTERS];

/// The registers that chains run in: made once, used by one chain after another.
#[derive(Clone, Debug)]
pub struct ChainRegisters<T: Real>(Buffer<T>);

impl<T: Real> ChainRegisters<T> {
    /// Registers full of zeros.
    pub fn new() -> ChainRegisters<T> {
        ChainRegisters(Buffer::zeros(TILE * CHAIN_REGISTERS))
    }
}

impl<T: Real> Default for ChainRegisters<T> {
    fn default() -> ChainRegisters<T> {
        ChainRegisters::new()
    }
}

/// What a step computes from the registers `a`, `b`, `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainOp {
    /// `f(a)`.
    Unary(Unary),
    /// `f(a, b)`.
    Binary(Binary),
    /// `a b + c`, rounded twice, as [`affine`](crate::affine) does.
    MulAdd,
    /// `a + b c`, rounded twice, as [`lincomb`](crate::lincomb) does.
    AddMul,
    /// `aⁿ`, as [`powi`](crate::powi).
    Powi(i32),
    /// `b` where `a ≠ 0`, else `c`.
    Select,
}

impl ChainOp {
    /// How many registers it reads.
    pub fn arguments(self) -> usize {
        match self {
            ChainOp::Unary(_) | ChainOp::Powi(_) => 1,
            ChainOp::Binary(_) => 2,
            ChainOp::MulAdd | ChainOp::AddMul | ChainOp::Select => 3,
        }
    }
}

/// One operation on registers: `out = op(a, b, c)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainStep {
    /// What is computed.
    pub op: ChainOp,
    /// The registers that are read; those beyond [`ChainOp::arguments`] are ignored.
    pub args: [u8; 3],
    /// The register that is written, which may be one of them.
    pub out: u8,
}

/// Several element-wise operations on arrays of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain<T> {
    /// Registers that hold a number throughout; no step writes them, and no operand is read to them.
    pub constants: Vec<(u8, T)>,
    /// The registers that the operands are read to, before the first step.
    pub loads: Vec<u8>,
    /// What is done.
    pub steps: Vec<ChainStep>,
    /// The registers whose entries are the results.
    pub stores: Vec<u8>,
}

/// Where a chain reads and writes.
pub trait ChainMemory<T> {
    /// Operand `i`. If it is shorter than the chain's arrays, it repeats.
    fn operand(&self, i: usize) -> &[T];
    /// Result `i`. It may be the memory of an operand of the same length.
    fn result(&mut self, i: usize) -> &mut [T];
}

/// Runs a chain on arrays of `len` entries. The registers' contents are of no importance.
///
/// The results have the bits that the operations have one by one.
///
/// # Panics
/// If an operand's length does not divide `len`, or a result's is not `len`.
pub fn chain<T: Real>(
    chain: &Chain<T>,
    len: usize,
    registers: &mut ChainRegisters<T>,
    memory: &mut impl ChainMemory<T>,
) {
    chain_on(Isa::detect(), chain, len, registers, memory);
}

/// [`chain`] with the given instruction set, which the machine must have.
///
/// # Panics
/// As [`chain`], or if the machine lacks the instruction set.
pub fn chain_on<T: Real>(
    isa: Isa,
    chain: &Chain<T>,
    len: usize,
    registers: &mut ChainRegisters<T>,
    memory: &mut impl ChainMemory<T>,
) {
    let registers = registers.0.as_chunks_mut().0.try_into().expect("made with that many");
    let kernel = ChainKernel { chain, len, registers, memory };
    dispatch(isa, kernel);
}

struct ChainKernel<'a, T, M> {
    chain: &'a Chain<T>,
    len: usize,
    registers: &'a mut Registers<T>,
    memory: &'a mut M,
}

impl<T: Real, M: ChainMemory<T>> Kernel for ChainKernel<'_, T, M> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let ChainKernel { chain, len, registers, memory } = self;
        let width = if len > FEW { TILE } else { len.next_multiple_of(SHORT) };
        for &(register, x) in &chain.constants {
            registers[usize::from(register) % CHAIN_REGISTERS][..width].fill(x);
        }
        let mut start = 0;
        while len - start > FEW {
            let lanes = TILE.min(len - start);
            tile::<T, M, FMA, TILE, BLOCK>(chain, len, start, lanes, registers, memory);
            start += lanes;
        }
        while start < len {
            let lanes = SHORT.min(len - start);
            tile::<T, M, FMA, SHORT, SHORT>(chain, len, start, lanes, registers, memory);
            start += lanes;
        }
    }
}

/// The entries from `start` on: `lanes` of them, of `W` that are worked on, `B` at a time.
#[inline(always)]
fn tile<T: Real, M: ChainMemory<T>, const FMA: bool, const W: usize, const B: usize>(
    chain: &Chain<T>,
    len: usize,
    start: usize,
    lanes: usize,
    registers: &mut Registers<T>,
    memory: &mut M,
) {
    for (i, &register) in chain.loads.iter().enumerate() {
        let register: &mut [T; TILE] = &mut registers[usize::from(register) % CHAIN_REGISTERS];
        let x = memory.operand(i);
        if x.len() != len {
            repeat(x, start, &mut register[..lanes]);
        } else if lanes == W {
            copy::<T, W, B>(&x[start..start + W], &mut register[..W]);
        } else {
            copy_some(&x[start..start + lanes], &mut register[..lanes]);
        }
    }
    for step in &chain.steps {
        perform::<T, FMA, W, B>(step, lanes, registers);
    }
    for (i, &register) in chain.stores.iter().enumerate() {
        let register = &registers[usize::from(register) % CHAIN_REGISTERS];
        let out = memory.result(i);
        if lanes == W {
            copy::<T, W, B>(&register[..W], &mut out[start..start + W]);
        } else {
            copy_some(&register[..lanes], &mut out[start..start + lanes]);
        }
    }
}

/// Copies `W` entries, in vector registers instead of by a call.
#[inline(always)]
fn copy<T: Real, const W: usize, const B: usize>(from: &[T], to: &mut [T]) {
    let (from, to) = (from.as_chunks::<B>().0, to.as_chunks_mut::<B>().0);
    #[expect(clippy::manual_memcpy, reason = "a call would cost more than the copy")]
    for k in 0..W / B {
        to[k] = from[k];
    }
}

/// Copies entries, in vector registers instead of by a call.
#[inline(always)]
fn copy_some<T: Real>(from: &[T], to: &mut [T]) {
    let ((from, rest), (to, rest_to)) = (from.as_chunks::<8>(), to.as_chunks_mut::<8>());
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
    for (to, from) in rest_to.iter_mut().zip(rest) {
        *to = *from;
    }
}

/// `out_i = x_((start + i) mod n)`.
#[inline(always)]
fn repeat<T: Real>(x: &[T], start: usize, out: &mut [T]) {
    if let [x] = x {
        out.fill(*x);
        return;
    }
    let mut done = 0;
    while done < out.len() {
        let from = (start + done) % x.len();
        let n = (x.len() - from).min(out.len() - done);
        out[done..done + n].copy_from_slice(&x[from..from + n]);
        done += n;
    }
}

#[inline(always)]
fn block<T: Real, const B: usize>(r: &Registers<T>, register: u8, k: usize) -> [T; B] {
    let x: &[T; B] = r[usize::from(register) % CHAIN_REGISTERS][k * B..][..B]
        .try_into()
        .expect("a block has B entries");
    *x
}

/// `out = f(a)` on `W` entries.
#[inline(always)]
fn one<T: Real, const W: usize, const B: usize>(
    s: &ChainStep,
    r: &mut Registers<T>,
    f: impl Fn(T) -> T,
) {
    for k in 0..W / B {
        let a: [T; B] = block(r, s.args[0], k);
        let mut y = [T::zero(); B];
        for i in 0..B {
            y[i] = f(a[i]);
        }
        r[usize::from(s.out) % CHAIN_REGISTERS][k * B..][..B].copy_from_slice(&y);
    }
}

/// `out = f(a, b)` on `W` entries.
#[inline(always)]
fn two<T: Real, const W: usize, const B: usize>(
    s: &ChainStep,
    r: &mut Registers<T>,
    f: impl Fn(T, T) -> T,
) {
    for k in 0..W / B {
        let (a, b): ([T; B], [T; B]) = (block(r, s.args[0], k), block(r, s.args[1], k));
        let mut y = [T::zero(); B];
        for i in 0..B {
            y[i] = f(a[i], b[i]);
        }
        r[usize::from(s.out) % CHAIN_REGISTERS][k * B..][..B].copy_from_slice(&y);
    }
}

/// `out = f(a, b, c)` on `W` entries.
#[inline(always)]
fn three<T: Real, const W: usize, const B: usize>(
    s: &ChainStep,
    r: &mut Registers<T>,
    f: impl Fn(T, T, T) -> T,
) {
    for k in 0..W / B {
        let [a, b, c]: [[T; B]; 3] = s.args.map(|register| block(r, register, k));
        let mut y = [T::zero(); B];
        for i in 0..B {
            y[i] = f(a[i], b[i], c[i]);
        }
        r[usize::from(s.out) % CHAIN_REGISTERS][k * B..][..B].copy_from_slice(&y);
    }
}

/// `out = f(a)` on the entries that count, one by one: for functions that are calls.
#[inline(always)]
fn each<T: Real>(s: &ChainStep, r: &mut Registers<T>, lanes: usize, f: impl Fn(T) -> T) {
    let x = r[usize::from(s.args[0]) % CHAIN_REGISTERS];
    let out = &mut r[usize::from(s.out) % CHAIN_REGISTERS];
    for (out, x) in out[..lanes].iter_mut().zip(x) {
        *out = f(x);
    }
}

/// One step on `W` entries, of which the first `lanes` count.
#[inline(always)]
fn perform<T: Real, const FMA: bool, const W: usize, const B: usize>(
    s: &ChainStep,
    lanes: usize,
    r: &mut Registers<T>,
) {
    match s.op {
        ChainOp::Binary(op) => match op {
            Binary::Add => two::<T, W, B>(s, r, |a, b| a + b),
            Binary::Sub => two::<T, W, B>(s, r, |a, b| a - b),
            Binary::Mul => two::<T, W, B>(s, r, |a, b| a * b),
            Binary::Div => two::<T, W, B>(s, r, |a, b| a / b),
            Binary::Max => two::<T, W, B>(s, r, |a, b| Binary::Max.eval(a, b)),
            Binary::Min => two::<T, W, B>(s, r, |a, b| Binary::Min.eval(a, b)),
            Binary::Lt => two::<T, W, B>(s, r, |a, b| Binary::Lt.eval(a, b)),
            Binary::Le => two::<T, W, B>(s, r, |a, b| Binary::Le.eval(a, b)),
            Binary::Gt => two::<T, W, B>(s, r, |a, b| Binary::Gt.eval(a, b)),
            Binary::Ge => two::<T, W, B>(s, r, |a, b| Binary::Ge.eval(a, b)),
            Binary::Eq => two::<T, W, B>(s, r, |a, b| Binary::Eq.eval(a, b)),
            Binary::TanhGrad => two::<T, W, B>(s, r, |a, b| Binary::TanhGrad.eval(a, b)),
            Binary::SigmoidGrad => two::<T, W, B>(s, r, |a, b| Binary::SigmoidGrad.eval(a, b)),
            Binary::Pow | Binary::Atan2 => {
                let [a, b, _] = s.args.map(|x| r[usize::from(x) % CHAIN_REGISTERS]);
                let out = &mut r[usize::from(s.out) % CHAIN_REGISTERS];
                for ((out, a), b) in out[..lanes].iter_mut().zip(a).zip(b) {
                    *out = op.eval(a, b);
                }
            }
        },
        ChainOp::MulAdd => three::<T, W, B>(s, r, |a, b, c| a * b + c),
        ChainOp::AddMul => three::<T, W, B>(s, r, |a, b, c| a + b * c),
        ChainOp::Select => three::<T, W, B>(s, r, |a, b, c| if a != T::zero() { b } else { c }),
        ChainOp::Powi(n) => match n {
            3 => one::<T, W, B>(s, r, |x| power(3, x)),
            4 => one::<T, W, B>(s, r, |x| power(4, x)),
            _ if n < 0 => each(s, r, lanes, |x| T::one() / power(n.unsigned_abs(), x)),
            _ => each(s, r, lanes, |x| power(n.unsigned_abs(), x)),
        },
        ChainOp::Unary(op) => match op {
            Unary::Neg => one::<T, W, B>(s, r, |x| -x),
            Unary::Abs => one::<T, W, B>(s, r, |x| x.abs()),
            Unary::Sign => one::<T, W, B>(s, r, sign),
            Unary::Square => one::<T, W, B>(s, r, |x| x * x),
            Unary::Sqrt => one::<T, W, B>(s, r, |x| x.sqrt()),
            Unary::Recip => one::<T, W, B>(s, r, |x| T::one() / x),
            Unary::Relu => one::<T, W, B>(s, r, relu),
            Unary::Exp => one::<T, W, B>(s, r, |x| math::Exp::<FMA>.of([x])[0]),
            Unary::Ln => one::<T, W, B>(s, r, |x| math::Ln::<FMA>.of([x])[0]),
            Unary::Tanh => one::<T, W, B>(s, r, |x| math::Tanh::<FMA>.of([x])[0]),
            Unary::Sigmoid => one::<T, W, B>(s, r, |x| math::Sigmoid::<FMA>.of([x])[0]),
            Unary::Softplus => one::<T, W, B>(s, r, |x| math::Softplus::<FMA>.of([x])[0]),
            Unary::SoftplusSlope => {
                one::<T, W, B>(s, r, |x| math::SoftplusSlope::<FMA>.of([x])[0]);
            }
            _ => each(s, r, lanes, |x| op.eval(x)),
        },
    }
}
