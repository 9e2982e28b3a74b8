//! Implicit stages in reverse: systems with the transposed matrix of a stage.

use costate_ops::{Buffer, Real, lu_factor, lu_solve_transposed};

use crate::error::{Error, ErrorKind, FieldError};
use crate::vector_field::Replay;

/// The memory of the factors.
#[derive(Debug, Default)]
pub(super) struct Stages<T: Real> {
    matrix: Buffer<T>,
    pivots: Vec<usize>,
}

impl<T: Real> Stages<T> {
    pub fn resize(&mut self, n: usize) {
        self.matrix.resize(n * n);
        self.pivots.resize(n, 0);
    }

    /// `x ← (I - hγ ∂f/∂y)⁻ᵀ x`, with the Jacobian at `(t, y)`.
    pub fn solve(
        &mut self,
        jacobian: &mut Replay<'_, T>,
        t: f64,
        y: &[T],
        hg: f64,
        x: &mut [T],
    ) -> Result<(), FieldError> {
        let n = x.len();
        let minus = T::from_f64(-hg);
        jacobian.run(t, y, None, |found| {
            for (to, &from) in self.matrix.iter_mut().zip(found.get(0)) {
                *to = minus * from;
            }
        })?;
        for i in 0..n {
            self.matrix[i * n + i] += T::one();
        }
        if !lu_factor(n, &mut self.matrix, &mut self.pivots) {
            return Err(Box::new(Error::from(ErrorKind::Singular { t })));
        }
        lu_solve_transposed(n, &self.matrix, &self.pivots, x);
        Ok(())
    }
}
