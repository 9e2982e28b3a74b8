//! A whole step of an explicit method as one program on single numbers, forward and backward.
//!
//! What it costs to hand a field of a few numbers its arguments and to take its slope from it is
//! then paid once a step instead of once a stage, sums of stages need no loops, and as
//! [machine code](Program::make_native) the numbers of a step stay in the processor's registers.

mod back;

use costate_ops::Real;
use costate_tape::{Number, Numbers, Program, Small as AtWork};

pub(crate) use self::back::WholeStepBack;
use crate::small::Small;
use crate::tableau::Tableau;
use crate::vector_field::{FieldMemory, FieldProgram};

/// The steps of a method on few numbers.
#[derive(Debug)]
struct Rows {
    /// The times of the slopes after the first one within a step of size 1.
    times: Vec<f64>,
    /// Slope and coefficient of the terms of each stage after the first one, the last of which is the
    /// new state.
    stages: Vec<Vec<(usize, f64)>>,
    /// The same of the error estimates.
    errors: Vec<Vec<(usize, f64)>>,
}

impl Rows {
    fn new(tableau: &Tableau, dim: usize) -> Option<Rows> {
        let small = Small::new(tableau, dim).filter(|_| !tableau.is_partitioned())?;
        let (times, mut stages) = (small.times(), small.rows());
        let errors = stages.split_off(small.stages());
        Some(Rows { times, stages, errors })
    }
}

/// The coefficients of rows, which are inputs of a program, times the step size.
struct Coefficients {
    values: Vec<f64>,
    /// Those of each row.
    rows: Vec<Vec<Number>>,
}

impl Coefficients {
    fn new<'a, T: Real>(
        numbers: &mut Numbers<T>,
        rows: impl Iterator<Item = &'a Vec<(usize, f64)>> + Clone,
    ) -> Coefficients {
        let values: Vec<f64> = rows.clone().flatten().map(|&(_, c)| c).collect();
        let mut inputs = numbers.input(values.len()).into_iter();
        let rows = rows.map(|row| inputs.by_ref().take(row.len()).collect()).collect();
        Coefficients { values, rows }
    }

    /// `from` and the terms of row `i`.
    fn sum<T: Real>(
        &self,
        numbers: &mut Numbers<T>,
        i: usize,
        row: &[(usize, f64)],
        from: &[Number],
        slopes: &[Vec<Number>],
    ) -> Vec<Number> {
        let component = |d: usize| {
            let terms = row.iter().zip(&self.rows[i]);
            terms.fold(from[d], |sum, (&(j, _), &c)| {
                let term = numbers.mul(c, slopes[j][d]);
                numbers.add(sum, term)
            })
        };
        (0..from.len()).map(component).collect()
    }
}

/// Writes coefficients times the step size.
#[inline(always)]
fn scale<T: Real>(values: &[f64], h: f64, out: &mut [T]) {
    for (out, &c) in out.iter_mut().zip(values) {
        *out = T::from_f64(h * c);
    }
}

/// A step: from the times of the stages, the state, the first slope, the coefficients and what the
/// field captures, to the slopes after the first one, the new state, and the error estimates.
#[derive(Debug)]
pub(crate) struct WholeStep<T: Real> {
    program: FieldProgram<T>,
    times: Vec<f64>,
    coefficients: Vec<f64>,
    errors: usize,
}

impl<T: Real> WholeStep<T> {
    /// How many inputs there are before what is captured.
    const HEAD: usize = 4;

