//! Optimisers: from a gradient to a step.

use costate_ops::Real;

/// Changes parameters along a gradient. Both are the whole arena of a [`Params`](crate::Params).
pub trait Optimiser<T: Real> {
    /// Takes one step.
    ///
    /// # Panics
    /// If the lengths differ from each other or from those of earlier steps.
    fn update(&mut self, params: &mut [T], gradient: &[T]);
}

/// Stochastic gradient descent with momentum: `v ← μ v + g`, `θ ← θ - rate · v`.
#[derive(Clone, Debug)]
pub struct Sgd<T: Real> {
    rate: f64,
    momentum: f64,
    velocity: Vec<T>,
}

impl<T: Real> Sgd<T> {
    /// With the given learning rate and no momentum.
    pub fn new(rate: f64) -> Sgd<T> {
        Sgd { rate, momentum: 0.0, velocity: Vec::new() }
    }

    /// With momentum `μ`.
    pub fn momentum(mut self, momentum: f64) -> Sgd<T> {
        self.momentum = momentum;
        self
    }

    /// Changes the learning rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Optimiser<T> for Sgd<T> {
    fn update(&mut self, params: &mut [T], gradient: &[T]) {
        assert_eq!(params.len(), gradient.len(), "Sgd: a gradient for each parameter");
        start(&mut self.velocity, params.len());
        let (rate, momentum) = (T::from_f64(self.rate), T::from_f64(self.momentum));
        for ((x, &g), v) in params.iter_mut().zip(gradient).zip(&mut self.velocity) {
            *v = momentum * *v + g;
            *x -= rate * *v;
        }
    }
}

/// Adam (D. P. Kingma, J. Ba, arXiv 1412.6980): with `m` and `v` running means of `g` and `g²`,
/// corrected for their start at 0, `θ ← θ - rate · m / (√v + ε)`.
#[derive(Clone, Debug)]
pub struct Adam<T: Real> {
    rate: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
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

    /// Changes the learning rate.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }
}

impl<T: Real> Optimiser<T> for Adam<T> {
    fn update(&mut self, params: &mut [T], gradient: &[T]) {
        assert_eq!(params.len(), gradient.len(), "Adam: a gradient for each parameter");
        start(&mut self.mean, params.len());
        start(&mut self.square, params.len());
        self.steps += 1;
        let (b1, b2) = (T::from_f64(self.beta1), T::from_f64(self.beta2));
        let (c1, c2) = (T::from_f64(1.0 - self.beta1), T::from_f64(1.0 - self.beta2));
        let m_scale = T::from_f64(self.rate / (1.0 - self.beta1.powi(self.steps)));
        let v_scale = T::from_f64(1.0 / (1.0 - self.beta2.powi(self.steps)));
        let epsilon = T::from_f64(self.epsilon);
        let running = self.mean.iter_mut().zip(&mut self.square);
        for ((x, &g), (m, v)) in params.iter_mut().zip(gradient).zip(running) {
            *m = b1 * *m + c1 * g;
            *v = b2 * *v + c2 * g * g;
            *x -= m_scale * *m / ((v_scale * *v).sqrt() + epsilon);
        }
    }
}

/// Makes running sums as long as the parameters, at the first step.
#[track_caller]
fn start<T: Real>(sums: &mut Vec<T>, len: usize) {
    if sums.is_empty() {
        sums.resize(len, T::zero());
    }
    assert_eq!(sums.len(), len, "the number of parameters has changed since the first step");
}
