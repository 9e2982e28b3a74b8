//! A solve with events at work: piece after piece.

use costate_tape::{Result, Var};

use super::OdeEvents;
use super::passage::Point;
use super::piece::{Knot, Piece, Place};
use crate::Real;
use crate::error::ErrorKind;
use crate::grid::StepEnd;
use crate::instrument::frozen;
use crate::ode::Ode;
use crate::operation::solve_error;
use crate::pieces::Pieces;
use crate::var_event::{EventSolution, RecordingRef, RootNumbers, VarOccurrence};

/// A solve at work.
pub(super) struct Run<'r, 'a, 't, T: Real> {
    pub of: &'r OdeEvents<'a, 't, T>,
    pub ode: Ode,
    pub field: &'r RecordingRef<'r, 't, T>,
    pub pieces: Pieces<'t, T>,
    pub roots: Vec<RootNumbers<'r, 'a, 't, T>>,
    /// The times that were asked for, and their numbers.
    pub times: Vec<Var<'t, T>>,
    pub ts: Vec<f64>,
    /// 1 or -1.
    pub direction: f64,
    pub saved: Vec<Var<'t, T>>,
    pub events: Vec<VarOccurrence<'t, T>>,
}

/// The event that ends a piece: its time, the state after it, and whether the solve ends there.
#[derive(Clone, Copy)]
struct End<'t, T: Real> {
    t: Var<'t, T>,
    y: Var<'t, T>,
    terminal: bool,
}

impl<'t, T: Real> Run<'_, '_, 't, T> {
    pub fn all(
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
}

/// The start and the ends of the steps of a solve.
fn grid_of<T: Real>(ys: Var<'_, T>) -> (Vec<f64>, Vec<StepEnd>) {
    let steps = frozen(ys).map_or_else(Vec::new, |frozen| frozen.steps);
    let start = steps.first().map(|step| step.t0).into_iter();
    let times = start.chain(steps.iter().map(|step| step.t1)).collect();
    (times, steps.iter().map(StepEnd::of).collect())
}
