//! The steps of a diagonally implicit method in reverse.
//!
//! The cotangent of a slope goes through the transposed matrix of its stage, `μ = (I - hγ J)⁻ᵀ k̄`, before
//! it goes through the field, `ȳ = Jᵀ μ`. These matrices do not depend on cotangents either, so that no
//! inverse waits for another one.

use costate_ops::{LANES, invert};

use super::inside::Inside;
use super::{Few, SLOPES, add, found, transposed};
use crate::Real;
use crate::adjoint::Backward;
use crate::dirk::DirkTableau;
use crate::error::{Error, ErrorKind, FieldError};
use crate::step::sum_few;

impl<T: Real> Few<T> {
    /// The steps of a grid in reverse.
    pub(super) fn implicit_steps<const D: usize>(
        &mut self,
        from: &Backward<'_, T>,
        method: &DirkTableau,
    ) -> Result<(), FieldError> {
        let tableau = &method.tableau;
        let (rows, last) = (tableau.rows(), tableau.rows() - 1);
        let zero = [T::zero(); D];
        let (mut p, mut end, mut carried) = (zero, zero, self.carried);
        p.copy_from_slice(&self.p);
        end.copy_from_slice(&self.end);
        let mut stages = [(T::zero(), zero); SLOPES];
        // `∂f/∂y` of the stages: a stage a lane.
        let mut jacobians = [[[[T::zero(); LANES]; D]; D]; SLOPES.div_ceil(LANES)];
        let mut inverses = [[zero; D]; SLOPES];
        let mut bars = [zero; SLOPES];
        let mut inside = Inside::new(rows);
        for (i, step) in from.grid.steps.iter().enumerate().rev() {
            let (n, h) = (from.grid.first + i, T::from_f64(step.h));
            let hg = T::from_f64(step.h * method.diagonal());
            inside.begin(from, step, &tableau.interpolant, &mut p);
            let k = from.grid.k(n).as_chunks().0;
            let mut start = zero;
            start.copy_from_slice(from.grid.y(n));

            // The states of the stages, the Jacobians there, and the inverses of `I - hγ Jᵀ`.
            for (i, (t, y)) in stages.iter_mut().enumerate().take(rows).skip(1) {
                *t = T::from_f64(tableau.time(i, step.t0, step.t1));
                if i == last {
                    y.copy_from_slice(from.grid.y(n + 1));
                } else {
                    *y = sum_few(start, step.h, tableau.a[i], k);
                }
                let (chunk, lane) = ((i - 1) / LANES, (i - 1) % LANES);
                self.jacobian.set(lane, *t, y);
                if lane + 1 == LANES || i == last {
                    jacobians[chunk] = found(&mut self.jacobian);
                }
            }
            for (i, inverse) in inverses.iter_mut().enumerate().take(rows).skip(1) {
                let (jacobian, lane) = (&jacobians[(i - 1) / LANES], (i - 1) % LANES);
                *inverse = std::array::from_fn(|r| {
                    std::array::from_fn(|c| {
                        let entry = -hg * jacobian[c][r][lane];
                        if r == c { entry + T::one() } else { entry }
                    })
                });
                if !invert(inverse) {
                    let t = tableau.time(i, step.t0, step.t1);
                    return Err(Box::new(Error::from(ErrorKind::Singular { t })));
                }
            }
            self.solved += last;

            // The cotangent of slope `i` from those of the stages that use it, as those of an explicit step.
            let slope = |i: usize, bars: &[[T; D]; SLOPES]| {
                let column = &self.columns[i * rows + i + 1..(i + 1) * rows];
                inside.slope(i, column, &bars[i + 1..rows], h)
            };
            // And through its equation and the field.
            let queue = &mut self.captured;
            let mut back = |i: usize, slope: &[T; D]| {
                let mu = inverses[i].map(|row| {
                    let terms = row.iter().zip(slope);
                    terms.fold(T::zero(), |sum, (&entry, &x)| sum + entry * x)
                });
                let (t, y) = &stages[i];
                if let Some(queue) = queue {
                    queue.push(*t, y, &mu);
                }
                transposed(&jacobians[(i - 1) / LANES], (i - 1) % LANES, &mu)
            };
            if !carried {
                end = zero;
            }
            if !inside.is_empty() && tableau.interpolant.needs_end() {
                add(&mut end, &slope(last, &bars));
            }
            // The last stage is the state, so what the state sends goes through it.
            for (end, &p) in end.iter_mut().zip(&p) {
                *end += hg * p;
            }
            add(&mut p, &back(last, &end));
            bars[last] = p;
            for i in (1..last).rev() {
                bars[i] = back(i, &slope(i, &bars));
            }
            end = slope(0, &bars);
            self.evaluations += last;
            carried = tableau.uses_first() || !inside.is_empty();
            for bar in &bars[1..last] {
                add(&mut p, bar);
            }
            for g in &inside.cotangents {
                add(&mut p, g);
            }
        }
        self.p.copy_from_slice(&p);
        self.end.copy_from_slice(&end);
        self.carried = carried;
        Ok(())
    }
}
