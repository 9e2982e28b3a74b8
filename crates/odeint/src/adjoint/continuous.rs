//! The continuous adjoint: Hamilton's equations solved backward under their own error control.
//!
//! Between two save times, backward:
//!
//! ```text
//! dx/dt = f(t, x, θ),   dp/dt = -(∂f/∂x)ᵀ p,   dL/dθ = ∫ (∂f/∂θ)ᵀ p dt
//! ```
//!
//! and at each save time `p` jumps by the cotangent there. `θ` is no part of the stepped state: its
//! integral is a Gauss quadrature over each step's interpolant. The absolute tolerance of `p` is
//! relative to its size at the last jump, since `p` has no natural size.
//!
//! Where `x` comes from is the difference between two ways. `Continuous` solves for it again, and
//! puts it back to what the forward pass found at each save time. Solving backward turns decay into
//! growth, so `x` may depart from the solution; then the pass fails rather than return a wrong
//! gradient. `Interpolated` reads it from the interpolants of the forward pass, and solves for `p`
//! alone, whose equation backward is as stable as that of tangents forward.

use costate_ops::{Buffer, dot};

use super::quadrature::gauss;
use super::{Backward, Cotangents};
use crate::Real;
use crate::control::error_norm;
use crate::error::{Error, ErrorKind, FieldError};
use crate::field::{Field, difference_jacobian};
use crate::grid::{Grid, size};
use crate::integrator::Integrator;
use crate::options::{Options, Stepping};
use crate::stats::Stats;
use crate::vector_field::Replay;

/// How far `x` may be from the solution at the end of a segment, in units of the tolerance.
const DEPARTED: f64 = 100.0;

/// How many times larger than the solution ever was `x` may become.
const BEYOND: f64 = 10.0;

/// The relative tolerance that `x` is measured by where steps are not adaptive.
const WITHOUT_TOLERANCE: f64 = 1e-3;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(crate) struct Continuous<T: Real> {
    integrator: Option<Integrator<T>>,
    /// `x`, unless it is read, and then `p`.
    z: Buffer<T>,
    scratch: Buffer<T>,
    /// `x` where it is read.
    x: Buffer<T>,
}

/// The programs of the pass.
pub(crate) struct Equations<'a, T: Real> {
    pub options: Options,
    /// An absolute tolerance for each component of the state, or none.
    pub atol: &'a [f64],
    /// From a state and a cotangent to the slope and the cotangent of the state.
    pub hamiltonian: Replay<'a, T>,
    pub vjp: Replay<'a, T>,
    /// The field's Jacobian, if the method is implicit and `x` is read.
    pub jacobian: Option<Replay<'a, T>>,
    /// Whether `x` is read from the interpolants of the forward pass.
    pub interpolated: bool,
}

/// `(x, p) ↦ (f, -(∂f/∂x)ᵀ p)`, or the second part alone.
struct Hamiltonian<'a, 'w, T: Real> {
    program: Replay<'a, T>,
    jacobian: Option<Replay<'a, T>>,
    way: Option<Way<'w, T>>,
}

/// The solution as a function of time.
struct Way<'a, T: Real> {
    grid: &'a Grid<T>,
    x: Buffer<T>,
}

impl<T: Real> Way<'_, T> {
    fn at(&mut self, t: f64) -> &[T] {
        self.grid.interpolate(t, &mut self.x);
        &self.x
    }
}

impl<T: Real> Field<T> for Hamiltonian<'_, '_, T> {
    fn eval(&mut self, t: f64, z: &[T], dz: &mut [T]) -> Result<(), FieldError> {
        let (x, p) = match &mut self.way {
            Some(way) => (way.at(t), z),
            None => z.split_at(z.len() / 2),
        };
        let own = z.len() - p.len();
        self.program.run(t, x, Some(p), |found| {
            let (dx, dp) = dz.split_at_mut(own);
            if own > 0 {
                dx.copy_from_slice(found.get(0));
            }
            costate_ops::affine(-T::one(), -T::zero(), found.get(1), dp);
        })?;
        Ok(())
    }

