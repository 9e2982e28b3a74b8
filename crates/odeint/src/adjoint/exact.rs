//! The discrete adjoint: the gradient of what was computed, to rounding.
//!
//! With `p` the cotangent of the state after a step, its stages are taken in reverse:
//!
//! ```text
//! k̄_i = h (b_i p + Σ_{j>i} a_ji ȳ_j),   ȳ_i = (∂f/∂y)_iᵀ k̄_i,   θ̄ += (∂f/∂θ)_iᵀ k̄_i,
//! p ← p + Σ ȳ_i
//! ```
//!
//! This is the symplectic partner of the method applied to Hamilton's equations: `p · δ` stays
//! constant for every tangent `δ`, whatever the step. Cotangents of states between steps join the
//! stages with the weights of the interpolant, so they cost nothing. The end slope of a step is the
//! first slope of the next, so both of its cotangents go through one evaluation.
//!
//! The slope of an implicit stage, `k_i = f(t_i, Y_i)` with `Y_i = … + h a_ii k_i`, follows the
//! implicit function theorem: its cotangent is first multiplied by `(I - h a_ii (∂f/∂y)_i)⁻ᵀ`, with
//! the Jacobian at the stage itself. The last stage is the new state, and its slope the end slope.

use costate_ops::{Buffer, Real, dot};
use smallvec::SmallVec;

use super::stages::Stages;
use super::{Backward, Cotangents};
use crate::error::FieldError;
use crate::solve::position;
use crate::stats::Stats;
use crate::step::combine;
use crate::vector_field::Replay;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(crate) struct Exact<T: Real> {
    p: Buffer<T>,
    /// The cotangent of the end slope of the step at hand.
    end: Buffer<T>,
    slope: Buffer<T>,
    stage: Buffer<T>,
    /// `ȳ_i` of each stage; in the last row, `p`, since the weights `b` are the last row of `a`.
    bars: Buffer<T>,
    /// The columns of `a`.
    columns: Vec<f64>,
    ones: Vec<f64>,
    /// A linear combination of slopes.
    sum: Buffer<T>,
    stages: Stages<T>,
}

/// A save time strictly inside a step.
#[derive(Clone, Copy)]
struct Inside {
    time: usize,
    theta: f64,
}

