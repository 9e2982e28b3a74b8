//! Random events.

use costate_tape::Var;
use costate_tape::check::strategy::{Network, array, network};
use ndarray::{ArrayD, arr1};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{RandomSolve, solve};
use crate::Real;
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

/// A random event: that `t - τ + ε sin(w · y)` passes through zero.
///
/// Each event has a part of the solve for itself, in which `τ` and `ε` let it happen once, whatever
/// the state, unless another event has ended the solve before; and `ε` is so small that the function
/// passes through zero at least half as fast as the time: none grazes. A change after which the solve
/// goes on leaves `w · y` as it is, so that the event does not happen again; in one dimension it
/// leaves the state.
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
    /// The field, but for a `tanh`, the times, the method.
    pub solve: RandomSolve<T>,
    /// One or two events.
    pub events: Vec<RandomEvent<T>>,
}

/// Random solves with events by one of the given methods, for
/// [`check::solve_events`](crate::check::solve_events).
///
/// ```
/// use costate_odeint::{Tsit5, check::{self, strategy}};
/// use proptest::prelude::*;
///
/// let config = ProptestConfig { cases: 2, failure_persistence: None, ..Default::default() };
/// proptest!(config, |(random in strategy::solve_events::<f64>([Tsit5.into()]))| {
///     let (solve, inputs) = (&random.solve, random.inputs());
///     check::solve_events(
///         &solve.ode(),
///         |w, t, y| Ok(random.field(w, t, y)),
///         |w| random.events(w),
///         &inputs,
///         &solve.ts,
///     )
///     .map_err(|e| TestCaseError::fail(e.to_string()))?;
/// });
/// ```
pub fn solve_events<T: Real>(
    methods: impl IntoIterator<Item = Method>,
) -> impl Strategy<Value = RandomEvents<T>> {
    solve::<T>(methods).prop_flat_map(|solve| {
        let (dim, first, last) = (solve.y0.len(), solve.ts[0], solve.ts[solve.ts.len() - 1]);
        let happening =
            prop::sample::select(vec![Happening::Change, Happening::Watch, Happening::End]);
        let event = (0.2..0.8f64, -1.0..1.0f64, array::<T>(&[dim], -1.0..1.0))
            .prop_flat_map(move |when| (Just(when), network::<T>(dim, dim), happening.clone()));
        (Just(solve), vec(event, 1..=2)).prop_map(move |(solve, events)| {
            let part = (last - first) / events.len() as f64;
            let events = events.into_iter().enumerate().map(|(i, (when, change, happening))| {
                let (at, size, direction) = when;
                // No entry of w, nor of the field, is larger than 1.
                let most = f64::min(0.15 * part.abs(), 0.5 / dim as f64);
                let when = [first + (i as f64 + at) * part, size * most].map(T::from_f64);
                RandomEvent { when: arr1(&when).into_dyn(), direction, change, happening }
            });
            let events = events.collect();
            RandomEvents { solve, events }
        })
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

    /// The field, with weights as they are after the initial state.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn field<'t>(&self, weights: &[Var<'t, T>], t: Var<'t, T>, y: Var<'t, T>) -> Var<'t, T> {
        self.solve.field(&weights[..self.solve.network.weights.len()], t, y).tanh()
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
            match event.happening {
                Happening::Watch => root,
                Happening::Change => root.change(move |_, y: Var<'t, T>| {
                    if y.shape().numel() == 1 {
                        return y;
                    }
                    let by = network.apply(change, y);
                    // Finite for w = 0, too.
                    let square = direction.square().sum() + T::from_f64(1e-30);
                    y + by - direction * ((direction * by).sum() / square)
                }),
                Happening::End => root.change(move |_, y| network.apply(change, y)).terminal(),
            }
        };
        self.events.iter().map(one).collect()
    }
}
