//! Random events.

use costate_ops::Real;
use costate_tape::Var;
use costate_tape::check::strategy::{Network, array, network};
use ndarray::{ArrayD, arr1};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{RandomSolve, solve};
use crate::method::Method;
use crate::var_event::VarEvent;

/// What happens at a random event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// The state becomes another.
    Change,
    /// Nothing.
    Watch,
    /// The solve ends, with a changed state.
    End,
}

/// A random event: that `t - τ + ε sin(w · y)` passes through zero, where `ε` is at most half the
/// distance of `τ` from the ends of the solve. So it happens inside, whatever the field, unless
/// another event ends the solve before.
#[derive(Clone, Debug)]
pub struct RandomEvent<T: Real> {
    /// `τ` and `ε`.
    pub when: ArrayD<T>,
    /// `w`, as long as the state.
    pub direction: ArrayD<T>,
    /// What it makes of the state.
    pub change: Network<T>,
    /// What happens.
    pub happening: Happening,
}

/// A small random field with events, and how it is solved.
#[derive(Clone, Debug)]
pub struct RandomEvents<T: Real> {
    /// The field, the times, the method.
    pub solve: RandomSolve<T>,
    /// One or two events.
    pub events: Vec<RandomEvent<T>>,
}

/// Random solves with events by one of the given methods, for
/// [`check::solve_events`](crate::check::solve_events).
///
/// Few of them come near to [where the solve is not smooth](crate::check::NotSmooth): a test should
/// reject those.
///
/// ```
/// use costate_odeint::{Tsit5, check::{self, strategy}};
/// use proptest::prelude::*;
///
/// let config = ProptestConfig { cases: 2, failure_persistence: None, ..Default::default() };
/// proptest!(config, |(random in strategy::solve_events::<f64>([Tsit5.into()]))| {
///     let (solve, inputs) = (&random.solve, random.inputs());
///     let field = |w: &[_], t, y| Ok(solve.field(random.of_field(w), t, y));
///     check::solve_events(&solve.ode(), field, |w| random.events(w), &inputs, &solve.ts)
///         .map_err(|e| match e.is::<check::NotSmooth>() {
///             true => TestCaseError::reject(e.to_string()),
///             false => TestCaseError::fail(e.to_string()),
///         })?;
/// });
/// ```
pub fn solve_events<T: Real>(
    methods: impl IntoIterator<Item = Method>,
) -> impl Strategy<Value = RandomEvents<T>> {
    solve::<T>(methods).prop_flat_map(|solve| {
        let (dim, first, last) = (solve.y0.len(), solve.ts[0], solve.ts[solve.ts.len() - 1]);
        let happening =
            prop::sample::select(vec![Happening::Change, Happening::Watch, Happening::End]);
        let event = (0.2..0.8f64, -0.5..0.5f64, array::<T>(&[dim], -1.0..1.0))
            .prop_flat_map(move |when| (Just(when), network::<T>(dim, dim), happening.clone()))
            .prop_map(move |((part, size, direction), change, happening)| {
                let span = last - first;
                let margin = part.min(1.0 - part) * span.abs();
                let when = [first + part * span, size * margin].map(T::from_f64);
                RandomEvent { when: arr1(&when).into_dyn(), direction, change, happening }
            });
        (Just(solve), vec(event, 1..=2)).prop_map(|(solve, events)| RandomEvents { solve, events })
    })
}

impl<T: Real> RandomEvents<T> {
    /// The initial state, the weights of the field, and for each event `[τ, ε]`, `w` and the weights
    /// of its change: the inputs of [`check::solve_events`](crate::check::solve_events).
    pub fn inputs(&self) -> Vec<ArrayD<T>> {
        let of_events = self.events.iter().flat_map(|event| {
            [&event.when, &event.direction].into_iter().chain(&event.change.weights).cloned()
        });
        self.solve.inputs().into_iter().chain(of_events).collect()
    }

    /// The weights of the field, of those after the initial state.
    pub fn of_field<'w, 't>(&self, weights: &'w [Var<'t, T>]) -> &'w [Var<'t, T>] {
        &weights[..self.solve.network.weights.len()]
    }

    /// The events, with weights as they are after the initial state.
    pub fn events<'a, 't>(&self, weights: &'a [Var<'t, T>]) -> Vec<VarEvent<'a, 't, T>> {
        let mut rest = &weights[self.solve.network.weights.len()..];
        let one = |event: &RandomEvent<T>| {
            let (own, others) = rest.split_at(2 + event.change.weights.len());
            rest = others;
            let (when, direction, change) = (own[0], own[1], &own[2..]);
            let root = VarEvent::new(move |t, y| {
                let bent = when.index_axis(0, 1) * (direction * y).sum().sin();
                t - when.index_axis(0, 0) + bent
            });
            let network = event.change.clone();
            let changed = move |_, y| network.apply(change, y);
            match event.happening {
                Happening::Watch => root,
                Happening::Change => root.change(changed),
                Happening::End => root.change(changed).terminal(),
            }
        };
        self.events.iter().map(one).collect()
    }
}
