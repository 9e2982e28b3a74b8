//! The pieces of a solve with events: how one is solved on numbers, and on the tape.

use std::sync::Arc;

use costate_tape::{CallOp, Result, Shape, Tape, Var};

use crate::Real;
use crate::additive::Portion;
use crate::error::{Error, ErrorKind, FieldError};
use crate::grid::StepEnd;
use crate::instrument::Probe;
use crate::ode::{Gradient, Ode, Recorded};
use crate::operation::SolveOp;
use crate::solver::{Solved, Solver};
use crate::var_event::RecordingRef;

/// The field: how it is solved on numbers, and on the tape.
pub(crate) enum Pieces<'t, T: Real> {
    /// As one operation.
    Compiled { op: Arc<SolveOp<T>>, captured: Vec<Var<'t, T>>, numbers: Vec<Vec<T>> },
    /// It reads numbers, or every stage is to be recorded.
    Recorded { shape: Shape, tape: &'t Tape<T> },
}

impl<'t, T: Real> Pieces<'t, T> {
    pub fn new(
        ode: &Ode,
        f: &RecordingRef<'_, 't, T>,
        start: Var<'t, T>,
        y0: Var<'t, T>,
    ) -> Result<Pieces<'t, T>> {
        let tape = y0.tape();
        let scope =
            tape.scope(&[start, y0], |x| Ok::<_, costate_tape::Error>(vec![f(x[0], x[1])?]))?;
        if ode.gradient == Gradient::Unrolled || scope.function.is_value_dependent() {
            return Ok(Pieces::Recorded { shape: y0.shape(), tape });
        }
        let op = Arc::new(ode.operation(scope.function, None)?);
        let captured = scope.captured.to_vec();
        let numbers = captured.iter().map(|x| x.to_vec()).collect();
        Ok(Pieces::Compiled { op, captured, numbers })
    }

    /// The states at times, on the tape; with `grid`, by steps with these ends.
    pub fn solve(
        &self,
        ode: &Ode,
        f: &RecordingRef<'_, 't, T>,
        y: Var<'t, T>,
        times: Var<'t, T>,
        grid: Option<&[StepEnd]>,
    ) -> Result<Var<'t, T>> {
        match self {
            Pieces::Compiled { op, captured, .. } => {
                let op: Arc<dyn CallOp<T>> = match grid {
                    Some(grid) => Arc::new(SolveOp { probe: Probe::on(grid), ..(**op).clone() }),
                    None => op.clone(),
                };
                let inputs: Vec<_> = [y, times].iter().chain(captured).copied().collect();
                Ok(y.tape().call(op, &inputs)?[0])
            }
            Pieces::Recorded { .. } => ode.try_solve(f, y, times),
        }
    }

    /// A run of the solver on numbers.
    pub fn locate(
        &self,
        solver: Solver<'_, T>,
        f: &RecordingRef<'_, 't, T>,
        y: &[T],
        ts: &[f64],
    ) -> std::result::Result<Solved<T>, Error> {
        match self {
            Pieces::Compiled { op, numbers, .. } => {
                let captured: Vec<&[T]> = numbers.iter().map(|x| x.as_slice()).collect();
                let field = &op.field;
                let mut memory = field.memory();
                let fail = |e: costate_tape::Error| ErrorKind::Field(FieldError::from(e));
                let replay = field.at_work(&mut memory, &captured).map_err(fail)?;
                solver.solve(replay, y, ts)
            }
            Pieces::Recorded { shape, tape } => {
                let field = Recorded(|portion, t: f64, y: &[T]| {
                    let (t, y) = (tape.scalar(T::from_f64(t)), tape.leaf(y, shape.clone()));
                    Ok((t, y, if portion == Portion::Rest { y.zeros_like() } else { f(t, y)? }))
                });
                solver.solve(field, y, ts)
            }
        }
    }
}
