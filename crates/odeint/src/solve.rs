//! The whole solve: states at given times.

use std::ops::Range;

use crate::Real;
use crate::error::{Error, ErrorKind, Partial};
use crate::field::Field;
use crate::grid::{Grid, StepEnd};
use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::Options;
use crate::stats::Stats;
use crate::step::Step;

/// The states at the times that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Solution<T: Real> {
    /// The times.
    pub ts: Vec<f64>,
    /// The states at these times, one after another.
    pub ys: Vec<T>,
    /// The number of components of a state.
    pub dim: usize,
    /// What was done.
    pub stats: Stats,
}

impl<T: Real> Solution<T> {
    /// The state at time number `i`.
    ///
    /// # Panics
    /// If there is no such time.
    pub fn y(&self, i: usize) -> &[T] {
        &self.ys[i * self.dim..(i + 1) * self.dim]
    }
}

/// Solves `dy/dt = f(t, y)` from `y(ts[0]) = y0`, and returns the states at the times `ts`, which
/// increase or decrease throughout.
///
/// Steps do not stop at the times in between: the states there come from the method's
/// [interpolant](crate::Interpolant).
///
/// ```
/// use costate_odeint::{Options, Tsit5, solve};
///
/// // A harmonic oscillator.
/// let f = |_t: f64, y: &[f64], dy: &mut [f64]| {
///     dy[0] = y[1];
///     dy[1] = -y[0];
/// };
/// let solution = solve(Tsit5, f, &[1.0, 0.0], &[0.0, 1.0, 2.0], &Options::default())?;
/// assert!((solution.y(2)[0] - 2f64.cos()).abs() < 1e-5);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
///
/// # Errors
/// If the input makes no sense or the solve fails; see [`ErrorKind`]. The error carries the
/// solution so far.
pub fn solve<T: Real>(
    method: impl Into<Method>,
    f: impl Field<T>,
    y0: &[T],
    ts: &[f64],
    options: &Options,
) -> Result<Solution<T>, Error> {
    solve_with(method, f, y0, ts, options, |_, _| ())
}

