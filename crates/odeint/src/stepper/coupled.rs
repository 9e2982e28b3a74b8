//! Steps with coupled stages, by fixed-point iteration.

use costate_ops::Buffer;

use super::Stepper;
use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::fixed_point::coupled_step;
use crate::integrator::Frame;
use crate::newton::Outcome;

/// What goes from step to step, besides the slopes from which the next iteration starts.
#[derive(Clone, Debug)]
pub(crate) struct Coupled<T: Real> {
    /// What rounding has left out of the state: steps are added up with compensation.
    pub carry: Buffer<T>,
    /// How often the stages of the last step were iterated.
    pub rounds: usize,
}

impl<T: Real> Coupled<T> {
    pub fn new(n: usize) -> Coupled<T> {
        Coupled { carry: Buffer::zeros(n), rounds: 1 }
    }
}

impl<T: Real> Stepper<T> for Coupled<T> {
    fn forget(&mut self) {
        self.carry.fill(T::zero());
    }

    fn clear(&mut self, frame: &mut Frame<T>) {
        let end = frame.end_range().start;
        frame.k[..end].fill(T::zero());
        frame.has_first = false;
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let (t, y0, stage) = (frame.t1, &frame.y0, &mut frame.y1);
        let (k, increment) = (&mut frame.k, &mut frame.scratch);
        let rounds = coupled_step(frame.tableau, &mut f, t, next, y0, k, stage, increment)
            .map_err(ErrorKind::Field)?;
        let dt = next - t;
        self.rounds = rounds.ok_or(ErrorKind::NoConvergence { t, dt })?;
        for (((y1, &y0), &carry), sum) in
            frame.y1.iter_mut().zip(&*frame.y0).zip(&*self.carry).zip(increment.iter_mut())
        {
            *sum += carry;
            *y1 = y0 + *sum;
            // What was lost, to be added next time.
            *sum -= *y1 - y0;
        }
        Ok(Outcome::Converged)
    }

    fn accept(&mut self, frame: &mut Frame<T>) {
        std::mem::swap(&mut self.carry, &mut frame.scratch);
    }
}
