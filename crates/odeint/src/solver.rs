//! A solve with all that may come with it: stops, jumps, events, an observer, dense output.

use std::ops::ControlFlow;

use smallvec::SmallVec;

use crate::Real;
use crate::dense::DenseSolution;
use crate::error::{Error, ErrorKind, Partial};
use crate::event::{Event, Occurrence, state};
use crate::field::Field;
use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::Options;
use crate::sink::{Save, Sink, Steps, Stream};
use crate::solve::{Solution, check_times, position};
use crate::stats::Stats;
use crate::step::Step;

/// What is called with each step.
type Observer<'a, T> = Box<dyn FnMut(&Step<'_, T>) -> ControlFlow<()> + 'a>;

/// A solver with events and other company, put together step by step.
///
/// [`solve`](crate::solve) is the short way to states at given times. With a `Solver` come tolerances
/// for each component, times at which steps must end, discontinuities, [events](Event), an observer
/// that can cancel, [dense output](DenseSolution), all steps, and streaming without memory.
///
/// A ball that falls from height 1 and keeps nine tenths of its speed at each bounce:
///
/// ```
/// use costate_odeint::{Event, Solver, Tsit5};
///
/// let fall = |_t: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -9.81);
/// let bounce = Event::new(|_t, y: &[f64]| y[0]).falling().change(|_t, y| y[1] *= -0.9);
/// let solved = Solver::new(Tsit5).event(bounce).solve(fall, &[1.0, 0.0], &[0.0, 1.0])?;
/// let first = &solved.events[0];
/// assert!((first.t - (2.0 / 9.81f64).sqrt()).abs() < 1e-9);
/// assert_eq!(first.after[1], -0.9 * first.before[1]);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
pub struct Solver<'a, T: Real> {
    method: Method,
    options: Options,
    atol: Vec<f64>,
    stops: Vec<f64>,
    jumps: Vec<f64>,
    events: Vec<Event<'a, T>>,
    observe: Option<Observer<'a, T>>,
}

/// What a [`Solver`] finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Solved<T: Real> {
    /// The states at the times that were asked for, as far as the solve went. Where an event has
    /// changed the state at one of these times, it is the state before.
    pub solution: Solution<T>,
    /// The events that happened, in order; those at one time in the order of their numbers.
    pub events: Vec<Occurrence<T>>,
    /// The time that was reached: the last one, or that of a terminal event.
    pub t: f64,
    /// The state there.
    pub y: Vec<T>,
}

/// How a run ended.
struct End<T> {
    t: f64,
    y: Vec<T>,
    stats: Stats,
    events: Vec<Occurrence<T>>,
}

