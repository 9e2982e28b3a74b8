//! The continuous adjoint: Hamilton's equations solved backward under their own error control.
//!
//! Between two save times, backward:
//!
//! ```text
//! dx/dt = f(t, x, θ),   dp/dt = -(∂f/∂x)ᵀ p,   dL/dθ = ∫ (∂f/∂θ)ᵀ p dt
//! ```
//!
//! and at each save time `p` jumps by the cotangent there, while `x` is put back to what the
//! forward pass found. `θ` is no part of the stepped state: its integral is a Gauss quadrature
//! over each step's interpolant. The absolute tolerance of `p` is relative to its size at the last
//! jump, since `p` has no natural size.
//!
//! Solving backward turns decay into growth, so `x` may depart from the solution; then the pass
//! fails rather than return a wrong gradient.

use costate_ops::{Buffer, Real, dot};

use super::{Backward, Cotangents};
use crate::control::error_norm;
use crate::error::{Error, ErrorKind, FieldError};
use crate::field::Field;
use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::{Options, Stepping};
use crate::stats::Stats;
use crate::vector_field::Replay;

/// How far `x` may be from the solution at the end of a segment, in units of the tolerance.
const DEPARTED: f64 = 100.0;

/// Three-point Gauss–Legendre quadrature on `[0, 1]`: places and weights.
const GAUSS: [(f64, f64); 3] = [
    (0.112_701_665_379_258_31, 5.0 / 18.0),
    (0.5, 8.0 / 18.0),
    (0.887_298_334_620_741_7, 5.0 / 18.0),
];

/// The memory of the pass.
#[derive(Debug, Default)]
pub(crate) struct Continuous<T: Real> {
    integrator: Option<Integrator<T>>,
    /// `x` and then `p`.
    z: Buffer<T>,
    scratch: Buffer<T>,
}

/// `(x, p) ↦ (f, -(∂f/∂x)ᵀ p)`.
struct Hamiltonian<'a, T: Real>(Replay<'a, T>);

impl<T: Real> Field<T> for Hamiltonian<'_, T> {
    fn eval(&mut self, t: f64, z: &[T], dz: &mut [T]) -> Result<(), FieldError> {
        let (x, p) = z.split_at(z.len() / 2);
        self.0.run(t, x, Some(p), |found| {
            let (dx, dp) = dz.split_at_mut(x.len());
            dx.copy_from_slice(found.get(0));
            costate_ops::affine(-T::one(), -T::zero(), found.get(1), dp);
        })?;
        Ok(())
    }
}

