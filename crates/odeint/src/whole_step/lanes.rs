//! Several steps backward at once.
//!
//! The cotangent at the start of a step waits for that at its end. But it is an affine function of it,
//! with a matrix that does not wait: it goes through the step once for each component, and once more
//! for what comes from states within the step. So several steps find theirs side by side, a step a lane,
//! and what is left to do one after another is a product with a tiny matrix. Then all cotangents are
//! known, and those of what is captured can again be found side by side.

use costate_ops::LANES;
use costate_tape::{Lanes, Number, Numbers, Port, Program};

use super::{Coefficients, Rows};
use crate::Real;
use crate::tableau::Tableau;
use crate::vector_field::{FieldProgram, LaneMemory};
use crate::weights::Weights;

/// What programs of steps backward read: rows of numbers, one for each lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepRows {
    /// The times of the slopes, from the first to the end slope.
    pub times: usize,
    /// The state at the start, and where the end slope was found.
    pub y0: usize,
    pub y1: usize,
    /// The slopes but the end slope.
    pub slopes: usize,
    pub coefficients: usize,
    /// The cotangents of all slopes from states within the step, then the sum of those of the states.
    pub inside: usize,
    pub added: usize,
    pub len: usize,
}

/// Steps backward side by side, as machine code: only of methods whose interpolant has no slopes of its
/// own.
#[derive(Debug)]
pub(crate) struct StepsBack<T: Real> {
    /// From the rows of a step and what the field captures to the matrix, row by row, that takes the
    /// cotangent of the state at its end to that at its start, and what is to be added.
    map: FieldProgram<T>,
    /// From the same, the cotangents at the end and sums of cotangents of what is captured, to these
    /// sums with those of the step. `None` if they are not wanted.
    captured: Option<FieldProgram<T>>,
    /// From [arrivals](StepsBackMemory::arrive) to the cotangents of slopes with theirs. `None` if numbers are
    /// of single precision: weights are not.
    arrivals: Option<Program<T>>,
    pub rows: StepRows,
    /// The times of the slopes within a step of size 1, from the first to the end slope.
    pub times: Vec<f64>,
    pub coefficients: Vec<f64>,
    /// How many cotangents there are of what is captured.
    pub count: usize,
    /// Whether the field depends on the time.
    pub timed: bool,
    /// The weights of the interpolant.
    pub weights: Weights,
}

/// The memory of the programs.
#[derive(Debug)]
pub(crate) struct StepsBackMemory<T: Real> {
    map: LaneMemory<T>,
    captured: Option<LaneMemory<T>>,
    arrivals: Option<Lanes<T>>,
}

/// From the cotangent of a slope, of that number, to that of its state.
type Through<'a, T> = dyn FnMut(&mut Numbers<T>, usize, &[Number]) -> Option<Vec<Number>> + 'a;

/// The numbers of a step in a program.
struct Step<'a> {
    coefficients: Coefficients<'a>,
    times: Vec<Number>,
    fixed: Vec<Vec<Number>>,
    inside: Vec<Vec<Number>>,
    added: Vec<Number>,
    /// The states of the slopes.
    states: Vec<Vec<Number>>,
    one: Number,
}

impl<'a> Step<'a> {
    /// How many inputs there are before what is captured.
    const HEAD: usize = 7;

