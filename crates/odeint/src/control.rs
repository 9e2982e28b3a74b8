//! The size of a step: from the error of the last one, and at the start.

use crate::Real;
use crate::options::Options;
use crate::power::{inverse_root_times, power};

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
/// default, `I = 1` and `P = D = 0`, is the classical law. Others are published as exponents `β₁ = I +
/// P + D`, `β₂ = -(P + 2D)`, `β₃ = D` of the three errors:
///
/// | controller | `k β₁` | `k β₂` | `k β₃` | for |
/// | --- | --- | --- | --- | --- |
/// | [`i`](Controller::i) | 1 | | | smooth problems; the default |
/// | [`pi42`](Controller::pi42) | 3/5 | -1/5 | | problems that are not stiff |
/// | [`pi33`](Controller::pi33) | 2/3 | -1/3 | | the same, where stability limits steps |
/// | [`pi34`](Controller::pi34) | 7/10 | -2/5 | | the same, more so |
/// | [`h211pi`](Controller::h211pi) | 1/6 | 1/6 | | smooth sequences of steps |
/// | [`h312pid`](Controller::h312pid) | 1/18 | 1/9 | 1/18 | smoother ones still |
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
    /// How much shorter a step is than the error asks for; by default 0.9. With 0.8 hardly a step is
    /// rejected, and the same accuracy costs some per cent less with most methods; but more steps are
    /// taken, which counts where they are differentiated.
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
    /// The classical law, `I = 1`: the error alone decides. It is the default.
    pub fn i() -> Controller {
        Controller::default()
    }

    /// A PI controller with the weights `I` and `P`: a step also depends on how the error changes.
    ///
    /// Where stability limits the step of an explicit method, the classical law swings about the
    /// limit and has steps rejected; a PI controller settles at it. (K. Gustafsson, ACM Trans. Math.
    /// Softw. 17 (1991) 533.)
    pub fn pi(integral: f64, proportional: f64) -> Controller {
        Controller { integral, proportional, ..Controller::default() }
    }

    /// A PID controller with the weights `I`, `P` and `D`. (G. Söderlind, Numer. Algorithms 31
    /// (2002) 281.)
    pub fn pid(integral: f64, proportional: f64, derivative: f64) -> Controller {
        Controller { integral, proportional, derivative, ..Controller::default() }
    }

    /// PI.4.2, `I = 2/5` and `P = 1/5`: a good one for problems that are not stiff. (G. Söderlind,
    /// L. Wang, J. Comput. Appl. Math. 185 (2006) 225.)
    pub fn pi42() -> Controller {
        Controller::pi(0.4, 0.2)
    }

    /// PI.3.3, `I = P = 1/3`: for explicit methods at their limit of stability. (G. Söderlind,
    /// L. Wang, J. Comput. Appl. Math. 185 (2006) 225.)
    pub fn pi33() -> Controller {
        Controller::pi(1.0 / 3.0, 1.0 / 3.0)
    }

    /// PI.3.4, `I = 3/10` and `P = 2/5`: for explicit methods at their limit of stability.
    /// (K. Gustafsson, ACM Trans. Math. Softw. 17 (1991) 533.)
    pub fn pi34() -> Controller {
        Controller::pi(0.3, 0.4)
    }

    /// The digital filter H211PI, `I = 1/3` and `P = -1/6`: errors that jump about hardly reach the
    /// sequence of steps, so that a solution depends more smoothly on tolerance and parameters.
    /// (G. Söderlind, ACM Trans. Math. Softw. 29 (2003) 1.)
    pub fn h211pi() -> Controller {
        Controller::pi(1.0 / 3.0, -1.0 / 6.0)
    }

    /// The digital filter H312PID, `I = 2/9`, `P = -2/9` and `D = 1/18`: of higher order than
    /// [`h211pi`](Controller::h211pi), and slower to follow. (G. Söderlind, ACM Trans. Math. Softw.
    /// 29 (2003) 1.)
    pub fn h312pid() -> Controller {
        Controller::pid(2.0 / 9.0, -2.0 / 9.0, 1.0 / 18.0)
    }

    /// The size of the next step after one of this size, which was accepted with this square of its error
    /// after two with those of `history`; no longer than that one if it was rejected before.
    #[inline]
    pub(crate) fn next_size(
        &self,
        size: f64,
        square: f64,
        history: [f64; 2],
        embedded_order: u32,
        rejected: bool,
    ) -> f64 {
        let most = if rejected { 1.0 } else { self.max_factor };
        if square == 0.0 {
            return size * most;
        }
        let (i, p, d) = (self.integral, self.proportional, self.derivative);
        let (least, most) = (size * self.min_factor, size * most);
        let next = if (i, p, d) == (1.0, 0.0, 0.0) {
            inverse_root_times(size * self.safety, square, 2 * (embedded_order + 1))
        } else {
            let k = 2.0 * f64::from(embedded_order + 1);
            let mut factor = self.safety * power(square, -(i + p + d) / k);
            if p != 0.0 || d != 0.0 {
                // A step without error says nothing of how errors change.
                let [before, long_before] = history.map(|square| square.max(1e-8));
                factor *= power(before, (p + 2.0 * d) / k) * power(long_before, -d / k);
            }
            size * factor
        };
        if next < least || next > most { rarely(next.clamp(least, most)) } else { next }
    }

    /// The new try divided by the old one, which was rejected with this square of its error.
    pub(crate) fn factor_after_rejection(&self, square: f64, embedded_order: u32) -> f64 {
        // A try that is not finite may have left the field's domain: a much shorter one.
        if !square.is_finite() {
            return self.min_factor;
        }
        let factor = inverse_root_times(self.safety, square, 2 * (embedded_order + 1));
        factor.clamp(self.min_factor, 0.9)
    }
}

