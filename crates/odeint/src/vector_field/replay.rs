//! A recorded field at work: how a solver runs its programs.

use std::ops::Range;
use std::sync::Arc;

use costate_tape::{Outputs, Program, Result, Shape, Small, Workspace};
use smallvec::SmallVec;

use super::program::{Fixed, fixed};
use super::{AnyJacobian, FieldMemory, FieldProgram, VectorField};
use crate::Real;
use crate::error::FieldError;
use crate::field::{
    AtOnce, Field, ImplicitAtOnce, ImplicitStep, difference_jacobian, difference_rate,
};
use crate::integrator::Steps;
use crate::mass::Mass;
use crate::row_blocks::RowsAtWork;
use crate::sparsity::{self, Sparsity};
use crate::tableau::{Part, Tableau};
use crate::whole_step::{StagesAtWork, StagesMemory, WholeStepAtWork};

/// The memory of all programs of a field that a solver runs.
#[derive(Debug)]
pub(crate) struct SolverMemory<T: Real> {
    program: FieldMemory<T>,
    jacobian: Option<FieldMemory<T>>,
    rate: Option<FieldMemory<T>>,
    compressed: Option<FieldMemory<T>>,
    parts: Option<[FieldMemory<T>; 2]>,
    pub(super) whole_step: Option<FieldMemory<T>>,
    pub(super) whole_stages: Option<StagesMemory<T>>,
}

/// Where arrays lie that are kept together: each at the start of a cache line.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    ranges: Vec<Range<usize>>,
    /// The state of the evaluation, if it is kept as well.
    state: Option<Range<usize>>,
    len: usize,
}

/// How many times as long as the state what is kept must be for the state to be kept as well: to find it
/// anew is a linear combination of slopes.
const STATE_BESIDE: usize = 8;

impl Places {
    /// How many numbers there are, with those between.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Of arrays of these shapes, and a state of so many numbers.
    pub(super) fn new<T: Real>(shapes: &[Shape], state: usize) -> Places {
        let line = 64 / size_of::<T>();
        let mut places = Places::default();
        for shape in shapes {
            places.ranges.push(places.len..places.len + shape.numel());
            places.len += shape.numel().next_multiple_of(line);
        }
        if places.len >= STATE_BESIDE * state {
            places.state = Some(places.len..places.len + state);
            places.len += state.next_multiple_of(line);
        }
        places
    }
}

impl<T: Real> VectorField<T> {
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
            whole_stages: None,
        }
    }

    /// The field at work for a solver, with what it captures.
    pub fn at_work<'a>(
        &'a self,
        memory: &'a mut SolverMemory<T>,
        captured: &'a [&'a [T]],
    ) -> Result<Replay<'a, T>> {
        let SolverMemory { program, jacobian, rate, compressed, parts, .. } = memory;
        let (whole_step, whole_stages) = (&mut memory.whole_step, &mut memory.whole_stages);
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
        if let (Some(Some(stages)), Some(memory)) = (self.whole_stages.get(), whole_stages) {
            replay.whole_stages = Some(stages.at_work(memory, captured)?);
        }
        Ok(replay)
    }
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
    /// Of what the program finds the products with the columns of each colour.
    pattern: Option<&'a Sparsity>,
    whole_step: Option<WholeStepAtWork<'a, T>>,
    whole_stages: Option<StagesAtWork<'a, T>>,
    /// The same field in blocks of rows, which takes its place.
    rows: Option<RowsAtWork<'a, T>>,
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
            pattern: None,
            whole_step: None,
            whole_stages: None,
            rows: None,
            evaluations: 0,
        })
    }

    /// A program of the Jacobian, for [`matrix`](Self::matrix).
    pub fn of_jacobian(
        program: Option<AnyJacobian<'a, T>>,
        memory: &'a mut Option<FieldMemory<T>>,
        captured: &'a [&'a [T]],
    ) -> Result<Option<Replay<'a, T>>> {
        let pattern = program.and_then(|(_, pattern)| pattern);
        let replay = Replay::of(program.map(|(program, _)| program), memory, captured)?;
        Ok(replay.map(|replay| Replay { pattern, ..replay }))
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

    /// Whether it takes steps of a diagonally implicit method at once.
    #[cfg(test)]
    pub fn takes_stages(&self) -> bool {
        self.whole_stages.is_some()
    }

    /// Where what evaluations keep lies, if they keep anything.
    pub fn keeping(mut self, places: Option<&'a Places>) -> Replay<'a, T> {
        self.places = places;
        self
    }

    /// By blocks of rows instead.
    pub fn by_rows(mut self, rows: Option<RowsAtWork<'a, T>>) -> Replay<'a, T> {
        self.rows = rows;
        self
    }

    /// The state of the evaluation that kept this, if that was kept as well.
    pub fn kept_state<'k>(&self, kept: &'k [T]) -> Option<&'k [T]> {
        Some(&kept[self.places?.state.clone()?])
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

    /// The matrix that a program of the Jacobian finds, row by row.
    pub fn matrix(&mut self, t: f64, y: &[T], out: &mut [T]) -> Result<()> {
        let pattern = self.pattern;
        self.run(t, y, None, |found| match pattern {
            Some(pattern) => pattern.scatter_products(found.get(0), out),
            None => out.copy_from_slice(found.get(0)),
        })
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
        if let Some(rows) = &mut self.rows {
            self.evaluations += 1;
            return rows.eval(t, y, dy, &mut []);
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
        times: [f64; 2],
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        tolerances: Option<[f64; 2]>,
        errors: &mut [T],
    ) -> Option<AtOnce> {
        let step = self.whole_step.as_mut()?.run(times, y0, k, y1, tolerances, errors);
        self.evaluations += step.evaluations;
        Some(step)
    }

    #[inline]
    fn steps(&mut self) -> Option<&mut dyn Steps<T>> {
        if self.whole_step.is_some() { Some(self) } else { None }
    }

    fn implicit_step(&mut self, step: ImplicitStep<'_, T>) -> Option<ImplicitAtOnce> {
        let done = self.whole_stages.as_mut()?.step(step);
        self.evaluations += done.evaluations;
        Some(done)
    }

    fn step_by_rows(
        &mut self,
        tableau: &Tableau,
        times: [f64; 2],
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        kept: &mut [&mut [T]],
    ) -> Option<std::result::Result<(), FieldError>> {
        Some(self.rows.as_mut()?.step(tableau, times, y0, k, y1, kept))
    }

    fn kept_len(&self) -> usize {
        match &self.rows {
            Some(rows) => rows.kept_len(),
            None => self.places.map_or(0, |places| places.len),
        }
    }

    fn eval_keeping(
        &mut self,
        t: f64,
        y: &[T],
        dy: &mut [T],
        part: Part,
        kept: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        if let Some(rows) = &mut self.rows {
            self.evaluations += 1;
            return rows.eval(t, y, dy, kept);
        }
        let Some(places) = self.places else { return self.eval_part(t, y, dy, part) };
        self.evaluations += 1;
        if let Some(range) = &places.state {
            kept[range.clone()].copy_from_slice(y);
        }
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
            return difference_jacobian(&mut |t, y, dy| self.eval(t, y, dy), t, y, dy, jacobian);
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
            return sparsity::difference(
                &mut |t, y, dy| self.eval(t, y, dy),
                t,
                y,
                dy,
                pattern,
                values,
            );
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
            return difference_rate(&mut |t, y, dy| self.eval(t, y, dy), t, y, dy, out);
        };
        program.run(t, y, None, None, |found| copy_few(found.get(0), out))?;
        Ok(())
    }
}
