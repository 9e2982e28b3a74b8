//! Steps whose stages solve linear systems.

use super::Stepper;
use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::newton::Outcome;
use crate::rosenbrock::Rosenbrock;

impl<T: Real> Stepper<T> for Rosenbrock<T> {
    fn begin(&mut self) {
        self.forget_derivatives();
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let (t, y0, k, y1) = (frame.t1, &frame.y0, &mut frame.k, &mut frame.y1);
        let outcome = self.stages(&mut f, t, next, y0, k, y1);
        frame.stats.factorisations += std::mem::take(&mut self.factorisations);
        outcome.map_err(|e| ErrorKind::Field(e).into())
    }
}
