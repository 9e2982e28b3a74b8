//! The matrix of implicit steps, `M - c J`, and its factors.

use costate_ops::{Buffer, Real, lu_factor, lu_solve};

use crate::error::FieldError;
use crate::field::Field;

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
    pub fn factor(&mut self, c: f64) -> bool {
        let n = self.n;
        let minus = T::from_f64(-c);
        for (to, &from) in self.lu.iter_mut().zip(&*self.jacobian) {
            *to = minus * from;
        }
        for i in 0..n {
            self.lu[i * n + i] += T::one();
        }
        lu_factor(n, &mut self.lu, &mut self.pivots)
    }

    /// `x ← (M - c J)⁻¹ x`.
    pub fn solve(&self, x: &mut [T]) {
        lu_solve(self.n, &self.lu, &self.pivots, x);
    }

    /// `out += M x`.
    pub fn add_mass(&self, x: &[T], out: &mut [T]) {
        costate_ops::axpy(T::one(), x, out);
    }
}
