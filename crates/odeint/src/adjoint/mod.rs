//! The backward pass of a solve: Hamilton's equations for `H = p · f`, discrete or continuous.

mod by_rows;
mod continuous;
mod exact;
mod few;
mod multistep;
mod of_few;
mod programs;
mod quadrature;
mod retake;
mod rosenbrock;
mod side_by_side;
mod stages;
mod sums;
mod undo;

pub(crate) use by_rows::{RowMemory, RowPrograms};
pub(crate) use continuous::{Continuous, Equations};
pub(crate) use exact::Exact;
pub(crate) use few::{Few, FewPrograms};
pub(crate) use multistep::Multistep;
pub(crate) use of_few::{FEW, OfFew};
pub(crate) use programs::{Programs, WithPrograms};
pub(crate) use retake::{Again, Retake};
pub(crate) use side_by_side::SideBySide;
pub(crate) use stages::Stages;
pub(crate) use sums::{SumMemory, SumPlans, Sums};
pub(crate) use undo::Undo;

use costate_ops::{axpy, axpy_compensated};
use costate_tape::Outputs;
use smallvec::SmallVec;

use crate::Real;
use crate::error::FieldError;
use crate::grid::Grid;
use crate::method::Method;
use crate::row_blocks::Block;
use crate::stats::Stats;

/// What a backward pass starts from.
pub(crate) struct Backward<'a, T: Real> {
    pub method: Method,
    pub ts: &'a [f64],
    /// The steps, or a window of them.
    pub grid: &'a Grid<T>,
    /// How many steps there are.
    pub steps: usize,
    /// The states at the times, and their cotangents.
    pub ys: &'a [T],
    pub cotangent: &'a [T],
    /// The block of rows that it is for, if it is not for all.
    pub block: Option<Block>,
}

impl<T: Real> Backward<'_, T> {
    /// How many entries of a state it is for.
    fn dim(&self) -> usize {
        self.block.map_or(self.grid.dim, |block| block.state.len())
    }

    /// Those of a state, or of a slope.
    fn cut<'x>(&self, state: &'x [T]) -> &'x [T] {
        self.block.map_or(state, |block| block.state.of(state))
    }

    /// The state at time number `i`.
    fn y(&self, i: usize) -> &[T] {
        self.cut(&self.ys[i * self.grid.dim..(i + 1) * self.grid.dim])
    }

    /// Its cotangent.
    fn g(&self, i: usize) -> &[T] {
        self.cut(&self.cotangent[i * self.grid.dim..(i + 1) * self.grid.dim])
    }

    /// State number `n` of the grid.
    fn start(&self, n: usize) -> &[T] {
        self.cut(self.grid.y(n))
    }

    /// The slopes of step `n`, and the interpolant's own if asked for.
    fn slopes(&self, n: usize, own: bool) -> SmallVec<[&[T]; 32]> {
        let own = if own { self.grid.own(n) } else { &[] };
        let all = [self.grid.k(n), own];
        all.into_iter().flat_map(|k| k.chunks_exact(self.grid.dim)).map(|k| self.cut(k)).collect()
    }

    /// What the evaluation of slope `i` of step `n` left, if it was kept.
    fn kept(&self, n: usize, i: usize) -> Option<&[T]> {
        let kept = self.grid.kept(n, i)?;
        Some(self.block.map_or(kept, |block| block.kept.of(kept)))
    }
}

/// A discrete adjoint pass over steps in reverse, which may come in windows, the last one first.
pub(crate) trait Reverse<T: Real> {
    /// Begins a pass.
    fn start(&mut self, from: &Backward<'_, T>);

    /// Takes the steps of a grid in reverse, which may be a window: the next ones before those that
    /// were taken.
    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError>;

    /// Ends a pass, at the start of the first step.
    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError>;

    /// What a pass over so many steps did.
    fn stats(&self, steps: usize) -> Stats;

    /// The whole pass over a grid that is all there.
    fn run(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        self.start(from);
        self.steps(from, to)?;
        self.finish(from, to)?;
        Ok(Stats {
            bytes_kept: from.grid.bytes(),
            grid_bytes: from.grid.step_bytes(),
            states_kept: from.grid.states(),
            ..self.stats(from.steps)
        })
    }
}

/// Where the results go; all zeros at first.
pub(crate) struct Cotangents<'a, T: Real> {
    pub y0: &'a mut [T],
    pub times: Option<&'a mut [T]>,
    /// Those of the captured inputs that are wanted, one after another.
    pub captured: &'a mut [T],
    /// What rounding took from the sums in `captured`, if that is kept: as many entries, or none.
    pub rest: &'a mut [T],
}

impl<T: Real> Cotangents<'_, T> {
    /// Adds `c` times what a program of the field's vjp found for captured inputs, and returns
    /// what it found for the time.
    pub(crate) fn add(&mut self, c: T, outputs: &Outputs<'_, T>) -> f64 {
        let mut number = if self.times.is_some() { 2 } else { 1 };
        if let Some(found) = outputs.from(number) {
            for (to, &x) in self.captured.iter_mut().zip(found) {
                *to += c * x;
            }
            return if self.times.is_some() { outputs.get(1)[0].as_f64() } else { 0.0 };
        }
        let mut at = 0;
        while at < self.captured.len() {
            let found = outputs.get(number);
            let range = at..at + found.len();
            let to = &mut self.captured[range.clone()];
            // One by one, the evaluations of many steps would each leave their rounding.
            match self.rest.get_mut(range) {
                Some(rest) => axpy_compensated(c, found, to, rest),
                None => axpy(c, found, to),
            }
            (at, number) = (at + found.len(), number + 1);
        }
        if self.times.is_some() { outputs.get(1)[0].as_f64() } else { 0.0 }
    }

    /// Ends the sums.
    pub(crate) fn finish(&mut self) {
        if !self.rest.is_empty() {
            axpy(T::one(), self.rest, self.captured);
        }
    }

    fn add_time(&mut self, i: usize, x: f64) {
        if let Some(times) = &mut self.times {
            times[i] += T::from_f64(x);
        }
    }
}
