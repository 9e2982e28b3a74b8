//! Steps of a few numbers by a field that takes them at once.

use super::{Frame, Integrator};
use crate::Real;
use crate::control::rarely;
use crate::field::Field;
use crate::grid::Grid;
use crate::options::{Options, Stepping};
use crate::small::{Measure, Small, first};
use crate::solve::position;
use crate::stats::Stats;
use crate::stepper::Family;
use crate::weights::{WEIGHTS, Weights};

/// What tries of steps need besides times, states and slopes.
struct Tries<'a> {
    small: &'a Small,
    options: &'a Options,
    atol: &'a [f64],
    /// That of the embedded method.
    order: u32,
    end: f64,
    history: &'a mut [f64; 2],
    stats: &'a mut Stats,
}

impl Tries<'_> {
    /// Tries until a step is taken from `y0` at `t`, the first try `dt` long; `k` begins with the slope
    /// there. Returns the time at its end, and the size that the next one should have. `None` if it is no
    /// ordinary step: then nothing of it counts.
    #[inline(always)]
    fn take<T: Real, const D: usize>(
        &mut self,
        f: &mut impl Field<T>,
        [t, dt]: [f64; 2],
        y0: &[T; D],
        k: &mut [T],
        y1: &mut [T; D],
    ) -> Option<[f64; 2]> {
        let Options { max_dt, max_steps, controller, .. } = self.options;
        let smallest = self.options.smallest_step(t);
        let (left, forward) = ((self.end - t).abs(), self.end > t);
        let measure = Measure { options: self.options, atol: self.atol };
        let tries = self.stats.accepted + self.stats.rejected;
        // By branches, which are foreseen: a step waits for its size.
        let mut h = dt;
        if h < smallest || h > *max_dt {
            h = rarely(h.max(smallest).min(*max_dt));
        }
        let (mut rejections, mut evaluations) = (0, 0);
        loop {
            let stretches = h >= left || (1.01 * h >= left && left <= *max_dt);
            let sum = if forward { t + h } else { t - h };
            let next = if stretches { self.end } else { sum };
            let size = (next - t).abs();
            let ordinary = tries + rejections < *max_steps && size > 1.1 * smallest;
            if !ordinary {
                return None;
            }
            let (evaluated, square) = self.small.at_once(&measure, f, [t, next], y0, k, y1)?;
            let square = square?;
            evaluations += evaluated;
            if square <= 1.0 && y1.iter().all(|y| y.is_finite()) {
                let (history, rejected) = (*self.history, rejections > 0);
                let found = controller.next_size(size, square, history, self.order, rejected);
                *self.history = [square, history[0]];
                self.stats.f_evals += evaluations;
                self.stats.rejected += rejections;
                self.stats.accepted += 1;
                return Some([next, if found > *max_dt { rarely(*max_dt) } else { found }]);
            }
            rejections += 1;
            h = (size * controller.factor_after_rejection(square, self.order)).max(smallest);
        }
    }
}

/// A step that was taken.
struct Taken<'a, T, const D: usize> {
    span: (f64, f64, f64),
    y0: &'a [T; D],
    k: &'a [T],
    y1: &'a [T; D],
}

