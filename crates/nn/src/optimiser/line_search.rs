//! A step length that satisfies the strong Wolfe conditions.

use crate::error::Result;

/// A function and its slope along a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    pub at: f64,
    pub value: f64,
    pub slope: f64,
}

/// What [`search`] asks of a step `α`: `φ(α) ≤ φ(0) + c₁ α φ'(0)` and `|φ'(α)| ≤ c₂ |φ'(0)|`.
pub(crate) struct Wolfe {
    pub c1: f64,
    pub c2: f64,
    pub evaluations: usize,
}

impl Wolfe {
    fn decreases(&self, zero: Point, p: Point) -> bool {
        p.value <= zero.value + self.c1 * p.at * zero.slope
    }

    fn is_flat(&self, zero: Point, p: Point) -> bool {
        p.slope.abs() <= -self.c2 * zero.slope
    }

    /// Finds a step by bracketing and then shrinking the bracket by cubic interpolation
    /// (J. Nocedal, S. J. Wright, *Numerical Optimization*, algorithms 3.5 and 3.6). A value that
    /// is not finite counts as too far. `None` if there is no such step within the evaluations.
    pub fn search(
        &self,
        zero: Point,
        first: f64,
        mut phi: impl FnMut(f64) -> Result<Point>,
    ) -> Result<Option<Point>> {
        let (mut before, mut step) = (zero, first);
        let mut left = self.evaluations;
        let (mut low, mut high) = loop {
            if left == 0 {
                return Ok(None);
            }
            left -= 1;
            let p = phi(step)?;
            let bad = !p.value.is_finite() || !p.slope.is_finite();
            if bad || !self.decreases(zero, p) || (before.at > 0.0 && p.value >= before.value) {
                break (before, p);
            }
            if self.is_flat(zero, p) {
                return Ok(Some(p));
            }
            if p.slope >= 0.0 {
                break (p, before);
            }
            (before, step) = (p, 2.0 * step);
        };
        // `low` is the best point that decreases enough, and a good step lies between the two.
        while left > 0 {
            left -= 1;
            let p = phi(between(low, high))?;
            let bad = !p.value.is_finite() || !p.slope.is_finite();
            if bad || !self.decreases(zero, p) || p.value >= low.value {
                high = p;
            } else {
                if self.is_flat(zero, p) {
                    return Ok(Some(p));
                }
                if p.slope * (high.at - low.at) >= 0.0 {
                    high = low;
                }
                low = p;
            }
            if (high.at - low.at).abs() <= 1e-14 * low.at.abs() {
                break;
            }
        }
        // A decrease without the slope is still a step forward.
        Ok((low.at > 0.0).then_some(low))
    }
}

/// The minimum of the cubic through two values and slopes, or the middle if that is too near an
/// end or there is none.
fn between(a: Point, b: Point) -> f64 {
    let middle = 0.5 * (a.at + b.at);
    let d1 = a.slope + b.slope - 3.0 * (a.value - b.value) / (a.at - b.at);
    let square = d1 * d1 - a.slope * b.slope;
    if !square.is_finite() || square < 0.0 {
        return middle;
    }
    let d2 = square.sqrt().copysign(b.at - a.at);
    let found = b.at - (b.at - a.at) * (b.slope + d2 - d1) / (b.slope - a.slope + 2.0 * d2);
    let (low, high) = (a.at.min(b.at), a.at.max(b.at));
    let margin = 0.1 * (high - low);
    if found >= low + margin && found <= high - margin { found } else { middle }
}
