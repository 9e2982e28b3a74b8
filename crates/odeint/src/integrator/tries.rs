//! Trying until a step is taken.

use std::ops::Range;

use costate_ops::first_not_finite;

use super::Integrator;
use crate::Real;
use crate::control;
use crate::error::{Error, ErrorKind};
use crate::field::Field;
use crate::newton::Outcome;
use crate::options::Stepping;
use crate::stepper::{Family, Stepper, Tried};

/// Copies a range of a buffer to its front, which it does not overlap.
#[inline]
fn to_front<T: Real>(buffer: &mut [T], range: &Range<usize>) {
    if !range.is_empty() {
        let (front, back) = buffer.split_at_mut(range.start);
        costate_ops::copy(&back[..range.len()], &mut front[..range.len()]);
    }
}

/// How much shorter the next try is where an iteration diverged.
const AFTER_DIVERGENCE: f64 = 0.25;

impl<T: Real> Integrator<T> {
    /// Makes the state reached the start of a step, and undoes that if the step fails.
    #[inline]
    pub(super) fn begin(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let frame = &mut self.frame;
        let had_end = frame.has_end;
        let end = frame.end_range();
        std::mem::swap(&mut frame.y0, &mut frame.y1);
        to_front(&mut frame.k, &end);
        frame.kept.begin();
        (frame.has_first, frame.has_dense) = (had_end, false);
        self.family.begin();
        let result = step(self);
        if result.is_err() {
            let frame = &mut self.frame;
            std::mem::swap(&mut frame.y0, &mut frame.y1);
            frame.k.copy_within(..end.len(), end.start);
            frame.kept.begin();
            self.family.clear(frame);
            frame.has_end = had_end;
        }
        result
    }

    /// Steps from `y0` at `t1` to `next`, and takes the step if it is finite.
    pub(super) fn once(&mut self, f: &mut impl Field<T>, next: f64) -> Result<(), Error> {
        let outcome = self.family.step_with(&mut self.frame, f, next)?;
        match (self.frame.not_finite(next), outcome) {
            (Some(error), _) => Err(error),
            (None, Outcome::Diverged(stage)) => Err(self.diverged(next, stage)),
            (None, Outcome::Converged) => {
                self.accept(next);
                Ok(())
            }
        }
    }

    /// Tries from `y0` at `t1` until a step is taken; the first try is about `h` long.
    pub(super) fn attempt(&mut self, f: &mut impl Field<T>, mut h: f64) -> Result<(), Error> {
        let direction = if self.end > self.frame.t1 { 1.0 } else { -1.0 };
        let adaptive = self.frame.options.stepping == Stepping::Adaptive;
        let smallest = self.smallest_step();
        if adaptive {
            h = h.max(smallest).min(self.frame.options.max_dt);
        }
        let (mut rejections, mut errors) = (0, 0);
        loop {
            let tried = self.frame.stats.accepted + self.frame.stats.rejected;
            if tried >= self.frame.options.max_steps {
                return Err(ErrorKind::MaxSteps { t: self.frame.t1, steps: tried }.into());
            }
            let next = self.clip(h, direction);
            let size = next - self.frame.t1;
            if size * direction <= 0.0 {
                return Err(ErrorKind::NoProgress { t: self.frame.t1, dt: h }.into());
            }
            if !adaptive {
                return self.once(f, next);
            }
            // The time is rounded, so a step of the smallest size may come out a little larger.
            let is_smallest = size.abs() <= 1.1 * smallest;
            if let Outcome::Diverged(stage) = self.family.step_with(&mut self.frame, f, next)? {
                self.frame.stats.rejected += 1;
                rejections += 1;
                if is_smallest {
                    let diverged = || self.diverged(next, stage);
                    return Err(self.frame.not_finite(next).unwrap_or_else(diverged));
                }
                h = (AFTER_DIVERGENCE * size.abs()).max(smallest);
                continue;
            }
            let square = self.family.error(&mut self.frame, size);
            let tried = Tried { size, asked: h, square, rejections, errors };
            if square <= 1.0 && first_not_finite(&self.frame.y1).is_none() {
                let next_size = self.family.next_size(&mut self.frame, tried);
                self.dt = next_size.min(self.frame.options.max_dt);
                self.accept(next);
                return Ok(());
            }
            self.frame.stats.rejected += 1;
            (rejections, errors) = (rejections + 1, errors + 1);
            h = self.family.next_try(&mut self.frame, tried);
            if is_smallest {
                return Err(self.too_small(next, size, h, square.sqrt()));
            }
            h = h.max(smallest);
        }
    }

