//! The way back through a solve by a reversible scheme.
//!
//! Each step is undone, by arithmetic from its end or by taking its start from what was kept, and its
//! cotangents are passed on ([`Back`]). A state between steps is on the cubic through both ends with
//! both slopes, so its cotangent goes to both ends, and through the field there.
//!
//! Arithmetic multiplies rounding errors. If what it arrives at is not the start, the pass fails.

use costate_ops::{axpy, dot};
use smallvec::SmallVec;

use super::{Again, Backward, Cotangents};
use crate::Real;
use crate::error::{Error, ErrorKind, FieldError};
use crate::field::Field;
use crate::instrument::Pass;
use crate::integrator::Integrator;
use crate::reversible::{Reversible, Scheme};
use crate::reversible_adjoint::{Back, Moved};
use crate::solve::position;
use crate::stats::Stats;
use crate::tableau::Tableau;
use crate::vector_field::Replay;

/// The memory of the pass.
#[derive(Debug)]
pub(crate) struct Undo<T: Real> {
    back: Back<T>,
    solve: Option<Reversible<T>>,
    integrator: Option<Integrator<T>>,
    slope: Vec<T>,
    ends: EndsOf<T>,
}

/// Both ends of a step with a time inside: the states, and the slopes there.
#[derive(Debug)]
struct EndsOf<T> {
    y: [Vec<T>; 2],
    f: [Vec<T>; 2],
}

/// A time inside a step.
struct Inside {
    time: usize,
    theta: f64,
    /// The weights of the slope at the start, of `(y₁ - y₀) / h`, and of the slope at the end.
    weights: [f64; 3],
}