    /// That of a method for a field, if both are small, and the machine can run it as code of its own:
    /// taken up one by one, the operations of a step cost as much as those of its stages.
    pub fn new(field: &FieldProgram<T>, tableau: &Tableau) -> Option<WholeStep<T>> {
        let lens = field.input_lens();
        let dim = lens[1];
        let rows = Rows::new(tableau, dim)?;
        let mut numbers = Numbers::new();
        let times = numbers.input(rows.times.len());
        let y0 = numbers.input(dim);
        let mut slopes = vec![numbers.input(dim)];
        let coefficients = Coefficients::new(&mut numbers, rows.stages.iter().chain(&rows.errors));
        let fixed: Vec<Vec<Number>> = lens[2..].iter().map(|&len| numbers.input(len)).collect();
        let mut y1 = y0.clone();
        for (i, row) in rows.stages.iter().enumerate() {
            y1 = coefficients.sum(&mut numbers, i, row, &y0, &slopes);
            if let Some(&time) = times.get(i) {
                let time = [time];
                let mut inputs: Vec<&[Number]> = vec![&time, &y1];
                inputs.extend(fixed.iter().map(Vec::as_slice));
                slopes.push(numbers.call(field.each(), &inputs)?.swap_remove(0));
            }
        }
        let zero = vec![numbers.zero(); dim];
        let errors = rows.errors.iter().enumerate().map(|(i, row)| {
            coefficients.sum(&mut numbers, rows.stages.len() + i, row, &zero, &slopes)
        });
        let errors: Vec<_> = errors.collect();
        let count = errors.len();
        let outputs: Vec<_> = slopes.into_iter().skip(1).chain([y1]).chain(errors).collect();
        let program = native(numbers, &outputs)?;
        Some(WholeStep {
            program: field.with_each(program),
            times: rows.times,
            coefficients: coefficients.values,
            errors: count,
        })
    }

    /// Memory for it.
    pub fn memory(&self) -> FieldMemory<T> {
        FieldMemory::new(&self.program)
    }

    /// The program at work, with what the field captures.
    ///
    /// # Errors
    /// If what is captured does not fit the field.
    pub fn at_work<'a>(
        &'a self,
        memory: &'a mut FieldMemory<T>,
        captured: &'a [&'a [T]],
    ) -> costate_tape::Result<WholeStepAtWork<'a, T>> {
        let (small, _) = self.program.small(memory, Self::HEAD, captured)?.expect("it is small");
        let inputs = usize::from(small.place(0));
        Ok(WholeStepAtWork { step: self, timed: small.reads(0), small, inputs })
    }
}

/// The program with these outputs as machine code.
fn native<T: Real>(numbers: Numbers<T>, outputs: &[Vec<Number>]) -> Option<Program<T>> {
    numbers.compile(outputs).filter(Program::make_native)
}

/// A [`WholeStep`] that can be run.
#[derive(Debug)]
pub(crate) struct WholeStepAtWork<'a, T: Real> {
    step: &'a WholeStep<T>,
    small: AtWork<'a, T>,
    /// The register of the first input; the others follow.
    inputs: usize,
    /// Whether the field depends on the time.
    timed: bool,
}

impl<T: Real> WholeStepAtWork<'_, T> {
    /// Takes a step: see [`Field::explicit_step`](crate::Field::explicit_step).
    #[inline(always)]
    pub fn run(
        &mut self,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        errors: &mut [T],
    ) -> usize {
        // Where this is called the length of the state is known, and copies need no calls.
        let (step, n, h) = (self.step, y0.len(), t1 - t0);
        let evaluations = step.times.len();
        let inputs = &mut self.small.registers()[self.inputs..];
        let (times, inputs) = inputs.split_at_mut(evaluations);
        if self.timed {
            set_times(&step.times, t0, t1, times);
        }
        let (state, inputs) = inputs.split_at_mut(n);
        copy(y0, state);
        let (slope, inputs) = inputs.split_at_mut(n);
        copy(&k[..n], slope);
        scale(&step.coefficients, h, inputs);
        self.small.run();
        let (slopes, outputs) = self.small.registers().split_at(evaluations * n);
        for (k, slope) in k[n..].chunks_exact_mut(n).zip(slopes.chunks_exact(n)) {
            copy(slope, k);
        }
        let (state, outputs) = outputs.split_at(n);
        copy(state, y1);
        for (error, found) in
            errors.chunks_exact_mut(n).zip(outputs.chunks_exact(n)).take(step.errors)
        {
            copy(found, error);
        }
        evaluations
    }
}

/// Copies few numbers, without a call.
#[inline(always)]
fn copy<T: Copy>(from: &[T], to: &mut [T]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = *from;
    }
}

/// Writes the times of stages.
#[inline(always)]
fn set_times<T: Real>(times: &[f64], t0: f64, t1: f64, out: &mut [T]) {
    let h = t1 - t0;
    for (to, &c) in out.iter_mut().zip(times) {
        *to = T::from_f64(if c == 1.0 { t1 } else { t0 + c * h });
    }
}
