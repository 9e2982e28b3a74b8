//! A step backward.

use costate_ops::Real;
use costate_tape::{Number, Numbers, Port, Small as AtWork};

use super::{Coefficients, Rows, scale, set_times};
use crate::tableau::Tableau;
use crate::vector_field::{FieldMemory, FieldProgram};
use crate::weights::{WEIGHTS, Weights};

/// A step backward: from the times of the slopes after the first one, the states at both ends, the
/// slopes but the end slope, the coefficients, the cotangents of the state at the end, of the end
/// slope from the step after, of what is captured from there, and of all slopes from states within the
/// step, the sum of the cotangents of those states, and what the field captures, to the cotangents of
/// the state at the start, of the first slope, and of what is captured.
///
/// States, slopes and the cotangents that are carried from step to step are read and written where
/// they lie.
#[derive(Debug)]
pub(crate) struct WholeStepBack<T: Real> {
    program: FieldProgram<T>,
    times: Vec<f64>,
    coefficients: Vec<f64>,
    /// How many cotangents there are of what is captured.
    pub captured: usize,
    /// Whether the field depends on the time.
    timed: bool,
    /// The weights of the interpolant.
    pub weights: Weights,
}

impl<T: Real> WholeStepBack<T> {
    /// How many inputs there are before what is captured.
    const HEAD: usize = 10;

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
        let added = numbers.input(dim);
        let count = vjp.each().output_shapes().skip(1).map(|shape| shape.numel()).sum();
        let before = numbers.input(count);
        let fixed = &lens[2..lens.len() - 1];
        let fixed: Vec<Vec<Number>> = fixed.iter().map(|&len| numbers.input(len)).collect();
        let mut captured: Option<Vec<Number>> = None;
        let mut back = |numbers: &mut Numbers<T>, i: usize, y: &[Number], bar: &[Number]| {
            let time = [times[i - 1]];
            let mut inputs: Vec<&[Number]> = vec![&time, y];
            inputs.extend(fixed.iter().map(Vec::as_slice));
            // What waits for the cotangent is then no more than a product with a tiny matrix.
            let matrix = numbers.matrix(vjp.each(), &inputs, 0);
            inputs.push(bar);
            let mut found = numbers.call(vjp.each(), &inputs)?.into_iter();
            let state = found.next()?;
            let state = matrix.map_or(state, |matrix| product(numbers, &matrix, bar));
            let found: Vec<Number> = found.flatten().collect();
            captured = Some(match captured.take() {
                Some(sum) => add(numbers, &sum, &found),
                None => found,
            });
            Some(state)
        };
        let states: Vec<Vec<Number>> =
            (1..end).map(|i| coefficients.sum(&mut numbers, i - 1, &y0, &slopes)).collect();
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
                let c = coefficients.at(&mut numbers, j - 1, place);
                let terms: Vec<Number> = bars[j].iter().map(|&x| numbers.mul(c, x)).collect();
                bar = add(&mut numbers, &bar, &terms);
            }
            bars[i] = if i == 0 { bar } else { back(&mut numbers, i, &states[i - 1], &bar)? };
        }
        for bar in &bars[1..end] {
            p = add(&mut numbers, &p, bar);
        }
        p = add(&mut numbers, &p, &added);
        let first = bars.swap_remove(0);
        let captured = add(&mut numbers, &before, &captured?);
        let program = numbers.compile(&[p, first, captured])?;
        let states = [(Port::Input(1), 0, 0), (Port::Input(2), 0, dim), (Port::Input(3), 1, 0)];
        let from = [(Port::Input(5), 2, 0), (Port::Input(6), 2, dim), (Port::Input(9), 2, 2 * dim)];
        let to =
            [(Port::Output(0), 3, 0), (Port::Output(1), 3, dim), (Port::Output(2), 3, 2 * dim)];
        let places: Vec<_> = states.into_iter().chain(from).chain(to).collect();
        program.make_native_apart(&places).then(|| WholeStepBack {
            timed: program.reads(0),
            program: vjp.with_each(program),
            times: tableau.c[1..=end].to_vec(),
            coefficients: coefficients.values,
            captured: count,
            weights: Weights::new(&tableau.interpolant),
        })
    }

    /// How many slopes a step has without its end slope.
    pub fn stride(&self) -> usize {
        self.times.len()
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
        let mut small = self.program.small_again(memory);
        let [times, coefficients, inside] = [0, 4, 7].map(|i| usize::from(small.place(i)));
        small.input(7).fill(T::zero());
        small.input(8).fill(T::zero());
        WholeStepBackAtWork { step: self, small, times, coefficients, inside, has_inside: false }
    }
}

