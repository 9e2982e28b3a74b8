//! Steps of a multistep method, which chooses size and order together.

use super::{Stepper, Tried};
use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::multistep::Multistep;
use crate::newton::Outcome;

/// After how many tries with too large an error the order is lowered to 1.
const TRIES: usize = 3;

impl<T: Real> Stepper<T> for Multistep<T> {
    fn forget(&mut self) {
        self.forget_steps();
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        self.resize(next - frame.t1, next);
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let (options, atol) = (&frame.options, &frame.atol);
        let converged = self.correct(&mut f, options, atol, next, &mut frame.y1);
        frame.stats.factorisations += std::mem::take(&mut self.factorisations);
        match converged.map_err(ErrorKind::Field)? {
            true => Ok(Outcome::Converged),
            false => Ok(Outcome::Diverged(0)),
        }
    }

    fn error(&mut self, frame: &mut Frame<T>, _: f64) -> f64 {
        frame.scratch.copy_from_slice(self.delta());
        self.measure(&frame.options, &frame.atol, &frame.y0, &frame.y1).powi(2)
    }

    fn next_size(&mut self, frame: &mut Frame<T>, tried: Tried) -> f64 {
        self.advance(tried.size, &mut frame.k);
        let rejected = tried.rejections > 0;
        let most = if rejected { 1.0 } else { frame.options.controller.max_factor };
        let (options, atol) = (&frame.options, &frame.atol);
        let factor = self.choose(tried.square.sqrt(), most, options, atol, &frame.y0, &frame.y1);
        // A step that was cut short at a stop says nothing against the longer one.
        let before = if rejected { tried.size.abs() } else { tried.asked };
        (tried.size.abs() * factor.unwrap_or(1.0)).max(before)
    }

    fn next_try(&mut self, frame: &mut Frame<T>, tried: Tried) -> f64 {
        let factor = match tried.square.is_finite() {
            true => self.factor_after_rejection(tried.square.sqrt()).min(0.9),
            false => 0.0,
        };
        if tried.errors + 1 == TRIES {
            self.lower_to_one();
        }
        tried.size.abs() * factor.max(frame.options.controller.min_factor)
    }
}