    fn new<T: Real>(numbers: &mut Numbers<T>, vjp: &FieldProgram<T>, rows: &'a Rows) -> Step<'a> {
        let lens = vjp.input_lens();
        let (dim, end) = (lens[1], rows.stages.len());
        let vectors = |numbers: &mut Numbers<T>, count: usize| -> Vec<Vec<Number>> {
            numbers.input(count * dim).chunks(dim).map(<[Number]>::to_vec).collect()
        };
        let times = numbers.input(end + 1);
        let y0 = numbers.input(dim);
        let y1 = numbers.input(dim);
        let slopes = vectors(numbers, end);
        let coefficients = Coefficients::new(numbers, rows.stages.iter());
        let inside = vectors(numbers, end + 1);
        let added = numbers.input(dim);
        let fixed = lens[2..lens.len() - 1].iter().map(|&len| numbers.input(len)).collect();
        let inner = (1..end).map(|i| coefficients.sum(numbers, i - 1, &y0, &slopes));
        let inner: Vec<_> = inner.collect();
        let states = [y0].into_iter().chain(inner).chain([y1]).collect();
        let one = numbers.constant(T::one());
        Step { coefficients, times, fixed, inside, added, states, one }
    }

    /// Where the inputs are.
    fn rows(&self) -> StepRows {
        let (times, dim, slopes) = (self.times.len(), self.added.len(), self.times.len() - 1);
        let y0 = times;
        let coefficients = y0 + (2 + slopes) * dim;
        let inside = coefficients + self.coefficients.values.len();
        let added = inside + times * dim;
        let (y1, slopes) = (y0 + dim, y0 + 2 * dim);
        StepRows { times: 0, y0, y1, slopes, coefficients, inside, added, len: added + dim }
    }

    /// The inputs of the field's vjp for a slope but the cotangent.
    fn inputs(&self, i: usize) -> Vec<&[Number]> {
        let point = [&self.times[i..=i], &self.states[i]];
        point.into_iter().chain(self.fixed.iter().map(Vec::as_slice)).collect()
    }

    /// From the cotangent of the state at the end to that at the start, with or without what comes from
    /// states within the step.
    fn back<T: Real>(
        &self,
        numbers: &mut Numbers<T>,
        p: &[Number],
        from_inside: bool,
        through: &mut Through<'_, T>,
    ) -> Option<Vec<Number>> {
        let (end, stages) = (self.states.len() - 1, &self.coefficients.rows);
        let zero = vec![numbers.zero(); p.len()];
        let mut bars = vec![zero.clone(); end + 1];
        bars[end] = p.to_vec();
        if from_inside {
            let found = through(numbers, end, &self.inside[end])?;
            bars[end] = add(numbers, p, &found);
        }
        for i in (0..end).rev() {
            let mut bar = if from_inside { self.inside[i].clone() } else { zero.clone() };
            for j in (i + 1..=end).rev() {
                let place = stages[j - 1].iter().position(|&(slope, _)| slope == i);
                let Some(place) = place else { continue };
                let c = self.coefficients.at(numbers, j - 1, place);
                let terms: Vec<_> = bars[j].iter().map(|&x| self.mul(numbers, c, x)).collect();
                bar = add(numbers, &bar, &terms);
            }
            bars[i] = through(numbers, i, &bar)?;
        }
        let mut p = bars.swap_remove(end);
        // That of the first slope was found last.
        for bar in bars.iter().rev() {
            p = add(numbers, &p, bar);
        }
        Some(if from_inside { add(numbers, &p, &self.added) } else { p })
    }

    /// `a b`, where `b` may be known.
    fn mul<T: Real>(&self, numbers: &mut Numbers<T>, a: Number, b: Number) -> Number {
        match b {
            b if b == numbers.zero() => b,
            b if b == self.one => a,
            b => numbers.mul(a, b),
        }
    }

    /// The product of a matrix and a vector, entries of which may be known.
    fn product<T: Real>(
        &self,
        numbers: &mut Numbers<T>,
        rows: &[Vec<Number>],
        x: &[Number],
    ) -> Vec<Number> {
        let zero = numbers.zero();
        let mut sums = vec![zero; rows.len()];
        for (sum, row) in sums.iter_mut().zip(rows) {
            for (&entry, &x) in row.iter().zip(x).filter(|(entry, _)| **entry != zero) {
                let term = self.mul(numbers, entry, x);
                *sum = numbers.add(*sum, term);
            }
        }
        sums
    }
}

/// The sum of two vectors.
fn add<T: Real>(numbers: &mut Numbers<T>, a: &[Number], b: &[Number]) -> Vec<Number> {
    a.iter().zip(b).map(|(&a, &b)| numbers.add(a, b)).collect()
}

/// Has a program run with its first inputs in the rows of a step.
fn in_rows<T: Real>(
    program: Program<T>,
    vjp: &FieldProgram<T>,
    rows: StepRows,
    others: &[(Port, usize, usize)],
) -> Option<FieldProgram<T>> {
    let StepRows { times, y0, y1, slopes, coefficients, inside, added, .. } = rows;
    let starts = [times, y0, y1, slopes, coefficients, inside, added].into_iter().enumerate();
    let places: Vec<_> =
        starts.map(|(i, at)| (Port::Input(i), 0, at)).chain(others.iter().copied()).collect();
    program.make_native_lanes(&places).then(|| vjp.with_each(program))
}

impl<T: Real> StepsBack<T> {
    /// Those of a method, from the vjp of a field, whose further outputs are the cotangents of what is
    /// captured. `None` if they are not small, or the machine cannot run them as code of their own.
    pub fn new(vjp: &FieldProgram<T>, tableau: &Tableau) -> Option<StepsBack<T>> {
        let dim = vjp.input_lens()[1];
        let stages = Rows::new(tableau, dim).filter(|_| tableau.interpolant.c.is_empty())?;

        let mut numbers = Numbers::new();
        let step = Step::new(&mut numbers, vjp, &stages);
        let rows = step.rows();
        let matrices: Option<Vec<_>> = (0..step.states.len())
            .map(|i| numbers.matrix(vjp.each(), &step.inputs(i), 0))
            .collect();
        let mut through = |numbers: &mut Numbers<T>, i: usize, bar: &[Number]| match &matrices {
            Some(matrices) => Some(step.product(numbers, &matrices[i], bar)),
            None => {
                let inputs: Vec<_> = step.inputs(i).into_iter().chain([bar]).collect();
                numbers.call(vjp.each(), &inputs)?.into_iter().next()
            }
        };
        let zero = vec![numbers.zero(); dim];
        let mut columns = Vec::new();
        for j in 0..dim {
            let mut unit = zero.clone();
            unit[j] = step.one;
            columns.push(step.back(&mut numbers, &unit, false, &mut through)?);
        }
        let matrix = (0..dim * dim).map(|ij| columns[ij % dim][ij / dim]).collect();
        let added = step.back(&mut numbers, &zero, true, &mut through)?;
        let coefficients = step.coefficients.values.clone();
        let program = numbers.compile(&[matrix, added])?;
        let others = [(Port::Output(0), 2, 0), (Port::Output(1), 2, dim * dim)];
        let timed = program.reads(0);
        let map = in_rows(program, vjp, rows, &others)?;

        let count: usize = vjp.each().output_shapes().skip(1).map(|shape| shape.numel()).sum();
        let captured = match count {
            0 => None,
            _ => Some(Self::captured(vjp, &stages, count)?),
        };
        let weights = Weights::new(&tableau.interpolant);
        let arrivals = if size_of::<T>() == size_of::<f64>() {
            Some(Self::arrivals(&weights, rows, dim)?)
        } else {
            None
        };
        Some(StepsBack {
            arrivals,
            timed: timed || captured.as_ref().is_some_and(|captured| captured.each().reads(0)),
            map,
            captured,
            rows,
            times: tableau.c[..=stages.stages.len()].to_vec(),
            coefficients,
            count,
            weights,
        })
    }

