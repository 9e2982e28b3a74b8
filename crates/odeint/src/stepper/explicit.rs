//! Steps with explicit stages.

use super::Stepper;
use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::newton::Outcome;
use crate::small::Small;
use crate::step::keeping_step;
use crate::tableau::Tableau;
use crate::weights::Weights;

#[derive(Clone, Debug)]
pub(crate) struct Explicit {
    /// The coefficients for a small state.
    small: Option<Small>,
    /// The weights of the interpolant, if it needs no slopes of its own.
    weights: Option<Weights>,
    /// The square of the error of the last step of a small state.
    square: Option<f64>,
}

impl Explicit {
    pub fn new(tableau: &'static Tableau, n: usize) -> Explicit {
        let (small, interpolant) = (Small::new(tableau, n), &tableau.interpolant);
        let plain = small.is_some() && interpolant.c.is_empty();
        let weights = plain.then(|| Weights::new(interpolant));
        Explicit { small, weights, square: None }
    }

    /// The coefficients for a small state, and the weights of an interpolant that needs no slopes of its
    /// own, if they are that.
    #[inline]
    pub fn few(&self) -> Option<(&Small, &Weights)> {
        self.small.as_ref().zip(self.weights.as_ref())
    }

    /// [`Stepper::step`], compiled for the field.
    pub fn step_with<T: Real, F: Field<T> + ?Sized>(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut F,
        next: f64,
    ) -> Result<Outcome, Error> {
        if let (Some(small), true) = (&self.small, frame.kept.is_empty()) {
            self.square = small.step(frame, f, next).map_err(ErrorKind::Field)?;
            return Ok(Outcome::Converged);
        }
        self.square = None;
        let (tableau, y0, y1) = (frame.tableau, &frame.y0, &mut frame.y1);
        let k = &mut frame.k[..tableau.rows() * y0.len()];
        let times = [frame.t1, next];
        if let Some(done) = f.step_by_rows(tableau, times, y0, k, y1, &mut frame.kept.places()) {
            frame.stats.f_evals += tableau.rows() - if tableau.error_needs_end() { 1 } else { 2 };
            done.map_err(ErrorKind::Field)?;
            return Ok(Outcome::Converged);
        }
        let mut f = Counted { field: f, stats: &mut frame.stats };
        keeping_step(tableau, &mut f, times[0], next, y0, k, y1, &mut frame.kept)
            .map_err(ErrorKind::Field)?;
        Ok(Outcome::Converged)
    }
}

impl<T: Real> Stepper<T> for Explicit {
    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        self.step_with(frame, f, next)
    }

    #[inline]
    fn error(&mut self, frame: &mut Frame<T>, h: f64) -> f64 {
        self.square.unwrap_or_else(|| frame.error(h, |_| ()))
    }
}
