//! Solves on the tape that find events, and change the state at them.
//!
//! A solve with events is a recorded loop over pieces: from one change of the state to the next, a
//! piece is a solve as any other, with its ends and all times in it variables. Where its end is,
//! numbers say: the plain [`Solver`] finds the event. Two rules make it differentiable,
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

use std::cell::Cell;

use costate_ops::Real;
use costate_tape::{Result, Shape, Var};

use crate::error::ErrorKind;
use crate::event::Event;
use crate::grid::StepEnd;
use crate::instrument::frozen;
use crate::ode::{Ode, Times};
use crate::operation::solve_error;
use crate::options::Stepping;
use crate::pieces::Pieces;
use crate::solve::check_times;
use crate::solver::{Solved, Solver};
use crate::var_event::{EventSolution, RecordingRef, RootNumbers, VarEvent, VarOccurrence};

/// How often Newton's method for the time of an event is iterated at most.
const ITERATIONS: usize = 12;

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
        self.run(&f, y0, ts.into(), None, None)
    }

    /// [`try_solve`](OdeEvents::try_solve), with what numbers have decided in it.
    pub(crate) fn solve_and_keep(
        &self,
        f: &RecordingRef<'_, 't, T>,
        y0: Var<'t, T>,
        ts: Var<'t, T>,
    ) -> Result<(EventSolution<'t, T>, Vec<Piece>)> {
        let mut pieces = Vec::new();
        let solution = self.run(f, y0, Times::Var(ts), None, Some(&mut pieces))?;
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
        self.run(f, y0, Times::Var(ts), Some(pieces), None)
    }

    #[track_caller]
    fn run(
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

/// A point of the solution on the tape, and the slope there.
struct Point<'t, T: Real> {
    t: Var<'t, T>,
    y: Var<'t, T>,
    slope: Var<'t, T>,
}

/// A zero of the function of an event: the function with its time and state, the slope and the rate
/// there, and the time since the piece has started.
#[derive(Clone, Copy)]
struct Zero<'t, T: Real> {
    g: Var<'t, T>,
    t: Var<'t, T>,
    y: Var<'t, T>,
    slope: Var<'t, T>,
    rate: f64,
    length: f64,
}

/// The event that ends a piece: its time, the state after it, and whether the solve ends there.
#[derive(Clone, Copy)]
struct End<'t, T: Real> {
    t: Var<'t, T>,
    y: Var<'t, T>,
    terminal: bool,
}

/// What numbers decide about a piece. All else is recorded from it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The events, and where they were found.
    events: Vec<(usize, f64)>,
    /// Whether the last of these times ends it.
    stops: bool,
    /// The times that the solve is to save at.
    pub knots: Vec<Knot>,
    /// The times at which events were found, and their places among the knots.
    pub stations: Vec<(f64, usize)>,
    /// The numbers of the times that were asked for, and where their states come from.
    saves: Vec<(usize, Place)>,
    /// The start and the ends of its steps, if they are kept.
    pub grid: Vec<f64>,
    ends: Vec<StepEnd>,
}

/// A time of a piece.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Knot {
    /// Its start.
    Start,
    /// One of those that were asked for.
    Time(usize),
    /// Where an event was found: a number.
    Station(f64),
}

/// Where a state that is saved comes from.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// A time of the piece.
    Knot(usize),
    /// The place of an event.
    Station(usize),
    /// The start of the piece.
    Start,
}

/// A solve at work.
struct Run<'r, 'a, 't, T: Real> {
    of: &'r OdeEvents<'a, 't, T>,
    ode: Ode,
    field: &'r RecordingRef<'r, 't, T>,
    pieces: Pieces<'t, T>,
    roots: Vec<RootNumbers<'r, 'a, 't, T>>,
    /// The times that were asked for, and their numbers.
    times: Vec<Var<'t, T>>,
    ts: Vec<f64>,
    /// 1 or -1.
    direction: f64,
    saved: Vec<Var<'t, T>>,
    events: Vec<VarOccurrence<'t, T>>,
}

/// The start and the ends of the steps of a solve.
fn grid_of<T: Real>(ys: Var<'_, T>) -> (Vec<f64>, Vec<StepEnd>) {
    let steps = frozen(ys).map_or_else(Vec::new, |frozen| frozen.steps);
    let start = steps.first().map(|step| step.t0).into_iter();
    let times = start.chain(steps.iter().map(|step| step.t1)).collect();
    (times, steps.iter().map(StepEnd::of).collect())
}