    fn jacobian(
        &mut self,
        t: f64,
        z: &[T],
        dz: &[T],
        jacobian: &mut [T],
    ) -> Result<(), FieldError> {
        let (Some(way), Some(program)) = (&mut self.way, &mut self.jacobian) else {
            return difference_jacobian(&mut |t, z, dz| self.eval(t, z, dz), t, z, dz, jacobian);
        };
        let n = z.len();
        program.matrix(t, way.at(t), jacobian)?;
        for i in 0..n {
            for j in 0..=i {
                let (below, above) = (jacobian[i * n + j], jacobian[j * n + i]);
                (jacobian[i * n + j], jacobian[j * n + i]) = (-above, -below);
            }
        }
        Ok(())
    }
}

impl<T: Real> Continuous<T> {
    pub fn run(
        &mut self,
        from: &Backward<'_, T>,
        equations: Equations<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        let Equations { options, atol, hamiltonian, mut vjp, jacobian, interpolated } = equations;
        let dim = from.dim();
        let own = if interpolated { 0 } else { dim };
        self.z.resize(own + dim);
        self.scratch.resize(2 * dim);
        self.x.resize(dim);
        self.z.fill(T::zero());
        let way = interpolated.then(|| Way { grid: from.grid, x: std::mem::take(&mut self.x) });
        let mut field = Hamiltonian { program: hamiltonian, jacobian, way };
        let mut stats = Stats {
            bytes_kept: from.grid.bytes() + size_of_val(from.ys),
            grid_bytes: from.grid.step_bytes(),
            states_kept: from.grid.states() + from.ts.len(),
            ..Stats::default()
        };
        let last = from.ts.len() - 1;
        for i in (0..last).rev() {
            let (start, end) = (from.ts[i + 1], from.ts[i]);
            let (x, p) = self.z.split_at_mut(own);
            if own > 0 {
                x.copy_from_slice(from.y(i + 1));
            }
            costate_ops::axpy(T::one(), from.g(i + 1), p);
            if to.times.is_some() {
                // Moving a save time moves what is saved along the solution.
                let (y, g) = (from.y(i + 1), from.g(i + 1));
                to.add_time(i + 1, vjp_time(&mut field, start, y, g, &mut self.scratch)?);
            }
            // p in units of its size: the equation is linear in it.
            let unit = (dot(p, p).as_f64() / dim as f64).sqrt();
            if unit > 0.0 {
                costate_ops::affine_in_place(T::from_f64(1.0 / unit), T::zero(), p);
                let options = match options.stepping {
                    // The same density of steps as forward.
                    Stepping::Steps(_) => {
                        let share = (end - start) / (from.ts[last] - from.ts[0]);
                        let share = (share.abs() * from.steps as f64).ceil().max(1.0);
                        Options { stepping: Stepping::Steps(share as usize), ..options }
                    }
                    _ => options,
                };
                let span = Span { start, end, unit, options, atol };
                self.segment(from, span, &mut field, &mut vjp, to, &mut stats)?;
                let (x, p) = self.z.split_at_mut(own);
                if own > 0 {
                    check(x, from.y(i), end, &options, atol, &mut self.scratch[..dim])?;
                }
                costate_ops::affine_in_place(T::from_f64(unit), T::zero(), p);
            }
        }
        let (_, p) = self.z.split_at_mut(own);
        if last > 0 && to.times.is_some() {
            let time_bar = vjp_time(&mut field, from.ts[0], from.y(0), p, &mut self.scratch)?;
            to.add_time(0, -time_bar);
        }
        costate_ops::axpy(T::one(), from.g(0), p);
        to.y0.copy_from_slice(p);
        stats.vjp_evals = field.program.evaluations + vjp.evaluations;
        // One run of the program gives a slope and a product.
        stats.f_evals = if interpolated { 0 } else { field.program.evaluations };
        stats.jacobian_evals = field.jacobian.as_ref().map_or(0, |j| j.evaluations);
        if let Some(way) = field.way {
            self.x = way.x;
        }
        Ok(stats)
    }

