//! The backward pass of reversible steps: each step is undone, and its cotangents are passed on.
//!
//! Undone by arithmetic, nothing of the way forward is kept, and the gradient is that of what was
//! computed, but for the rounding errors of going back. Undone by what was kept, it is that to
//! rounding, like that of the other methods' exact adjoint.

use costate_ops::{Buffer, axpy, dot};

use crate::Real;
use crate::adjoint::Cotangents;
use crate::error::FieldError;
use crate::reversible::{Reversible, Scheme, increment};
use crate::step::combine;
use crate::tableau::Tableau;
use crate::vector_field::Replay;

/// Takes a solve to the start of the step that led to it.
pub(crate) type Undoing<'u, 'f, T> =
    dyn FnMut(&mut Reversible<T>, &mut Replay<'f, T>) -> Result<(), FieldError> + 'u;

/// The cotangents of the times of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moved {
    /// Of its start and of its end, the size of the step included.
    pub start: f64,
    pub end: f64,
    /// What the times of its evaluations alone make: the sum of `∂H/∂t`.
    pub rate: f64,
}

/// The cotangents of a reversible solve on its way back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Back<T: Real> {
    /// Of the state, and of its companion.
    pub y: Buffer<T>,
    pub companion: Buffer<T>,
    /// For reversible Heun, of the slope at the companion, from the later step.
    pub slope: Buffer<T>,
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

    /// Undoes the step that led to `solve` from the time `t0`; `undo` takes `solve` there. Returns the
    /// cotangents of its times, those that come with its size only if the times' are wanted.
    pub fn step<'f>(
        &mut self,
        solve: &mut Reversible<T>,
        t0: f64,
        f: &mut Replay<'f, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
        undo: &mut Undoing<'_, 'f, T>,
    ) -> Result<Moved, FieldError> {
        let t1 = solve.t();
        let h = t1 - t0;
        let wanted = to.times.is_some();
        let product = |a: &[T], b: &[T]| if wanted { dot(a, b).as_f64() } else { 0.0 };
        let (step, half) = (T::from_f64(h), T::from_f64(0.5 * h));
        match solve.scheme() {
            Scheme::ReversibleHeun => {
                // ŷ₁ is still there.
                axpy(half, &self.y, &mut self.slope);
                let mut size = 0.5 * product(&self.y, solve.slope());
                let companion = &mut self.companion;
                let rate = vjp.run(t1, solve.companion(), Some(&self.slope), |found| {
                    axpy(T::one(), found.get(0), companion);
                    to.add(T::one(), &found)
                })?;
                for i in 0..self.y.len() {
                    let (y, c) = (self.y[i], self.companion[i]);
                    self.slope[i] = step * c + half * y;
                    self.y[i] = y + c + c;
                    self.companion[i] = -c;
                }
                undo(solve, f)?;
                size += product(&self.slope, solve.slope()) / h;
                Ok(Moved { start: -size, end: rate + size, rate })
            }
            Scheme::AsynchronousLeapfrog => {
                let mut size = 0.5 * product(&self.y, solve.companion());
                undo(solve, f)?;
                axpy(half, &self.y, &mut self.companion);
                // y_½ from the start, and twice the cotangent of v₁.
                combine(Some(solve.y()), 0.5 * h, &[1.0], solve.companion(), &mut self.scratch);
                for (s, &c) in self.slope.iter_mut().zip(self.companion.iter()) {
                    *s = c + c;
                }
                let y = &mut self.y;
                let rate = vjp.run(0.5 * (t0 + t1), &self.scratch, Some(&self.slope), |found| {
                    axpy(T::one(), found.get(0), y);
                    to.add(T::one(), &found)
                })?;
                size += 0.5 * product(&self.y, solve.companion());
                for (c, &y) in self.companion.iter_mut().zip(self.y.iter()) {
                    *c = half * y - *c;
                }
                // It is evaluated halfway between both.
                Ok(Moved { start: 0.5 * rate - size, end: 0.5 * rate + size, rate })
            }
            Scheme::Coupled { method, coupling } => {
                let tableau = method;
                // z₁ = z₀ - Ψ_{-h}(t₁, y₁), with y₁ still there.
                for (s, &c) in self.scratch.iter_mut().zip(self.companion.iter()) {
                    *s = -c;
                }
                let back = self.increment_vjp(tableau, t1, t0, solve.y(), f, vjp, to)?;
                axpy(T::one(), &self.slope, &mut self.y);
                undo(solve, f)?;
                // y₁ = λ y₀ + (1 - λ) z₀ + Ψ_h(t₀, z₀), with z₀ now there.
                self.scratch.copy_from_slice(&self.y);
                let there = self.increment_vjp(tableau, t0, t1, solve.companion(), f, vjp, to)?;
                axpy(T::one(), &self.slope, &mut self.companion);
                axpy(T::from_f64(1.0 - coupling), &self.y, &mut self.companion);
                let near = T::from_f64(coupling);
                self.y.iter_mut().for_each(|y| *y *= near);
                Ok(Moved {
                    start: there.start + back.end,
                    end: there.end + back.start,
                    rate: there.rate + back.rate,
                })
            }
        }
    }

    /// Ends at the start, where the companion is the state itself, or the slope there. Returns the
    /// cotangent of the time of that slope.
    pub fn finish(
        &mut self,
        solve: &Reversible<T>,
        y0: &[T],
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<f64, FieldError> {
        let bar = match solve.scheme() {
            Scheme::ReversibleHeun => &self.slope,
            Scheme::AsynchronousLeapfrog => &self.companion,
            Scheme::Coupled { .. } => {
                axpy(T::one(), &self.companion, &mut self.y);
                return Ok(0.0);
            }
        };
        let y = &mut self.y;
        let rate = vjp.run(solve.t(), y0, Some(bar), |found| {
            axpy(T::one(), found.get(0), y);
            to.add(T::one(), &found)
        })?;
        if matches!(solve.scheme(), Scheme::ReversibleHeun) {
            axpy(T::one(), &self.companion, &mut self.y);
        }
        Ok(rate)
    }

    /// From the cotangent of the increment of `x`, in `scratch`, to that of `x`, in `slope`. Returns
    /// those of the times from which and to which it goes.
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
    ) -> Result<Moved, FieldError> {
        let wanted = to.times.is_some();
        let mut moved = Moved::default();
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
            let rate = vjp.run(tableau.time(i, t0, t1), &stage, Some(&cotangent), |found| {
                to_bar.copy_from_slice(found.get(0));
                to.add(T::one(), &found)
            })?;
            if wanted {
                combine(None, 1.0, tableau.a[i], &self.k, &mut stage);
                let k = &self.k[i * n..(i + 1) * n];
                let weighted = tableau.b[i] * dot(&self.scratch, k).as_f64();
                let size = weighted + dot(&bar[i * n..(i + 1) * n], &stage).as_f64();
                moved.start += rate * (1.0 - tableau.c[i]) - size;
                moved.end += rate * tableau.c[i] + size;
                moved.rate += rate;
            }
        }
        stage.fill(T::zero());
        for i in 0..stages {
            axpy(T::one(), &bar[i * n..(i + 1) * n], &mut stage);
        }
        (self.slope, self.bars, self.cotangent) = (stage, bar, cotangent);
        Ok(moved)
    }
}
