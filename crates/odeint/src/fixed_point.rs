//! Coupled stages by fixed-point iteration, to rounding.

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;
use crate::step::combine;
use crate::tableau::Tableau;

/// How often stages are iterated before the iteration counts as failed.
const MOST: usize = 200;

/// Watches an iteration until its changes are rounding errors: until they no longer shrink, and are
/// small (E. Hairer, C. Lubich, G. Wanner, *Geometric Numerical Integration*, VIII.6).
pub(crate) struct Watch<T> {
    rounds: usize,
    last: T,
    change: T,
    size: T,
}

impl<T: Real> Watch<T> {
    pub fn new() -> Watch<T> {
        Watch { rounds: 0, last: T::infinity(), change: T::zero(), size: T::zero() }
    }

    /// Replaces the old value by the new one, and takes note of the change.
    pub fn replace(&mut self, old: &mut [T], new: &[T]) {
        for (old, &new) in old.iter_mut().zip(new) {
            // NaN counts as largest, so that it ends the iteration.
            let change = (new - *old).abs();
            if change > self.change || change.is_nan() {
                self.change = change;
            }
            self.size = self.size.max(new.abs());
            *old = new;
        }
    }

    /// Whether a round that is over was the last one; `None` if the iteration has failed.
    pub fn finished(&mut self) -> Option<bool> {
        self.rounds += 1;
        let small = self.change <= T::from_f64(1e4) * T::EPSILON * self.size;
        // What is not finite is found where slopes are checked.
        let over = !self.change.is_finite()
            || self.change == T::zero()
            || (small && self.change >= self.last);
        self.last = self.change;
        self.change = T::zero();
        self.size = T::zero();
        if !over && self.rounds >= MOST { None } else { Some(over) }
    }

    pub fn rounds(&self) -> usize {
        self.rounds
    }
}

/// The slopes of a step with coupled stages from `y0` at `t0` to `t1`, and `h Σ b_i k_i` in
/// `increment`. The iteration starts from what `k` holds. Returns the number of rounds, `None` if
/// it failed.
#[expect(clippy::too_many_arguments, reason = "a step and its memory")]
pub(crate) fn coupled_step<T: Real>(
    tableau: &Tableau,
    f: &mut dyn Field<T>,
    t0: f64,
    t1: f64,
    y0: &[T],
    k: &mut [T],
    stage: &mut [T],
    increment: &mut [T],
) -> Result<Option<usize>, FieldError> {
    let (n, h) = (y0.len(), t1 - t0);
    let mut watch = Watch::new();
    loop {
        for i in 1..tableau.rows() - 1 {
            combine(Some(y0), h, tableau.a[i], k, stage);
            f.eval(tableau.time(i, t0, t1), stage, increment)?;
            watch.replace(&mut k[i * n..(i + 1) * n], increment);
        }
        match watch.finished() {
            None => return Ok(None),
            Some(true) => break,
            Some(false) => {}
        }
    }
    combine(None, h, tableau.b, k, increment);
    Ok(Some(watch.rounds()))
}