impl<T: Real, const D: usize> Taken<'_, T, D> {
    /// Writes the states at the times from `ts[saved]` up to the end of the step, which is the last one
    /// if it is at `end`. Returns the place of the first time after it.
    #[inline(always)]
    fn save(&self, weights: &Weights, end: f64, ts: &[f64], saved: usize, ys: &mut [T]) -> usize {
        let Some(&t) = ts.get(saved) else { return saved };
        if self.reaches(t, end) { self.save_reached(weights, end, ts, saved, ys) } else { saved }
    }

    /// Whether a time is not after the end of the step.
    #[inline(always)]
    fn reaches(&self, t: f64, end: f64) -> bool {
        let (t0, h, t1) = self.span;
        let before = if h > 0.0 { t <= t1 } else { t >= t1 };
        before || t1 == end || position(t, t0, h, t1) == 1.0
    }

    fn save_reached(
        &self,
        weights: &Weights,
        end: f64,
        ts: &[f64],
        mut saved: usize,
        ys: &mut [T],
    ) -> usize {
        let (t0, h, t1) = self.span;
        let ys = ys.as_chunks_mut::<D>().0;
        while let Some(&t) = ts.get(saved).filter(|t| self.reaches(**t, end)) {
            ys[saved] = self.interpolate(weights, position(t, t0, h, t1));
            saved += 1;
        }
        saved
    }

    /// [`Step::interpolate`](crate::Step::interpolate), to the same bits but for the sign of zeros.
    #[inline(always)]
    fn interpolate(&self, weights: &Weights, theta: f64) -> [T; D] {
        if theta == 1.0 {
            return *self.y1;
        }
        let (_, h, _) = self.span;
        let mut y = *self.y0;
        for (weights, k) in weights.at(theta).zip(self.k.as_chunks::<D>().0.chunks(WEIGHTS)) {
            let weights = weights.map(|weight| T::from_f64(h * weight));
            for (weight, k) in weights.into_iter().zip(k) {
                for d in 0..D {
                    y[d] += weight * k[d];
                }
            }
        }
        y
    }
}

/// Steps of a few numbers. Only a field that [takes them](Field::steps) is looked at as this, so that they are
/// compiled for no other.
pub trait Steps<T: Real> {
    /// Takes the step that [`Integrator::step`] would, in a fraction of the time around the field's work,
    /// if it is an ordinary one: neither the first, nor one on the way to a stop, nor one that fails; and
    /// writes the states at the times from `ts[saved]` on that it reaches. Returns the place of the first
    /// time after it. `None` if it did nothing.
    fn step_few(
        &mut self,
        integrator: &mut Integrator<T>,
        ts: &[f64],
        saved: usize,
        ys: &mut [T],
    ) -> Option<usize>;

    /// [`step_few`](Self::step_few) as long as it can, where all that a grid keeps of a step is its states
    /// and slopes: they are written there at once. The grid has all steps up to here.
    #[expect(private_interfaces, reason = "fields of this crate alone take such steps")]
    fn record_few(
        &mut self,
        integrator: &mut Integrator<T>,
        ts: &[f64],
        saved: usize,
        ys: &mut [T],
        grid: &mut Grid<T>,
    ) -> usize;
}

impl<T: Real, F: Field<T>> Steps<T> for F {
    fn step_few(
        &mut self,
        integrator: &mut Integrator<T>,
        ts: &[f64],
        saved: usize,
        ys: &mut [T],
    ) -> Option<usize> {
        if !integrator.goes_on() {
            return None;
        }
        match integrator.y().len() {
            1 => integrator.step_few::<1>(self, ts, saved, ys),
            2 => integrator.step_few::<2>(self, ts, saved, ys),
            3 => integrator.step_few::<3>(self, ts, saved, ys),
            4 => integrator.step_few::<4>(self, ts, saved, ys),
            _ => None,
        }
    }

    #[expect(private_interfaces, reason = "as in the trait")]
    fn record_few(
        &mut self,
        integrator: &mut Integrator<T>,
        ts: &[f64],
        saved: usize,
        ys: &mut [T],
        grid: &mut Grid<T>,
    ) -> usize {
        if !integrator.goes_on() || grid.steps.is_empty() {
            return saved;
        }
        match integrator.y().len() {
            1 => integrator.record_few::<1>(self, ts, saved, ys, grid),
            2 => integrator.record_few::<2>(self, ts, saved, ys, grid),
            3 => integrator.record_few::<3>(self, ts, saved, ys, grid),
            4 => integrator.record_few::<4>(self, ts, saved, ys, grid),
            _ => saved,
        }
    }
}