    /// The program for the cotangents of what is captured.
    fn captured(vjp: &FieldProgram<T>, stages: &Rows, count: usize) -> Option<FieldProgram<T>> {
        let mut numbers = Numbers::new();
        let step = Step::new(&mut numbers, vjp, stages);
        let (p, mut sums) = (numbers.input(step.added.len()), numbers.input(count));
        let mut through = |numbers: &mut Numbers<T>, i: usize, bar: &[Number]| {
            let inputs: Vec<_> = step.inputs(i).into_iter().chain([bar]).collect();
            let mut found = numbers.call(vjp.each(), &inputs)?.into_iter();
            let state = found.next()?;
            let found: Vec<Number> = found.flatten().collect();
            sums = add(numbers, &sums, &found);
            Some(state)
        };
        step.back(&mut numbers, &p, true, &mut through)?;
        let first = Step::HEAD + step.fixed.len();
        let rows = step.rows();
        let program = numbers.compile(&[sums])?;
        let others =
            [(Port::Input(first), 1, 0), (Port::Input(first + 1), 2, 0), (Port::Output(0), 2, 0)];
        in_rows(program, vjp, rows, &others)
    }

    /// The program for cotangents of states within a step.
    fn arrivals(weights: &Weights, rows: StepRows, dim: usize) -> Option<Program<T>> {
        let mut numbers = Numbers::new();
        let (theta, g, h) = (numbers.input(1)[0], numbers.input(dim), numbers.input(1)[0]);
        let slopes = (rows.added - rows.inside) / dim;
        let (inside, added) = (numbers.input(slopes * dim), numbers.input(dim));
        let mut bars = Vec::new();
        for (i, bar) in inside.chunks(dim).enumerate() {
            let mut weight = numbers.zero();
            for c in weights.coefficients(i) {
                let c = numbers.constant(T::from_f64(c));
                let sum = numbers.add(weight, c);
                weight = numbers.mul(sum, theta);
            }
            let weight = numbers.mul(h, weight);
            let terms: Vec<_> = g.iter().map(|&g| numbers.mul(weight, g)).collect();
            bars.extend(add(&mut numbers, bar, &terms));
        }
        let added = add(&mut numbers, &added, &g);
        let program = numbers.compile(&[bars, added])?;
        let (inside, added) = (rows.inside, rows.added);
        let places = [
            (Port::Input(0), 0, 0),
            (Port::Input(1), 0, 1),
            (Port::Input(2), 2, rows.coefficients),
            (Port::Input(3), 2, inside),
            (Port::Input(4), 2, added),
            (Port::Output(0), 2, inside),
            (Port::Output(1), 2, added),
        ];
        program.make_native_lanes(&places).then_some(program)
    }

