//! The matrix of implicit steps, `M - c J`, and its factors.

use costate_ops::{Buffer, Real, lu_factor, lu_solve};

use crate::error::FieldError;
use crate::field::Field;
use crate::mass::Mass;

/// `M - c J` with the Jacobian `J` of a field and its mass matrix `M`.
#[derive(Clone, Debug)]
pub(crate) struct Matrix<T: Real> {
    n: usize,
    jacobian: Buffer<T>,
    lu: Buffer<T>,
    pivots: Vec<usize>,
}

impl<T: Real> Matrix<T> {
    pub fn new(n: usize) -> Matrix<T> {
        Matrix { n, jacobian: Buffer::zeros(n * n), lu: Buffer::zeros(n * n), pivots: vec![0; n] }
    }

    /// Evaluates the Jacobian at `(t, y)`, where the field is `dy`.
    pub fn evaluate(
        &mut self,
        f: &mut impl Field<T>,
        t: f64,
        y: &[T],
        dy: &[T],
    ) -> Result<(), FieldError> {
        f.jacobian(t, y, dy, &mut self.jacobian)
    }

    /// Factors `M - c J`; returns whether it is regular.
    pub fn factor(&mut self, c: f64, mass: Option<&Mass<T>>) -> bool {
        let n = self.n;
        let minus = T::from_f64(-c);
        for (to, &from) in self.lu.iter_mut().zip(&*self.jacobian) {
            *to = minus * from;
        }
        match mass {
            None => (0..n).for_each(|i| self.lu[i * n + i] += T::one()),
            Some(mass) => mass.entries().for_each(|(i, j, m)| self.lu[i * n + j] += m),
        }
        lu_factor(n, &mut self.lu, &mut self.pivots)
    }

    /// `x ← (M - c J)⁻¹ x`.
    pub fn solve(&self, x: &mut [T]) {
        lu_solve(self.n, &self.lu, &self.pivots, x);
    }

    /// `out += M x`.
    pub fn add_mass(&self, mass: Option<&Mass<T>>, x: &[T], out: &mut [T]) {
        match mass {
            None => costate_ops::axpy(T::one(), x, out),
            Some(mass) => mass.multiply_add(x, out),
        }
    }
}
