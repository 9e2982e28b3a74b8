//! What is solved: a vector field on slices.

use costate_ops::Real;

use crate::error::FieldError;
use crate::tableau::Part;

/// A vector field `dy/dt = f(t, y)`. Closures `FnMut(f64, &[T], &mut [T])` are fields.
pub trait Field<T: Real> {
    /// Writes `f(t, y)` to `dy`.
    ///
    /// # Errors
    /// Whatever the field finds wrong; it ends the solve.
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError>;

    /// Writes one part of `f(t, y)` to `dy`, and 0 to the rest. By default it evaluates all of it.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn eval_part(&mut self, t: f64, y: &[T], dy: &mut [T], part: Part) -> Result<(), FieldError> {
        self.eval(t, y, dy)?;
        if part != Part::All {
            part.mask(dy);
        }
        Ok(())
    }
}

impl<T: Real, F: FnMut(f64, &[T], &mut [T])> Field<T> for F {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self(t, y, dy);
        Ok(())
    }
}

/// A field whose evaluations are counted.
pub(crate) struct Counted<'a, F> {
    pub field: &'a mut F,
    pub evaluations: &'a mut usize,
}

impl<T: Real, F: Field<T>> Field<T> for Counted<'_, F> {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        *self.evaluations += 1;
        self.field.eval(t, y, dy)
    }

    fn eval_part(&mut self, t: f64, y: &[T], dy: &mut [T], part: Part) -> Result<(), FieldError> {
        *self.evaluations += 1;
        self.field.eval_part(t, y, dy, part)
    }
}
