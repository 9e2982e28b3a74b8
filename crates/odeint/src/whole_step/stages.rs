//! The stages of a diagonally implicit method on few numbers as programs on single numbers: what
//! [`Newton`](crate::newton::Newton) does, with each iteration one program.
//!
//! An iteration evaluates the field at the iterate, solves for the update and adds it. In place of the
//! factors of `I - hγ J` there is its inverse, since an update waits for fewer operations that way. Each
//! stage begins with a program of its own: its sums over the slopes before it, and two iterations, which
//! hardly any stage does without. A last program finds the new state and the error.
//!
//! All read what a step has in common from one place, [`Context`], and slopes where they lie.

use costate_ops::invert;
use costate_tape::{Number, Numbers, Port, Small as AtWork};
use smallvec::SmallVec;

use super::{Coefficients, mean_square, scale};
use crate::Real;
use crate::dirk::DirkTableau;
use crate::field::{ImplicitAtOnce, ImplicitStep};
use crate::newton::{ITERATIONS, Limits, REFRESHES, Verdict, size};
use crate::small::{LARGEST, first};
use crate::vector_field::{FieldMemory, FieldProgram};

/// Where numbers lie that the programs of a step share: the time of a stage, `hγ`, the tolerances, the
/// state at the start, `hγ` over the size of each component, the inverse matrix row by row, and then the
/// coefficients of each program.
#[derive(Clone, Copy, Debug)]
struct Context {
    dim: usize,
}

impl Context {
    const TIME: usize = 0;
    const SIZE: usize = 1;
    const TOLERANCES: usize = 2;
    const START: usize = 4;

    const fn scale(self) -> usize {
        Context::START + self.dim
    }

    const fn matrix(self) -> usize {
        self.scale() + self.dim
    }

    const fn coefficients(self) -> usize {
        self.matrix() + self.dim * self.dim
    }
}

/// What programs write for each other: what a stage starts from, its slope after one iteration, and the
/// sums of squares of two updates. The last program has the error estimates after the first of these.
const fn workspace(dim: usize) -> usize {
    4 * dim + 2
}

/// The slices of a program: what is common to a step, what is only read, what programs write for each
/// other, and slopes or what comes of the step.
const COMMON: usize = 0;
const READ: usize = 1;
const WORK: usize = 2;
const WRITTEN: usize = 3;

/// A program in the making, with the places of its inputs.
struct Making<'a, T: Real> {
    numbers: Numbers<T>,
    field: &'a FieldProgram<T>,
    context: Context,
    places: Vec<(Port, usize, usize)>,
    inputs: usize,
}

impl<'a, T: Real> Making<'a, T> {
    fn new(field: &'a FieldProgram<T>, context: Context) -> Making<'a, T> {
        Making { numbers: Numbers::new(), field, context, places: Vec::new(), inputs: 0 }
    }

    fn input(&mut self, len: usize, slice: usize, offset: usize) -> Vec<Number> {
        self.place(slice, offset);
        self.numbers.input(len)
    }

    /// Says where the next input lies.
    fn place(&mut self, slice: usize, offset: usize) {
        self.places.push((Port::Input(self.inputs), slice, offset));
        self.inputs += 1;
    }

    fn common(&mut self, len: usize, offset: usize) -> Vec<Number> {
        self.input(len, COMMON, offset)
    }

    /// The coefficients of rows, which lie after so many of those of other programs.
    fn coefficients<'r>(
        &mut self,
        rows: &[&'r Vec<(usize, f64)>],
        before: usize,
    ) -> Coefficients<'r> {
        self.place(COMMON, self.context.coefficients() + before);
        Coefficients::new(&mut self.numbers, rows.iter().copied())
    }

    /// The inputs of the field that are fixed, which have registers of their own.
    fn fixed(&mut self) -> Vec<Vec<Number>> {
        let lens = self.field.input_lens();
        lens[2..].iter().map(|&len| self.numbers.input(len)).collect()
    }

    /// `a + c b`.
    fn add_scaled(&mut self, a: &[Number], c: Number, b: &[Number]) -> Vec<Number> {
        let numbers = &mut self.numbers;
        let terms: Vec<Number> = b.iter().map(|&b| numbers.mul(c, b)).collect();
        a.iter().zip(&terms).map(|(&a, &term)| numbers.add(a, term)).collect()
    }

