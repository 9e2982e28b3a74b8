//! Checks of a solve with events.

use std::fmt;

use costate_tape::{Result, Tape, Var};

use super::setup::{Checked, EventsRef, Setup};
use crate::Real;
use crate::ode::Ode;
use crate::ode_events::{Knot, OdeEvents, Piece};
use crate::solve::position;
use crate::var_event::EventSolution;

/// An event leaves no room for differences: it is so close to the start of a solve, to another event
/// or to one of the times, or its time changes so fast, that inputs can hardly be moved until it is
/// on the other side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoRoom {
    /// By how much inputs could be moved.
    pub room: f64,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "an event passes a step or a time if the inputs are moved by more than {:.1e}: no \
             differences can be taken; try other inputs or times",
            self.room
        )
    }
}

impl std::error::Error for NoRoom {}

/// The least room in which differences are taken.
const LEAST: f64 = 1e-10;

impl<T, F> Setup<'_, T, F>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    /// All that a solve with events finds, in one axis.
    pub fn solve_events<'t>(
        &self,
        ode: &Ode,
        events: &EventsRef<'_, T>,
        x: &[Var<'t, T>],
        times: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        let solver = solver(ode, events, x);
        let solved = solver.try_solve(|t, y| (self.field)(&x[1..], t, y), x[0], times)?;
        Ok(all(&solved))
    }

    /// The directional derivative, of inputs and times, against differences on the frozen grid: of
    /// solves by the same steps and through the same events.
    pub fn differences_with_events(&self) -> Checked {
        let events = self.events.expect("a solve with events");
        let tape = Tape::new();
        let mut x = self.leaves(&tape);
        let times = self.times();
        x.push(tape.leaf(&times, [times.len()]));
        let n = self.inputs.len();
        let field = |t, y| (self.field)(&x[1..n], t, y);
        let (solved, pieces) =
            solver(&self.ode, events, &x[..n]).solve_and_keep(&field, x[0], x[n])?;
        let found = all(&solved);
        let mut numbers = self.numbers();
        let weights = numbers.like(found);
        let mut directions: Vec<Vec<T>> = x.iter().map(|&x| numbers.like(x).to_vec()).collect();
        let moves = moves(&pieces, self.ts);
        directions[n].iter_mut().zip(moves).for_each(|(d, most)| *d *= T::from_f64(most));

        let along = |bars: &[Var<'_, T>]| -> Vec<f64> {
            let terms = bars.iter().zip(&directions).flat_map(|(g, d)| {
                let pairs: Vec<_> = g.to_vec().into_iter().zip(d.iter().copied()).collect();
                pairs.into_iter().map(|(g, d)| g.as_f64() * d.as_f64())
            });
            terms.collect()
        };
        let terms = along(&tape.vjp(&[found], &[weights], &x)?);
        let (derivative, size) = (terms.iter().sum(), terms.iter().map(|x| x.abs()).sum::<f64>());

        let mut rate = 0.0;
        for event in &solved.events {
            let rates = along(&event.t.grad(&x)?);
            rate = f64::max(rate, rates.iter().sum::<f64>().abs());
        }
        let room = f64::min(0.02, 0.1 * around(&pieces, self.ts) / rate);
        if room < LEAST {
            return Err(Box::new(NoRoom { room }));
        }

        let (values, weights): (Vec<_>, _) =
            (x.iter().map(|x| (x.to_vec(), x.shape())).collect(), weights.to_vec());
        let all_of = |y: Var<'_, T>| {
            let pairs = y.to_vec().into_iter().zip(&weights);
            pairs.map(|(y, w)| y.as_f64() * w.as_f64()).collect::<Vec<f64>>()
        };
        let loss = |s: f64| -> Result<(f64, f64)> {
            let tape = Tape::new();
            let moved = values.iter().zip(&directions).map(|((x, shape), d)| {
                let entries: Vec<T> =
                    x.iter().zip(d).map(|(&x, &d)| x + T::from_f64(s) * d).collect();
                tape.leaf(&entries, shape.clone())
            });
            let x: Vec<_> = moved.collect();
            let field = |t, y| (self.field)(&x[1..n], t, y);
            let solver = solver(&self.ode, events, &x[..n]);
            let found = all(&solver.solve_again(&field, x[0], x[n], &pieces)?);
            Ok((all_of(found).iter().sum(), s))
        };
        let (expected, error) = costate_tape::check::difference(loss, room)?;
        let relative = if T::EPSILON.as_f64() < 1e-10 { 1e-7 } else { 2e-2 };
        // Where steps are short, differences are small.
        let sum: f64 = all_of(found).iter().map(|x| x.abs()).sum();
        let noise = 64.0 * T::EPSILON.as_f64() * sum / room;
        let allowed = relative * size.max(expected.abs()) + 4.0 * error + noise;
        self.is("derivative in a random direction", derivative, expected, allowed)
    }
}

