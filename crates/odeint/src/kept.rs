//! What evaluations leave for the backward pass: those of a step while it is made, and those of all steps.
//!
//! What the evaluation at the end of a step leaves is what that at the start of the next one would, and is
//! there once. Nothing is copied from step to step: memory changes hands.

use std::mem::swap;

use costate_ops::Pages;
use smallvec::SmallVec;

use crate::Real;

/// What the evaluations of a step left, as much each; or nothing, if that is not kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kept<T: Real> {
    /// How many numbers an evaluation leaves, and how many evaluations there are.
    len: usize,
    rows: usize,
    /// That at the start of the step, those of the stages one after another, and that at its end.
    first: Pages<T>,
    stages: Pages<T>,
    end: Pages<T>,
}

impl<T: Real> Kept<T> {
    /// Makes room for `len` numbers from each of `rows` evaluations, of which the last one is at the end.
    pub fn resize(&mut self, rows: usize, len: usize) {
        (self.rows, self.len) = (rows, len);
        self.first.resize(len);
        self.stages.resize(rows.saturating_sub(2) * len);
        self.end.resize(len);
    }

    /// Whether nothing is kept.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where evaluation `i` leaves what it does.
    #[inline]
    pub fn of(&mut self, i: usize) -> &mut [T] {
        if self.len == 0 {
            &mut []
        } else if i == 0 {
            &mut self.first
        } else if i + 1 == self.rows {
            &mut self.end
        } else {
            &mut self.stages[(i - 1) * self.len..i * self.len]
        }
    }

    /// Where all of them do, or nothing.
    pub fn places(&mut self) -> SmallVec<[&mut [T]; 20]> {
        let mut places = SmallVec::new();
        if self.len > 0 {
            let stages = self.stages.chunks_exact_mut(self.len);
            places.push(&mut self.first[..]);
            places.extend(stages);
            places.push(&mut self.end[..]);
        }
        places
    }

    /// Makes the end the start of the next step; or, once more, undoes that.
    #[inline]
    pub fn begin(&mut self) {
        swap(&mut self.first, &mut self.end);
    }
}

/// What the evaluations of a step left, but that at its end.
#[derive(Clone, Debug, Default)]
struct KeptStep<T: Real> {
    first: Pages<T>,
    stages: Pages<T>,
}

/// What the evaluations of the first steps left, of as many as there is room for.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeptSteps<T: Real> {
    /// The steps, and memory for more.
    steps: Vec<KeptStep<T>>,
    /// How many there are, and whether there was no room for the one after them.
    count: usize,
    is_full: bool,
    /// What the evaluation at the end of the last one left, if it is there.
    end: Pages<T>,
    has_end: bool,
    /// How many numbers there is room for, and how many there are.
    limit: usize,
    numbers: usize,
}

impl<T: Real> KeptSteps<T> {
    /// Forgets all, but keeps the memory.
    pub fn clear(&mut self) {
        (self.count, self.is_full, self.has_end, self.numbers) = (0, false, false, 0);
    }

    /// Sets how many bytes there is room for.
    pub fn limit(&mut self, bytes: usize) {
        self.limit = bytes / size_of::<T>();
    }

    /// Takes what the evaluations of a step left, that at its end only if `with_end`, and leaves memory for the
    /// next step.
    pub fn take(&mut self, kept: &mut Kept<T>, with_end: bool) {
        if kept.is_empty() || self.is_full {
            return;
        }
        let numbers = self.numbers + kept.first.len() + kept.stages.len();
        self.is_full = numbers + kept.end.len() > self.limit;
        self.has_end = with_end && !self.is_full;
        if self.is_full {
            return;
        }
        if self.steps.len() == self.count {
            self.steps.push(KeptStep::default());
        }
        let to = &mut self.steps[self.count];
        to.first.resize(kept.first.len());
        to.stages.resize(kept.stages.len());
        swap(&mut to.first, &mut kept.first);
        swap(&mut to.stages, &mut kept.stages);
        if with_end {
            self.end.resize(kept.end.len());
            costate_ops::copy(&kept.end, &mut self.end);
        }
        (self.count, self.numbers) = (self.count + 1, numbers);
    }

    /// What evaluation `i` of step `n` left, if it is there.
    pub fn get(&self, n: usize, i: usize) -> Option<&[T]> {
        let step = self.steps[..self.count].get(n)?;
        let len = step.first.len();
        let stages = step.stages.len() / len;
        if i == 0 {
            Some(&step.first)
        } else if i <= stages {
            Some(&step.stages[(i - 1) * len..i * len])
        } else if i > stages + 1 {
            None
        } else if n + 1 < self.count {
            Some(&self.steps[n + 1].first)
        } else {
            self.has_end.then_some(&self.end)
        }
    }

    /// How many numbers there are.
    pub fn numbers(&self) -> usize {
        self.numbers + if self.has_end { self.end.len() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step whose evaluations leave numbers from `from` on, two each.
    fn step(kept: &mut Kept<f64>, from: f64) {
        for i in 1..4 {
            kept.of(i).fill(from + i as f64);
        }
    }

    #[test]
    fn an_end_is_the_start_of_the_next_step() {
        let (mut kept, mut steps) = (Kept::default(), KeptSteps::default());
        steps.limit(21 * size_of::<f64>());
        kept.resize(4, 2);
        kept.of(3).fill(0.0);
        for n in 0..4 {
            kept.begin();
            // A step that is tried again.
            step(&mut kept, 90.0);
            step(&mut kept, 3.0 * f64::from(n));
            steps.take(&mut kept, n == 2);
            // There is room for three steps of six numbers, and for the end of the last one.
            let there = usize::try_from(n).unwrap().min(2);
            assert_eq!(steps.get(there, 2), Some(&[3.0 * there as f64 + 2.0; 2][..]));
            assert_eq!(steps.numbers(), 6 * (there + 1) + if n == 2 { 2 } else { 0 });
        }
        for n in 0..3 {
            for i in 0..3 {
                assert_eq!(steps.get(n, i), Some(&[(3 * n + i) as f64; 2][..]));
            }
        }
        assert_eq!(steps.get(1, 3), Some(&[6.0; 2][..]));
        assert_eq!((steps.get(2, 3), steps.get(3, 0), steps.get(0, 4)), (None, None, None));
        steps.clear();
        step(&mut kept, 1.0);
        steps.take(&mut kept, true);
        assert_eq!(steps.get(0, 3), Some(&[4.0; 2][..]));
    }

    #[test]
    fn a_step_that_fails_leaves_its_start() {
        let mut kept = Kept::<f64>::default();
        assert!(kept.is_empty() && kept.of(2).is_empty());
        kept.resize(2, 1);
        kept.of(1)[0] = 1.0;
        kept.begin();
        assert_eq!(kept.of(0), [1.0]);
        kept.of(1)[0] = 2.0;
        kept.begin();
        assert_eq!(kept.of(1), [1.0]);
    }
}
