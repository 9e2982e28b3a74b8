//! Steps with a companion state, by a reversible scheme.

use costate_ops::Real;

use super::Integrator;
use crate::error::{Error, ErrorKind, FieldError};
use crate::field::{Counted, Field};
use crate::reversible::{Reversible, Scheme};

/// The state with its companion, before a step and after it.
#[derive(Clone, Debug)]
pub(super) struct Pair<T: Real> {
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

    /// Forgets the companion, since the state is another one.
    pub fn restart(&mut self) {
        (self.started, self.tried) = (false, false);
    }

    pub fn accept(&mut self) {
        self.tried = false;
    }

    /// The estimate of the error of the last step.
    pub fn error(&self) -> &[T] {
        self.at.error()
    }

    fn start(&mut self, f: &mut impl Field<T>, t: f64, y: &[T]) -> Result<(), FieldError> {
        if !self.started {
            self.at.begin(f, t, y)?;
            (self.started, self.tried) = (true, false);
        }
        if self.tried {
            self.at.copy_from(&self.before);
            self.tried = false;
        }
        Ok(())
    }
}

impl<T: Real> Integrator<T> {
    /// A step by a reversible scheme from `y0` to the time `next`; `y1` and the increment.
    pub(super) fn reversible_step(
        &mut self,
        f: &mut impl Field<T>,
        next: f64,
    ) -> Result<(), Error> {
        let mut f = Counted { field: f, stats: &mut self.stats };
        let (t, n) = (self.t1, self.y0.len());
        let pair = self.reversible.as_mut().expect("the scheme is reversible");
        pair.start(&mut f, t, &self.y0).map_err(ErrorKind::Field)?;
        pair.before.copy_from(&pair.at);
        pair.tried = true;
        pair.at.step_to(&mut f, next)?;
        self.y1.copy_from_slice(pair.at.y());
        let rate = T::from_f64(1.0 / (next - t));
        for ((k, &y1), &y0) in self.k[n..2 * n].iter_mut().zip(&*self.y1).zip(&*self.y0) {
            *k = (y1 - y0) * rate;
        }
        Ok(())
    }

    /// The state reached with its companion.
    pub(crate) fn companion(
        &mut self,
        f: &mut impl Field<T>,
    ) -> Result<&Reversible<T>, FieldError> {
        let mut f = Counted { field: f, stats: &mut self.stats };
        let pair = self.reversible.as_mut().expect("the scheme is reversible");
        pair.start(&mut f, self.t1, &self.y1)?;
        Ok(&pair.at)
    }

    /// The state reached with its companion, if there is one yet.
    pub(crate) fn last_companion(&self) -> Option<&Reversible<T>> {
        let pair = self.reversible.as_ref()?;
        (pair.started && !pair.tried).then_some(&pair.at)
    }

    /// How many numbers a point with its companion is.
    pub(super) fn pair_len(&self) -> Option<usize> {
        self.reversible.as_ref().map(|pair| pair.at.point_len())
    }

    /// Writes the state and its companion, and says whether there is one.
    pub(super) fn pair_point(&self, out: &mut [T]) -> bool {
        let Some(found) = self.last_companion() else {
            out.fill(T::zero());
            out[..self.y1.len()].copy_from_slice(&self.y1);
            return false;
        };
        found.write(out);
        true
    }

    /// Goes on from a point with its companion.
    pub(super) fn resume_pair(&mut self, t: f64, point: &[T], started: bool) {
        if let Some(pair) = &mut self.reversible {
            (pair.started, pair.tried) = (started, false);
            pair.at.read(t, point);
        }
    }
}