/// The solver with its events.
fn solver<'a, 't, T: Real>(
    ode: &Ode,
    events: &EventsRef<'_, T>,
    x: &'a [Var<'t, T>],
) -> OdeEvents<'a, 't, T> {
    let mut events = events(&x[1..]).into_iter();
    let first = events.next().expect("check::solve_events: there are no events");
    events.fold(ode.clone().event(first), |solver, event| solver.event(event))
}

/// All that was found, in one axis.
fn all<'t, T: Real>(solved: &EventSolution<'t, T>) -> Var<'t, T> {
    let mut all = vec![solved.ys, solved.y, solved.t];
    all.extend(solved.events.iter().flat_map(|e| [e.t, e.before, e.after]));
    let flat: Vec<_> = all.iter().map(|x| x.reshape([x.shape().numel()])).collect();
    Var::concat(0, &flat)
}

/// By how much each time may be moved: those inside of steps stay there, those at the end of one stay,
/// and the first and the last time move its first and its last step.
fn moves(pieces: &[Piece], ts: &[f64]) -> Vec<f64> {
    let mut moves = vec![0.0; ts.len()];
    let last = ts.len() - 1;
    for (n, piece) in pieces.iter().enumerate() {
        for step in piece.grid.windows(2) {
            let (t0, t1) = (step[0], step[1]);
            let size = (t1 - t0).abs();
            if n == 0 && t0 == piece.grid[0] {
                moves[0] = size;
            }
            for i in times(piece) {
                let theta = position(ts[i], t0, t1 - t0, t1);
                if (0.1..0.9).contains(&theta) || (i == last && theta == 1.0) {
                    moves[i] = size;
                }
            }
        }
    }
    let shortest = shortest(pieces, ts);
    moves.iter().map(|&size| f64::min(size, shortest)).collect()
}

/// The numbers of the times in a piece.
fn times(piece: &Piece) -> impl Iterator<Item = usize> {
    piece.knots.iter().filter_map(|knot| match *knot {
        Knot::Time(i) => Some(i),
        _ => None,
    })
}

/// How far an event may move: it must not come near the start of its piece, nor pass the end of the
/// first step after it, or whatever else comes first.
fn around(pieces: &[Piece], ts: &[f64]) -> f64 {
    let mut around: f64 = 1.0;
    for (n, piece) in pieces.iter().enumerate() {
        let Some(start) = piece.grid.first() else { continue };
        let knots = knots(piece, ts);
        if n > 0 {
            around = around.min((piece.grid[1] - start).abs()).min((knots[1] - start).abs());
        }
        if let Some((t, _)) = piece.stations.first() {
            around = around.min((t - start).abs());
        }
    }
    around
}

/// The shortest time between ends of steps, and between what is in a piece, its start included.
fn shortest(pieces: &[Piece], ts: &[f64]) -> f64 {
    let of_piece = |piece: &Piece| {
        let knots = knots(piece, ts);
        let gaps = piece.grid.windows(2).chain(knots.windows(2));
        gaps.map(|gap| (gap[1] - gap[0]).abs()).fold(1.0, f64::min)
    };
    pieces.iter().map(of_piece).fold(1.0, f64::min)
}

/// The times of a piece with steps.
fn knots(piece: &Piece, ts: &[f64]) -> Vec<f64> {
    let at = |knot: &Knot| match *knot {
        Knot::Start => piece.grid.first().copied(),
        Knot::Time(i) => Some(ts[i]),
        Knot::Station(t) => Some(t),
    };
    piece.knots.iter().filter_map(at).collect()
}
