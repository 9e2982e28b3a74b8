//! Events: times at which a function of the state passes through zero, and what happens there.

use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::step::Step;

/// Which passages through zero count, in the direction of the solve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From below to zero or above.
    Rising,
    /// From above to zero or below.
    Falling,
    /// Both.
    Either,
}

/// A function `g(t, y)`, a passage of which through zero is an event.
type Root<'a, T> = Box<dyn FnMut(f64, &[T]) -> f64 + 'a>;

/// What an event does to the state.
type Change<'a, T> = Box<dyn FnMut(f64, &mut [T]) + 'a>;

/// An event: that a function `g(t, y)` of time and state passes through zero, and what happens then.
///
/// It is looked for at the ends of each step and at some times inside, by the interpolant, and its
/// time is found there to about a unit in the last place; `g` has changed its sign, or is zero, at
/// the time that is reported. Where `g` is zero at the start, or when the state was just changed,
/// that is no event: first it must leave zero. Two passages between two times that are looked at
/// are missed, as is a mere touch.
///
/// See [`Solver::event`](crate::Solver::event).
pub struct Event<'a, T: Real> {
    root: Root<'a, T>,
    direction: Direction,
    pub(crate) terminal: bool,
    pub(crate) change: Option<Change<'a, T>>,
    looks: usize,
    /// The sign of the root function where the search goes on.
    sign: f64,
}

impl<'a, T: Real> Event<'a, T> {
    /// The event that `g(t, y)` passes through zero, in either direction.
    pub fn new(g: impl FnMut(f64, &[T]) -> f64 + 'a) -> Event<'a, T> {
        Event {
            root: Box::new(g),
            direction: Direction::Either,
            terminal: false,
            change: None,
            looks: 4,
            sign: 0.0,
        }
    }

    /// Only passages in one direction.
    pub fn direction(mut self, direction: Direction) -> Event<'a, T> {
        self.direction = direction;
        self
    }

    /// Only passages from below.
    pub fn rising(self) -> Event<'a, T> {
        self.direction(Direction::Rising)
    }

    /// Only passages from above.
    pub fn falling(self) -> Event<'a, T> {
        self.direction(Direction::Falling)
    }

    /// The solve ends there.
    pub fn terminal(mut self) -> Event<'a, T> {
        self.terminal = true;
        self
    }

    /// `change(t, y)` makes of the state what the solve goes on with.
    pub fn change(mut self, change: impl FnMut(f64, &mut [T]) + 'a) -> Event<'a, T> {
        self.change = Some(Box::new(change));
        self
    }

    /// At how many times of a step to look, its end included; 4 by default, at least 1.
    pub fn looks(mut self, looks: usize) -> Event<'a, T> {
        self.looks = looks.max(1);
        self
    }

    /// Starts, or goes on, with a state that has no past.
    pub(crate) fn begin(&mut self, number: usize, t: f64, y: &[T]) -> Result<(), Error> {
        self.sign = signum(self.value(number, t, y)?);
        Ok(())
    }

    fn value(&mut self, number: usize, t: f64, y: &[T]) -> Result<f64, Error> {
        let value = (self.root)(t, y);
        if value.is_nan() {
            return Err(ErrorKind::EventNotANumber { event: number, t }.into());
        }
        Ok(value)
    }

    /// The first passage after `from` in a step with all slopes, if there is one; `scratch` is as
    /// long as the state.
    pub(crate) fn find(
        &mut self,
        number: usize,
        step: &Step<'_, T>,
        from: f64,
        scratch: &mut [T],
    ) -> Result<Option<f64>, Error> {
        let at = |event: &mut Self, t: f64, scratch: &mut [T]| {
            state(step, t, scratch);
            event.value(number, t, scratch)
        };
        let mut a = from;
        let mut value_a = self.sign;
        for look in 1..=self.looks {
            let b = match look {
                _ if look == self.looks => step.t1,
                _ => step.t0 + step.h * (look as f64 / self.looks as f64),
            };
            if (b - a) * step.h <= 0.0 {
                continue;
            }
            let value_b = at(self, b, scratch)?;
            let (before, after) = (self.sign, signum(value_b));
            if before * after < 0.0 || (before != 0.0 && after == 0.0) {
                let counts = match self.direction {
                    Direction::Rising => before < 0.0,
                    Direction::Falling => before > 0.0,
                    Direction::Either => true,
                };
                if counts {
                    let mut failed = None;
                    let value_a = if value_a == 0.0 { before } else { value_a };
                    let t = passage(a, value_a, b, value_b, |t| {
                        at(self, t, scratch).unwrap_or_else(|e| {
                            failed = Some(e);
                            0.0
                        })
                    });
                    return failed.map_or(Ok(Some(t)), Err);
                }
            }
            if after != 0.0 {
                self.sign = after;
            }
            (a, value_a) = (b, value_b);
        }
        Ok(None)
    }

    /// Goes on after a passage that changed nothing: it is on the other side.
    pub(crate) fn pass(&mut self) {
        self.sign = -self.sign;
    }

    /// The sign, to be set back if the search is to start again from an earlier time.
    pub(crate) fn sign(&mut self) -> &mut f64 {
        &mut self.sign
    }
}

impl<T: Real> std::fmt::Debug for Event<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("direction", &self.direction)
            .field("terminal", &self.terminal)
            .field("changes", &self.change.is_some())
            .finish_non_exhaustive()
    }
}

/// An event that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Occurrence<T> {
    /// The number of the event.
    pub event: usize,
    /// The time.
    pub t: f64,
    /// The state, before the event changed it.
    pub before: Vec<T>,
    /// The state after it.
    pub after: Vec<T>,
}

/// The state at a time within a step.
pub(crate) fn state<T: Real>(step: &Step<'_, T>, t: f64, out: &mut [T]) {
    if t == step.t1 {
        out.copy_from_slice(step.y1);
    } else {
        step.interpolate((t - step.t0) / step.h, out);
    }
}

/// -1, 0 or 1.
fn signum(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// Where a function whose signs at `a` and `b` differ passes through zero: the end of a bracket of
/// neighbouring numbers at which the sign is not that at `a`.
///
/// Secants, and a half wherever three of them have not made the bracket an eighth.
fn passage(a: f64, at_a: f64, b: f64, at_b: f64, mut g: impl FnMut(f64) -> f64) -> f64 {
    let (mut a, mut at_a, mut b, mut at_b) = (a, at_a, b, at_b);
    let least = f64::EPSILON * a.abs().max(b.abs());
    let (mut width, mut since) = ((b - a).abs(), 0);
    loop {
        let half = a + 0.5 * (b - a);
        if (b - a).abs() <= least || half == a || half == b {
            return b;
        }
        since += 1;
        let secant = a - at_a * ((b - a) / (at_b - at_a));
        let inside = (secant - a) * (secant - b) < 0.0;
        let mut t = if inside && since <= 3 { secant } else { half };
        // Not so close to an end that the other one would stay far away.
        if (t - a).abs() < 0.5 * least {
            t = a + (0.5 * least).copysign(b - a);
        } else if (t - b).abs() < 0.5 * least {
            t = b - (0.5 * least).copysign(b - a);
        }
        if (t - a) * (t - b) >= 0.0 {
            t = half;
        }
        let value = g(t);
        if signum(value) == signum(at_a) {
            (a, at_a) = (t, value);
        } else {
            (b, at_b) = (t, value);
        }
        if since > 3 || (b - a).abs() <= 0.125 * width {
            (width, since) = ((b - a).abs(), 0);
        }
    }
}
