//! A step backward.

use costate_ops::Real;
use costate_tape::{Number, Numbers, Small as AtWork};

use super::{Coefficients, Rows, native, scale, set_times};
use crate::tableau::Tableau;
use crate::vector_field::{FieldMemory, FieldProgram};

/// A step backward: from the times of the slopes after the first one, the states at both ends, the
/// slopes but the end slope, the coefficients, the cotangents of the state at the end, of the end
/// slope from the step after, and of all slopes from states within the step, and what the field
/// captures, to the cotangents of the state at the start, of the first slope, and what is captured.
#[derive(Debug)]
pub(crate) struct WholeStepBack<T: Real> {
    program: FieldProgram<T>,
    times: Vec<f64>,
    coefficients: Vec<f64>,
    /// How many cotangents there are of what is captured.
    pub captured: usize,
}

impl<T: Real> WholeStepBack<T> {
    /// How many inputs there are before what is captured.
    const HEAD: usize = 8;

    /// That of a method, from the vjp of a field, whose further outputs are the cotangents of what is
    /// captured. Only of methods whose interpolant has no slopes of its own.
    pub fn new(vjp: &FieldProgram<T>, tableau: &Tableau) -> Option<WholeStepBack<T>> {
        let lens = vjp.input_lens();
        let dim = lens[1];
        let rows = Rows::new(tableau, dim).filter(|_| tableau.interpolant.c.is_empty())?;
        let (end, stages) = (rows.stages.len(), &rows.stages);
        let mut numbers = Numbers::new();
        let times = numbers.input(end);
        let y0 = numbers.input(dim);
        let y1 = numbers.input(dim);
        let slopes = vectors(&mut numbers, end, dim);
        let coefficients = Coefficients::new(&mut numbers, stages.iter());
        let mut p = numbers.input(dim);
        let from_end = numbers.input(dim);
        let inside = vectors(&mut numbers, end + 1, dim);
        let fixed = &lens[2..lens.len() - 1];
        let fixed: Vec<Vec<Number>> = fixed.iter().map(|&len| numbers.input(len)).collect();
        let mut captured: Option<Vec<Number>> = None;
        let mut back = |numbers: &mut Numbers<T>, i: usize, y: &[Number], bar: &[Number]| {
            let time = [times[i - 1]];
            let mut inputs: Vec<&[Number]> = vec![&time, y];
            inputs.extend(fixed.iter().map(Vec::as_slice));
            inputs.push(bar);
            let mut found = numbers.call(vjp.each(), &inputs)?.into_iter();
            let state = found.next()?;
            let found: Vec<Number> = found.flatten().collect();
            captured = Some(match captured.take() {
                Some(sum) => add(numbers, &sum, &found),
                None => found,
            });
            Some(state)
        };
        let states: Vec<Vec<Number>> = (1..end)
            .map(|i| coefficients.sum(&mut numbers, i - 1, &stages[i - 1], &y0, &slopes))
            .collect();
        // Through the end slope.
        let bar = add(&mut numbers, &from_end, &inside[end]);
        let through = back(&mut numbers, end, &y1, &bar)?;
        p = add(&mut numbers, &p, &through);
        // The cotangents of the stages, of which the last one is the new state.
        let mut bars = vec![Vec::new(); end + 1];
        bars[end].clone_from(&p);
        for i in (0..end).rev() {
            // What was found last is added last, since it is what the sum waits for.
            let mut bar = inside[i].clone();
            for j in (i + 1..=end).rev() {
                let place = stages[j - 1].iter().position(|&(slope, _)| slope == i);
                let Some(place) = place else { continue };
                let c = coefficients.rows[j - 1][place];
                let terms: Vec<Number> = bars[j].iter().map(|&x| numbers.mul(c, x)).collect();
                bar = add(&mut numbers, &bar, &terms);
            }
            bars[i] = if i == 0 { bar } else { back(&mut numbers, i, &states[i - 1], &bar)? };
        }
        for bar in &bars[1..end] {
            p = add(&mut numbers, &p, bar);
        }
        let first = bars.swap_remove(0);
        let captured = captured?;
        let count = captured.len();
        let program = native(numbers, &[p, first, captured])?;
        Some(WholeStepBack {
            program: vjp.with_each(program),
            times: tableau.c[1..=end].to_vec(),
            coefficients: coefficients.values,
            captured: count,
        })
    }

