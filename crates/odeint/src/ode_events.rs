//! Solves on the tape that find events, and change the state at them.
//!
//! A solve with events is a recorded loop over pieces: from one change of the state to the next, a
//! piece is a solve as any other, with its ends and all times in it variables. Where its end is,
//! numbers say: the plain [`Solver`](crate::Solver) finds the event. Two rules make it differentiable,
//! both recorded in terms of operations:
//!
//! - From a point `(t̂, ŷ)` of the solution the state at a time `t` nearby is that after a step of
//!   size `t - t̂` of Kutta's third-order method. That size is 0, or as small as the error of the
//!   interpolant, so the step costs no accuracy; its derivatives in `t` are those of the flow up to
//!   the third.
//! - The time of the event is the root of `t ↦ g(t, y(t))`, by Newton's method from the time that
//!   was found, on the tape. Two iterations after it has converged have derivatives up to the third.
//!   The first is
//!
//! ```text
//! dt = -(g_y δy + g_θ δθ) / (g_t + g_y f)
//! ```
//!
//! Since the next piece starts at that time with the changed state, back-propagation through these
//! is the jump of the momentum at an event, whose two sides are the states before and after
//! (the saltation matrix: J. Kong *et al.*, *Saltation matrices: the essential tool for linearizing
//! hybrid dynamical systems*, Proc. IEEE 112 (2024) 585).

mod passage;
mod piece;
mod run;

use costate_tape::{Result, Var};

use crate::Real;

pub(crate) use self::piece::{Knot, Piece};
use self::run::Run;
use crate::error::ErrorKind;
use crate::ode::{Ode, Times};
use crate::operation::solve_error;
use crate::options::Stepping;
use crate::pieces::Pieces;
use crate::solve::check_times;
use crate::var_event::{EventSolution, RecordingRef, RootNumbers, VarEvent};

/// A solve on the tape with [events](VarEvent); see [`Ode::event`].
#[derive(Debug)]
pub struct OdeEvents<'a, 't, T: Real> {
    ode: Ode,
    events: Vec<VarEvent<'a, 't, T>>,
    max_events: usize,
}

impl Ode {
    /// With an event to look for; more can be added to what is returned.
    ///
    /// A ball falls from height 1 and keeps nine tenths of its speed at each bounce. How the time of
    /// the third bounce depends on that part and on gravity:
    ///
    /// ```
    /// use costate_odeint::{Ode, Tsit5, VarEvent};
    /// use costate_tape::{Tape, Var};
    /// use ndarray::arr1;
    ///
    /// let tape = Tape::<f64>::new();
    /// let (kept, gravity) = (tape.scalar(0.9), tape.scalar(9.81));
    /// let bounce = VarEvent::new(|_t, y| y.index_axis(0, 0))
    ///     .falling()
    ///     .change(|_t, y| Var::stack(0, &[y.index_axis(0, 0), -kept * y.index_axis(0, 1)]));
    /// let y0 = tape.constant(&arr1(&[1.0, 0.0]));
    /// let solved = Ode::new(Tsit5).event(bounce).solve(
    ///     |_t, y| Var::stack(0, &[y.index_axis(0, 1), -gravity]),
    ///     y0,
    ///     [0.0, 2.5],
    /// )?;
    ///
    /// // t = (1 + 2 r + 2 r²) √(2 / g)
    /// let t = solved.events[2].t;
    /// let fall_time = (2.0 / 9.81f64).sqrt();
    /// assert!((t.item() - 4.42 * fall_time).abs() < 1e-12);
    /// let g = t.grad(&[kept, gravity])?;
    /// assert!((g[0].item() - (2.0 + 4.0 * 0.9) * fall_time).abs() < 1e-12);
    /// assert!((g[1].item() + 0.5 * t.item() / 9.81).abs() < 1e-12);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    pub fn event<'a, 't, T: Real>(self, event: VarEvent<'a, 't, T>) -> OdeEvents<'a, 't, T> {
        OdeEvents { ode: self, events: vec![event], max_events: 100_000 }
    }
}

impl<'a, 't, T: Real> OdeEvents<'a, 't, T> {
    /// Looks for another event as well. Events are numbered in the order in which they are added.
    pub fn event(mut self, event: VarEvent<'a, 't, T>) -> Self {
        self.events.push(event);
        self
    }

    /// With at most so many events, those that change nothing included; by default 100,000. More are
    /// an error, so that events that follow each other ever faster do not go on for ever.
    pub fn max_events(mut self, n: usize) -> Self {
        self.max_events = n;
        self
    }

