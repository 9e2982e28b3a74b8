//! A vector field that was recorded: its programs, and how a solver runs them.

use costate_ops::Real;
use costate_tape::{Function, Outputs, Program, Result, Workspace};
use smallvec::SmallVec;

use crate::error::FieldError;
use crate::field::Field;

/// A recorded field; the inputs of its function are the time, the state, and what it captures.
#[derive(Debug)]
pub(crate) struct VectorField<T: Real> {
    pub function: Function<T>,
    pub program: Program<T>,
}

impl<T: Real> VectorField<T> {
    pub fn new(function: Function<T>) -> Result<VectorField<T>> {
        let program = Program::compile(&function)?;
        Ok(VectorField { function, program })
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

/// A program of a field at work, with what the field captures.
pub(crate) struct Replay<'a, T: Real> {
    pub program: &'a Program<T>,
    pub workspace: &'a mut Workspace<T>,
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
        let mut inputs: SmallVec<[&[T]; 16]> = SmallVec::new();
        inputs.push(&t);
        inputs.push(y);
        for captured in self.captured {
            inputs.push(captured);
        }
        if let Some(cotangent) = cotangent {
            inputs.push(cotangent);
        }
        Ok(read(self.program.evaluate(self.workspace, &inputs)?))
    }
}

impl<T: Real> Field<T> for Replay<'_, T> {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> std::result::Result<(), FieldError> {
        self.run(t, y, None, |outputs| dy.copy_from_slice(outputs.get(0)))?;
        Ok(())
    }
}
