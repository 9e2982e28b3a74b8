//! A vector field that was recorded: its programs, and how a solver runs them.

mod derivatives;
mod program;
mod replay;

use std::sync::{Arc, OnceLock};

use costate_tape::{Function, Part, Result, Shape, Tape, Var, Workspace};

use self::derivatives::{UNFOLDED, compressed, jacobian, rate};
pub(crate) use self::program::{FieldMemory, FieldProgram, LaneMemory};
pub(crate) use self::replay::{Places, Replay, SolverMemory, copy_few};
use crate::Real;
use crate::additive::Portion;
use crate::adjoint::{FEW, FewPrograms, SumPlans};
use crate::mass::Mass;
use crate::method::Method;
use crate::preparation::{Captured, Preparation};
use crate::row_blocks::RowBlocks;
use crate::sparsity::Sparsity;
use crate::whole_step::{WholeStages, WholeStep};

/// A recorded field; the inputs of its function are the time, the state, and what it captures.
#[derive(Debug)]
pub(crate) struct VectorField<T: Real> {
    pub function: Function<T>,
    pub program: FieldProgram<T>,
    /// From the inputs to the Jacobian, for implicit methods: that of the stiff part, if there are
    /// parts. That of a field with tangents is the Jacobian of the field that it comes from.
    pub jacobian: Option<FieldProgram<T>>,
    /// The function of that program.
    pub derivative: Option<Function<T>>,
    /// From the inputs to the derivative with respect to the time, for Rosenbrock methods.
    pub rate: Option<FieldProgram<T>>,
    /// The Jacobian of a large sparse field, for the forward pass: its products with the sums of
    /// the columns of one colour.
    pub compressed: Option<Compressed<T>>,
    /// The stiff part and the rest, for additive methods, if the field was given in parts.
    pub parts: Option<Box<Parts<T>>>,
    /// The mass matrix; that of a field with tangents is the one of the field that it comes from.
    pub mass: Option<Arc<Mass<T>>>,
    /// What gives what it captures, if that is not what its solve captures.
    pub preparation: Option<Arc<Preparation<T>>>,
    /// The field in blocks of rows, if its exact gradient goes by them.
    pub rows: Option<Box<RowBlocks<T>>>,
    /// Whether its programs are in one piece.
    unsplit: bool,
    /// What the program leaves for the backward pass after the slope, and that pass.
    keeping: Option<Kept<T>>,
    /// A whole step, for explicit methods and states of a few numbers; compiled when it is asked for.
    whole_step: OnceLock<Option<WholeStep<T>>>,
    /// The same of the stages of a diagonally implicit method.
    whole_stages: OnceLock<Option<WholeStages<T>>>,
}

/// A program without sums over rows, and how those follow.
#[derive(Debug)]
pub(crate) struct Split<T: Real> {
    pub program: FieldProgram<T>,
    pub parts: Vec<Part>,
}

/// What a discrete adjoint runs of a field.
#[derive(Debug)]
pub(crate) struct VjpPrograms<T: Real> {
    pub vjp: FieldProgram<T>,
    /// The same from what evaluations kept.
    pub backward: Option<FieldProgram<T>>,
    /// What is to be done with the sums that both leave out, if they leave out any.
    pub sums: Option<SumPlans>,
}

/// A field in two parts, with the inputs of the field.
#[derive(Debug)]
pub(crate) struct Parts<T: Real> {
    pub stiff: VectorField<T>,
    pub rest: VectorField<T>,
}

impl<T: Real> Parts<T> {
    /// Memory for a program of each.
    pub fn memory(&self, of: impl Fn(&VectorField<T>) -> &FieldProgram<T>) -> [FieldMemory<T>; 2] {
        [FieldMemory::new(of(&self.stiff)), FieldMemory::new(of(&self.rest))]
    }
}

/// The program that finds a sparse Jacobian, and its pattern.
pub(crate) type Compressed<T> = (FieldProgram<T>, Arc<Sparsity>);

/// The program of a Jacobian, and the pattern of what it finds if that is [`Compressed`].
pub(crate) type AnyJacobian<'a, T> = (&'a FieldProgram<T>, Option<&'a Sparsity>);

/// The second half of a field's vjp, which reads what the first one kept.
#[derive(Debug)]
struct Kept<T: Real> {
    backward: Function<T>,
    places: Places,
    /// Whether the time is among the cotangents.
    time: bool,
}

