//! The differentiable solve by reversible steps, whose backward pass keeps nothing of the way.

use std::any::Any;
use std::sync::Arc;

use costate_ops::Real;
use costate_tape::{
    CallError, CallOp, CallRule, Error as TapeError, Evaluation, Result, Shape, Var,
};
use smallvec::SmallVec;

use crate::adjoint::Cotangents;
use crate::error::ErrorKind;
use crate::operation::solve_error;
use crate::reversible::{Reversible, Scheme};
use crate::reversible_adjoint::Back;
use crate::solve::check_times;
use crate::vector_field::{FieldMemory, FieldProgram, Replay, VectorField};

/// A solver by reversible steps whose solve is an operation of the tape.
///
/// Its gradient is that of what was computed, and needs no more memory for a million steps than for
/// one: the backward pass starts from the last state and undoes step by step. The states that are
/// asked for are results and are kept as such.
///
/// ```
/// use costate_odeint::{ReversibleOde, Rk4, Scheme};
/// use costate_tape::Tape;
/// use ndarray::arr1;
///
/// let tape = Tape::new();
/// let rate = tape.scalar(0.5);
/// let y0 = tape.constant(&arr1(&[2.0]));
/// let scheme = Scheme::Coupled { method: Rk4.into(), coupling: 0.999 };
/// // dy/dt = -rate y, so y(2) = 2 exp(-2 rate).
/// let ys = ReversibleOde::new(scheme, 100).solve(|_t, y| -(rate * y), y0, &[0.0, 2.0])?;
/// let d_rate = ys.index_axis(0, 1).sum().grad(&[rate])?[0];
/// assert!((d_rate.item() + 4.0 * (-1f64).exp()).abs() < 1e-7);
/// # Ok::<(), costate_tape::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ReversibleOde {
    scheme: Scheme,
    steps: usize,
}

impl ReversibleOde {
    /// A solver that takes `steps` equal steps from each time to the next.
    pub fn new(scheme: Scheme, steps: usize) -> ReversibleOde {
        ReversibleOde { scheme, steps }
    }

    /// Solves `dy/dt = f(t, y)`, `y(ts[0]) = y0`, and returns the states at `ts`, stacked along a
    /// new first axis: shape `[ts.len(), …shape of y0]`.
    ///
    /// `f` gets the time, 0-d, and the state, and is recorded once; whatever else it touches is
    /// captured, so that gradients flow to it and to `y0`. First derivatives in reverse mode only.
    ///
    /// # Errors
    /// If the times, the scheme or the number of steps make no sense, the state is empty, the field
    /// reads numbers ([`Var::value`]), or a state is not finite.
    ///
    /// # Panics
    /// If `f` returns another shape than that of the state.
    #[track_caller]
    pub fn solve<'t, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        y0: Var<'t, T>,
        ts: &[f64],
    ) -> Result<Var<'t, T>> {
        let tape = y0.tape();
        check_times(ts).map_err(solve_error)?;
        if self.steps == 0 {
            let (option, expected) = ("steps", "at least 1");
            return Err(solve_error(ErrorKind::BadOption { option, value: 0.0, expected }));
        }
        let start = tape.scalar(T::from_f64(ts[0]));
        let scope = tape.scope(&[start, y0], |x| {
            let slope = f(x[0], x[1]);
            let (found, expected) = (slope.shape(), x[1].shape());
            assert!(
                found == expected,
                "solve: the field returns shape {found} for a state of shape {expected}"
            );
            Ok::<_, TapeError>(vec![slope])
        })?;
        let op = SolveOp {
            scheme: self.scheme,
            steps: self.steps,
            ts: ts.into(),
            field: Arc::new(VectorField::new(scope.function)?),
        };
        let inputs: Vec<_> = [y0].into_iter().chain(scope.captured).collect();
        Ok(tape.call(Arc::new(op), &inputs)?[0])
    }
}

/// `y0, captured… ↦ y(times)`.
#[derive(Clone, Debug)]
struct SolveOp<T: Real> {
    scheme: Scheme,
    steps: usize,
    ts: Arc<[f64]>,
    field: Arc<VectorField<T>>,
}

/// What a solve keeps: where it ended.
#[derive(Debug)]
struct SolveState<T: Real> {
    workspace: FieldMemory<T>,
    end: Option<Reversible<T>>,
}

impl<T: Real> SolveOp<T> {
    /// Time number `n` of the steps between save times `i` and `i + 1`: the same in both directions.
    fn time(&self, i: usize, n: usize) -> f64 {
        if n == self.steps {
            return self.ts[i + 1];
        }
        self.ts[i] + (self.ts[i + 1] - self.ts[i]) * (n as f64 / self.steps as f64)
    }
}

impl<T: Real> CallOp<T> for SolveOp<T> {
    fn name(&self) -> &str {
        "reversible solve"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        vec![[self.ts.len()].iter().chain(inputs[0].iter()).copied().collect()]
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        Box::new(SolveState::<T> { workspace: FieldMemory::new(&self.field.program), end: None })
    }

