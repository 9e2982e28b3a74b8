//! Gradient descent scaled by a running root mean square.

use costate_odeint::Real;

use super::{Optimiser, check, start, sums};
use crate::error::Result;
use crate::state::{Persist, State};

/// RMSprop (T. Tieleman, G. Hinton, lecture 6.5 of *Neural Networks for Machine Learning*, 2012):
/// `s ← α s + (1 - α) g²`, `v ← μ v + g / (√s + ε)`, `θ ← θ - rate · v`.
#[derive(Clone, Debug)]
pub struct RmsProp<T: Real> {
    rate: f64,
    alpha: f64,
    epsilon: f64,
    momentum: f64,
    square: Vec<T>,
    velocity: Vec<T>,
}

impl<T: Real> RmsProp<T> {
    /// With the given learning rate, `α = 0.99`, `ε = 1e-8` and no momentum.
    pub fn new(rate: f64) -> RmsProp<T> {
        let (square, velocity) = (Vec::new(), Vec::new());
        RmsProp { rate, alpha: 0.99, epsilon: 1e-8, momentum: 0.0, square, velocity }
    }

    /// With another decay rate `α` of the running mean.
    pub fn alpha(mut self, alpha: f64) -> RmsProp<T> {
        self.alpha = alpha;
        self
    }

    /// With momentum `μ`.
    pub fn momentum(mut self, momentum: f64) -> RmsProp<T> {
        self.momentum = momentum;
        self
    }
}

impl<T: Real> Optimiser<T> for RmsProp<T> {
    fn update(&mut self, params: &mut [T], gradient: &[T]) {
        check("RmsProp", params.len(), gradient.len());
        start(&mut self.square, params.len());
        start(&mut self.velocity, params.len());
        let (rate, momentum) = (T::from_f64(self.rate), T::from_f64(self.momentum));
        let (alpha, rest) = (T::from_f64(self.alpha), T::from_f64(1.0 - self.alpha));
        let epsilon = T::from_f64(self.epsilon);
        let running = self.square.iter_mut().zip(&mut self.velocity);
        for ((x, &g), (s, v)) in params.iter_mut().zip(gradient).zip(running) {
            *s = alpha * *s + rest * g * g;
            *v = momentum * *v + g / (s.sqrt() + epsilon);
            *x -= rate * *v;
        }
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Persist for RmsProp<T> {
    fn store(&self, state: &mut State) {
        state.put("rate", &[self.rate]);
        state.put("square", &self.square);
        state.put("velocity", &self.velocity);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.rate = state.get("rate", Some(1))?[0];
        [self.square, self.velocity] = sums(state, ["square", "velocity"])?;
        Ok(())
    }
}
