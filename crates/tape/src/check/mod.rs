//! Checking gradients: for tests of one's own functions, layers and operations.
//!
//! ```
//! use costate_tape::check;
//! use ndarray::arr1;
//!
//! let x = arr1(&[0.3, -1.2]).into_dyn();
//! check::gradient(|_, x| Ok((x[0] * x[0]).tanh()), &[x]).unwrap();
//! ```

mod blame;
#[cfg(feature = "proptest")]
pub mod strategy;

pub use blame::Culprit;

use std::fmt;

use ndarray::ArrayD;

use crate::Real;
use crate::op::Result;
use crate::tape::Tape;
use crate::var::Var;

/// How a gradient failed its check.
#[derive(Debug, Clone, PartialEq)]
pub struct Mismatch {
    /// What was compared.
    pub what: &'static str,
    /// The number of the input, and of its entry in row-major order.
    pub at: Option<(usize, usize)>,
    /// The value of reverse mode.
    pub reverse: f64,
    /// The value that it was compared with.
    pub other: f64,
    /// The difference that was allowed.
    pub allowed: f64,
    /// The operation whose rule is wrong, if one was found: each operation's rules are then checked
    /// by themselves.
    pub culprit: Option<Culprit>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.what)?;
        if let Some((input, entry)) = self.at {
            write!(f, "input {input}, entry {entry}: ")?;
        }
        write!(
            f,
            "reverse mode gives {:e}, the other way {:e}, a difference of {:.1e} where {:.1e} is allowed",
            self.reverse,
            self.other,
            (self.reverse - self.other).abs(),
            self.allowed
        )?;
        match &self.culprit {
            Some(Culprit { operation, line }) => {
                write!(f, "; the rule of `{operation}`, recorded at {line}, is wrong")
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Mismatch {}

/// Numbers in (-1, 1) that look random and are the same in every run.
struct Weights(u64);

impl Weights {
    /// The next number (Weyl sequence of the golden ratio, shuffled by a multiplication).
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn like<T: Real>(&mut self, x: &ArrayD<T>) -> ArrayD<T> {
        x.map(|_| T::from_f64(self.next()))
    }
}

/// Checks the derivative of `f` at `inputs`: reverse mode against forward mode, to rounding, and
/// against finite differences, to a relative 1e-7 (f64) or 1e-2 (f32) beside what their own error
/// estimate admits.
///
/// `f` may have any number of outputs of any shape: they are multiplied by fixed weights and
/// summed. It must be smooth near the inputs, within about 5 % of their size: at a kink, such as
/// `abs` at 0, finite differences measure something else. [`derivatives`] checks higher ones.
///
/// # Errors
/// A [`Mismatch`]: an entry at which two ways disagree, both numbers, and the line that recorded
/// the operation whose rule is wrong, if that is the reason; or the error of `f` itself.
pub fn gradient<T, F>(
    f: F,
    inputs: &[ArrayD<T>],
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    T: Real,
    F: for<'t> Fn(&'t Tape<T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
{
    let directions: Vec<ArrayD<T>> = {
        let mut weights = Weights(1);
        inputs.iter().map(|x| weights.like(x)).collect()
    };
    let loss = |inputs: &[ArrayD<T>]| -> Result<f64> {
        let tape = Tape::new();
        let vars: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
        let y = f(&tape, &vars)?.value();
        let w = Weights(2).like(&y);
        Ok(y.iter().zip(&w).map(|(y, w)| y.as_f64() * w.as_f64()).sum())
    };

    // Reverse and forward, and in which size of terms their sums are to be judged.
    let tape = Tape::new();
    let vars: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
    let y = f(&tape, &vars)?;
    let w = tape.constant(&Weights(2).like(&y.value()));
    let bars: Vec<ArrayD<T>> = tape.vjp(&[y], &[w], &vars)?.iter().map(|g| g.value()).collect();
    let dots: Vec<_> = directions.iter().map(|d| tape.constant(d)).collect();
    let dot = tape.jvp(&[y], &vars, &dots)?[0];
    let pairs = |a: &ArrayD<T>, b: &ArrayD<T>| {
        a.iter().zip(b).map(|(a, b)| a.as_f64() * b.as_f64()).collect::<Vec<_>>()
    };
    let back: Vec<f64> = bars.iter().zip(&directions).flat_map(|(g, d)| pairs(g, d)).collect();
    let forth = pairs(&dot.value(), &w.value());
    let size: f64 = back.iter().chain(&forth).map(|x| x.abs()).sum();
    let (reverse, forward) = (back.iter().sum::<f64>(), forth.iter().sum::<f64>());
    let allowed = 64.0 * T::EPSILON.as_f64() * size * (1.0 + (back.len() as f64).sqrt());
    if differ(reverse, forward, allowed) {
        let what = "reverse mode against forward mode";
        let culprit = blame::culprit(&f, inputs);
        // The entry at which they differ most, forward mode seeded with each entry by itself.
        let mut worst = Mismatch { what, at: None, reverse, other: forward, allowed, culprit };
        let mut largest = 0.0;
        for (input, bar) in bars.iter().enumerate() {
            for (entry, g) in bar.iter().enumerate() {
                let mut seed = bar.map(|_| T::zero());
                *seed.iter_mut().nth(entry).expect("as long as the gradient") = T::one();
                let dot = tape.jvp(&[y], &[vars[input]], &[tape.constant(&seed)])?[0];
                let other: f64 = pairs(&dot.value(), &w.value()).iter().sum();
                let difference = (g.as_f64() - other).abs();
                if difference > largest || difference.is_nan() {
                    largest = difference;
                    (worst.at, worst.reverse, worst.other) =
                        (Some((input, entry)), g.as_f64(), other);
                }
            }
        }
        return Err(worst.into());
    }

    let relative = if T::EPSILON.as_f64() < 1e-10 { 1e-7 } else { 1e-2 };
    let largest = bars.iter().flatten().map(|g| g.as_f64().abs()).fold(0.0, f64::max);
    for (input, bar) in bars.iter().enumerate() {
        for (entry, g) in bar.iter().enumerate() {
            let at = |h: f64| -> Result<(f64, f64)> {
                let mut moved = inputs.to_vec();
                let x = moved[input].iter_mut().nth(entry).expect("as long as its gradient");
                let there = T::from_f64(x.as_f64() + h);
                // The step that was taken is not quite the one that was asked for.
                let step = there.as_f64() - x.as_f64();
                *x = there;
                Ok((loss(&moved)?, step))
            };
            let x = inputs[input].iter().nth(entry).expect("as long as its gradient").as_f64();
            let (other, error) = difference(at, 0.04 * x.abs().max(0.1))?;
            let reverse = g.as_f64();
            let allowed = relative * largest.max(other.abs()) + 4.0 * error;
            if differ(reverse, other, allowed) {
                let what = "reverse mode against finite differences";
                let at = Some((input, entry));
                let culprit = blame::culprit(&f, inputs);
                return Err(Mismatch { what, at, reverse, other, allowed, culprit }.into());
            }
        }
    }
    Ok(())
}

/// Checks the derivatives of `f` at `inputs` up to the given order, each as [`gradient`] does: what
/// is checked at order `n` is the gradient of the one of order `n - 1`, its entries multiplied by
/// fixed weights and summed. Order 1 is [`gradient`].
///
/// `f` must have as many derivatives near the inputs.
///
/// ```
/// use costate_tape::check;
/// use ndarray::arr1;
///
/// let x = arr1(&[0.3, -1.2]).into_dyn();
/// check::derivatives(3, |_, x| Ok((x[0] * x[0]).tanh()), &[x]).unwrap();
/// ```
///
/// # Errors
/// As [`gradient`]; the first order at which something is wrong is reported.
pub fn derivatives<T, F>(
    order: usize,
    f: F,
    inputs: &[ArrayD<T>],
) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    T: Real,
    F: for<'t> Fn(&'t Tape<T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
{
    for below in 0..order {
        gradient(|tape, x| nested(tape, x, below, &f), inputs)?;
    }
    Ok(())
}

/// The weighted sum of the entries of the gradient of ... of `f`, `order` times.
fn nested<'t, T, F>(
    tape: &'t Tape<T>,
    inputs: &[Var<'t, T>],
    order: usize,
    f: &F,
) -> Result<Var<'t, T>>
where
    T: Real,
    F: Fn(&'t Tape<T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
{
    let mut y = f(tape, inputs)?;
    for _ in 0..order {
        let mut weights = Weights(3);
        let mut weighted = |x: Var<'t, T>| (x * tape.constant(&weights.like(&x.value()))).sum();
        let gradient = tape.vjp(&[y], &[y.ones_like()], inputs)?;
        y = gradient
            .into_iter()
            .map(&mut weighted)
            .reduce(|a, b| a + b)
            .unwrap_or(tape.scalar(T::zero()));
    }
    Ok(y)
}

/// Whether two numbers are further apart than allowed, or one is NaN.
fn differ(a: f64, b: f64, allowed: f64) -> bool {
    let distance = (a - b).abs();
    distance.is_nan() || distance > allowed
}

/// The derivative of a function by central differences with shrinking steps, extrapolated to step
/// 0, and an estimate of its error (C. J. F. Ridders, Adv. Eng. Softw. 4 (1982) 75).
///
/// `at` gives the value at a displacement, and the displacement that was taken, which rounding may
/// make another; `h` is the first one.
///
/// ```
/// use costate_tape::check;
///
/// let (derivative, error) = check::difference(|h| Ok(((1.0 + h).ln(), h)), 0.1)?;
/// assert!((derivative - 1.0).abs() < 1e-11 && error < 1e-10);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// Those of the function.
pub fn difference(mut at: impl FnMut(f64) -> Result<(f64, f64)>, h: f64) -> Result<(f64, f64)> {
    const SHRINK: f64 = 1.6;
    const ROWS: usize = 10;
    let mut table = [[0.0; ROWS]; ROWS];
    let (mut best, mut error) = (f64::NAN, f64::INFINITY);
    let mut h = h;
    for i in 0..ROWS {
        let ((up, up_step), (down, down_step)) = (at(h)?, at(-h)?);
        table[0][i] = (up - down) / (up_step - down_step);
        let mut factor = 1.0;
        for j in 1..=i {
            factor *= SHRINK * SHRINK;
            table[j][i] = (table[j - 1][i] * factor - table[j - 1][i - 1]) / (factor - 1.0);
            let distance = |other: f64| (table[j][i] - other).abs();
            let estimate = distance(table[j - 1][i]).max(distance(table[j - 1][i - 1]));
            if estimate <= error {
                (best, error) = (table[j][i], estimate);
            }
        }
        h /= SHRINK;
    }
    Ok((best, error))
}
