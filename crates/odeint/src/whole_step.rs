//! A whole step of an explicit method as one program on single numbers, forward and backward.
//!
//! What it costs to hand a field of a few numbers its arguments and to take its slope from it is
//! then paid once a step instead of once a stage, sums of stages need no loops, and as
//! [machine code](Program::make_native) the numbers of a step stay in the processor's registers.

mod lanes;
mod stages;

use costate_ops::{Binary, Unary};
use costate_tape::{Number, Numbers, Port, Small as AtWork};

use crate::Real;

pub(crate) use self::lanes::{StepsBack, StepsBackMemory};
pub(crate) use self::stages::{StagesAtWork, StagesMemory, WholeStages};
use crate::field::AtOnce;
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

/// The coefficients of rows times the step size.
struct Coefficients<'a> {
    /// Those that are an input of the program, which has been multiplied already.
    values: Vec<f64>,
    rows: Vec<&'a Vec<(usize, f64)>>,
    inputs: Inputs,
}

enum Inputs {
    /// The step size. The product is rounded as it is to be.
    Size(Number),
    /// The coefficients of each row times the step size, since these are multiplied in double precision.
    Products(Vec<Vec<Number>>),
}

impl<'a> Coefficients<'a> {
    /// With one input of the program.
    fn new<T: Real>(
        numbers: &mut Numbers<T>,
        rows: impl Iterator<Item = &'a Vec<(usize, f64)>>,
    ) -> Coefficients<'a> {
        let rows: Vec<_> = rows.collect();
        if size_of::<T>() == size_of::<f64>() {
            let inputs = Inputs::Size(numbers.input(1)[0]);
            return Coefficients { values: vec![1.0], rows, inputs };
        }
        let values: Vec<f64> = rows.iter().copied().flatten().map(|&(_, c)| c).collect();
        let mut inputs = numbers.input(values.len()).into_iter();
        let products = rows.iter().map(|row| inputs.by_ref().take(row.len()).collect()).collect();
        Coefficients { values, rows, inputs: Inputs::Products(products) }
    }

    /// That of term `j` of row `i`.
    fn at<T: Real>(&self, numbers: &mut Numbers<T>, i: usize, j: usize) -> Number {
        match &self.inputs {
            Inputs::Products(rows) => rows[i][j],
            &Inputs::Size(h) => {
                let c = numbers.constant(T::from_f64(self.rows[i][j].1));
                numbers.mul(h, c)
            }
        }
    }

    /// `from` and the terms of row `i`.
    fn sum<T: Real>(
        &self,
        numbers: &mut Numbers<T>,
        i: usize,
        from: &[Number],
        slopes: &[Vec<Number>],
    ) -> Vec<Number> {
        let mut sum = from.to_vec();
        for (j, &(slope, _)) in self.rows[i].iter().enumerate() {
            let c = self.at(numbers, i, j);
            for (sum, &k) in sum.iter_mut().zip(&slopes[slope]) {
                let term = numbers.mul(c, k);
                *sum = numbers.add(*sum, term);
            }
        }
        sum
    }
}

/// Writes coefficients times the step size.
#[inline(always)]
fn scale<T: Real>(values: &[f64], h: f64, out: &mut [T]) {
    for (out, &c) in out.iter_mut().zip(values) {
        *out = T::from_f64(h * c);
    }
}

/// A step: from the times of the stages, the state, the first slope, the coefficients, the tolerances
/// and what the field captures, to the slopes after the first one, the new state, the error estimates,
/// and, if it can be had, the square of the error measure.
///
/// The states and slopes are read and written where they lie.
#[derive(Debug)]
pub(crate) struct WholeStep<T: Real> {
    program: FieldProgram<T>,
    times: Vec<f64>,
    coefficients: Vec<f64>,
    errors: usize,
    /// Whether there is an error measure, and whether it and the step size are passed.
    measured: bool,
    passing: bool,
    /// Whether the field depends on the time.
    timed: bool,
}

