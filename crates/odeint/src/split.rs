//! A field in two parts: one that is stiff, and the rest.

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;

/// A field that is the sum of a stiff part and a rest; see [`split`].
#[derive(Clone, Debug)]
pub struct Split<T, S, R> {
    stiff: S,
    rest: R,
    scratch: Vec<T>,
}

/// The field `dy/dt = stiff(t, y) + rest(t, y)`.
///
/// An [additive](crate::AdditiveTableau) method such as [`KenCarp4Imex`](crate::KenCarp4Imex) solves
/// only the stiff part implicitly: of use where that part is linear, sparse or cheap to differentiate
/// and the rest is not, as diffusion is beside advection and reaction. To any other method it is one
/// field. Either part may be [`with_jacobian`](crate::with_jacobian).
///
/// ```
/// use costate_odeint::{KenCarp4Imex, Options, solve, split, with_jacobian};
///
/// let field = split(
///     with_jacobian(
///         |_t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -1e6 * y[0],
///         |_t: f64, _y: &[f64], jacobian: &mut [f64]| jacobian[0] = -1e6,
///     ),
///     |t: f64, _y: &[f64], dy: &mut [f64]| dy[0] = 1e6 * t.cos(),
/// );
/// let solution = solve(KenCarp4Imex, field, &[1.0], &[0.0, 2.0], &Options::default())?;
/// assert!((solution.y(1)[0] - 2f64.cos()).abs() < 1e-5);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
pub fn split<T, S, R>(stiff: S, rest: R) -> Split<T, S, R>
where
    T: Real,
    S: Field<T>,
    R: Field<T>,
{
    Split { stiff, rest, scratch: Vec::new() }
}

/// Adds `x` to `sum`.
fn add<T: Real>(sum: &mut [T], x: &[T]) {
    for (sum, &x) in sum.iter_mut().zip(x) {
        *sum += x;
    }
}

impl<T, S, R> Field<T> for Split<T, S, R>
where
    T: Real,
    S: Field<T>,
    R: Field<T>,
{
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.scratch.resize(y.len(), T::zero());
        self.stiff.eval(t, y, dy)?;
        self.rest.eval(t, y, &mut self.scratch)?;
        add(dy, &self.scratch);
        Ok(())
    }

    fn eval_stiff(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.stiff.eval(t, y, dy)
    }

    fn eval_rest(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.rest.eval(t, y, dy)
    }

    fn jacobian_stiff(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        jacobian: &mut [T],
    ) -> Result<(), FieldError> {
        self.stiff.jacobian(t, y, dy, jacobian)
    }

    fn jacobian(&mut self, t: f64, y: &[T], _: &[T], jacobian: &mut [T]) -> Result<(), FieldError> {
        let (mut dy, mut other) = (vec![T::zero(); y.len()], vec![T::zero(); jacobian.len()]);
        self.stiff.eval(t, y, &mut dy)?;
        self.stiff.jacobian(t, y, &dy, jacobian)?;
        self.rest.eval(t, y, &mut dy)?;
        self.rest.jacobian(t, y, &dy, &mut other)?;
        add(jacobian, &other);
        Ok(())
    }
}

/// The stiff part of a field as a field.
pub(crate) struct StiffPart<'a, T: Real>(pub &'a mut dyn Field<T>);

impl<T: Real> Field<T> for StiffPart<'_, T> {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.0.eval_stiff(t, y, dy)
    }

    fn jacobian(&mut self, t: f64, y: &[T], dy: &[T], out: &mut [T]) -> Result<(), FieldError> {
        self.0.jacobian_stiff(t, y, dy, out)
    }
}
