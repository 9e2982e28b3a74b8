//! The stages of a diagonally implicit step, by simplified Newton iterations.
//!
//! For a stage `M k = f(t, base + hγ k)`, where `M` is the unit matrix but in multistep methods:
//!
//! ```text
//! (M - hγ J) Δ = f(t, base + hγ k) - M k,   k ← k + Δ
//! ```
//!
//! (E. Hairer, G. Wanner, *Solving Ordinary Differential Equations II*, IV.8). `J` is the Jacobian
//! at the start of the step, and one factorisation serves all stages of a step; where iterations
//! converge slowly, `J` is evaluated again at the stage. Nothing is kept from earlier steps: a step
//! follows from its start and its end alone, so that a recorded grid taken again gives the same
//! bits. One factorisation costs about as much as the solves of the stages with it.
//!
//! **Iterations go on to rounding**, not to a part of the tolerance. The gradient of a solve is
//! that of the exact solution of the stage equations, so what is left of them would be the error of
//! the gradient; and since the iterations converge linearly with a small factor, the last digits
//! cost one or two iterations of a stage.

use costate_ops::{Buffer, Real};

use crate::dirk::DirkTableau;
use crate::error::FieldError;
use crate::field::Field;
use crate::linear::Matrix;
use crate::options::Options;
use crate::step::combine;

/// Iterations of a stage with one Jacobian.
const ITERATIONS: usize = 12;
/// How often a stage may have a new Jacobian.
const REFRESHES: usize = 3;
/// The iteration is slow if it needs more further iterations than this.
const SLOW: f64 = 5.0;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Converged,
    /// The number of the stage that does not converge.
    Diverged(usize),
}

/// Where the Jacobian is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Nowhere,
    Start,
    Stage,
}

/// The memory of the iterations.
#[derive(Clone, Debug)]
pub(crate) struct Newton<T: Real> {
    matrix: Matrix<T>,
    place: Place,
    base: Buffer<T>,
    residual: Buffer<T>,
    /// `hγ` over the size of each component.
    scale: Buffer<T>,
    /// Errors below which an iteration ends: rounding, where it may stop if it gets no closer, and
    /// where it may if it gets no closer with a new Jacobian either.
    limit: f64,
    floor: f64,
    enough: f64,
    pub factorisations: usize,
}

impl<T: Real> Newton<T> {
    pub fn new(n: usize) -> Newton<T> {
        Newton {
            matrix: Matrix::new(n),
            place: Place::Nowhere,
            base: Buffer::zeros(n),
            residual: Buffer::zeros(n),
            scale: Buffer::zeros(n),
            limit: 0.0,
            floor: 0.0,
            enough: 0.0,
            factorisations: 0,
        }
    }

    /// Forgets the Jacobian: a step from another state begins.
    pub fn begin(&mut self) {
        self.place = Place::Nowhere;
    }

    /// Whether no step from this state was tried yet.
    pub fn is_new(&self) -> bool {
        self.place == Place::Nowhere
    }

    /// What a stage starts from, without its own slope.
    pub fn base(&mut self) -> &mut [T] {
        &mut self.base
    }

    /// Prepares for the stages of a step from `y0` at `t0`, where the slope is `k0`. Returns whether
    /// their matrix is regular; a smaller step has one nearer to the unit matrix.
    pub fn prepare(
        &mut self,
        options: &Options,
        f: &mut dyn Field<T>,
        t0: f64,
        y0: &[T],
        k0: &[T],
        hg: f64,
    ) -> Result<bool, FieldError> {
        if self.place != Place::Start {
            self.matrix.evaluate(f, t0, y0, k0)?;
            self.place = Place::Start;
        }
        if !self.factor(f, hg) {
            return Ok(false);
        }
        self.measure(options, y0, hg);
        Ok(true)
    }

    /// One step from `y0` at `t0` to `t1`: the stages to `k`, the first of which is there, and the
    /// state to `y1`.
    #[expect(clippy::too_many_arguments, reason = "those of `rk_step`, and the tolerances")]
    pub fn step(
        &mut self,
        method: &DirkTableau,
        options: &Options,
        f: &mut dyn Field<T>,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
    ) -> Result<Outcome, FieldError> {
        let (n, h) = (y0.len(), t1 - t0);
        let tableau = &method.tableau;
        let hg = h * method.diagonal();
        if !self.prepare(options, f, t0, y0, &k[..n], hg)? {
            return Ok(Outcome::Diverged(1));
        }
        for i in 1..tableau.rows() {
            let (done, rest) = k.split_at_mut(i * n);
            let k = &mut rest[..n];
            combine(None, 1.0, method.predictor[i], done, k);
            combine(Some(y0), h, &tableau.a[i][..i], done, &mut self.base);
            let t = if tableau.c[i] == 1.0 { t1 } else { t0 + tableau.c[i] * h };
            if !self.stage(f, t, hg, k, y1)? {
                return Ok(Outcome::Diverged(i));
            }
        }
        let hg = T::from_f64(hg);
        let last = &k[(tableau.rows() - 1) * n..];
        for ((y, &base), &k) in y1.iter_mut().zip(&*self.base).zip(last) {
            *y = base + hg * k;
        }
        Ok(Outcome::Converged)
    }

