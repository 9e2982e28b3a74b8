//! Steps with stages that are solved for by Newton's method: of all of a field, or of its stiff part.

use costate_ops::Real;

use super::Stepper;
use crate::additive::AdditiveTableau;
use crate::dirk::DirkTableau;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::newton::{Newton, Outcome};

#[derive(Clone, Debug)]
pub(crate) struct Implicit<T: Real> {
    method: Stages,
    newton: Newton<T>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stages {
    Dirk(&'static DirkTableau),
    Additive(&'static AdditiveTableau),
}

impl<T: Real> Implicit<T> {
    pub fn new(method: Stages, n: usize) -> Implicit<T> {
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
        let outcome = match self.method {
            Stages::Dirk(method) => newton.step(method, options, &mut f, t, next, y0, k, y1),
            Stages::Additive(method) => method.step(newton, options, &mut f, t, next, y0, k, y1),
        };
        frame.stats.factorisations += std::mem::take(&mut newton.factorisations);
        outcome.map_err(|e| ErrorKind::Field(e).into())
    }

    fn error(&mut self, frame: &mut Frame<T>, h: f64) -> f64 {
        let filter = matches!(self.method, Stages::Dirk(method) if method.filter);
        let newton = &mut self.newton;
        frame.error(h, |e| {
            if filter {
                newton.filter(e);
            }
        })
    }
}
