//! Learning rates that change in the course of training.

use crate::error::Result;
use crate::state::{Persist, State};

/// A learning rate for each step, counted from 0. It is a function of the step alone, so there is
/// nothing to save but the number of the step.
///
/// ```
/// use costate_nn::{Adam, Cosine, Optimiser, Schedule, Warmup};
///
/// let schedule = Warmup::new(10, Cosine::new(1e-2, 0.0, 90));
/// let mut adam = Adam::<f32>::new(0.0);
/// for step in 0..100 {
///     adam.set_rate(schedule.rate(step));
///     // …
/// }
/// assert_eq!(schedule.rate(9), 1e-2);
/// assert_eq!(schedule.rate(55), 5e-3);
/// assert_eq!(schedule.rate(100), 0.0);
/// ```
pub trait Schedule {
    /// The learning rate of a step.
    fn rate(&self, step: u64) -> f64;
}

/// The same rate always.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Constant(
    /// The rate.
    pub f64,
);

impl Schedule for Constant {
    fn rate(&self, _step: u64) -> f64 {
        self.0
    }
}

/// From a rate to another along half a cosine (I. Loshchilov, F. Hutter, arXiv 1608.03983), and
/// then that: `end + (start - end) (1 + cos(π step/steps))/2`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cosine {
    start: f64,
    end: f64,
    steps: u64,
}

impl Cosine {
    /// From `start` to `end` in as many steps.
    pub fn new(start: f64, end: f64, steps: u64) -> Cosine {
        Cosine { start, end, steps }
    }
}

impl Schedule for Cosine {
    fn rate(&self, step: u64) -> f64 {
        if step >= self.steps {
            return self.end;
        }
        let angle = std::f64::consts::PI * step as f64 / self.steps as f64;
        self.end + (self.start - self.end) * (1.0 + angle.cos()) / 2.0
    }
}

/// A rate that is multiplied by a factor after every so many steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepDecay {
    start: f64,
    factor: f64,
    every: u64,
}

impl StepDecay {
    /// From `start`, multiplied by `factor` after `every` steps.
    ///
    /// # Panics
    /// If `every` is 0.
    #[track_caller]
    pub fn new(start: f64, factor: f64, every: u64) -> StepDecay {
        assert!(every > 0, "StepDecay: a factor after every 0 steps");
        StepDecay { start, factor, every }
    }
}

impl Schedule for StepDecay {
    fn rate(&self, step: u64) -> f64 {
        self.start * self.factor.powf((step / self.every) as f64)
    }
}

/// A rate that grows evenly to the first of another schedule, which then follows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warmup<S> {
    steps: u64,
    then: S,
}

impl<S: Schedule> Warmup<S> {
    /// In as many steps, of which the last has the full rate.
    pub fn new(steps: u64, then: S) -> Warmup<S> {
        Warmup { steps, then }
    }
}

impl<S: Schedule> Schedule for Warmup<S> {
    fn rate(&self, step: u64) -> f64 {
        match step.checked_sub(self.steps) {
            Some(step) => self.then.rate(step),
            None => self.then.rate(0) * ((step + 1) as f64 / self.steps as f64),
        }
    }
}

/// A rate that is multiplied by a factor when a loss has not fallen for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct Plateau {
    rate: f64,
    factor: f64,
    patience: u64,
    best: f64,
    since: u64,
}

impl Plateau {
    /// From `rate`, multiplied by `factor` after more than `patience` losses in a row that are no
    /// new best.
    pub fn new(rate: f64, factor: f64, patience: u64) -> Plateau {
        Plateau { rate, factor, patience, best: f64::INFINITY, since: 0 }
    }

    /// Takes note of a loss, and returns the rate from now on. NaN is no new best.
    pub fn observe(&mut self, loss: f64) -> f64 {
        if loss < self.best {
            (self.best, self.since) = (loss, 0);
        } else {
            self.since += 1;
            if self.since > self.patience {
                (self.rate, self.since) = (self.rate * self.factor, 0);
            }
        }
        self.rate
    }

    /// The rate now.
    pub fn rate(&self) -> f64 {
        self.rate
    }
}

impl Persist for Plateau {
    fn store(&self, state: &mut State) {
        state.put("plateau", &[self.rate, self.best]);
        state.put_integers("since", &[self.since]);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let numbers = state.get("plateau", Some(2))?;
        (self.rate, self.best) = (numbers[0], numbers[1]);
        self.since = state.integers("since", Some(1))?[0];
        Ok(())
    }
}