/// A number that is hardly ever taken instead of another one. The processor then goes on with the other
/// one before it knows, where it would wait for the choice.
#[cold]
#[inline(never)]
pub(crate) fn rarely(x: f64) -> f64 {
    x
}

/// The square of the error that follows from the squares of a measure and of one of lower order, see
/// [`error_low`](crate::Tableau::error_low): `e⁴ / (e² + 0.01 e_low²)`.
#[inline]
pub(crate) fn mixed(square: f64, low: f64) -> f64 {
    // 0/0 where nothing happens.
    if square > 0.0 { square * (square / (square + 0.01 * low)) } else { square }
}

/// The root of [`mean_square`].
pub(crate) fn error_norm<T: Real>(
    e: &[T],
    a: &[T],
    b: &[T],
    options: &Options,
    each: &[f64],
) -> f64 {
    mean_square(e, a, b, options, each).sqrt()
}

/// The mean square of `e_i / (atol + rtol max(|a_i|, |b_i|))`; NaN if anything is. `each` holds
/// absolute tolerances for each component, or is empty.
///
/// By reciprocals of the tolerances, which are known before the errors.
#[inline(always)]
pub(crate) fn mean_square<T: Real>(
    e: &[T],
    a: &[T],
    b: &[T],
    options: &Options,
    each: &[f64],
) -> f64 {
    let (rtol, atol, share) = (options.rtol, options.atol, 1.0 / e.len() as f64);
    if !each.is_empty() {
        let term = |i: usize| {
            let size = a[i].abs().max(b[i].abs()).as_f64();
            let ratio = e[i].as_f64() * (1.0 / (each[i] + rtol * size));
            if e[i] == T::zero() { 0.0 } else { ratio * ratio }
        };
        return (0..e.len()).map(term).sum::<f64>() * share;
    }
    costate_ops::sum_squared_ratios(e, a, b, atol, rtol) * share
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The published exponents, of errors that are given.
    #[test]
    fn controllers_have_their_published_exponents() {
        for (controller, beta) in [
            (Controller::i(), [1.0, 0.0, 0.0]),
            (Controller::pi42(), [0.6, -0.2, 0.0]),
            (Controller::pi33(), [2.0 / 3.0, -1.0 / 3.0, 0.0]),
            (Controller::pi34(), [0.7, -0.4, 0.0]),
            (Controller::h211pi(), [1.0 / 6.0, 1.0 / 6.0, 0.0]),
            (Controller::h312pid(), [1.0 / 18.0, 1.0 / 9.0, 1.0 / 18.0]),
        ] {
            let errors = [0.3f64, 0.7, 0.2];
            let exact: f64 = errors.iter().zip(beta).map(|(e, b)| e.powf(-b / 5.0)).product();
            let [square, before, long_before] = errors.map(|e| e * e);
            let found = controller.next_size(2.0, square, [before, long_before], 4, false);
            assert!((found - 1.8 * exact).abs() < 1e-9, "{controller:?}: {found}");
        }
    }
}