impl<T: Real> Continuous<T> {
    pub fn run(
        &mut self,
        from: &Backward<'_, T>,
        method: Method,
        options: Options,
        hamiltonian: Replay<'_, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        let dim = from.dim();
        let steps = from.grid.steps.len();
        self.z.resize(2 * dim);
        self.scratch.resize(2 * dim);
        self.z.fill(T::zero());
        let mut field = Hamiltonian(hamiltonian);
        let mut stats = Stats { bytes_kept: size_of_val(from.ys), ..Stats::default() };
        let last = from.ts.len() - 1;
        for i in (0..last).rev() {
            let (start, end) = (from.ts[i + 1], from.ts[i]);
            let (x, p) = self.z.split_at_mut(dim);
            x.copy_from_slice(from.y(i + 1));
            costate_ops::axpy(T::one(), from.g(i + 1), p);
            if to.times.is_some() {
                // Moving a save time moves what is saved along the solution.
                let time_bar = vjp_time(&mut field, start, x, from.g(i + 1), &mut self.scratch)?;
                to.add_time(i + 1, time_bar);
            }
            // p in units of its size: the equation is linear in it.
            let size = (dot(p, p).as_f64() / dim as f64).sqrt();
            if size > 0.0 {
                costate_ops::affine_in_place(T::from_f64(1.0 / size), T::zero(), p);
                let segment = match options.stepping {
                    // The same density of steps as forward.
                    Stepping::Steps(_) => {
                        let share = (end - start) / (from.ts[last] - from.ts[0]);
                        let share = (share.abs() * steps as f64).ceil().max(1.0);
                        Options { stepping: Stepping::Steps(share as usize), ..options }
                    }
                    _ => options,
                };
                self.segment(start, end, method, segment, size, &mut field, vjp, to, &mut stats)?;
                let (x, p) = self.z.split_at_mut(dim);
                let error = &mut self.scratch[..dim];
                costate_ops::binary(costate_ops::Binary::Sub, x, from.y(i), error);
                let distance = error_norm(error, x, from.y(i), &options, &[]);
                // Written so that NaN departs.
                if !matches!(options.stepping, Stepping::Adaptive) || distance <= DEPARTED {
                    costate_ops::affine_in_place(T::from_f64(size), T::zero(), p);
                } else {
                    return Err(Box::new(Error::from(ErrorKind::Departed { t: end, distance })));
                }
            }
        }
        let (_, p) = self.z.split_at_mut(dim);
        if last > 0 && to.times.is_some() {
            let time_bar = vjp_time(&mut field, from.ts[0], from.y(0), p, &mut self.scratch)?;
            to.add_time(0, -time_bar);
        }
        costate_ops::axpy(T::one(), from.g(0), p);
        to.y0.copy_from_slice(p);
        stats.vjp_evals = field.0.evaluations + vjp.evaluations;
        stats.f_evals = field.0.evaluations;
        Ok(stats)
    }

    /// Solves from one save time to the one before it.
    #[expect(clippy::too_many_arguments, reason = "the parts of `run`, taken once each segment")]
    fn segment(
        &mut self,
        start: f64,
        end: f64,
        method: Method,
        options: Options,
        size: f64,
        field: &mut Hamiltonian<'_, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
        stats: &mut Stats,
    ) -> Result<(), FieldError> {
        // A new number of steps needs a new integrator.
        let integrator = match &mut self.integrator {
            Some(integrator) if options.stepping == Stepping::Adaptive => {
                integrator.restart(&self.z, start, end)?;
                integrator
            }
            slot => slot.insert(Integrator::new(method, &self.z, start, end, options)?),
        };
        while !integrator.is_done() {
            integrator.step(field).map_err(|e| match e.kind() {
                // Backward, x has gone where the solution never was.
                ErrorKind::NonFinite { t, .. }
                | ErrorKind::StepTooSmall { t, .. }
                | ErrorKind::Diverged { t, .. } => {
                    ErrorKind::Departed { t: *t, distance: f64::INFINITY }.into()
                }
                _ => e,
            })?;
            if to.captured.is_empty() {
                continue;
            }
            integrator.dense_slopes(field)?;
            let step = integrator.last_step();
            for (theta, weight) in GAUSS {
                step.interpolate(theta, &mut self.scratch);
                let (x, p) = self.scratch.split_at(self.scratch.len() / 2);
                // The step goes backward, so its size is negative.
                let c = T::from_f64(-step.h * weight * size);
                vjp.run(step.t0 + theta * step.h, x, Some(p), |found| to.add(c, &found))?;
            }
        }
        self.z.copy_from_slice(integrator.y());
        stats.accepted += integrator.stats().accepted;
        stats.rejected += integrator.stats().rejected;
        Ok(())
    }
}

/// `g · f(t, x)`.
fn vjp_time<T: Real>(
    field: &mut Hamiltonian<'_, T>,
    t: f64,
    x: &[T],
    g: &[T],
    scratch: &mut [T],
) -> Result<f64, FieldError> {
    let dim = x.len();
    let slope = &mut scratch[..dim];
    field.0.run(t, x, Some(g), |found| slope.copy_from_slice(found.get(0)))?;
    Ok(dot(g, slope).as_f64())
}
