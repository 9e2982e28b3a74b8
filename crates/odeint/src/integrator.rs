//! One step after another.

mod multistep;
mod pair;
mod point;

use std::ops::Range;

use costate_ops::{Buffer, Real, first_not_finite, lincomb};

use self::pair::Pair;
use crate::auto::Switch;
use crate::control;
use crate::dirk::DirkTableau;
use crate::error::{Error, ErrorKind};
use crate::field::{Counted, Field};
use crate::fixed_point::coupled_step;
use crate::mass::Mass;
use crate::method::Method;
use crate::multistep::Multistep;
use crate::newton::{Newton, Outcome};
use crate::options::{Options, Stepping};
use crate::rosenbrock::Rosenbrock;
use crate::small::Terms;
use crate::stats::Stats;
use crate::step::{Step, combine, interpolant_slopes, keeping_step};
use crate::tableau::{Part, Tableau};

/// How much shorter the next try is where Newton's method diverged.
const AFTER_DIVERGENCE: f64 = 0.25;

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
    method: Method,
    tableau: &'static Tableau,
    options: Options,
    /// Absolute tolerances of each component, if they differ.
    atol: Vec<f64>,
    start: f64,
    end: f64,
    /// How many of equal steps are done.
    equal: usize,
    /// Where a step must end: at the end, or at a time before it.
    stop: f64,
    /// The state before the last step, and after it.
    t0: f64,
    t1: f64,
    h: f64,
    y0: Buffer<T>,
    y1: Buffer<T>,
    /// The slopes of the last step, then those of its interpolant.
    k: Buffer<T>,
    scratch: Buffer<T>,
    /// What the evaluations of the last step left for a backward pass, or nothing.
    kept: Buffer<T>,
    /// What rounding has left out of the state, where steps are added up with compensation.
    carry: Buffer<T>,
    /// How often the stages of the last step were iterated.
    rounds: usize,
    /// The iterations of an implicit method.
    newton: Option<Newton<T>>,
    /// The coefficients of an explicit method for a small state.
    terms: Option<Terms>,
    /// The choice of the method, if it is not given.
    auto: Option<Box<Switch<T>>>,
    /// The memory of a Rosenbrock method.
    rosenbrock: Option<Rosenbrock<T>>,
    /// The memory of a multistep method.
    multistep: Option<Box<Multistep<T>>>,
    /// The state with its companion, if the method is a reversible scheme.
    reversible: Option<Box<Pair<T>>>,
    /// The size that the next step should have, or 0 if there is none yet.
    dt: f64,
    /// The error measures of the last two steps, the later one first.
    history: [f64; 2],
    /// Whether the last row of `k` that belongs to the step is the slope at the current state.
    has_end: bool,
    /// Whether the first row is the slope at the start of the last step.
    has_first: bool,
    /// Whether the interpolant's own slopes are there.
    has_dense: bool,
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
        let method = method.into();
        options.check(method.tableau())?;
        let n = y0.len();
        let auto = matches!(method, Method::Auto).then(|| Box::new(Switch::new(&options, n)));
        let method = auto.as_ref().map_or(method, |auto| auto.method());
        let tableau = method.tableau();
        let slopes = auto.as_ref().map_or(tableau.slopes(), |auto| auto.slopes());
        let mut integrator = Integrator {
            method,
            tableau,
            options,
            atol: Vec::new(),
            start,
            end,
            equal: 0,
            stop: end,
            t0: start,
            t1: start,
            h: 0.0,
            y0: Buffer::zeros(n),
            y1: Buffer::zeros(n),
            k: Buffer::zeros(n * slopes),
            scratch: Buffer::zeros(n),
            kept: Buffer::default(),
            carry: Buffer::zeros(if tableau.coupled { n } else { 0 }),
            rounds: 1,
            newton: match method {
                Method::Implicit(_) | Method::Additive(_) => Some(Newton::new(n)),
                _ => None,
            },
            rosenbrock: match method {
                Method::Rosenbrock(_) => Some(Rosenbrock::new(n)),
                _ => None,
            },
            multistep: match method {
                Method::Multistep(_) => Some(Box::new(Multistep::new(n))),
                _ => None,
            },
            reversible: match method {
                Method::Reversible(scheme) => {
                    scheme.check()?;
                    Some(Box::new(Pair::new(scheme, n)))
                }
                _ => None,
            },
            terms: Terms::new(tableau, n),
            auto,
            dt: 0.0,
            history: [1.0; 2],
            has_end: false,
            has_first: false,
            has_dense: false,
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
        if self.tableau.is_partitioned() && !y0.len().is_multiple_of(2) {
            let (method, components) = (self.tableau.name, y0.len());
            return Err(ErrorKind::OddState { method, components }.into());
        }
        if let Some(component) = first_not_finite(y0) {
            return Err(ErrorKind::NonFinite { t: start, stage: None, component }.into());
        }
        if let Some(auto) = &mut self.auto {
            auto.restart();
            self.method = auto.method();
            self.tableau = self.method.tableau();
            self.terms = Terms::new(self.tableau, y0.len());
        }
        if let Some(pair) = &mut self.reversible {
            pair.restart();
        }
        self.y1.copy_from_slice(y0);
        (self.start, self.end, self.stop) = (start, end, end);
        self.equal = 0;
        (self.t0, self.t1, self.h) = (start, start, 0.0);
        self.dt = 0.0;
        self.history = [1.0; 2];
        if self.tableau.coupled {
            // The iteration starts from the last slopes.
            self.k.fill(T::zero());
            self.carry.fill(T::zero());
        }
        self.has_end = false;
        self.has_first = false;
        self.has_dense = false;
        self.forget_steps();
        self.stats = Stats::default();
        Ok(())
    }

    /// The method of the next step.
    pub fn method(&self) -> Method {
        self.auto.as_ref().map_or(self.method, |auto| auto.method())
    }

    /// The time that was reached.
    pub fn t(&self) -> f64 {
        self.t1
    }

    /// The state at [`t`](Integrator::t).
    pub fn y(&self) -> &[T] {
        &self.y1
    }

    /// The size that the next adaptive step is to have; 0 before the first one.
    pub fn dt(&self) -> f64 {
        self.dt
    }

    /// Has the next steps end at `t` at the latest. A time that is not between the one reached and
    /// the end stands for the end.
    pub fn stop_at(&mut self, t: f64) {
        let inside = (t - self.t1) * (self.end - t) > 0.0;
        self.stop = if inside { t } else { self.end };
    }

    /// Takes an absolute tolerance for each component instead of
    /// [`Options::atol`](crate::Options::atol).
    ///
    /// # Errors
    /// If there are not as many as components, or one is negative or not finite.
    pub fn set_atol(&mut self, atol: &[f64]) -> Result<(), Error> {
        let (tolerances, components) = (atol.len(), self.y1.len());
        if tolerances != components {
            return Err(ErrorKind::WrongTolerances { tolerances, components }.into());
        }
        if let Some(&value) = atol.iter().find(|a| !(**a >= 0.0 && a.is_finite())) {
            let expected = "finite and not negative";
            return Err(ErrorKind::BadOption { option: "atol", value, expected }.into());
        }
        if self.options.rtol == 0.0 && atol.contains(&0.0) {
            let expected = "positive in each component if `rtol` is 0";
            return Err(ErrorKind::BadOption { option: "atol", value: 0.0, expected }.into());
        }
        self.atol = atol.to_vec();
        Ok(())
    }

    /// Has the next step start anew, because the field is another one from here on: the slope is
    /// evaluated again, and the size of the step chosen as at the start.
    pub fn jump(&mut self) {
        self.has_end = false;
        self.dt = 0.0;
        self.history = [1.0; 2];
        self.carry.fill(T::zero());
        self.forget_steps();
    }

    /// Has a multistep method begin anew.
    fn forget_steps(&mut self) {
        if let Some(multistep) = &mut self.multistep {
            multistep.forget();
        }
        if let Some(pair) = &mut self.reversible {
            pair.restart();
        }
    }

    /// Goes on at a time that is next to the one reached, beyond a [`jump`](Integrator::jump).
    pub(crate) fn jump_to(&mut self, t: f64) {
        self.t1 = t;
        self.jump();
    }

    /// Goes on from another state at the time reached, as after a [`jump`](Integrator::jump).
    ///
    /// # Errors
    /// If the state is not finite; then nothing is changed.
    ///
    /// # Panics
    /// If it has another length.
    pub fn set_state(&mut self, y: &[T]) -> Result<(), Error> {
        let (found, n) = (y.len(), self.y1.len());
        assert!(found == n, "set_state: a state of length {found} instead of {n}");
        if let Some(component) = first_not_finite(y) {
            return Err(ErrorKind::NonFinite { t: self.t1, stage: None, component }.into());
        }
        self.y1.copy_from_slice(y);
        self.jump();
        Ok(())
    }

    /// Goes back to the time `t` within the last step, to the state of the interpolant there.
    ///
    /// # Panics
    /// If `t` is not in the last step, or its [slopes](Integrator::dense_slopes) are not there.
    pub fn cut(&mut self, t: f64) {
        let inside = (t - self.t0) * self.h > 0.0 && (self.t1 - t) * self.h >= 0.0;
        assert!(inside, "cut: {t} is not within the step from {} to {}", self.t0, self.t1);
        if t == self.t1 {
            return;
        }
        let mut y = std::mem::take(&mut self.scratch);
        self.last_step().interpolate((t - self.t0) / self.h, &mut y);
        self.y1.copy_from_slice(&y);
        self.scratch = y;
        // One of equal steps is still to end where it would have ended.
        let direction = if self.h > 0.0 { 1.0 } else { -1.0 };
        if self.options.stepping != Stepping::Adaptive {
            let before = std::mem::replace(&mut self.t1, self.t0);
            self.equal = self.equal.saturating_sub(1);
            if before != self.next_equal(direction) {
                self.equal += 1;
            }
        }
        self.t1 = t;
        self.has_end = false;
        self.carry.fill(T::zero());
        self.forget_steps();
    }

    /// Has steps keep what the field's evaluations leave for a backward pass, from the start on.
    pub(crate) fn keep(&mut self, f: &impl Field<T>) {
        self.kept.resize(self.tableau.rows() * f.kept_len());
    }

    /// What evaluations of the last step left. Only that of the end slope must stay there.
    pub(crate) fn kept(&mut self) -> &mut Buffer<T> {
        &mut self.kept
    }

    /// Where in `kept` that of slope `i` is.
    fn kept_range(&self, i: usize) -> Range<usize> {
        let m = self.kept.len() / self.tableau.rows();
        i * m..(i + 1) * m
    }

    /// Whether the end was reached.
    pub fn is_done(&self) -> bool {
        self.t1 == self.end
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What has been done.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The last step. It means nothing before the first one, and after one that failed.
    pub fn last_step(&self) -> Step<'_, T> {
        let slopes = if self.has_dense { self.tableau.slopes() } else { self.tableau.rows() };
        Step {
            t0: self.t0,
            h: self.h,
            t1: self.t1,
            y0: &self.y0,
            y1: &self.y1,
            k: &self.k[..slopes * self.y0.len()],
            rounds: self.rounds,
            tableau: self.tableau,
        }
    }

    /// Makes sure that the last step has its end slope, `f` at the current state.
    ///
    /// # Errors
    /// If the field fails or is not finite.
    pub fn end_slope(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        if !self.has_end {
            let (end, kept) = (self.end_range(), self.kept_range(self.tableau.rows() - 1));
            let (dy, kept) = (&mut self.k[end.clone()], &mut self.kept[kept]);
            f.eval_keeping(self.t1, &self.y1, dy, Part::All, kept).map_err(ErrorKind::Field)?;
            self.stats.f_evals += 1;
            if let Some(component) = first_not_finite(&self.k[end]) {
                return Err(ErrorKind::NonFinite { t: self.t1, stage: Some(0), component }.into());
            }
            self.has_end = true;
        }
        Ok(())
    }

    /// Makes sure that the last step has all slopes that its interpolant needs. Before the first
    /// step it does nothing.
    ///
    /// # Errors
    /// If the field fails or is not finite.
    pub fn dense_slopes(&mut self, f: &mut impl Field<T>) -> Result<(), Error> {
        let tableau = self.tableau;
        if self.h == 0.0 || self.has_dense {
            return Ok(());
        }
        if tableau.interpolant.needs_end() {
            self.end_slope(f)?;
        }
        let mut f = Counted { field: f, stats: &mut self.stats };
        if !self.has_first && tableau.interpolant.needs_first() {
            let m = self.kept.len() / tableau.rows();
            let (first, kept) = (&mut self.k[..self.y0.len()], &mut self.kept[..m]);
            f.eval_keeping(self.t0, &self.y0, first, Part::All, kept).map_err(ErrorKind::Field)?;
            if let Some(component) = first_not_finite(first) {
                return Err(ErrorKind::NonFinite { t: self.t0, stage: Some(0), component }.into());
            }
            self.has_first = true;
        }
        let (y0, k, stage) = (&self.y0, &mut self.k, &mut self.scratch);
        interpolant_slopes(tableau, &mut f, self.t0, self.t1, y0, k, stage)
            .map_err(ErrorKind::Field)?;
        let (n, own) = (y0.len(), tableau.rows() * y0.len());
        if let Some(i) = first_not_finite(&k[own..]) {
            let stage = tableau.rows() + i / n;
            let t = tableau.time(stage, self.t0, self.t1);
            return Err(ErrorKind::NonFinite { t, stage: Some(stage), component: i % n }.into());
        }
        self.has_dense = true;
        Ok(())
    }

    /// Where in `k` the end slope is.
    fn end_range(&self) -> Range<usize> {
        let (n, rows) = (self.y1.len(), self.tableau.rows());
        (rows - 1) * n..rows * n
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
        self.check_mass(f)?;
        if self.tableau.is_multistep() {
            return self.step_multistep(f);
        }
        self.choose_method();
        if self.tableau.uses_first() {
            self.end_slope(f)?;
        }
        let h = match self.options.stepping {
            Stepping::Adaptive if self.dt == 0.0 => {
                self.end_slope(f)?;
                self.first_step(f)?
            }
            Stepping::Adaptive => self.dt,
            Stepping::Steps(steps) => (self.end - self.start).abs() / steps as f64,
            Stepping::Fixed(dt) => dt,
        };
        self.begin(|integrator| integrator.attempt(f, h))?;
        self.watch(f);
        Ok(())
    }

    /// Takes one step to the time `t`, whatever its error: so a recorded grid is taken again, to
    /// the same bits.
    ///
    /// # Errors
    /// If `t` is not after the time reached, on the way to the end and not beyond it, or if the
    /// field fails or is not finite. The integrator stays at the last good state.
    pub fn step_to(&mut self, f: &mut impl Field<T>, t: f64) -> Result<(), Error> {
        let (low, high) = (self.t1.min(self.end), self.t1.max(self.end));
        // Written so that NaN fails.
        if !(low <= t && t <= high && t != self.t1) {
            let expected = "after the time that was reached, and not beyond the end";
            return Err(ErrorKind::BadOption { option: "t", value: t, expected }.into());
        }
        self.check_mass(f)?;
        if self.tableau.is_multistep() {
            let what = "step to a given time, since it remembers the steps before";
            return Err(ErrorKind::Unsupported { method: self.tableau.name, what }.into());
        }
        self.choose_method();
        if self.tableau.uses_first() {
            self.end_slope(f)?;
        }
        self.begin(|integrator| integrator.once(f, t))?;
        self.watch(f);
        Ok(())
    }

    /// Checks that the method takes the field's mass matrix, if it has one.
    fn check_mass(&self, f: &impl Field<T>) -> Result<(), Error> {
        let Some(mass) = f.mass() else { return Ok(()) };
        if !self.method.takes_mass() {
            let what = "solve equations with a mass matrix; take Rodas5P or Bdf";
            return Err(ErrorKind::Unsupported { method: self.tableau.name, what }.into());
        }
        let (rows, components) = (mass.rows(), self.y1.len());
        if rows != components {
            return Err(ErrorKind::WrongMass { rows, components }.into());
        }
        Ok(())
    }

    /// Goes over to the method that [`Auto`](crate::Auto) has chosen.
    fn choose_method(&mut self) {
        let Some(auto) = &self.auto else { return };
        let tableau = auto.method().tableau();
        if std::ptr::eq(tableau, self.tableau) {
            return;
        }
        let end = self.end_range();
        self.method = auto.method();
        self.tableau = tableau;
        let start = self.end_range().start;
        self.k.copy_within(end, start);
        self.history = [1.0; 2];
        self.stats.switches += 1;
        let n = self.y1.len();
        self.terms = Terms::new(tableau, n);
        match self.method {
            Method::Implicit(_) if self.newton.is_none() => self.newton = Some(Newton::new(n)),
            Method::Rosenbrock(_) if self.rosenbrock.is_none() => {
                self.rosenbrock = Some(Rosenbrock::new(n));
            }
            _ => {}
        }
    }

    /// Has [`Auto`](crate::Auto) look at the step that was taken.
    fn watch(&mut self, f: &mut impl Field<T>) {
        if self.options.stepping != Stepping::Adaptive || self.auto.is_none() {
            return;
        }
        // A slope that fails is found out by the next step.
        let explicit = matches!(self.method, Method::Explicit(_));
        let looks = explicit || self.end_slope(f).is_ok();
        if looks && let Some(mut auto) = self.auto.take() {
            self.stats.f_evals += auto.watch(f, &self.last_step());
            self.auto = Some(auto);
        }
    }

    /// Makes the state reached the start of a step, and undoes that if the step fails.
    fn begin(&mut self, step: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        let n = self.y1.len();
        let end = self.end_range();
        std::mem::swap(&mut self.y0, &mut self.y1);
        self.k.copy_within(end.clone(), 0);
        let kept = self.kept_range(self.tableau.rows() - 1);
        self.kept.copy_within(kept.clone(), 0);
        let had_end = self.has_end;
        self.has_first = had_end;
        self.has_dense = false;
        if let Some(newton) = &mut self.newton {
            newton.begin();
        }
        if let Some(rosenbrock) = &mut self.rosenbrock {
            rosenbrock.begin();
        }
        let result = step(self);
        if result.is_err() {
            std::mem::swap(&mut self.y0, &mut self.y1);
            self.k.copy_within(..n, end.start);
            self.kept.copy_within(..kept.len(), kept.start);
            if self.tableau.coupled {
                // The iteration must not start from what may not be a number.
                self.k[..end.start].fill(T::zero());
                self.has_first = false;
            }
            self.has_end = had_end;
        }
        result
    }

    /// Steps from `y0` at `t1` to `next`, and takes the step if it is finite.
    fn once(&mut self, f: &mut impl Field<T>, next: f64) -> Result<(), Error> {
        let outcome = self.slopes(f, next)?;
        match (self.not_finite(next), outcome) {
            (Some(error), _) => Err(error),
            (None, Outcome::Diverged(stage)) => Err(self.diverged(next, stage)),
            (None, Outcome::Converged) => {
                self.accept(next);
                Ok(())
            }
        }
    }

    /// Tries from `y0` at `t1` until a step is taken; the first try is about `h` long.
    fn attempt(&mut self, f: &mut impl Field<T>, mut h: f64) -> Result<(), Error> {
        let direction = if self.end > self.t1 { 1.0 } else { -1.0 };
        let adaptive = self.options.stepping == Stepping::Adaptive;
        let smallest = self.smallest_step();
        if adaptive {
            h = h.max(smallest).min(self.options.max_dt);
        }
        let mut after_rejection = false;
        loop {
            let tried = self.stats.accepted + self.stats.rejected;
            if tried >= self.options.max_steps {
                return Err(ErrorKind::MaxSteps { t: self.t1, steps: tried }.into());
            }
            let next = self.clip(h, direction);
            let step = next - self.t1;
            if step * direction <= 0.0 {
                return Err(ErrorKind::NoProgress { t: self.t1, dt: h }.into());
            }
            if !adaptive {
                return self.once(f, next);
            }
            let outcome = self.slopes(f, next)?;
            if let Outcome::Diverged(stage) = outcome {
                self.stats.rejected += 1;
                after_rejection = true;
                if step.abs() <= 1.1 * smallest {
                    let diverged = || self.diverged(next, stage);
                    return Err(self.not_finite(next).unwrap_or_else(diverged));
                }
                h = (AFTER_DIVERGENCE * step.abs()).max(smallest);
                continue;
            }
            let embedded = self.tableau.control_order().expect("checked with the options");
            let error = self.error(step);
            let controller = &self.options.controller;
            if error <= 1.0 && first_not_finite(&self.y1).is_none() {
                let factor = controller.factor(error, self.history, embedded);
                let factor = if after_rejection { factor.min(1.0) } else { factor };
                self.dt = (step.abs() * factor).min(self.options.max_dt);
                self.history = [error, self.history[0]];
                self.accept(next);
                return Ok(());
            }
            self.stats.rejected += 1;
            after_rejection = true;
            h = step.abs() * controller.factor_after_rejection(error, embedded);
            // The time is rounded, so a step of the smallest size may come out a little larger.
            if step.abs() <= 1.1 * smallest {
                let too_small = || {
                    let (e, a, b) = (&self.scratch, &self.y0, &self.y1);
                    let component = control::worst(e, a, b, &self.options, &self.atol);
                    ErrorKind::StepTooSmall { t: self.t1, dt: h, component, error }.into()
                };
                return Err(self.not_finite(next).unwrap_or_else(too_small));
            }
            h = h.max(smallest);
        }
    }

    /// The error measure of a step of size `h`; leaves the estimate in `scratch`.
    fn error(&mut self, h: f64) -> f64 {
        if let Some(pair) = &self.reversible {
            self.scratch.copy_from_slice(pair.error());
            let (e, a, b) = (&self.scratch, &self.y0, &self.y1);
            return control::error_norm(e, a, b, &self.options, &self.atol);
        }
        let mut measure = |weights| {
            combine(None, h, weights, &self.k, &mut self.scratch);
            if let (Method::Implicit(DirkTableau { filter: true, .. }), Some(newton)) =
                (self.method, &mut self.newton)
            {
                newton.filter(&mut self.scratch);
            }
            control::error_norm(&self.scratch, &self.y0, &self.y1, &self.options, &self.atol)
        };
        let low = self.tableau.error_low.map(|(_, weights)| measure(weights));
        let error = measure(self.tableau.error.expect("checked with the options"));
        match low {
            // 0/0 where nothing happens.
            Some(low) if error > 0.0 => error * (error / error.hypot(0.1 * low)),
            _ => error,
        }
    }

    /// The smallest adaptive step: below 16 units in the last place of the time, `t + h` has hardly
    /// a digit of `h`.
    fn smallest_step(&self) -> f64 {
        let digits = 8.0 * f64::EPSILON * self.t1.abs().max(f64::MIN_POSITIVE);
        digits.max(self.options.min_dt)
    }

    /// The end of a step of about `h`, so that the end is hit exactly and no tiny step is left
    /// before it.
    fn clip(&self, h: f64, direction: f64) -> f64 {
        let left = (self.end - self.t1).abs();
        let before_stop = (self.stop - self.t1).abs();
        match self.options.stepping {
            // A step may be stretched to the end, but not beyond its largest size.
            Stepping::Adaptive if self.stop != self.end && 1.01 * h >= before_stop => self.stop,
            // Two equal steps to a stop, rather than a long and a short one.
            Stepping::Adaptive if self.stop != self.end && 2.0 * h > before_stop => {
                self.t1 + direction * 0.5 * before_stop
            }
            Stepping::Adaptive if h < left && (1.01 * h < left || left > self.options.max_dt) => {
                self.t1 + direction * h
            }
            Stepping::Adaptive => self.end,
            _ => {
                let next = self.next_equal(direction);
                if (next - self.stop) * direction > 0.0 { self.stop } else { next }
            }
        }
    }

    /// The end of the next of equal steps. It is computed from the start, so that rounding does not
    /// pile up.
    fn next_equal(&self, direction: f64) -> f64 {
        let left = (self.end - self.t1).abs();
        match self.options.stepping {
            Stepping::Steps(steps) if self.equal + 1 < steps => {
                let fraction = (self.equal + 1) as f64 / steps as f64;
                self.start + (self.end - self.start) * fraction
            }
            Stepping::Fixed(dt) if dt < left * (1.0 - 1e-9) => {
                self.start + direction * dt * (self.equal + 1) as f64
            }
            _ => self.end,
        }
    }

    fn accept(&mut self, next: f64) {
        if self.options.stepping != Stepping::Adaptive {
            let direction = if self.end > self.t1 { 1.0 } else { -1.0 };
            self.equal += usize::from(next == self.next_equal(direction));
        }
        self.t0 = self.t1;
        self.t1 = next;
        self.h = next - self.t0;
        self.stats.accepted += 1;
        if let Some(pair) = &mut self.reversible {
            pair.accept();
        } else if self.tableau.coupled {
            std::mem::swap(&mut self.carry, &mut self.scratch);
        }
        self.has_end = self.tableau.error_needs_end();
    }

    /// The slopes of a step from `y0` to the time `next`, and `y1`.
    fn slopes(&mut self, f: &mut impl Field<T>, next: f64) -> Result<Outcome, Error> {
        if self.reversible.is_some() {
            self.reversible_step(f, next)?;
            return Ok(Outcome::Converged);
        }
        if self.tableau.coupled {
            self.coupled_slopes(f, next)?;
            return Ok(Outcome::Converged);
        }
        let mut f = Counted { field: f, stats: &mut self.stats };
        let (t, y0, k, y1) = (self.t1, &self.y0, &mut self.k, &mut self.y1);
        if let (Method::Implicit(method), Some(newton)) = (self.method, &mut self.newton) {
            let outcome = newton.step(method, &self.options, &mut f, t, next, y0, k, y1);
            self.stats.factorisations += std::mem::take(&mut newton.factorisations);
            return outcome.map_err(|e| ErrorKind::Field(e).into());
        }
        if let (Method::Additive(method), Some(newton)) = (self.method, &mut self.newton) {
            let outcome = method.step(newton, &self.options, &mut f, t, next, y0, k, y1);
            self.stats.factorisations += std::mem::take(&mut newton.factorisations);
            return outcome.map_err(|e| ErrorKind::Field(e).into());
        }
        if let (Method::Rosenbrock(method), Some(rosenbrock)) = (self.method, &mut self.rosenbrock)
        {
            let outcome = rosenbrock.step(method, &mut f, t, next, y0, k, y1);
            self.stats.factorisations += std::mem::take(&mut rosenbrock.factorisations);
            return outcome.map_err(|e| ErrorKind::Field(e).into());
        }
        let k = &mut k[..self.tableau.rows() * y0.len()];
        if let (Some(terms), true) = (&self.terms, self.kept.is_empty()) {
            terms.step(self.tableau, &mut f, t, next, y0, k, y1).map_err(ErrorKind::Field)?;
            return Ok(Outcome::Converged);
        }
        keeping_step(self.tableau, &mut f, t, next, y0, k, y1, &mut self.kept)
            .map_err(ErrorKind::Field)?;
        Ok(Outcome::Converged)
    }

    /// [`slopes`](Self::slopes) of coupled stages.
    fn coupled_slopes(&mut self, f: &mut impl Field<T>, next: f64) -> Result<(), Error> {
        let mut f = Counted { field: f, stats: &mut self.stats };
        let (t, y0, stage) = (self.t1, &self.y0, &mut self.y1);
        let increment = &mut self.scratch;
        let rounds = coupled_step(self.tableau, &mut f, t, next, y0, &mut self.k, stage, increment)
            .map_err(ErrorKind::Field)?;
        let dt = next - t;
        self.rounds = rounds.ok_or(ErrorKind::NoConvergence { t, dt })?;
        for (((y1, &y0), &carry), sum) in
            self.y1.iter_mut().zip(&*self.y0).zip(&*self.carry).zip(increment.iter_mut())
        {
            *sum += carry;
            *y1 = y0 + *sum;
            // What was lost, to be added next time.
            *sum -= *y1 - y0;
        }
        Ok(())
    }

    /// The error of a step to `next` whose stage does not converge.
    fn diverged(&self, next: f64, stage: usize) -> Error {
        ErrorKind::Diverged { t: self.t1, dt: next - self.t1, stage }.into()
    }

    /// Where the step to `next` first is not finite, if anywhere.
    fn not_finite(&self, next: f64) -> Option<Error> {
        let n = self.y0.len();
        let rows = self.tableau.rows() - usize::from(!self.tableau.error_needs_end());
        let first = if self.tableau.uses_first() { 0 } else { n };
        if let Some(i) = first_not_finite(&self.k[first..rows * n]) {
            let i = first + i;
            let t = self.tableau.time(i / n, self.t1, next);
            let stage = Some(i / n);
            return Some(ErrorKind::NonFinite { t, stage, component: i % n }.into());
        }
        let component = first_not_finite(&self.y1)?;
        Some(ErrorKind::NonFinite { t: next, stage: None, component }.into())
    }

    /// The size of the first step. The end slope must be there.
    fn first_step(&mut self, f: &mut impl Field<T>) -> Result<f64, Error> {
        let span = (self.end - self.t1).abs();
        let limit = self.options.max_dt.min(span);
        if let Some(dt) = self.options.dt0 {
            return Ok(dt.min(limit));
        }
        let n = self.y1.len();
        let end = self.end_range();
        if let Some(mass) = f.mass() {
            return Ok(self.first_step_with(mass, limit));
        }
        let norm = |x: &[T], y: &[T]| control::error_norm(x, y, y, &self.options, &self.atol);
        let (d0, d1) = (norm(&self.y1, &self.y1), norm(&self.k[end.clone()], &self.y1));
        let guess = control::first_guess(d0, d1).min(span);
        // Norms that overflow leave 0 or NaN.
        let guess = if guess > 0.0 { guess } else { self.smallest_step().min(span) };
        let probe = guess.copysign(self.end - self.t1);
        combine(Some(&self.y1), probe, &[1.0], &self.k[end.clone()], &mut self.scratch);
        f.eval(self.t1 + probe, &self.scratch, &mut self.k[..n]).map_err(ErrorKind::Field)?;
        self.stats.f_evals += 1;
        // The slope there, minus that here.
        let (probed, rest) = self.k.split_at(n);
        let here = &rest[end.start - n..end.end - n];
        lincomb(&[T::one(), -T::one()], &[probed, here], &mut self.scratch);
        let d2 = norm(&self.scratch, &self.y1) / guess;
        // A multistep method begins with order 1.
        let order = if self.tableau.is_multistep() { 2 } else { self.tableau.order };
        let step = control::first_step(guess, d1, d2, order);
        // A probe that left the field's domain, or overflowed, says nothing.
        Ok(if step.is_finite() && step > 0.0 { step } else { guess }.min(limit))
    }

    /// The size of the first step with a mass matrix: a first guess from the differential equations
    /// alone.
    fn first_step_with(&mut self, mass: &Mass<T>, limit: f64) -> f64 {
        let end = self.end_range();
        self.scratch.copy_from_slice(&self.k[end]);
        mass.rough_slope(&mut self.scratch);
        let norm = |x: &[T]| control::error_norm(x, &self.y1, &self.y1, &self.options, &self.atol);
        let guess = control::first_guess(norm(&self.y1), norm(&self.scratch));
        let guess = if guess > 0.0 { guess } else { self.smallest_step() };
        guess.min(1e-3 * limit)
    }
}