    fn state_bytes(&self, state: &dyn Any) -> usize {
        let end = state.downcast_ref::<SolveState<T>>().and_then(|state| state.end.as_ref());
        end.map_or(0, |end| 2 * size_of_val(end.y()))
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let state: &mut SolveState<T> = e.state.downcast_mut().expect("made by `new_state`");
        let y0 = e.inputs[0].data;
        let captured: SmallVec<[&[T]; 16]> = e.inputs[1..].iter().map(|a| a.data).collect();
        let program = &self.field.program;
        let workspace = &mut state.workspace;
        let mut f = Replay::new(program, workspace, &captured)?;
        let mut solve = Reversible::new(self.scheme, &mut f, self.ts[0], y0)?;
        e.output[..y0.len()].copy_from_slice(y0);
        for i in 0..self.ts.len() - 1 {
            for n in 1..=self.steps {
                solve.step_to(&mut f, self.time(i, n))?;
                let component = solve.y().iter().position(|y| !y.is_finite());
                if let Some(component) = component {
                    let t = solve.t();
                    let kind = ErrorKind::NonFinite { t, stage: None, component };
                    return Err(Box::new(crate::Error::from(kind)));
                }
            }
            e.output[(i + 1) * y0.len()..(i + 2) * y0.len()].copy_from_slice(solve.y());
        }
        state.end = Some(solve);
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let Some(g) = cts[0] else { return Ok(vec![None; rule.inputs.len()]) };
        let wrt: Vec<usize> =
            (1..rule.inputs.len()).filter(|&i| rule.needs[i]).map(|i| i - 1).collect();
        let adjoint =
            AdjointOp { vjp: self.field.vjp(false, &wrt)?, solve: self.clone(), wrt: wrt.clone() };
        let inputs: Vec<_> = [rule.call].iter().chain(rule.inputs).chain([&g]).copied().collect();
        let found = g.tape().call(Arc::new(adjoint), &inputs)?;
        let mut bars = vec![None; rule.inputs.len()];
        bars[0] = Some(found[0]);
        for (i, &bar) in wrt.into_iter().zip(&found[1..]) {
            bars[i + 1] = Some(bar);
        }
        Ok(bars)
    }

    fn jvp<'t>(
        &self,
        _: &CallRule<'_, 't, T>,
        _: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        Err(first_only())
    }
}

fn first_only() -> TapeError {
    TapeError::from_call(
        "reversible solve",
        "a solve by reversible steps has first derivatives in reverse mode only; for others, solve \
         by `Ode`",
    )
}

/// The backward pass: `value of the solve, its inputs…, cotangent ↦ cotangents of its inputs`.
#[derive(Debug)]
struct AdjointOp<T: Real> {
    solve: SolveOp<T>,
    /// Which captured inputs' cotangents are wanted.
    wrt: Vec<usize>,
    vjp: FieldProgram<T>,
}

/// The memory of a backward pass.
#[derive(Debug)]
struct AdjointState<T: Real> {
    field: FieldMemory<T>,
    vjp: FieldMemory<T>,
    back: Back<T>,
}

impl<T: Real> CallOp<T> for AdjointOp<T> {
    fn name(&self) -> &str {
        "reversible adjoint"
    }

    fn reads_state(&self) -> bool {
        true
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        let captured = self.wrt.iter().map(|i| inputs[i + 2].clone());
        [inputs[1].clone()].into_iter().chain(captured).collect()
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        Box::new(AdjointState::<T> {
            field: FieldMemory::new(&self.solve.field.program),
            vjp: FieldMemory::new(&self.vjp),
            back: Back::default(),
        })
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let forward = e.producer.expect("the tape passes the state of the solve");
        let forward: &SolveState<T> = forward.downcast_ref().expect("the state of a solve");
        let mut solve = forward.end.clone().expect("the solve was evaluated");
        let state: &mut AdjointState<T> = e.state.downcast_mut().expect("made by `new_state`");
        let (g, inputs) = e.inputs[1..].split_last().expect("a cotangent comes last");
        let (y0, dim) = (inputs[0].data, inputs[0].data.len());
        let captured: SmallVec<[&[T]; 16]> = inputs[1..].iter().map(|a| a.data).collect();
        e.output.fill(T::zero());
        let (y0_bar, captured_bar) = e.output.split_at_mut(dim);
        let mut to = Cotangents { y0: y0_bar, times: None, captured: captured_bar };
        let program = &self.solve.field.program;
        let workspace = &mut state.field;
        let mut f = Replay::new(program, workspace, &captured)?;
        let (program, workspace) = (&self.vjp, &mut state.vjp);
        let mut vjp = Replay::new(program, workspace, &captured)?;
        let back = &mut state.back;
        back.start(dim);
        for i in (0..self.solve.ts.len() - 1).rev() {
            let g = &g.data[(i + 1) * dim..(i + 2) * dim];
            costate_ops::axpy(T::one(), g, &mut back.y);
            for n in (0..self.solve.steps).rev() {
                back.step(&mut solve, self.solve.time(i, n), &mut f, &mut vjp, &mut to)?;
            }
        }
        if self.solve.ts.len() > 1 {
            back.finish(&solve, y0, &mut vjp, &mut to)?;
        }
        costate_ops::axpy(T::one(), &g.data[..dim], &mut back.y);
        to.y0.copy_from_slice(&back.y);
        Ok(())
    }

    fn vjp<'t>(
        &self,
        _: &CallRule<'_, 't, T>,
        _: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        Err(first_only())
    }

    fn jvp<'t>(
        &self,
        _: &CallRule<'_, 't, T>,
        _: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        Err(first_only())
    }
}
