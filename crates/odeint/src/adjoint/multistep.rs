//! The discrete adjoint of a multistep method of variable order and step.
//!
//! What goes from step to step is the table of backward differences, so what goes back is its
//! cotangent `P`. With the parts of a step as in [`differences`](crate::differences),
//!
//! ```text
//! (M - c J)ᵀ λ = Σ_{j≤k+1} P_j,   c = h / α_k,   θ̄ += c (∂f/∂θ)ᵀ λ,
//! P_i ← -Σ_{i<j≤k+1} P_j + (1 - γ_i / α_k) Mᵀ λ   for i ≤ k,
//! P ← Wᵀ P
//! ```
//!
//! where `c Jᵀ λ = Mᵀ λ - Σ P_j` was used, so that nothing stiff cancels. `Σ_j P_j · Δ_j` is constant
//! for every tangent `Δ` of the table. States between steps are on the polynomial through the
//! differences after the step, and so their cotangents join those. The first table is that of the
//! line along the first slope.
//!
//! `W` takes the size of the step before, which may be in the next window: a step goes back through
//! it when the one before begins to.

use costate_ops::{Buffer, axpy, dot};

use super::programs::{ByPrograms, Programs};
use super::stages::Stages;
use super::{Backward, Cotangents};
use crate::Real;
use crate::differences::{KAPPA, Orders, ROWS, alpha, factor, gamma, rescaling, rescaling_rate};
use crate::error::FieldError;
use crate::solve::position;

/// The memory of the pass.
#[derive(Debug, Default)]
pub(crate) struct Multistep<T: Real> {
    n: usize,
    /// The cotangents of the differences `D_0` to `D_6`.
    p: Buffer<T>,
    scaled: Buffer<T>,
    /// `Σ P_j`, and then `λ`.
    lambda: Buffer<T>,
    /// `Mᵀ λ`.
    momentum: Buffer<T>,
    sum: Buffer<T>,
    pub stages: Stages<T>,
    later: Option<Later>,
}

/// A step that has gone back to the differences it started from, at its own distances.
#[derive(Clone, Copy, Debug)]
struct Later {
    h: f64,
    t1: f64,
    orders: Orders,
    is_last: bool,
}

impl<T: Real> ByPrograms<T> for Multistep<T> {
    fn start(&mut self, from: &Backward<'_, T>) {
        let n = from.dim();
        self.n = n;
        for buffer in [&mut self.p, &mut self.scaled] {
            buffer.resize((ROWS + 1) * n);
            buffer.fill(T::zero());
        }
        for buffer in [&mut self.lambda, &mut self.momentum, &mut self.sum] {
            buffer.resize(n);
        }
        self.stages.resize(from.grid.block);
        self.later = None;
    }

    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        let (dim, interpolant) = (self.n, &from.method.tableau().interpolant);
        let with_times = to.times.is_some();
        let (last_step, last_time) = (from.steps.wrapping_sub(1), from.ts.len() - 1);
        for (i, step) in from.grid.steps.iter().enumerate().rev() {
            let (n, h, order) = (from.grid.first + i, step.h, step.orders().order);
            let y1 = from.grid.y(n + 1);
            let table = if with_times { from.grid.differences(n) } else { &[] };
            self.rescale(h, table, n == 0, last_time, to);
            if let Some(pass) = &mut programs.pass {
                pass.visit(step.t1, y1, &self.p, None, to.captured);
            }
            // What the size of the step does, and its start and end by themselves.
            let (mut h_bar, mut start_bar) = (0.0, 0.0);
            for time in step.saves.clone() {
                let theta = position(from.ts[time], step.t0, h, step.t1);
                let g = from.g(time);
                axpy(T::one(), g, self.p(0));
                if theta == 1.0 {
                    if with_times && time < last_time {
                        self.end_slope(order, h, table);
                        to.add_time(time, dot(g, &self.sum).as_f64());
                    }
                    continue;
                }
                for j in 1..=order {
                    let before = if j == 1 { 1.0 } else { 0.0 };
                    let weight = interpolant.weight(j, theta) - before;
                    axpy(T::from_f64(weight), g, self.p(j));
                }
                if with_times {
                    let rate: f64 = (1..=order)
                        .map(|j| {
                            let product = dot(g, &table[j * dim..(j + 1) * dim]).as_f64();
                            interpolant.weight_derivative(j, theta) * product / h
                        })
                        .sum();
                    to.add_time(time, rate);
                    h_bar -= rate * theta;
                    start_bar -= rate;
                }
            }

            let alpha = alpha(order);
            let c = h / alpha;
            self.lambda.copy_from_slice(&self.p[..dim]);
            for row in self.p[dim..(order + 2) * dim].chunks_exact(dim) {
                axpy(T::one(), row, &mut self.lambda);
            }
            let jacobian = programs.jacobian.as_mut().expect("an implicit method has it");
            self.stages.factor(jacobian, step.t1, y1, c)?;
            let at = (step.t1, y1, c);
            let (vjp, lambda) = (&mut programs.vjp, &mut self.lambda);
            self.stages.solve_adjoint(vjp, from.grid.order, at, lambda)?;
            self.stages.mass_transposed(lambda, &mut self.momentum);
            self.sum.fill(T::zero());
            for j in (0..=order + 1).rev() {
                let row = &mut self.p[j * dim..(j + 1) * dim];
                let weight = match j > order {
                    true => 0.0,
                    false => 1.0 - gamma(j) / alpha,
                };
                let weight = T::from_f64(weight);
                for ((p, later), &m) in row.iter_mut().zip(&mut *self.sum).zip(&*self.momentum) {
                    let own = *p;
                    *p = if j > order { T::zero() } else { weight * m - *later };
                    *later += own;
                }
            }
            costate_ops::affine_in_place(T::from_f64(c), T::zero(), &mut self.lambda);
            let mut end_bar = 0.0;
            if with_times || !to.captured.is_empty() {
                end_bar = programs
                    .vjp
                    .run(step.t1, y1, Some(&self.lambda), |found| to.add(T::one(), &found))?;
            }
            if with_times {
                self.end_slope(order, h, table);
                h_bar += dot(&self.momentum, &self.sum).as_f64() / alpha;
                if n == 0 {
                    to.add_time(0, start_bar - h_bar);
                }
                if n == last_step {
                    to.add_time(last_time, h_bar + end_bar);
                }
            }
            let (t1, orders) = (step.t1, step.orders());
            self.later = Some(Later { h, t1, orders, is_last: n == last_step });
        }
        Ok(())
    }

    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        let dim = self.n;
        if let Some(first) = self.later.take() {
            // The differences of a line change with the distance.
            let slope = &mut self.p[dim..2 * dim];
            if to.times.is_some() {
                let table = from.grid.differences(0);
                let terms = slope.iter().zip(&table[dim..]).zip(&table[2 * dim..]);
                let bar: f64 = terms.map(|((&p, &a), &b)| (p * (a - b)).as_f64() / first.h).sum();
                to.add_time(0, -bar);
                if first.is_last {
                    to.add_time(from.ts.len() - 1, bar);
                }
            }
            let factor = factor(first.h, 1.0, first.t1).unwrap_or(1.0);
            costate_ops::affine_in_place(T::from_f64(factor), T::zero(), slope);
            self.stages.rough_slopes(slope);
            let (t0, y0) = (from.ts[0], from.grid.y(0));
            if let Some(pass) = &mut programs.pass {
                pass.visit(t0, y0, &self.p, None, to.captured);
            }
            let (p, slope) = self.p.split_at_mut(dim);
            let t_bar = programs.vjp.run(t0, y0, Some(&slope[..dim]), |found| {
                axpy(T::one(), found.get(0), p);
                to.add(T::one(), &found)
            })?;
            to.add_time(0, t_bar);
        }
        axpy(T::one(), from.g(0), self.p(0));
        to.y0.copy_from_slice(&self.p[..dim]);
        Ok(())
    }
}

