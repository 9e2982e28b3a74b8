//! Implicit stages of what is linear: systems with the matrix of a stage, and with its transpose.

use std::sync::Arc;

use costate_ops::{Buffer, lu_factor, lu_solve, lu_solve_transposed};

use crate::Real;
use crate::error::{Error, ErrorKind, FieldError};
use crate::mass::Mass;
use crate::vector_field::Replay;

/// The memory of the factors.
///
/// The Jacobian of a field with tangents is block-triangular, with that of the field as every block
/// on the diagonal: one factorisation serves all blocks. What is off the diagonal takes a state to
/// its tangents, and is nilpotent: a system is solved by as many corrections as tangents were added
/// times.
#[derive(Debug, Default)]
pub(crate) struct Stages<T: Real> {
    matrix: Buffer<T>,
    pivots: Vec<usize>,
    right: Buffer<T>,
    residual: Buffer<T>,
    /// `M` in the place of the unit matrix.
    mass: Option<Arc<Mass<T>>>,
}

impl<T: Real> Stages<T> {
    /// For blocks of `n` components.
    pub fn resize(&mut self, n: usize) {
        self.matrix.resize(n * n);
        self.pivots.resize(n, 0);
    }

    /// With a mass matrix in the place of the unit matrix.
    pub fn set_mass(&mut self, mass: Option<Arc<Mass<T>>>) {
        self.mass = mass;
    }

    /// `out = Mᵀ x` in each block.
    pub fn mass_transposed(&self, x: &[T], out: &mut [T]) {
        let Some(mass) = &self.mass else { return out.copy_from_slice(x) };
        let n = self.pivots.len();
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            mass.multiply_transposed(x, out);
        }
    }

    /// `out -= M x` in each block.
    pub fn subtract_mass(&self, x: &[T], out: &mut [T]) {
        let Some(mass) = &self.mass else { return costate_ops::axpy(-T::one(), x, out) };
        let n = self.pivots.len();
        for (x, out) in x.chunks_exact(n).zip(out.chunks_exact_mut(n)) {
            mass.multiply_subtract(x, out);
        }
    }

    /// About the slopes where `M` times these is given, in each block.
    pub fn rough_slopes(&self, slopes: &mut [T]) {
        if let Some(mass) = &self.mass {
            let n = self.pivots.len();
            slopes.chunks_exact_mut(n).for_each(|slope| mass.rough_slope(slope));
        }
    }

    /// Factors `I - hγ ∂f/∂y`, with the Jacobian at `(t, y)`.
    pub fn factor(
        &mut self,
        jacobian: &mut Replay<'_, T>,
        t: f64,
        y: &[T],
        hg: f64,
    ) -> Result<(), FieldError> {
        let n = self.pivots.len();
        let minus = T::from_f64(-hg);
        jacobian.matrix(t, y, &mut self.matrix)?;
        costate_ops::affine_in_place(minus, T::zero(), &mut self.matrix);
        match &self.mass {
            None => (0..n).for_each(|i| self.matrix[i * n + i] += T::one()),
            Some(mass) => mass.entries().for_each(|(i, j, m)| self.matrix[i * n + j] += m),
        }
        if !lu_factor(n, &mut self.matrix, &mut self.pivots) {
            return Err(Box::new(Error::from(ErrorKind::Singular { t })));
        }
        Ok(())
    }

    /// `x ← (I - hγ ∂f/∂y)⁻¹ x` in each block, with the factors.
    pub fn solve(&self, x: &mut [T]) {
        let n = self.pivots.len();
        for block in x.chunks_exact_mut(n) {
            lu_solve(n, &self.matrix, &self.pivots, block);
        }
    }

    fn solve_transposed(&self, x: &mut [T]) {
        let n = self.pivots.len();
        for block in x.chunks_exact_mut(n) {
            lu_solve_transposed(n, &self.matrix, &self.pivots, block);
        }
    }

    /// `x ← (I - hγ ∂F/∂z)⁻ᵀ x` with the factors, and with the `vjp` of the field `F` with tangents
    /// at the same `(t, z)` for what is off the diagonal.
    pub fn solve_adjoint(
        &mut self,
        vjp: &mut Replay<'_, T>,
        order: usize,
        (t, z, hg): (f64, &[T], f64),
        x: &mut [T],
    ) -> Result<(), FieldError> {
        if order == 0 {
            self.solve_transposed(x);
            return Ok(());
        }
        self.right.resize(x.len());
        self.right.copy_from_slice(x);
        let mut residual = std::mem::take(&mut self.residual);
        residual.resize(x.len());
        self.solve_transposed(x);
        let hg = T::from_f64(hg);
        for _ in 0..order {
            self.mass_transposed(x, &mut residual);
            vjp.run(t, z, Some(x), |found| {
                let terms = self.right.iter().zip(found.get(0));
                for (to, (&right, &product)) in residual.iter_mut().zip(terms) {
                    *to = right - *to + hg * product;
                }
            })?;
            self.solve_transposed(&mut residual);
            costate_ops::axpy(T::one(), &residual, x);
        }
        self.residual = residual;
        Ok(())
    }
}
