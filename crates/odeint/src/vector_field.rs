//! A vector field that was recorded: its programs, and how a solver runs them.

use costate_ops::Real;
use costate_tape::{Function, Outputs, Program, Result, Shape, Workspace};
use smallvec::SmallVec;

use crate::error::FieldError;
use crate::field::{Field, difference_jacobian};

/// A recorded field; the inputs of its function are the time, the state, and what it captures.
#[derive(Debug)]
pub(crate) struct VectorField<T: Real> {
    pub function: Function<T>,
    pub program: Program<T>,
    /// From the inputs to the Jacobian, for implicit methods.
    pub jacobian: Option<Program<T>>,
}

/// States with more components have their Jacobian by one batched pass, whose program is shorter
/// but does more work, instead of a pass for each row.
const UNFOLDED: usize = 16;

impl<T: Real> VectorField<T> {
    /// With the Jacobian's program if `with_jacobian`.
    pub fn new(function: Function<T>, with_jacobian: bool) -> Result<VectorField<T>> {
        let program = Program::compile(&function)?;
        let jacobian = match with_jacobian {
            false => None,
            true => Some(Program::compile(&jacobian(&function)?)?),
        };
        Ok(VectorField { function, program, jacobian })
    }

    /// From the inputs and a cotangent of the slope to the cotangents of the state, of the time if
    /// asked for, and of the captured inputs of the given numbers.
    pub fn vjp(&self, time: bool, captured: &[usize]) -> Result<Program<T>> {
        let times = time.then_some(0);
        let captured = captured.iter().map(|i| i + 2);
        let wrt: Vec<usize> = [1].into_iter().chain(times).chain(captured).collect();
        Program::compile(&self.function.vjp(&wrt)?)
    }

    /// From the inputs and a cotangent of the slope to the slope and the cotangent of the state.
    pub fn hamiltonian(&self) -> Result<Program<T>> {
        let shapes = self.function.output_shapes();
        let function = self.function.transform(&shapes, |tape, inputs, outputs, cotangents| {
            let bar = tape.vjp(outputs, cotangents, &[inputs[1]])?[0];
            Ok(vec![outputs[0], bar])
        })?;
        Program::compile(&function)
    }
}

/// From the inputs to `∂f/∂y`, row-major.
fn jacobian<T: Real>(function: &Function<T>) -> Result<Function<T>> {
    let shape = function.input_shapes()[1].clone();
    if shape.numel() <= UNFOLDED {
        return function.jacobian(0, 1);
    }
    function.transform(&[], |tape, inputs, _, _| {
        let rows: Shape = [shape.numel()].iter().chain(shape.iter()).copied().collect();
        let n = shape.numel();
        let seeds: Vec<T> =
            (0..n * n).map(|ij| if ij % (n + 1) == 0 { T::one() } else { T::zero() }).collect();
        let seeds = tape.leaf(&seeds, rows);
        tape.vmap(&[seeds], |seed| {
            let slope = function.inline(tape, inputs)?;
            tape.vjp(&slope, seed, &[inputs[1]])
        })
    })
}

/// A program of a field at work, with what the field captures.
pub(crate) struct Replay<'a, T: Real> {
    pub program: &'a Program<T>,
    pub workspace: &'a mut Workspace<T>,
    pub jacobian: Option<(&'a Program<T>, &'a mut Workspace<T>)>,
    pub captured: &'a [&'a [T]],
    pub evaluations: usize,
}

impl<T: Real> Replay<'_, T> {
    /// Runs the program on a time, a state, what is captured, and a cotangent if it takes one.
    pub fn run<R>(
        &mut self,
        t: f64,
        y: &[T],
        cotangent: Option<&[T]>,
        read: impl FnOnce(Outputs<'_, T>) -> R,
    ) -> Result<R> {
        self.evaluations += 1;
        let t = [T::from_f64(t)];
        let inputs = inputs(&t, y, self.captured, cotangent);
        Ok(read(self.program.evaluate(self.workspace, &inputs)?))
    }
}

/// What a program of a field takes.
#[inline]
fn inputs<'a, T: Real>(
    t: &'a [T],
    y: &'a [T],
    captured: &[&'a [T]],
    cotangent: Option<&'a [T]>,
) -> SmallVec<[&'a [T]; 16]> {
    let mut inputs = SmallVec::new();
    inputs.push(t);
    inputs.push(y);
    for captured in captured {
        inputs.push(*captured);
    }
    if let Some(cotangent) = cotangent {
        inputs.push(cotangent);
    }
    inputs
}

impl<T: Real> Field<T> for Replay<'_, T> {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        self.run(t, y, None, |outputs| dy.copy_from_slice(outputs.get(0)))?;
        Ok(())
    }

    fn jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        jacobian: &mut [T],
    ) -> std::result::Result<(), FieldError> {
        let Some((program, workspace)) = &mut self.jacobian else {
            return difference_jacobian(self, t, y, dy, jacobian);
        };
        let t = [T::from_f64(t)];
        let inputs = inputs(&t, y, self.captured, None);
        jacobian.copy_from_slice(program.evaluate(workspace, &inputs)?.get(0));
        Ok(())
    }
}