impl<T: Real> VectorField<T> {
    /// From the inputs and `(v, τ, w)`, one after another, to what a backward pass through
    /// `w · (∂f/∂y v + ∂f/∂t τ)` adds to the cotangents of the state, of the time if asked for, and
    /// of the captured inputs of the given numbers, and then that number itself.
    pub fn second(&self, time: bool, captured: &[usize]) -> Result<FieldProgram<T>> {
        let shape = self.function.input_shapes()[1].clone();
        let n = shape.numel();
        let times = time.then_some(0);
        let captured = captured.iter().map(|i| i + 2);
        let wrt: Vec<usize> = [1].into_iter().chain(times).chain(captured).collect();
        let function =
            self.function.transform(&[[2 * n + 1].into()], |tape, inputs, outputs, further| {
                let part = |range| further[0].slice_axis(0, range);
                let (v, w) = (part(0..n).reshape(shape.clone()), part(n + 1..2 * n + 1));
                let tau = part(n..n + 1).reshape([]);
                let dot = tape.jvp(outputs, &[inputs[0], inputs[1]], &[tau, v])?[0];
                let number = dot.reshape([n]).dot(w);
                let wrt: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
                let found = number.grad(&wrt)?;
                Ok(found.into_iter().chain([number]).collect())
            })?;
        self.compile(&function)
    }

    /// With its program alone.
    pub fn new(function: Function<T>) -> Result<VectorField<T>> {
        let captured = function.input_shapes().len() - 2;
        VectorField::made_of(function.merge_traces(1, 2..2 + captured), false)
    }

    /// Of a block of rows, for one thread: [with programs in one
    /// piece](costate_tape::Program::compile_unsplit).
    pub fn unsplit(function: Function<T>) -> Result<VectorField<T>> {
        VectorField::made_of(function, true)
    }

    fn made_of(function: Function<T>, unsplit: bool) -> Result<VectorField<T>> {
        let captured = function.input_shapes().len() - 2;
        let program = FieldProgram::compile(&function, captured, unsplit)?;
        let (jacobian, derivative, rate, keeping) = (None, None, None, None);
        let (compressed, parts, mass) = (None, None, None);
        Ok(VectorField {
            function,
            program,
            jacobian,
            derivative,
            rate,
            compressed,
            parts,
            mass,
            preparation: None,
            rows: None,
            unsplit,
            keeping,
            whole_step: OnceLock::new(),
            whole_stages: OnceLock::new(),
        })
    }

    /// In two parts.
    pub fn with_parts(mut self, stiff: Function<T>, rest: Function<T>) -> Result<VectorField<T>> {
        let (stiff, rest) = (VectorField::new(stiff)?, VectorField::new(rest)?);
        self.parts = Some(Box::new(Parts { stiff, rest }));
        Ok(self)
    }

    /// With what gives what it captures, and its parts do.
    pub fn prepare(&mut self, preparation: Option<Arc<Preparation<T>>>) {
        if let Some(parts) = &mut self.parts {
            parts.stiff.preparation = preparation.clone();
            parts.rest.preparation = preparation.clone();
        }
        self.preparation = preparation;
    }

    /// The shapes of the time, the state, and what its solve captures.
    pub fn given_shapes(&self) -> Vec<Shape> {
        let mut shapes = self.function.input_shapes();
        if let Some(preparation) = &self.preparation {
            shapes.truncate(2);
            shapes.extend(preparation.input_shapes());
        }
        shapes
    }

    /// Memory for what gives what it captures.
    pub fn preparation_memory(&self) -> Option<Workspace<T>> {
        self.preparation.as_ref().map(|preparation| preparation.memory())
    }