    /// The product of a square matrix and a vector.
    fn product(&mut self, matrix: &[Number], x: &[Number]) -> Vec<Number> {
        let numbers = &mut self.numbers;
        let row = |row: &[Number]| {
            row.iter().zip(x).fold(numbers.zero(), |sum, (&entry, &x)| {
                let term = numbers.mul(entry, x);
                numbers.add(sum, term)
            })
        };
        matrix.chunks(x.len()).map(row).collect()
    }

    /// The program, with these outputs and their places.
    fn finish(mut self, outputs: &[(Vec<Number>, usize, usize)]) -> Option<Made<T>> {
        let places = outputs.iter().enumerate();
        self.places.extend(places.map(|(i, &(_, slice, offset))| (Port::Output(i), slice, offset)));
        let outputs: Vec<_> = outputs.iter().map(|(output, ..)| output.clone()).collect();
        let program = self.numbers.compile(&outputs)?;
        let made = program.make_native_apart(&self.places);
        made.then(|| Made { program: self.field.with_each(program), inputs: self.inputs })
    }
}

/// What an iteration reads but the slope and what the stage starts from.
struct Iteration {
    time: Vec<Number>,
    size: Number,
    scale: Vec<Number>,
    matrix: Vec<Number>,
    fixed: Vec<Vec<Number>>,
}

impl Iteration {
    fn new<T: Real>(making: &mut Making<'_, T>) -> Iteration {
        let context = making.context;
        let dim = context.dim;
        Iteration {
            time: making.common(1, Context::TIME),
            size: making.common(1, Context::SIZE)[0],
            scale: making.common(dim, context.scale()),
            matrix: making.common(dim * dim, context.matrix()),
            fixed: Vec::new(),
        }
    }

    /// One iteration from a slope: to a better one, and the sum of the squares of the update's entries,
    /// each relative to its size.
    fn apply<T: Real>(
        &self,
        making: &mut Making<'_, T>,
        base: &[Number],
        k: &[Number],
    ) -> Option<(Vec<Number>, Number)> {
        let y = making.add_scaled(base, self.size, k);
        let mut inputs: Vec<&[Number]> = vec![&self.time, &y];
        inputs.extend(self.fixed.iter().map(Vec::as_slice));
        let slope = making.numbers.call(making.field.each(), &inputs)?.swap_remove(0);
        let numbers = &mut making.numbers;
        let residual: Vec<Number> = slope
            .iter()
            .zip(k)
            .map(|(&f, &k)| numbers.binary(costate_ops::Binary::Sub, f, k))
            .collect();
        let update = making.product(&self.matrix, &residual);
        let numbers = &mut making.numbers;
        let mut sum = numbers.zero();
        for (&update, &scale) in update.iter().zip(&self.scale) {
            let scaled = numbers.mul(update, scale);
            let square = numbers.mul(scaled, scaled);
            sum = numbers.add(sum, square);
        }
        // Last of all, so that a slope may be written where it was read.
        let k = k.iter().zip(&update).map(|(&k, &update)| numbers.add(k, update)).collect();
        Some((k, sum))
    }
}

/// A program, with the number of its inputs before what is captured.
#[derive(Debug)]
struct Made<T: Real> {
    program: FieldProgram<T>,
    inputs: usize,
}

impl<T: Real> Made<T> {
    fn at_work<'a>(
        &'a self,
        memory: &'a mut FieldMemory<T>,
        captured: &'a [&'a [T]],
    ) -> costate_tape::Result<AtWork<'a, T>> {
        let (small, _) = self.program.small(memory, self.inputs, captured)?.expect("it is small");
        Ok(small)
    }
}

/// The programs of the steps of a diagonally implicit method.
#[derive(Debug)]
pub(crate) struct WholeStages<T: Real> {
    method: &'static DirkTableau,
    dim: usize,
    jacobian: Made<T>,
    /// The first part of each stage.
    starts: Vec<Made<T>>,
    iteration: Made<T>,
    end: Made<T>,
    /// The coefficients of all of them.
    coefficients: Vec<f64>,
    /// Whether there is an error measure.
    measured: bool,
}

