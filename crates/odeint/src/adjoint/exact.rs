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
//! stages with the weights of the interpolant, so they cost nothing, unless the interpolant has
//! slopes of its own: those are stages like the others, which come last. The end slope of a step is
//! the first slope of the next, so both of its cotangents go through one evaluation.

mod stage;

use costate_ops::{Buffer, dot};
use smallvec::SmallVec;

use self::stage::{Back, Inside, gather, sum};
use super::programs::{ByPrograms, Programs};
use super::rosenbrock::Rosenbrock;
use super::stages::Stages;
use super::{Backward, Cotangents};
use crate::Real;
use crate::error::FieldError;
use crate::method::Method;
use crate::solve::position;
use crate::step::combine_rows;
use crate::tableau::Tableau;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(crate) struct Exact<T: Real> {
    p: Buffer<T>,
    /// The cotangent of the end slope of the step at hand.
    end: Buffer<T>,
    slope: Buffer<T>,
    stage: Buffer<T>,
    /// What the sums of a step take: the cotangents of the states inside it, the last one first; then `ȳ_i` of
    /// each stage from the last one to the first, the interpolant's among them. In the end slope's row it is
    /// `p`, since the weights `b` are that row of `a`.
    bars: Buffer<T>,
    /// Where in `bars` the stages begin.
    stages_start: usize,
    /// The columns of `a`, and whose they are.
    columns: Vec<f64>,
    columns_of: Option<&'static Tableau>,
    /// What each stage's sum takes of the state at the start of the step.
    starts: Vec<f64>,
    /// A linear combination of slopes.
    sum: Buffer<T>,
    stages: Stages<T>,
    rosenbrock: Rosenbrock<T>,
    /// Whether `end` is to be passed on.
    carried: bool,
}

impl<T: Real> ByPrograms<T> for Exact<T> {
    fn start(&mut self, from: &Backward<'_, T>) {
        let dim = from.dim();
        for buffer in [&mut self.p, &mut self.end, &mut self.slope, &mut self.stage, &mut self.sum]
        {
            buffer.resize(dim);
        }
        if from.method.is_implicit() {
            self.stages.resize(from.grid.block);
        }
        if let Method::Rosenbrock(_) = from.method {
            self.rosenbrock.resize(dim, from.grid.block, from.grid.methods.slopes());
        }
        self.p.fill(T::zero());
        self.carried = false;
    }

    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        for i in (0..from.grid.steps.len()).rev() {
            self.step(from, i, programs, to)?;
        }
        Ok(())
    }

    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        if let Some(pass) = &mut programs.pass {
            let end = self.carried.then_some(&*self.end);
            pass.visit(from.ts[0], from.start(0), &self.p, end, to.captured);
        }
        let p = &mut self.p;
        add(p, from.g(0));
        if self.carried {
            let (at, kept) = ((from.ts[0], from.start(0)), from.kept(0, 0));
            let t_bar = programs.vjp(at, kept, &self.end, to, |found| add(p, found))?;
            programs.finish_step(to);
            to.add_time(0, t_bar);
        }
        to.y0.copy_from_slice(&self.p);
        Ok(())
    }
}