    /// Memory for it.
    pub fn memory(&self) -> FieldMemory<T> {
        FieldMemory::new(&self.program)
    }

    /// Sets what the field captures.
    ///
    /// # Errors
    /// If what is captured does not fit the field.
    pub fn begin(
        &self,
        memory: &mut FieldMemory<T>,
        captured: &[&[T]],
    ) -> costate_tape::Result<()> {
        self.program.small(memory, Self::HEAD, captured)?.expect("it is small");
        Ok(())
    }

    /// The program at work, with what was [set](Self::begin).
    pub fn at_work<'a>(&'a self, memory: &'a mut FieldMemory<T>) -> WholeStepBackAtWork<'a, T> {
        let small = self.program.small_again(memory);
        let inputs = usize::from(small.place(0));
        WholeStepBackAtWork { step: self, timed: small.reads(0), small, inputs }
    }
}

/// So many vectors of inputs.
fn vectors<T: Real>(numbers: &mut Numbers<T>, count: usize, len: usize) -> Vec<Vec<Number>> {
    numbers.input(count * len).chunks(len).map(<[Number]>::to_vec).collect()
}

/// The sum of two vectors.
fn add<T: Real>(numbers: &mut Numbers<T>, a: &[Number], b: &[Number]) -> Vec<Number> {
    a.iter().zip(b).map(|(&a, &b)| numbers.add(a, b)).collect()
}

/// A [`WholeStepBack`] that can be run.
#[derive(Debug)]
pub(crate) struct WholeStepBackAtWork<'a, T: Real> {
    step: &'a WholeStepBack<T>,
    small: AtWork<'a, T>,
    /// The register of the first input; the others follow.
    inputs: usize,
    /// Whether the field depends on the time.
    timed: bool,
}

impl<T: Real> WholeStepBackAtWork<'_, T> {
    /// Takes a step backward, from `t1` to `t0`: `y0` and `y1` are the states at its ends, `k` its
    /// slopes, `p` and `end` the cotangents of the state and of the slope at its end, and `inside`
    /// those of its slopes from states within it. Writes those of the state and of the slope at its
    /// start to `p` and `end`, and adds those of what is captured. Returns how often the field's vjp
    /// was evaluated.
    #[inline(always)]
    #[expect(clippy::too_many_arguments, reason = "what a step is")]
    pub fn run<const D: usize>(
        &mut self,
        t0: f64,
        t1: f64,
        y0: &[T],
        y1: &[T],
        k: &[[T; D]],
        p: &mut [T; D],
        end: &mut [T; D],
        inside: &[[T; D]],
        captured: &mut [T],
    ) -> usize {
        let (step, h) = (self.step, t1 - t0);
        let evaluations = step.times.len();
        let inputs = &mut self.small.registers()[self.inputs..];
        let (times, inputs) = inputs.split_at_mut(evaluations);
        if self.timed {
            set_times(&step.times, t0, t1, times);
        }
        let (states, inputs) = inputs.split_at_mut(2 * D);
        for d in 0..D {
            (states[d], states[D + d]) = (y0[d], y1[d]);
        }
        let (slopes, inputs) = inputs.split_at_mut(evaluations * D);
        for (to, slope) in slopes.as_chunks_mut::<D>().0.iter_mut().zip(k) {
            *to = *slope;
        }
        let (coefficients, inputs) = inputs.split_at_mut(step.coefficients.len());
        scale(&step.coefficients, h, coefficients);
        let (bars, _) = inputs.as_chunks_mut::<D>();
        (bars[0], bars[1]) = (*p, *end);
        for (to, bar) in bars[2..].iter_mut().zip(inside) {
            *to = *bar;
        }
        self.small.run();
        let (bars, _) = self.small.registers().as_chunks::<D>();
        (*p, *end) = (bars[0], bars[1]);
        let found = &self.small.registers()[2 * D..];
        for (to, &x) in captured.iter_mut().zip(found) {
            *to += x;
        }
        evaluations
    }
}
