//! A state and its tangents along the recorded steps of a multistep method.

use std::ops::Range;

use costate_ops::Buffer;

use super::walk::{Programs, States, Way};
use crate::Real;
use crate::adjoint::Stages;
use crate::differences::{Differences, Orders, alpha, factor};
use crate::error::FieldError;
use crate::solve::position;
use crate::step::{Step, combine};

/// The memory of the walk.
#[derive(Debug, Default)]
pub(super) struct MultistepWalk<T: Real> {
    /// Those of the state and of its tangents.
    table: Differences<T>,
    z0: Buffer<T>,
    z1: Buffer<T>,
    predicted: Buffer<T>,
    history: Buffer<T>,
    residual: Buffer<T>,
    pub stages: Stages<T>,
}

impl<T: Real> MultistepWalk<T> {
    /// As [`Walk::run`](super::walk::Walk::run); `push` is also told the differences after the step.
    ///
    /// The correction of a tangent is a linear system, with the matrix at the recorded state:
    ///
    /// ```text
    /// M (Σ_{1≤j≤k} γ_j Δ_j + α_k δ) = h ((∂f/∂y) η + (∂f/∂θ) θ̇),   η = Σ_{j≤k} Δ_j + δ
    /// ```
    pub fn run(
        &mut self,
        way: &Way<'_, T>,
        mut states: States<'_, T>,
        start: &[T],
        programs: &mut Programs<'_, T>,
        out: &mut [T],
        mut push: impl FnMut(&Step<'_, T>, Range<usize>, &Differences<T>),
    ) -> Result<(), FieldError> {
        let (grid, ts) = (way.grid, way.ts);
        let (dim, known) = (start.len(), grid.dim);
        for buffer in [&mut self.z0, &mut self.z1, &mut self.predicted] {
            buffer.resize(dim);
        }
        self.history.resize(dim);
        self.residual.resize(dim);
        self.table.resize(dim);
        self.stages.resize(grid.block);
        self.z0.copy_from_slice(start);
        let mut saved = out.chunks_exact_mut(dim - known);
        let mut save = |z: &[T]| {
            saved.next().expect("a place for each time").copy_from_slice(&z[known..]);
        };
        save(start);
        let field = &mut programs.field;
        if !grid.steps.is_empty() {
            let slope = &mut self.residual;
            field.run(ts[0], start, None, |found| slope.copy_from_slice(found.get(0)))?;
            self.stages.rough_slopes(slope);
            self.table.line(start, slope);
        }
        let mut before = 1.0;
        for (n, step) in grid.steps.iter().enumerate() {
            let (t1, h, Orders { order, .. }) = (step.t1, step.h, step.orders());
            self.table.begin(step.orders(), factor(h, before, t1));
            self.table.predict(order, &mut self.predicted, &mut self.history);
            let y1 = match &mut states {
                States::Again(again) => again.step(step, false)?.1,
                _ => grid.y(n + 1),
            };
            self.z1.copy_from_slice(&self.predicted);
            self.z1[..known].copy_from_slice(y1);
            let c = h / alpha(order);
            let jacobian = programs.jacobian.as_mut().expect("an implicit method has it");
            self.stages.factor(jacobian, t1, &self.z1, c)?;
            let scale = T::from_f64(c);
            // If the state has tangents itself, the matrix has more than its diagonal blocks.
            for _ in 0..=grid.order {
                let residual = &mut self.residual;
                field.run(t1, &self.z1, None, |found| {
                    costate_ops::affine(scale, T::zero(), found.get(0), residual);
                })?;
                let residual = &mut residual[known..];
                self.stages.subtract_mass(&self.history[known..], residual);
                self.stages.solve(residual);
                costate_ops::axpy(T::one(), residual, &mut self.z1[known..]);
                // What is left of the history is the correction as well.
                costate_ops::axpy(T::one(), residual, &mut self.history[known..]);
            }
            let delta = &mut self.residual;
            for ((to, &z), &p) in delta.iter_mut().zip(&*self.z1).zip(&*self.predicted) {
                *to = z - p;
            }
            self.table.advance(order, delta);
            let tableau = grid.method(step).tableau();
            for i in step.saves.clone() {
                match position(ts[i], step.t0, h, t1) {
                    1.0 => save(&self.z1),
                    theta => {
                        let mut weights = [0.0; crate::differences::ROWS];
                        for (j, weight) in weights.iter_mut().enumerate().take(order + 1).skip(1) {
                            *weight = tableau.interpolant.weight(j, theta);
                        }
                        let rows = self.table.first(order + 1);
                        let weights = &weights[..=order];
                        combine(Some(&self.z0), 1.0, weights, rows, &mut self.predicted);
                        save(&self.predicted);
                    }
                }
            }
            let taken = Step {
                t0: step.t0,
                h,
                t1,
                y0: &self.z0,
                y1: &self.z1,
                k: &[],
                rounds: 1,
                orders: step.orders(),
                tableau,
            };
            push(&taken, step.saves.clone(), &self.table);
            std::mem::swap(&mut self.z0, &mut self.z1);
            before = h;
        }
        Ok(())
    }
}