/// So many vectors of inputs.
fn vectors<T: Real>(numbers: &mut Numbers<T>, count: usize, len: usize) -> Vec<Vec<Number>> {
    numbers.input(count * len).chunks(len).map(<[Number]>::to_vec).collect()
}

/// The product of a matrix, by its rows, and a vector.
fn product<T: Real>(numbers: &mut Numbers<T>, rows: &[Vec<Number>], x: &[Number]) -> Vec<Number> {
    let zero = numbers.zero();
    let mut result = vec![zero; rows.len()];
    for (sum, row) in result.iter_mut().zip(rows) {
        for (&entry, &x) in row.iter().zip(x).filter(|(entry, _)| **entry != zero) {
            let term = numbers.mul(entry, x);
            *sum = numbers.add(*sum, term);
        }
    }
    result
}

/// The sum of two vectors.
fn add<T: Real>(numbers: &mut Numbers<T>, a: &[Number], b: &[Number]) -> Vec<Number> {
    a.iter().zip(b).map(|(&a, &b)| numbers.add(a, b)).collect()
}

/// A [`WholeStepBack`] that can be run.
#[derive(Debug)]
pub(crate) struct WholeStepBackAtWork<'a, T: Real> {
    pub step: &'a WholeStepBack<T>,
    small: AtWork<'a, T>,
    /// The registers of inputs; those of `inside` are followed by the sum.
    times: usize,
    coefficients: usize,
    inside: usize,
    /// Whether the latter are not all 0.
    has_inside: bool,
}

impl<T: Real> WholeStepBackAtWork<'_, T> {
    /// Sets the cotangents of the states within the next step, with their places in it.
    #[inline(always)]
    pub fn set_inside<'g, const D: usize>(
        &mut self,
        h: f64,
        states: impl Iterator<Item = (f64, &'g [T])>,
    ) {
        let (step, rows) = (self.step, self.step.times.len() + 1);
        let registers = &mut self.small.registers()[self.inside..];
        let (bars, added) = registers.split_at_mut(rows * D);
        let (bars, added) = (bars.as_chunks_mut::<D>().0, &mut added[..D]);
        let mut has_inside = false;
        for (theta, g) in states {
            let g: &[T; D] = g.first_chunk().expect("a state");
            for (bars, weights) in bars.chunks_mut(WEIGHTS).zip(step.weights.at(theta)) {
                for (bar, weight) in bars.iter_mut().zip(weights) {
                    let weight = T::from_f64(h * weight);
                    for d in 0..D {
                        let term = weight * g[d];
                        bar[d] = if has_inside { bar[d] + term } else { term };
                    }
                }
            }
            for d in 0..D {
                added[d] = if has_inside { added[d] + g[d] } else { g[d] };
            }
            has_inside = true;
        }
        if self.has_inside && !has_inside {
            registers[..(rows + 1) * D].fill(T::zero());
        }
        self.has_inside = has_inside;
    }

    /// Takes a step backward, from the second to the first of the times: `states` are those at its ends,
    /// and `slopes` its slopes. The cotangents `from` are those of the state and of the slope at its
    /// end, and of what is captured; those `to` at its start. Returns how often the field's vjp was
    /// evaluated.
    #[inline(always)]
    pub fn run(
        &mut self,
        [t0, t1]: [f64; 2],
        states: &[T],
        slopes: &[T],
        from: &mut [T],
        to: &mut [T],
    ) -> usize {
        let step = self.step;
        let registers = self.small.registers();
        if step.timed {
            set_times(&step.times, t0, t1, &mut registers[self.times..]);
        }
        scale(&step.coefficients, t1 - t0, &mut registers[self.coefficients..]);
        self.small.run_on([states, slopes], [from, to]);
        step.times.len()
    }
}
