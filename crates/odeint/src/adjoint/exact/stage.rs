//! One stage in reverse.

use costate_ops::dot;
use smallvec::SmallVec;

use super::{Exact, add};
use crate::Real;
use crate::additive::Portion;
use crate::adjoint::{Backward, Cotangents, Programs};
use crate::error::{Error, ErrorKind, FieldError};
use crate::fixed_point::Watch;
use crate::grid::GridStep;
use crate::method::Method;
use crate::step::{combine, combine_rows, stage_state};
use crate::tableau::Tableau;
use crate::vector_field::{Replay, copy_few};

/// A step on its way back.
pub(super) struct Back<'a, T: Real> {
    pub method: Method,
    pub tableau: &'static Tableau,
    pub n: usize,
    pub step: &'a GridStep,
    pub y0: &'a [T],
    /// The slopes, with those of the interpolant if there are times inside.
    pub k: &'a [&'a [T]],
    pub inside: &'a [Inside],
    /// How many slopes `k` has.
    pub slopes: usize,
    /// Whether the cotangent of the step size is wanted.
    pub wants_h: bool,
}

/// A save time strictly inside a step.
#[derive(Clone, Copy)]
pub(super) struct Inside {
    pub time: usize,
    pub theta: f64,
}

impl<T: Real> Exact<T> {
    /// Takes stage `i` in reverse: from the cotangents `ȳ` of the later stages to its own. Returns
    /// the cotangents of its time, and of the step size through time and state.
    pub(super) fn stage(
        &mut self,
        from: &Backward<'_, T>,
        back: &Back<'_, T>,
        i: usize,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(f64, f64), FieldError> {
        let Back { method, tableau, step, k, wants_h, .. } = *back;
        let (all, dim) = (tableau.slopes(), from.dim());
        let bar_place = self.place(all, i, dim);
        let kept = from.kept(back.n, i);
        let kept_state = programs.kept.as_ref().zip(kept).and_then(|(p, kept)| p.kept_state(kept));
        self.slope_bar(from, back, i);
        if kept_state.is_none() {
            self.state(back, i);
        }
        let t = tableau.time(i, step.t0, step.t1);
        let portion = method.portion(i);
        if let Method::Rosenbrock(method) = method {
            let (vjp, at) = (&mut programs.vjp, (step.t0, back.y0, step.h * method.gamma));
            self.rosenbrock.stage(method, i, (vjp, from.grid.order), at, &mut self.slope)?;
            if i == 1 {
                // Its f is the first slope, whose cotangent the step before joins.
                self.bars[bar_place].fill(T::zero());
                return Ok((0.0, 0.0));
            }
        } else if let (Some(jacobian), Some(a)) = (&mut programs.jacobian, tableau.row(i).get(i)) {
            let hg = step.h * a;
            self.stages.factor(jacobian, t, &self.stage, hg)?;
            let vjp = programs.of(portion).expect("what is solved for is no rest");
            let order = from.grid.order;
            self.stages.solve_adjoint(vjp, order, (t, &self.stage, hg), &mut self.slope)?;
        }
        let bar = &mut self.bars[bar_place.clone()];
        let t_bar = match portion {
            Portion::All => {
                let read = |found: &[T]| copy_few(found, bar);
                let state = kept_state.unwrap_or(&self.stage);
                programs.vjp((t, state), kept, &self.slope, to, read)?
            }
            _ => match programs.of(portion) {
                Some(vjp) => vjp.run(t, &self.stage, Some(&self.slope), |found| {
                    copy_few(found.get(0), bar);
                    to.add(T::one(), &found)
                })?,
                None => {
                    bar.fill(T::zero());
                    0.0
                }
            },
        };
        if i + 1 < all && tableau.starts_before(i + 1) {
            // The sum of the stage after goes on from this one's.
            let (after, bar) = self.bars.split_at_mut(bar_place.start);
            add(&mut bar[..dim], &after[after.len() - dim..]);
        }
        let mut h_bar = tableau.node(i) * t_bar;
        if wants_h {
            let increments: SmallVec<[f64; 32]> = tableau.increments(i).collect();
            combine_rows(None, 1.0, &increments, k, &mut self.sum);
            h_bar += dot(&self.bars[bar_place], &self.sum).as_f64();
        }
        Ok((t_bar, h_bar))
    }

    /// The cotangent of slope `i` from the cotangents `ȳ` of the stages that use it.
    fn slope_bar(&mut self, from: &Backward<'_, T>, back: &Back<'_, T>, i: usize) {
        let tableau = back.tableau;
        let first = if tableau.coupled && i < tableau.rows() { 1 } else { i + 1 };
        self.sum_column(back, i, first);
        tableau.part(i).mask_blocks(from.grid.block, &mut self.slope);
    }

    /// The state of stage `i`.
    fn state(&mut self, back: &Back<'_, T>, i: usize) {
        let Back { tableau, step, y0, k, .. } = *back;
        let h = step.h;
        match tableau.starts_before(i) {
            true => stage_state(tableau, i, y0, h, k, &mut self.stage),
            false => combine_rows(Some(y0), h, tableau.row(i), k, &mut self.stage),
        }
    }

    /// `k̄_i = h (Σ_j b_i(θ_j) g_j + Σ_{j≥first} a_ji ȳ_j)`, from the last term to the first: the order
    /// in which a tape adds them up. Where large coefficients cancel, another order is other digits.
    pub(super) fn sum_column(&mut self, back: &Back<'_, T>, i: usize, first: usize) {
        let Back { tableau, step, slopes, .. } = *back;
        let all = tableau.slopes();
        let column = &self.columns[i * all..][all - slopes..all - first];
        let weight = |save: &Inside| tableau.interpolant.weight(i, save.theta);
        sum(&self.bars, back, step.h, weight, column, &mut self.slope);
    }

    /// The `ȳ` of coupled stages, which depend on each other as the stages do: by fixed-point
    /// iteration, which converges as fast as theirs.
    pub(super) fn couple(
        &mut self,
        from: &Backward<'_, T>,
        back: &Back<'_, T>,
        vjp: &mut Replay<'_, T>,
    ) -> Result<(), FieldError> {
        let Back { tableau, step, .. } = *back;
        let (all, dim) = (tableau.slopes(), from.dim());
        let stages = self.place(all, tableau.rows() - 2, dim).start..self.place(all, 0, dim).start;
        self.bars[stages].fill(T::zero());
        let mut watch = Watch::new();
        loop {
            for i in (1..tableau.rows() - 1).rev() {
                self.slope_bar(from, back, i);
                self.state(back, i);
                let bar = self.place(all, i, dim);
                let bar = &mut self.bars[bar];
                let t = tableau.time(i, step.t0, step.t1);
                vjp.run(t, &self.stage, Some(&self.slope), |found| {
                    watch.replace(bar, found.get(0));
                })?;
            }
            match watch.finished() {
                None => {
                    let (t, dt) = (step.t0, step.h);
                    let e = Error::from(ErrorKind::NoConvergence { t, dt });
                    return Err(Box::new(e));
                }
                Some(true) => return Ok(()),
                Some(false) => {}
            }
        }
    }
}

/// `out = h (Σ w_j g_j + Σ c_i ȳ_i)` over the states inside a step and its stages, which follow each other in
/// `bars`, from the first to the last.
pub(super) fn sum<T: Real>(
    bars: &[T],
    back: &Back<'_, T>,
    h: f64,
    weight: impl Fn(&Inside) -> f64,
    stages: &[f64],
    out: &mut [T],
) {
    if back.inside.is_empty() {
        // Nothing comes from the interpolant's own stages, which come first.
        let without = back.tableau.slopes() - back.slopes;
        return combine(None, h, stages, &bars[without * out.len()..], out);
    }
    let inside = back.inside.iter().rev().map(weight);
    let all: SmallVec<[f64; 32]> = inside.chain(stages.iter().copied()).collect();
    combine(None, h, &all, bars, out);
}

/// Adds to the cotangent of slope `i` what the states inside the step send it: `h b_i(θ) g`.
pub(super) fn gather<T: Real>(
    from: &Backward<'_, T>,
    tableau: &Tableau,
    inside: &[Inside],
    h: f64,
    i: usize,
    slope: &mut [T],
) {
    for save in inside.iter().rev() {
        let weight = h * tableau.interpolant.weight(i, save.theta);
        if weight != 0.0 {
            costate_ops::axpy(T::from_f64(weight), from.g(save.time), slope);
        }
    }
}
