//! What is solved: a vector field on slices.

use costate_ops::Real;

use crate::error::FieldError;

/// A vector field `dy/dt = f(t, y)`. Closures `FnMut(f64, &[T], &mut [T])` are fields.
pub trait Field<T: Real> {
    /// Writes `f(t, y)` to `dy`.
    ///
    /// # Errors
    /// Whatever the field finds wrong; it ends the solve.
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError>;
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
}