impl<T: Real> WholeStages<T> {
    /// Those of a method for a field with its Jacobian, if both are small, and the machine can run them as
    /// code of its own.
    pub fn new(
        field: &FieldProgram<T>,
        jacobian: &FieldProgram<T>,
        method: &'static DirkTableau,
    ) -> Option<WholeStages<T>> {
        let (dim, tableau) = (field.input_lens()[1], &method.tableau);
        if dim > LARGEST || !field.is_small() || !jacobian.is_small() {
            return None;
        }
        let context = Context { dim };
        let error = tableau.error.filter(|_| tableau.error_low.is_none());
        let terms = |row: &[f64]| -> Vec<(usize, f64)> {
            row.iter().copied().enumerate().filter(|(_, c)| *c != 0.0).collect()
        };
        let mut coefficients = Vec::new();
        let mut starts = Vec::new();
        for i in 1..tableau.rows() {
            let mut making = Making::new(field, context);
            let mut iteration = Iteration::new(&mut making);
            let y0 = making.common(dim, Context::START);
            let slopes = making.input(i * dim, WRITTEN, 0);
            let slopes: Vec<Vec<Number>> = slopes.chunks(dim).map(<[Number]>::to_vec).collect();
            let row = terms(&tableau.a[i][..i]);
            let products = making.coefficients(&[&row], coefficients.len());
            coefficients.extend_from_slice(&products.values);
            iteration.fixed = making.fixed();
            let base = products.sum(&mut making.numbers, 0, &y0, &slopes);
            let mut guess = vec![making.numbers.zero(); dim];
            for (j, c) in terms(method.predictor[i]) {
                let c = making.numbers.constant(T::from_f64(c));
                guess = making.add_scaled(&guess, c, &slopes[j]);
            }
            let (once, first) = iteration.apply(&mut making, &base, &guess)?;
            let (twice, second) = iteration.apply(&mut making, &base, &once)?;
            starts.push(making.finish(&[
                (base, WORK, 0),
                (once, WORK, dim),
                (vec![first, second], WORK, 2 * dim),
                (twice, WRITTEN, i * dim),
            ])?);
        }
        let mut making = Making::new(field, context);
        let mut iteration = Iteration::new(&mut making);
        let base = making.input(dim, WORK, 0);
        let k = making.input(dim, WRITTEN, 0);
        iteration.fixed = making.fixed();
        let (next, sum) = iteration.apply(&mut making, &base, &k)?;
        let iteration = making.finish(&[(next, WRITTEN, 0), (vec![sum], WORK, 2 * dim)])?;

        let mut making = Making::new(field, context);
        let size = making.common(1, Context::SIZE)[0];
        let tolerances = making.common(2, Context::TOLERANCES);
        let y0 = making.common(dim, Context::START);
        let matrix = making.common(dim * dim, context.matrix());
        let base = making.input(dim, WORK, 0);
        let slopes = making.input(tableau.rows() * dim, READ, 0);
        let slopes: Vec<Vec<Number>> = slopes.chunks(dim).map(<[Number]>::to_vec).collect();
        let row = error.map(terms).unwrap_or_default();
        let products = making.coefficients(&[&row], coefficients.len());
        coefficients.extend_from_slice(&products.values);
        making.fixed();
        let y1 = making.add_scaled(&base, size, &slopes[tableau.rows() - 1]);
        let zero = vec![making.numbers.zero(); dim];
        let mut estimate = products.sum(&mut making.numbers, 0, &zero, &slopes);
        if method.filter {
            estimate = making.product(&matrix, &estimate);
        }
        // The measure is taken in double precision.
        let measured = error.is_some() && size_of::<T>() == size_of::<f64>();
        let square = match measured {
            true => vec![mean_square(&mut making.numbers, &estimate, &y0, &y1, &tolerances)],
            false => vec![],
        };
        let end =
            making.finish(&[(y1, WRITTEN, 0), (estimate, WORK, dim), (square, WORK, 2 * dim)])?;

        let mut making = Making::new(jacobian, context);
        let time = making.common(1, Context::TIME);
        let y = making.input(dim, READ, 0);
        let fixed = making.fixed();
        let mut inputs: Vec<&[Number]> = vec![&time, &y];
        inputs.extend(fixed.iter().map(Vec::as_slice));
        let found = making.numbers.call(jacobian.each(), &inputs)?.swap_remove(0);
        let jacobian = making.finish(&[(found, WORK, 0)])?;
        Some(WholeStages { method, dim, jacobian, starts, iteration, end, coefficients, measured })
    }

