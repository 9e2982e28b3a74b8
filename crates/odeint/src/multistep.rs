//! Numerical differentiation formulas in backward differences.
//!
//! With `D_j = ∇^j y` the backward differences of equal steps `h`, a step of order `k` is
//! (L. F. Shampine, M. W. Reichelt, SIAM J. Sci. Comput. 18 (1997) 1, section 2)
//!
//! ```text
//! y_1 = Σ_{j≤k} D_j + δ
//! M (Σ_{1≤j≤k} γ_j D_j + α_k δ) = h f(t_1, y_1),   γ_j = Σ_{i≤j} 1/i,   α_k = (1 - κ_k) γ_k
//! ```
//!
//! and `δ` is the next difference, of order `k + 1`, to which the error is proportional. Before a
//! step of another size the differences are those of the same polynomial at the new distances.
//!
//! `δ` is found by simplified Newton iterations. Unlike a Runge–Kutta stage it is found to a part of
//! the tolerance only, with Jacobians and factors from earlier steps: those of another `h / α_k` are
//! corrected as in CVODE (A. C. Hindmarsh et al., ACM Trans. Math. Softw. 31 (2005) 363, section
//! 2.1).

use costate_ops::{Buffer, Real};

use crate::control::error_norm;
use crate::error::FieldError;
use crate::field::Field;
use crate::linear::Matrix;
use crate::options::Options;

/// The highest order.
const HIGHEST: usize = 5;
/// The numbers by which the formulas differ from backward differentiation formulas.
const KAPPA: [f64; HIGHEST + 1] = [0.0, -0.185, -1.0 / 9.0, -0.0823, -0.0415, 0.0];
/// Iterations of a step with one Jacobian.
const ITERATIONS: usize = 4;
/// An iteration ends where its error is this part of the tolerance.
const ENOUGH: f64 = 0.03;
/// How much `h / α_k` may differ from that of the factors.
const SAME: f64 = 0.25;
/// After how many steps a new factorisation takes a new Jacobian.
const OLD: usize = 50;
/// A step is made longer only if it becomes longer by this factor.
const WORTH: f64 = 1.2;

/// `γ_k`.
fn gamma(k: usize) -> f64 {
    (1..=k).map(|j| 1.0 / j as f64).sum()
}

/// `α_k`.
fn alpha(k: usize) -> f64 {
    (1.0 - KAPPA[k]) * gamma(k)
}

/// The error of order `k` as a multiple of the difference of order `k + 1`.
fn error_constant(k: usize) -> f64 {
    if k > HIGHEST { 0.0 } else { KAPPA[k] * gamma(k) + 1.0 / (k + 1) as f64 }
}

/// What is remembered of a solve.
#[derive(Clone, Debug)]
pub(crate) struct Multistep<T: Real> {
    matrix: Matrix<T>,
    /// `D_0` to `D_7`.
    differences: Buffer<T>,
    /// The size of the steps that the differences are for, or 0 if there are none.
    size: f64,
    order: usize,
    /// How many steps of this size and order were taken.
    equal: usize,
    /// `h / α_k` of the factors, or 0 if there are none.
    factored: f64,
    /// How many steps the Jacobian is old, if there is one.
    age: Option<usize>,
    /// How fast iterations converge with these factors.
    rate: f64,
    predicted: Buffer<T>,
    history: Buffer<T>,
    delta: Buffer<T>,
    residual: Buffer<T>,
    scratch: Buffer<T>,
    pub factorisations: usize,
}

impl<T: Real> Multistep<T> {
    pub fn new(n: usize) -> Multistep<T> {
        let zeros = || Buffer::zeros(n);
        Multistep {
            matrix: Matrix::new(n),
            differences: Buffer::zeros(n * (HIGHEST + 3)),
            size: 0.0,
            order: 1,
            equal: 0,
            factored: 0.0,
            age: None,
            rate: 1.0,
            predicted: zeros(),
            history: zeros(),
            delta: zeros(),
            residual: zeros(),
            scratch: zeros(),
            factorisations: 0,
        }
    }

