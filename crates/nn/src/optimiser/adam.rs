//! Adam, and Adam with decoupled decay of weights.

use costate_odeint::Real;

use super::{Optimiser, check, start, sums};
use crate::error::{Error, Result};
use crate::state::{Persist, State};

/// Adam (D. P. Kingma, J. Ba, arXiv 1412.6980): with `m` and `v` running means of `g` and `g²`,
/// corrected for their start at 0, `θ ← θ - rate · m / (√v + ε)`.
#[derive(Clone, Debug)]
pub struct Adam<T: Real> {
    rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    decay: f64,
    steps: i32,
    mean: Vec<T>,
    square: Vec<T>,
}

impl<T: Real> Adam<T> {
    /// With the given learning rate, `β₁ = 0.9`, `β₂ = 0.999`, `ε = 1e-8`.
    pub fn new(rate: f64) -> Adam<T> {
        Adam {
            rate,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            decay: 0.0,
            steps: 0,
            mean: Vec::new(),
            square: Vec::new(),
        }
    }

    /// With other decay rates of the running means.
    pub fn betas(mut self, beta1: f64, beta2: f64) -> Adam<T> {
        (self.beta1, self.beta2) = (beta1, beta2);
        self
    }

    /// With another `ε`.
    pub fn epsilon(mut self, epsilon: f64) -> Adam<T> {
        self.epsilon = epsilon;
        self
    }

    /// Changes the learning rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Optimiser<T> for Adam<T> {
    fn update(&mut self, params: &mut [T], gradient: &[T]) {
        check("Adam", params.len(), gradient.len());
        start(&mut self.mean, params.len());
        start(&mut self.square, params.len());
        // After 2³¹ steps the corrections are 1 to rounding.
        self.steps = self.steps.saturating_add(1);
        let (b1, b2) = (T::from_f64(self.beta1), T::from_f64(self.beta2));
        let (c1, c2) = (T::from_f64(1.0 - self.beta1), T::from_f64(1.0 - self.beta2));
        let m_scale = T::from_f64(self.rate / (1.0 - self.beta1.powi(self.steps)));
        let v_scale = T::from_f64(1.0 / (1.0 - self.beta2.powi(self.steps)));
        let epsilon = T::from_f64(self.epsilon);
        let keep = T::from_f64(1.0 - self.rate * self.decay);
        let running = self.mean.iter_mut().zip(&mut self.square);
        for ((x, &g), (m, v)) in params.iter_mut().zip(gradient).zip(running) {
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *x = keep * *x - m_scale * *m / ((v_scale * *v).sqrt() + epsilon);
        }
    }

    fn rate(&self) -> f64 {
        self.rate
    }

    fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Persist for Adam<T> {
    fn store(&self, state: &mut State) {
        state.put("rate", &[self.rate]);
        state.put_integers("steps", &[self.steps as u64]);
        state.put("mean", &self.mean);
        state.put("square", &self.square);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.rate = state.get("rate", Some(1))?[0];
        let steps = state.integers("steps", Some(1))?[0];
        self.steps = i32::try_from(steps)
            .map_err(|_| Error::state(format!("\"steps\" is {steps}, more than can be")))?;
        [self.mean, self.square] = sums(state, ["mean", "square"])?;
        Ok(())
    }
}

/// [`Adam`] with decoupled decay of weights: before its step, `θ ← (1 - rate · decay) θ`
/// (I. Loshchilov, F. Hutter, arXiv 1711.05101).
#[derive(Clone, Debug)]
pub struct AdamW<T: Real>(Adam<T>);

impl<T: Real> AdamW<T> {
    /// With the given learning rate and decay, and else the defaults of [`Adam`].
    pub fn new(rate: f64, decay: f64) -> AdamW<T> {
        AdamW(Adam { decay, ..Adam::new(rate) })
    }

    /// With other decay rates of the running means.
    pub fn betas(self, beta1: f64, beta2: f64) -> AdamW<T> {
        AdamW(self.0.betas(beta1, beta2))
    }

    /// With another `ε`.
    pub fn epsilon(self, epsilon: f64) -> AdamW<T> {
        AdamW(self.0.epsilon(epsilon))
    }
}

impl<T: Real> Optimiser<T> for AdamW<T> {
    fn update(&mut self, params: &mut [T], gradient: &[T]) {
        self.0.update(params, gradient);
    }

    fn rate(&self) -> f64 {
        self.0.rate
    }

    fn set_rate(&mut self, rate: f64) {
        self.0.rate = rate;
    }
}

impl<T: Real> Persist for AdamW<T> {
    fn store(&self, state: &mut State) {
        self.0.store(state);
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.0.restore(state)
    }
}