    /// `x ← (I - hγ J)⁻¹ x` with the factors of the last step.
    pub fn filter(&mut self, x: &mut [T]) {
        self.matrix.solve(x);
    }

    /// Factors `M - hγ J`; returns whether it is regular.
    fn factor(&mut self, f: &dyn Field<T>, hg: f64) -> bool {
        self.factorisations += 1;
        self.matrix.factor(hg, f.mass())
    }

    /// Sets how updates are measured: relative to the state, or to the size at which the absolute
    /// tolerance takes over from the relative one.
    fn measure(&mut self, options: &Options, y0: &[T], hg: f64) {
        let rtol = options.rtol.max(1e-10);
        let least = options.atol / rtol;
        let largest = || y0.iter().map(|y| y.as_f64().abs()).fold(0.0, f64::max);
        for (scale, y) in self.scale.iter_mut().zip(y0) {
            let mut size = y.as_f64().abs() + least;
            if size == 0.0 {
                size = largest();
            }
            *scale = T::from_f64(hg / if size > 0.0 { size } else { 1.0 });
        }
        let epsilon = T::EPSILON.as_f64();
        self.limit = 32.0 * epsilon;
        self.floor = 1e4 * epsilon;
        self.enough = (1e-3 * rtol).max(self.floor);
    }

    /// Solves for the slope `k` of a stage from a first guess, with [`base`](Self::base) written; `y`
    /// is room for the stage. Returns whether the iteration converged.
    pub fn stage(
        &mut self,
        f: &mut dyn Field<T>,
        t: f64,
        hg: f64,
        k: &mut [T],
        y: &mut [T],
    ) -> Result<bool, FieldError> {
        let n = k.len();
        let step = T::from_f64(hg);
        let mut closest = f64::INFINITY;
        for refreshes in 0..=REFRESHES {
            let mut before = None;
            for iteration in 0..ITERATIONS {
                for ((y, &base), &k) in y.iter_mut().zip(&*self.base).zip(&*k) {
                    *y = base + step * k;
                }
                f.eval(t, y, &mut self.residual)?;
                match f.mass() {
                    None => self.residual.iter_mut().zip(&*k).for_each(|(r, &k)| *r -= k),
                    Some(mass) => mass.multiply_subtract(k, &mut self.residual),
                }
                self.matrix.solve(&mut self.residual);
                let mut sum = T::zero();
                for ((k, &r), &scale) in k.iter_mut().zip(&*self.residual).zip(&*self.scale) {
                    *k += r;
                    sum += (r * scale) * (r * scale);
                }
                let update = (sum.as_f64() / n as f64).sqrt();
                if !update.is_finite() {
                    return Ok(false);
                }
                let Some(last) = before.replace(update) else {
                    // How fast it converges is not known yet. The factor of another stage says
                    // little where the Jacobian changes with time.
                    if update <= self.limit {
                        return Ok(true);
                    }
                    continue;
                };
                let rate = update / last;
                // The part of the update that is the error after it is rate / (1 - rate).
                if rate < 1.0 && rate / (1.0 - rate) * update <= self.limit {
                    return Ok(true);
                }
                if rate > 0.3 && update <= self.floor {
                    // Rounding keeps it from getting closer.
                    return Ok(true);
                }
                closest = update;
                let further = (self.limit / update).ln() / rate.ln();
                if rate >= 1.0 || further > SLOW || iteration + 1 == ITERATIONS {
                    break;
                }
            }
            if refreshes < REFRESHES {
                for ((y, &base), &k) in y.iter_mut().zip(&*self.base).zip(&*k) {
                    *y = base + step * k;
                }
                f.eval(t, y, &mut self.residual)?;
                self.matrix.evaluate(f, t, y, &self.residual)?;
                self.place = Place::Stage;
                if !self.factor(f, hg) {
                    return Ok(false);
                }
            }
        }
        Ok(closest <= self.enough)
    }
}
