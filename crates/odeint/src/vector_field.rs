//! A vector field that was recorded: its programs, and how a solver runs them.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use costate_ops::{LANES, Real};
use costate_tape::{Function, Lanes, Outputs, Program, Result, Shape, Small, Tape, Var, Workspace};
use smallvec::SmallVec;

use crate::additive::Portion;
use crate::adjoint::{FEW, FewPrograms};
use crate::error::FieldError;
use crate::field::{Field, difference_jacobian, difference_rate};
use crate::mass::Mass;
use crate::method::Method;
use crate::sparsity::{self, Sparsity};
use crate::tableau::Part;
use crate::whole_step::{WholeStep, WholeStepAtWork};

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
    /// What the program leaves for the backward pass after the slope, and that pass.
    keeping: Option<Kept<T>>,
    /// A whole step, for explicit methods and states of a few numbers; compiled when it is asked for.
    whole_step: OnceLock<Option<WholeStep<T>>>,
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

/// The memory of all programs of a field that a solver runs.
#[derive(Debug)]
pub(crate) struct SolverMemory<T: Real> {
    program: FieldMemory<T>,
    jacobian: Option<FieldMemory<T>>,
    rate: Option<FieldMemory<T>>,
    compressed: Option<FieldMemory<T>>,
    parts: Option<[FieldMemory<T>; 2]>,
    whole_step: Option<FieldMemory<T>>,
}

/// The program that finds a sparse Jacobian, and its pattern.
pub(crate) type Compressed<T> = (FieldProgram<T>, Arc<Sparsity>);

/// A program on the time, the state, what the field captures, and perhaps more. What follows from
/// what is captured alone is computed once for a pass.
#[derive(Debug)]
pub(crate) struct FieldProgram<T: Real> {
    once: Option<Program<T>>,
    each: Program<T>,
}

impl<T: Real> FieldProgram<T> {
    /// Compiles a function of a field that captures so many arrays.
    fn compile(function: &Function<T>, captured: usize) -> Result<FieldProgram<T>> {
        match function.hoist(2..2 + captured) {
            None => Ok(FieldProgram { once: None, each: Program::compile(function)? }),
            Some(parts) => Ok(FieldProgram {
                once: Some(Program::compile(&parts.once)?),
                each: Program::compile(&parts.each)?,
            }),
        }
    }

    /// What runs each time.
    pub fn each(&self) -> &Program<T> {
        &self.each
    }

    /// How many entries the inputs have: the time, the state, what is captured, what follows from it,
    /// and the cotangent if there is one.
    pub fn input_lens(&self) -> Vec<usize> {
        self.each.input_shapes().iter().map(Shape::numel).collect()
    }

    /// Another program on what is captured and what follows from it.
    pub fn with_each(&self, each: Program<T>) -> FieldProgram<T> {
        FieldProgram { once: self.once.clone(), each }
    }

    /// Whether it is [small](Program::small).
    pub fn is_small(&self) -> bool {
        self.each.is_small()
    }

    /// The program at work with what is captured, which are its inputs from number `first` on; `None`
    /// if it is not small.
    pub fn small<'a>(
        &'a self,
        memory: &'a mut FieldMemory<T>,
        first: usize,
        captured: &'a [&'a [T]],
    ) -> Result<Option<(Small<'a, T>, usize)>> {
        if !self.is_small() {
            return Ok(None);
        }
        let fixed = fixed(&self.once, &mut memory.once, captured)?;
        let mut small = self.each.small(&mut memory.each).expect("it is small");
        for (i, fixed) in fixed.iter().enumerate() {
            small.input(i + first).copy_from_slice(fixed);
        }
        Ok(Some((small, fixed.len())))
    }

    /// The program at work with what was set before.
    ///
    /// # Panics
    /// If it is not small.
    pub fn small_again<'a>(&'a self, memory: &'a mut FieldMemory<T>) -> Small<'a, T> {
        self.each.small(&mut memory.each).expect("it is small")
    }
}

/// What is captured, and what follows from it alone.
fn fixed<'a, T: Real>(
    once: &'a Option<Program<T>>,
    memory: &'a mut Option<Workspace<T>>,
    captured: &'a [&'a [T]],
) -> Result<Fixed<'a, T>> {
    let mut fixed = Fixed::from_slice(captured);
    if let Some((once, workspace)) = once.as_ref().zip(memory.as_mut()) {
        let found = once.evaluate(workspace, captured)?;
        fixed.extend((0..once.output_shapes().len()).map(|i| found.get(i)));
    }
    Ok(fixed)
}

