//! Checks of a solve with events.

use std::fmt;

use costate_ops::Real;
use costate_tape::{Result, Tape, Var};

use super::setup::{Checked, EventsRef, Setup};
use crate::method::{Rodas5P, Verner7};
use crate::ode::Ode;

/// How often the inputs are moved by less, to see the same events.
const TRIES: i32 = 6;

/// The events of a solve are not those of solves nearby: one is about to happen, or not to, as where
/// its function only touches zero; or it happens at one of the times, or at that of another one. What
/// the solve finds has no derivative there that differences could show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NotSmooth {
    /// By how much the inputs were moved at least, relative to numbers in (-1, 1).
    pub moved: f64,
}

impl fmt::Display for NotSmooth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the events, or on which side of the times they are, change where the inputs move by \
             {:.1e}: differences are not derivatives there; try other inputs or times",
            self.moved
        )
    }
}

impl std::error::Error for NotSmooth {}

/// What must stay while inputs move: the numbers of the events in order, and how many of them are
/// before each time that was reached.
type Pattern = (Vec<usize>, Vec<usize>);

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
    ) -> Result<(Var<'t, T>, Pattern)> {
        let mut events = events(&x[1..]).into_iter();
        let first = events.next().expect("check::solve_events: there are no events");
        let solver = events.fold(ode.event(first), |solver, event| solver.event(event));
        let solved = solver.try_solve(|t, y| (self.field)(&x[1..], t, y), x[0], times)?;
        let mut all = vec![solved.ys, solved.y, solved.t];
        all.extend(solved.events.iter().flat_map(|e| [e.t, e.before, e.after]));
        let flat: Vec<_> = all.iter().map(|x| x.reshape([x.shape().numel()])).collect();
        let direction = if self.ts[self.ts.len() - 1] >= self.ts[0] { 1.0 } else { -1.0 };
        let before = |t: f64| {
            let is = |at: f64| direction * (t - at) > 0.0;
            solved.events.iter().filter(|e| is(e.t.item().as_f64())).count()
        };
        let sides = solved.ts.iter().map(|&t| before(t)).collect();
        let numbers = solved.events.iter().map(|e| e.event).collect();
        Ok((Var::concat(0, &flat), (numbers, sides)))
    }

    /// The solver for differences of solves on different grids: an accurate one.
    fn accurate(&self) -> Ode {
        let mut ode = self.ode;
        let implicit = ode.method().is_implicit();
        ode.method = if implicit { Rodas5P.into() } else { Verner7.into() };
        let tolerance = f64::max(1e-11, 8.0 * T::EPSILON.as_f64());
        ode.tolerance(tolerance, tolerance)
    }

    /// The directional derivative, of inputs and times, against differences of whole solves.
    pub fn differences_of_solves(&self) -> Checked {
        let events = self.events.expect("a solve with events");
        let ode = self.accurate();
        let tape = Tape::new();
        let mut x = self.leaves(&tape);
        let times = self.times();
        x.push(tape.leaf(&times, [times.len()]));
        let n = self.inputs.len();
        let (found, pattern) = self.solve_events(&ode, events, &x[..n], x[n])?;
        let mut numbers = self.numbers();
        let weights = numbers.like(found);
        let mut directions: Vec<Vec<T>> = x.iter().map(|&x| numbers.like(x).to_vec()).collect();
        // Times keep their order.
        let gaps = self.ts.windows(2).map(|w| (w[1] - w[0]).abs());
        let shortest = T::from_f64(gaps.fold(1.0, f64::min));
        directions[n].iter_mut().for_each(|d| *d *= shortest);

        let bars = tape.vjp(&[found], &[weights], &x)?;
        let terms = bars.iter().zip(&directions).flat_map(|(g, d)| {
            let pairs: Vec<_> = g.to_vec().into_iter().zip(d.iter().copied()).collect();
            pairs.into_iter().map(|(g, d)| g.as_f64() * d.as_f64())
        });
        let terms: Vec<f64> = terms.collect();
        let (found, size) = (terms.iter().sum(), terms.iter().map(|x| x.abs()).sum::<f64>());

        let (values, weights): (Vec<_>, _) =
            (x.iter().map(|x| (x.to_vec(), x.shape())).collect(), weights.to_vec());
        let loss = |s: f64| -> Result<Option<f64>> {
            let tape = Tape::new();
            let moved = values.iter().zip(&directions).map(|((x, shape), d)| {
                let entries: Vec<T> =
                    x.iter().zip(d).map(|(&x, &d)| x + T::from_f64(s) * d).collect();
                tape.leaf(&entries, shape.clone())
            });
            let moved: Vec<_> = moved.collect();
            let (found, other) = self.solve_events(&ode, events, &moved[..n], moved[n])?;
            let sum = || found.to_vec().iter().zip(&weights).map(product).sum();
            Ok((other == pattern).then(sum))
        };
        let double = T::EPSILON.as_f64() < 1e-10;
        let relative = if double { 1e-6 } else { 2e-2 };
        let mut best: Option<(f64, f64)> = None;
        let mut h = 0.02;
        for _ in 0..TRIES {
            let mut same = true;
            let (value, error) = costate_tape::check::difference(
                |s| {
                    // Once another event was seen, nothing is worth a solve.
                    let sum = if same { loss(s)? } else { None };
                    same &= sum.is_some();
                    Ok((sum.unwrap_or(f64::NAN), s))
                },
                h,
            )?;
            if same && best.is_none_or(|(_, least)| error < least) {
                best = Some((value, error));
            }
            // Steps that are too long for the curvature are no reason to allow more.
            if best.is_some_and(|(_, error)| error <= relative * size) {
                break;
            }
            h /= 4.0;
        }
        let Some((expected, error)) = best else {
            return Err(Box::new(NotSmooth { moved: 4.0 * h }));
        };
        let allowed = relative * size.max(expected.abs()) + 4.0 * error;
        self.is("derivative in a random direction", found, expected, allowed)
    }
}

fn product<T: Real>((y, w): (&T, &T)) -> f64 {
    y.as_f64() * w.as_f64()
}