impl<'a, T: Real> Solver<'a, T> {
    /// A solver with default [options](Options).
    pub fn new(method: impl Into<Method>) -> Solver<'a, T> {
        Solver {
            method: method.into(),
            options: Options::default(),
            atol: Vec::new(),
            stops: Vec::new(),
            jumps: Vec::new(),
            events: Vec::new(),
            observe: None,
        }
    }

    /// With these options.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// With these relative and absolute tolerances.
    pub fn tolerance(mut self, rtol: f64, atol: f64) -> Self {
        (self.options.rtol, self.options.atol) = (rtol, atol);
        self
    }

    /// With an absolute tolerance for each component.
    pub fn atol_each(mut self, atol: impl Into<Vec<f64>>) -> Self {
        self.atol = atol.into();
        self
    }

    /// Steps end at these times, in any order; those outside the span are ignored.
    pub fn stop_at(mut self, ts: impl IntoIterator<Item = f64>) -> Self {
        self.stops.extend(ts);
        self
    }

    /// The field is discontinuous at these times: steps end just before and start anew. At such a
    /// time the field must be what it is after the jump, in the direction of the solve; it is
    /// evaluated there and at the number next to it on the other side.
    pub fn jump_at(mut self, ts: impl IntoIterator<Item = f64>) -> Self {
        self.jumps.extend(ts);
        self
    }

    /// Looks for an event as well. Events are numbered in the order in which they are added. If
    /// several happen at one time, they change the state one after another in that order.
    pub fn event(mut self, event: Event<'a, T>) -> Self {
        self.events.push(event);
        self
    }

    /// Calls `observe` with each step that was taken. If it breaks, the solve ends with the error
    /// [`Cancelled`](ErrorKind::Cancelled), which carries what was found so far.
    ///
    /// The slopes of the interpolant are there only if something else needs them.
    pub fn observe(mut self, observe: impl FnMut(&Step<'_, T>) -> ControlFlow<()> + 'a) -> Self {
        self.observe = Some(Box::new(observe));
        self
    }

    /// The states at the times `ts`, which increase or decrease throughout; the first one is that of
    /// `y0`.
    ///
    /// # Errors
    /// If the input makes no sense or the solve fails; see [`ErrorKind`]. The error carries the
    /// solution so far.
    pub fn solve(self, f: impl Field<T>, y0: &[T], ts: &[f64]) -> Result<Solved<T>, Error> {
        check_times(ts)?;
        let mut sink = Save { ts, ys: Vec::with_capacity(ts.len() * y0.len()) };
        let End { t, y, stats, events } = self.run(f, y0, ts[0], ts[ts.len() - 1], &mut sink)?;
        let dim = y0.len();
        let ts = ts[..sink.ys.len() / dim].to_vec();
        Ok(Solved { solution: Solution { ts, ys: sink.ys, dim, stats }, events, t, y })
    }

    /// The states at the ends of all steps, the start first.
    ///
    /// # Errors
    /// As [`solve`](Solver::solve).
    pub fn steps(
        self,
        f: impl Field<T>,
        y0: &[T],
        start: f64,
        end: f64,
    ) -> Result<Solved<T>, Error> {
        let mut sink = Steps { ts: vec![start], ys: y0.to_vec() };
        let End { t, y, stats, events } = self.run(f, y0, start, end, &mut sink)?;
        let Steps { ts, ys } = sink;
        Ok(Solved { solution: Solution { ts, ys, dim: y0.len(), stats }, events, t, y })
    }

    /// The solution as a function of time.
    ///
    /// # Errors
    /// As [`solve`](Solver::solve).
    pub fn dense(
        self,
        f: impl Field<T>,
        y0: &[T],
        start: f64,
        end: f64,
    ) -> Result<DenseSolution<T>, Error> {
        let mut sink = DenseSolution::new(y0, start);
        sink.stats = self.run(f, y0, start, end, &mut sink)?.stats;
        Ok(sink)
    }

    /// Calls `each` with the times `ts` and the states there, one after another, and keeps none: so
    /// a long solve, or a function of the state, needs no more memory than a short one. If `each`
    /// breaks, the solve ends with the error [`Cancelled`](ErrorKind::Cancelled).
    ///
    /// # Errors
    /// As [`solve`](Solver::solve).
    pub fn stream(
        self,
        f: impl Field<T>,
        y0: &[T],
        ts: &[f64],
        each: impl FnMut(f64, &[T]) -> ControlFlow<()>,
    ) -> Result<Stats, Error> {
        check_times(ts)?;
        let mut sink = Stream { ts, each };
        Ok(self.run(f, y0, ts[0], ts[ts.len() - 1], &mut sink)?.stats)
    }

    /// The values of `g(t, y)` at the times `ts`, where that is all that is wanted of the states: an
    /// energy, a norm, a few of many components. As many as times that were reached.
    ///
    /// ```
    /// use costate_odeint::{Solver, Tsit5};
    ///
    /// let f = |_t: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -y[0]);
    /// let energy = |_t: f64, y: &[f64]| 0.5 * (y[0] * y[0] + y[1] * y[1]);
    /// let (energies, _) = Solver::new(Tsit5).outputs(f, &[1.0, 0.0], &[0.0, 1.0, 2.0], energy)?;
    /// assert!(energies.iter().all(|e| (e - 0.5).abs() < 1e-5));
    /// # Ok::<(), costate_odeint::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`solve`](Solver::solve).
    pub fn outputs<R>(
        self,
        f: impl Field<T>,
        y0: &[T],
        ts: &[f64],
        mut g: impl FnMut(f64, &[T]) -> R,
    ) -> Result<(Vec<R>, Stats), Error> {
        let mut outputs = Vec::with_capacity(ts.len());
        let stats = self.stream(f, y0, ts, |t, y| {
            outputs.push(g(t, y));
            ControlFlow::Continue(())
        })?;
        Ok((outputs, stats))
    }

    /// Steps to the end, and reports.
    fn run(
        mut self,
        mut f: impl Field<T>,
        y0: &[T],
        start: f64,
        end: f64,
        sink: &mut impl Sink<T>,
    ) -> Result<End<T>, Error> {
        let integrator = Integrator::new(self.method, y0, start, end, self.options)?;
        let mut integrator = integrator.with_atol(&self.atol)?;
        for list in [&self.stops, &self.jumps] {
            if let Some(index) = list.iter().position(|t| !t.is_finite()) {
                return Err(ErrorKind::NonFiniteTime { index }.into());
            }
        }
        let mut events = Vec::new();
        let result = self.advance(&mut integrator, &mut f, end, sink, &mut events);
        let (t, stats) = (integrator.t(), integrator.stats());
        result.map_err(|e| {
            let (mut ts, ys) = sink.partial();
            ts.truncate(ys.len() / y0.len());
            let y = integrator.y().iter().map(|y| y.as_f64()).collect();
            e.with_partial(Partial { t, y, ts, ys, stats })
        })?;
        Ok(End { t, y: integrator.y().to_vec(), stats, events })
    }

    fn advance(
        &mut self,
        integrator: &mut Integrator<T>,
        f: &mut impl Field<T>,
        end: f64,
        sink: &mut impl Sink<T>,
        occurrences: &mut Vec<Occurrence<T>>,
    ) -> Result<(), Error> {
        let cancelled = |t| Err(ErrorKind::Cancelled { t }.into());
        let mut y = integrator.y().to_vec();
        let mut saved = 0;
        if !sink.times().is_empty() {
            saved = 1;
            if sink.state(0, &y).is_break() {
                return cancelled(integrator.t());
            }
        }
        for (number, event) in self.events.iter_mut().enumerate() {
            event.begin(number, integrator.t(), &y)?;
        }
        while !integrator.is_done() {
            let now = integrator.t();
            let ahead = |t: f64| (t - now) * (end - now) > 0.0;
            let save = (self.options.stop_at_saves && saved < sink.times().len())
                .then(|| sink.times()[saved]);
            let sooner = |a: &f64, b: &f64| (a - now).abs().total_cmp(&(b - now).abs());
            let jump = self.jumps.iter().copied().filter(|&t| ahead(t)).min_by(sooner);
            let before_jump = jump.map(|t| if end > now { t.next_down() } else { t.next_up() });
            if let Some((t, _)) = jump.zip(before_jump).filter(|&(_, before)| before == now) {
                integrator.jump_to(t);
                continue;
            }
            let stops = self.stops.iter().copied().chain(before_jump).chain(save);
            integrator.stop_at(stops.filter(|&t| ahead(t)).min_by(sooner).unwrap_or(end));
            integrator.step(f)?;

            let t1 = integrator.t();
            let (t0, h) = (now, t1 - now);
            let reached = |t: f64| (t1 - t) * h >= 0.0 || position(t, t0, h, t1) == 1.0;
            let inside = |t: f64| reached(t) && position(t, t0, h, t1) < 1.0;
            let times = sink.times();
            if sink.is_dense()
                || !self.events.is_empty()
                || times.get(saved).is_some_and(|&t| inside(t))
            {
                integrator.dense_slopes(f)?;
            }

            let happened = self.happened(integrator, &mut y, occurrences)?;
            let until = happened.unwrap_or(t1);
            let step = integrator.last_step();
            while let Some(&t) = sink.times().get(saved) {
                let is_end = until == t1 && position(t, t0, h, t1) == 1.0;
                if !(is_end || (until - t) * h >= 0.0) {
                    break;
                }
                state(&step, if is_end { t1 } else { t }, &mut y);
                saved += 1;
                if sink.state(saved - 1, &y).is_break() {
                    return cancelled(until);
                }
            }
            state(&step, until, &mut y);
            sink.step(&step, until, &y);
            let stop = self.observe.as_mut().is_some_and(|observe| observe(&step).is_break());
            if stop {
                return cancelled(until);
            }
            if let Some(t) = happened {
                integrator.cut(t);
                if self.change(integrator, &mut y, occurrences)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Records the events in the last step, up to the first one that ends the step: its time is
    /// returned.
    fn happened(
        &mut self,
        integrator: &Integrator<T>,
        y: &mut [T],
        occurrences: &mut Vec<Occurrence<T>>,
    ) -> Result<Option<f64>, Error> {
        let step = integrator.last_step();
        let mut from = step.t0;
        while !self.events.is_empty() {
            let signs: SmallVec<[f64; 8]> = self.events.iter_mut().map(|e| *e.sign()).collect();
            let mut times: SmallVec<[Option<f64>; 8]> = SmallVec::new();
            for (number, event) in self.events.iter_mut().enumerate() {
                times.push(event.find(number, &step, from, y)?);
            }
            let sooner = |a: &f64, b: &f64| (a - step.t0).abs().total_cmp(&(b - step.t0).abs());
            let Some(first) = times.iter().flatten().copied().min_by(sooner) else {
                return Ok(None);
            };
            // What is found within rounding of it happens with it.
            let close = 8.0 * f64::EPSILON * first.abs().max(step.t0.abs());
            let now = |t: &Option<f64>| t.is_some_and(|t| (t - first).abs() <= close);
            let at = times
                .iter()
                .filter(|t| now(t))
                .flatten()
                .copied()
                .max_by(sooner)
                .expect("at least the first");
            state(&step, at, y);
            let mut ends = false;
            for (number, event) in self.events.iter_mut().enumerate() {
                if !now(&times[number]) {
                    *event.sign() = signs[number];
                    continue;
                }
                event.pass();
                ends |= event.terminal || event.change.is_some();
                let (before, after) = (y.to_vec(), y.to_vec());
                occurrences.push(Occurrence { event: number, t: at, before, after });
            }
            if ends {
                return Ok(Some(at));
            }
            from = at;
        }
        Ok(None)
    }

    /// Has the events at the time reached change the state. Returns whether one of them is terminal.
    fn change(
        &mut self,
        integrator: &mut Integrator<T>,
        y: &mut [T],
        occurrences: &mut [Occurrence<T>],
    ) -> Result<bool, Error> {
        let t = integrator.t();
        let first = occurrences.iter().rposition(|o| o.t != t).map_or(0, |i| i + 1);
        y.copy_from_slice(integrator.y());
        let (mut terminal, mut changed) = (false, false);
        for occurrence in &mut occurrences[first..] {
            let event = &mut self.events[occurrence.event];
            terminal |= event.terminal;
            occurrence.before.copy_from_slice(y);
            if let Some(change) = &mut event.change {
                change(t, y);
                changed = true;
            }
            occurrence.after.copy_from_slice(y);
        }
        if changed {
            integrator.set_state(y)?;
            for (number, event) in self.events.iter_mut().enumerate() {
                event.begin(number, t, y)?;
            }
        }
        Ok(terminal)
    }
}

impl<T: Real> std::fmt::Debug for Solver<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solver")
            .field("method", &self.method)
            .field("options", &self.options)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}
