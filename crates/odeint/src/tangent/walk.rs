//! A state and its tangents along a recorded grid.

use std::ops::Range;

use costate_ops::Buffer;

use super::again::Again;
use crate::Real;
use crate::additive::Portion;
use crate::adjoint::Stages;
use crate::error::{Error, ErrorKind, FieldError};
use crate::fixed_point::Watch;
use crate::grid::{Grid, GridStep};
use crate::method::Method;
use crate::rosenbrock::RosenbrockTableau;
use crate::solve::position;
use crate::step::{Step, combine, slopes_of, stage_state};
use crate::tableau::{Part, Tableau};
use crate::vector_field::Replay;

/// What is walked along.
pub(super) struct Way<'a, T: Real> {
    pub ts: &'a [f64],
    /// That of the state alone.
    pub grid: &'a Grid<T>,
}

/// Where the states and slopes along the way are from.
#[expect(clippy::large_enum_variant, reason = "there is one for a pass, on the stack")]
pub(super) enum States<'a, T: Real> {
    /// The grid has them.
    Kept,
    /// They are computed with the tangents, by the same operations and so to the same bits if the
    /// method is explicit.
    Computed,
    /// Steps are taken again, since their stages must be solved for.
    Again(Again<'a, T>),
}

/// The programs of the state with its tangents.
pub(super) struct Programs<'a, T: Real> {
    pub field: Replay<'a, T>,
    /// Those of the stiff part and of the rest, if the field is in parts.
    pub parts: Option<[Replay<'a, T>; 2]>,
    /// The Jacobian of the first field of all, if the method needs it.
    pub jacobian: Option<Replay<'a, T>>,
    /// The derivative of the field in a direction, for Rosenbrock methods.
    pub along: Option<Replay<'a, T>>,
}

impl<'a, T: Real> Programs<'a, T> {
    /// A portion of the field, and the Jacobian; of a field without parts there is no rest.
    fn of(&mut self, portion: Portion) -> Option<(&mut Replay<'a, T>, Option<&mut Replay<'a, T>>)> {
        let field = match (portion, &mut self.parts) {
            (Portion::Stiff, Some([stiff, _])) => stiff,
            (Portion::Rest, Some([_, rest])) => rest,
            (Portion::Rest, None) => return None,
            _ => &mut self.field,
        };
        Some((field, self.jacobian.as_mut()))
    }
}

/// The memory of the walk.
#[derive(Debug, Default)]
pub(super) struct Walk<T: Real> {
    z0: Buffer<T>,
    z1: Buffer<T>,
    /// The slopes of a step with those of its interpolant, and in each those of the state first.
    k: Buffer<T>,
    stage: Buffer<T>,
    base: Buffer<T>,
    residual: Buffer<T>,
    /// `(v, τ)`.
    direction: Buffer<T>,
    stages: Stages<T>,
}

