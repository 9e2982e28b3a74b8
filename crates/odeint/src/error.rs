//! What can go wrong in a solve.

use std::fmt;

use crate::stats::Stats;

/// The error that a vector field may return.
pub type FieldError = Box<dyn std::error::Error + Send + Sync>;

/// Why a solve failed, and what it had reached.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    partial: Option<Box<Partial>>,
}

/// Why a solve failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The state, or a slope, is NaN or infinite.
    NonFinite {
        /// The time of the evaluation.
        t: f64,
        /// The number of the slope within the step; `None` for the state itself.
        stage: Option<usize>,
        /// The first component that is not finite.
        component: usize,
    },
    /// The step that the tolerance asks for is below the smallest one.
    StepTooSmall {
        /// The time that was reached.
        t: f64,
        /// The step.
        dt: f64,
        /// The component with the largest error.
        component: usize,
        /// The error of the last try; 1 would just be accepted.
        error: f64,
    },
    /// Newton's method for a stage of an implicit method does not converge.
    Diverged {
        /// The time that was reached.
        t: f64,
        /// The step.
        dt: f64,
        /// The number of the stage.
        stage: usize,
    },
    /// In the backward pass, the matrix of an implicit stage is singular, so the solution does not
    /// depend smoothly on what came before.
    Singular {
        /// The time of the stage.
        t: f64,
    },
    /// A step of the given size does not change the time, which has too few digits for it.
    NoProgress {
        /// The time that was reached.
        t: f64,
        /// The size.
        dt: f64,
    },
    /// The number of steps that was allowed is used up.
    MaxSteps {
        /// The time that was reached.
        t: f64,
        /// The number.
        steps: usize,
    },
    /// An instrument was to record a backward pass that does not go step by step.
    NoRecord {
        /// The method.
        method: &'static str,
    },
    /// Halving the steps does not bring a gradient closer as the order of the method says, so that its
    /// error cannot be estimated.
    NotConverging {
        /// The method.
        method: &'static str,
        /// By what the difference to the gradient by halved steps becomes smaller as they are halved.
        ratio: f64,
        /// The order.
        order: u32,
    },
    /// There is no time to solve for.
    EmptyTimes,
    /// The times neither increase nor decrease throughout.
    TimesNotMonotone {
        /// The place of the first time that is out of order.
        index: usize,
        /// The time before it.
        before: f64,
        /// The time itself.
        time: f64,
    },
    /// A time is NaN or infinite.
    NonFiniteTime {
        /// Its place.
        index: usize,
    },
    /// The state has no components.
    EmptyState,
    /// An option has a value that makes no sense.
    BadOption {
        /// Its name.
        option: &'static str,
        /// Its value.
        value: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A method without an error estimate cannot choose its steps.
    NoErrorEstimate {
        /// The method.
        method: &'static str,
    },
    /// The backward re-solve of `x` has departed from the solution, so the gradient would be
    /// wrong.
    Departed {
        /// The time at which it was noticed.
        t: f64,
        /// The distance, in units of the tolerance.
        distance: f64,
    },
    /// The iteration for the stages of a step does not converge.
    NoConvergence {
        /// The time at the start of the step.
        t: f64,
        /// Its size.
        dt: f64,
    },
    /// A method that must be explicit, and take any state, is not.
    NotExplicit {
        /// The method.
        method: &'static str,
    },
    /// A method for positions and momenta was given a state that is not as many of each.
    OddState {
        /// The method.
        method: &'static str,
        /// The number of components of the state.
        components: usize,
    },
    /// A method for positions and momenta has no continuous adjoint: its equations do not split.
    NoContinuousAdjoint {
        /// The method.
        method: &'static str,
    },
    /// [`Gradient::Reversible`](crate::Gradient::Reversible) was asked of a method whose steps cannot
    /// be undone.
    NotReversible {
        /// The method.
        method: &'static str,
    },
    /// A time at which a dense solution was asked for is outside its span.
    OutsideSpan {
        /// The time.
        t: f64,
        /// Where the span starts.
        start: f64,
        /// Where it ends.
        end: f64,
    },
    /// The function of an event is NaN.
    EventNotANumber {
        /// The number of the event.
        event: usize,
        /// The time.
        t: f64,
    },
    /// The function of an event does not pass through zero with a nonzero rate, so that the time is
    /// not a differentiable function of anything.
    Grazing {
        /// The number of the event.
        event: usize,
        /// The time near which it was found.
        t: f64,
    },
    /// More events happen than are allowed.
    MaxEvents {
        /// The time that was reached.
        t: f64,
        /// The number.
        events: usize,
    },
    /// The observer of the steps has asked to stop.
    Cancelled {
        /// The time that was reached.
        t: f64,
    },
    /// There are not as many absolute tolerances as components.
    WrongTolerances {
        /// The number of tolerances.
        tolerances: usize,
        /// The number of components.
        components: usize,
    },
    /// A method cannot do what it was asked for.
    Unsupported {
        /// The method.
        method: &'static str,
        /// What it was asked for.
        what: &'static str,
    },
    /// A mass matrix has not as many rows as the state has components.
    WrongMass {
        /// The rows.
        rows: usize,
        /// The components.
        components: usize,
    },
    /// The vector field returned an error.
    Field(FieldError),
    /// The solve of a sample of a batch failed.
    Sample {
        /// The number of the sample.
        sample: usize,
        /// How it failed.
        source: FieldError,
    },
    /// The iterations for a root, a fixed point or a steady state do not converge.
    NoRoot {
        /// How many there were.
        iterations: usize,
        /// The norm of the function where they ended.
        residual: f64,
        /// The component that is the furthest from 0.
        component: usize,
    },
    /// The Jacobian of an equation is singular, so that its root is not a smooth function of
    /// anything.
    SingularJacobian {
        /// The iterations at which that was seen.
        iterations: usize,
    },
}

