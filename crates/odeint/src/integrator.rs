//! One step after another.

mod dense;
mod few;
mod first;
mod frame;
mod point;
mod tries;

use costate_ops::first_not_finite;

use crate::Real;

pub use self::few::Steps;
pub(crate) use self::frame::Frame;
use crate::auto::Switch;
use crate::error::{Error, ErrorKind};
use crate::field::Field;
use crate::kept::Kept;
use crate::method::Method;
use crate::options::{Options, Stepping};
use crate::stats::Stats;
use crate::step::Step;
use crate::stepper::{Family, Stepper};

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
    family: Family<T>,
    /// The choice of the method, if it is not given.
    auto: Option<Box<Switch<T>>>,
    /// What the method remembers that was not chosen last.
    other: Option<Family<T>>,
    start: f64,
    end: f64,
    /// How many of equal steps are done.
    equal: usize,
    /// Where a step must end: at the end, or at a time before it.
    stop: f64,
    /// The size that the next step should have, or 0 if there is none yet.
    dt: f64,
    frame: Frame<T>,
}

/// Checks absolute tolerances for each of so many components.
pub(crate) fn check_atol(atol: &[f64], options: &Options, components: usize) -> Result<(), Error> {
    let tolerances = atol.len();
    if tolerances != components {
        return Err(ErrorKind::WrongTolerances { tolerances, components }.into());
    }
    if let Some(&value) = atol.iter().find(|a| !(**a >= 0.0 && a.is_finite())) {
        let expected = "finite and not negative";
        return Err(ErrorKind::BadOption { option: "atol", value, expected }.into());
    }
    if options.rtol == 0.0 && atol.contains(&0.0) {
        let expected = "positive in each component if `rtol` is 0";
        return Err(ErrorKind::BadOption { option: "atol", value: 0.0, expected }.into());
    }
    Ok(())
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
        T::integrator(method.into(), y0, start, end, options)
    }

    pub(crate) fn new_of(
        method: Method,
        y0: &[T],
        start: f64,
        end: f64,
        options: Options,
    ) -> Result<Integrator<T>, Error> {
        options.check(method.tableau())?;
        let n = y0.len();
        let auto = matches!(method, Method::Auto).then(|| Box::new(Switch::new(&options, n)));
        let method = auto.as_ref().map_or(method, |auto| auto.method());
        let tableau = method.tableau();
        let slopes = auto.as_ref().map_or(tableau.slopes(), |auto| auto.slopes());
        let mut integrator = Integrator {
            method,
            family: Family::new(method, n)?,
            auto,
            other: None,
            start,
            end,
            equal: 0,
            stop: end,
            dt: 0.0,
            frame: Frame::new(tableau, options, n, slopes, start),
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
        let tableau = self.frame.tableau;
        if tableau.is_partitioned() && !y0.len().is_multiple_of(2) {
            let (method, components) = (tableau.name, y0.len());
            return Err(ErrorKind::OddState { method, components }.into());
        }
        if let Some(component) = first_not_finite(y0) {
            return Err(ErrorKind::NonFinite { t: start, stage: None, component }.into());
        }
        if let Some(auto) = &mut self.auto {
            auto.restart();
            let method = auto.method();
            self.take_method(method);
        }
        (self.start, self.end, self.stop) = (start, end, end);
        (self.equal, self.dt) = (0, 0.0);
        self.frame.restart(y0, start);
        self.family.forget();
        self.family.clear(&mut self.frame);
        Ok(())
    }

    /// The method of the next step.
    pub fn method(&self) -> Method {
        self.auto.as_ref().map_or(self.method, |auto| auto.method())
    }

    /// The time that was reached.
    #[inline]
    pub fn t(&self) -> f64 {
        self.frame.t1
    }

    /// The state at [`t`](Integrator::t).
    #[inline]
    pub fn y(&self) -> &[T] {
        &self.frame.y1
    }

    /// The size that the next adaptive step is to have; 0 before the first one.
    pub fn dt(&self) -> f64 {
        self.dt
    }

    /// Has the next steps end at `t` at the latest. A time that is not between the one reached and
    /// the end stands for the end.
    pub fn stop_at(&mut self, t: f64) {
        let inside = (t - self.frame.t1) * (self.end - t) > 0.0;
        self.stop = if inside { t } else { self.end };
    }

    /// Takes an absolute tolerance for each component instead of
    /// [`Options::atol`](crate::Options::atol).
    ///
    /// # Errors
    /// If there are not as many as components, or one is negative or not finite.
    pub fn set_atol(&mut self, atol: &[f64]) -> Result<(), Error> {
        check_atol(atol, &self.frame.options, self.frame.y1.len())?;
        self.frame.atol = atol.to_vec();
        Ok(())
    }

    /// With an absolute tolerance for each component, unless there are none.
    pub(crate) fn with_atol(mut self, atol: &[f64]) -> Result<Integrator<T>, Error> {
        if !atol.is_empty() {
            self.set_atol(atol)?;
        }
        Ok(self)
    }

    /// Has the next step start anew, because the field is another one from here on: the slope is
    /// evaluated again, and the size of the step chosen as at the start.
    pub fn jump(&mut self) {
        self.frame.has_end = false;
        self.frame.history = [1.0; 2];
        self.dt = 0.0;
        self.family.forget();
    }

    /// Goes on at a time that is next to the one reached, beyond a [`jump`](Integrator::jump).
    pub(crate) fn jump_to(&mut self, t: f64) {
        self.frame.t1 = t;
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
        let (found, n) = (y.len(), self.frame.y1.len());
        assert!(found == n, "set_state: a state of length {found} instead of {n}");
        if let Some(component) = first_not_finite(y) {
            let t = self.frame.t1;
            return Err(ErrorKind::NonFinite { t, stage: None, component }.into());
        }
        self.frame.y1.copy_from_slice(y);
        self.jump();
        Ok(())
    }

    /// Has steps keep what the field's evaluations leave for a backward pass, from the start on.
    pub(crate) fn keep(&mut self, f: &impl Field<T>) {
        self.frame.kept.resize(self.frame.tableau.rows(), f.kept_len());
    }

    /// What evaluations of the last step left. Only that of the end slope must stay there.
    pub(crate) fn kept(&mut self) -> &mut Kept<T> {
        &mut self.frame.kept
    }

    /// Whether the end was reached.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.frame.t1 == self.end
    }

    /// The options.
    #[inline]
    pub fn options(&self) -> &Options {
        &self.frame.options
    }

    /// What has been done.
    pub fn stats(&self) -> Stats {
        self.frame.stats
    }

    /// The last step. It means nothing before the first one, and after one that failed.
    #[inline]
    pub fn last_step(&self) -> Step<'_, T> {
        let step = self.frame.step();
        match &self.family {
            Family::Coupled(coupled) => Step { rounds: coupled.rounds, ..step },
            Family::Multistep(memory) => Step { orders: memory.taken(), ..step },
            _ => step,
        }
    }

    /// What the last step was made in.
    #[inline(always)]
    pub(crate) fn frame(&self) -> &Frame<T> {
        &self.frame
    }

    /// Start, size and end of the last step.
    #[inline]
    pub(crate) fn last_span(&self) -> (f64, f64, f64) {
        (self.frame.t0, self.frame.h, self.frame.t1)
    }

    /// Whether the slope at the end of the last step is there without asking: the next step uses it, or
    /// it follows from the differences of a multistep method.
    #[inline]
    pub(crate) fn has_or_finds_end(&self) -> bool {
        self.frame.tableau.uses_first() || self.frame.tableau.is_multistep()
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
        self.choose_method();
        self.start_multistep(f)?;
        if self.frame.tableau.uses_first() {
            self.end_slope(f)?;
        }
        let h = match self.frame.options.stepping {
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
        let (low, high) = (self.frame.t1.min(self.end), self.frame.t1.max(self.end));
        // Written so that NaN fails.
        if !(low <= t && t <= high && t != self.frame.t1) {
            let expected = "after the time that was reached, and not beyond the end";
            return Err(ErrorKind::BadOption { option: "t", value: t, expected }.into());
        }
        self.check_mass(f)?;
        if self.frame.tableau.is_multistep() {
            let method = self.frame.tableau.name;
            let what = "step to a given time, since it remembers the steps before";
            return Err(ErrorKind::Unsupported { method, what }.into());
        }
        self.choose_method();
        if self.frame.tableau.uses_first() {
            self.end_slope(f)?;
        }
        self.begin(|integrator| integrator.once(f, t))?;
        self.watch(f);
        Ok(())
    }

    /// Checks that the method takes the field's mass matrix, if it has one.
    #[inline]
    fn check_mass(&self, f: &impl Field<T>) -> Result<(), Error> {
        let Some(mass) = f.mass() else { return Ok(()) };
        if !self.method.takes_mass() {
            let method = self.frame.tableau.name;
            let what = "solve equations with a mass matrix; take Rodas5P or Bdf";
            return Err(ErrorKind::Unsupported { method, what }.into());
        }
        let (rows, components) = (mass.rows(), self.frame.y1.len());
        if rows != components {
            return Err(ErrorKind::WrongMass { rows, components }.into());
        }
        Ok(())
    }

    /// Goes over to the method that [`Auto`](crate::Auto) has chosen.
    #[inline]
    fn choose_method(&mut self) {
        let Some(auto) = &self.auto else { return };
        let method = auto.method();
        let before = self.frame.end_range();
        if self.take_method(method) {
            let start = self.frame.end_range().start;
            self.frame.k.copy_within(before, start);
            self.frame.history = [1.0; 2];
            self.frame.stats.switches += 1;
        }
    }

    /// Takes another of the methods of [`Auto`](crate::Auto). Returns whether it is another one.
    fn take_method(&mut self, method: Method) -> bool {
        let tableau = method.tableau();
        if std::ptr::eq(tableau, self.frame.tableau) {
            return false;
        }
        let made = || Family::new(method, self.frame.y1.len()).expect("a method of its choice");
        let family = self.other.take().unwrap_or_else(made);
        self.other = Some(std::mem::replace(&mut self.family, family));
        (self.method, self.frame.tableau) = (method, tableau);
        true
    }

    /// Has [`Auto`](crate::Auto) look at the step that was taken.
    #[inline]
    fn watch(&mut self, f: &mut impl Field<T>) {
        if self.auto.is_none() || self.frame.options.stepping != Stepping::Adaptive {
            return;
        }
        // A slope that fails is found out by the next step.
        let explicit = matches!(self.method, Method::Explicit(_));
        let looks = explicit || self.end_slope(f).is_ok();
        if looks && let Some(mut auto) = self.auto.take() {
            self.frame.stats.f_evals += auto.watch(f, &self.last_step());
            self.auto = Some(auto);
        }
    }
}
