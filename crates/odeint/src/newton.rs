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

use costate_ops::Buffer;

use crate::Real;
use crate::dirk::DirkTableau;
use crate::error::FieldError;
use crate::field::Field;
use crate::linear::Matrix;
use crate::options::Options;
use crate::step::combine;

/// Iterations of a stage with one Jacobian.
pub(crate) const ITERATIONS: usize = 12;
/// How often a stage may have a new Jacobian.
pub(crate) const REFRESHES: usize = 3;
/// The iteration is slow if it needs more further iterations than this.
const SLOW: i32 = 5;

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Converged,
    /// The number of the stage that does not converge.
    Diverged(usize),
}

/// When iterations end: updates as large as rounding, where one may end if it gets no closer, and where
/// it may if it gets no closer with a new Jacobian either.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    limit: f64,
    floor: f64,
    enough: f64,
    /// The size at which the absolute tolerance takes over from the relative one.
    least: f64,
}

impl Limits {
    pub fn new<T: Real>(options: &Options) -> Limits {
        let rtol = options.rtol.max(1e-10);
        let epsilon = T::EPSILON.as_f64();
        let floor = 1e4 * epsilon;
        let enough = (1e-3 * rtol).max(floor);
        Limits { limit: 32.0 * epsilon, floor, enough, least: options.atol / rtol }
    }

    /// Writes how updates of slopes are measured: `hγ` relative to the state, or to the size at which the
    /// absolute tolerance takes over.
    #[inline(always)]
    pub fn measure<T: Real>(&self, y0: &[T], hg: f64, scale: &mut [T]) {
        let largest = || y0.iter().map(|y| y.as_f64().abs()).fold(0.0, f64::max);
        for (scale, y) in scale.iter_mut().zip(y0) {
            let mut size = y.as_f64().abs() + self.least;
            if size == 0.0 {
                size = largest();
            }
            *scale = T::from_f64(hg / if size > 0.0 { size } else { 1.0 });
        }
    }

    /// Begins to watch an iteration.
    #[inline(always)]
    pub fn watch(&self) -> Watch {
        Watch { limits: *self, last: f64::INFINITY }
    }
}

/// How an iteration converges.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    limits: Limits,
    /// The size of the last update; infinite before the first one.
    last: f64,
}

/// What an update says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was the last one.
    Done,
    Again,
    /// Convergence is slow.
    Slow,
    /// It is not finite.
    Lost,
}

impl Watch {
    /// Judges an update by its size.
    #[inline(always)]
    pub fn judge(&mut self, update: f64) -> Verdict {
        let Limits { limit, floor, .. } = self.limits;
        let last = std::mem::replace(&mut self.last, update);
        if !update.is_finite() {
            return Verdict::Lost;
        }
        if last == f64::INFINITY {
            // How fast it converges is not known yet. The factor of another stage says little where the
            // Jacobian changes with time.
            return if update <= limit { Verdict::Done } else { Verdict::Again };
        }
        // With the rate r of convergence, the part of the update that is the error after it is r / (1 - r).
        if update * update <= limit * (last - update) {
            return Verdict::Done;
        }
        // Rounding keeps it from getting closer.
        if update > 0.3 * last && update <= floor {
            return Verdict::Done;
        }
        // Otherwise `update r⁵` would be left, where `r` is the rate.
        let slow = update >= last || update.powi(SLOW + 1) > limit * last.powi(SLOW);
        if slow { Verdict::Slow } else { Verdict::Again }
    }

    /// Whether an iteration that gets no closer was close enough.
    pub fn is_enough(&self) -> bool {
        self.last <= self.limits.enough
    }
}

/// The size of an update of `n` components, from the sum of the squares of its entries.
#[inline(always)]
pub(crate) fn size(sum: f64, n: usize) -> f64 {
    (sum * (1.0 / n as f64)).sqrt()
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
    limits: Limits,
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
            limits: Limits::default(),
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
        self.limits = Limits::new::<T>(options);
        self.limits.measure(y0, hg, &mut self.scale);
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
        let mut watch = self.limits.watch();
        for refreshes in 0..=REFRESHES {
            for _ in 0..ITERATIONS {
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
                match watch.judge(size(sum.as_f64(), n)) {
                    Verdict::Done => return Ok(true),
                    Verdict::Again => {}
                    Verdict::Slow => break,
                    Verdict::Lost => return Ok(false),
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
                watch = self.limits.watch();
            }
        }
        Ok(watch.is_enough())
    }
}
