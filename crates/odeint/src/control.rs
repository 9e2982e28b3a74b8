//! The size of a step: from the error of the last one, and at the start.

use costate_ops::Real;

use crate::options::Options;

/// How the size of an adaptive step follows from the errors of the last ones.
///
/// With `e₀` the error measure of the step just taken (1 is just accepted), `e₁` and `e₂` those of
/// the two before it, and `k - 1` the order of the embedded method, the new step divided by the old
/// one is
///
/// ```text
/// safety · e₀^(-(I+P+D)/k) · e₁^((P+2D)/k) · e₂^(-D/k)
/// ```
///
/// between `min_factor` and `max_factor` (G. Söderlind, ACM Trans. Math. Softw. 29 (2003) 1). The
/// default, `I = 1` and `P = D = 0`, is the classical law. `P` about 0.4 and `I` about 0.3 (a PI
/// controller) rejects fewer steps where stability limits them.
///
/// After a rejection the new try is `safety · e₀^(-1/k)` times the old one, at most 0.9, and the
/// step that is then accepted is followed by none longer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Controller {
    /// `I`, the weight of the error.
    pub integral: f64,
    /// `P`, the weight of its change.
    pub proportional: f64,
    /// `D`, the weight of the change of its change.
    pub derivative: f64,
    /// How much shorter a step is than the error asks for.
    pub safety: f64,
    /// How much shorter a step may be than the last, or the last try.
    pub min_factor: f64,
    /// How much longer a step may be than the last.
    pub max_factor: f64,
}

impl Default for Controller {
    fn default() -> Self {
        Controller {
            integral: 1.0,
            proportional: 0.0,
            derivative: 0.0,
            safety: 0.9,
            min_factor: 0.2,
            max_factor: 10.0,
        }
    }
}

impl Controller {
    /// The new step divided by the old one, which was accepted with `error`.
    pub(crate) fn factor(&self, error: f64, history: [f64; 2], embedded_order: u32) -> f64 {
        if error == 0.0 {
            return self.max_factor;
        }
        let k = f64::from(embedded_order + 1);
        let (i, p, d) = (self.integral, self.proportional, self.derivative);
        // A step without error says nothing of how errors change.
        let [before, long_before] = history.map(|e| e.max(1e-4));
        let factor = self.safety
            * error.powf(-(i + p + d) / k)
            * before.powf((p + 2.0 * d) / k)
            * long_before.powf(-d / k);
        factor.clamp(self.min_factor, self.max_factor)
    }

    /// The new try divided by the old one, which was rejected with `error`.
    pub(crate) fn factor_after_rejection(&self, error: f64, embedded_order: u32) -> f64 {
        // A try that is not finite may have left the field's domain: a much shorter one.
        if !error.is_finite() {
            return self.min_factor;
        }
        let factor = self.safety * error.powf(-1.0 / f64::from(embedded_order + 1));
        factor.clamp(self.min_factor, 0.9)
    }
}

/// The root mean square of `e_i / (atol + rtol max(|a_i|, |b_i|))`; NaN if anything is.
/// `each` holds absolute tolerances for each component, or is empty.
pub(crate) fn error_norm<T: Real>(
    e: &[T],
    a: &[T],
    b: &[T],
    options: &Options,
    each: &[f64],
) -> f64 {
    let (rtol, atol) = (options.rtol, options.atol);
    if !each.is_empty() {
        let term = |i: usize| {
            let size = a[i].abs().max(b[i].abs()).as_f64();
            let ratio = e[i].as_f64() / (each[i] + rtol * size);
            if e[i] == T::zero() { 0.0 } else { ratio * ratio }
        };
        return ((0..e.len()).map(term).sum::<f64>() / e.len() as f64).sqrt();
    }
    let term = |e: T, a: T, b: T| {
        let size = a.abs().max(b.abs()).as_f64();
        let ratio = e.as_f64() / (atol + rtol * size);
        // 0/0 where nothing happens to a component that is 0.
        if e == T::zero() { 0.0 } else { ratio * ratio }
    };
    const LANES: usize = 8;
    let mut lanes = [0.0; LANES];
    let (e_chunks, e_rest) = e.as_chunks::<LANES>();
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for ((e, a), b) in e_chunks.iter().zip(a_chunks).zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += term(e[i], a[i], b[i]);
        }
    }
    for (i, ((&e, &a), &b)) in e_rest.iter().zip(a_rest).zip(b_rest).enumerate() {
        lanes[i] += term(e, a, b);
    }
    (lanes.iter().sum::<f64>() / e.len() as f64).sqrt()
}

/// The component with the largest error.
pub(crate) fn worst<T: Real>(e: &[T], a: &[T], b: &[T], options: &Options, each: &[f64]) -> usize {
    let ratio = |i: usize| {
        let size = a[i].abs().max(b[i].abs()).as_f64();
        let atol = each.get(i).copied().unwrap_or(options.atol);
        e[i].as_f64().abs() / (atol + options.rtol * size)
    };
    (0..e.len()).max_by(|&i, &j| ratio(i).total_cmp(&ratio(j))).unwrap_or(0)
}

/// The first guess of Hairer, Nørsett, Wanner, II.4, from the sizes of the state and its slope:
/// `0.01 ‖y‖/‖f‖`.
pub(crate) fn first_guess(d0: f64, d1: f64) -> f64 {
    if d0 < 1e-5 || d1 < 1e-5 { 1e-6 } else { 0.01 * d0 / d1 }
}

/// The first step, from the first guess and the size of the second derivative that a probe with
/// it found.
pub(crate) fn first_step(guess: f64, d1: f64, d2: f64, order: u32) -> f64 {
    let largest = d1.max(d2);
    let step = if largest <= 1e-15 {
        (1e-3 * guess).max(1e-6)
    } else {
        (0.01 / largest).powf(1.0 / f64::from(order))
    };
    step.min(100.0 * guess)
}
