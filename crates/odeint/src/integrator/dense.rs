//! Slopes that only the solution between steps needs, and steps that are cut short.

use costate_ops::first_not_finite;

use super::Integrator;
use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::options::Stepping;
use crate::step::interpolant_slopes;
use crate::stepper::Stepper;
use crate::tableau::Part;

impl<T: Real> Integrator<T> {
    /// Makes sure that the last step has its end slope, `f` at the current state.
    ///
    /// # Errors
    /// If the field fails or is not finite.
    #[inline]
    pub fn end_slope(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        if self.frame.has_end { Ok(()) } else { self.evaluate_end(f) }
    }

    fn evaluate_end(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        let frame = &mut self.frame;
        let end = frame.end_range();
        let (dy, kept) = (&mut frame.k[end.clone()], frame.kept.of(frame.tableau.rows() - 1));
        f.eval_keeping(frame.t1, &frame.y1, dy, Part::All, kept).map_err(ErrorKind::Field)?;
        frame.stats.f_evals += 1;
        if let Some(component) = first_not_finite(&frame.k[end]) {
            return Err(ErrorKind::NonFinite { t: frame.t1, stage: Some(0), component }.into());
        }
        frame.has_end = true;
        Ok(())
    }

    /// Makes sure that the last step has all slopes that its interpolant needs. Before the first
    /// step it does nothing.
    ///
    /// # Errors
    /// If the field fails or is not finite.
    pub fn dense_slopes(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        let tableau = self.frame.tableau;
        if self.frame.h == 0.0 || self.frame.has_dense {
            return Ok(());
        }
        if tableau.interpolant.needs_end() {
            self.end_slope(f)?;
        }
        let frame = &mut self.frame;
        let mut f = Counted { field: f, stats: &mut frame.stats };
        if !frame.has_first && tableau.interpolant.needs_first() {
            let (first, kept) = (&mut frame.k[..frame.y0.len()], frame.kept.of(0));
            f.eval_keeping(frame.t0, &frame.y0, first, Part::All, kept)
                .map_err(ErrorKind::Field)?;
            if let Some(component) = first_not_finite(first) {
                return Err(ErrorKind::NonFinite { t: frame.t0, stage: Some(0), component }.into());
            }
            frame.has_first = true;
        }
        let (y0, k, stage) = (&frame.y0, &mut frame.k, &mut frame.scratch);
        interpolant_slopes(tableau, &mut f, frame.t0, frame.t1, y0, k, stage)
            .map_err(ErrorKind::Field)?;
        let (n, own) = (y0.len(), tableau.rows() * y0.len());
        if let Some(i) = first_not_finite(&k[own..]) {
            let stage = tableau.rows() + i / n;
            let t = tableau.time(stage, frame.t0, frame.t1);
            return Err(ErrorKind::NonFinite { t, stage: Some(stage), component: i % n }.into());
        }
        frame.has_dense = true;
        Ok(())
    }

    /// Goes back to the time `t` within the last step, to the state of the interpolant there.
    ///
    /// # Panics
    /// If `t` is not in the last step, or its [slopes](Integrator::dense_slopes) are not there.
    pub fn cut(&mut self, t: f64) {
        let (t0, t1, h) = (self.frame.t0, self.frame.t1, self.frame.h);
        let inside = (t - t0) * h > 0.0 && (t1 - t) * h >= 0.0;
        assert!(inside, "cut: {t} is not within the step from {t0} to {t1}");
        if t == t1 {
            return;
        }
        let mut y = std::mem::take(&mut self.frame.scratch);
        self.last_step().interpolate((t - t0) / h, &mut y);
        self.frame.y1.copy_from_slice(&y);
        self.frame.scratch = y;
        // One of equal steps is still to end where it would have ended.
        let direction = if h > 0.0 { 1.0 } else { -1.0 };
        if self.frame.options.stepping != Stepping::Adaptive {
            self.frame.t1 = t0;
            self.equal = self.equal.saturating_sub(1);
            if t1 != self.next_equal(direction) {
                self.equal += 1;
            }
        }
        self.frame.t1 = t;
        self.frame.has_end = false;
        self.family.forget();
    }
}
