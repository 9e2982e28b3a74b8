//! The stages of a Rosenbrock step in reverse.
//!
//! With `k̄_i` the cotangent of stage `i`, which later stages and the state have sent,
//!
//! ```text
//! w_i = (I - hγ J)⁻ᵀ k̄_i,   f̄_i = γ w_i,   ȳ_i = (∂f/∂y)_iᵀ f̄_i,   k̄_j += γ c_ij w_i,
//! ```
//!
//! and the derivatives at the start of the step send `w_i · (hγ J k_i + hγ d_i f_t)` back, which
//! takes second derivatives of the field.

use costate_ops::{Buffer, Real, lu_factor, lu_solve_transposed};

use super::Cotangents;
use crate::error::{Error, ErrorKind, FieldError};
use crate::rosenbrock::RosenbrockTableau;
use crate::step::combine;
use crate::vector_field::Replay;

/// The memory of a step.
#[derive(Debug, Default)]
pub(super) struct Rosenbrock<T: Real> {
    matrix: Buffer<T>,
    pivots: Vec<usize>,
    /// The `w_i`, one after another as the slopes.
    w: Buffer<T>,
    /// `(v, τ, w)`, the inputs of the program of second derivatives.
    inputs: Buffer<T>,
    column: Vec<f64>,
}

impl<T: Real> Rosenbrock<T> {
    pub fn resize(&mut self, n: usize, rows: usize) {
        self.matrix.resize(n * n);
        self.pivots.resize(n, 0);
        self.w.resize(n * rows);
        self.inputs.resize(2 * n + 1);
    }

    /// Factors the matrix of the step from `y` at `t`.
    pub fn begin(
        &mut self,
        jacobian: &mut Replay<'_, T>,
        t: f64,
        y: &[T],
        hg: f64,
    ) -> Result<(), FieldError> {
        let n = y.len();
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
        Ok(())
    }

    /// From the cotangent of stage `i`, as far as it comes through states, to that of its `f`.
    pub fn stage(&mut self, method: &RosenbrockTableau, i: usize, slope: &mut [T]) {
        let n = slope.len();
        let stages = method.stages();
        self.column.clear();
        self.column.extend((i + 1..stages.end).map(|j| method.gamma * method.coupling[j][i]));
        let (w, later) = self.w.split_at_mut((i + 1) * n);
        let w = &mut w[i * n..];
        combine(Some(slope), 1.0, &self.column, later, w);
        lu_solve_transposed(n, &self.matrix, &self.pivots, w);
        costate_ops::affine(T::from_f64(method.gamma), T::zero(), w, slope);
    }

    /// What the derivatives at the start of the step, from `y` at `t`, send back: adds to the
    /// cotangent of `y`, and returns those of `t` and of the step size.
    #[expect(clippy::too_many_arguments, reason = "the parts of a step")]
    pub fn derivatives(
        &mut self,
        method: &RosenbrockTableau,
        second: &mut (Replay<'_, T>, usize),
        t: f64,
        h: f64,
        y: &[T],
        k: &[T],
        p: &mut [T],
        to: &mut Cotangents<'_, T>,
    ) -> Result<(f64, f64), FieldError> {
        let (n, number) = (y.len(), second.1);
        let (step, gamma) = (T::from_f64(h), T::from_f64(method.gamma));
        let (mut t_bar, mut h_bar) = (0.0, 0.0);
        for i in method.stages() {
            costate_ops::affine(gamma, T::zero(), &k[i * n..(i + 1) * n], &mut self.inputs[..n]);
            self.inputs[n] = T::from_f64(method.gamma * method.time[i]);
            self.inputs[n + 1..].copy_from_slice(&self.w[i * n..(i + 1) * n]);
            second.0.run(t, y, Some(&self.inputs), |found| {
                costate_ops::axpy(step, found.get(0), p);
                t_bar += h * to.add(step, &found);
                h_bar += found.get(number)[0].as_f64();
            })?;
        }
        Ok((t_bar, h_bar))
    }
}
