//! The matrix of implicit steps, `M - c J`, and its factors.
//!
//! Small ones are factored by `ops`. With the feature `faer` larger ones are factored by that crate,
//! as sparse matrices if the field knows where its Jacobian differs from 0.

use std::sync::Arc;

use costate_ops::{Buffer, lu_factor, lu_solve};

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;
#[cfg(feature = "faer")]
use crate::large::Large;
use crate::mass::Mass;
use crate::sparsity::Sparsity;

/// `M - c J` with the Jacobian `J` of a field and its mass matrix `M`. Memory is taken by the first
/// evaluation and the first factorisation.
#[derive(Clone, Debug)]
pub(crate) struct Matrix<T: Real> {
    n: usize,
    pattern: Option<Arc<Sparsity>>,
    /// Row by row, or the entries of the pattern.
    jacobian: Buffer<T>,
    lu: Buffer<T>,
    pivots: Vec<usize>,
    #[cfg(feature = "faer")]
    large: Option<Large>,
}

impl<T: Real> Matrix<T> {
    pub fn new(n: usize) -> Matrix<T> {
        Matrix {
            n,
            pattern: None,
            jacobian: Buffer::default(),
            lu: Buffer::default(),
            pivots: Vec::new(),
            #[cfg(feature = "faer")]
            large: None,
        }
    }

    /// Evaluates the Jacobian at `(t, y)`, where the field is `dy`.
    pub fn evaluate(
        &mut self,
        f: &mut dyn Field<T>,
        t: f64,
        y: &[T],
        dy: &[T],
    ) -> Result<(), FieldError> {
        let Some(pattern) = f.sparsity() else {
            self.pattern = None;
            self.jacobian.resize(self.n * self.n);
            return f.jacobian(t, y, dy, &mut self.jacobian);
        };
        if !self.pattern.as_ref().is_some_and(|known| Arc::ptr_eq(known, pattern)) {
            assert!(
                pattern.rows() == self.n,
                "a sparsity of {} rows for a state of {} components",
                pattern.rows(),
                self.n
            );
            self.pattern = Some(pattern.clone());
            self.jacobian.resize(pattern.len());
            #[cfg(feature = "faer")]
            {
                self.large = None;
            }
        }
        let pattern = self.pattern.as_ref().expect("set above");
        f.sparse_jacobian(t, y, dy, pattern, &mut self.jacobian)
    }

    /// Factors `M - c J`; returns whether it is regular.
    pub fn factor(&mut self, c: f64, mass: Option<&Mass<T>>) -> bool {
        let n = self.n;
        #[cfg(feature = "faer")]
        if n >= crate::large::LEAST {
            let pattern = self.pattern.as_deref();
            let large = self.large.get_or_insert_with(|| Large::new(n, pattern, mass));
            return large.factor(c, pattern, &self.jacobian, mass);
        }
        self.lu.resize(n * n);
        self.pivots.resize(n, 0);
        let minus = T::from_f64(-c);
        match &self.pattern {
            None => costate_ops::affine(minus, T::zero(), &self.jacobian, &mut self.lu),
            Some(pattern) => {
                pattern.scatter(&self.jacobian, &mut self.lu);
                costate_ops::affine_in_place(minus, T::zero(), &mut self.lu);
            }
        }
        match mass {
            None => (0..n).for_each(|i| self.lu[i * n + i] += T::one()),
            Some(mass) => mass.entries().for_each(|(i, j, m)| self.lu[i * n + j] += m),
        }
        lu_factor(n, &mut self.lu, &mut self.pivots)
    }

    /// `x ← (M - c J)⁻¹ x`.
    pub fn solve(&mut self, x: &mut [T]) {
        #[cfg(feature = "faer")]
        if let Some(large) = &mut self.large {
            return large.solve(x);
        }
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
