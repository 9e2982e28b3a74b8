//! Checking the gradient of a solve: properties that hold for any field whose derivatives are right,
//! each under a name, for tests of one's own fields, operations and methods.
//!
//! ```
//! use costate_odeint::{Ode, Tsit5, check};
//! use ndarray::arr1;
//!
//! let (y0, rate) = (arr1(&[1.0, -0.5]).into_dyn(), arr1(&[0.7, 0.2]).into_dyn());
//! let ode = Ode::new(Tsit5).tolerance(1e-4, 1e-6);
//! check::solve(&ode, |w, t, y| Ok((w[0] * y).sin() - y * t), &[y0, rate], &[0.0, 0.4, 1.5]).unwrap();
//! ```
//!
//! With feature `proptest`, `strategy` makes random fields, grids and save times, which shrink to
//! the smallest that fail.

mod batch;
mod derivative;
mod events;
mod setup;
mod split;
#[cfg(feature = "proptest")]
pub mod strategy;

use std::fmt;

use costate_tape::{Result, Var};
use ndarray::ArrayD;

use crate::Real;
use crate::ode::{Gradient, Ode};
use crate::var_event::VarEvent;
pub use events::NoRoom;
use setup::{EventsRef, Setup};

/// The error of a check: a [`Violation`], or that of the solve itself.
pub type CheckError = Box<dyn std::error::Error + Send + Sync>;

/// What holds for the exact gradient of a solve. Seeds, tangents and weights are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Property {
    /// `p · δ` is constant along the backward pass, to rounding: [`p_dot_delta`](crate::p_dot_delta).
    Invariant,
    /// The gradient is that of central differences on the frozen grid, in a random direction of the
    /// initial state, of all that the field captures, and of the times. The step is swept, and the
    /// differences are extrapolated to step 0. With events they are of solves by the same steps
    /// through the same events; see [`solve_events`].
    Differences,
    /// The gradient is that of plain back-propagation through the steps: [`Gradient::Unrolled`].
    BackPropagation,
    /// The gradient is linear in the cotangents of the states.
    Linearity,
    /// From cotangents of zero come gradients of exactly zero.
    ZeroSeed,
    /// `u · (H v) = v · (H u)` for the Hessian `H` of a loss of the states.
    Symmetry,
    /// A solve in two parts, on the two parts of the grid, is the whole solve: in states and in
    /// gradients. Not so by a multistep method, which begins anew, nor by a reversible
    /// [`Scheme`](crate::Scheme), whose companion does: there is nothing to check.
    Split,
    /// `dL/dt1 = p · f` at the last time, and `-p · f` at the first: to the accuracy of one very
    /// short step at each end. Not by a multistep method, whose short step is that of a polynomial
    /// through other states. Of a reversible [`Scheme`](crate::Scheme) `f` at the last time is the
    /// slope along which its last step went, which is that at the companion.
    EndTimes,
    /// A batch of solves gives what a loop gives: the same bits for each sample, and the same sum for
    /// what they share.
    Batch,
    /// Samples of a batch in another order are the same samples, bit for bit.
    Permutation,
    /// The gradient has the same bits whatever is kept for the backward pass.
    Memory,
    /// The same solve gives the same bits again, in states and in gradients.
    Again,
}

impl Property {
    /// All of them.
    pub const ALL: [Property; 12] = [
        Property::ZeroSeed,
        Property::Linearity,
        Property::Invariant,
        Property::BackPropagation,
        Property::Differences,
        Property::Symmetry,
        Property::Split,
        Property::EndTimes,
        Property::Batch,
        Property::Permutation,
        Property::Memory,
        Property::Again,
    ];

    /// Those of a solve with events: [`solve_events`].
    pub const WITH_EVENTS: [Property; 7] = [
        Property::ZeroSeed,
        Property::Linearity,
        Property::BackPropagation,
        Property::Differences,
        Property::Symmetry,
        Property::Memory,
        Property::Again,
    ];

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Property::Invariant => "constant p · δ",
            Property::Differences => "finite differences",
            Property::BackPropagation => "plain back-propagation",
            Property::Linearity => "linearity in the cotangent",
            Property::ZeroSeed => "zero from a zero cotangent",
            Property::Symmetry => "symmetric Hessian",
            Property::Split => "a solve in two parts",
            Property::EndTimes => "dL/dt = p · f at the ends",
            Property::Batch => "a batch as a loop",
            Property::Permutation => "a batch in another order",
            Property::Memory => "the same bits whatever is kept",
            Property::Again => "the same bits again",
        }
    }
}