    /// Memory for them.
    pub fn memory(&self) -> StagesMemory<T> {
        let zeros = |n: usize| vec![T::zero(); n];
        StagesMemory {
            jacobian: FieldMemory::new(&self.jacobian.program),
            starts: self.starts.iter().map(|start| FieldMemory::new(&start.program)).collect(),
            iteration: FieldMemory::new(&self.iteration.program),
            end: FieldMemory::new(&self.end.program),
            context: zeros(Context { dim: self.dim }.coefficients() + self.coefficients.len()),
            work: zeros(workspace(self.dim)),
            matrix: zeros(self.dim * self.dim),
        }
    }

    /// The programs at work, with what the field captures.
    ///
    /// # Errors
    /// If what is captured does not fit the field.
    pub fn at_work<'a>(
        &'a self,
        memory: &'a mut StagesMemory<T>,
        captured: &'a [&'a [T]],
    ) -> costate_tape::Result<StagesAtWork<'a, T>> {
        let StagesMemory { jacobian, starts, iteration, end, context, work, matrix } = memory;
        let starts = self.starts.iter().zip(starts);
        Ok(StagesAtWork {
            of: self,
            jacobian: self.jacobian.at_work(jacobian, captured)?,
            starts: starts
                .map(|(start, memory)| start.at_work(memory, captured))
                .collect::<costate_tape::Result<_>>()?,
            iteration: self.iteration.at_work(iteration, captured)?,
            end: self.end.at_work(end, captured)?,
            limits: Limits::default(),
            at_start: false,
            context,
            work,
            matrix,
        })
    }
}

/// The memory of [`WholeStages`].
#[derive(Debug)]
pub(crate) struct StagesMemory<T: Real> {
    jacobian: FieldMemory<T>,
    starts: Vec<FieldMemory<T>>,
    iteration: FieldMemory<T>,
    end: FieldMemory<T>,
    context: Vec<T>,
    work: Vec<T>,
    matrix: Vec<T>,
}

/// [`WholeStages`] that can be run.
#[derive(Debug)]
pub(crate) struct StagesAtWork<'a, T: Real> {
    of: &'a WholeStages<T>,
    jacobian: AtWork<'a, T>,
    starts: SmallVec<[AtWork<'a, T>; 8]>,
    iteration: AtWork<'a, T>,
    end: AtWork<'a, T>,
    limits: Limits,
    /// Whether the Jacobian is that at the start of the step.
    at_start: bool,
    /// What is common to the programs of a step, and what they write for each other.
    context: &'a mut [T],
    work: &'a mut [T],
    /// The Jacobian.
    matrix: &'a mut [T],
}

