//! Steps with a companion state, by a reversible scheme.

use super::Stepper;
use crate::Real;
use crate::error::{Error, ErrorKind, FieldError};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::newton::Outcome;
use crate::reversible::{Reversible, Scheme};

/// The state with its companion, before a step and after it.
#[derive(Clone, Debug)]
pub(crate) struct Pair<T: Real> {
    at: Reversible<T>,
    before: Reversible<T>,
    /// Whether there is a companion: it begins with the first step.
    started: bool,
    /// Whether `at` is that of a step that was not accepted.
    tried: bool,
}

impl<T: Real> Pair<T> {
    pub fn new(scheme: Scheme, n: usize) -> Pair<T> {
        let at = Reversible::blank(scheme, n);
        Pair { before: at.clone(), at, started: false, tried: false }
    }

    /// The state `y` reached at `t` with its companion, which begins here if there is none.
    pub fn start(
        &mut self,
        f: &mut impl Field<T>,
        t: f64,
        y: &[T],
    ) -> Result<&Reversible<T>, FieldError> {
        if !self.started {
            self.at.begin(f, t, y)?;
            (self.started, self.tried) = (true, false);
        }
        if self.tried {
            self.at.copy_from(&self.before);
            self.tried = false;
        }
        Ok(&self.at)
    }

    /// The state reached with its companion, if there is one yet.
    pub fn reached(&self) -> Option<&Reversible<T>> {
        (self.started && !self.tried).then_some(&self.at)
    }

    /// How many numbers a point with its companion is.
    pub fn point_len(&self) -> usize {
        self.at.point_len()
    }

    /// Goes on from a point with its companion, if there is one.
    pub fn resume(&mut self, t: f64, point: &[T], started: bool) {
        (self.started, self.tried) = (started, false);
        self.at.read(t, point);
    }
}

impl<T: Real> Stepper<T> for Pair<T> {
    fn forget(&mut self) {
        (self.started, self.tried) = (false, false);
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let (t, n) = (frame.t1, frame.y0.len());
        self.start(&mut f, t, &frame.y0).map_err(ErrorKind::Field)?;
        self.before.copy_from(&self.at);
        self.tried = true;
        self.at.step_to(&mut f, next)?;
        frame.y1.copy_from_slice(self.at.y());
        let rate = T::from_f64(1.0 / (next - t));
        for ((k, &y1), &y0) in frame.k[n..2 * n].iter_mut().zip(&*frame.y1).zip(&*frame.y0) {
            *k = (y1 - y0) * rate;
        }
        Ok(Outcome::Converged)
    }

    fn error(&mut self, frame: &mut Frame<T>, _: f64) -> f64 {
        frame.scratch.copy_from_slice(self.at.error());
        frame.square(&frame.scratch)
    }

    fn accept(&mut self, _: &mut Frame<T>) {
        self.tried = false;
    }
}
