//! Steps with stages that are solved for by Newton's method: of all of a field, or of its stiff part.

use super::Stepper;
use crate::Real;
use crate::additive::AdditiveTableau;
use crate::dirk::DirkTableau;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field, ImplicitStep};
use crate::integrator::Frame;
use crate::newton::{Newton, Outcome};
use crate::options::Stepping;

#[derive(Clone, Debug)]
pub(crate) struct Implicit<T: Real> {
    method: Stages,
    newton: Newton<T>,
    /// Whether the next step is the first try from its start.
    is_new: bool,
    /// What the field found of the error of the last step, if it took it at once.
    error: Option<Found>,
}

/// An error that was found.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// The square of its measure.
    Square(f64),
    /// The estimate, which is in its place.
    Estimate,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stages {
    Dirk(&'static DirkTableau),
    Additive(&'static AdditiveTableau),
}

impl<T: Real> Implicit<T> {
    pub fn new(method: Stages, n: usize) -> Implicit<T> {
        Implicit { method, newton: Newton::new(n), is_new: true, error: None }
    }
}

impl<T: Real> Stepper<T> for Implicit<T> {
    fn begin(&mut self) {
        self.newton.begin();
        self.is_new = true;
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        let is_new = std::mem::take(&mut self.is_new);
        self.error = None;
        if let (Stages::Dirk(_), true) = (self.method, frame.kept.is_empty()) {
            let (options, alike) = (&frame.options, frame.atol.is_empty());
            let adaptive = options.stepping == Stepping::Adaptive;
            let found = f.implicit_step(ImplicitStep {
                times: [frame.t1, next],
                is_new,
                options,
                tolerances: (adaptive && alike).then_some([options.atol, options.rtol]),
                y0: &frame.y0,
                k: &mut frame.k,
                y1: &mut frame.y1,
                estimate: &mut frame.scratch,
            });
            if let Some(found) = found {
                frame.stats.f_evals += found.evaluations;
                frame.stats.jacobian_evals += found.jacobians;
                frame.stats.factorisations += found.factorisations;
                self.error = Some(found.square.map_or(Found::Estimate, Found::Square));
                return Ok(found.diverged.map_or(Outcome::Converged, Outcome::Diverged));
            }
        }
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
        match self.error {
            Some(Found::Square(square)) => return square,
            Some(Found::Estimate) => return frame.square(&frame.scratch),
            None => {}
        }
        let filter = matches!(self.method, Stages::Dirk(method) if method.filter);
        let newton = &mut self.newton;
        frame.error(h, |e| {
            if filter {
                newton.filter(e);
            }
        })
    }
}