    /// Solves from one save time to the one before it.
    fn segment(
        &mut self,
        from: &Backward<'_, T>,
        span: Span<'_>,
        field: &mut Hamiltonian<'_, '_, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
        stats: &mut Stats,
    ) -> Result<(), FieldError> {
        let Span { start, end, unit, options, atol } = span;
        let solves_for_x = field.way.is_none();
        // A new number of steps needs a new integrator.
        let integrator = match &mut self.integrator {
            Some(integrator) if options.stepping == Stepping::Adaptive => {
                integrator.restart(&self.z, start, end)?;
                integrator
            }
            slot => {
                let made = Integrator::new(from.method, &self.z, start, end, options)?;
                // Those of x; p has the one for all.
                let mut each = Vec::new();
                if solves_for_x && !atol.is_empty() {
                    each.extend_from_slice(atol);
                    each.resize(self.z.len(), options.atol);
                }
                slot.insert(made.with_atol(&each)?)
            }
        };
        while !integrator.is_done() {
            integrator.step(field).map_err(|e| match e.kind() {
                // Backward, x has gone where the solution never was.
                ErrorKind::NonFinite { t, .. }
                | ErrorKind::StepTooSmall { t, .. }
                | ErrorKind::Diverged { t, .. }
                    if solves_for_x =>
                {
                    ErrorKind::Departed { t: *t, distance: f64::INFINITY }.into()
                }
                _ => e,
            })?;
            if solves_for_x {
                let x = size(&integrator.y()[..from.dim()]);
                let most = atol.iter().copied().reduce(f64::max).unwrap_or(options.atol);
                let tolerance = most + options.rtol * from.grid.largest();
                if x > BEYOND * from.grid.largest() + DEPARTED * tolerance {
                    let (t, distance) = (integrator.t(), x / tolerance);
                    return Err(Box::new(Error::from(ErrorKind::Departed { t, distance })));
                }
            }
            if to.captured.is_empty() {
                continue;
            }
            integrator.dense_slopes(field)?;
            let step = integrator.last_step();
            let z = &mut self.scratch[..self.z.len()];
            for &(theta, weight) in gauss(step.tableau.order) {
                let t = step.t0 + theta * step.h;
                step.interpolate(theta, z);
                let (x, p) = match &mut field.way {
                    Some(way) => (way.at(t), &*z),
                    None => z.split_at(z.len() / 2),
                };
                // The step goes backward, so its size is negative.
                let c = T::from_f64(-step.h * weight * unit);
                vjp.run(t, x, Some(p), |found| to.add(c, &found))?;
            }
        }
        self.z.copy_from_slice(integrator.y());
        let done = integrator.stats();
        stats.accepted += done.accepted;
        stats.rejected += done.rejected;
        stats.factorisations += done.factorisations;
        Ok(())
    }
}

/// From one save time to the one before it, with `p` in units of its size at the start.
struct Span<'a> {
    start: f64,
    end: f64,
    unit: f64,
    options: Options,
    atol: &'a [f64],
}

/// Fails if `x` has departed from the solution `y` at time `t`.
fn check<T: Real>(
    x: &[T],
    y: &[T],
    t: f64,
    options: &Options,
    atol: &[f64],
    scratch: &mut [T],
) -> Result<(), Error> {
    costate_ops::binary(costate_ops::Binary::Sub, x, y, scratch);
    let distance = match options.stepping {
        Stepping::Adaptive => error_norm(scratch, x, y, options, atol),
        // What equal steps are to achieve is not known: a tenth of the size is too much.
        _ => {
            let typical = (dot(y, y).as_f64() / y.len() as f64).sqrt();
            let (rtol, atol) = (WITHOUT_TOLERANCE, WITHOUT_TOLERANCE * typical);
            error_norm(scratch, x, y, &Options { rtol, atol, ..*options }, &[])
        }
    };
    // Written so that NaN departs.
    if distance <= DEPARTED { Ok(()) } else { Err(ErrorKind::Departed { t, distance }.into()) }
}

/// `g · f(t, x)`.
fn vjp_time<T: Real>(
    field: &mut Hamiltonian<'_, '_, T>,
    t: f64,
    x: &[T],
    g: &[T],
    scratch: &mut [T],
) -> Result<f64, FieldError> {
    let slope = &mut scratch[..x.len()];
    field.program.run(t, x, Some(g), |found| slope.copy_from_slice(found.get(0)))?;
    Ok(dot(g, slope).as_f64())
}
