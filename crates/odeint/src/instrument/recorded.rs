//! A field and what it captures, recorded for an instrument.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use costate_tape::{Function, Result, Var};
use smallvec::SmallVec;

use super::probe::Pass;
use crate::Real;
use crate::error::ErrorKind;
use crate::grid::GridStep;
use crate::ode::Ode;
use crate::operation::{SolveState, solve_error};
use crate::solve::check_times;
use crate::unroll::Frozen;

/// A recorded field; the inputs of its function are the time, the state and what it captures.
pub(crate) struct Recorded<'t, T: Real> {
    pub function: Function<T>,
    pub captured: SmallVec<[Var<'t, T>; 8]>,
}

impl<'t, T: Real> Recorded<'t, T> {
    /// Records a field at the start of a solve through the times `ts`.
    ///
    /// Fails if the times make no sense, the state is empty, or the field reads numbers.
    #[track_caller]
    pub fn new(
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        ts: &[f64],
    ) -> Result<Recorded<'t, T>> {
        check_times(ts).map_err(solve_error)?;
        if y0.shape().numel() == 0 {
            return Err(solve_error(ErrorKind::EmptyState));
        }
        let tape = y0.tape();
        let start = tape.scalar(T::from_f64(ts[0]));
        let scope = tape.scope(&[start, y0], |x| f(x[0], x[1]).map(|slope| vec![slope]))?;
        let (found, expected) = (scope.function.output_shapes()[0].clone(), y0.shape());
        assert!(
            found == expected,
            "the field returns shape {found} for a state of shape {expected}"
        );
        // Says so if the field reads numbers, which makes it one that cannot be replayed.
        scope.function.transform(&[], |_, _, outputs, _| Ok(outputs.to_vec()))?;
        Ok(Recorded { function: scope.function, captured: scope.captured })
    }
}

/// The steps of a solve by `ode`, whose states at `ts` are `ys`.
pub(crate) fn frozen<T: Real>(ys: Var<'_, T>) -> Option<Frozen<T>> {
    let read = |state: &dyn std::any::Any| {
        let state: &SolveState<T> = state.downcast_ref()?;
        Some(state.grid.frozen(&state.ts))
    };
    ys.tape().read_state(ys, read).flatten()
}

/// Step `n` of a grid by itself: its times are its start, the save times inside, and its end.
pub(crate) fn one_step<T: Real>(
    frozen: &Frozen<T>,
    n: usize,
    inside: &[f64],
    slopes: Vec<T>,
) -> Frozen<T> {
    let step = &frozen.steps[n];
    let ts: Vec<f64> = [step.t0].iter().chain(inside).chain([&step.t1]).copied().collect();
    let steps = vec![GridStep { saves: 1..ts.len(), ..step.clone() }];
    let starts = match slopes.is_empty() {
        true => vec![0],
        false => vec![0, frozen.starts[n + 1] - frozen.starts[n]],
    };
    Frozen {
        methods: frozen.methods,
        steps,
        ts,
        block: frozen.block,
        slopes,
        starts,
        states: Vec::new(),
        differences: Vec::new(),
        mass: None,
    }
}

/// Reads the record of a backward pass.
pub(crate) fn read<'a, T: Real>(
    pass: &'a Arc<Mutex<Pass<T>>>,
    ode: &Ode,
) -> Result<MutexGuard<'a, Pass<T>>> {
    let pass = pass.lock().unwrap_or_else(PoisonError::into_inner);
    match pass.ts.is_empty() {
        true => Err(solve_error(ErrorKind::NoRecord { method: ode.method().tableau().name })),
        false => Ok(pass),
    }
}
