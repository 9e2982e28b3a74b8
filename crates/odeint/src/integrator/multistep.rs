//! The steps of a multistep method.

use costate_ops::Real;

use super::Integrator;
use crate::control;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::multistep::Multistep;

/// How much shorter the next try is where the iteration diverged.
const AFTER_DIVERGENCE: f64 = 0.25;
/// After how many tries with too large an error the order is lowered to 1.
const TRIES: usize = 3;

impl<T: Real> Integrator<T> {
    /// Takes one step, trying as often as the tolerance demands.
    pub(super) fn step_multistep(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        let mut memory = self.multistep.take().expect("made with a multistep method");
        let result = self.begin_multistep(&mut memory, f);
        self.stats.factorisations += std::mem::take(&mut memory.factorisations);
        self.multistep = Some(memory);
        result
    }

    fn begin_multistep(
        &mut self,
        memory: &mut Multistep<T>,
        f: &mut impl Field<T>,
    ) -> Result<(), Error> {
        if !memory.has_history() {
            self.end_slope(f)?;
            self.dt = self.first_step(f)?;
            let h = self.dt.copysign(self.end - self.t1);
            let end = self.end_range();
            self.scratch.copy_from_slice(&self.k[end]);
            if let Some(mass) = f.mass() {
                mass.rough_slope(&mut self.scratch);
            }
            memory.start(&self.y1, &self.scratch, h);
        }
        self.begin(|integrator| integrator.attempt_multistep(memory, f))
    }

    fn attempt_multistep(
        &mut self,
        memory: &mut Multistep<T>,
        f: &mut impl Field<T>,
    ) -> Result<(), Error> {
        let direction = if self.end > self.t1 { 1.0 } else { -1.0 };
        let smallest = self.smallest_step();
        let largest = self.options.max_dt;
        let mut h = self.dt.max(smallest).min(largest);
        let (mut failures, mut rejected) = (0, false);
        loop {
            let tried = self.stats.accepted + self.stats.rejected;
            if tried >= self.options.max_steps {
                return Err(ErrorKind::MaxSteps { t: self.t1, steps: tried }.into());
            }
            let next = self.clip(h, direction);
            let step = next - self.t1;
            if step * direction <= 0.0 {
                return Err(ErrorKind::NoProgress { t: self.t1, dt: h }.into());
            }
            memory.resize(step, next);
            let mut counted = Counted { field: f, stats: &mut self.stats };
            let converged = memory
                .correct(&mut counted, &self.options, &self.atol, next, &mut self.y1)
                .map_err(ErrorKind::Field)?;
            // The time is rounded, so a step of the smallest size may come out a little larger.
            let is_smallest = step.abs() <= 1.1 * smallest;
            if !converged {
                self.stats.rejected += 1;
                rejected = true;
                if is_smallest {
                    let diverged = || self.diverged(next, 0);
                    return Err(self.state_not_finite(next).unwrap_or_else(diverged));
                }
                h = (AFTER_DIVERGENCE * step.abs()).max(smallest);
                continue;
            }
            let error = memory.error(&self.options, &self.atol, &self.y0, &self.y1);
            if error <= 1.0 && self.y1.iter().all(|y| y.is_finite()) {
                memory.advance(step, &mut self.k);
                let most = if rejected { 1.0 } else { self.options.controller.max_factor };
                let (options, atol) = (&self.options, &self.atol);
                let factor = memory.choose(error, most, options, atol, &self.y0, &self.y1);
                // A step that was cut short at a stop says nothing against the longer one.
                let before = if rejected { step.abs() } else { h };
                self.dt = (step.abs() * factor.unwrap_or(1.0)).max(before).min(largest);
                self.accept(next);
                return Ok(());
            }
            self.stats.rejected += 1;
            (failures, rejected) = (failures + 1, true);
            if is_smallest {
                let component =
                    control::worst(memory.delta(), &self.y0, &self.y1, &self.options, &self.atol);
                let too_small =
                    || ErrorKind::StepTooSmall { t: self.t1, dt: h, component, error }.into();
                return Err(self.state_not_finite(next).unwrap_or_else(too_small));
            }
            let factor = match error.is_finite() {
                true => memory.factor_after_rejection(error).min(0.9),
                false => 0.0,
            };
            if failures == TRIES {
                memory.lower_to_one();
            }
            h = (step.abs() * factor.max(self.options.controller.min_factor)).max(smallest);
        }
    }

    /// Where the state at `t` is not finite, if anywhere.
    fn state_not_finite(&self, t: f64) -> Option<Error> {
        let component = self.y1.iter().position(|y| !y.is_finite())?;
        Some(ErrorKind::NonFinite { t, stage: None, component }.into())
    }
}
