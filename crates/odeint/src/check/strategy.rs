//! Random solves for property tests, as proptest strategies (feature `proptest`).
//!
//! A property test of an operation of one's own inside a field is a few lines; what fails shrinks to
//! the smallest network, the fewest times and the least steps that still fail.
//!
//! ```
//! use costate_odeint::{Method, check::{self, strategy}};
//! use proptest::prelude::*;
//!
//! proptest!(ProptestConfig::with_cases(2), |(random in strategy::solve::<f64>(Method::all()))| {
//!     let (ode, inputs) = (random.ode(), random.inputs());
//!     check::solve(&ode, |w, t, y| Ok(random.field(w, t, y.tanh())), &inputs, &random.ts)
//!         .map_err(|e| TestCaseError::fail(e.to_string()))?;
//! });
//! ```

mod events;

use std::fmt;

use costate_tape::Var;
use costate_tape::check::strategy::{Network, array, network};
use ndarray::ArrayD;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::Real;
use crate::method::Method;
use crate::ode::Ode;
pub use events::{Happening, RandomEvent, RandomEvents, solve_events};

/// A small random field, and how it is solved.
#[derive(Clone)]
pub struct RandomSolve<T: Real> {
    /// A network of the state and the sine of the time: the field.
    pub network: Network<T>,
    /// The initial state, with one to three components, or two or four if the method wants positions
    /// and momenta.
    pub y0: ArrayD<T>,
    /// Times that increase or decrease; the first and the last are at most 2.4 apart.
    pub ts: Vec<f64>,
    /// The method.
    pub method: Method,
    /// A tolerance, or how many equal steps.
    pub accuracy: Accuracy,
    /// For seeds and tangents.
    pub seed: u64,
}

/// How accurate a random solve is.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Accuracy {
    /// Adaptive steps with this relative and absolute tolerance.
    Tolerance(f64),
    /// As many equal steps.
    Steps(usize),
}

impl<T: Real> fmt::Debug for RandomSolve<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomSolve")
            .field("network", &self.network)
            .field("y0", &self.y0)
            .field("ts", &self.ts)
            .field("method", &self.method.tableau().name)
            .field("accuracy", &self.accuracy)
            .field("seed", &self.seed)
            .finish()
    }
}

/// Random solves by one of the given methods.
pub fn solve<T: Real>(
    methods: impl IntoIterator<Item = Method>,
) -> impl Strategy<Value = RandomSolve<T>> {
    let methods: Vec<Method> = methods.into_iter().collect();
    (0..methods.len(), 1usize..=3).prop_flat_map(move |(which, size)| {
        let method = methods[which];
        let dim = if method.tableau().is_partitioned() { 2 * size.min(2) } else { size };
        let adaptive = method.tableau().error.is_some();
        let accuracy =
            (any::<bool>(), 1usize..=8, 2i32..=6).prop_map(move |(equal, steps, digits)| {
                match (equal || !adaptive) && !method.tableau().is_multistep() {
                    true => Accuracy::Steps(steps),
                    false => Accuracy::Tolerance(10f64.powi(-digits)),
                }
            });
        let times = (-1.0..1.0f64, vec(0.05..0.8f64, 1..=3), any::<bool>());
        let ts = times.prop_map(|(start, gaps, backward)| {
            let sign = if backward { -1.0 } else { 1.0 };
            let sum = |t: &mut f64, gap: f64| {
                *t += sign * gap;
                Some(*t)
            };
            let later = gaps.into_iter().scan(start, sum);
            [start].into_iter().chain(later).collect::<Vec<f64>>()
        });
        let y0 = array::<T>(&[dim], -1.0..1.0);
        (network::<T>(dim + 1, dim), y0, ts, accuracy, any::<u64>()).prop_map(
            move |(network, y0, ts, accuracy, seed)| RandomSolve {
                network,
                y0,
                ts,
                method,
                accuracy,
                seed,
            },
        )
    })
}

impl<T: Real> RandomSolve<T> {
    /// The solver.
    pub fn ode(&self) -> Ode {
        match self.accuracy {
            Accuracy::Tolerance(tolerance) => Ode::new(self.method).tolerance(tolerance, tolerance),
            Accuracy::Steps(steps) => Ode::new(self.method).steps(steps),
        }
    }

    /// The initial state and the weights: the inputs of [`check::solve`](super::solve).
    pub fn inputs(&self) -> Vec<ArrayD<T>> {
        [&self.y0].into_iter().chain(&self.network.weights).cloned().collect()
    }

    /// The field with the given weights.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn field<'t>(&self, weights: &[Var<'t, T>], t: Var<'t, T>, y: Var<'t, T>) -> Var<'t, T> {
        self.network.apply(weights, Var::concat(0, &[y, t.sin().reshape([1])]))
    }
}
