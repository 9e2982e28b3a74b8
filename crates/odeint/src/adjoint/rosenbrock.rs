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

use costate_ops::Buffer;

use super::{Cotangents, Stages};
use crate::Real;
use crate::error::FieldError;
use crate::rosenbrock::RosenbrockTableau;
use crate::step::combine;
use crate::vector_field::Replay;

/// The memory of a step.
#[derive(Debug, Default)]
pub(super) struct Rosenbrock<T: Real> {
    matrix: Stages<T>,
    /// The `w_i`, one after another as the slopes.
    w: Buffer<T>,
    /// `(v, τ, w)`, the inputs of the program of second derivatives.
    inputs: Buffer<T>,
    column: Vec<f64>,
}

impl<T: Real> Rosenbrock<T> {
    /// For a state of `n` components in blocks of `block`.
    pub fn resize(&mut self, n: usize, block: usize, rows: usize) {
        self.matrix.resize(block);
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
        self.matrix.factor(jacobian, t, y, hg)
    }

    /// From the cotangent of stage `i`, as far as it comes through states, to that of its `f`.
    ///
    /// `vjp` is that of the field, and `at` the start of the step with `hγ`; see [`Stages`].
    pub fn stage(
        &mut self,
        method: &RosenbrockTableau,
        i: usize,
        (vjp, order): (&mut Replay<'_, T>, usize),
        at: (f64, &[T], f64),
        slope: &mut [T],
    ) -> Result<(), FieldError> {
        let n = slope.len();
        let stages = method.stages();
        self.column.clear();
        self.column.extend((i + 1..stages.end).map(|j| method.gamma * method.coupling[j][i]));
        let (w, later) = self.w.split_at_mut((i + 1) * n);
        let w = &mut w[i * n..];
        combine(Some(slope), 1.0, &self.column, later, w);
        self.matrix.solve_adjoint(vjp, order, at, w)?;
        costate_ops::affine(T::from_f64(method.gamma), T::zero(), w, slope);
        Ok(())
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
        k: &[&[T]],
        p: &mut [T],
        to: &mut Cotangents<'_, T>,
    ) -> Result<(f64, f64), FieldError> {
        let (n, number) = (y.len(), second.1);
        let (step, gamma) = (T::from_f64(h), T::from_f64(method.gamma));
        let (mut t_bar, mut h_bar) = (0.0, 0.0);
        for i in method.stages() {
            costate_ops::affine(gamma, T::zero(), k[i], &mut self.inputs[..n]);
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