impl<T: Real> Multistep<T> {
    fn p(&mut self, j: usize) -> &mut [T] {
        &mut self.p[j * self.n..(j + 1) * self.n]
    }

    /// Takes the step after this one, of size `h`, back through the change of distances. `table` is
    /// that between the two, if times are differentiated.
    fn rescale(
        &mut self,
        before: f64,
        table: &[T],
        is_first: bool,
        last_time: usize,
        to: &mut Cotangents<'_, T>,
    ) {
        let Some(later) = self.later.take() else { return };
        let (dim, Orders { order, basis }) = (self.n, later.orders);
        let row = |j: usize| j * dim..(j + 1) * dim;
        let factor = factor(later.h, before, later.t1);
        if to.times.is_some() && (is_first || later.is_last) {
            let at = factor.unwrap_or(1.0);
            let rates = rescaling_rate(basis, at);
            let mut bar = 0.0;
            for (j, rates) in rates.iter().enumerate().take(order + 1).skip(1) {
                let p = &self.p[row(j)];
                for (m, rate) in rates.iter().enumerate().take(basis + 1).skip(j) {
                    bar += rate * dot(p, &table[row(m)]).as_f64();
                }
            }
            // The factor is this step's size over the one before.
            if later.is_last {
                to.add_time(last_time, bar / before);
            }
            if is_first {
                to.add_time(0, bar * at / before);
            }
        }
        let Some(factor) = factor else { return };
        let weights = rescaling(basis, factor);
        self.scaled.fill(T::zero());
        for (j, weights) in weights.iter().enumerate().take(order + 1).skip(1) {
            let p = &self.p[row(j)];
            for (m, &weight) in weights.iter().enumerate().take(basis + 1).skip(j) {
                axpy(T::from_f64(weight), p, &mut self.scaled[row(m)]);
            }
        }
        self.p[dim..].copy_from_slice(&self.scaled[dim..]);
    }

    /// Writes the slope at the end of a step to `sum`, from the differences after it:
    /// `h f = Σ_{j≤k} D_j / j - κ_k γ_k D_{k+1}`, and with a mass matrix what it makes `f` of.
    fn end_slope(&mut self, order: usize, h: f64, table: &[T]) {
        self.sum.fill(T::zero());
        for (j, row) in table.chunks_exact(self.n).enumerate().take(order + 2).skip(1) {
            let weight = if j > order { -KAPPA[order] * gamma(order) } else { 1.0 / j as f64 };
            axpy(T::from_f64(weight / h), row, &mut self.sum);
        }
    }
}