    /// What it captures, from what its solve does.
    pub fn captured<'a>(
        &'a self,
        memory: &'a mut Option<Workspace<T>>,
        given: &'a [&'a [T]],
    ) -> Result<Captured<'a, T>> {
        match self.preparation.as_ref().zip(memory.as_mut()) {
            Some((preparation, memory)) => preparation.run(memory, given),
            None => Ok(Captured::from_slice(given)),
        }
    }

    /// The same, recorded.
    pub fn record_captured<'t>(
        &self,
        tape: &'t Tape<T>,
        given: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        match &self.preparation {
            Some(preparation) => preparation.record(tape, given),
            None => Ok(given.to_vec()),
        }
    }

    /// Has the next solves in this memory run small programs as machine code, and take whole steps at
    /// once, if the method is small as well. Compiling takes as long as some hundred steps, so it is for
    /// solves that come again.
    pub fn make_native(&self, memory: &mut SolverMemory<T>, method: Method) {
        if !matches!(method, Method::Explicit(_)) {
            let programs = [Some(&self.program), self.jacobian.as_ref(), self.rate.as_ref()];
            programs.into_iter().flatten().for_each(FieldProgram::make_native);
            if let (Method::Implicit(method), Some(jacobian)) = (method, &self.jacobian) {
                let make = || WholeStages::new(&self.program, jacobian, method);
                let stages = self.whole_stages.get_or_init(make);
                memory.whole_stages = stages.as_ref().map(WholeStages::memory);
            }
            return;
        }
        let make = || WholeStep::new(&self.program, method.tableau());
        memory.whole_step = self.whole_step.get_or_init(make).as_ref().map(WholeStep::memory);
    }

    /// With the function of the Jacobian.
    pub fn with_derivative(mut self, derivative: Function<T>) -> Result<VectorField<T>> {
        self.jacobian = Some(self.compile(&derivative)?);
        self.derivative = Some(derivative);
        Ok(self)
    }

    /// With the programs of the derivatives that the method needs.
    pub fn for_method(mut self, method: Method) -> Result<VectorField<T>> {
        if !matches!(method, Method::Additive(_)) {
            self.parts = None;
        }
        if method.needs_jacobian() {
            let stiff = self.parts.as_ref().map_or(&self.function, |parts| &parts.stiff.function);
            let jacobian = jacobian(stiff)?;
            self = self.with_derivative(jacobian)?;
            let n = self.function.input_shapes()[1].numel();
            let whole = self.parts.is_none();
            let pairs = if n > UNFOLDED && whole { self.function.sparsity(0, 1) } else { None };
            let pattern = pairs.map(|pairs| Sparsity::new(n, pairs));
            // Products with few vectors cost less than the batched pass.
            if let Some(pattern) = pattern.filter(|pattern| 2 * pattern.colors() <= n) {
                let program = self.compile(&compressed(&self.function, &pattern)?)?;
                self.compressed = Some((program, Arc::new(pattern)));
            }
        }
        if let Method::Rosenbrock(_) = method {
            self.rate = Some(self.compile(&rate(&self.function)?)?);
        }
        Ok(self)
    }

    /// Has evaluations keep what a backward pass can use, which may be with respect to the `time` as
    /// well. A program on a few numbers computes it anew faster than it reads it.
    pub fn keeping(mut self, time: bool) -> Result<VectorField<T>> {
        if self.program.is_small() {
            return Ok(self);
        }
        let fixed = 2..self.function.input_shapes().len();
        let wrt: Vec<usize> =
            [1].into_iter().chain(time.then_some(0)).chain(fixed.clone()).collect();
        if let Some(halves) = self.function.vjp_keeping(&wrt, fixed)? {
            let state = self.function.input_shapes()[1].numel();
            let places = Places::new::<T>(&halves.kept, state);
            self.program = self.compile(&halves.forward)?;
            self.keeping = Some(Kept { backward: halves.backward, places, time });
        }
        Ok(self)
    }

    /// Has the exact gradient by an explicit method go by blocks of rows, if that is possible and worth it, or
    /// else evaluations [keep](Self::keeping) what it can use.
    pub fn by_rows(mut self, method: Method, time: bool) -> Result<VectorField<T>> {
        if let Method::Explicit(tableau) = method
            && !tableau.is_partitioned()
            && !self.program.is_small()
        {
            self.rows = RowBlocks::new(&self.function, tableau, time)?.map(Box::new);
        }
        if self.rows.is_some() { Ok(self) } else { self.keeping(time) }
    }

    /// Records a portion of it.
    pub fn record<'t>(
        &self,
        portion: Portion,
        tape: &'t Tape<T>,
        inputs: &[Var<'t, T>],
    ) -> Result<Var<'t, T>> {
        let function = match (portion, &self.parts) {
            (Portion::Stiff, Some(parts)) => &parts.stiff.function,
            (Portion::Rest, Some(parts)) => &parts.rest.function,
            (Portion::Rest, None) => return Ok(inputs[1].zeros_like()),
            _ => &self.function,
        };
        Ok(function.inline(tape, inputs)?[0])
    }

    /// The program of the Jacobian, or of a sparse one by products for its colours, with the pattern.
    pub fn any_jacobian(&self) -> Option<AnyJacobian<'_, T>> {
        match &self.compressed {
            Some((program, pattern)) => Some((program, Some(pattern))),
            None => self.jacobian.as_ref().map(|program| (program, None)),
        }
    }

    /// The Jacobian of both parts.
    pub fn whole_jacobian(&self) -> Result<FieldProgram<T>> {
        self.compile(&jacobian(&self.function)?)
    }

    /// Compiles a function of the same inputs, and perhaps more.
    pub fn compile(&self, function: &Function<T>) -> Result<FieldProgram<T>> {
        FieldProgram::compile(function, self.function.input_shapes().len() - 2, self.unsplit)
    }

    /// The [`vjp`](Self::vjp) that reads what an evaluation kept, if it keeps anything.
    pub fn backward(&self, time: bool, captured: &[usize]) -> Result<Option<FieldProgram<T>>> {
        let function = self.backward_function(time, captured);
        function.map(|function| self.compile(&function)).transpose()
    }

    fn backward_function(&self, time: bool, captured: &[usize]) -> Option<Function<T>> {
        let kept = self.keeping.as_ref()?;
        assert!(kept.time || !time, "the cotangent of a time that was not asked for");
        let first = if kept.time { 2 } else { 1 };
        let captured = captured.iter().map(|i| first + i);
        let outputs: Vec<usize> =
            [0].into_iter().chain(time.then_some(1)).chain(captured).collect();
        Some(kept.backward.with_outputs(&outputs))
    }

    /// Where arrays that are kept lie.
    pub fn places(&self) -> Option<&Places> {
        self.keeping.as_ref().map(|kept| &kept.places)
    }

    /// From the inputs and a cotangent of the slope to the cotangents of the state, of the time if
    /// asked for, and of the captured inputs of the given numbers.
    pub fn vjp(&self, time: bool, captured: &[usize]) -> Result<FieldProgram<T>> {
        self.compile(&self.vjp_function(time, captured)?)
    }

    fn vjp_function(&self, time: bool, captured: &[usize]) -> Result<Function<T>> {
        let times = time.then_some(0);
        let captured = captured.iter().map(|i| i + 2);
        let wrt: Vec<usize> = [1].into_iter().chain(times).chain(captured).collect();
        self.function.vjp(&wrt)
    }

    /// What a discrete adjoint runs, with sums over rows added as they are made if `apart`.
    pub fn vjp_programs(
        &self,
        time: bool,
        captured: &[usize],
        apart: bool,
    ) -> Result<VjpPrograms<T>> {
        if apart && let Some(found) = self.vjp_without_sums(time, captured)? {
            return Ok(found);
        }
        let (vjp, backward) = (self.vjp(time, captured)?, self.backward(time, captured)?);
        Ok(VjpPrograms { vjp, backward, sums: None })
    }

    /// [`vjp`](Self::vjp) without its sums over rows, if it has any.
    pub fn split_vjp(&self, time: bool, captured: &[usize]) -> Result<Option<Split<T>>> {
        self.split(&self.vjp_function(time, captured)?, time)
    }

    /// The same of [`backward`](Self::backward).
    pub fn split_backward(&self, time: bool, captured: &[usize]) -> Result<Option<Split<T>>> {
        let function = self.backward_function(time, captured);
        function.map_or(Ok(None), |function| self.split(&function, time))
    }

    fn split(&self, function: &Function<T>, time: bool) -> Result<Option<Split<T>>> {
        let outputs = if time { 2 } else { 1 }..function.output_shapes().len();
        let Some(split) = function.without_sums(outputs) else { return Ok(None) };
        Ok(Some(Split { program: self.compile(&split.function)?, parts: split.parts }))
    }

    /// The programs of the backward pass of a system of a few numbers, if this is one, with respect
    /// to the captured inputs of the given numbers.
    pub fn few(&self, captured: &[usize]) -> Result<Option<FewPrograms<T>>> {
        let shape = &self.function.input_shapes()[1];
        if shape.numel() > FEW || !self.program.is_small() {
            return Ok(None);
        }
        let jacobian = self.compile(&self.function.jacobian(0, 1)?)?;
        let wrt: Vec<usize> = captured.iter().map(|i| i + 2).collect();
        let captured = match wrt.is_empty() {
            true => None,
            false => Some(self.compile(&self.function.vjp(&wrt)?)?),
        };
        let small = |program: &FieldProgram<T>| program.is_small();
        let all_small = small(&jacobian) && captured.as_ref().is_none_or(small);
        Ok(all_small.then_some(FewPrograms { jacobian, captured }))
    }

    /// From the inputs and a cotangent of the slope to the slope and the cotangent of the state.
    pub fn hamiltonian(&self) -> Result<FieldProgram<T>> {
        let shapes = self.function.output_shapes();
        let function = self.function.transform(&shapes, |tape, inputs, outputs, cotangents| {
            let bar = tape.vjp(outputs, cotangents, &[inputs[1]])?[0];
            Ok(vec![outputs[0], bar])
        })?;
        self.compile(&function)
    }
}
