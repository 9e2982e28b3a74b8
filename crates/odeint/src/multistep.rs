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
//!
//! In a solve that is differentiated each step stands alone: `δ` is found to rounding, as the stages
//! of Runge–Kutta methods are, with a Jacobian of its own. So a step follows from the table, its
//! size and its order, and can be taken again to the same bits.

use costate_ops::Buffer;

use crate::Real;
use crate::control::error_norm;
use crate::differences::{Differences, HIGHEST, KAPPA, Orders, ROWS, alpha, factor, gamma};
use crate::error::FieldError;
use crate::field::Field;
use crate::linear::Matrix;
use crate::newton::Newton;
use crate::options::Options;

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

/// The error of order `k` as a multiple of the difference of order `k + 1`.
fn error_constant(k: usize) -> f64 {
    if k > HIGHEST { 0.0 } else { KAPPA[k] * gamma(k) + 1.0 / (k + 1) as f64 }
}

/// What is remembered of a solve.
#[derive(Clone, Debug)]
pub(crate) struct Multistep<T: Real> {
    matrix: Matrix<T>,
    /// What finds the correction of a step that stands alone.
    alone: Option<Box<Newton<T>>>,
    differences: Differences<T>,
    /// The size of the steps that the differences are for, or 0 if there are none.
    size: f64,
    /// That of the step at hand.
    tried: f64,
    orders: Orders,
    /// Those of the last step.
    taken: Orders,
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
            alone: None,
            differences: Differences::new(n),
            size: 0.0,
            tried: 0.0,
            orders: Orders::default(),
            taken: Orders::default(),
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

    /// Has each step stand alone.
    pub fn stand_alone(&mut self) {
        let n = self.delta.len();
        self.alone.get_or_insert_with(|| Box::new(Newton::new(n)));
    }

    /// Begins at `y`, where the slope is about `slope`.
    pub fn start(&mut self, y: &[T], slope: &[T]) {
        self.differences.line(y, slope);
        (self.size, self.orders, self.equal, self.rate) = (1.0, Orders::default(), 0, 1.0);
    }

    /// How the last step followed from the table before it.
    pub fn taken(&self) -> Orders {
        self.taken
    }

    /// Has the next step be of these orders.
    pub fn set_orders(&mut self, orders: Orders) {
        self.orders = orders;
    }

    pub fn differences(&self) -> &Differences<T> {
        &self.differences
    }

    /// The table that the next step follows from.
    pub fn table(&self) -> &[T] {
        self.differences.first(ROWS)
    }

    /// Goes on from a table, after a step of size `size`.
    pub fn resume(&mut self, size: f64, table: &[T]) {
        self.size = size;
        self.differences.first_mut(ROWS).copy_from_slice(table);
    }

