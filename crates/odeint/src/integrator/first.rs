//! The size of the first step.

use costate_ops::lincomb;

use super::Integrator;
use crate::Real;
use crate::control;
use crate::error::{Error, ErrorKind};
use crate::field::Field;
use crate::mass::Mass;
use crate::step::combine;
use crate::stepper::Family;

impl<T: Real> Integrator<T> {
    /// The size of the first step. The end slope must be there.
    pub(super) fn first_step(&mut self, f: &mut dyn Field<T>) -> Result<f64, Error> {
        let span = (self.end - self.frame.t1).abs();
        let smallest = self.smallest_step();
        let frame = &mut self.frame;
        let limit = frame.options.max_dt.min(span);
        if let Some(dt) = frame.options.dt0 {
            return Ok(dt.min(limit));
        }
        let (n, end) = (frame.y1.len(), frame.end_range());
        if let Some(mass) = f.mass() {
            return Ok(self.first_step_with(mass, limit));
        }
        let norm = |x: &[T], y: &[T]| control::error_norm(x, y, y, &frame.options, &frame.atol);
        let (d0, d1) = (norm(&frame.y1, &frame.y1), norm(&frame.k[end.clone()], &frame.y1));
        let guess = control::first_guess(d0, d1).min(span);
        // Norms that overflow leave 0 or NaN.
        let guess = if guess > 0.0 { guess } else { smallest.min(span) };
        let probe = guess.copysign(self.end - frame.t1);
        combine(Some(&frame.y1), probe, &[1.0], &frame.k[end.clone()], &mut frame.scratch);
        f.eval(frame.t1 + probe, &frame.scratch, &mut frame.k[..n]).map_err(ErrorKind::Field)?;
        frame.stats.f_evals += 1;
        // The slope there, minus that here.
        let (probed, rest) = frame.k.split_at(n);
        let here = &rest[end.start - n..end.end - n];
        lincomb(&[T::one(), -T::one()], &[probed, here], &mut frame.scratch);
        let d2 = norm(&frame.scratch, &frame.y1) / guess;
        // A multistep method begins with order 1.
        let order = if frame.tableau.is_multistep() { 2 } else { frame.tableau.order };
        let step = control::first_step(guess, d1, d2, order);
        // A probe that left the field's domain, or overflowed, says nothing.
        Ok(if step.is_finite() && step > 0.0 { step } else { guess }.min(limit))
    }

    /// The size of the first step with a mass matrix: a first guess from the differential equations
    /// alone.
    fn first_step_with(&mut self, mass: &Mass<T>, limit: f64) -> f64 {
        let smallest = self.smallest_step();
        let frame = &mut self.frame;
        let end = frame.end_range();
        frame.scratch.copy_from_slice(&frame.k[end]);
        mass.rough_slope(&mut frame.scratch);
        let y = &frame.y1;
        let norm = |x: &[T]| control::error_norm(x, y, y, &frame.options, &frame.atol);
        let guess = control::first_guess(norm(y), norm(&frame.scratch));
        let guess = if guess > 0.0 { guess } else { smallest };
        guess.min(1e-3 * limit)
    }

    /// Has a multistep method begin, if it has no steps to go on from.
    pub(super) fn start_multistep(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        let Family::Multistep(memory) = &self.family else { return Ok(()) };
        if memory.has_history() {
            return Ok(());
        }
        self.end_slope(f)?;
        self.dt = 0.0;
        let frame = &mut self.frame;
        let end = frame.end_range();
        frame.scratch.copy_from_slice(&frame.k[end]);
        if let Some(mass) = f.mass() {
            mass.rough_slope(&mut frame.scratch);
        }
        if let Family::Multistep(memory) = &mut self.family {
            memory.start(&frame.y1, &frame.scratch);
        }
        Ok(())
    }
}