impl<T: Real> WholeStep<T> {
    /// How many inputs there are before what is captured.
    const HEAD: usize = 5;

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
        let tolerances = numbers.input(2);
        let fixed: Vec<Vec<Number>> = lens[2..].iter().map(|&len| numbers.input(len)).collect();
        let mut y1 = y0.clone();
        for i in 0..rows.stages.len() {
            y1 = coefficients.sum(&mut numbers, i, &y0, &slopes);
            if let Some(&time) = times.get(i) {
                let time = [time];
                let mut inputs: Vec<&[Number]> = vec![&time, &y1];
                inputs.extend(fixed.iter().map(Vec::as_slice));
                slopes.push(numbers.call(field.each(), &inputs)?.swap_remove(0));
            }
        }
        let zero = vec![numbers.zero(); dim];
        let after = rows.stages.len()..rows.stages.len() + rows.errors.len();
        let errors: Vec<_> =
            after.map(|i| coefficients.sum(&mut numbers, i, &zero, &slopes)).collect();
        let square = match &errors[..] {
            // The measure is taken in double precision.
            [error] if size_of::<T>() == size_of::<f64>() => {
                vec![mean_square(&mut numbers, error, &y0, &y1, &tolerances)]
            }
            _ => vec![],
        };
        let (measured, count) = (!square.is_empty(), errors.len());
        let evaluations = times.len();
        let outputs: Vec<_> =
            slopes.into_iter().skip(1).chain([y1]).chain(errors).chain([square]).collect();
        let program = numbers.compile(&outputs)?;
        let slopes = (0..evaluations).map(|i| (Port::Output(i), 3, (i + 1) * dim));
        let ends = [(Port::Input(1), 0, 0), (Port::Output(evaluations), 2, 0)];
        let places: Vec<_> = slopes.chain(ends).chain([(Port::Input(2), 3, 0)]).collect();
        // A step waits for its size, and the next one for the error: neither goes through memory.
        let passing = measured && matches!(coefficients.inputs, Inputs::Size(_));
        let made = match passing {
            true => program.make_native_passing(&places, [3, evaluations + 1 + rows.errors.len()]),
            false => program.make_native_apart(&places),
        };
        made.then(|| WholeStep {
            passing,
            timed: program.reads(0),
            program: field.with_each(program),
            times: rows.times,
            coefficients: coefficients.values,
            errors: count,
            measured,
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
        let [times, coefficients, tolerances] = [0, 3, 4].map(|i| usize::from(small.place(i)));
        Ok(WholeStepAtWork { step: self, small, times, coefficients, tolerances })
    }
}

/// [`control::mean_square`](crate::control::mean_square), but NaN where an error and a tolerance are 0.
fn mean_square<T: Real>(
    numbers: &mut Numbers<T>,
    error: &[Number],
    y0: &[Number],
    y1: &[Number],
    tolerances: &[Number],
) -> Number {
    let mut sum = numbers.zero();
    for (d, &error) in error.iter().enumerate() {
        let [a, b] = [y0[d], y1[d]].map(|y| numbers.unary(Unary::Abs, y));
        let size = numbers.binary(Binary::Max, a, b);
        let relative = numbers.mul(tolerances[1], size);
        let tolerance = numbers.add(tolerances[0], relative);
        let reciprocal = numbers.unary(Unary::Recip, tolerance);
        let ratio = numbers.mul(error, reciprocal);
        let square = numbers.mul(ratio, ratio);
        sum = numbers.add(sum, square);
    }
    let share = numbers.constant(T::from_f64(1.0 / error.len() as f64));
    numbers.mul(sum, share)
}

/// A [`WholeStep`] that can be run.
#[derive(Debug)]
pub(crate) struct WholeStepAtWork<'a, T: Real> {
    step: &'a WholeStep<T>,
    small: AtWork<'a, T>,
    /// The registers of inputs.
    times: usize,
    coefficients: usize,
    tolerances: usize,
}

impl<T: Real> WholeStepAtWork<'_, T> {
    /// Takes a step: see [`Field::explicit_step`](crate::Field::explicit_step).
    #[inline(always)]
    pub fn run(
        &mut self,
        [t0, t1]: [f64; 2],
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        tolerances: Option<[f64; 2]>,
        errors: &mut [T],
    ) -> AtOnce {
        let step = self.step;
        let registers = self.small.registers();
        if step.timed {
            set_times(&step.times, t0, t1, &mut registers[self.times..]);
        }
        if let Some(tolerances) = tolerances {
            let places = &mut registers[self.tolerances..][..2];
            (places[0], places[1]) = (T::from_f64(tolerances[0]), T::from_f64(tolerances[1]));
        }
        let evaluations = step.times.len();
        let (first, n) = ((evaluations + 1) * y0.len(), y0.len() * step.errors);
        let square = if step.passing {
            self.small.run_passing(T::from_f64(t1 - t0), [y0, &[]], [y1, k]).as_f64()
        } else {
            scale(&step.coefficients, t1 - t0, &mut registers[self.coefficients..]);
            self.small.run_on([y0, &[]], [y1, k]);
            let measure = if step.measured { first + n } else { 0 };
            self.small.registers()[measure].as_f64()
        };
        if tolerances.is_some() && step.measured && !square.is_nan() {
            return AtOnce { evaluations, square: Some(square) };
        }
        let registers = self.small.registers();
        copy(&registers[first..first + n], errors);
        AtOnce { evaluations, square: None }
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
pub(crate) fn set_times<T: Real>(times: &[f64], t0: f64, t1: f64, out: &mut [T]) {
    let h = t1 - t0;
    for (to, &c) in out.iter_mut().zip(times) {
        *to = T::from_f64(if c == 1.0 { t1 } else { t0 + c * h });
    }
}