    /// Memory for them.
    pub fn memory(&self) -> StepsBackMemory<T> {
        StepsBackMemory {
            map: LaneMemory::new(&self.map),
            captured: self.captured.as_ref().map(LaneMemory::new),
            arrivals: self.arrivals.as_ref().and_then(Program::lanes),
        }
    }

    /// Sets what the field captures.
    ///
    /// # Errors
    /// If what is captured does not fit the field.
    pub fn begin(
        &self,
        memory: &mut StepsBackMemory<T>,
        captured: &[&[T]],
    ) -> costate_tape::Result<()> {
        memory.map.begin_from(&self.map, Step::HEAD, captured)?;
        if let Some((program, memory)) = self.captured.as_ref().zip(memory.captured.as_mut()) {
            memory.begin_from(program, Step::HEAD, captured)?;
        }
        Ok(())
    }
}

impl<T: Real> StepsBackMemory<T> {
    /// Adds what comes from a state within each step, by the place in it and the cotangent, to the
    /// cotangents of the slopes. Returns whether it can.
    #[inline]
    pub fn arrive(&mut self, states: &[[T; LANES]], steps: &mut [[T; LANES]]) -> bool {
        let Some(lanes) = &mut self.arrivals else { return false };
        lanes.run_on([states, &[]], [steps, &mut []]);
        true
    }

    /// Finds the matrices of steps and what is to be added, one after the other.
    #[inline]
    pub fn map(&mut self, steps: &[[T; LANES]], found: &mut [[T; LANES]]) {
        self.map.lanes.run_on([steps, &[]], [found, &mut []]);
    }

    /// Adds the cotangents of what is captured, from those of the states at the ends.
    #[inline]
    pub fn captured(&mut self, steps: &[[T; LANES]], p: &[[T; LANES]], sums: &mut [[T; LANES]]) {
        if let Some(memory) = &mut self.captured {
            memory.lanes.run_on([steps, p], [sums, &mut []]);
        }
    }
}