impl<T: Real> Exact<T> {
    /// Takes step `i` of the grid in reverse, after those that follow it.
    pub fn step(
        &mut self,
        from: &Backward<'_, T>,
        i: usize,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        let dim = from.dim();
        let carried = self.carried;
        let last_step = from.steps.wrapping_sub(1);
        let step = &from.grid.steps[i];
        let (n, h) = (from.grid.first + i, step.h);
        let method = from.grid.method(step);
        let tableau = method.tableau();
        let (rows, all) = (tableau.rows(), tableau.slopes());
        let implicit = method.ends_in_stage();
        let rosenbrock = match method {
            Method::Rosenbrock(method) => Some(method),
            _ => None,
        };
        self.columns_of(tableau);
        if let Some(pass) = &mut programs.pass {
            let end = carried.then_some(&*self.end);
            pass.visit(step.t1, from.start(n + 1), &self.p, end, to.captured);
        }
        let mut inside: SmallVec<[Inside; 8]> = SmallVec::new();
        for time in step.saves.clone() {
            let theta = position(from.ts[time], step.t0, step.h, step.t1);
            if theta < 1.0 {
                inside.push(Inside { time, theta });
                continue;
            }
            add(&mut self.p, from.g(time));
            if to.times.is_some() && time + 1 < from.ts.len() {
                let end = from.slopes(n, false)[rows - 1];
                to.add_time(time, dot(from.g(time), end).as_f64());
            }
        }
        let wants_h = to.times.is_some() && (n == 0 || n == last_step);
        let k = &from.slopes(n, !inside.is_empty() && all > rows)[..];
        let slopes = k.len();
        let y0 = from.start(n);
        let back = Back { method, tableau, n, step, y0, k, inside: &inside, slopes, wants_h };
        self.start_step(from, &inside, all);
        // What the time does to the step: to its end, and to its stages.
        let (mut end_bar, mut stages_bar, mut h_bar) = (0.0, 0.0, 0.0);

        for i in (rows..slopes).rev() {
            let (t_bar, bar) = self.stage(from, &back, i, programs, to)?;
            (stages_bar, h_bar) = (stages_bar + t_bar, h_bar + bar);
        }
        if !carried {
            self.end.fill(T::zero());
        }
        let needs_end = !inside.is_empty() && tableau.interpolant.needs_end();
        if needs_end {
            gather(from, tableau, &inside, h, rows - 1, &mut self.end);
            for i in (rows..slopes).rev() {
                let c = T::from_f64(h * self.columns[(rows - 1) * all + all - 1 - i]);
                costate_ops::axpy(c, &self.bars[self.place(all, i, dim)], &mut self.end);
            }
        }
        if let Some(jacobian) = programs.jacobian.as_mut().filter(|_| implicit) {
            // The last stage is the state, so what the state sends goes through it.
            let hg = h * tableau.a[rows - 1][rows - 1];
            costate_ops::axpy(T::from_f64(hg), &self.p, &mut self.end);
            let (t1, y1) = (step.t1, from.start(n + 1));
            self.stages.factor(jacobian, t1, y1, hg)?;
            let (vjp, order) = (&mut programs.vjp, from.grid.order);
            self.stages.solve_adjoint(vjp, order, (t1, y1, hg), &mut self.end)?;
        }
        if carried || needs_end || implicit {
            let (p, sum) = (&mut self.p, &self.end);
            let (at, kept) = ((step.t1, from.start(n + 1)), from.kept(n, rows - 1));
            end_bar = programs.vjp(at, kept, sum, to, |found| add(p, found))?;
        }
        if wants_h {
            combine_rows(None, 1.0, tableau.b, k, &mut self.sum);
            h_bar += dot(&self.p, &self.sum).as_f64();
        }

        let end_row = self.place(all, rows - 1, dim);
        self.bars[end_row].copy_from_slice(&self.p);
        if tableau.coupled {
            self.couple(from, &back, &mut programs.vjp)?;
        }
        if let (Some(method), Some(jacobian)) = (rosenbrock, &mut programs.jacobian) {
            self.rosenbrock.begin(jacobian, step.t0, y0, h * method.gamma)?;
        }
        for i in (1..rows - 1).rev() {
            let (t_bar, bar) = self.stage(from, &back, i, programs, to)?;
            (stages_bar, h_bar) = (stages_bar + t_bar, h_bar + bar);
        }
        if rosenbrock.is_none() {
            self.sum_column(&back, 0, 1);
        } else {
            gather(from, tableau, &inside, h, 0, &mut self.slope);
        }
        std::mem::swap(&mut self.slope, &mut self.end);
        self.carried = tableau.uses_first() || !inside.is_empty();
        // In the order of `sum_column`.
        let starts = &self.starts[all - slopes..all - 1];
        sum(&self.bars, &back, 1.0, |_| 1.0, starts, &mut self.p);
        if let (Some(method), Some(second)) = (rosenbrock, &mut programs.second) {
            let (r, p) = (&mut self.rosenbrock, &mut self.p);
            let (t_bar, bar) = r.derivatives(method, second, step.t0, h, y0, k, p, to)?;
            (stages_bar, h_bar) = (stages_bar + t_bar, h_bar + bar);
        }

        if let Some(pass) = &mut programs.pass {
            pass.time += stages_bar + end_bar;
        }
        if to.times.is_some() {
            let mut start_bar = stages_bar;
            for &Inside { time, theta } in &inside {
                let weight =
                    |f: &dyn Fn(usize) -> f64| (0..slopes).map(f).collect::<SmallVec<[f64; 32]>>();
                let rate = weight(&|i| tableau.interpolant.weight_derivative(i, theta));
                combine_rows(None, 1.0, &rate, k, &mut self.sum);
                // h times the slope at the time, over h.
                let time_bar = dot(from.g(time), &self.sum).as_f64();
                to.add_time(time, time_bar);
                let value = weight(&|i| tableau.interpolant.weight(i, theta));
                combine_rows(None, 1.0, &value, k, &mut self.sum);
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
        programs.finish_step(to);
        Ok(())
    }

    /// Puts the cotangents of the states inside a step where its sums take them.
    fn start_step(&mut self, from: &Backward<'_, T>, inside: &[Inside], all: usize) {
        let dim = from.dim();
        self.stages_start = inside.len() * dim;
        self.bars.resize(self.stages_start + all * dim);
        for (row, save) in self.bars.chunks_exact_mut(dim).zip(inside.iter().rev()) {
            row.copy_from_slice(from.g(save.time));
        }
    }

    /// Where in `bars` the numbers of stage `i` lie: stages lie in reverse, so that sums over them are taken
    /// as a tape takes them.
    fn place(&self, all: usize, i: usize, dim: usize) -> std::ops::Range<usize> {
        let start = self.stages_start + (all - 1 - i) * dim;
        start..start + dim
    }

    /// Makes the columns of `a` those of a method.
    fn columns_of(&mut self, tableau: &'static Tableau) {
        if self.columns_of.is_some_and(|of| std::ptr::eq(of, tableau)) {
            return;
        }
        let all = tableau.slopes();
        self.columns.clear();
        self.columns.resize(all * all, 0.0);
        for i in 0..all {
            for (j, a) in tableau.increments(i).enumerate() {
                self.columns[j * all + all - 1 - i] = a;
            }
        }
        let starts = |i| if tableau.starts_before(i) { 0.0 } else { 1.0 };
        self.starts.clear();
        self.starts.extend((0..all).rev().map(starts));
        self.columns_of = Some(tableau);
    }
}

fn add<T: Real>(to: &mut [T], x: &[T]) {
    costate_ops::axpy(T::one(), x, to);
}
