//! Steps of a field in two parts.

use costate_ops::Real;

use super::Stepper;
use crate::additive::AdditiveTableau;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::newton::{Newton, Outcome};

#[derive(Clone, Debug)]
pub(crate) struct Additive<T: Real> {
    method: &'static AdditiveTableau,
    newton: Newton<T>,
}

impl<T: Real> Additive<T> {
    pub fn new(method: &'static AdditiveTableau, n: usize) -> Additive<T> {
        Additive { method, newton: Newton::new(n) }
    }
}

impl<T: Real> Stepper<T> for Additive<T> {
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
        let outcome = self.method.step(newton, options, &mut f, t, next, y0, k, y1);
        frame.stats.factorisations += std::mem::take(&mut newton.factorisations);
        outcome.map_err(|e| ErrorKind::Field(e).into())
    }
}
