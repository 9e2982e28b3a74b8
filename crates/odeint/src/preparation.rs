//! What a field makes of what its solve captures alone, such as `W - Wᵀ`: it is computed once for a pass, and so
//! is its derivative, since evaluations add up the cotangents of what it gives.
//!
//! That is inside the operations of a solve. On the tape beside them, a second derivative would need those
//! cotangents as values, for which the whole way back would be gone once more. Instead the field of a state
//! with tangents has a preparation of its own, which contains this one and its tangent.

use std::sync::Arc;

use costate_ops::{Buffer, axpy};
use costate_tape::{Function, Program, Result, Shape, Tape, Var, Workspace};
use smallvec::SmallVec;

use crate::Real;

/// Up to how many entries a state has whose field is unfolded to single numbers: there nothing is gained.
const UNFOLDED: usize = 16;

/// From what a solve captures to what its field does.
#[derive(Debug)]
pub(crate) struct Preparation<T: Real> {
    function: Function<T>,
    program: Program<T>,
}

/// A field, and what gives what it captures, if that is not what its solve captures.
pub(crate) type Split<T> = (Function<T>, Option<Arc<Preparation<T>>>);

/// What a field captures.
pub(crate) type Captured<'a, T> = SmallVec<[&'a [T]; 32]>;

impl<T: Real> Preparation<T> {
    /// Takes what is worth preparing out of a field, whose inputs are then the time, the state and what it
    /// captures from there.
    pub fn split(field: Function<T>) -> Result<Split<T>> {
        let shapes = field.input_shapes();
        let captured = 2..shapes.len();
        if shapes[1].numel() <= UNFOLDED || captured.is_empty() {
            return Ok((field, None));
        }
        let field = match field.output_shapes().len() {
            1 => field.merge_traces(1, captured.clone()),
            _ => field,
        };
        let Some(parts) = field.factor_out(captured) else { return Ok((field, None)) };
        let program = Program::compile(&parts.once)?;
        Ok((parts.each, Some(Arc::new(Preparation { function: parts.once, program }))))
    }

    /// The shapes of what the solve captures.
    pub fn input_shapes(&self) -> Vec<Shape> {
        self.function.input_shapes()
    }

    /// Records it.
    pub fn record<'t>(&self, tape: &'t Tape<T>, given: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        self.function.inline(tape, given)
    }

    pub fn memory(&self) -> Workspace<T> {
        Workspace::new(&self.program)
    }

    /// What the field captures, from what the solve does.
    pub fn run<'a>(
        &'a self,
        memory: &'a mut Workspace<T>,
        given: &'a [&'a [T]],
    ) -> Result<Captured<'a, T>> {
        let found = self.program.evaluate(memory, given)?;
        Ok((0..self.program.output_shapes().len()).map(|i| found.get(i)).collect())
    }

    /// The way back, to what the solve captures of the given numbers.
    pub fn back(&self, wrt: &[usize]) -> Result<Back<T>> {
        let shapes = self.function.output_shapes();
        let follows = |&i: &usize| {
            let depends = self.function.with_outputs(&[i]).depends_on();
            wrt.iter().any(|&input| depends[input])
        };
        let wanted: Vec<usize> = (0..shapes.len()).filter(follows).collect();
        let lens = wanted.iter().map(|&i| shapes[i].numel()).collect();
        let program = Program::compile(&self.function.with_outputs(&wanted).vjp(wrt)?)?;
        Ok(Back { program, wanted, lens })
    }
}

/// From the cotangents of what a field captures to those of what its solve does.
#[derive(Debug)]
pub(crate) struct Back<T: Real> {
    program: Program<T>,
    /// The numbers of what the field captures whose cotangents it takes, and how many entries these have.
    pub wanted: Vec<usize>,
    lens: Vec<usize>,
}

/// What it works with.
#[derive(Debug)]
pub(crate) struct BackMemory<T: Real> {
    workspace: Workspace<T>,
    /// The cotangents of what the field captures.
    pub bars: Buffer<T>,
}

impl<T: Real> Back<T> {
    pub fn memory(&self) -> BackMemory<T> {
        let bars = Buffer::zeros(self.lens.iter().sum());
        BackMemory { workspace: Workspace::new(&self.program), bars }
    }

    /// Adds what follows from the cotangents in the memory to `to`, one after another.
    pub fn run(&self, memory: &mut BackMemory<T>, given: &[&[T]], mut to: &mut [T]) -> Result<()> {
        let mut inputs: Captured<'_, T> = given.iter().copied().collect();
        let mut bars = &memory.bars[..];
        for &len in &self.lens {
            inputs.push(bars.split_off(..len).expect("one for each"));
        }
        let found = self.program.evaluate(&mut memory.workspace, &inputs)?;
        for i in 0..self.program.output_shapes().len() {
            let found = found.get(i);
            axpy(T::one(), found, to.split_off_mut(..found.len()).expect("there is room"));
        }
        Ok(())
    }
}
