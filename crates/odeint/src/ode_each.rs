//! Solves of a batch on the tape, each sample by itself.

use std::borrow::Cow;
use std::sync::Arc;

use costate_tape::{Result, Var};

use crate::Real;
use crate::each_operation::{EachAdjointState, EachOp, EachState};
use crate::error::ErrorKind;
use crate::ode::{Gradient, Ode, Times};
use crate::operation::{SolveOp, solve_error};
use crate::options::Options;
use crate::solve::check_times;
use crate::stats::Stats;

/// The times of one sample of a batch, and its own options if it has any.
#[derive(Clone, Debug)]
pub struct Span<'a> {
    /// The times, the first of which is that of the sample's initial state.
    pub ts: Cow<'a, [f64]>,
    /// Tolerances and so on, if not those of the [`Ode`].
    pub options: Option<Options>,
}

impl<'a> From<&'a [f64]> for Span<'a> {
    fn from(ts: &'a [f64]) -> Self {
        Span { ts: Cow::Borrowed(ts), options: None }
    }
}

impl<'a> From<&'a Vec<f64>> for Span<'a> {
    fn from(ts: &'a Vec<f64>) -> Self {
        Span { ts: Cow::Borrowed(ts), options: None }
    }
}

impl From<Vec<f64>> for Span<'_> {
    fn from(ts: Vec<f64>) -> Self {
        Span { ts: Cow::Owned(ts), options: None }
    }
}

impl Span<'_> {
    /// With its own options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = Some(options);
        self
    }
}

