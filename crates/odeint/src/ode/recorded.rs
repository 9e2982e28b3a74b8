//! A field that is recorded anew at every evaluation.

use costate_tape::{Result, Var};

use crate::Real;
use crate::additive::Portion;
use crate::error::FieldError;
use crate::field::Field;

/// A field that records a portion of itself on a tape: the time, the state and the slope.
pub(crate) struct Recorded<F>(pub F);

/// What such a field records.
type Slope<'t, T> = (Var<'t, T>, Var<'t, T>, Var<'t, T>);

impl<'t, T, F> Field<T> for Recorded<F>
where
    T: Real,
    F: FnMut(Portion, f64, &[T]) -> Result<Slope<'t, T>>,
{
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        write((self.0)(Portion::All, t, y)?, dy)
    }

    fn eval_stiff(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        write((self.0)(Portion::Stiff, t, y)?, dy)
    }

    fn eval_rest(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        write((self.0)(Portion::Rest, t, y)?, dy)
    }

    fn jacobian(
        &mut self,
        t: f64,
        y: &[T],
        _: &[T],
        out: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        write_jacobian((self.0)(Portion::All, t, y)?, out)
    }

    fn jacobian_stiff(
        &mut self,
        t: f64,
        y: &[T],
        _: &[T],
        out: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        write_jacobian((self.0)(Portion::Stiff, t, y)?, out)
    }

    fn time_derivative(
        &mut self,
        t: f64,
        y: &[T],
        _: &[T],
        out: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        let (t, _, slope) = (self.0)(Portion::All, t, y)?;
        let one = t.tape().scalar(T::one());
        out.copy_from_slice(&t.tape().jvp(&[slope], &[t], &[one])?[0].to_vec());
        Ok(())
    }
}

fn write<T: Real>(
    (_, _, slope): Slope<'_, T>,
    dy: &mut [T],
) -> std::result::Result<(), FieldError> {
    dy.copy_from_slice(&slope.to_vec());
    Ok(())
}

/// What the field's program gives too, so that the grid is the same in every way to the gradient.
fn write_jacobian<T: Real>(
    (_, y, slope): Slope<'_, T>,
    out: &mut [T],
) -> std::result::Result<(), FieldError> {
    out.copy_from_slice(&slope.jacobian(y)?.to_vec());
    Ok(())
}
