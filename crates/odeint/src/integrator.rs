//! One step after another.

use costate_ops::{Buffer, Real, lincomb};
use smallvec::SmallVec;

use crate::control;
use crate::error::{Error, ErrorKind, FieldError};
use crate::method::Method;
use crate::options::{Options, Stepping};
use crate::stats::Stats;
use crate::tableau::Tableau;

/// A vector field `dy/dt = f(t, y)`. Closures `FnMut(f64, &[T], &mut [T])` are fields.
pub trait Field<T: Real> {
    /// Writes `f(t, y)` to `dy`.
    ///
    /// # Errors
    /// Whatever the field finds wrong; it ends the solve.
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError>;
}

impl<T: Real, F: FnMut(f64, &[T], &mut [T])> Field<T> for F {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self(t, y, dy);
        Ok(())
    }
}

/// Coefficients and arrays of a linear combination.
type Terms<'a, T> = (SmallVec<[T; 16]>, SmallVec<[&'a [T]; 16]>);

/// `y + h Σ c_j k_j` as terms; slopes with coefficient 0 are left out.
fn terms<'a, T: Real>(
    y: Option<&'a [T]>,
    h: f64,
    c: &[f64],
    k: &'a [T],
    dim: usize,
) -> Terms<'a, T> {
    let mut terms: Terms<'a, T> = Default::default();
    if let Some(y) = y {
        terms.0.push(T::one());
        terms.1.push(y);
    }
    for (&c, k) in c.iter().zip(k.chunks_exact(dim)).filter(|(c, _)| **c != 0.0) {
        terms.0.push(T::from_f64(h * c));
        terms.1.push(k);
    }
    terms
}

/// `out = y + h Σ c_j k_j`; without `y`, `h Σ c_j k_j`. `k` holds the slopes one after another.
pub(crate) fn combine<T: Real>(y: Option<&[T]>, h: f64, c: &[f64], k: &[T], out: &mut [T]) {
    let (c, xs) = terms(y, h, c, k, out.len());
    lincomb(&c, &xs, out);
}

/// A step that was taken.
#[derive(Debug)]
pub struct Step<'a, T: Real> {
    /// Its start.
    pub t0: f64,
    /// Its size; negative backward in time.
    pub h: f64,
    /// Its end.
    pub t1: f64,
    /// The state at its start.
    pub y0: &'a [T],
    /// The state at its end.
    pub y1: &'a [T],
    /// The slopes, one after another. The last one is there only if the error estimate or
    /// [`Integrator::end_slope`] needed it.
    pub k: &'a [T],
    /// The method.
    pub tableau: &'static Tableau,
}

impl<T: Real> Step<'_, T> {
    /// The state at `t0 + theta h`, for `0 ≤ theta ≤ 1`.
    ///
    /// Methods whose interpolant [needs it](crate::Interpolant::needs_end) must have the end slope.
    ///
    /// # Panics
    /// If `out` is not as long as the state.
    pub fn interpolate(&self, theta: f64, out: &mut [T]) {
        let weights: SmallVec<[f64; 16]> =
            (0..self.tableau.rows()).map(|i| self.tableau.interpolant.weight(i, theta)).collect();
        combine(Some(self.y0), self.h, &weights, self.k, out);
    }

    /// The derivative of the state with respect to time at `t0 + theta h`.
    ///
    /// # Panics
    /// If `out` is not as long as the state.
    pub fn interpolate_derivative(&self, theta: f64, out: &mut [T]) {
        let weights: SmallVec<[f64; 16]> = (0..self.tableau.rows())
            .map(|i| self.tableau.interpolant.weight_derivative(i, theta))
            .collect();
        combine(None, 1.0, &weights, self.k, out);
    }
}