    /// The smallest adaptive step.
    #[inline]
    pub(super) fn smallest_step(&self) -> f64 {
        self.frame.options.smallest_step(self.frame.t1)
    }

    /// The end of a step of about `h`, so that the end is hit exactly and no tiny step is left
    /// before it.
    #[inline]
    fn clip(&self, h: f64, direction: f64) -> f64 {
        let (t, options) = (self.frame.t1, &self.frame.options);
        let left = (self.end - t).abs();
        let before_stop = (self.stop - t).abs();
        match options.stepping {
            // A step may be stretched to the end, but not beyond its largest size.
            Stepping::Adaptive if self.stop != self.end && 1.01 * h >= before_stop => self.stop,
            // Two equal steps to a stop, rather than a long and a short one.
            Stepping::Adaptive if self.stop != self.end && 2.0 * h > before_stop => {
                t + direction * 0.5 * before_stop
            }
            Stepping::Adaptive if h < left && (1.01 * h < left || left > options.max_dt) => {
                t + direction * h
            }
            Stepping::Adaptive => self.end,
            _ => {
                let next = self.next_equal(direction);
                if (next - self.stop) * direction > 0.0 { self.stop } else { next }
            }
        }
    }

    /// The end of the next of equal steps. It is computed from the start, so that rounding does not
    /// pile up.
    pub(super) fn next_equal(&self, direction: f64) -> f64 {
        let left = (self.end - self.frame.t1).abs();
        match self.frame.options.stepping {
            Stepping::Steps(steps) if self.equal + 1 < steps => {
                let fraction = (self.equal + 1) as f64 / steps as f64;
                self.start + (self.end - self.start) * fraction
            }
            Stepping::Fixed(dt) if dt < left * (1.0 - 1e-9) => {
                self.start + direction * dt * (self.equal + 1) as f64
            }
            _ => self.end,
        }
    }

    #[inline]
    fn accept(&mut self, next: f64) {
        if self.frame.options.stepping != Stepping::Adaptive {
            let direction = if self.end > self.frame.t1 { 1.0 } else { -1.0 };
            self.equal += usize::from(next == self.next_equal(direction));
        }
        let frame = &mut self.frame;
        frame.t0 = frame.t1;
        frame.t1 = next;
        frame.h = next - frame.t0;
        frame.stats.accepted += 1;
        frame.has_end = frame.tableau.error_needs_end();
        self.family.accept(frame);
    }

    /// The error of a step to `next` whose stage does not converge.
    fn diverged(&self, next: f64, stage: usize) -> Error {
        let t = self.frame.t1;
        ErrorKind::Diverged { t, dt: next - t, stage }.into()
    }

    /// The error of the smallest step to `next`, with too large an `error`; the next try would have
    /// been `dt` long.
    #[cold]
    fn too_small(&mut self, next: f64, size: f64, dt: f64, error: f64) -> Error {
        if let Some(error) = self.frame.not_finite(next) {
            return error;
        }
        if let Family::Explicit(_) = self.family {
            // Steps of small states do not write the estimate.
            self.frame.error(size, |_| ());
        }
        let frame = &self.frame;
        let (e, a, b) = (&frame.scratch, &frame.y0, &frame.y1);
        let component = control::worst(e, a, b, &frame.options, &frame.atol);
        ErrorKind::StepTooSmall { t: frame.t1, dt, component, error }.into()
    }
}