/// A field of one sample, which records.
pub(crate) type SampleField<'a, 't, T> =
    dyn Fn(Var<'t, T>, Var<'t, T>, &[Var<'t, T>]) -> Result<Var<'t, T>> + 'a;

/// The times of all samples.
pub(crate) enum All<'a, 't, T: Real> {
    Shared(Times<'a, 't, T>),
    Each(&'a [Span<'a>]),
}

impl Ode {
    /// Solves `dy/dt = f(t, y)` from each sample of `y0`, of shape `[B, …]`, and returns the states
    /// at `ts`: shape `[B, ts.len(), …]`.
    ///
    /// Each sample takes steps of its own, which its companions do not change: values and gradients
    /// have the bits that [`solve`](Ode::solve) gives for the sample by itself. The samples are
    /// spread over the threads of the pool, forward and backward; what they share, such as
    /// parameters that `f` captures, gets its cotangents added up in the order of the samples, so
    /// that results are the same for any number of threads. If one size of step is to serve all
    /// samples, [`solve`](Ode::solve) a state that holds them all.
    ///
    /// `f` is recorded once, for one sample. `ts` may be a variable, of shape `[n]`, or `[B, n]` with
    /// times of each sample. Forward mode and second derivatives are those of the solves one by one,
    /// on one thread.
    ///
    /// ```
    /// use costate_odeint::{Ode, Tsit5};
    /// use costate_tape::Tape;
    /// use ndarray::arr2;
    ///
    /// let tape = Tape::new();
    /// let rate = tape.scalar(0.5);
    /// let y0 = tape.constant(&arr2(&[[1.0], [2.0], [3.0]]));
    /// let ode = Ode::new(Tsit5).tolerance(1e-9, 1e-9);
    /// let ys = ode.solve_each(|_t, y| -(rate * y), y0, [0.0, 1.0, 2.0])?;
    /// assert_eq!(ys.shape().to_vec(), [3, 3, 1]);
    /// let d_rate = ys.index_axis(1, 2).sum().grad(&[rate])?[0];
    /// assert!((d_rate.item() + 2.0 * 6.0 * (-1f64).exp()).abs() < 1e-6);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`solve`](Ode::solve); if a sample fails, [`ErrorKind::Sample`] names the first one.
    ///
    /// # Panics
    /// If `f` returns another shape than that of a sample's state, or the batches do not match.
    #[track_caller]
    pub fn solve_each<'a, 't, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        let f = |t, y, _: &[Var<'t, T>]| Ok(f(t, y));
        Ok(T::solve_samples(self, &f, y0, &[], All::Shared(ts.into()))?[0])
    }

    /// [`solve_each`](Ode::solve_each) with further variables of each sample: `f(t, y, x)` gets
    /// those of `along`, of shapes `[B, …]`, for its sample.
    ///
    /// # Errors
    /// Those of [`solve_each`](Ode::solve_each), and those of `f`.
    ///
    /// # Panics
    /// As [`solve_each`](Ode::solve_each).
    #[track_caller]
    pub fn solve_each_with<'a, 't, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        along: &[Var<'t, T>],
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        Ok(T::solve_samples(self, &f, y0, along, All::Shared(ts.into()))?[0])
    }

    /// [`solve_each_with`](Ode::solve_each_with) in which each sample has times of its own, as many
    /// as it likes, and may have tolerances of its own. Returns the states of each sample, of shape
    /// `[its number of times, …]`.
    ///
    /// ```
    /// use costate_odeint::{Ode, Tsit5};
    /// use costate_tape::Tape;
    /// use ndarray::arr2;
    ///
    /// let tape = Tape::new();
    /// let y0 = tape.constant(&arr2(&[[1.0], [2.0]]));
    /// let rates = tape.constant(&arr2(&[[0.5], [3.0]]));
    /// let spans = [vec![0.0, 1.0, 2.0].into(), vec![0.0, 0.1].into()];
    /// let ys = Ode::new(Tsit5).solve_ragged(|_t, y, x| Ok(-(x[0] * y)), y0, &[rates], &spans)?;
    /// assert_eq!(ys[0].shape().to_vec(), [3, 1]);
    /// assert_eq!(ys[1].shape().to_vec(), [2, 1]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`solve_each`](Ode::solve_each), and those of `f`.
    ///
    /// # Panics
    /// As [`solve_each`](Ode::solve_each), or if there are not as many spans as samples.
    #[track_caller]
    pub fn solve_ragged<'t, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        along: &[Var<'t, T>],
        spans: &[Span<'_>],
    ) -> Result<Vec<Var<'t, T>>> {
        T::solve_samples(self, &f, y0, along, All::Each(spans))
    }

    #[track_caller]
    pub(crate) fn solve_samples<'t, T: Real>(
        &self,
        f: &SampleField<'_, 't, T>,
        y0: Var<'t, T>,
        along: &[Var<'t, T>],
        times: All<'_, 't, T>,
    ) -> Result<Vec<Var<'t, T>>> {
        let tape = y0.tape();
        let batch = y0.shape();
        assert!(batch.ndim() > 0, "solve_each: a state without an axis of samples");
        if batch.numel() == 0 {
            return Err(solve_error(ErrorKind::EmptyState));
        }
        let n = batch[0];
        self.check(batch.numel() / n)?;
        for x in along {
            let shape = x.shape();
            assert!(
                shape.first() == Some(&n),
                "solve_each: a batch of {n}, and a variable of shape {shape} along with it"
            );
        }
        let variable = match &times {
            All::Shared(Times::Var(ts)) => Some(*ts),
            _ => None,
        };
        let fixed = |i: usize| -> Option<&[f64]> {
            match &times {
                All::Shared(Times::Fixed(ts)) => Some(ts),
                All::Each(spans) => Some(&spans[i].ts),
                All::Shared(Times::Var(_)) => None,
            }
        };
        let times_mapped = match (variable.map(|ts| ts.shape()), &times) {
            (Some(shape), _) => {
                assert!(
                    shape.ndim() == 1 || (shape.ndim() == 2 && shape[0] == n),
                    "solve_each: times of shape {shape} for a batch of {n}; they need one axis, or \
                     that of the batch and one"
                );
                if shape.numel() == 0 {
                    return Err(solve_error(ErrorKind::EmptyTimes));
                }
                shape.ndim() == 2
            }
            (None, All::Each(spans)) => {
                assert!(spans.len() == n, "solve_ragged: {} spans for a batch of {n}", spans.len());
                false
            }
            (None, _) => false,
        };
        for i in 0..n {
            if let Some(ts) = fixed(i) {
                check_times(ts).map_err(|e| {
                    let source = e.into();
                    solve_error(ErrorKind::Sample { sample: i, source })
                })?;
            }
        }
        let ode_of = |i: usize| {
            let own = match &times {
                All::Each(spans) => spans[i].options,
                All::Shared(_) => None,
            };
            own.map_or_else(|| self.clone(), |options| self.clone().options(options))
        };
        let of_sample = |x: Var<'t, T>, mapped: bool, i: usize| {
            if mapped { x.index_axis(0, i) } else { x }
        };
        let along_of = |i: usize| along.iter().map(|x| x.index_axis(0, i)).collect::<Vec<_>>();

        // The field, recorded for the first sample.
        let start = match variable {
            Some(ts) => of_sample(ts, times_mapped, 0).index_axis(0, 0),
            None => tape.scalar(T::from_f64(fixed(0).expect("not a variable")[0])),
        };
        let first: Vec<_> = [start, y0.index_axis(0, 0)].into_iter().chain(along_of(0)).collect();
        let scope = tape.scope(&first, |x| {
            let slope = f(x[0], x[1], &x[2..])?;
            let (found, expected) = (slope.shape(), x[1].shape());
            assert!(
                found == expected,
                "solve_each: the field returns shape {found} for a sample's state of shape \
                 {expected}"
            );
            Ok::<_, costate_tape::Error>(vec![slope])
        })?;
        let shared = matches!(times, All::Shared(_));
        if self.gradient == Gradient::Unrolled || scope.function.is_value_dependent() {
            let results = (0..n).map(|i| {
                let along = along_of(i);
                let ts = match variable {
                    Some(ts) => Times::Var(of_sample(ts, times_mapped, i)),
                    None => fixed(i).expect("not a variable").into(),
                };
                ode_of(i).try_solve(|t, y| f(t, y, &along), y0.index_axis(0, i), ts)
            });
            let results: Vec<_> = results.collect::<Result<_>>()?;
            return Ok(if shared { vec![Var::stack(0, &results)] } else { results });
        }

        let shared_times: Option<Arc<[f64]>> = fixed(0).map(Into::into);
        let one = self.operation(scope.function, shared_times)?;
        let samples: Arc<[SolveOp<T>]> = (0..n)
            .map(|i| match &times {
                All::Shared(_) => one.clone(),
                All::Each(spans) => SolveOp {
                    times: Some(spans[i].ts.as_ref().into()),
                    options: spans[i].options.unwrap_or(one.options),
                    ..one.clone()
                },
            })
            .collect();
        let mapped: Arc<[bool]> = [true]
            .into_iter()
            .chain(variable.map(|_| times_mapped))
            .chain(along.iter().map(|_| true))
            .chain(scope.captured.iter().map(|_| false))
            .collect();
        let inputs: Vec<_> = [y0]
            .into_iter()
            .chain(variable)
            .chain(along.iter().copied())
            .chain(scope.captured)
            .collect();
        let op = EachOp { samples, mapped, stacked: shared };
        tape.call(Arc::new(op), &inputs)
    }

    /// What the solve of each sample did that made `x`, or if `x` is a cotangent from their backward
    /// passes, what those did: [`Ode::stats`] of each.
    pub fn stats_each<T: Real>(x: Var<'_, T>) -> Option<Vec<Stats>> {
        let read = |state: &dyn std::any::Any| {
            let solves = state.downcast_ref::<EachState>().map(|state| state.stats::<T>());
            solves.or_else(|| {
                state.downcast_ref::<EachAdjointState<T>>().map(|state| state.stats.clone())
            })
        };
        x.tape().read_state(x, read).flatten()
    }
}