/// A solve that is made step by step, and can be inspected, cloned and gone on with at any time.
///
/// ```
/// use costate_odeint::{Integrator, Options, Tsit5};
///
/// let mut f = |_t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0];
/// let mut integrator = Integrator::new(Tsit5, &[1.0], 0.0, 2.0, Options::default())?;
/// while !integrator.is_done() {
///     integrator.step(&mut f)?;
/// }
/// assert!((integrator.y()[0] - (-2f64).exp()).abs() < 1e-6);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Integrator<T: Real> {
    tableau: &'static Tableau,
    options: Options,
    start: f64,
    end: f64,
    /// The state before the last step, and after it.
    t0: f64,
    t1: f64,
    h: f64,
    y0: Buffer<T>,
    y1: Buffer<T>,
    /// The slopes of the last step.
    k: Buffer<T>,
    scratch: Buffer<T>,
    /// The size that the next step should have, or 0 if there is none yet.
    dt: f64,
    /// Whether the last row of `k` is the slope at the current state.
    has_end: bool,
    stats: Stats,
}

impl<T: Real> Integrator<T> {
    /// Starts at `y0` at time `start`, to end at time `end`, which may be earlier.
    ///
    /// # Errors
    /// If the state is empty or not finite, or the times or options make no sense.
    pub fn new(
        method: impl Into<Method>,
        y0: &[T],
        start: f64,
        end: f64,
        options: Options,
    ) -> Result<Integrator<T>, Error> {
        let tableau = method.into().tableau();
        options.check(tableau)?;
        let n = y0.len();
        let mut integrator = Integrator {
            tableau,
            options,
            start,
            end,
            t0: start,
            t1: start,
            h: 0.0,
            y0: Buffer::zeros(n),
            y1: Buffer::zeros(n),
            k: Buffer::zeros(n * tableau.rows()),
            scratch: Buffer::zeros(n),
            dt: 0.0,
            has_end: false,
            stats: Stats::default(),
        };
        integrator.restart(y0, start, end)?;
        Ok(integrator)
    }

    /// Starts anew, with the same method and options and in the same memory.
    ///
    /// # Errors
    /// If the state is empty or not finite, or the times are not.
    ///
    /// # Panics
    /// If the state has another length.
    pub fn restart(&mut self, y0: &[T], start: f64, end: f64) -> Result<(), Error> {
        if y0.is_empty() {
            return Err(ErrorKind::EmptyState.into());
        }
        if let Some(index) = [start, end].iter().position(|t| !t.is_finite()) {
            return Err(ErrorKind::NonFiniteTime { index }.into());
        }
        if let Some(component) = y0.iter().position(|y| !y.is_finite()) {
            return Err(ErrorKind::NonFinite { t: start, stage: None, component }.into());
        }
        self.y1.copy_from_slice(y0);
        (self.start, self.end) = (start, end);
        (self.t0, self.t1, self.h) = (start, start, 0.0);
        self.dt = 0.0;
        self.has_end = false;
        self.stats = Stats::default();
        Ok(())
    }

    /// The time that was reached.
    pub fn t(&self) -> f64 {
        self.t1
    }

    /// The state at [`t`](Integrator::t).
    pub fn y(&self) -> &[T] {
        &self.y1
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.t1 == self.end
    }

