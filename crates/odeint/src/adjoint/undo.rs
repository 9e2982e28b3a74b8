//! The way back through a solve by a reversible scheme.
//!
//! Each step is undone, by arithmetic from its end or by taking its start from what was kept, and its
//! cotangents are passed on ([`Back`]). A state between steps is on the cubic through both ends with
//! both slopes, so its cotangent goes to both ends, and through the field there.
//!
//! Arithmetic multiplies rounding errors. If what it arrives at is not the start, the pass fails.

use costate_ops::{Real, axpy};
use smallvec::SmallVec;

use super::{Again, Backward, Cotangents};
use crate::error::{Error, ErrorKind, FieldError};
use crate::integrator::Integrator;
use crate::reversible::Reversible;
use crate::reversible_adjoint::Back;
use crate::solve::position;
use crate::stats::Stats;
use crate::vector_field::Replay;

/// The memory of the pass.
#[derive(Debug)]
pub(crate) struct Undo<T: Real> {
    back: Back<T>,
    solve: Option<Reversible<T>>,
    integrator: Option<Integrator<T>>,
    slope: Vec<T>,
}

impl<T: Real> Default for Undo<T> {
    fn default() -> Self {
        Undo { back: Back::default(), solve: None, integrator: None, slope: Vec::new() }
    }
}

impl<T: Real> Undo<T> {
    /// The pass, from the `end` of the solve. If nothing is kept, the limit of `again.points` is 0.
    pub fn run(
        &mut self,
        from: &Backward<'_, T>,
        end: Option<&Reversible<T>>,
        again: Again<'_, T>,
        vjp: &mut Replay<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        let Again { options, mut field, points, y0, .. } = again;
        let (tableau, steps) = (from.method.tableau(), &from.grid.steps);
        let (t0, t1) = (from.ts[0], from.ts[from.ts.len() - 1]);
        let back = &mut self.back;
        back.start(y0.len());
        self.slope.resize(y0.len(), T::zero());
        let mut integrator = match (points.is_none(), &mut self.integrator) {
            (true, _) => None,
            (false, Some(integrator)) => {
                integrator.restart(y0, t0, t1)?;
                Some(integrator)
            }
            (false, none) => Some(none.insert(Integrator::new(from.method, y0, t0, t1, options)?)),
        };
        points.start_backward();
        let mut retaken = 0;
        if let Some(end) = end.filter(|_| !steps.is_empty()) {
            let solve = self.solve.get_or_insert_with(|| end.clone());
            solve.copy_from(end);
            for (n, step) in steps.iter().enumerate().rev() {
                let mut inside: SmallVec<[(usize, [f64; 3]); 8]> = SmallVec::new();
                for time in step.saves.clone() {
                    let theta = position(from.ts[time], step.t0, step.h, step.t1);
                    if theta == 1.0 {
                        axpy(T::one(), from.g(time), &mut back.y);
                    } else {
                        inside
                            .push((time, [0, 1, 2].map(|i| tableau.interpolant.weight(i, theta))));
                    }
                }
                let at_end: Ends = inside.iter().map(|&(i, w)| (i, w[1], step.h * w[2])).collect();
                share(from, &at_end, step.t1, solve, back, &mut self.slope, vjp, to)?;
                let mut undo = |solve: &mut Reversible<T>, f: &mut Replay<'_, T>| {
                    let Some(integrator) = &mut integrator else { return solve.back(f, step.t0) };
                    points.advance(integrator, f, steps, n)?;
                    solve.copy_from(integrator.companion(f)?);
                    Ok(())
                };
                back.step(solve, step.t0, &mut field, vjp, to, &mut undo)?;
                let at_start: Ends =
                    inside.iter().map(|&(i, w)| (i, 1.0 - w[1], step.h * w[0])).collect();
                share(from, &at_start, step.t0, solve, back, &mut self.slope, vjp, to)?;
            }
            let far = distance(solve.y(), y0);
            let allowed = 100.0 * T::EPSILON.as_f64().sqrt() * from.grid.largest();
            // NaN is not back.
            let is_back = far <= allowed;
            if integrator.is_none() && !is_back {
                let (t, distance) = (t0, far / allowed);
                return Err(Box::new(Error::from(ErrorKind::Departed { t, distance })));
            }
            back.finish(solve, y0, vjp, to)?;
            retaken = integrator.map_or(0, |integrator| integrator.stats().accepted);
        }
        axpy(T::one(), from.g(0), &mut back.y);
        to.y0.copy_from_slice(&back.y);
        let ends = end.filter(|_| points.is_none());
        Ok(Stats {
            accepted: steps.len(),
            f_evals: field.evaluations,
            vjp_evals: vjp.evaluations,
            bytes_kept: from.grid.bytes()
                + points.bytes()
                + ends.map_or(0, |end| end.point_len() * size_of::<T>()),
            grid_bytes: from.grid.step_bytes(),
            states_kept: points.peak() + usize::from(ends.is_some()),
            retaken,
            ..Stats::default()
        })
    }
}

/// The largest difference of two states; NaN if there is one.
fn distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    let differences = a.iter().zip(b).map(|(&a, &b)| (a - b).abs().as_f64());
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

/// Times inside a step, with the weights of the state and of the slope at an end of it.
type Ends = SmallVec<[(usize, f64, f64); 8]>;

/// What states inside a step send to one of its ends: their cotangents times the weights of the state
/// and of the slope there.
#[expect(clippy::too_many_arguments, reason = "an end of a step, and the pass")]
fn share<T: Real>(
    from: &Backward<'_, T>,
    inside: &[(usize, f64, f64)],
    t: f64,
    solve: &Reversible<T>,
    back: &mut Back<T>,
    slope: &mut [T],
    vjp: &mut Replay<'_, T>,
    to: &mut Cotangents<'_, T>,
) -> Result<(), FieldError> {
    if inside.is_empty() {
        return Ok(());
    }
    slope.fill(T::zero());
    for &(time, of_state, of_slope) in inside {
        axpy(T::from_f64(of_state), from.g(time), &mut back.y);
        axpy(T::from_f64(of_slope), from.g(time), slope);
    }
    let y = &mut back.y;
    vjp.run(t, solve.y(), Some(slope), |found| {
        axpy(T::one(), found.get(0), y);
        to.add(T::one(), &found)
    })?;
    Ok(())
}
