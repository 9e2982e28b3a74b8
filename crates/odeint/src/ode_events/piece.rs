//! What numbers decide about a piece of a solve with events, and how.

use std::cell::Cell;

use costate_tape::Result;

use super::run::Run;
use crate::Real;
use crate::event::Event;
use crate::grid::StepEnd;
use crate::operation::solve_error;
use crate::solver::{Solved, Solver};

/// What numbers decide about a piece. All else is recorded from it.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// The events, and where they were found.
    pub events: Vec<(usize, f64)>,
    /// Whether the last of these times ends it.
    pub stops: bool,
    /// The times that the solve is to save at.
    pub knots: Vec<Knot>,
    /// The times at which events were found, and their places among the knots.
    pub stations: Vec<(f64, usize)>,
    /// The numbers of the times that were asked for, and where their states come from.
    pub saves: Vec<(usize, Place)>,
    /// The start and the ends of its steps, if they are kept.
    pub grid: Vec<f64>,
    pub ends: Vec<StepEnd>,
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
pub(crate) enum Place {
    /// A time of the piece.
    Knot(usize),
    /// The place of an event.
    Station(usize),
    /// The start of the piece.
    Start,
}

/// Whether two times cannot be told apart.
fn same<T: Real>(a: f64, b: f64) -> bool {
    (a - b).abs() <= 8.0 * T::EPSILON.as_f64() * a.abs().max(b.abs())
}

impl<'t, T: Real> Run<'_, '_, 't, T> {
    /// Finds where the piece from a state ends, and what happens on the way.
    pub fn locate(&mut self, start: f64, end: f64, y: &[T]) -> Result<Solved<T>> {
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

    /// Merges the times at which events were found with those to save at.
    pub fn plan(&self, from: f64, found: &Solved<T>) -> Piece {
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

    /// Decides which states are saved in a piece that ends at an event, whose time is known better
    /// now than when the piece was planned.
    pub fn settle(&self, piece: &mut Piece, end: Option<f64>) {
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
}