/// Whether two times cannot be told apart.
fn same<T: Real>(a: f64, b: f64) -> bool {
    (a - b).abs() <= 8.0 * T::EPSILON.as_f64() * a.abs().max(b.abs())
}

impl<'t, T: Real> Run<'_, '_, 't, T> {
    fn all(
        mut self,
        y0: Var<'t, T>,
        decided: Option<&[Piece]>,
        mut keep: Option<&mut Vec<Piece>>,
    ) -> Result<EventSolution<'t, T>> {
        let last = self.ts[self.ts.len() - 1];
        let (mut t, mut y) = (self.times[0], y0);
        self.saved.push(y0);
        let mut ended = false;
        let mut decided = decided.map(|pieces| pieces.iter());
        while self.saved.len() < self.ts.len() && !ended {
            let start = Point { t, y, slope: (self.field)(t, y)? };
            let from = t.item().as_f64();
            let known = decided.as_mut().map(|pieces| pieces.next().expect("as many pieces"));
            let mut piece = match known {
                Some(piece) => piece.clone(),
                None => {
                    let found = self.locate(from, last, &y.to_vec())?;
                    self.plan(from, &found)
                }
            };
            let knots: Vec<_> = piece
                .knots
                .iter()
                .map(|knot| match *knot {
                    Knot::Start => start.t,
                    Knot::Time(i) => self.times[i],
                    Knot::Station(at) => y.tape().scalar(T::from_f64(at)),
                })
                .collect();
            let ys = if knots.len() > 1 {
                let grid = known.map(|piece| &piece.ends[..]);
                self.pieces.solve(&self.ode, self.field, y, Var::stack(0, &knots), grid)?
            } else {
                y.unsqueeze(0)
            };
            let points = piece
                .stations
                .iter()
                .map(|&(_, k)| {
                    let (t, y) = (knots[k], ys.index_axis(0, k));
                    Ok(Point { t, y, slope: (self.field)(t, y)? })
                })
                .collect::<Result<Vec<_>>>()?;
            let end = self.happen(from, &piece, &points)?;
            if known.is_none() {
                self.settle(&mut piece, end.map(|end| end.t.item().as_f64()));
            }
            for &(i, place) in &piece.saves {
                self.saved.push(match place {
                    Place::Knot(k) => ys.index_axis(0, k),
                    Place::Station(station) => self.flow(&points[station], self.times[i])?,
                    Place::Start => self.flow(&start, self.times[i])?,
                });
            }
            (t, y) = match end {
                Some(end) => {
                    ended = end.terminal;
                    (end.t, end.y)
                }
                None => (self.times[self.ts.len() - 1], *self.saved.last().expect("the first")),
            };
            if let Some(pieces) = &mut keep {
                (piece.grid, piece.ends) = grid_of(ys);
                pieces.push(piece);
            }
        }
        let (ts, ys) = (self.ts[..self.saved.len()].to_vec(), Var::stack(0, &self.saved));
        Ok(EventSolution { ts, ys, events: self.events, t, y })
    }

    /// Merges the times at which events were found with those to save at.
    fn plan(&self, from: f64, found: &Solved<T>) -> Piece {
        let of = self.of;
        let stops = found.events.iter().any(|o| o.t == found.t && of.events[o.event].stops());
        let rounded = |t: f64| T::from_f64(t).as_f64();
        let events: Vec<_> = found.events.iter().map(|o| (o.event, rounded(o.t))).collect();
        let mut at: Vec<f64> = events.iter().map(|event| event.1).collect();
        at.dedup();
        let mut plan = Piece {
            events,
            stops,
            knots: vec![Knot::Start],
            stations: Vec::new(),
            saves: Vec::new(),
            grid: Vec::new(),
            ends: Vec::new(),
        };
        let mut next = self.saved.len();
        let save = |plan: &mut Piece, i: usize| {
            let s = self.ts[i];
            let place = if let Some(station) = at.iter().position(|&e| same::<T>(e, s)) {
                Place::Station(station)
            } else if same::<T>(s, from) {
                Place::Start
            } else {
                plan.knots.push(Knot::Time(i));
                Place::Knot(plan.knots.len() - 1)
            };
            plan.saves.push((i, place));
        };
        for &station in &at {
            while next < self.ts.len()
                && ((station - self.ts[next]) * self.direction > 0.0
                    || same::<T>(station, self.ts[next]))
            {
                save(&mut plan, next);
                next += 1;
            }
            plan.stations.push((station, plan.knots.len()));
            plan.knots.push(Knot::Station(station));
        }
        while !stops && next < self.ts.len() {
            save(&mut plan, next);
            next += 1;
        }
        plan
    }

    /// Records the events of a piece. Returns how it ends, if by an event.
    fn happen(
        &mut self,
        from: f64,
        piece: &Piece,
        points: &[Point<'t, T>],
    ) -> Result<Option<End<'t, T>>> {
        let (mut end, mut changed): (Option<End<'t, T>>, _) = (None, false);
        for &(number, at) in &piece.events {
            if self.events.len() == self.of.max_events {
                let events = self.events.len();
                return Err(solve_error(ErrorKind::MaxEvents { t: at, events }));
            }
            let station = piece.stations.iter().position(|s| s.0 == at).expect("one of them");
            let (t, before) = self.passage(&points[station], number, at - from)?;
            let mut entry = VarOccurrence { event: number, t, before, after: before };
            if piece.stops && station + 1 == points.len() {
                self.roots[number].passed(t.item().as_f64(), &before.to_vec())?;
                // Those before it at this time have changed the state.
                if let (Some(End { t: at, y, .. }), true) = (end, changed) {
                    entry.before =
                        self.flow(&Point { t: at, y, slope: (self.field)(at, y)? }, t)?;
                }
                entry.after = entry.before;
                if let Some(change) = &self.of.events[number].change {
                    changed = true;
                    entry.after = change(t, entry.before)?;
                    let (found, shape) = (entry.after.shape(), before.shape());
                    assert!(
                        found == shape,
                        "solve: the change of event {number} returns shape {found} for a state of \
                         shape {shape}"
                    );
                }
                let terminal = self.of.events[number].terminal || end.is_some_and(|e| e.terminal);
                end = Some(End { t, y: entry.after, terminal });
            }
            self.events.push(entry);
        }
        Ok(end)
    }

    /// Decides which states are saved in a piece that ends at an event, whose time is known better
    /// now than when the piece was planned.
    fn settle(&self, piece: &mut Piece, end: Option<f64>) {
        let Some(end) = end else { return };
        let reached = |s: f64| (end - s) * self.direction >= 0.0 || same::<T>(end, s);
        let kept = piece.saves.iter().take_while(|save| reached(self.ts[save.0])).count();
        piece.saves.truncate(kept);
        let mut next = self.saved.len() + kept;
        while self.ts.get(next).is_some_and(|&s| reached(s)) {
            piece.saves.push((next, Place::Station(piece.stations.len() - 1)));
            next += 1;
        }
    }

    /// The state at the time `t`, which is near that of a point of the solution.
    fn flow(&self, from: &Point<'t, T>, t: Var<'t, T>) -> Result<Var<'t, T>> {
        let h = t - from.t;
        let (two, half) = (T::from_f64(2.0), T::from_f64(0.5));
        let k1 = from.slope;
        let k2 = (self.field)(from.t + h.scale(half), from.y + h.scale(half) * k1)?;
        let k3 = (self.field)(t, from.y + h * (k2.scale(two) - k1))?;
        let slope =
            Var::lincomb(&[1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0].map(T::from_f64), &[k1, k2, k3]);
        Ok(from.y + h * slope.expect("three terms"))
    }

    /// The time of an event near a point of the solution, and the state then.
    fn passage(
        &self,
        near: &Point<'t, T>,
        number: usize,
        length: f64,
    ) -> Result<(Var<'t, T>, Var<'t, T>)> {
        let tape = near.y.tape();
        let found = near.t.item().as_f64();
        let grazing = || Err(solve_error(ErrorKind::Grazing { event: number, t: found }));
        let (mut t, mut y, mut slope) = (near.t, near.y, near.slope);
        let mut converged = 0;
        for _ in 0..ITERATIONS {
            let (at, state) = (t.fresh(), y.fresh());
            let g = (self.of.events[number].root)(at, state)?.reshape(Shape::scalar());
            let rate = tape.jvp(&[g], &[at, state], &[at.ones_like(), slope])?[0];
            let step = g / rate;
            let size = step.item().as_f64().abs();
            if !size.is_finite() || rate.item() == T::zero() {
                return grazing();
            }
            t = t - step;
            let moved = t.item().as_f64();
            if (moved - found).abs() > 0.5 * length.abs() {
                return grazing();
            }
            y = self.flow(near, t)?;
            if size <= 8.0 * T::EPSILON.as_f64() * moved.abs().max(length.abs()) {
                converged += 1;
            }
            if converged == 2 {
                let zero = Zero { g, t: at, y: state, slope, rate: rate.item().as_f64(), length };
                return if self.is_simple(number, &zero)? { Ok((t, y)) } else { grazing() };
            }
            slope = (self.field)(t, y)?;
        }
        grazing()
    }

    /// Whether a zero is one by itself: whether the rate is almost the same at a time that is as far
    /// away as the tolerance, or rounding, may have moved the zero. If it is not, another zero may be
    /// the same one, and the derivative of the time, which is `1 / rate`, may be anything.
    fn is_simple(&self, number: usize, zero: &Zero<'t, T>) -> Result<bool> {
        let Zero { g, t, y, slope, rate, length } = *zero;
        let (tape, options) = (y.tape(), &self.ode.options);
        let rounding = 64.0 * T::EPSILON.as_f64();
        let rtol = match options.stepping {
            Stepping::Adaptive => options.rtol.max(rounding),
            _ => rounding,
        };
        let atol = |i: usize| match options.stepping {
            Stepping::Adaptive => self.ode.atol.get(i).copied().unwrap_or(options.atol),
            _ => 0.0,
        };
        let bars = tape.vjp(&[g], &[g.ones_like()], &[t, y])?;
        let of_time = bars[0].item().as_f64() * rounding * t.item().as_f64();
        let of_state = bars[1].to_vec().into_iter().zip(y.to_vec()).enumerate();
        let of_state =
            of_state.map(|(i, (g, y))| g.as_f64().abs() * (atol(i) + rtol * y.as_f64().abs()));
        let unsure = of_time.abs() + of_state.sum::<f64>();
        // Towards the start, where the solution is known to go.
        let back = f64::min(4.0 * unsure / rate.abs(), 0.5 * length.abs()).copysign(length);
        let from = Point { t, y, slope };
        let at = t - T::from_f64(back);
        let state = self.flow(&from, at)?;
        let slope = (self.field)(at, state)?;
        let (at, state) = (at.fresh(), state.fresh());
        let g = (self.of.events[number].root)(at, state)?.reshape(Shape::scalar());
        let other = tape.jvp(&[g], &[at, state], &[at.ones_like(), slope])?[0].item().as_f64();
        // NaN is not.
        Ok((other - rate).abs() < rate.abs())
    }

    /// Finds where the piece from a state ends, and what happens on the way.
    fn locate(&mut self, start: f64, end: f64, y: &[T]) -> Result<Solved<T>> {
        let failed = Cell::new(None);
        let mut solver = Solver::new(self.ode.method).options(self.ode.options);
        solver = solver.atol_each(&*self.ode.atol);
        for (event, root) in self.of.events.iter().zip(&mut self.roots) {
            let mut is_start = true;
            let failed = &failed;
            let g = move |t: f64, y: &[T]| match root.value(t, y) {
                // It has just passed, and is at zero but for rounding.
                Ok(value) if std::mem::take(&mut is_start) && value.abs() <= root.near => 0.0,
                Ok(value) => {
                    root.largest = root.largest.max(value.abs());
                    value
                }
                Err(e) => {
                    failed.set(Some(e));
                    f64::NAN
                }
            };
            let plain = Event::new(g).direction(event.direction).looks(event.looks);
            solver = solver.event(if event.stops() { plain.terminal() } else { plain });
        }
        let found = self.pieces.locate(solver, self.field, y, &[start, end]);
        if let Some(e) = failed.take() {
            return Err(e);
        }
        let found = found.map_err(solve_error)?;
        self.roots.iter_mut().for_each(|root| root.near = 0.0);
        Ok(found)
    }
}
