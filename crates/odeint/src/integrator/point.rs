//! Points of the way from which steps are taken again to the same bits.

use super::Integrator;
use crate::Real;
use crate::differences::Differences;
use crate::error::{Error, FieldError};
use crate::field::{Counted, Field};
use crate::grid::{GridStep, StepEnd};
use crate::reversible::Reversible;
use crate::stepper::Family;

impl<T: Real> Integrator<T> {
    /// How many numbers a [point](Self::point) is.
    pub(crate) fn point_len(&self) -> usize {
        let (n, rows) = (self.frame.y1.len(), self.frame.tableau.rows());
        match &self.family {
            Family::Reversible(pair) => pair.point_len(),
            Family::Coupled(_) => rows * n,
            Family::Multistep(memory) => n + memory.table().len(),
            _ if self.keeps_slope() => 2 * n,
            _ => n,
        }
    }

    /// Writes all that the next steps follow from, but for their times, to `out`. Returns whether
    /// the slope of an implicit step, the differences of a multistep method, or the companion of the
    /// state, is part of it.
    ///
    /// That is the state, and
    /// - for an explicit method nothing: the slope there is evaluated again;
    /// - for an implicit one that slope, which Newton's method has found as that of the last stage,
    ///   and which the field gives only to rounding;
    /// - for coupled stages the slopes of the last step, from which their iteration starts, and what
    ///   rounding has left out of the state;
    /// - for a multistep method the differences of the states before, if there are any yet;
    /// - for a reversible scheme the companion of the state, if there is one yet.
    pub(crate) fn point(&self, out: &mut [T]) -> bool {
        let frame = &self.frame;
        let (y, rest) = out.split_at_mut(frame.y1.len());
        y.copy_from_slice(&frame.y1);
        match &self.family {
            Family::Reversible(pair) => match pair.reached() {
                Some(found) => found.write(out),
                None => {
                    rest.fill(T::zero());
                    return false;
                }
            },
            Family::Coupled(coupled) => {
                let (carry, k) = rest.split_at_mut(frame.y1.len());
                carry.copy_from_slice(&coupled.carry);
                k.copy_from_slice(&frame.k[frame.y1.len()..frame.end_range().start]);
                return false;
            }
            Family::Multistep(memory) if memory.has_history() => {
                rest.copy_from_slice(memory.table());
            }
            _ if self.keeps_slope() && frame.has_end => {
                rest.copy_from_slice(&frame.k[frame.end_range()]);
            }
            _ => {
                rest.fill(T::zero());
                return false;
            }
        }
        true
    }

    /// Goes on from a [point](Self::point) of this solve, with or without its slope, where step number
    /// `at` of these starts.
    pub(crate) fn resume(&mut self, steps: &[GridStep], at: usize, point: &[T], has_slope: bool) {
        let (frame, t) = (&mut self.frame, steps[at].t0);
        let (n, end) = (frame.y1.len(), frame.end_range());
        let (y, rest) = point.split_at(n);
        frame.y1.copy_from_slice(y);
        frame.t1 = t;
        (frame.has_end, frame.has_first, frame.has_dense) = (false, false, false);
        match &mut self.family {
            Family::Reversible(pair) => pair.resume(t, point, has_slope),
            Family::Coupled(coupled) => {
                let (carry, k) = rest.split_at(n);
                coupled.carry.copy_from_slice(carry);
                frame.k[n..end.start].copy_from_slice(k);
            }
            Family::Multistep(memory) => match has_slope {
                true => memory.resume(steps[at - 1].h, rest),
                false => memory.forget_steps(),
            },
            _ if has_slope => {
                frame.k[end].copy_from_slice(rest);
                frame.has_end = true;
            }
            _ => {}
        }
    }

    /// Whether steps follow from a slope that the field may give only to rounding.
    fn keeps_slope(&self) -> bool {
        self.auto.is_some() || matches!(self.family, Family::Implicit(_))
    }

    /// The state reached with its companion, which begins here if there is none yet.
    pub(crate) fn companion(
        &mut self,
        f: &mut impl Field<T>,
    ) -> Result<&Reversible<T>, FieldError> {
        let Family::Reversible(pair) = &mut self.family else {
            unreachable!("the scheme is reversible")
        };
        let frame = &mut self.frame;
        let mut f = Counted { field: f, stats: &mut frame.stats };
        pair.start(&mut f, frame.t1, &frame.y1)
    }

    /// The state reached with its companion, if there is one yet.
    pub(crate) fn last_companion(&self) -> Option<&Reversible<T>> {
        match &self.family {
            Family::Reversible(pair) => pair.reached(),
            _ => None,
        }
    }

    /// Takes a step of a recorded grid again.
    pub(crate) fn retake(&mut self, f: &mut impl Field<T>, step: &GridStep) -> Result<(), Error> {
        if let Some(auto) = &mut self.auto {
            auto.tell(step.second);
        }
        self.step_along(f, StepEnd::of(step))
    }

    /// Takes a step of given end.
    pub(crate) fn step_along(&mut self, f: &mut impl Field<T>, end: StepEnd) -> Result<(), Error> {
        let Family::Multistep(_) = self.family else { return self.step_to(f, end.t) };
        self.check_mass(f)?;
        self.start_multistep(f)?;
        if let Family::Multistep(memory) = &mut self.family {
            memory.set_orders(end.orders);
        }
        self.begin(|integrator| integrator.once(f, end.t))?;
        if let Family::Multistep(memory) = &mut self.family {
            memory.advance(self.frame.h, &mut self.frame.k);
        }
        Ok(())
    }

    /// Has each step of a multistep method follow from its start alone.
    pub(crate) fn stand_alone(&mut self) {
        if let Family::Multistep(memory) = &mut self.family {
            memory.stand_alone();
        }
    }

    /// The differences of a multistep method.
    pub(crate) fn differences(&self) -> Option<&Differences<T>> {
        match &self.family {
            Family::Multistep(memory) => Some(memory.differences()),
            _ => None,
        }
    }

    /// Whether the last step has its end slope.
    pub(crate) fn has_end(&self) -> bool {
        self.frame.has_end
    }
}