    /// What has been done.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The last step.
    pub fn last_step(&self) -> Step<'_, T> {
        Step {
            t0: self.t0,
            h: self.h,
            t1: self.t1,
            y0: &self.y0,
            y1: &self.y1,
            k: &self.k,
            tableau: self.tableau,
        }
    }

    /// Makes sure that the last step has its end slope, `f` at the current state.
    ///
    /// # Errors
    /// If the field fails or is not finite.
    pub fn end_slope(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        if !self.has_end {
            let last = self.k.len() - self.y1.len();
            f.eval(self.t1, &self.y1, &mut self.k[last..]).map_err(ErrorKind::Field)?;
            self.stats.f_evals += 1;
            if let Some(component) = self.k[last..].iter().position(|k| !k.is_finite()) {
                return Err(ErrorKind::NonFinite { t: self.t1, stage: Some(0), component }.into());
            }
            self.has_end = true;
        }
        Ok(())
    }

    /// Takes one step, trying as often as the tolerance demands. At the end it does nothing.
    ///
    /// # Errors
    /// If the field fails or is not finite, the step becomes too small, or too many were tried.
    /// The integrator stays at the last good state.
    pub fn step(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        if self.is_done() {
            return Ok(());
        }
        self.end_slope(f)?;
        let n = self.y1.len();
        let last = self.k.len() - n;
        // The last state becomes the first of this step; undone if the step fails.
        let mut h = match self.options.stepping {
            Stepping::Adaptive if self.dt == 0.0 => self.first_step(f)?,
            Stepping::Adaptive => self.dt,
            Stepping::Steps(steps) => (self.end - self.start).abs() / steps as f64,
            Stepping::Fixed(dt) => dt,
        };
        std::mem::swap(&mut self.y0, &mut self.y1);
        self.k.copy_within(last.., 0);
        let result = self.attempt(f, &mut h);
        if result.is_err() {
            std::mem::swap(&mut self.y0, &mut self.y1);
            self.k.copy_within(..n, last);
            self.has_end = true;
        }
        result
    }

    /// Tries from `y0` at `t1` until a step is taken.
    fn attempt(&mut self, f: &mut impl Field<T>, h: &mut f64) -> Result<(), Error> {
        let direction = if self.end > self.t1 { 1.0 } else { -1.0 };
        let mut after_rejection = false;
        loop {
            let tried = self.stats.accepted + self.stats.rejected;
            if tried >= self.options.max_steps {
                return Err(ErrorKind::MaxSteps { t: self.t1, steps: tried }.into());
            }
            let (next, step) = self.clip(*h, direction);
            self.slopes(f, self.t1, step, next)?;
            let finite = self.y1.iter().all(|y| y.is_finite());
            let Stepping::Adaptive = self.options.stepping else {
                if !finite {
                    return Err(self.not_finite(next, step));
                }
                self.accept(next, step);
                return Ok(());
            };
            let weights = self.tableau.error.expect("checked with the options");
            let embedded = self.tableau.embedded_order.expect("an estimate has an order");
            combine(None, step, weights, &self.k, &mut self.scratch);
            let error = control::error_norm(&self.scratch, &self.y0, &self.y1, &self.options);
            if finite && error <= 1.0 {
                self.accept(next, step);
                let factor = control::factor(error, embedded);
                let factor = if after_rejection { factor.min(1.0) } else { factor };
                self.dt = (step.abs() * factor).min(self.options.max_dt);
                return Ok(());
            }
            self.stats.rejected += 1;
            after_rejection = true;
            // A trial that is not finite may have left the field's domain: a much shorter one.
            let failed = !(finite && error.is_finite());
            let factor = if failed { 0.2 } else { control::factor(error, embedded).min(0.9) };
            *h = step.abs() * factor;
            // 16 units in the last place: below, t + h has hardly a digit of h.
            if *h <= 8.0 * f64::EPSILON * self.t1.abs().max(f64::MIN_POSITIVE) {
                if failed {
                    return Err(self.not_finite(next, step));
                }
                let (e, a, b) = (&self.scratch, &self.y0, &self.y1);
                let component = control::worst(e, a, b, &self.options);
                return Err(ErrorKind::StepTooSmall { t: self.t1, dt: *h, component }.into());
            }
        }
    }

    /// The end of a step of about `h`, and its size, so that the end is hit exactly and no tiny
    /// step is left before it.
    fn clip(&self, h: f64, direction: f64) -> (f64, f64) {
        let left = (self.end - self.t1).abs();
        match self.options.stepping {
            Stepping::Adaptive if 1.01 * h < left => {
                let next = self.t1 + direction * h;
                (next, next - self.t1)
            }
            // Times are computed from the start, so that rounding does not pile up.
            Stepping::Steps(steps) if self.stats.accepted + 1 < steps => {
                let fraction = (self.stats.accepted + 1) as f64 / steps as f64;
                let next = self.start + (self.end - self.start) * fraction;
                (next, next - self.t1)
            }
            Stepping::Fixed(dt) if dt < left * (1.0 - 1e-9) => {
                let next = self.start + direction * dt * (self.stats.accepted + 1) as f64;
                (next, next - self.t1)
            }
            _ => (self.end, self.end - self.t1),
        }
    }

    fn accept(&mut self, next: f64, step: f64) {
        self.t0 = self.t1;
        self.t1 = next;
        self.h = step;
        self.stats.accepted += 1;
        self.has_end = self.tableau.error_needs_end();
    }

    /// The slopes of a step from `y0`, and `y1`.
    fn slopes(&mut self, f: &mut impl Field<T>, t: f64, h: f64, end: f64) -> Result<(), Error> {
        let n = self.y0.len();
        let rows = self.tableau.rows();
        for i in 1..rows {
            let (done, rest) = self.k.split_at_mut(i * n);
            let end_row = i == rows - 1;
            let stage = if end_row { &mut self.y1 } else { &mut self.scratch };
            combine(Some(&self.y0), h, self.tableau.a[i], done, stage);
            if end_row && !self.tableau.error_needs_end() {
                break;
            }
            let time = if self.tableau.c[i] == 1.0 { end } else { t + self.tableau.c[i] * h };
            f.eval(time, stage, &mut rest[..n]).map_err(ErrorKind::Field)?;
            self.stats.f_evals += 1;
        }
        Ok(())
    }

    /// The error for a step that was not finite: where it began.
    fn not_finite(&self, end: f64, step: f64) -> Error {
        let n = self.y0.len();
        let rows = self.tableau.rows() - usize::from(!self.tableau.error_needs_end());
        let first = self.k[..rows * n].iter().position(|k| !k.is_finite());
        match first {
            Some(i) => {
                let t = self.t1 + self.tableau.c[i / n] * step;
                ErrorKind::NonFinite { t, stage: Some(i / n), component: i % n }.into()
            }
            None => {
                let component = self.y1.iter().position(|y| !y.is_finite()).unwrap_or(0);
                ErrorKind::NonFinite { t: end, stage: None, component }.into()
            }
        }
    }

    /// The size of the first step. The end slope must be there.
    fn first_step(&mut self, f: &mut impl Field<T>) -> Result<f64, Error> {
        let span = (self.end - self.t1).abs();
        let limit = self.options.max_dt.min(span);
        if let Some(dt) = self.options.dt0 {
            return Ok(dt.min(limit));
        }
        let n = self.y1.len();
        let last = self.k.len() - n;
        let norm = |x: &[T], y: &[T]| control::error_norm(x, y, y, &self.options);
        let (d0, d1) = (norm(&self.y1, &self.y1), norm(&self.k[last..], &self.y1));
        let guess = control::first_guess(d0, d1).min(span);
        let probe = guess.copysign(self.end - self.t1);
        combine(Some(&self.y1), probe, &[1.0], &self.k[last..], &mut self.scratch);
        f.eval(self.t1 + probe, &self.scratch, &mut self.k[..n]).map_err(ErrorKind::Field)?;
        self.stats.f_evals += 1;
        // The slope there, minus that here.
        let (probed, rest) = self.k.split_at(n);
        let here = &rest[last - n..];
        lincomb(&[T::one(), -T::one()], &[probed, here], &mut self.scratch);
        let d2 = control::error_norm(&self.scratch, &self.y1, &self.y1, &self.options) / guess;
        let step = control::first_step(guess, d1, d2, self.tableau.order);
        // A probe that left the field's domain says nothing.
        Ok(if step.is_finite() { step } else { guess }.min(limit))
    }
}
