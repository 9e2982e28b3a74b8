//! Steps of a recorded grid taken again, where their states were not kept.

use costate_ops::Real;

use crate::error::FieldError;
use crate::grid::GridStep;
use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::Options;
use crate::vector_field::{FieldMemory, Replay, VectorField};

/// The memory of a solve that goes along a grid.
#[derive(Debug)]
pub(super) struct Retake<T: Real> {
    field: FieldMemory<T>,
    jacobian: Option<FieldMemory<T>>,
    rate: Option<FieldMemory<T>>,
    compressed: Option<FieldMemory<T>>,
    integrator: Option<Integrator<T>>,
}

/// A solve that goes along a grid.
pub(super) struct Again<'a, T: Real> {
    field: Replay<'a, T>,
    integrator: &'a mut Integrator<T>,
}

impl<T: Real> Retake<T> {
    pub fn new(field: &VectorField<T>) -> Retake<T> {
        Retake {
            field: FieldMemory::new(&field.program),
            jacobian: field.jacobian.as_ref().map(FieldMemory::new),
            rate: field.rate.as_ref().map(FieldMemory::new),
            compressed: field.compressed.as_ref().map(|(program, _)| FieldMemory::new(program)),
            integrator: None,
        }
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
        let field = Replay::new(&field.program, &mut self.field, captured)?
            .with_jacobian(field.jacobian.as_ref().zip(self.jacobian.as_mut()))?
            .with_rate(field.rate.as_ref().zip(self.rate.as_mut()))?
            .with_compressed(field.compressed.as_ref().zip(self.compressed.as_mut()))?;
        Ok(Again { field, integrator })
    }
}

impl<T: Real> Again<'_, T> {
    /// Takes a step again, to the same bits. Returns its slopes, with those of the interpolant if
    /// they are wanted, and the state at its end.
    pub fn step(&mut self, step: &GridStep, dense: bool) -> Result<(&[T], &[T]), FieldError> {
        self.integrator.step_to(&mut self.field, step.t1)?;
        if dense {
            self.integrator.dense_slopes(&mut self.field)?;
        }
        let taken = self.integrator.last_step();
        Ok((taken.k, taken.y1))
    }
}