impl<T: Real> Walk<T> {
    /// Writes the tangents at the times to `out`, and calls `push` with each step and the times in
    /// it.
    ///
    /// Stages that were solved for are not iterated: that of a tangent is a linear system.
    pub fn run(
        &mut self,
        way: &Way<'_, T>,
        mut states: States<'_, T>,
        start: &[T],
        programs: &mut Programs<'_, T>,
        out: &mut [T],
        mut push: impl FnMut(&Step<'_, T>, Range<usize>),
    ) -> Result<(), FieldError> {
        let (grid, ts) = (way.grid, way.ts);
        let (dim, known, block) = (start.len(), grid.dim, grid.block);
        // From where on entries are computed.
        let first = if let States::Computed = states { 0 } else { known };
        for buffer in [&mut self.z0, &mut self.z1, &mut self.stage] {
            buffer.resize(dim);
        }
        self.k.resize(grid.methods.slopes() * dim);
        self.k.fill(T::zero());
        self.z0.copy_from_slice(start);
        if programs.jacobian.is_some() {
            self.base.resize(dim);
            self.residual.resize(dim);
            self.direction.resize(dim + 1);
            self.stages.resize(block);
        }
        let mut saved = out.chunks_exact_mut(dim - known);
        let mut save = |z: &[T]| {
            saved.next().expect("a place for each time").copy_from_slice(&z[known..]);
        };
        save(start);
        let mut has_first = false;
        let last = grid.steps.len().wrapping_sub(1);
        for (n, step) in grid.steps.iter().enumerate() {
            let &GridStep { t0, h, t1, rounds, .. } = step;
            let method = grid.method(step);
            let (tableau, implicit) = (method.tableau(), method.ends_in_stage());
            let (rows, all) = (tableau.rows(), tableau.slopes());
            let theta = |i: usize| position(ts[i], t0, h, t1);
            let inside = step.saves.clone().any(|i| theta(i) < 1.0);
            let slopes = if inside { all } else { rows };
            let found: Option<[&[T]; 3]> = match &mut states {
                States::Kept => {
                    let own = if inside { grid.own(n) } else { &[] };
                    Some([grid.k(n), own, grid.y(n + 1)])
                }
                States::Again(again) => {
                    let (k, y1) = again.step(step, inside)?;
                    Some([k, &[], y1])
                }
                States::Computed => None,
            };
            if let Some([k, own, _]) = found {
                let slopes = k.chunks_exact(known).chain(own.chunks_exact(known));
                for (to, from) in self.k.chunks_exact_mut(dim).zip(slopes) {
                    to[..known].copy_from_slice(from);
                }
            }
            if !has_first && (tableau.uses_first() || inside) {
                self.stage.copy_from_slice(&self.z0);
                self.slope(programs, (0, Portion::All), t0, first, (Part::All, block))?;
            }
            if tableau.coupled {
                self.couple(tableau, step, &mut programs.field, first)?;
            } else if let Method::Rosenbrock(method) = method {
                self.rosenbrock(method, way, step, programs)?;
            } else {
                let stages = if implicit { rows } else { rows - 1 };
                for i in 1..stages {
                    let t = tableau.time(i, t0, t1);
                    let row = tableau.a[i];
                    let n = self.z0.len();
                    stage_state(tableau, i, &self.z0, h, &slopes_of(&self.k, n), &mut self.stage);
                    let which = (i, method.portion(i));
                    if let Some(a) = row.get(i) {
                        self.implicit(way, programs, which, t, h * a)?;
                    } else {
                        let part = (tableau.part(i), block);
                        self.slope(programs, which, t, first, part)?;
                    }
                }
            }
            combine(Some(&self.z0), h, tableau.b, &self.k, &mut self.z1);
            if let Some([_, _, y1]) = found {
                self.z1[..known].copy_from_slice(y1);
            }
            // As in the solve, for the same reasons.
            let moves = !step.saves.is_empty() && n != last && !tableau.uses_first();
            let needs_end = moves || (inside && tableau.interpolant.needs_end());
            if needs_end && !implicit {
                self.stage.copy_from_slice(&self.z1);
                self.slope(programs, (rows - 1, Portion::All), t1, first, (Part::All, block))?;
            }
            for i in rows..slopes {
                combine(Some(&self.z0), h, tableau.row(i), &self.k, &mut self.stage);
                self.slope(
                    programs,
                    (i, Portion::All),
                    tableau.time(i, t0, t1),
                    first,
                    (Part::All, block),
                )?;
            }
            let taken = Step {
                t0,
                h,
                t1,
                y0: &self.z0,
                y1: &self.z1,
                k: &self.k[..slopes * dim],
                rounds: rounds as usize,
                orders: step.orders(),
                tableau,
            };
            for i in step.saves.clone() {
                match theta(i) {
                    1.0 => save(&self.z1),
                    theta => {
                        taken.interpolate(theta, &mut self.stage);
                        save(&self.stage);
                    }
                }
            }
            push(&taken, step.saves.clone());
            self.k.copy_within((rows - 1) * dim..rows * dim, 0);
            has_first = needs_end || implicit;
            std::mem::swap(&mut self.z0, &mut self.z1);
        }
        Ok(())
    }

    /// Slope `i` at the stage, from entry `first` on.
    fn slope(
        &mut self,
        programs: &mut Programs<'_, T>,
        (i, portion): (usize, Portion),
        t: f64,
        first: usize,
        (part, block): (Part, usize),
    ) -> Result<(), FieldError> {
        let dim = self.stage.len();
        let slope = &mut self.k[i * dim + first..(i + 1) * dim];
        let Some((field, _)) = programs.of(portion) else {
            slope.fill(T::zero());
            return Ok(());
        };
        field.run(t, &self.stage, None, |found| slope.copy_from_slice(&found.get(0)[first..]))?;
        part.mask_blocks(block, slope);
        Ok(())
    }

    /// Slope `i` of a stage that depends on it, given that of the state, from what the stage is
    /// without it. For the tangents it is the solution of
    ///
    /// ```text
    /// (I - hγ ∂f/∂y) κ = (∂f/∂y) δ + (∂f/∂θ) θ̇,
    /// ```
    ///
    /// with `δ` that of the stage without it.
    fn implicit(
        &mut self,
        way: &Way<'_, T>,
        programs: &mut Programs<'_, T>,
        (i, portion): (usize, Portion),
        t: f64,
        hg: f64,
    ) -> Result<(), FieldError> {
        let (dim, known) = (self.stage.len(), way.grid.dim);
        let (field, jacobian) = programs.of(portion).expect("what is solved for is no rest");
        let jacobian = jacobian.expect("an implicit method has it");
        let step = T::from_f64(hg);
        self.base.copy_from_slice(&self.stage);
        let k = &mut self.k[i * dim..(i + 1) * dim];
        costate_ops::axpy(step, &k[..known], &mut self.stage[..known]);
        self.stages.factor(jacobian, t, &self.stage, hg)?;
        let (k, base) = (&mut k[known..], &self.base[known..]);
        field.run(t, &self.stage, None, |found| k.copy_from_slice(&found.get(0)[known..]))?;
        self.stages.solve(k);
        // If the state has tangents itself, the matrix has more than its diagonal blocks.
        let residual = &mut self.residual[known..];
        for _ in 0..way.grid.order {
            for ((stage, &base), &k) in self.stage[known..].iter_mut().zip(base).zip(&*k) {
                *stage = base + step * k;
            }
            field.run(t, &self.stage, None, |found| {
                for ((to, &slope), &k) in residual.iter_mut().zip(&found.get(0)[known..]).zip(&*k) {
                    *to = slope - k;
                }
            })?;
            self.stages.solve(residual);
            costate_ops::axpy(T::one(), residual, k);
        }
        Ok(())
    }

    /// The stages of a Rosenbrock step, given those of the state: with `F` the field of the state
    /// with its tangents, and of each of its stages `K` the tangents' part,
    ///
    /// ```text
    /// K_i = γ (F(t_i, Z_i) + Σ c_ij K_j) + hγ (∂F/∂z K_i + d_i ∂F/∂t),
    /// ```
    ///
    /// where what `∂F/∂z` makes of the state's part is known.
    fn rosenbrock(
        &mut self,
        method: &RosenbrockTableau,
        way: &Way<'_, T>,
        step: &GridStep,
        programs: &mut Programs<'_, T>,
    ) -> Result<(), FieldError> {
        let (dim, known) = (self.stage.len(), way.grid.dim);
        let &GridStep { t0, h, t1, .. } = step;
        let (tableau, hg) = (&method.tableau, h * method.gamma);
        let jacobian = programs.jacobian.as_mut().expect("a Rosenbrock method has it");
        let along = programs.along.as_mut().expect("a Rosenbrock method has it");
        self.stages.factor(jacobian, t0, &self.z0, hg)?;
        let (gamma, hg) = (T::from_f64(method.gamma), T::from_f64(hg));
        for i in method.stages() {
            if i == 1 {
                self.stage.copy_from_slice(&self.k[..dim]);
            } else {
                combine(Some(&self.z0), h, tableau.a[i], &self.k, &mut self.stage);
                let slope = &mut self.residual;
                programs.field.run(tableau.time(i, t0, t1), &self.stage, None, |found| {
                    slope.copy_from_slice(found.get(0));
                })?;
                std::mem::swap(&mut self.stage, &mut self.residual);
            }
            combine(None, 1.0, method.coupling[i], &self.k, &mut self.base);
            for (base, &slope) in self.base.iter_mut().zip(&*self.stage) {
                *base = gamma * (*base + slope);
            }
            let k = &mut self.k[i * dim..(i + 1) * dim];
            k[known..].fill(T::zero());
            self.direction[dim] = T::from_f64(method.time[i]);
            for _ in 0..=way.grid.order {
                self.direction[..dim].copy_from_slice(k);
                let (base, residual) = (&self.base[known..], &mut self.residual[known..]);
                along.run(t0, &self.z0, Some(&self.direction), |found| {
                    let terms = base.iter().zip(&found.get(0)[known..]).zip(&k[known..]);
                    for (to, ((&base, &change), &k)) in residual.iter_mut().zip(terms) {
                        *to = base + hg * change - k;
                    }
                })?;
                self.stages.solve(residual);
                costate_ops::axpy(T::one(), residual, &mut k[known..]);
            }
        }
        Ok(())
    }

    /// Coupled slopes by the iteration that found those of the state.
    fn couple(
        &mut self,
        tableau: &Tableau,
        step: &GridStep,
        field: &mut Replay<'_, T>,
        first: usize,
    ) -> Result<(), FieldError> {
        let dim = self.stage.len();
        let mut watch = Watch::new();
        loop {
            for i in 1..tableau.rows() - 1 {
                combine(Some(&self.z0), step.h, tableau.a[i], &self.k, &mut self.stage);
                let slope = &mut self.k[i * dim + first..(i + 1) * dim];
                field.run(tableau.time(i, step.t0, step.t1), &self.stage, None, |found| {
                    watch.replace(slope, &found.get(0)[first..]);
                })?;
            }
            match watch.finished() {
                None => {
                    let (t, dt) = (step.t0, step.h);
                    return Err(Box::new(Error::from(ErrorKind::NoConvergence { t, dt })));
                }
                Some(true) => return Ok(()),
                Some(false) => {}
            }
        }
    }
}
