//! Where a [`Solver`](crate::Solver) puts what it finds.

use std::ops::ControlFlow;

use crate::Real;
use crate::dense::DenseSolution;
use crate::step::Step;

/// What a run reports to.
pub(crate) trait Sink<T: Real> {
    /// The times at which it wants states, in order.
    fn times(&self) -> &[f64] {
        &[]
    }
    /// Whether it needs all slopes of each step.
    fn is_dense(&self) -> bool {
        false
    }
    /// The state at time number `i`.
    fn state(&mut self, i: usize, y: &[T]) -> ControlFlow<()> {
        let _ = (i, y);
        ControlFlow::Continue(())
    }
    /// A step up to `end`, where the state is `y1`.
    fn step(&mut self, step: &Step<'_, T>, end: f64, y1: &[T]) {
        let _ = (step, end, y1);
    }
    /// What an error is to carry of it.
    fn partial(&self) -> (Vec<f64>, Vec<f64>) {
        (Vec::new(), Vec::new())
    }
}

/// The states at given times.
pub(crate) struct Save<'s, T> {
    pub ts: &'s [f64],
    pub ys: Vec<T>,
}

impl<T: Real> Sink<T> for Save<'_, T> {
    fn times(&self) -> &[f64] {
        self.ts
    }
    fn state(&mut self, _: usize, y: &[T]) -> ControlFlow<()> {
        self.ys.extend_from_slice(y);
        ControlFlow::Continue(())
    }
    fn partial(&self) -> (Vec<f64>, Vec<f64>) {
        (self.ts.to_vec(), wide(&self.ys))
    }
}

/// The states at the ends of steps.
pub(crate) struct Steps<T> {
    pub ts: Vec<f64>,
    pub ys: Vec<T>,
}

impl<T: Real> Sink<T> for Steps<T> {
    fn step(&mut self, _: &Step<'_, T>, end: f64, y1: &[T]) {
        self.ts.push(end);
        self.ys.extend_from_slice(y1);
    }
    fn partial(&self) -> (Vec<f64>, Vec<f64>) {
        (self.ts.clone(), wide(&self.ys))
    }
}

impl<T: Real> Sink<T> for DenseSolution<T> {
    fn is_dense(&self) -> bool {
        true
    }
    fn step(&mut self, step: &Step<'_, T>, end: f64, y1: &[T]) {
        self.push(step, end, y1);
    }
}

/// A function that is called with the states at given times.
pub(crate) struct Stream<'s, F> {
    pub ts: &'s [f64],
    pub each: F,
}

impl<T: Real, F: FnMut(f64, &[T]) -> ControlFlow<()>> Sink<T> for Stream<'_, F> {
    fn times(&self) -> &[f64] {
        self.ts
    }
    fn state(&mut self, i: usize, y: &[T]) -> ControlFlow<()> {
        (self.each)(self.ts[i], y)
    }
}

fn wide<T: Real>(x: &[T]) -> Vec<f64> {
    x.iter().map(|x| x.as_f64()).collect()
}