/// What a failed solve had reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Partial {
    /// The time of the last good state.
    pub t: f64,
    /// The last good state.
    pub y: Vec<f64>,
    /// The times that were saved.
    pub ts: Vec<f64>,
    /// The states at these times, one after another.
    pub ys: Vec<f64>,
    /// What had been done.
    pub stats: Stats,
}

impl Error {
    pub(crate) fn with_partial(mut self, partial: Partial) -> Error {
        self.partial = Some(Box::new(partial));
        self
    }

    /// Why it failed.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// What had been reached, if the solve had begun.
    pub fn partial(&self) -> Option<&Partial> {
        self.partial.as_deref()
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error { kind, partial: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::NonFinite { t, stage: Some(stage), component } => write!(
                f,
                "component {component} of the vector field is not finite at t = {t} (slope \
                 {stage} of the step); check the field's domain there, or try a smaller first step"
            ),
            ErrorKind::NonFinite { t, stage: None, component } => write!(
                f,
                "component {component} of the state is not finite at t = {t}; check the initial \
                 state, or take smaller steps"
            ),
            ErrorKind::StepTooSmall { t, dt, component, error } => write!(
                f,
                "the tolerance asks for a step of {dt:e} at t = {t}, which is too small; the error \
                 is {error:.1e} times the tolerance and largest in component {component}: the \
                 solution may go to infinity there, the field may jump, or the problem may be \
                 stiff; try a larger tolerance"
            ),
            ErrorKind::Diverged { t, dt, stage } => write!(
                f,
                "Newton's method does not converge for stage {stage} of a step of {dt:e} at \
                 t = {t}: the field may jump, or its Jacobian may be wrong or singular there; \
                 take smaller steps, or check the Jacobian if you gave one"
            ),
            ErrorKind::Singular { t } => write!(
                f,
                "in the backward pass, the matrix of the implicit stage at t = {t} is singular or \
                 not finite; check the field's Jacobian there, or take smaller steps"
            ),
            ErrorKind::NoProgress { t, dt } => write!(
                f,
                "a step of {dt:e} does not change the time t = {t}, which has too few digits for \
                 it; take longer or fewer steps, or measure time from another origin"
            ),
            ErrorKind::MaxSteps { t, steps } => write!(
                f,
                "{steps} steps have only reached t = {t}; raise `max_steps`, or try a larger \
                 tolerance or a method for stiff problems"
            ),
            ErrorKind::NoRecord { method } => write!(
                f,
                "the backward pass of {method} cannot be followed step by step; take another method"
            ),
            ErrorKind::NotConverging { method, ratio, order } => write!(
                f,
                "the error of the gradient cannot be estimated: a halving of the steps of {method} \
                 divides it by {ratio:.2} rather than by about {}; what the state and its companion \
                 differ by may grow, as it does where the field contracts faster than steps are \
                 short: take shorter steps, a smaller coupling, or another method",
                2u64.pow(*order)
            ),
            ErrorKind::EmptyTimes => {
                write!(f, "the list of times is empty; give at least the start")
            }
            ErrorKind::TimesNotMonotone { index, before, time } => write!(
                f,
                "the times must increase or decrease throughout, but time {index} is {time} after \
                 {before}; sort them and remove repetitions"
            ),
            ErrorKind::NonFiniteTime { index } => write!(f, "time {index} is not a finite number"),
            ErrorKind::EmptyState => {
                write!(f, "the initial state has no components, so there is nothing to solve")
            }
            ErrorKind::BadOption { option, value, expected } => {
                write!(f, "`{option}` is {value}, but must be {expected}")
            }
            ErrorKind::NoErrorEstimate { method } => write!(
                f,
                "{method} has no error estimate, so it cannot choose its steps; give `steps` or \
                 `dt`, or use Tsit5"
            ),
            ErrorKind::Departed { t, distance } => write!(
                f,
                "solving backward, the state departs from the solution: at t = {t} by {distance:.1e} \
                 times the tolerance, so this gradient would be wrong; use `Gradient::Exact` or \
                 `Gradient::Interpolated`"
            ),
            ErrorKind::NoConvergence { t, dt } => write!(
                f,
                "the stages of the step of {dt:e} from t = {t} are not found by fixed-point \
                 iteration; take shorter steps, or a method for stiff problems"
            ),
            ErrorKind::NotExplicit { method } => {
                write!(
                    f,
                    "{method} is not an explicit method for any state; take one such as Tsit5"
                )
            }
            ErrorKind::OddState { method, components } => write!(
                f,
                "{method} needs a state of positions and then momenta, as many of each, but it has \
                 {components} components"
            ),
            ErrorKind::NotReversible { method } => write!(
                f,
                "the steps of {method} cannot be undone; use a `Scheme`, such as \
                 `Scheme::coupled({method}, 0.999)` if it is explicit, or `Gradient::Exact` with \
                 `Memory::Checkpoints`"
            ),
            ErrorKind::NoContinuousAdjoint { method } => write!(
                f,
                "the adjoint equations do not split into positions and momenta, so {method} cannot \
                 solve them; use `Gradient::Exact`"
            ),
            ErrorKind::OutsideSpan { t, start, end } => {
                write!(f, "the solution goes from t = {start} to {end}; there is none at t = {t}")
            }
            ErrorKind::EventNotANumber { event, t } => {
                write!(f, "the function of event {event} is NaN at t = {t}; check its domain there")
            }
            ErrorKind::Grazing { event, t } => write!(
                f,
                "the function of event {event} does not pass through zero at t = {t} with a rate \
                 that is surely other than 0: it jumps or is constant there, or touches zero, or \
                 might do so within the tolerance, so the time of the event cannot be \
                 differentiated; give a function that is smooth across its zero, or a smaller \
                 tolerance"
            ),
            ErrorKind::MaxEvents { t, events } => write!(
                f,
                "{events} events have only reached t = {t}; they may follow each other ever faster \
                 (end such a solve by a terminal event), or raise `max_events`"
            ),
            ErrorKind::Cancelled { t } => write!(f, "the solve was cancelled at t = {t}"),
            ErrorKind::WrongTolerances { tolerances, components } => write!(
                f,
                "{tolerances} absolute tolerances were given for a state of {components} \
                 components; give one for each, or a number for all"
            ),
            ErrorKind::Unsupported { method, what } => write!(f, "{method} cannot {what}"),
            ErrorKind::WrongMass { rows, components } => write!(
                f,
                "the mass matrix has {rows} rows, but the state has {components} components"
            ),
            ErrorKind::Field(source) => write!(f, "the vector field failed: {source}"),
            ErrorKind::Sample { sample, source } => write!(f, "sample {sample}: {source}"),
            ErrorKind::NoRoot { iterations, residual, component } => write!(
                f,
                "no root was found in {iterations} iterations: the norm of the function is \
                 {residual:.1e} where they ended, and component {component} the furthest from 0; \
                 try another guess or more iterations, or check that there is a root"
            ),
            ErrorKind::SingularJacobian { iterations } => write!(
                f,
                "the Jacobian of the equation is singular or not finite, seen after {iterations} \
                 iterations, so the root is not a smooth function of the parameters; try another \
                 guess, or remove unknowns that the equation does not determine"
            ),
        }?;
        match &self.partial {
            Some(partial) => {
                write!(f, " (reached t = {} in {})", partial.t, partial.stats)
            }
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            ErrorKind::Field(source) | ErrorKind::Sample { source, .. } => Some(source.as_ref()),
            _ => None,
        }
    }
}
