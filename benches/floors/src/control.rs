//! The sizes of steps, as costate's default controller chooses them for a method of order 5(4).

/// Tolerances, and how much shorter a step is than the error asks for.
#[derive(Clone, Copy)]
pub struct Control {
    pub rtol: f64,
    pub atol: f64,
    pub safety: f64,
}

/// How many steps there were, and evaluations of the field.
#[derive(Clone, Copy, Default)]
pub struct Steps {
    pub accepted: usize,
    pub rejected: usize,
    pub f_evals: usize,
}

impl Control {
    pub fn new(rtol: f64, atol: f64) -> Control {
        Control { rtol, atol, safety: 0.9 }
    }

    /// The tolerances, or others with their ratio.
    pub fn with_rtol(self, rtol: Option<f64>) -> Control {
        let rtol = rtol.unwrap_or(self.rtol);
        Control { rtol, atol: self.atol / self.rtol * rtol, ..self }
    }

    /// The next step over this one, which had the square `square` of its error.
    pub fn factor(&self, square: f64, rejected_before: bool) -> f64 {
        if square == 0.0 {
            return if rejected_before { 1.0 } else { 10.0 };
        }
        let most = if rejected_before { 1.0 } else { 10.0 };
        (self.safety * power(square)).clamp(0.2, 10.0).min(most)
    }

    /// The next try over this one, which was rejected.
    pub fn shorter(&self, square: f64) -> f64 {
        if square.is_finite() { (self.safety * power(square)).clamp(0.2, 0.9) } else { 0.2 }
    }

    /// The first guess of the first step (E. Hairer, S. P. Nørsett, G. Wanner, *Solving Ordinary
    /// Differential Equations I*, II.4), from the norms of the state and its slope.
    pub fn first_guess(d0: f64, d1: f64, span: f64) -> f64 {
        if d0 < 1e-5 || d1 < 1e-5 { 1e-6f64.min(span) } else { (0.01 * d0 / d1).min(span) }
    }

    /// The first step, from the norm of the difference of slopes over the guess.
    pub fn first_step(guess: f64, d1: f64, d2: f64, span: f64) -> f64 {
        let largest = d1.max(d2);
        let step =
            if largest <= 1e-15 { (1e-3 * guess).max(1e-6) } else { (0.01 / largest).powf(0.2) };
        step.min(100.0 * guess).min(span)
    }
}

/// `x^(-1/10)`.
fn power(x: f64) -> f64 {
    (-0.1 * x.ln()).exp()
}

/// The end of a step of about `h`, so that no tiny step is left before `end`.
pub fn clip(t: f64, h: f64, end: f64) -> f64 {
    if 1.01 * h < end - t { t + h } else { end }
}

/// The mean square of an error beside the states before and after it; the length is a multiple of eight.
#[inline]
pub fn mean_square<T: Copy + Into<f64>>(control: &Control, e: &[T], a: &[T], b: &[T]) -> f64 {
    let mut lanes = [0.0; 8];
    let chunks = e.as_chunks::<8>().0.iter().zip(a.as_chunks::<8>().0).zip(b.as_chunks::<8>().0);
    for ((e, a), b) in chunks {
        for i in 0..8 {
            let (e, a, b): (f64, f64, f64) = (e[i].into(), a[i].into(), b[i].into());
            let ratio = e / (control.atol + control.rtol * a.abs().max(b.abs()));
            lanes[i] += ratio * ratio;
        }
    }
    lanes.iter().sum::<f64>() / e.len() as f64
}
