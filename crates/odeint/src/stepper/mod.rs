//! How each family of methods takes a step.

mod coupled;
mod explicit;
mod implicit;
mod multistep;
mod reversible;
mod rosenbrock;

pub(crate) use self::coupled::Coupled;
use self::explicit::Explicit;
use self::implicit::{Implicit, Stages};
pub(crate) use self::reversible::Pair;
use crate::Real;
use crate::error::Error;
use crate::field::Field;
use crate::integrator::Frame;
use crate::method::Method;
use crate::multistep::Multistep;
use crate::newton::Outcome;
use crate::rosenbrock::Rosenbrock;

/// What a family of methods remembers between steps, and how it takes one.
pub(crate) trait Stepper<T: Real> {
    /// Forgets the steps before: what comes is no continuation of them.
    fn forget(&mut self) {}

    /// A step from another state than the last one begins.
    fn begin(&mut self) {}

    /// Makes sure that the next step takes nothing from the slopes of the last one, which may not be
    /// numbers.
    fn clear(&mut self, frame: &mut Frame<T>) {
        let _ = frame;
    }

    /// Tries a step from `y0` at `t1` to the time `next`: writes the slopes, and the state to `y1`.
    ///
    /// # Errors
    /// If the field fails, or there is no solution.
    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error>;

    /// The square of the error measure of the step of size `h` that was tried.
    fn error(&mut self, frame: &mut Frame<T>, h: f64) -> f64 {
        frame.error(h, |_| ())
    }

    /// The step that was tried is taken.
    fn accept(&mut self, frame: &mut Frame<T>) {
        let _ = frame;
    }

    /// The size of the next step.
    #[inline]
    fn next_size(&mut self, frame: &mut Frame<T>, tried: Tried) -> f64 {
        let order = frame.tableau.control_order().expect("checked with the options");
        let (size, square, rejected) = (tried.size.abs(), tried.square, tried.rejections > 0);
        let controller = &frame.options.controller;
        let next = controller.next_size(size, square, frame.history, order, rejected);
        frame.history = [tried.square, frame.history[0]];
        next
    }

    /// The size of the next try, after one with too large an error.
    fn next_try(&mut self, frame: &mut Frame<T>, tried: Tried) -> f64 {
        let order = frame.tableau.control_order().expect("checked with the options");
        let controller = &frame.options.controller;
        tried.size.abs() * controller.factor_after_rejection(tried.square, order)
    }
}

/// A step that was tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried {
    /// Its size; negative backward in time.
    pub size: f64,
    /// The size that it was to have; a stop or the end can have changed it.
    pub asked: f64,
    /// The square of its error measure. The root is not needed, and takes as long as a stage.
    pub square: f64,
    /// How many tries before it were rejected, and how many of them for their error.
    pub rejections: usize,
    pub errors: usize,
}

/// The family of a method.
#[derive(Clone, Debug)]
pub(crate) enum Family<T: Real> {
    Explicit(Explicit),
    Coupled(Coupled<T>),
    Implicit(Implicit<T>),
    Rosenbrock(Rosenbrock<T>),
    Multistep(Multistep<T>),
    Reversible(Pair<T>),
}

impl<T: Real> Family<T> {
    /// That of a method, which is not `Auto`, for states of `n` components.
    pub fn new(method: Method, n: usize) -> Result<Family<T>, Error> {
        Ok(match method {
            Method::Explicit(tableau) if tableau.coupled => Family::Coupled(Coupled::new(n)),
            Method::Explicit(tableau) => Family::Explicit(Explicit::new(tableau, n)),
            Method::Implicit(method) => Family::Implicit(Implicit::new(Stages::Dirk(method), n)),
            Method::Additive(method) => {
                Family::Implicit(Implicit::new(Stages::Additive(method), n))
            }
            Method::Rosenbrock(method) => Family::Rosenbrock(Rosenbrock::new(method, n)),
            Method::Multistep(_) => Family::Multistep(Multistep::new(n)),
            Method::Reversible(scheme) => {
                scheme.check()?;
                Family::Reversible(Pair::new(scheme, n))
            }
            Method::Auto => unreachable!("the choice is made before"),
        })
    }

    /// [`Stepper::step`]; an explicit method is compiled for the field, which may take less time than
    /// a call.
    pub fn step_with<F: Field<T>>(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut F,
        next: f64,
    ) -> Result<Outcome, Error> {
        match self {
            Family::Explicit(explicit) => explicit.step_with(frame, f, next),
            _ => self.step(frame, f, next),
        }
    }
}

/// Calls the stepper of a family.
macro_rules! each {
    ($family:expr, $stepper:ident => $call:expr) => {
        match $family {
            Family::Explicit($stepper) => $call,
            Family::Coupled($stepper) => $call,
            Family::Implicit($stepper) => $call,
            Family::Rosenbrock($stepper) => $call,
            Family::Multistep($stepper) => $call,
            Family::Reversible($stepper) => $call,
        }
    };
}

impl<T: Real> Stepper<T> for Family<T> {
    fn forget(&mut self) {
        each!(self, stepper => Stepper::<T>::forget(stepper));
    }

    #[inline]
    fn begin(&mut self) {
        each!(self, stepper => Stepper::<T>::begin(stepper));
    }

    fn clear(&mut self, frame: &mut Frame<T>) {
        each!(self, stepper => stepper.clear(frame));
    }

    fn step(
        &mut self,
        frame: &mut Frame<T>,
        f: &mut dyn Field<T>,
        next: f64,
    ) -> Result<Outcome, Error> {
        each!(self, stepper => Stepper::step(stepper, frame, f, next))
    }

    #[inline]
    fn error(&mut self, frame: &mut Frame<T>, h: f64) -> f64 {
        each!(self, stepper => stepper.error(frame, h))
    }

    #[inline]
    fn accept(&mut self, frame: &mut Frame<T>) {
        each!(self, stepper => stepper.accept(frame));
    }

    #[inline]
    fn next_size(&mut self, frame: &mut Frame<T>, tried: Tried) -> f64 {
        each!(self, stepper => stepper.next_size(frame, tried))
    }

    fn next_try(&mut self, frame: &mut Frame<T>, tried: Tried) -> f64 {
        each!(self, stepper => stepper.next_try(frame, tried))
    }
}