/// A property that does not hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Which.
    pub property: Property,
    /// What was compared, and where.
    pub at: String,
    /// The number that the gradient, or the solve, gives.
    pub found: f64,
    /// The number that it should be.
    pub expected: f64,
    /// The difference that was allowed; 0 where the same bits are expected.
    pub allowed: f64,
    /// What is wrong with the derivatives of the field itself at the start, if a
    /// [check](costate_tape::check::gradient) of it alone finds that: it names the operation.
    pub field: Option<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {:e} instead of {:e}, a difference of {:.1e} where {:.1e} is allowed",
            self.property.name(),
            self.at,
            self.found,
            self.expected,
            (self.found - self.expected).abs(),
            self.allowed
        )?;
        match &self.field {
            Some(field) => write!(f, "; the field's own derivative is wrong: {field}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Violation {}

/// Checks [all properties](Property::ALL) of the gradient of a solve of a field.
///
/// `inputs` are the initial state and then what the field makes use of; `field` gets the latter as
/// variables, the time, and the state. It must be smooth near the solution, and
/// record nothing but operations (read no numbers). The gradient that is checked is
/// [`Gradient::Exact`], whichever way `ode` has chosen.
///
/// It takes some hundred solves, so the problem should be small.
///
/// # Errors
/// A [`Violation`] of the first property that does not hold, or the error of the solve.
///
/// # Panics
/// If there are no inputs, or the field returns another shape than that of the state.
pub fn solve<T, F>(
    ode: &Ode,
    field: F,
    inputs: &[ArrayD<T>],
    ts: &[f64],
) -> std::result::Result<(), CheckError>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    Property::ALL.into_iter().try_for_each(|one| property(one, ode, &field, inputs, ts, 0))
}

/// Checks one property, with seeds, tangents and weights that follow from `seed`; see [`solve`].
///
/// # Errors
/// As [`solve`].
///
/// # Panics
/// As [`solve`].
pub fn property<T, F>(
    property: Property,
    ode: &Ode,
    field: F,
    inputs: &[ArrayD<T>],
    ts: &[f64],
    seed: u64,
) -> std::result::Result<(), CheckError>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    assert!(!inputs.is_empty(), "check::solve: the first input is the initial state");
    let ode = ode.clone().gradient(Gradient::Exact);
    Setup { ode, field: &field, events: None, inputs, ts, seed, property }.check()
}

/// Checks the properties that hold [with events](Property::WITH_EVENTS) of the gradient of a solve
/// with events, of all that it finds: the states, the time and the two states of each event, and the
/// time and the state at the end.
///
/// `events` makes the events of the same variables that the field gets, so that their functions and
/// changes may depend on parameters; the rest is as in [`solve`]. All inputs and the times are
/// moved for the [differences](Property::Differences). These are of solves by the steps and through
/// the events of the given solve, whatever moves: events are where their functions are zero, at other
/// times than before, the steps after them start there, and a time that was before an event stays
/// before it. So they are exact for any method and tolerance, like those of [`solve`].
///
/// The function of an event must pass through zero at a rate that is not small: near a time at which
/// it only touches zero, derivatives grow without bounds, and are the error
/// [`Grazing`](crate::ErrorKind::Grazing).
///
/// ```
/// use costate_odeint::{Ode, Tsit5, VarEvent, check};
/// use costate_tape::Var;
/// use ndarray::arr1;
///
/// // A ball that keeps a part of its speed.
/// let (y0, p) = (arr1(&[1.0, 0.0]).into_dyn(), arr1(&[9.81, 0.8]).into_dyn());
/// check::solve_events(
///     &Ode::new(Tsit5),
///     |w, _t, y| Ok(Var::stack(0, &[y.index_axis(0, 1), -w[0].index_axis(0, 0)])),
///     |w| {
///         let kept = w[0].index_axis(0, 1);
///         let bounce = VarEvent::new(|_t, y| y.index_axis(0, 0)).falling();
///         vec![bounce.change(move |_t, y| y * Var::stack(0, &[kept.ones_like(), -kept]))]
///     },
///     &[y0, p],
///     &[0.0, 0.3, 1.1],
/// )
/// .unwrap();
/// ```
///
/// # Errors
/// A [`Violation`] of the first property that does not hold, or the error of the solve;
/// [`NoRoom`] where inputs can hardly be moved without an event passing a time.
///
/// # Panics
/// As [`solve`], and if there are no events.
pub fn solve_events<T, F, E>(
    ode: &Ode,
    field: F,
    events: E,
    inputs: &[ArrayD<T>],
    ts: &[f64],
) -> std::result::Result<(), CheckError>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    E: for<'a, 't> Fn(&'a [Var<'t, T>]) -> Vec<VarEvent<'a, 't, T>>,
{
    let each = |one| property_events(one, ode, &field, &events, inputs, ts, 0);
    Property::WITH_EVENTS.into_iter().try_for_each(each)
}

/// Checks one property of a solve with events, with seeds, tangents and weights that follow from
/// `seed`; see [`solve_events`].
///
/// # Errors
/// As [`solve_events`].
///
/// # Panics
/// As [`solve_events`], and if the property is not one of [`Property::WITH_EVENTS`].
pub fn property_events<T, F, E>(
    property: Property,
    ode: &Ode,
    field: F,
    events: E,
    inputs: &[ArrayD<T>],
    ts: &[f64],
    seed: u64,
) -> std::result::Result<(), CheckError>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    E: for<'a, 't> Fn(&'a [Var<'t, T>]) -> Vec<VarEvent<'a, 't, T>>,
{
    assert!(!inputs.is_empty(), "check::solve_events: the first input is the initial state");
    assert!(
        Property::WITH_EVENTS.contains(&property),
        "check::solve_events: {property:?} is not a property of solves with events"
    );
    let events: &EventsRef<'_, T> = &events;
    let ode = ode.clone().gradient(Gradient::Exact);
    Setup { ode, field: &field, events: Some(events), inputs, ts, seed, property }.check()
}
