//! Computing again instead of keeping: a piece of program as one operation.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::Real;
use crate::call::{CallOp, CallRule, Evaluation};
use crate::error::CallError;
use crate::function::Function;
use crate::op::Result;
use crate::program::{Program, Workspace};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

/// A function whose intermediate values are not kept. Its derivatives are functions again, so they
/// are checkpoints too, to any order.
#[derive(Debug)]
struct Checkpoint<T: Real> {
    function: Function<T>,
    program: Program<T>,
}

impl<T: Real> Checkpoint<T> {
    fn operation(function: Function<T>) -> Result<Arc<dyn CallOp<T>>> {
        let program = Program::compile(&function)?;
        Ok(Arc::new(Checkpoint { function, program }))
    }
}

/// The numbers of what is there, with what is there.
fn present<'t, T: Real>(dots: &[Option<Var<'t, T>>]) -> (Vec<usize>, Vec<Var<'t, T>>) {
    dots.iter().enumerate().filter_map(|(i, dot)| Some((i, (*dot)?))).unzip()
}

impl<T: Real> CallOp<T> for Checkpoint<T> {
    fn name(&self) -> &str {
        "checkpoint"
    }

    fn output_shapes(&self, _: &[Shape]) -> Vec<Shape> {
        self.function.output_shapes()
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        // The memory is given back: keeping it is what a checkpoint avoids.
        let mut workspace = Workspace::new(&self.program);
        let mut inputs: SmallVec<[&[T]; 16]> = SmallVec::new();
        inputs.extend(e.inputs.iter().map(|a| a.data));
        let outputs = self.program.evaluate(&mut workspace, &inputs)?;
        let mut rest = &mut *e.output;
        for i in 0..self.program.output_shapes().len() {
            let value = outputs.get(i);
            let (to, after) = rest.split_at_mut(value.len());
            to.copy_from_slice(value);
            rest = after;
        }
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let wrt: Vec<usize> = (0..rule.inputs.len()).filter(|&i| rule.needs[i]).collect();
        let zeros = rule.outputs.iter().enumerate();
        let cts: Vec<_> = zeros
            .map(|(i, y)| cts.get(i).copied().flatten().unwrap_or_else(|| y.zeros_like()))
            .collect();
        let inputs: Vec<_> = rule.inputs.iter().copied().chain(cts).collect();
        let op = Checkpoint::operation(self.function.vjp(&wrt)?)?;
        let mut bars = vec![None; rule.inputs.len()];
        for (i, bar) in wrt.into_iter().zip(rule.call.tape().call(op, &inputs)?) {
            bars[i] = Some(bar);
        }
        Ok(bars)
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let (wrt, dots) = present(dots);
        let inputs: Vec<_> = rule.inputs.iter().copied().chain(dots).collect();
        let op = Checkpoint::operation(self.function.jvp(&wrt)?)?;
        let found = rule.call.tape().call(op, &inputs)?;
        // The values come first, then their tangents.
        Ok(found.into_iter().skip(rule.outputs.len()).map(Some).collect())
    }
}

impl<T: Real> Tape<T> {
    /// `f(inputs)` as one operation that keeps no intermediate value: a gradient computes them
    /// again. What `f` captures is found by itself, as in a [`scope`](Tape::scope).
    ///
    /// ```
    /// use costate_tape::Tape;
    ///
    /// let tape = Tape::new();
    /// let (x, w) = (tape.scalar(0.5), tape.scalar(2.0));
    /// let y = tape.checkpoint(&[x], |x| Ok(vec![(w * x[0]).tanh().sin()]))?[0];
    /// let g = y.grad(&[w])?[0];
    /// let t = 1f64.tanh();
    /// assert!((g.item() - 0.5 * (1.0 - t * t) * t.cos()).abs() < 1e-15);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `f`, or if it [reads a number](Var::value).
    #[track_caller]
    pub fn checkpoint<'t>(
        &'t self,
        inputs: &[Var<'t, T>],
        f: impl FnOnce(&[Var<'t, T>]) -> Result<Vec<Var<'t, T>>>,
    ) -> Result<Vec<Var<'t, T>>> {
        let scope = self.scope(inputs, f)?;
        let inputs: Vec<_> = inputs.iter().copied().chain(scope.captured).collect();
        self.call(Checkpoint::operation(scope.function)?, &inputs)
    }
}