/// The memory that a [`FieldProgram`] runs in.
#[derive(Debug)]
pub(crate) struct FieldMemory<T: Real> {
    once: Option<Workspace<T>>,
    each: Workspace<T>,
}

impl<T: Real> FieldMemory<T> {
    pub fn new(program: &FieldProgram<T>) -> FieldMemory<T> {
        let once = program.once.as_ref().map(Workspace::new);
        FieldMemory { once, each: Workspace::new(&program.each) }
    }
}

/// A small program at work on several times and states at once.
#[derive(Debug)]
pub(crate) struct LaneMemory<T: Real> {
    once: Option<Workspace<T>>,
    pub lanes: Lanes<T>,
    /// The registers of the time, the state, and the last input, which may be a cotangent.
    time: u8,
    state: u8,
    last: u8,
}

impl<T: Real> LaneMemory<T> {
    /// # Panics
    /// If the program is not small.
    pub fn new(program: &FieldProgram<T>) -> LaneMemory<T> {
        let lanes = program.each.lanes().expect("a small program");
        let once = program.once.as_ref().map(Workspace::new);
        let (time, state) = (lanes.place(0), lanes.place(1));
        let last = lanes.place(program.each.input_shapes().len() - 1);
        LaneMemory { once, lanes, time, state, last }
    }

    /// Sets what is captured.
    pub fn begin(&mut self, program: &FieldProgram<T>, captured: &[&[T]]) -> Result<()> {
        let mut set = |i: usize, x: &[T]| {
            for (place, &x) in self.lanes.input(2 + i).iter_mut().zip(x) {
                *place = [x; LANES];
            }
        };
        captured.iter().enumerate().for_each(|(i, x)| set(i, x));
        if let Some((once, workspace)) = program.once.as_ref().zip(self.once.as_mut()) {
            let found = once.evaluate(workspace, captured)?;
            for i in 0..once.output_shapes().len() {
                set(captured.len() + i, found.get(i));
            }
        }
        Ok(())
    }

    /// Sets the time and the state of one lane.
    #[inline(always)]
    pub fn set<const D: usize>(&mut self, lane: usize, t: T, y: &[T; D]) {
        self.lanes.registers()[usize::from(self.time)][lane] = t;
        self.set_from(self.state, lane, y);
    }

    /// Sets the cotangent, which is the last input, of one lane.
    #[inline(always)]
    pub fn set_cotangent<const D: usize>(&mut self, lane: usize, cotangent: &[T; D]) {
        self.set_from(self.last, lane, cotangent);
    }

    #[inline(always)]
    fn set_from<const D: usize>(&mut self, first: u8, lane: usize, x: &[T; D]) {
        let registers = self.lanes.registers();
        for (i, &x) in x.iter().enumerate() {
            registers[usize::from(first) + i][lane] = x;
        }
    }

    /// Gives the lanes from `first` on the time and the state of lane 0, and cotangents of 0.
    pub fn fill(&mut self, first: usize) {
        for i in 0..2 {
            for place in self.lanes.input(i) {
                let x = place[0];
                place[first..].fill(x);
            }
        }
        let components = self.lanes.input(1).len();
        let last = usize::from(self.last);
        for place in &mut self.lanes.registers()[last..last + components] {
            place[first..].fill(T::zero());
        }
    }
}

/// The second half of a field's vjp, which reads what the first one kept.
#[derive(Debug)]
struct Kept<T: Real> {
    backward: Function<T>,
    places: Places,
    /// Whether the time is among the cotangents.
    time: bool,
}

/// Where arrays lie that are kept together: each at the start of a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    ranges: Vec<Range<usize>>,
    len: usize,
}

impl Places {
    fn new<T: Real>(shapes: &[Shape]) -> Places {
        let line = 64 / size_of::<T>();
        let mut places = Places::default();
        for shape in shapes {
            places.ranges.push(places.len..places.len + shape.numel());
            places.len += shape.numel().next_multiple_of(line);
        }
        places
    }
}