impl<T: Real> Exact<T> {
    pub fn run(
        &mut self,
        from: &Backward<'_, T>,
        vjp: &mut Replay<'_, T>,
        mut jacobian: Option<&mut Replay<'_, T>>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        let tableau = from.method.tableau();
        let (dim, rows) = (from.dim(), tableau.rows());
        for buffer in [&mut self.p, &mut self.end, &mut self.slope, &mut self.stage, &mut self.sum]
        {
            buffer.resize(dim);
        }
        self.bars.resize(rows * dim);
        if jacobian.is_some() {
            self.stages.resize(dim);
        }
        let a = |i: usize, j: usize| tableau.a[i].get(j).copied().unwrap_or(0.0);
        self.columns.clear();
        self.columns.extend((0..rows * rows).map(|ij| a(ij % rows, ij / rows)));
        self.ones.resize(rows, 1.0);
        self.p.fill(T::zero());
        let mut carried = false;
        let last_step = from.grid.steps.len().wrapping_sub(1);
        for (n, step) in from.grid.steps.iter().enumerate().rev() {
            let (h, k) = (step.h, from.grid.k(n));
            let mut inside: SmallVec<[Inside; 8]> = SmallVec::new();
            for time in step.saves.clone() {
                let theta = position(from.ts[time], step.t0, step.h, step.t1);
                if theta < 1.0 {
                    inside.push(Inside { time, theta });
                    continue;
                }
                add(&mut self.p, from.g(time));
                if to.times.is_some() && time + 1 < from.ts.len() {
                    to.add_time(time, dot(from.g(time), &k[(rows - 1) * dim..]).as_f64());
                }
            }
            // What the time does to the step: to its end, and to its stages.
            let (mut end_bar, mut stages_bar) = (0.0, 0.0);

            if !carried {
                self.end.fill(T::zero());
            }
            let needs_end = !inside.is_empty() && tableau.interpolant.needs_end();
            if needs_end {
                gather(from, &inside, h, rows - 1, &mut self.end);
            }
            if let Some(jacobian) = &mut jacobian {
                // The last stage is the state, so what the state sends goes through it.
                let hg = h * tableau.a[rows - 1][rows - 1];
                costate_ops::axpy(T::from_f64(hg), &self.p, &mut self.end);
                self.stages.solve(jacobian, step.t1, from.grid.y(n + 1), hg, &mut self.end)?;
            }
            if carried || needs_end || jacobian.is_some() {
                let (p, sum) = (&mut self.p, &self.end);
                end_bar = vjp.run(step.t1, from.grid.y(n + 1), Some(sum), |found| {
                    add(p, found.get(0));
                    to.add(T::one(), &found)
                })?;
            }
            let mut h_bar = 0.0;
            let wants_h = to.times.is_some() && (n == 0 || n == last_step);
            if wants_h {
                combine(None, 1.0, tableau.b, k, &mut self.sum);
                h_bar += dot(&self.p, &self.sum).as_f64();
            }

            self.bars[(rows - 1) * dim..].copy_from_slice(&self.p);
            for i in (1..rows - 1).rev() {
                let column = &self.columns[i * rows + i + 1..(i + 1) * rows];
                combine(None, h, column, &self.bars[(i + 1) * dim..], &mut self.slope);
                gather(from, &inside, h, i, &mut self.slope);
                let a = tableau.a[i];
                combine(Some(from.grid.y(n)), h, a, k, &mut self.stage);
                let c = tableau.c[i];
                let t = if c == 1.0 { step.t1 } else { step.t0 + c * h };
                if let Some(jacobian) = &mut jacobian {
                    self.stages.solve(jacobian, t, &self.stage, h * a[i], &mut self.slope)?;
                }
                let bar = &mut self.bars[i * dim..(i + 1) * dim];
                let t_bar = vjp.run(t, &self.stage, Some(&self.slope), |found| {
                    bar.copy_from_slice(found.get(0));
                    to.add(T::one(), &found)
                })?;
                stages_bar += t_bar;
                h_bar += c * t_bar;
                if wants_h {
                    combine(None, 1.0, a, k, &mut self.sum);
                    h_bar += dot(bar, &self.sum).as_f64();
                }
            }
            combine(None, h, &self.columns[1..rows], &self.bars[dim..], &mut self.slope);
            gather(from, &inside, h, 0, &mut self.slope);
            std::mem::swap(&mut self.slope, &mut self.end);
            carried = true;
            combine(Some(&self.p), 1.0, &self.ones[2..], &self.bars[dim..], &mut self.sum);
            std::mem::swap(&mut self.p, &mut self.sum);
            for save in &inside {
                add(&mut self.p, from.g(save.time));
            }

            if to.times.is_some() {
                let mut start_bar = stages_bar;
                for &Inside { time, theta } in &inside {
                    let weight = |f: &dyn Fn(usize) -> f64| {
                        (0..rows).map(f).collect::<SmallVec<[f64; 16]>>()
                    };
                    let rate = weight(&|i| tableau.interpolant.weight_derivative(i, theta));
                    combine(None, 1.0, &rate, k, &mut self.sum);
                    // h times the slope at the time, over h.
                    let time_bar = dot(from.g(time), &self.sum).as_f64();
                    to.add_time(time, time_bar);
                    let value = weight(&|i| tableau.interpolant.weight(i, theta));
                    combine(None, 1.0, &value, k, &mut self.sum);
                    h_bar += dot(from.g(time), &self.sum).as_f64() - time_bar * theta;
                    start_bar -= time_bar;
                }
                if n == 0 {
                    to.add_time(0, start_bar - h_bar);
                }
                if n == last_step {
                    to.add_time(from.ts.len() - 1, h_bar + end_bar);
                }
            }
        }
        if carried {
            let p = &mut self.p;
            let t_bar = vjp.run(from.ts[0], from.grid.y(0), Some(&self.end), |found| {
                add(p, found.get(0));
                to.add(T::one(), &found)
            })?;
            to.add_time(0, t_bar);
        }
        add(&mut self.p, from.g(0));
        to.y0.copy_from_slice(&self.p);
        let grid = &from.grid;
        Ok(Stats {
            accepted: grid.steps.len(),
            vjp_evals: vjp.evaluations,
            jacobian_evals: jacobian.as_ref().map_or(0, |j| j.evaluations),
            factorisations: jacobian.as_ref().map_or(0, |j| j.evaluations),
            bytes_kept: grid.bytes(),
            ..Stats::default()
        })
    }
}

fn add<T: Real>(to: &mut [T], x: &[T]) {
    costate_ops::axpy(T::one(), x, to);
}

/// Adds to the cotangent of slope `i` what the states inside the step send it: `h b_i(θ) g`.
fn gather<T: Real>(from: &Backward<'_, T>, inside: &[Inside], h: f64, i: usize, slope: &mut [T]) {
    for save in inside {
        let weight = h * from.method.tableau().interpolant.weight(i, save.theta);
        if weight != 0.0 {
            costate_ops::axpy(T::from_f64(weight), from.g(save.time), slope);
        }
    }
}
