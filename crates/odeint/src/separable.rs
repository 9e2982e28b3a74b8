//! A separable Hamiltonian system given by its two halves.

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;
use crate::tableau::Part;

/// The field `dq/dt = drift(t, p)`, `dp/dt = kick(t, q)` of a Hamiltonian `T(t, p) + V(t, q)`; the
/// state is positions and then momenta.
///
/// Symplectic methods then evaluate only the half that they use, which halves their cost. They
/// take any other field too.
///
/// ```
/// use costate_odeint::{Options, Separable, VelocityVerlet, solve};
///
/// // A pendulum, H = p²/2 - cos q.
/// let pendulum = Separable {
///     drift: |_t: f64, p: &[f64], dq: &mut [f64]| dq[0] = p[0],
///     kick: |_t: f64, q: &[f64], dp: &mut [f64]| dp[0] = -q[0].sin(),
/// };
/// let energy = |y: &[f64]| 0.5 * y[1] * y[1] - y[0].cos();
/// let ts = [0.0, 1000.0];
/// let solution = solve(VelocityVerlet, pendulum, &[1.0, 0.0], &ts, &Options::steps(10_000))?;
/// assert!((energy(solution.y(1)) - energy(&[1.0, 0.0])).abs() < 1e-3);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Separable<D, K> {
    /// Writes `∂T/∂p(t, p)`.
    pub drift: D,
    /// Writes `-∂V/∂q(t, q)`.
    pub kick: K,
}

impl<T, D, K> Field<T> for Separable<D, K>
where
    T: Real,
    D: FnMut(f64, &[T], &mut [T]),
    K: FnMut(f64, &[T], &mut [T]),
{
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        let (q, p) = y.split_at(y.len() / 2);
        let (dq, dp) = dy.split_at_mut(q.len());
        (self.drift)(t, p, dq);
        (self.kick)(t, q, dp);
        Ok(())
    }

    fn eval_part(&mut self, t: f64, y: &[T], dy: &mut [T], part: Part) -> Result<(), FieldError> {
        let (q, p) = y.split_at(y.len() / 2);
        let (dq, dp) = dy.split_at_mut(q.len());
        match part {
            Part::All => {
                (self.drift)(t, p, dq);
                (self.kick)(t, q, dp);
            }
            Part::Positions => {
                (self.drift)(t, p, dq);
                dp.fill(T::zero());
            }
            Part::Momenta => {
                dq.fill(T::zero());
                (self.kick)(t, q, dp);
            }
        }
        Ok(())
    }
}