    /// Begins a step of size `h` to `t`.
    pub fn resize(&mut self, h: f64, t: f64) {
        let factor = factor(h, self.size, t);
        self.differences.begin(self.orders, factor);
        self.tried = h;
        if factor.is_some() {
            self.equal = 0;
        }
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
        let k = self.orders.order;
        let c = self.tried / alpha(k);
        self.differences.predict(k, &mut self.predicted, &mut self.scratch);
        if self.alone.is_some() {
            return self.correct_alone(f, options, t, c, y);
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

    /// [`correct`](Self::correct) to rounding, from `Σ γ_j D_j / α_k` in `scratch`. The unknown is
    /// the slope at the end, as in a stage.
    fn correct_alone(
        &mut self,
        f: &mut dyn Field<T>,
        options: &Options,
        t: f64,
        c: f64,
        y: &mut [T],
    ) -> Result<bool, FieldError> {
        let newton = self.alone.as_mut().expect("a step that stands alone");
        f.eval(t, &self.predicted, &mut self.residual)?;
        newton.begin();
        let regular = newton.prepare(options, f, t, &self.predicted, &self.residual, c)?;
        self.factorisations += std::mem::take(&mut newton.factorisations);
        if !regular {
            return Ok(false);
        }
        let slope = &mut self.delta;
        costate_ops::affine(T::from_f64(1.0 / c), T::zero(), &self.scratch, slope);
        for ((base, &p), &h) in newton.base().iter_mut().zip(&*self.predicted).zip(&*self.scratch) {
            *base = p - h;
        }
        let converged = newton.stage(f, t, c, slope, y)?;
        self.factorisations += std::mem::take(&mut newton.factorisations);
        // As a difference of states it would have their rounding error.
        let step = T::from_f64(c);
        let terms = self.delta.iter_mut().zip(&*self.scratch).zip(&*self.predicted);
        for (y, ((delta, &history), &p)) in y.iter_mut().zip(terms) {
            *delta = step * *delta - history;
            *y = p + *delta;
        }
        Ok(converged)
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
        error_constant(self.orders.order) * error_norm(&self.delta, y0, y1, options, atol)
    }

    /// The difference to which the error of the last try is proportional.
    pub fn delta(&self) -> &[T] {
        &self.delta
    }

    /// How much shorter a try is after one with this error.
    pub fn factor_after_rejection(&self, error: f64) -> f64 {
        0.83 * error.powf(-1.0 / (self.orders.order + 1) as f64)
    }

    /// Goes back to order 1, which needs nothing smooth.
    pub fn lower_to_one(&mut self) {
        (self.orders.order, self.equal) = (1, 0);
    }

    /// Takes the step that was found, and writes the differences that the interpolant takes to `k`.
    pub fn advance(&mut self, h: f64, k: &mut [T]) {
        let (n, order) = (self.delta.len(), self.orders.order);
        self.differences.advance(order, &self.delta);
        (self.size, self.taken) = (h, self.orders);
        let reciprocal = T::from_f64(1.0 / h);
        let rows = &mut k[n..(HIGHEST + 1) * n];
        rows[order * n..].fill(T::zero());
        let differences = &self.differences.first(order + 1)[n..];
        costate_ops::affine(reciprocal, T::zero(), differences, &mut rows[..order * n]);
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
        let k = self.orders.order;
        self.orders.basis = k;
        if self.equal <= k {
            return None;
        }
        let measure = |order: usize, difference: usize| {
            let row = self.differences.row(difference);
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
        (self.orders, self.equal) = (Orders { order: best.1, basis: best.1 }, 0);
        Some(best.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of one component, and its solution.
    type Problem = (fn(f64, f64) -> f64, fn(f64) -> f64);

    /// The errors at 1, and at times between steps, in `n` equal steps of one order from exact states.
    fn errors(order: usize, n: usize, (field, exact): Problem) -> [f64; 2] {
        let mut f = |t: f64, y: &[f64], dy: &mut [f64]| dy[0] = field(t, y[0]);
        let h = 1.0 / n as f64;
        let mut memory = Multistep::new(1);
        memory.start(&[exact(0.0)], &[field(0.0, exact(0.0))]);
        (memory.size, memory.orders) = (h, Orders { order, basis: order });
        let mut states: Vec<f64> = (0..=order).map(|i| exact(-h * i as f64)).collect();
        for j in 0..=order {
            memory.differences.row_mut(j)[0] = states[0];
            states = states.windows(2).map(|w| w[0] - w[1]).collect();
        }
        let options = Options::tolerance(1e-13, 1e-13);
        let (mut y, mut k) = ([0.0], [0.0; 7]);
        let tableau = crate::Method::from(crate::Bdf).tableau();
        let mut between = 0.0f64;
        for i in 1..=n {
            let (t, before) = (i as f64 * h, y[0]);
            memory.resize(h, t);
            assert!(memory.correct(&mut f, &options, &[], t, &mut y).unwrap());
            memory.advance(h, &mut k);
            assert_eq!(y[0], memory.predicted[0] + memory.delta[0]);
            for theta in [0.3, 0.6] {
                let weight = |j: usize| tableau.interpolant.weight(j, theta) * k[j];
                let before = if i == 1 { exact(0.0) } else { before };
                let inside = before + h * (0..k.len()).map(weight).sum::<f64>();
                between = between.max((inside - exact(t - h + theta * h)).abs());
            }
        }
        [(y[0] - exact(1.0)).abs(), between]
    }

    #[test]
    fn orders() {
        let driven: Problem = (|t, y| y * t.cos(), |t| t.sin().exp());
        let alone: Problem = (|_, y| -y * y, |t| 1.0 / (2.0 + t));
        for problem in [driven, alone] {
            for order in 1..=HIGHEST {
                let n = [0, 200, 200, 150, 120, 100][order];
                let (coarse, fine) = (errors(order, n, problem), errors(order, 2 * n, problem));
                for (coarse, fine) in coarse.into_iter().zip(fine) {
                    let slope = (coarse / fine).log2();
                    assert!((slope - order as f64).abs() < 0.3, "{order}: {slope}");
                }
            }
        }
    }

    /// The angle of the sector about the negative axis in which a formula is stable, in degrees, from
    /// the locus of its boundary, `z = Σ_{j≤k} (1 - w)^j / j - κ_k γ_k (1 - w)^(k+1)` with `|w| = 1`.
    fn angle(k: usize, kappa: f64) -> f64 {
        let mut least = f64::MAX;
        for i in 1..20_000 {
            let phase = std::f64::consts::PI * f64::from(i) / 20_000.0;
            let (re, im) = (1.0 - phase.cos(), phase.sin());
            let mut power = (1.0, 0.0);
            let mut z = (0.0, 0.0);
            for j in 1..=k + 1 {
                power = (power.0 * re - power.1 * im, power.0 * im + power.1 * re);
                let weight = if j <= k { 1.0 / j as f64 } else { -kappa * gamma(k) };
                (z.0, z.1) = (z.0 + weight * power.0, z.1 + weight * power.1);
            }
            if z.0 < -1e-9 {
                least = least.min(f64::atan2(z.1.abs(), -z.0));
            }
        }
        least.to_degrees().min(90.0)
    }

    /// Orders 1 and 2 are A-stable, and the others in the sectors that are published (Shampine,
    /// Reichelt, table 1). `R(∞) = 0` for all: the slope's weight is that of the new state alone.
    #[test]
    fn sectors_of_stability() {
        for (k, published) in [(1, 90.0), (2, 90.0), (3, 80.0), (4, 66.0), (5, 51.0)] {
            let found = angle(k, KAPPA[k]);
            assert!((found - published).abs() < 1.0, "order {k}: {found}");
        }
        // Without κ, those of the backward differentiation formulas.
        for (k, published) in [(3, 86.03), (4, 73.35), (5, 51.84)] {
            assert!((angle(k, 0.0) - published).abs() < 0.02, "order {k}: {}", angle(k, 0.0));
        }
    }
}