impl<T: Real> StagesAtWork<'_, T> {
    /// Tries a step: see [`Field::implicit_step`](crate::Field::implicit_step).
    pub fn step(&mut self, step: ImplicitStep<'_, T>) -> ImplicitAtOnce {
        match self.of.dim {
            1 => self.step_of::<1>(step),
            2 => self.step_of::<2>(step),
            3 => self.step_of::<3>(step),
            4 => self.step_of::<4>(step),
            n => unreachable!("{n} components are not few"),
        }
    }

    fn step_of<const D: usize>(&mut self, step: ImplicitStep<'_, T>) -> ImplicitAtOnce {
        let ImplicitStep { times: [t0, t1], is_new, options, tolerances, y0, k, y1, estimate } =
            step;
        let (of, place) = (self.of, Context { dim: D });
        let (tableau, h) = (&of.method.tableau, t1 - t0);
        let hg = h * of.method.diagonal();
        let mut done = ImplicitAtOnce::default();
        let y0: [T; D] = *first(y0);
        if is_new || !self.at_start {
            self.evaluate::<D>(t0, &y0, &mut done);
            self.at_start = true;
        }
        if !self.factor::<D>(hg, &mut done) {
            done.diverged = Some(1);
            return done;
        }
        self.context[Context::SIZE] = T::from_f64(hg);
        self.context[Context::START..][..D].copy_from_slice(&y0);
        self.limits = Limits::new::<T>(options);
        self.limits.measure(&y0, hg, &mut self.context[place.scale()..][..D]);
        scale(&of.coefficients, h, &mut self.context[place.coefficients()..]);
        for i in 1..tableau.rows() {
            let t = if tableau.c[i] == 1.0 { t1 } else { t0 + tableau.c[i] * h };
            self.context[Context::TIME] = T::from_f64(t);
            if !self.stage::<D>(i, t, hg, k, &mut done) {
                done.diverged = Some(i);
                return done;
            }
        }
        let tolerance = tolerances.unwrap_or_default().map(T::from_f64);
        self.context[Context::TOLERANCES..][..2].copy_from_slice(&tolerance);
        self.end.run_on([self.context, k], [self.work, y1]);
        estimate[..D].copy_from_slice(&self.work[D..2 * D]);
        if of.measured && tolerances.is_some() {
            // NaN where an error and a tolerance are 0.
            done.square = Some(self.work[2 * D].as_f64()).filter(|square| !square.is_nan());
        }
        done
    }

    /// Solves for the slope of stage `i` in `k`, after those before it. Returns whether that converged.
    #[inline(always)]
    fn stage<const D: usize>(
        &mut self,
        i: usize,
        t: f64,
        hg: f64,
        k: &mut [T],
        done: &mut ImplicitAtOnce,
    ) -> bool {
        self.starts[i - 1].run_on([self.context, &[]], [self.work, k]);
        let k: &mut [T; D] = k[i * D..].first_chunk_mut().expect("a slope");
        done.evaluations += 2;
        let mut watch = self.limits.watch();
        let mut verdict = watch.judge(size(self.work[2 * D].as_f64(), D));
        match verdict {
            Verdict::Done => {
                // The second iteration was too much.
                done.evaluations -= 1;
                *k = *first(&self.work[D..]);
                return true;
            }
            Verdict::Lost => return false,
            _ => verdict = watch.judge(size(self.work[2 * D + 1].as_f64(), D)),
        }
        let mut iterations = 2;
        for refreshes in 0..=REFRESHES {
            loop {
                match verdict {
                    Verdict::Done => return true,
                    Verdict::Lost => return false,
                    Verdict::Again if iterations < ITERATIONS => {}
                    _ => break,
                }
                self.iteration.run_on([self.context, &[]], [self.work, k]);
                iterations += 1;
                done.evaluations += 1;
                verdict = watch.judge(size(self.work[2 * D].as_f64(), D));
            }
            if refreshes < REFRESHES {
                let step = T::from_f64(hg);
                let y: [T; D] = std::array::from_fn(|d| self.work[d] + step * k[d]);
                self.evaluate::<D>(t, &y, done);
                self.at_start = false;
                if !self.factor::<D>(hg, done) {
                    return false;
                }
                watch = self.limits.watch();
                (verdict, iterations) = (Verdict::Again, 0);
            }
        }
        watch.is_enough()
    }

    /// Evaluates the Jacobian.
    fn evaluate<const D: usize>(&mut self, t: f64, y: &[T; D], done: &mut ImplicitAtOnce) {
        done.jacobians += 1;
        self.context[Context::TIME] = T::from_f64(t);
        self.jacobian.run_on([self.context, y], [self.matrix, &mut []]);
    }

    /// Inverts `I - hγ J`; returns whether it is regular.
    fn factor<const D: usize>(&mut self, hg: f64, done: &mut ImplicitAtOnce) -> bool {
        done.factorisations += 1;
        let minus = T::from_f64(-hg);
        let jacobian = self.matrix.as_chunks::<D>().0;
        // Of the transpose, so that what is left of an error after an iteration is as small as by factors.
        let mut m: [[T; D]; D] = std::array::from_fn(|j| {
            std::array::from_fn(|i| {
                let entry = minus * jacobian[i][j];
                if i == j { entry + T::one() } else { entry }
            })
        });
        let regular = invert(&mut m);
        let rows = self.context[Context { dim: D }.matrix()..].as_chunks_mut::<D>().0;
        for (i, row) in rows[..D].iter_mut().enumerate() {
            *row = std::array::from_fn(|j| m[j][i]);
        }
        regular
    }
}

#[cfg(test)]
mod tests;