impl<T: Real> Integrator<T> {
    /// Whether steps by this field may be [few](Steps).
    pub(crate) fn takes_few(&self, f: &mut impl Field<T>) -> bool {
        let Family::Explicit(explicit) = &self.family else { return false };
        explicit.few().is_some()
            && f.steps().is_some()
            && f.mass().is_none()
            && self.auto.is_none()
            && self.frame.kept.is_empty()
            && self.frame.options.stepping == Stepping::Adaptive
            && self.frame.tableau.error_needs_end()
    }

    /// Whether the next step can be an ordinary one: neither the first, nor one on the way to a stop.
    #[inline(always)]
    fn goes_on(&self) -> bool {
        let first = !self.frame.has_end || self.dt == 0.0;
        !first && self.stop == self.end && !self.is_done()
    }

    #[inline(always)]
    fn step_few<const D: usize>(
        &mut self,
        f: &mut impl Field<T>,
        ts: &[f64],
        saved: usize,
        ys: &mut [T],
    ) -> Option<usize> {
        let Integrator { family: Family::Explicit(explicit), frame, end, dt, .. } = self else {
            return None;
        };
        let (small, weights) = explicit.few()?;
        let Frame { tableau, options, atol, t0, t1, h, y0, y1, k, history, stats, .. } = frame;
        let (last, order) = (tableau.rows() - 1, tableau.control_order()?);
        let mut tries = Tries { small, options, atol, order, end: *end, history, stats };
        std::mem::swap(y0, y1);
        let slopes = k.as_chunks_mut::<D>().0;
        slopes[0] = slopes[last];
        let into = y1.first_chunk_mut::<D>().expect("a state of that many components");
        let Some([next, size]) = tries.take(f, [*t1, *dt], first::<T, D>(y0), k, into) else {
            // As it was.
            let slopes = k.as_chunks_mut::<D>().0;
            slopes[last] = slopes[0];
            std::mem::swap(y0, y1);
            return None;
        };
        let span = (*t1, next - *t1, next);
        ((*t0, *h, *t1), *dt) = (span, size);
        let k = &k[..(last + 1) * D];
        let taken = Taken::<T, D> { span, y0: first(y0), k, y1: first(y1) };
        let saved = taken.save(weights, *end, ts, saved, ys);
        (frame.has_first, frame.has_dense) = (true, true);
        Some(saved)
    }

    fn record_few<const D: usize>(
        &mut self,
        f: &mut impl Field<T>,
        ts: &[f64],
        mut saved: usize,
        ys: &mut [T],
        grid: &mut Grid<T>,
    ) -> usize {
        let Integrator { family: Family::Explicit(explicit), frame, end, dt, .. } = self else {
            return saved;
        };
        let Some((small, weights)) = explicit.few() else { return saved };
        let Frame { tableau, options, atol, t0, t1, h, y0, y1, k, history, stats, .. } = frame;
        let Some(order) = tableau.control_order() else { return saved };
        let mut tries = Tries { small, options, atol, order, end: *end, history, stats };
        let (mut t, before) = (*t1, grid.steps.len());
        while t != *end {
            let (states, slopes) = grid.next_few();
            let (start, into) = states.split_at_mut(D);
            let start = first::<T, D>(start);
            let into = into.first_chunk_mut::<D>().expect("a state of that many components");
            let Some([next, size]) = tries.take(f, [t, *dt], start, slopes, into) else {
                break;
            };
            let span = (t, next - t, next);
            let taken = Taken { span, y0: start, k: slopes, y1: into };
            let first = saved;
            saved = taken.save(weights, *end, ts, saved, ys);
            grid.push_next(span, first..saved);
            (t, *dt) = (next, size);
        }
        grid.end_few();
        if grid.steps.len() > before {
            let (states, slopes) = grid.last_few();
            y0.copy_from_slice(&states[..D]);
            y1.copy_from_slice(&states[D..]);
            k[..slopes.len()].copy_from_slice(slopes);
            let last = grid.steps.last().expect("one was taken");
            (*t0, *h, *t1) = (last.t0, last.h, last.t1);
            (frame.has_first, frame.has_dense) = (true, true);
        }
        saved
    }
}
