//! Steps of a few numbers by a field that takes them at once.

use costate_ops::Real;

use super::{Frame, Integrator};
use crate::control::rarely;
use crate::field::Field;
use crate::options::Stepping;
use crate::small::first;
use crate::solve::position;
use crate::stepper::{Family, Stepper, Tried};
use crate::weights::WEIGHTS;

impl<T: Real> Integrator<T> {
    /// Whether [`step_few`](Self::step_few) may take steps by this field.
    pub(crate) fn takes_few(&self, f: &impl Field<T>) -> bool {
        let Family::Explicit(explicit) = &self.family else { return false };
        explicit.few().is_some()
            && f.takes_steps()
            && f.mass().is_none()
            && self.auto.is_none()
            && self.frame.kept.is_empty()
            && self.frame.options.stepping == Stepping::Adaptive
            && self.frame.tableau.error_needs_end()
    }

    /// Takes the step that [`step`](Self::step) would, in a fraction of the time around the field's work,
    /// if it is an ordinary one: neither the first, nor one on the way to a stop, nor one that fails.
    /// Returns whether it did; else nothing was done.
    #[inline]
    pub(crate) fn step_few(&mut self, f: &mut impl Field<T>) -> bool {
        let first = !self.frame.has_end || self.dt == 0.0;
        if first || self.stop != self.end || self.is_done() {
            return false;
        }
        match self.frame.y1.len() {
            1 => self.step_few_of::<1>(f),
            2 => self.step_few_of::<2>(f),
            3 => self.step_few_of::<3>(f),
            4 => self.step_few_of::<4>(f),
            _ => false,
        }
    }

    #[inline(always)]
    fn step_few_of<const D: usize>(&mut self, f: &mut impl Field<T>) -> bool {
        let smallest = self.smallest_step();
        let Integrator { family: Family::Explicit(explicit), frame, end, dt, .. } = self else {
            return false;
        };
        let (t, evaluations) = (frame.t1, frame.stats.f_evals);
        let (left, direction) = ((*end - t).abs(), if *end > t { 1.0 } else { -1.0 });
        let (last, max_dt) = (frame.tableau.rows() - 1, frame.options.max_dt);
        std::mem::swap(&mut frame.y0, &mut frame.y1);
        let k = frame.k.as_chunks_mut::<D>().0;
        k[0] = k[last];
        // By branches, which are foreseen: a step waits for its size.
        let mut h = *dt;
        if h < smallest || h > max_dt {
            h = rarely(h.max(smallest).min(max_dt));
        }
        let mut rejections = 0;
        let next = loop {
            let stretches = h >= left || (1.01 * h >= left && left <= max_dt);
            let next = if stretches { *end } else { t + direction * h };
            let size = next - t;
            let tries = frame.stats.accepted + frame.stats.rejected;
            let ordinary = tries < frame.options.max_steps
                && size * direction > 0.0
                && size.abs() > 1.1 * smallest;
            let (small, _) = explicit.few().expect("asked before");
            let found = if ordinary { small.at_once::<T, D>(frame, f, next) } else { None };
            let Some(Some(square)) = found else {
                // As it was.
                let k = frame.k.as_chunks_mut::<D>().0;
                k[last] = k[0];
                std::mem::swap(&mut frame.y0, &mut frame.y1);
                frame.stats.f_evals = evaluations;
                frame.stats.rejected -= rejections;
                return false;
            };
            let tried = Tried { size, asked: h, square, rejections, errors: rejections };
            if square <= 1.0 && frame.y1[..D].iter().all(|y| y.is_finite()) {
                let size = explicit.next_size(frame, tried);
                *dt = if size > max_dt { rarely(max_dt) } else { size };
                break next;
            }
            frame.stats.rejected += 1;
            rejections += 1;
            h = explicit.next_try(frame, tried).max(smallest);
        };
        (frame.t0, frame.t1, frame.h) = (t, next, next - t);
        (frame.has_first, frame.has_dense) = (true, true);
        frame.stats.accepted += 1;
        true
    }

    /// Writes the states at the times from `ts[saved]` up to the end of the last step, which was one of
    /// [few](Self::step_few). Returns the place of the first time after it.
    #[inline(always)]
    pub(crate) fn save_few(&self, ts: &[f64], saved: usize, ys: &mut [T]) -> usize {
        let Some(&t) = ts.get(saved) else { return saved };
        if self.is_reached(t) { self.save_reached(ts, saved, ys) } else { saved }
    }

    /// Whether a time is not after the end of the last step.
    #[inline(always)]
    fn is_reached(&self, t: f64) -> bool {
        let Frame { t0, h, t1, .. } = self.frame;
        let before = if self.end >= self.start { t <= t1 } else { t >= t1 };
        before || position(t, t0, h, t1) == 1.0 || self.is_done()
    }

    fn save_reached(&self, ts: &[f64], mut saved: usize, ys: &mut [T]) -> usize {
        let Frame { t0, h, t1, .. } = self.frame;
        while let Some(&t) = ts.get(saved).filter(|t| self.is_reached(**t)) {
            let theta = position(t, t0, h, t1);
            match self.frame.y1.len() {
                1 => self.save_few_of::<1>(theta, &mut ys[saved..]),
                2 => self.save_few_of::<2>(theta, &mut ys[2 * saved..]),
                3 => self.save_few_of::<3>(theta, &mut ys[3 * saved..]),
                _ => self.save_few_of::<4>(theta, &mut ys[4 * saved..]),
            }
            saved += 1;
        }
        saved
    }

    /// [`Step::interpolate`](crate::Step::interpolate), to the same bits.
    #[inline(always)]
    fn save_few_of<const D: usize>(&self, theta: f64, out: &mut [T]) {
        let out: &mut [T; D] = out.first_chunk_mut().expect("room for each time");
        let frame = &self.frame;
        if theta == 1.0 {
            *out = *first(&frame.y1);
            return;
        }
        let Family::Explicit(explicit) = &self.family else { return };
        let (_, weights) = explicit.few().expect("asked before");
        let k = frame.k[..frame.tableau.rows() * D].as_chunks::<D>().0;
        let mut y: [T; D] = *first(&frame.y0);
        for (weights, k) in weights.at(theta).zip(k.chunks(WEIGHTS)) {
            for (&weight, k) in weights.iter().zip(k) {
                if weight != 0.0 {
                    let weight = T::from_f64(frame.h * weight);
                    for d in 0..D {
                        y[d] += weight * k[d];
                    }
                }
            }
        }
        *out = y;
    }
}