    /// Forgets earlier steps, and the Jacobian.
    pub fn forget_steps(&mut self) {
        (self.size, self.factored, self.age) = (0.0, 0.0, None);
    }

    /// Whether there is a step to go on from.
    pub fn has_history(&self) -> bool {
        self.size != 0.0
    }

    /// Begins with a step of size `h` from `y`, where the slope is about `slope`.
    pub fn start(&mut self, y: &[T], slope: &[T], h: f64) {
        let n = y.len();
        self.differences.fill(T::zero());
        self.differences[..n].copy_from_slice(y);
        let h_slope = &mut self.differences[n..2 * n];
        costate_ops::affine(T::from_f64(h), T::zero(), slope, h_slope);
        (self.size, self.order, self.equal, self.rate) = (h, 1, 0, 1.0);
    }

    /// The differences for steps of another size. What is left when times are rounded is no other
    /// size.
    pub fn resize(&mut self, h: f64, t: f64) {
        if (h - self.size).abs() <= 1e-12 * self.size.abs() + 2.0 * f64::EPSILON * t.abs() {
            return;
        }
        let (n, k, factor) = (self.predicted.len(), self.order, h / self.size);
        // Value `i` of polynomial `m` is at the new distance `i` before the end.
        let value = |i: usize, m: usize| {
            (0..m).map(|l| (l as f64 - i as f64 * factor) / (l + 1) as f64).product::<f64>()
        };
        for j in 1..=k {
            // The weights of the old differences in the new one.
            let mut weights = [0.0; HIGHEST + 1];
            let mut binomial = 1.0;
            for i in 0..=j {
                for (m, weight) in weights.iter_mut().enumerate().take(k + 1).skip(j) {
                    *weight += binomial * value(i, m);
                }
                binomial *= -((j - i) as f64) / (i + 1) as f64;
            }
            let (done, rest) = self.differences.split_at_mut((j + 1) * n);
            let row = &mut done[j * n..];
            costate_ops::affine_in_place(T::from_f64(weights[j]), T::zero(), row);
            for (later, &weight) in rest.chunks_exact(n).zip(&weights[j + 1..=k]) {
                costate_ops::axpy(T::from_f64(weight), later, row);
            }
        }
        (self.size, self.equal) = (h, 0);
    }

    /// Finds the state `y` of the step to `t`. Returns whether the iteration converged.
    pub fn correct(
        &mut self,
        f: &mut dyn Field<T>,
        options: &Options,
        atol: &[f64],
        t: f64,
        y: &mut [T],
    ) -> Result<bool, FieldError> {
        let (n, k) = (y.len(), self.order);
        let c = self.size / alpha(k);
        self.predicted.copy_from_slice(&self.differences[..n]);
        self.scratch.fill(T::zero());
        for j in 1..=k {
            let row = &self.differences[j * n..(j + 1) * n];
            costate_ops::axpy(T::one(), row, &mut self.predicted);
            costate_ops::axpy(T::from_f64(gamma(j) / alpha(k)), row, &mut self.scratch);
        }
        self.history.fill(T::zero());
        self.matrix.add_mass(f.mass(), &self.scratch, &mut self.history);
        // Rounding keeps updates from getting smaller.
        let enough = ENOUGH.max(10.0 * T::EPSILON.as_f64() / options.rtol.max(1e-300));
        let enough = enough.min(0.3);
        let mut fresh = false;
        loop {
            y.copy_from_slice(&self.predicted);
            self.delta.fill(T::zero());
            f.eval(t, y, &mut self.residual)?;
            let other = (c / self.factored - 1.0).abs() > SAME || self.factored == 0.0;
            if self.age.is_none_or(|age| other && age > OLD) {
                self.matrix.evaluate(f, t, y, &self.residual)?;
                self.age = Some(0);
                fresh = true;
            }
            if other || fresh {
                self.factorisations += 1;
                (self.factored, self.rate) = (c, 1.0);
                if !self.matrix.factor(c, f.mass()) {
                    self.factored = 0.0;
                    return Ok(false);
                }
            }
            let converged = self.iterate(f, options, atol, t, c, enough, y)?;
            if converged || fresh {
                return Ok(converged);
            }
            // Once more, with the Jacobian here; and with its factors if that is new already.
            let again = self.age != Some(0) || self.factored != c;
            if !again {
                return Ok(false);
            }
            if self.age != Some(0) {
                self.age = None;
            }
            self.factored = 0.0;
        }
    }

