//! Programs: functions compiled for replay.

mod after;
mod chain;
mod display;
mod kinds;
mod lower;
mod matrix;
mod numbers;
mod rows;
mod run;
mod scalar;
mod simplify;
mod small;

pub(crate) use kinds::{Kind, TILE, cost, keeps_rows, kinds_of, rows_per_block, shrink, with_rows};
pub(crate) use simplify::simplify;

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use costate_ops::{self as ops, Binary, Buffer, ChainRegisters, Native, NativeLanes, Product};
use smallvec::SmallVec;

use crate::Real;
use crate::function::Function;
use crate::graph::Loc;
use crate::op::{Op, Result};
use crate::shape::Shape;

use chain::ChainInstruction;
use rows::{Blocks, Rows, Split};
use scalar::Scalars;

pub use numbers::{Number, Numbers};
pub use run::Outputs;
pub use small::{Lanes, Port, Small};

/// Where a value lies during a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Input(usize),
    Constant,
    Arena,
    /// Where an output is wanted: see [`Direct`].
    Output(usize),
}

/// An output of the program that is written where it is wanted, not copied there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direct {
    /// The number of the output.
    pub output: usize,
    /// Where it lies in the arena if no place for it is given.
    pub start: usize,
    pub len: usize,
}

/// A value that an instruction reads or writes.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    pub place: Place,
    pub offset: usize,
    /// How many entries are stored; for an operand that is repeated, fewer than its shape has.
    pub len: usize,
    pub shape: Shape,
}

/// One step of a program.
#[derive(Clone, Debug)]
pub(crate) enum Instruction<T: Real> {
    Single(Box<Single<T>>),
    Chain(ChainInstruction<T>),
}

impl<T: Real> Instruction<T> {
    /// Whether it shares work between threads.
    fn shares_work(&self) -> bool {
        let Instruction::Single(single) = self else { return false };
        match &single.op {
            Op::Call(call) => call.shares_work(),
            Op::MatMul { .. } => {
                let [a, out] = [&single.args[0].shape, &single.out.shape].map(Shape::numel);
                let columns = single.out.shape.last().copied().unwrap_or(1);
                // Entries of A times columns of C.
                out > 0 && ops::is_shared(a * columns)
            }
            _ => false,
        }
    }
}

/// One operation.
#[derive(Clone, Debug)]
pub(crate) struct Single<T: Real> {
    pub op: Op<T>,
    pub args: SmallVec<[Operand; 3]>,
    pub out: Operand,
    /// Of a product of matrices how it is computed, and what is done with each of its sums and the third
    /// argument.
    pub product: Option<Product>,
    pub after: Option<Binary>,
    /// The argument that is written over.
    pub in_place: Option<usize>,
    /// The number of a call's state in the workspace, and of the one it reads.
    pub state: Option<usize>,
    pub producer: Option<usize>,
    pub loc: Loc,
}

/// A function compiled for replay: the same operations on other inputs, without recording and
/// without allocating.
///
/// Compiling removes dead code, common subexpressions and work on constants, does element-wise
/// operations that follow each other in one pass, and plans one arena of memory for all
/// intermediate values; a program on a few numbers is unfolded to operations on single numbers.
/// Replaying gives the bits of recording, but for the sign of zeros.
///
/// A program that does much work, and the same for each row of its inputs, such as one on a batch of
/// samples, is split into blocks of rows that are spread over threads. Sums over the rows, such as
/// the cotangents of parameters, are then added block by block, which rounds otherwise than
/// recording does, but the same for any number of threads.
///
/// A program is immutable and can be shared between threads; what a run writes to is its
/// [`Workspace`], one for each thread. Its `Display` prints it, one operation a line.
#[derive(Clone, Debug)]
pub struct Program<T: Real> {
    inner: Arc<Inner<T>>,
}

#[derive(Debug)]
struct Inner<T: Real> {
    /// Tells programs apart, so that a workspace is not used with another one.
    id: u64,
    instructions: Vec<Instruction<T>>,
    /// The program unfolded to single numbers, instead of instructions.
    scalars: Option<Scalars<T>>,
    /// The same as machine code, if that was asked for and can be made.
    native: OnceLock<Option<Native<T>>>,
    /// The same with inputs and outputs in slices.
    native_apart: OnceLock<Option<Native<T>>>,
    /// The latter on several sets of inputs.
    native_lanes: OnceLock<Option<NativeLanes<T>>>,
    /// The program split into blocks of rows, instead of instructions.
    rows: Option<Rows<T>>,
    constants: Vec<T>,
    input_shapes: Vec<Shape>,
    /// How many entries each input has.
    input_lens: Vec<usize>,
    outputs: Vec<Operand>,
    direct: Vec<Direct>,
    arena: usize,
    /// Whether a run is to keep threads [awake](costate_ops::awake).
    shared: bool,
}

impl<T: Real> Inner<T> {
    /// A program that does nothing yet, with inputs of these shapes.
    fn new(input_shapes: Vec<Shape>) -> Inner<T> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            instructions: Vec::new(),
            scalars: None,
            native: OnceLock::new(),
            native_apart: OnceLock::new(),
            native_lanes: OnceLock::new(),
            rows: None,
            constants: Vec::new(),
            input_lens: input_shapes.iter().map(Shape::numel).collect(),
            input_shapes,
            outputs: Vec::new(),
            direct: Vec::new(),
            arena: 0,
            shared: false,
        }
    }
}

