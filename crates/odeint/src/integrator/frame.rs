//! What steps are made in: the last step, and what it was made by.

use std::ops::Range;

use costate_ops::{Buffer, first_not_finite};

use crate::Real;
use crate::control;
use crate::differences::Orders;
use crate::error::{Error, ErrorKind};
use crate::kept::Kept;
use crate::options::Options;
use crate::stats::Stats;
use crate::step::{Step, combine};
use crate::tableau::Tableau;

/// The last step, with the options it was made by. While a step is tried, `y0` at `t1` is where it
/// starts.
#[derive(Clone, Debug)]
pub(crate) struct Frame<T: Real> {
    pub tableau: &'static Tableau,
    pub options: Options,
    /// Absolute tolerances of each component, if they differ.
    pub atol: Vec<f64>,
    /// The state before the last step, and after it.
    pub t0: f64,
    pub t1: f64,
    pub h: f64,
    pub y0: Buffer<T>,
    pub y1: Buffer<T>,
    /// The slopes of the last step, then those of its interpolant.
    pub k: Buffer<T>,
    pub scratch: Buffer<T>,
    /// What the evaluations of the last step left for a backward pass, or nothing.
    pub kept: Kept<T>,
    /// The squares of the error measures of the last two steps, the later one first.
    pub history: [f64; 2],
    /// Whether the last row of `k` that belongs to the step is the slope at the current state.
    pub has_end: bool,
    /// Whether the first row is the slope at the start of the last step.
    pub has_first: bool,
    /// Whether the interpolant's own slopes are there.
    pub has_dense: bool,
    pub stats: Stats,
}

impl<T: Real> Frame<T> {
    pub fn new(
        tableau: &'static Tableau,
        options: Options,
        n: usize,
        slopes: usize,
        t: f64,
    ) -> Frame<T> {
        Frame {
            tableau,
            options,
            atol: Vec::new(),
            t0: t,
            t1: t,
            h: 0.0,
            y0: Buffer::zeros(n),
            y1: Buffer::zeros(n),
            k: Buffer::zeros(n * slopes),
            scratch: Buffer::zeros(n),
            kept: Kept::default(),
            history: [1.0; 2],
            has_end: false,
            has_first: false,
            has_dense: false,
            stats: Stats::default(),
        }
    }

    /// Starts anew at `y` at the time `t`.
    pub fn restart(&mut self, y: &[T], t: f64) {
        self.y1.copy_from_slice(y);
        (self.t0, self.t1, self.h) = (t, t, 0.0);
        self.history = [1.0; 2];
        (self.has_end, self.has_first, self.has_dense) = (false, false, false);
        self.stats = Stats::default();
    }

    /// Where in `k` the end slope is.
    #[inline]
    pub fn end_range(&self) -> Range<usize> {
        let (n, rows) = (self.y1.len(), self.tableau.rows());
        (rows - 1) * n..rows * n
    }

    /// The last step.
    #[inline]
    pub fn step(&self) -> Step<'_, T> {
        let slopes = if self.has_dense { self.tableau.slopes() } else { self.tableau.rows() };
        Step {
            t0: self.t0,
            h: self.h,
            t1: self.t1,
            y0: &self.y0,
            y1: &self.y1,
            k: &self.k[..slopes * self.y0.len()],
            rounds: 1,
            orders: Orders::default(),
            tableau: self.tableau,
        }
    }

    /// The square of the measure of a vector beside `y0` and `y1`.
    pub fn square(&self, e: &[T]) -> f64 {
        control::mean_square(e, &self.y0, &self.y1, &self.options, &self.atol)
    }

    /// The square of the error measure of a step of size `h` by the error weights of the tableau;
    /// leaves the estimate, passed through `filter`, in `scratch`.
    pub fn error(&mut self, h: f64, mut filter: impl FnMut(&mut [T])) -> f64 {
        let mut measure = |weights| {
            combine(None, h, weights, &self.k, &mut self.scratch);
            filter(&mut self.scratch);
            control::mean_square(&self.scratch, &self.y0, &self.y1, &self.options, &self.atol)
        };
        let low = self.tableau.error_low.map(|(_, weights)| measure(weights));
        let error = measure(self.tableau.error.expect("checked with the options"));
        low.map_or(error, |low| control::mixed(error, low))
    }

    /// Where the step to `next` first is not finite, if anywhere.
    pub fn not_finite(&self, next: f64) -> Option<Error> {
        let n = self.y0.len();
        let rows = self.tableau.rows() - usize::from(!self.tableau.error_needs_end());
        let first = if self.tableau.uses_first() { 0 } else { n };
        if let Some(i) = first_not_finite(&self.k[first..rows * n]) {
            let i = first + i;
            let t = self.tableau.time(i / n, self.t1, next);
            let stage = Some(i / n);
            return Some(ErrorKind::NonFinite { t, stage, component: i % n }.into());
        }
        let component = first_not_finite(&self.y1)?;
        Some(ErrorKind::NonFinite { t: next, stage: None, component }.into())
    }
}
