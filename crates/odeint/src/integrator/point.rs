//! Points of the way from which steps are taken again to the same bits.

use costate_ops::Real;

use super::Integrator;
use crate::error::Error;
use crate::field::Field;
use crate::grid::GridStep;

impl<T: Real> Integrator<T> {
    /// How many numbers a [point](Self::point) is.
    pub(crate) fn point_len(&self) -> usize {
        let (n, rows) = (self.y1.len(), self.tableau.rows());
        if let Some(len) = self.pair_len() {
            len
        } else if self.tableau.coupled {
            rows * n
        } else if self.newton.is_some() || self.auto.is_some() {
            2 * n
        } else {
            n
        }
    }

    /// Writes all that the next steps follow from, but for their times, to `out`. Returns whether
    /// the slope of an implicit step, or the companion of the state, is part of it.
    ///
    /// That is the state, and
    /// - for an explicit method nothing: the slope there is evaluated again;
    /// - for an implicit one that slope, which Newton's method has found as that of the last stage,
    ///   and which the field gives only to rounding;
    /// - for coupled stages the slopes of the last step, from which their iteration starts, and what
    ///   rounding has left out of the state;
    /// - for a reversible scheme the companion of the state, if there is one yet.
    pub(crate) fn point(&self, out: &mut [T]) -> bool {
        let n = self.y1.len();
        if self.reversible.is_some() {
            return self.pair_point(out);
        }
        let (y, rest) = out.split_at_mut(n);
        y.copy_from_slice(&self.y1);
        if self.tableau.coupled {
            let (carry, k) = rest.split_at_mut(n);
            carry.copy_from_slice(&self.carry);
            k.copy_from_slice(&self.k[n..self.end_range().start]);
            return false;
        }
        let keeps_slope = self.newton.is_some() || self.auto.is_some();
        if !keeps_slope || !self.has_end {
            rest.fill(T::zero());
            return false;
        }
        rest.copy_from_slice(&self.k[self.end_range()]);
        true
    }

    /// Goes on from a [point](Self::point) of this solve at the time `t`, with or without its
    /// slope.
    pub(crate) fn resume(&mut self, t: f64, point: &[T], has_slope: bool) {
        let (n, end) = (self.y1.len(), self.end_range());
        let (y, rest) = point.split_at(n);
        self.y1.copy_from_slice(y);
        if self.reversible.is_some() {
            self.resume_pair(t, point, has_slope);
        } else if self.tableau.coupled {
            let (carry, k) = rest.split_at(n);
            self.carry.copy_from_slice(carry);
            self.k[n..end.start].copy_from_slice(k);
        } else if has_slope {
            self.k[end].copy_from_slice(rest);
        }
        self.t1 = t;
        self.has_end = has_slope && self.reversible.is_none();
        self.has_first = false;
        self.has_dense = false;
    }

    /// Takes a step of a recorded grid again.
    pub(crate) fn retake(&mut self, f: &mut impl Field<T>, step: &GridStep) -> Result<(), Error> {
        if let Some(auto) = &mut self.auto {
            auto.tell(step.second);
        }
        self.step_to(f, step.t1)
    }

    /// Whether the last step has its end slope.
    pub(crate) fn has_end(&self) -> bool {
        self.has_end
    }
}