impl<T: Real> Inner<T> {
    /// Whether output `i` is written where it is wanted.
    fn is_direct(&self, i: usize) -> bool {
        self.direct.iter().any(|direct| direct.output == i)
    }
}

impl<T: Real> Program<T> {
    /// Compiles a function.
    ///
    /// # Errors
    /// If recording the function [read a number](Function::is_value_dependent).
    pub fn compile(function: &Function<T>) -> Result<Program<T>> {
        T::compile(function)
    }

    pub(crate) fn compile_of(function: &Function<T>) -> Result<Program<T>> {
        function.require_replayable()?;
        let function = &T::simplify(function);
        let Some(Split { rows, outputs, arena }) = rows::split(function) else {
            return Ok(Program::compile_whole(function));
        };
        let inner =
            Inner { rows: Some(rows), outputs, arena, ..Inner::new(function.input_shapes()) };
        Ok(Program { inner: Arc::new(inner) })
    }

    /// [`compile`](Program::compile) without splitting the program into blocks of rows, for one that threads
    /// take each for itself.
    ///
    /// # Errors
    /// Those of [`compile`](Program::compile).
    pub fn compile_unsplit(function: &Function<T>) -> Result<Program<T>> {
        T::compile_unsplit(function)
    }

    pub(crate) fn compile_unsplit_of(function: &Function<T>) -> Result<Program<T>> {
        function.require_replayable()?;
        Ok(Program::compile_whole(&T::simplify(function)))
    }

    /// The program of a function that is simplified, not split.
    fn compile_whole(function: &Function<T>) -> Program<T> {
        let inner = Inner::new(function.input_shapes());
        let inner = match scalar::unfold(function) {
            Some(mut scalars) => {
                let outputs = std::mem::take(&mut scalars.outputs);
                Inner { scalars: Some(scalars), outputs, arena: scalar::REGISTERS, ..inner }
            }
            None => {
                let lower::Lowered { instructions, constants, outputs, direct, arena } =
                    lower::lower(function);
                let shared = instructions.iter().any(Instruction::shares_work);
                Inner { instructions, constants, outputs, direct, arena, shared, ..inner }
            }
        };
        Program { inner: Arc::new(inner) }
    }

    /// The shape of each input.
    pub fn input_shapes(&self) -> &[Shape] {
        &self.inner.input_shapes
    }

    /// The shape of each output.
    pub fn output_shapes(&self) -> impl ExactSizeIterator<Item = &Shape> {
        self.inner.outputs.iter().map(|o| &o.shape)
    }

    /// How many operations a run performs.
    pub fn len(&self) -> usize {
        let count = |i: &Instruction<T>| match i {
            Instruction::Single(_) => 1,
            Instruction::Chain(chain) => chain.chain.steps.len(),
        };
        match (&self.inner.scalars, &self.inner.rows) {
            (Some(scalars), _) => scalars.steps.len(),
            (_, Some(rows)) => {
                let (block, tail) = rows.parts();
                block.len() + tail.map_or(0, Program::len)
            }
            _ => self.inner.instructions.iter().map(count).sum(),
        }
    }

    /// Whether a run performs none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a run shares work between threads.
    pub fn shares_work(&self) -> bool {
        self.inner.rows.is_some() || self.inner.shared
    }

    /// How many bytes of intermediate values a [`Workspace`] holds.
    pub fn arena_bytes(&self) -> usize {
        self.inner.arena * size_of::<T>()
    }
}

/// The memory that a [`Program`] runs in.
#[derive(Debug)]
pub struct Workspace<T: Real> {
    program: u64,
    arena: Buffer<T>,
    /// Those of chains, if there are any.
    registers: Option<ChainRegisters<T>>,
    states: Vec<Box<dyn Any + Send>>,
    /// The memory of blocks of rows, if the program is split into them.
    blocks: Option<Blocks<T>>,
}

impl<T: Real> Workspace<T> {
    /// Memory for one run of `program` at a time.
    pub fn new(program: &Program<T>) -> Workspace<T> {
        T::workspace(program)
    }

    pub(crate) fn new_of(program: &Program<T>) -> Workspace<T> {
        let calls = program.inner.instructions.iter().filter_map(|i| match i {
            Instruction::Single(single) => match &single.op {
                Op::Call(call) => Some(call.new_state()),
                _ => None,
            },
            Instruction::Chain(_) => None,
        });
        let chains = program.inner.instructions.iter().any(|i| matches!(i, Instruction::Chain(_)));
        let registers = chains.then(ChainRegisters::new);
        let mut arena = Buffer::zeros(program.inner.arena);
        if let Some(scalars) = &program.inner.scalars {
            scalars.prepare(&mut arena);
        }
        let blocks = program.inner.rows.as_ref().map(Rows::blocks);
        let (program, states) = (program.inner.id, calls.collect());
        Workspace { program, arena, registers, states, blocks }
    }
}
