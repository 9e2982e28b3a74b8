//! Steps with diagonally implicit stages.

use costate_ops::Real;

use super::Stepper;
use crate::dirk::DirkTableau;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::newton::{Newton, Outcome};

#[derive(Clone, Debug)]
pub(crate) struct Implicit<T: Real> {
    method: &'static DirkTableau,
    newton: Newton<T>,
}

impl<T: Real> Implicit<T> {
    pub fn new(method: &'static DirkTableau, n: usize) -> Implicit<T> {
        Implicit { method, newton: Newton::new(n) }
    }
}

impl<T: Real> Stepper<T> for Implicit<T> {
    fn begin(&mut self) {
        self.newton.begin();
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let (t, y0, k, y1) = (frame.t1, &frame.y0, &mut frame.k, &mut frame.y1);
        let (newton, options) = (&mut self.newton, &frame.options);
        let outcome = newton.step(self.method, options, &mut f, t, next, y0, k, y1);
        frame.stats.factorisations += std::mem::take(&mut newton.factorisations);
        outcome.map_err(|e| ErrorKind::Field(e).into())
    }

    fn error(&mut self, frame: &mut Frame<T>, h: f64) -> f64 {
        let (newton, filter) = (&mut self.newton, self.method.filter);
        frame.error(h, |e| {
            if filter {
                newton.filter(e);
            }
        })
    }
}