    /// The iterations from the predicted state, where the field is `residual`.
    #[expect(clippy::too_many_arguments, reason = "the parts of `correct`")]
    fn iterate(
        &mut self,
        f: &mut dyn Field<T>,
        options: &Options,
        atol: &[f64],
        t: f64,
        c: f64,
        enough: f64,
        y: &mut [T],
    ) -> Result<bool, FieldError> {
        let stale = T::from_f64(2.0 / (1.0 + c / self.factored));
        let step = T::from_f64(c);
        let mut before = None;
        for iteration in 0..ITERATIONS {
            if iteration > 0 {
                f.eval(t, y, &mut self.residual)?;
            }
            // (M - c J) Δ = c f - M (history + δ)
            for (r, &h) in self.residual.iter_mut().zip(&*self.history) {
                *r = step * *r - h;
            }
            costate_ops::affine(-T::one(), T::zero(), &self.delta, &mut self.scratch);
            self.matrix.add_mass(f.mass(), &self.scratch, &mut self.residual);
            self.matrix.solve(&mut self.residual);
            for ((d, r), (y, &p)) in self
                .delta
                .iter_mut()
                .zip(self.residual.iter_mut())
                .zip(y.iter_mut().zip(&*self.predicted))
            {
                *r *= stale;
                *d += *r;
                *y = p + *d;
            }
            let p = &self.predicted;
            let update = error_norm(&self.residual, p, p, options, atol);
            if !update.is_finite() {
                return Ok(false);
            }
            if let Some(last) = before.replace(update) {
                let rate = update / last;
                self.rate = rate.max(0.3 * self.rate);
                let left = (ITERATIONS - 1 - iteration) as i32;
                let hopeless = rate >= 1.0 || rate.powi(left) / (1.0 - rate) * update > enough;
                if rate >= 2.0 || (hopeless && update > enough) {
                    return Ok(false);
                }
            }
            if update == 0.0 || update * self.rate.min(1.0) <= enough {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The error measure of the step from `y0` to `y1`.
    pub fn measure(&mut self, options: &Options, atol: &[f64], y0: &[T], y1: &[T]) -> f64 {
        error_constant(self.order) * error_norm(&self.delta, y0, y1, options, atol)
    }

    /// The difference to which the error of the last try is proportional.
    pub fn delta(&self) -> &[T] {
        &self.delta
    }

    /// How much shorter a try is after one with this error.
    pub fn factor_after_rejection(&self, error: f64) -> f64 {
        0.83 * error.powf(-1.0 / (self.order + 1) as f64)
    }

    /// Goes back to order 1, which needs nothing smooth.
    pub fn lower_to_one(&mut self) {
        (self.order, self.equal) = (1, 0);
    }

    /// Takes the step that was found, and writes the differences that the interpolant takes to `k`.
    pub fn advance(&mut self, h: f64, k: &mut [T]) {
        let (n, order) = (self.delta.len(), self.order);
        let d = &mut self.differences;
        for i in 0..n {
            let last = d[(order + 1) * n + i];
            d[(order + 2) * n + i] = self.delta[i] - last;
            d[(order + 1) * n + i] = self.delta[i];
            for j in (0..=order).rev() {
                let above = d[(j + 1) * n + i];
                d[j * n + i] += above;
            }
        }
        let reciprocal = T::from_f64(1.0 / h);
        let rows = &mut k[n..(HIGHEST + 1) * n];
        rows[order * n..].fill(T::zero());
        costate_ops::affine(reciprocal, T::zero(), &d[n..(order + 1) * n], &mut rows[..order * n]);
        self.equal += 1;
        self.age = self.age.map(|age| age + 1);
    }

    /// The size and order for the next step, after one with this error; `None` to go on as before.
    pub fn choose(
        &mut self,
        error: f64,
        largest: f64,
        options: &Options,
        atol: &[f64],
        y0: &[T],
        y1: &[T],
    ) -> Option<f64> {
        let (n, k) = (y1.len(), self.order);
        if self.equal <= k {
            return None;
        }
        let measure = |order: usize, difference: usize| {
            let row = &self.differences[difference * n..(difference + 1) * n];
            error_constant(order) * error_norm(row, y0, y1, options, atol)
        };
        // A lower order is preferred, and the same one most (Shampine, Reichelt).
        let factor = |error: f64, order: usize, bias: f64| {
            (1.0 / (bias * error.powf(1.0 / (order + 1) as f64))).min(largest)
        };
        let mut best = (factor(error, k, 1.2), k);
        if k > 1 {
            let lower = factor(measure(k - 1, k), k - 1, 1.3);
            if lower > best.0 {
                best = (lower, k - 1);
            }
        }
        if k < HIGHEST {
            let higher = factor(measure(k + 1, k + 2), k + 1, 1.4);
            if higher > best.0 {
                best = (higher, k + 1);
            }
        }
        if best.0 < WORTH {
            return None;
        }
        (self.order, self.equal) = (best.1, 0);
        Some(best.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error at 1 of `y' = y cos t` in `n` equal steps of one order from exact states.
    fn error(order: usize, n: usize) -> f64 {
        let exact = |t: f64| t.sin().exp();
        let mut f = |t: f64, y: &[f64], dy: &mut [f64]| dy[0] = y[0] * t.cos();
        let h = 1.0 / n as f64;
        let mut memory = Multistep::new(1);
        memory.start(&[1.0], &[1.0], h);
        memory.order = order;
        let mut states: Vec<f64> = (0..=order).map(|i| exact(-h * i as f64)).collect();
        for j in 0..=order {
            memory.differences[j] = states[0];
            states = states.windows(2).map(|w| w[0] - w[1]).collect();
        }
        let options = Options::tolerance(1e-13, 1e-13);
        let (mut y, mut k) = ([0.0], [0.0; 7]);
        for i in 1..=n {
            let t = i as f64 * h;
            assert!(memory.correct(&mut f, &options, &[], t, &mut y).unwrap());
            memory.advance(h, &mut k);
            assert_eq!(y[0], memory.predicted[0] + memory.delta[0]);
        }
        (y[0] - exact(1.0)).abs()
    }

    #[test]
    fn orders() {
        for order in 1..=HIGHEST {
            let n = [0, 200, 200, 150, 120, 100][order];
            let slope = (error(order, n) / error(order, 2 * n)).log2();
            assert!((slope - order as f64).abs() < 0.25, "{order}: {slope}");
        }
    }

    /// Differences of a polynomial at other distances are differences of the same polynomial.
    #[test]
    fn another_size() {
        for order in 1..=HIGHEST {
            let polynomial = |t: f64| (0..=order as i32).map(|n| (t - 0.3).powi(n)).sum::<f64>();
            let fill = |memory: &mut Multistep<f64>, h: f64| {
                let mut values: Vec<f64> = (0..=order).map(|i| polynomial(-h * i as f64)).collect();
                for j in 0..=order {
                    memory.differences[j] = values[0];
                    values = values.windows(2).map(|w| w[0] - w[1]).collect();
                }
                (memory.size, memory.order) = (h, order);
            };
            for (from, to) in [(0.1, 0.2), (0.3, 0.07), (-0.1, -0.4)] {
                let (mut a, mut b) = (Multistep::new(1), Multistep::new(1));
                fill(&mut a, from);
                a.resize(to, 0.0);
                fill(&mut b, to);
                for j in 0..=order {
                    let (x, y) = (a.differences[j], b.differences[j]);
                    assert!((x - y).abs() < 1e-11, "order {order}, difference {j}: {x} {y}");
                }
            }
        }
    }
}