/// [`solve`], which calls `observe` with each step that was taken, in order, and the places in `ts`
/// of the times after its start and up to its end. The first time belongs to no step.
///
/// The end slope of a step is there if the error estimate needs it, or a time lies within the step
/// and the interpolant needs it; then the interpolant's own slopes are there too.
///
/// # Errors
/// Those of [`solve`].
pub fn solve_with<T: Real>(
    method: impl Into<Method>,
    mut f: impl Field<T>,
    y0: &[T],
    ts: &[f64],
    options: &Options,
    mut observe: impl FnMut(&Step<'_, T>, Range<usize>),
) -> Result<Solution<T>, Error> {
    check_times(ts)?;
    let mut integrator = Integrator::new(method, y0, ts[0], ts[ts.len() - 1], *options)?;
    let dim = y0.len();
    let mut ys = vec![T::zero(); ts.len() * dim];
    let stats =
        drive(&mut integrator, &mut f, ts, &mut ys, |integrator: &mut Integrator<T>, saves| {
            observe(&integrator.last_step(), saves);
        })?;
    Ok(Solution { ts: ts.to_vec(), ys, dim, stats })
}

/// Checks that times are what a solve can take.
pub(crate) fn check_times(ts: &[f64]) -> Result<(), Error> {
    if ts.is_empty() {
        return Err(ErrorKind::EmptyTimes.into());
    }
    if let Some(index) = ts.iter().position(|t| !t.is_finite()) {
        return Err(ErrorKind::NonFiniteTime { index }.into());
    }
    let increasing = ts.len() < 2 || ts[1] > ts[0];
    let wrong = |w: &[f64]| if increasing { w[1] <= w[0] } else { w[1] >= w[0] };
    match ts.windows(2).position(wrong) {
        Some(i) => {
            let (before, time) = (ts[i], ts[i + 1]);
            Err(ErrorKind::TimesNotMonotone { index: i + 1, before, time }.into())
        }
        None => Ok(()),
    }
}

/// Where in a step a time lies: 0 is its start, 1 its end. Times that cannot be told from the end
/// are the end.
#[inline]
pub(crate) fn position(t: f64, t0: f64, h: f64, t1: f64) -> f64 {
    if (t1 - t).abs() <= 4.0 * f64::EPSILON * t1.abs() { 1.0 } else { (t - t0) / h }
}

/// What looks at the steps of a solve: a closure, or a record of them.
pub(crate) trait Observe<T: Real> {
    /// A step was taken, with the places of the times in `(t0, t1]` of it.
    fn step(&mut self, integrator: &mut Integrator<T>, saves: Range<usize>);

    /// Where steps of [few numbers](Integrator::record_few) are to be recorded, if nothing else looks at
    /// them.
    #[inline]
    fn few(&mut self) -> Option<&mut Grid<T>> {
        None
    }
}

impl<T: Real, F: FnMut(&mut Integrator<T>, Range<usize>)> Observe<T> for F {
    #[inline(always)]
    fn step(&mut self, integrator: &mut Integrator<T>, saves: Range<usize>) {
        self(integrator, saves);
    }
}

/// Steps a new integrator to its end, writing the states at `ts` to `ys`, and has `observe` look at each
/// step.
pub(crate) fn drive<T: Real>(
    integrator: &mut Integrator<T>,
    f: &mut impl Field<T>,
    ts: &[f64],
    ys: &mut [T],
    observe: impl Observe<T>,
) -> Result<Stats, Error> {
    drive_on(integrator, f, ts, ys, None, false, observe)
}

/// [`drive`] by steps that end at the given times, if there are any, instead of steps of its own
/// choice. The last of them is taken to be the end. With `dense`, each step has all slopes of its
/// interpolant.
pub(crate) fn drive_on<T: Real>(
    integrator: &mut Integrator<T>,
    f: &mut impl Field<T>,
    ts: &[f64],
    ys: &mut [T],
    grid: Option<&[StepEnd]>,
    dense: bool,
    mut observe: impl Observe<T>,
) -> Result<Stats, Error> {
    let mut ends = grid.map(|grid| grid.iter().zip((0..grid.len()).rev()));
    let dim = integrator.y().len();
    ys[..dim].copy_from_slice(integrator.y());
    let forward = ts[ts.len() - 1] >= ts[0];
    let mut saved = 1;
    let few = grid.is_none() && integrator.takes_few(f);
    let mut run = |saved: &mut usize, integrator: &mut Integrator<T>| -> Result<(), Error> {
        while !integrator.is_done() {
            if few && let Some(f) = f.steps() {
                if let Some(grid) = observe.few() {
                    *saved = f.record_few(integrator, ts, *saved, ys, grid);
                    if integrator.is_done() {
                        break;
                    }
                } else if let Some(next) = f.step_few(integrator, ts, *saved, ys) {
                    let first = std::mem::replace(saved, next);
                    observe.step(integrator, first..next);
                    continue;
                }
            }
            if integrator.options().stop_at_saves {
                integrator.stop_at(ts[*saved]);
            }
            match &mut ends {
                None => integrator.step(f)?,
                Some(ends) => {
                    let (end, left) = ends.next().expect("the last of them is the end");
                    let t = if left == 0 { ts[ts.len() - 1] } else { end.t };
                    integrator.step_along(f, StepEnd { t, ..*end })?;
                }
            }
            let first = *saved;
            let (t0, h, t1) = integrator.last_span();
            let mut inside = false;
            while let Some(&t) = ts.get(*saved) {
                let at_end = position(t, t0, h, t1) == 1.0;
                let before = if forward { t <= t1 } else { t >= t1 };
                if !(before || at_end) {
                    break;
                }
                inside |= !at_end;
                *saved += 1;
            }
            let last_is_end = integrator.is_done();
            if last_is_end {
                inside |= ts[*saved..].iter().any(|&t| position(t, t0, h, t1) < 1.0);
                *saved = ts.len();
            }
            if inside || dense {
                integrator.dense_slopes(f)?;
            }
            // A save time at the end of a step moves along the slope there. Methods that use it next
            // find it anyway, and multistep methods have it in their differences.
            if first < *saved && !last_is_end && !integrator.has_or_finds_end() {
                integrator.end_slope(f)?;
            }
            if first < *saved {
                let step = integrator.last_step();
                for i in first..*saved {
                    let out = &mut ys[i * dim..(i + 1) * dim];
                    match position(ts[i], t0, h, t1) {
                        1.0 => out.copy_from_slice(step.y1),
                        theta => step.interpolate(theta, out),
                    }
                }
            }
            observe.step(integrator, first..*saved);
        }
        Ok(())
    };
    let result = run(&mut saved, integrator);
    let stats = integrator.stats();
    result.map_err(|e| {
        let wide = |x: &[T]| x.iter().map(|x| x.as_f64()).collect::<Vec<_>>();
        e.with_partial(Partial {
            t: integrator.t(),
            y: wide(integrator.y()),
            ts: ts[..saved].to_vec(),
            ys: wide(&ys[..saved * dim]),
            stats,
        })
    })?;
    Ok(stats)
}
