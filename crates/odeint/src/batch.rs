//! Many initial value problems at once, each by itself.

use rayon::prelude::*;

use crate::Real;
use crate::error::Error;
use crate::field::Field;
use crate::method::Method;
use crate::options::Options;
use crate::solve::{Solution, solve};
use crate::solver::{Solved, Solver};

/// One problem of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a, T> {
    /// The state at the first time.
    pub y0: &'a [T],
    /// The times; see [`solve`].
    pub ts: &'a [f64],
    /// Tolerances and so on.
    pub options: Options,
}

/// Solves each sample with steps of its own, spread over the threads of the pool.
///
/// `field(i)` makes the field of sample `i`. Each result has the bits that [`solve`] gives for that
/// sample alone, for any number of threads. To step samples jointly, with one size of step and one
/// error for all, let the state hold them all.
///
/// ```
/// use costate_odeint::{Options, Sample, Tsit5, solve_batch};
///
/// let rates = [0.5, 1.0, 2.0];
/// let samples = rates.map(|_| Sample {
///     y0: &[1.0],
///     ts: &[0.0, 1.0],
///     options: Options::default(),
/// });
/// let solutions = solve_batch(Tsit5, &samples, |i| {
///     let rate: f64 = rates[i];
///     move |_t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -rate * y[0]
/// });
/// for (solution, rate) in solutions.into_iter().zip(rates) {
///     assert!((solution?.y(1)[0] - (-rate).exp()).abs() < 1e-6);
/// }
/// # Ok::<(), costate_odeint::Error>(())
/// ```
///
/// Each entry is an error where that sample failed; the others do not notice.
pub fn solve_batch<T: Real, F: Field<T>>(
    method: impl Into<Method>,
    samples: &[Sample<'_, T>],
    field: impl Fn(usize) -> F + Sync,
) -> Vec<Result<Solution<T>, Error>> {
    let method = method.into();
    let one = |(i, sample): (usize, &Sample<'_, T>)| {
        solve(method, field(i), sample.y0, sample.ts, &sample.options)
    };
    samples.par_iter().enumerate().with_max_len(1).map(one).collect()
}

/// [`solve_batch`] by a [`Solver`] for each sample, so that each has its own events, stops and
/// tolerances for each component.
///
/// `solver(i)` and `field(i)` make those of sample `i`, on the thread that solves it; the solver's
/// options are replaced by the sample's.
///
/// Balls that fall from different heights, each until it reaches the ground:
///
/// ```
/// use costate_odeint::{Event, Options, Sample, Solver, Tsit5, solve_batch_with};
///
/// let starts = [[1.0, 0.0], [4.0, 0.0]];
/// let samples = starts.each_ref().map(|y0| Sample {
///     y0,
///     ts: &[0.0, 10.0],
///     options: Options::default(),
/// });
/// let ground = |_| Solver::new(Tsit5).event(Event::new(|_, y: &[f64]| y[0]).terminal());
/// let fall = |_| |_t: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -9.81);
/// for (found, start) in solve_batch_with(&samples, ground, fall).into_iter().zip(starts) {
///     assert!((found?.t - (2.0 * start[0] / 9.81f64).sqrt()).abs() < 1e-9);
/// }
/// # Ok::<(), costate_odeint::Error>(())
/// ```
pub fn solve_batch_with<'a, T: Real, F: Field<T>>(
    samples: &[Sample<'_, T>],
    solver: impl Fn(usize) -> Solver<'a, T> + Sync,
    field: impl Fn(usize) -> F + Sync,
) -> Vec<Result<Solved<T>, Error>> {
    let one = |(i, sample): (usize, &Sample<'_, T>)| {
        solver(i).options(sample.options).solve(field(i), sample.y0, sample.ts)
    };
    samples.par_iter().enumerate().with_max_len(1).map(one).collect()
}
