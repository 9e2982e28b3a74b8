//! When to stop.

use costate_odeint::Real;

use crate::error::Result;
use crate::params::Params;
use crate::state::{Persist, State};

/// Stops training when a loss, usually on samples held out, has not fallen for a while, and keeps
/// the parameters of the best one.
///
/// ```
/// use costate_nn::{EarlyStopping, Params};
///
/// let mut params = Params::<f64>::seeded(0);
/// let x = params.zeros("x", []);
/// let mut stop = EarlyStopping::new(1);
/// for (step, loss) in [3.0, 2.0, 2.5, 2.1].into_iter().enumerate() {
///     params.values_mut()[0] = step as f64;
///     assert_eq!(stop.observe(loss, &params), step == 3);
/// }
/// stop.apply(&mut params);
/// assert_eq!(params.values(), [1.0]);
/// ```
#[derive(Clone, Debug)]
pub struct EarlyStopping<T: Real> {
    patience: u64,
    margin: f64,
    best: f64,
    since: u64,
    values: Vec<T>,
}

impl<T: Real> EarlyStopping<T> {
    /// After more than `patience` losses in a row that are no new best.
    pub fn new(patience: u64) -> EarlyStopping<T> {
        let (best, values) = (f64::INFINITY, Vec::new());
        EarlyStopping { patience, margin: 0.0, best, since: 0, values }
    }

    /// Only a loss that is lower by this is a new best.
    pub fn margin(mut self, margin: f64) -> EarlyStopping<T> {
        self.margin = margin;
        self
    }

    /// Takes note of a loss and of the parameters it belongs to; whether to stop. NaN is no new
    /// best.
    pub fn observe(&mut self, loss: f64, params: &Params<T>) -> bool {
        if loss < self.best - self.margin {
            (self.best, self.since) = (loss, 0);
            self.values.clear();
            self.values.extend_from_slice(params.values());
        } else {
            self.since += 1;
        }
        self.since > self.patience
    }

    /// The lowest loss, infinite before the first.
    pub fn best(&self) -> f64 {
        self.best
    }

    /// Sets parameters to those of the lowest loss. Does nothing if there was none.
    ///
    /// # Panics
    /// If it had another number of parameters.
    #[track_caller]
    pub fn apply(&self, params: &mut Params<T>) {
        if self.best == f64::INFINITY {
            return;
        }
        let (had, len) = (self.values.len(), params.len());
        assert!(had == len, "the best of {had} parameters for a model of {len}");
        params.values_mut().copy_from_slice(&self.values);
    }
}

impl<T: Real> Persist for EarlyStopping<T> {
    fn store(&self, state: &mut State) {
        state.put("best", &[self.best]);
        state.put("values", &self.values);
        state.put_integers("since", &[self.since]);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.best = state.get("best", Some(1))?[0];
        self.values = state.get("values", None)?;
        self.since = state.integers("since", Some(1))?[0];
        Ok(())
    }
}