/// States with more components have their Jacobian by one batched pass, whose program is shorter
/// but does more work, instead of a pass for each row.
const UNFOLDED: usize = 16;

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
        let program = FieldProgram::compile(&function, captured)?;
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
            keeping,
            whole_step: OnceLock::new(),
        })
    }

    /// In two parts.
    pub fn with_parts(mut self, stiff: Function<T>, rest: Function<T>) -> Result<VectorField<T>> {
        let (stiff, rest) = (VectorField::new(stiff)?, VectorField::new(rest)?);
        self.parts = Some(Box::new(Parts { stiff, rest }));
        Ok(self)
    }

    /// Memory for a solver.
    pub fn memory(&self) -> SolverMemory<T> {
        let parts = self.parts.as_ref();
        SolverMemory {
            program: FieldMemory::new(&self.program),
            jacobian: self.jacobian.as_ref().map(FieldMemory::new),
            rate: self.rate.as_ref().map(FieldMemory::new),
            compressed: self.compressed.as_ref().map(|(program, _)| FieldMemory::new(program)),
            parts: parts.map(|parts| parts.memory(|part| &part.program)),
            whole_step: None,
        }
    }

    /// Has the next solves in this memory take whole steps at once, if the field and the method are
    /// small. Compiling takes as long as some hundred steps, so it is for solves that come again.
    pub fn take_whole_steps(&self, memory: &mut SolverMemory<T>, method: Method) {
        if memory.whole_step.is_some() || !matches!(method, Method::Explicit(_)) {
            return;
        }
        let make = || WholeStep::new(&self.program, method.tableau());
        memory.whole_step = self.whole_step.get_or_init(make).as_ref().map(WholeStep::memory);
    }

    /// The field at work for a solver, with what it captures.
    pub fn at_work<'a>(
        &'a self,
        memory: &'a mut SolverMemory<T>,
        captured: &'a [&'a [T]],
    ) -> Result<Replay<'a, T>> {
        let SolverMemory { program, jacobian, rate, compressed, parts, whole_step } = memory;
        let mut replay = Replay::new(&self.program, program, captured)?;
        replay.mass = self.mass.as_deref();
        if let Some((program, memory)) = self.jacobian.as_ref().zip(jacobian.as_mut()) {
            replay.jacobian = Some(AtWork::new(program, memory, captured)?);
        }
        if let Some((program, memory)) = self.rate.as_ref().zip(rate.as_mut()) {
            replay.rate = Some(AtWork::new(program, memory, captured)?);
        }
        if let Some(((program, pattern), memory)) =
            self.compressed.as_ref().zip(compressed.as_mut())
        {
            replay.compressed = Some((AtWork::new(program, memory, captured)?, pattern));
        }
        if let Some((parts, [stiff, rest])) = self.parts.as_ref().zip(parts.as_mut()) {
            let stiff = AtWork::new(&parts.stiff.program, stiff, captured)?;
            replay.parts = Some([stiff, AtWork::new(&parts.rest.program, rest, captured)?]);
        }
        if let (Some(Some(step)), Some(memory)) = (self.whole_step.get(), whole_step) {
            replay.whole_step = Some(step.at_work(memory, captured)?);
        }
        Ok(replay)
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
            let places = Places::new::<T>(&halves.kept);
            self.program = self.compile(&halves.forward)?;
            self.keeping = Some(Kept { backward: halves.backward, places, time });
        }
        Ok(self)
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

    /// The Jacobian of both parts.
    pub fn whole_jacobian(&self) -> Result<FieldProgram<T>> {
        self.compile(&jacobian(&self.function)?)
    }

    /// Compiles a function of the same inputs, and perhaps more.
    pub fn compile(&self, function: &Function<T>) -> Result<FieldProgram<T>> {
        FieldProgram::compile(function, self.function.input_shapes().len() - 2)
    }

    /// The [`vjp`](Self::vjp) that reads what an evaluation kept, if it keeps anything.
    pub fn backward(&self, time: bool, captured: &[usize]) -> Result<Option<FieldProgram<T>>> {
        let Some(kept) = &self.keeping else { return Ok(None) };
        assert!(kept.time || !time, "the cotangent of a time that was not asked for");
        let first = if kept.time { 2 } else { 1 };
        let captured = captured.iter().map(|i| first + i);
        let outputs: Vec<usize> =
            [0].into_iter().chain(time.then_some(1)).chain(captured).collect();
        self.compile(&kept.backward.with_outputs(&outputs)).map(Some)
    }

    /// Where arrays that are kept lie.
    pub fn places(&self) -> Option<&Places> {
        self.keeping.as_ref().map(|kept| &kept.places)
    }

    /// From the inputs and a cotangent of the slope to the cotangents of the state, of the time if
    /// asked for, and of the captured inputs of the given numbers.
    pub fn vjp(&self, time: bool, captured: &[usize]) -> Result<FieldProgram<T>> {
        let times = time.then_some(0);
        let captured = captured.iter().map(|i| i + 2);
        let wrt: Vec<usize> = [1].into_iter().chain(times).chain(captured).collect();
        self.compile(&self.function.vjp(&wrt)?)
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
        Ok(all_small.then_some(FewPrograms { jacobian, captured, back: None }))
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

/// From the inputs to `∂f/∂y`, row-major.
fn jacobian<T: Real>(function: &Function<T>) -> Result<Function<T>> {
    let shape = function.input_shapes()[1].clone();
    if shape.numel() <= UNFOLDED {
        return function.jacobian(0, 1);
    }
    function.transform(&[], |tape, inputs, _, _| {
        let rows: Shape = [shape.numel()].iter().chain(shape.iter()).copied().collect();
        let n = shape.numel();
        let seeds: Vec<T> =
            (0..n * n).map(|ij| if ij % (n + 1) == 0 { T::one() } else { T::zero() }).collect();
        let seeds = tape.leaf(&seeds, rows);
        tape.vmap(&[seeds], |seed| {
            let slope = function.inline(tape, inputs)?;
            tape.vjp(&slope, seed, &[inputs[1]])
        })
    })
}

/// From the inputs to the products of `∂f/∂y` with the sum of the columns of each colour.
fn compressed<T: Real>(function: &Function<T>, pattern: &Sparsity) -> Result<Function<T>> {
    let shape = function.input_shapes()[1].clone();
    function.transform(&[], |tape, inputs, _, _| {
        let (n, colors) = (shape.numel(), pattern.colors());
        let mut seeds = vec![T::zero(); colors * n];
        for (j, &color) in pattern.color_of().iter().enumerate() {
            seeds[color * n + j] = T::one();
        }
        let batch: Shape = [colors].iter().chain(shape.iter()).copied().collect();
        let seeds = tape.leaf(&seeds, batch);
        tape.vmap(&[seeds], |seed| {
            let slope = function.inline(tape, inputs)?;
            tape.jvp(&slope, &[inputs[1]], seed)
        })
    })
}

/// From the inputs to `∂f/∂t`.
fn rate<T: Real>(function: &Function<T>) -> Result<Function<T>> {
    function.transform(&[], |tape, inputs, outputs, _| {
        tape.jvp(outputs, &[inputs[0]], &[tape.scalar(T::one())])
    })
}

/// A program of a field at work, with what the field captures.
#[derive(Debug)]
pub(crate) struct Replay<'a, T: Real> {
    program: AtWork<'a, T>,
    jacobian: Option<AtWork<'a, T>>,
    rate: Option<AtWork<'a, T>>,
    compressed: Option<(AtWork<'a, T>, &'a Arc<Sparsity>)>,
    parts: Option<[AtWork<'a, T>; 2]>,
    mass: Option<&'a Mass<T>>,
    /// Where the program's further outputs, or inputs, are kept.
    places: Option<&'a Places>,
    whole_step: Option<WholeStepAtWork<'a, T>>,
    pub evaluations: usize,
}

/// A program with its workspace.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one for a pass, on the stack")]
enum AtWork<'a, T: Real> {
    /// What is fixed is in its place already.
    Small(Small<'a, T>, SmallPlaces),
    Large(&'a Program<T>, &'a mut Workspace<T>, Fixed<'a, T>),
}

/// Where a small program has its inputs.
#[derive(Clone, Copy, Debug)]
struct SmallPlaces {
    /// How many inputs are fixed.
    fixed: usize,
    /// The registers of the time and the state.
    time: u8,
    state: u8,
}

/// What is captured, and what follows from it alone.
type Fixed<'a, T> = SmallVec<[&'a [T]; 32]>;

impl<'a, T: Real> AtWork<'a, T> {
    fn new(
        program: &'a FieldProgram<T>,
        memory: &'a mut FieldMemory<T>,
        captured: &'a [&'a [T]],
    ) -> Result<AtWork<'a, T>> {
        if !program.is_small() {
            let fixed = fixed(&program.once, &mut memory.once, captured)?;
            return Ok(AtWork::Large(&program.each, &mut memory.each, fixed));
        }
        let (small, fixed) = program.small(memory, 2, captured)?.expect("it is small");
        let (time, state) = (small.place(0), small.place(1));
        Ok(AtWork::Small(small, SmallPlaces { fixed, time, state }))
    }

    /// Runs the program on a time, a state, what is captured, and a cotangent if it takes one.
    #[inline]
    fn run<R>(
        &mut self,
        t: f64,
        y: &[T],
        kept: Option<(&Places, &[T])>,
        cotangent: Option<&[T]>,
        read: impl FnOnce(Outputs<'_, T>) -> R,
    ) -> Result<R> {
        let t = T::from_f64(t);
        match self {
            AtWork::Small(small, places) => {
                small.input(0)[0] = t;
                copy_few(y, small.input(1));
                let mut next = 2 + places.fixed;
                if let Some((places, kept)) = kept {
                    for range in &places.ranges {
                        copy_few(&kept[range.clone()], small.input(next));
                        next += 1;
                    }
                }
                if let Some(cotangent) = cotangent {
                    copy_few(cotangent, small.input(next));
                }
                small.run();
                Ok(read(small.outputs()))
            }
            AtWork::Large(program, workspace, fixed) => {
                let t = [t];
                let mut inputs: SmallVec<[&[T]; 32]> = SmallVec::new();
                inputs.push(&t);
                inputs.push(y);
                for fixed in fixed {
                    inputs.push(fixed);
                }
                if let Some((places, kept)) = kept {
                    inputs.extend(places.ranges.iter().map(|range| &kept[range.clone()]));
                }
                inputs.extend(cotangent);
                Ok(read(program.evaluate(workspace, &inputs)?))
            }
        }
    }

    /// Runs the program on a time, a state and what is captured, and copies the slope to `dy`, the
    /// further outputs to ranges of `kept`, which follow each other.
    fn run_to(
        &mut self,
        t: f64,
        y: &[T],
        ranges: &[Range<usize>],
        dy: &mut [T],
        kept: &mut [T],
    ) -> Result<()> {
        let AtWork::Large(program, workspace, fixed) = self else {
            return self.run(t, y, None, None, |found| copy_few(found.get(0), dy));
        };
        let t = [T::from_f64(t)];
        let mut inputs: SmallVec<[&[T]; 32]> = SmallVec::new();
        inputs.extend([&t[..], y]);
        inputs.extend_from_slice(fixed);
        let mut outputs: SmallVec<[&mut [T]; 16]> = SmallVec::new();
        outputs.push(dy);
        let (mut rest, mut start) = (kept, 0);
        for range in ranges {
            let (place, after) = rest[range.start - start..].split_at_mut(range.len());
            outputs.push(place);
            (rest, start) = (after, range.end);
        }
        program.run(workspace, &inputs, &mut outputs)
    }
}

