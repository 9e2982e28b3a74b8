//! Steps of a recorded grid taken again, where their states were not kept.

use crate::Real;
use crate::error::FieldError;
use crate::grid::GridStep;
use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::Options;
use crate::vector_field::{Replay, SolverMemory, VectorField};

/// The memory of a solve that goes along a grid.
#[derive(Debug)]
pub(super) struct Retake<T: Real> {
    field: SolverMemory<T>,
    integrator: Option<Integrator<T>>,
}

/// A solve that goes along a grid.
pub(super) struct Again<'a, T: Real> {
    field: Replay<'a, T>,
    integrator: &'a mut Integrator<T>,
}

impl<T: Real> Retake<T> {
    pub fn new(field: &VectorField<T>) -> Retake<T> {
        Retake { field: field.memory(), integrator: None }
    }

    /// Starts at `y0` at the first of the times.
    pub fn start<'a>(
        &'a mut self,
        field: &'a VectorField<T>,
        method: Method,
        options: Options,
        y0: &[T],
        ts: &[f64],
        captured: &'a [&'a [T]],
    ) -> Result<Again<'a, T>, FieldError> {
        let (start, end) = (ts[0], ts[ts.len() - 1]);
        let integrator = match &mut self.integrator {
            Some(integrator) => {
                integrator.restart(y0, start, end)?;
                integrator
            }
            none => none.insert(Integrator::new(method, y0, start, end, options)?),
        };
        integrator.stand_alone();
        let field = field.at_work(&mut self.field, captured)?;
        Ok(Again { field, integrator })
    }
}

impl<T: Real> Again<'_, T> {
    /// Takes a step again, to the same bits. Returns its slopes, with those of the interpolant if
    /// they are wanted, and the state at its end.
    pub fn step(&mut self, step: &GridStep, dense: bool) -> Result<(&[T], &[T]), FieldError> {
        self.integrator.retake(&mut self.field, step)?;
        if dense {
            self.integrator.dense_slopes(&mut self.field)?;
        }
        let taken = self.integrator.last_step();
        Ok((taken.k, taken.y1))
    }
}
