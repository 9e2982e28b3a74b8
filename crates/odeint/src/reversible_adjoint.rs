//! The backward pass of reversible steps: each step is undone, and its cotangents are passed on.
//!
//! Undone by arithmetic, nothing of the way forward is kept, and the gradient is that of what was
//! computed, but for the rounding errors of going back. Undone by what was kept, it is that to
//! rounding, like that of the other methods' exact adjoint.

use costate_ops::{Buffer, Real, axpy};

use crate::adjoint::Cotangents;
use crate::error::FieldError;
use crate::reversible::{Reversible, Scheme, increment};
use crate::step::combine;
use crate::tableau::Tableau;
use crate::vector_field::Replay;

/// Takes a solve to the start of the step that led to it.
pub(crate) type Undoing<'u, 'f, T> =
    dyn FnMut(&mut Reversible<T>, &mut Replay<'f, T>) -> Result<(), FieldError> + 'u;

/// The cotangents of a reversible solve on its way back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Back<T: Real> {
    /// Of the state, and of its companion.
    pub y: Buffer<T>,
    companion: Buffer<T>,
    /// For reversible Heun, of the slope at the companion, from the later step.
    slope: Buffer<T>,
    scratch: Buffer<T>,
    /// For coupled methods: slopes, the cotangents of stages, and of a slope.
    k: Buffer<T>,
    bars: Buffer<T>,
    cotangent: Buffer<T>,
}

impl<T: Real> Back<T> {
    pub fn start(&mut self, dim: usize) {
        for buffer in [&mut self.y, &mut self.companion, &mut self.slope, &mut self.scratch] {
            buffer.resize(dim);
            buffer.fill(T::zero());
        }
    }

    /// Undoes the step that led to `solve` from the time `t0`; `undo` takes `solve` there.
    pub fn step<'f>(
        &mut self,
        solve: &mut Reversible<T>,
        t0: f64,
        f: &mut Replay<'f, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
        undo: &mut Undoing<'_, 'f, T>,
    ) -> Result<(), FieldError> {
        let t1 = solve.t();
        let h = t1 - t0;
        let (step, half) = (T::from_f64(h), T::from_f64(0.5 * h));
        match solve.scheme() {
            Scheme::ReversibleHeun => {
                // ŷ₁ is still there.
                axpy(half, &self.y, &mut self.slope);
                let companion = &mut self.companion;
                vjp.run(t1, solve.companion(), Some(&self.slope), |found| {
                    axpy(T::one(), found.get(0), companion);
                    to.add(T::one(), &found)
                })?;
                for i in 0..self.y.len() {
                    let (y, c) = (self.y[i], self.companion[i]);
                    self.slope[i] = step * c + half * y;
                    self.y[i] = y + c + c;
                    self.companion[i] = -c;
                }
                undo(solve, f)
            }
            Scheme::AsynchronousLeapfrog => {
                undo(solve, f)?;
                axpy(half, &self.y, &mut self.companion);
                // y_½ from the start, and twice the cotangent of v₁.
                combine(Some(solve.y()), 0.5 * h, &[1.0], solve.companion(), &mut self.scratch);
                for (s, &c) in self.slope.iter_mut().zip(self.companion.iter()) {
                    *s = c + c;
                }
                let y = &mut self.y;
                vjp.run(0.5 * (t0 + t1), &self.scratch, Some(&self.slope), |found| {
                    axpy(T::one(), found.get(0), y);
                    to.add(T::one(), &found)
                })?;
                for (c, &y) in self.companion.iter_mut().zip(self.y.iter()) {
                    *c = half * y - *c;
                }
                Ok(())
            }
            Scheme::Coupled { method, coupling } => {
                let tableau = method;
                // z₁ = z₀ - Ψ_{-h}(t₁, y₁), with y₁ still there.
                for (s, &c) in self.scratch.iter_mut().zip(self.companion.iter()) {
                    *s = -c;
                }
                self.increment_vjp(tableau, t1, t0, solve.y(), f, vjp, to)?;
                axpy(T::one(), &self.slope, &mut self.y);
                undo(solve, f)?;
                // y₁ = λ y₀ + (1 - λ) z₀ + Ψ_h(t₀, z₀), with z₀ now there.
                self.scratch.copy_from_slice(&self.y);
                self.increment_vjp(tableau, t0, t1, solve.companion(), f, vjp, to)?;
                axpy(T::one(), &self.slope, &mut self.companion);
                axpy(T::from_f64(1.0 - coupling), &self.y, &mut self.companion);
                let near = T::from_f64(coupling);
                self.y.iter_mut().for_each(|y| *y *= near);
                Ok(())
            }
        }
    }

    /// Ends at the start, where the companion is the state itself, or the slope there.
    pub fn finish(
        &mut self,
        solve: &Reversible<T>,
        y0: &[T],
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        let bar = match solve.scheme() {
            Scheme::ReversibleHeun => &self.slope,
            Scheme::AsynchronousLeapfrog => &self.companion,
            Scheme::Coupled { .. } => {
                axpy(T::one(), &self.companion, &mut self.y);
                return Ok(());
            }
        };
        let y = &mut self.y;
        vjp.run(solve.t(), y0, Some(bar), |found| {
            axpy(T::one(), found.get(0), y);
            to.add(T::one(), &found)
        })?;
        if matches!(solve.scheme(), Scheme::ReversibleHeun) {
            axpy(T::one(), &self.companion, &mut self.y);
        }
        Ok(())
    }

    /// From the cotangent of the increment of `x`, in `scratch`, to that of `x`, in `slope`.
    #[expect(clippy::too_many_arguments, reason = "a step and its programs")]
    fn increment_vjp(
        &mut self,
        tableau: &Tableau,
        t0: f64,
        t1: f64,
        x: &[T],
        f: &mut Replay<'_, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        let (n, h, stages) = (x.len(), t1 - t0, tableau.rows() - 1);
        self.k.resize(stages * n);
        self.bars.resize(stages * n);
        increment(tableau, f, t0, t1, x, &mut self.k, &mut self.slope)?;
        let mut stage = std::mem::take(&mut self.slope);
        let mut bar = std::mem::take(&mut self.bars);
        let mut cotangent = std::mem::take(&mut self.cotangent);
        cotangent.resize(n);
        for i in (0..stages).rev() {
            combine(None, h, &tableau.b[i..=i], &self.scratch, &mut cotangent);
            for j in i + 1..stages {
                let a = T::from_f64(h * tableau.a[j][i]);
                axpy(a, &bar[j * n..(j + 1) * n], &mut cotangent);
            }
            combine(Some(x), h, tableau.a[i], &self.k, &mut stage);
            let to_bar = &mut bar[i * n..(i + 1) * n];
            vjp.run(tableau.time(i, t0, t1), &stage, Some(&cotangent), |found| {
                to_bar.copy_from_slice(found.get(0));
                to.add(T::one(), &found)
            })?;
        }
        stage.fill(T::zero());
        for i in 0..stages {
            axpy(T::one(), &bar[i * n..(i + 1) * n], &mut stage);
        }
        (self.slope, self.bars, self.cotangent) = (stage, bar, cotangent);
        Ok(())
    }
}