impl<'a, T: Real> Replay<'a, T> {
    pub fn new(
        program: &'a FieldProgram<T>,
        memory: &'a mut FieldMemory<T>,
        captured: &'a [&'a [T]],
    ) -> Result<Replay<'a, T>> {
        let program = AtWork::new(program, memory, captured)?;
        Ok(Replay {
            program,
            jacobian: None,
            rate: None,
            compressed: None,
            parts: None,
            mass: None,
            places: None,
            whole_step: None,
            evaluations: 0,
        })
    }

    /// A program that a method may not need.
    pub fn of(
        program: Option<&'a FieldProgram<T>>,
        memory: &'a mut Option<FieldMemory<T>>,
        captured: &'a [&'a [T]],
    ) -> Result<Option<Replay<'a, T>>> {
        let pair = program.zip(memory.as_mut());
        pair.map(|(program, memory)| Replay::new(program, memory, captured)).transpose()
    }

    /// Where what evaluations keep lies, if they keep anything.
    pub fn keeping(mut self, places: Option<&'a Places>) -> Replay<'a, T> {
        self.places = places;
        self
    }

    /// Runs the program on a time, a state, what is captured, and a cotangent if it takes one.
    #[inline]
    pub fn run<R>(
        &mut self,
        t: f64,
        y: &[T],
        cotangent: Option<&[T]>,
        read: impl FnOnce(Outputs<'_, T>) -> R,
    ) -> Result<R> {
        self.evaluations += 1;
        self.program.run(t, y, None, cotangent, read)
    }

    /// [`run`](Self::run) of a program that reads what an evaluation kept.
    pub fn run_kept<R>(
        &mut self,
        t: f64,
        y: &[T],
        kept: &[T],
        cotangent: &[T],
        read: impl FnOnce(Outputs<'_, T>) -> R,
    ) -> Result<R> {
        self.evaluations += 1;
        let places = self.places.expect("of what is kept");
        self.program.run(t, y, Some((places, kept)), Some(cotangent), read)
    }
}

/// Copies a slice; for a few numbers a call costs more than the copy.
#[inline(always)]
pub(crate) fn copy_few<T: Copy>(from: &[T], to: &mut [T]) {
    match (from, to) {
        ([a], [to]) => *to = *a,
        ([a, b], [to_a, to_b]) => (*to_a, *to_b) = (*a, *b),
        ([a, b, c], [to_a, to_b, to_c]) => (*to_a, *to_b, *to_c) = (*a, *b, *c),
        ([a, b, c, d], [to_a, to_b, to_c, to_d]) => {
            (*to_a, *to_b, *to_c, *to_d) = (*a, *b, *c, *d);
        }
        (from, to) => to.copy_from_slice(from),
    }
}

impl<T: Real> Field<T> for Replay<'_, T> {
    #[inline(always)]
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        if let AtWork::Small(small, SmallPlaces { time, state, .. }) = &mut self.program {
            self.evaluations += 1;
            let registers = small.registers();
            registers[usize::from(*time)] = T::from_f64(t);
            for (i, &y) in y.iter().enumerate() {
                registers[usize::from(*state) + i] = y;
            }
            small.run();
            let registers = small.registers();
            for (i, dy) in dy.iter_mut().enumerate() {
                *dy = registers[i];
            }
            return Ok(());
        }
        self.run(t, y, None, |outputs| copy_few(outputs.get(0), dy))?;
        Ok(())
    }

    fn mass(&self) -> Option<&Mass<T>> {
        self.mass
    }

    #[inline(always)]
    fn explicit_step(
        &mut self,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        errors: &mut [T],
    ) -> Option<usize> {
        let step = self.whole_step.as_mut()?;
        let evaluations = step.run(t0, t1, y0, k, y1, errors);
        self.evaluations += evaluations;
        Some(evaluations)
    }

    fn kept_len(&self) -> usize {
        self.places.map_or(0, |places| places.len)
    }

    fn eval_keeping(
        &mut self,
        t: f64,
        y: &[T],
        dy: &mut [T],
        part: Part,
        kept: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        let Some(places) = self.places else { return self.eval_part(t, y, dy, part) };
        self.evaluations += 1;
        self.program.run_to(t, y, &places.ranges, dy, kept)?;
        if part != Part::All {
            part.mask(dy);
        }
        Ok(())
    }

    fn jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        jacobian: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        let Some(program) = &mut self.jacobian else {
            return difference_jacobian(self, t, y, dy, jacobian);
        };
        program.run(t, y, None, None, |found| jacobian.copy_from_slice(found.get(0)))?;
        Ok(())
    }

    fn eval_stiff(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        let Some([stiff, _]) = &mut self.parts else { return self.eval(t, y, dy) };
        self.evaluations += 1;
        stiff.run(t, y, None, None, |found| copy_few(found.get(0), dy))?;
        Ok(())
    }

    fn eval_rest(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        match &mut self.parts {
            Some([_, rest]) => rest.run(t, y, None, None, |found| copy_few(found.get(0), dy))?,
            None => dy.fill(T::zero()),
        }
        Ok(())
    }

    fn sparsity(&self) -> Option<&Arc<Sparsity>> {
        self.compressed.as_ref().map(|(_, pattern)| *pattern)
    }

    fn sparse_jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        pattern: &Sparsity,
        values: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        let Some((program, _)) = &mut self.compressed else {
            return sparsity::difference(self, t, y, dy, pattern, values);
        };
        program.run(t, y, None, None, |found| pattern.decompress(found.get(0), values))?;
        Ok(())
    }

    fn time_derivative(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        out: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        let Some(program) = &mut self.rate else {
            return difference_rate(self, t, y, dy, out);
        };
        program.run(t, y, None, None, |found| copy_few(found.get(0), out))?;
        Ok(())
    }
}