    /// Solves `dy/dt = f(t, y)`, `y(ts[0]) = y0`, up to the last time or a terminal event.
    ///
    /// Gradients of any [way](crate::Gradient) flow to `y0`, to `ts` if that is a variable, and to
    /// all that the field, the events and their changes capture; derivatives of order up to three
    /// are right. Events at one time, to rounding, happen in the order of their numbers, and a state
    /// that is saved at that time is the one before them; each of their times depends on the
    /// solution before all of them.
    ///
    /// Where the events are depends on numbers, so a function that is recorded around this is not
    /// [compiled](Var::value). Each piece between changes is solved twice: to find its end, and for
    /// the tape.
    ///
    /// # Errors
    /// Those of [`Ode::solve`]; [`ErrorKind::Grazing`] where `g` touches zero but does not pass
    /// through it with a nonzero rate, so that the time is not differentiable, or passes so slowly that
    /// what the tolerance allows in the state changes the rate by as much as itself, so that the
    /// derivative of the time would be anything;
    /// [`ErrorKind::MaxEvents`].
    ///
    /// # Panics
    /// If `f` or a change returns another shape than that of the state, or an event's function more
    /// than one number.
    #[track_caller]
    pub fn solve<'b>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'b, 't, T>>,
    ) -> Result<EventSolution<'t, T>> {
        self.try_solve(|t, y| Ok(f(t, y)), y0, ts)
    }

    /// [`solve`](OdeEvents::solve) with a field that may fail to record.
    ///
    /// # Errors
    /// Those of [`solve`](OdeEvents::solve), and those of `f`.
    ///
    /// # Panics
    /// As [`solve`](OdeEvents::solve).
    #[track_caller]
    pub fn try_solve<'b>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'b, 't, T>>,
    ) -> Result<EventSolution<'t, T>> {
        T::solve_events(self, &f, y0, ts.into(), None, None)
    }

    /// [`try_solve`](OdeEvents::try_solve), with what numbers have decided in it.
    pub(crate) fn solve_and_keep(
        &self,
        f: &RecordingRef<'_, 't, T>,
        y0: Var<'t, T>,
        ts: Var<'t, T>,
    ) -> Result<(EventSolution<'t, T>, Vec<Piece>)> {
        let mut pieces = Vec::new();
        let solution = T::solve_events(self, f, y0, Times::Var(ts), None, Some(&mut pieces))?;
        Ok((solution, pieces))
    }

    /// Another solve for which all that numbers decide is decided already: by the same steps, but for
    /// the ends that move, through the same events. It is a smooth function of its inputs, whose
    /// derivative is that of the solve that decided.
    pub(crate) fn solve_again(
        &self,
        f: &RecordingRef<'_, 't, T>,
        y0: Var<'t, T>,
        ts: Var<'t, T>,
        pieces: &[Piece],
    ) -> Result<EventSolution<'t, T>> {
        T::solve_events(self, f, y0, Times::Var(ts), Some(pieces), None)
    }

    #[track_caller]
    pub(crate) fn run(
        &self,
        f: &RecordingRef<'_, 't, T>,
        y0: Var<'t, T>,
        ts: Times<'_, 't, T>,
        decided: Option<&[Piece]>,
        keep: Option<&mut Vec<Piece>>,
    ) -> Result<EventSolution<'t, T>> {
        self.ode.check(y0.shape().numel())?;
        let tape = y0.tape();
        let times: Vec<Var<'t, T>> = match ts {
            Times::Fixed(ts) => ts.iter().map(|&t| tape.scalar(T::from_f64(t))).collect(),
            Times::Var(ts) => {
                let shape = ts.shape();
                assert!(shape.ndim() == 1, "solve: times of shape {shape}; they need one axis");
                (0..shape[0]).map(|i| ts.index_axis(0, i)).collect()
            }
        };
        let ts: Vec<f64> = times.iter().map(|t| t.item().as_f64()).collect();
        check_times(&ts).map_err(solve_error)?;
        if y0.shape().numel() == 0 {
            return Err(solve_error(ErrorKind::EmptyState));
        }
        let shape = y0.shape();
        let field = |t: Var<'t, T>, y: Var<'t, T>| {
            let slope = f(t, y)?;
            let found = slope.shape();
            assert!(
                found == shape,
                "solve: the field returns shape {found} for a state of shape {shape}"
            );
            Ok(slope)
        };
        let mut ode = self.ode.clone();
        if let Stepping::Steps(n) = ode.options.stepping {
            // As many over all pieces.
            ode.options.stepping = match (ts[ts.len() - 1] - ts[0]).abs() / n as f64 {
                dt if dt > 0.0 => Stepping::Fixed(dt),
                _ => ode.options.stepping,
            };
        }
        let pieces = Pieces::new(&ode, &field, times[0], y0)?;
        let roots = self
            .events
            .iter()
            .map(|event| RootNumbers::new(event, times[0], y0))
            .collect::<Result<Vec<_>>>()?;
        let direction = if ts[ts.len() - 1] >= ts[0] { 1.0 } else { -1.0 };
        let (of, saved, events) = (self, Vec::new(), Vec::new());
        let run =
            Run { of, ode, field: &field, pieces, roots, times, ts, direction, saved, events };
        run.all(y0, decided, keep)
    }
}
