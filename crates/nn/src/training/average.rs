//! Averages of the parameters over training, which often generalise better than the last ones.

use costate_odeint::Real;

use crate::error::Result;
use crate::params::Params;
use crate::state::{Persist, State};

/// The exponential moving average `a ← decay · a + (1 - decay) θ` (B. T. Polyak, A. B. Juditsky,
/// SIAM J. Control Optim. 30 (1992) 838), corrected for its start: after `n` steps it is the mean
/// with weights `decay^(n-i)`.
#[derive(Clone, Debug)]
pub struct Ema<T: Real> {
    decay: f64,
    weight: f64,
    average: Vec<T>,
}

impl<T: Real> Ema<T> {
    /// With the given decay, such as 0.999.
    ///
    /// # Panics
    /// If that is not in `[0, 1)`.
    #[track_caller]
    pub fn new(decay: f64) -> Ema<T> {
        assert!((0.0..1.0).contains(&decay), "Ema: decay {decay} is not in [0, 1)");
        Ema { decay, weight: 0.0, average: Vec::new() }
    }

    /// Takes the parameters after a step into account.
    ///
    /// # Panics
    /// If their number has changed.
    #[track_caller]
    pub fn update(&mut self, params: &Params<T>) {
        // With the sum of weights `w ← decay · w + 1`, the corrected average moves by 1/w.
        self.weight = self.decay * self.weight + 1.0;
        follow(&mut self.average, params.values(), 1.0 / self.weight);
    }

    /// Sets parameters to the average, such as those of a copy that is evaluated.
    ///
    /// # Panics
    /// If there has been no step, or another number of parameters.
    #[track_caller]
    pub fn apply(&self, params: &mut Params<T>) {
        set(&self.average, params);
    }
}

/// The plain mean of the parameters after the steps that are given to it (stochastic weight
/// averaging: P. Izmailov et al., arXiv 1803.05407).
#[derive(Clone, Debug, Default)]
pub struct Swa<T: Real> {
    count: u64,
    average: Vec<T>,
}

impl<T: Real> Swa<T> {
    /// Of none yet.
    pub fn new() -> Swa<T> {
        Swa { count: 0, average: Vec::new() }
    }

    /// Takes the parameters after a step, or an epoch, into account.
    ///
    /// # Panics
    /// If their number has changed.
    #[track_caller]
    pub fn update(&mut self, params: &Params<T>) {
        self.count += 1;
        follow(&mut self.average, params.values(), 1.0 / self.count as f64);
    }

    /// Sets parameters to the average, such as those of a copy that is evaluated.
    ///
    /// # Panics
    /// If there has been no step, or another number of parameters.
    #[track_caller]
    pub fn apply(&self, params: &mut Params<T>) {
        set(&self.average, params);
    }
}

/// `a ← a + share (θ - a)`.
#[track_caller]
fn follow<T: Real>(average: &mut Vec<T>, values: &[T], share: f64) {
    if average.is_empty() {
        average.extend_from_slice(values);
    }
    let (had, len) = (average.len(), values.len());
    assert!(had == len, "an average of {had} parameters, and now there are {len}");
    let share = T::from_f64(share);
    average.iter_mut().zip(values).for_each(|(a, &x)| *a += share * (x - *a));
}

#[track_caller]
fn set<T: Real>(average: &[T], params: &mut Params<T>) {
    let (had, len) = (average.len(), params.len());
    assert!(had == len, "an average of {had} parameters for a model of {len}");
    params.values_mut().copy_from_slice(average);
}

impl<T: Real> Persist for Ema<T> {
    fn store(&self, state: &mut State) {
        state.put("weight", &[self.weight]);
        state.put("average", &self.average);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.weight = state.get("weight", Some(1))?[0];
        self.average = state.get("average", None)?;
        Ok(())
    }
}

impl<T: Real> Persist for Swa<T> {
    fn store(&self, state: &mut State) {
        state.put_integers("count", &[self.count]);
        state.put("average", &self.average);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.count = state.integers("count", Some(1))?[0];
        self.average = state.get("average", None)?;
        Ok(())
    }
}
