//! Many initial value problems at once, each by itself.

use costate_ops::Real;
use rayon::prelude::*;

use crate::error::Error;
use crate::field::Field;
use crate::method::Method;
use crate::options::Options;
use crate::solve::{Solution, solve};

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