impl<T: Real> Default for Undo<T> {
    fn default() -> Self {
        let ends = EndsOf { y: [Vec::new(), Vec::new()], f: [Vec::new(), Vec::new()] };
        Undo { back: Back::default(), solve: None, integrator: None, slope: Vec::new(), ends }
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
        mut pass: Option<&mut Pass<T>>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        let Again { options, mut field, points, y0, .. } = again;
        let (tableau, steps) = (from.method.tableau(), &from.grid.steps);
        let (t0, t1) = (from.ts[0], from.ts[from.ts.len() - 1]);
        let back = &mut self.back;
        back.start(y0.len());
        self.slope.resize(y0.len(), T::zero());
        for buffer in self.ends.y.iter_mut().chain(&mut self.ends.f) {
            buffer.resize(y0.len(), T::zero());
        }
        let wanted = to.times.is_some();
        let last = from.ts.len() - 1;
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
                write(pass.as_deref_mut(), solve, back, to.captured);
                let mut inside: SmallVec<[Inside; 8]> = SmallVec::new();
                let mut at_end = None;
                for time in step.saves.clone() {
                    let theta = position(from.ts[time], step.t0, step.h, step.t1);
                    if theta == 1.0 {
                        axpy(T::one(), from.g(time), &mut back.y);
                        at_end = (wanted && time < last).then_some(time).or(at_end);
                    } else {
                        let weights = [0, 1, 2].map(|i| tableau.interpolant.weight(i, theta));
                        inside.push(Inside { time, theta, weights });
                    }
                }
                let [start, end] = [n == 0, n + 1 == steps.len()];
                let dense = wanted && !inside.is_empty();
                if dense || at_end.is_some() {
                    self.ends.y[1].copy_from_slice(solve.y());
                    field.eval(step.t1, solve.y(), &mut self.ends.f[1])?;
                }
                if let Some(time) = at_end {
                    // It moves along the solution.
                    to.add_time(time, dot(from.g(time), &self.ends.f[1]).as_f64());
                }
                let ends: Ends =
                    inside.iter().map(|i| (i.time, i.weights[1], step.h * i.weights[2])).collect();
                let mut moved = Moved::default();
                let rate = share(from, &ends, step.t1, solve, back, &mut self.slope, vjp, to)?;
                moved.end += rate;
                moved.rate += rate;
                let mut undo = |solve: &mut Reversible<T>, f: &mut Replay<'_, T>| {
                    let Some(integrator) = &mut integrator else { return solve.back(f, step.t0) };
                    points.advance(integrator, f, steps, n)?;
                    solve.copy_from(integrator.companion(f)?);
                    Ok(())
                };
                let of_step = back.step(solve, step.t0, &mut field, vjp, to, &mut undo)?;
                let ends: Ends = inside
                    .iter()
                    .map(|i| (i.time, 1.0 - i.weights[1], step.h * i.weights[0]))
                    .collect();
                let rate = share(from, &ends, step.t0, solve, back, &mut self.slope, vjp, to)?;
                moved.start += rate + of_step.start;
                moved.end += of_step.end;
                moved.rate += rate + of_step.rate;
                if dense {
                    self.ends.y[0].copy_from_slice(solve.y());
                    field.eval(step.t0, solve.y(), &mut self.ends.f[0])?;
                    for save in &inside {
                        let (of_time, size) = self.ends.times(from, save, step.h, tableau);
                        to.add_time(save.time, of_time);
                        moved.start -= of_time + size;
                        moved.end += size;
                    }
                }
                if let Some(pass) = &mut pass {
                    pass.time += moved.rate;
                }
                if start {
                    to.add_time(0, moved.start);
                }
                if end {
                    to.add_time(last, moved.end);
                }
            }
            write(pass.as_deref_mut(), solve, back, to.captured);
            let far = distance(solve.y(), y0);
            let allowed = 100.0 * T::EPSILON.as_f64().sqrt() * from.grid.largest();
            // NaN is not back.
            let is_back = far <= allowed;
            if integrator.is_none() && !is_back {
                let (t, distance) = (t0, far / allowed);
                return Err(Box::new(Error::from(ErrorKind::Departed { t, distance })));
            }
            let rate = back.finish(solve, y0, vjp, to)?;
            to.add_time(0, rate);
            retaken = integrator.map_or(0, |integrator| integrator.stats().accepted);
        } else if let Some(pass) = &mut pass {
            pass.companions.extend_from_slice(y0);
            pass.companion_p.extend_from_slice(&back.companion);
            pass.visit(t0, y0, &back.y, None, to.captured);
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

impl<T: Real> EndsOf<T> {
    /// The cotangents that a time inside a step sends to itself, and to the size of the step.
    fn times(
        &self,
        from: &Backward<'_, T>,
        save: &Inside,
        h: f64,
        tableau: &Tableau,
    ) -> (f64, f64) {
        let g = from.g(save.time);
        let rise = g.iter().zip(&self.y[1]).zip(&self.y[0]);
        let rise = rise.map(|((&g, &y1), &y0)| (g * (y1 - y0)).as_f64()).sum::<f64>() / h;
        let slopes = [0, 1].map(|end: usize| dot(g, &self.f[end]).as_f64());
        let rates = [0, 1, 2].map(|i| tableau.interpolant.weight_derivative(i, save.theta));
        let of_time = rates[0] * slopes[0] + rates[1] * rise + rates[2] * slopes[1];
        let direct = save.weights[0] * slopes[0] + save.weights[2] * slopes[1];
        (of_time, direct - save.theta * of_time)
    }
}

/// Writes down what the pass is at.
fn write<T: Real>(
    pass: Option<&mut Pass<T>>,
    solve: &Reversible<T>,
    back: &Back<T>,
    captured: &[T],
) {
    let Some(pass) = pass else { return };
    let slope = matches!(solve.scheme(), Scheme::ReversibleHeun).then_some(&*back.slope);
    pass.companions.extend_from_slice(solve.companion());
    pass.companion_p.extend_from_slice(&back.companion);
    pass.visit(solve.t(), solve.y(), &back.y, slope, captured);
}

/// The largest difference of two states; NaN if there is one.
fn distance<T: Real>(a: &[T], b: &[T]) -> f64 {
    let differences = a.iter().zip(b).map(|(&a, &b)| (a - b).abs().as_f64());
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

/// Times inside a step, with the weights of the state and of the slope at an end of it.
type Ends = SmallVec<[(usize, f64, f64); 8]>;

/// What states inside a step send to one of its ends: their cotangents times the weights of the state
/// and of the slope there. Returns the cotangent of the time of that slope.
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
) -> Result<f64, FieldError> {
    if inside.is_empty() {
        return Ok(0.0);
    }
    slope.fill(T::zero());
    for &(time, of_state, of_slope) in inside {
        axpy(T::from_f64(of_state), from.g(time), &mut back.y);
        axpy(T::from_f64(of_slope), from.g(time), slope);
    }
    let y = &mut back.y;
    let rate = vjp.run(t, solve.y(), Some(slope), |found| {
        axpy(T::one(), found.get(0), y);
        to.add(T::one(), &found)
    })?;
    Ok(rate)
}
