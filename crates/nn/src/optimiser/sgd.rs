//! Stochastic gradient descent.

use costate_odeint::Real;

use super::{Optimiser, check, start, sums};
use crate::error::Result;
use crate::state::{Persist, State};

/// Stochastic gradient descent with momentum: `v ← μ v + g`, `θ ← θ - rate · v`.
///
/// With Nesterov's momentum the last is `θ ← θ - rate · (g + μ v)` (I. Sutskever et al., ICML
/// 2013); with a decay of weights `g` is `∂L/∂θ + decay · θ`.
#[derive(Clone, Debug)]
pub struct Sgd<T: Real> {
    rate: f64,
    momentum: f64,
    nesterov: bool,
    decay: f64,
    velocity: Vec<T>,
}

impl<T: Real> Sgd<T> {
    /// With the given learning rate and no momentum.
    pub fn new(rate: f64) -> Sgd<T> {
        Sgd { rate, momentum: 0.0, nesterov: false, decay: 0.0, velocity: Vec::new() }
    }

    /// With momentum `μ`.
    pub fn momentum(mut self, momentum: f64) -> Sgd<T> {
        self.momentum = momentum;
        self
    }

    /// With Nesterov's momentum `μ`.
    pub fn nesterov(mut self, momentum: f64) -> Sgd<T> {
        (self.momentum, self.nesterov) = (momentum, true);
        self
    }

    /// With decay of weights.
    pub fn weight_decay(mut self, decay: f64) -> Sgd<T> {
        self.decay = decay;
        self
    }

    /// Changes the learning rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Optimiser<T> for Sgd<T> {
    fn update(&mut self, params: &mut [T], gradient: &[T]) {
        check("Sgd", params.len(), gradient.len());
        start(&mut self.velocity, params.len());
        let (rate, momentum) = (T::from_f64(self.rate), T::from_f64(self.momentum));
        let decay = T::from_f64(self.decay);
        for ((x, &g), v) in params.iter_mut().zip(gradient).zip(&mut self.velocity) {
            let g = g + decay * *x;
            *v = momentum * *v + g;
            *x -= rate * if self.nesterov { g + momentum * *v } else { *v };
        }
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Persist for Sgd<T> {
    fn store(&self, state: &mut State) {
        state.put("rate", &[self.rate]);
        state.put("velocity", &self.velocity);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.rate = state.get("rate", Some(1))?[0];
        [self.velocity] = sums(state, ["velocity"])?;
        Ok(())
    }
}
