//! The open end of the tape: operations that users, and the ODE solve, add.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use crate::Real;
use crate::error::CallError;
use crate::op::{Op, Result, flat_shape};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

pub use crate::op::Arg;

/// An operation that is not built in.
///
/// It computes outputs from inputs, and says how to differentiate itself **in terms of
/// operations** on [`Var`]s: those may be built-in ones or further `CallOp`s. What it emits is
/// recorded, so derivatives of any order come from these two rules.
///
/// ```
/// use std::sync::Arc;
/// use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Tape, Var};
///
/// /// `x eˣ`.
/// #[derive(Debug)]
/// struct XExp;
///
/// impl CallOp<f64> for XExp {
///     fn name(&self) -> &str {
///         "x_exp"
///     }
///     fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
///         vec![inputs[0].clone()]
///     }
///     fn eval(&self, e: &mut Evaluation<'_, f64>) -> std::result::Result<(), CallError> {
///         for (y, x) in e.output.iter_mut().zip(e.inputs[0].data) {
///             *y = x * x.exp();
///         }
///         Ok(())
///     }
///     fn vjp<'t>(
///         &self,
///         rule: &CallRule<'_, 't, f64>,
///         cts: &[Option<Var<'t, f64>>],
///     ) -> Result<Vec<Option<Var<'t, f64>>>> {
///         let x = rule.inputs[0];
///         Ok(vec![cts[0].map(|g| g * (x + 1.0) * x.exp())])
///     }
///     fn jvp<'t>(
///         &self,
///         rule: &CallRule<'_, 't, f64>,
///         dots: &[Option<Var<'t, f64>>],
///     ) -> Result<Vec<Option<Var<'t, f64>>>> {
///         self.vjp(rule, dots) // the Jacobian is diagonal
///     }
/// }
///
/// let tape = Tape::new();
/// let x = tape.scalar(1.0);
/// let y = tape.call(Arc::new(XExp), &[x])?[0];
/// let dy = y.grad(&[x])?[0];
/// let ddy = dy.grad(&[x])?[0];
/// assert!((ddy.item() - 3.0 * 1f64.exp()).abs() < 1e-12);
/// # Ok::<(), costate_tape::Error>(())
/// ```
pub trait CallOp<T: Real>: Debug + Send + Sync {
    /// The name in printed programs and messages.
    fn name(&self) -> &str;

    /// The shapes of the outputs.
    ///
    /// # Panics
    /// If the operation cannot take inputs of these shapes; the message names them.
    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape>;

    /// What [`eval`](CallOp::eval) keeps between evaluations, such as buffers, and what a later
    /// operation may [read](CallOp::reads_state). One is made for each place of the operation on
    /// a tape, and for each place in a program and workspace.
    fn new_state(&self) -> Box<dyn Any + Send> {
        Box::new(())
    }

    /// How many bytes of its state an operation keeps for later ones.
    fn state_bytes(&self, _state: &dyn Any) -> usize {
        0
    }

    /// Whether the first input is the value of another call whose state this operation reads, as
    /// the backward pass of a solve reads the steps of the forward pass.
    fn reads_state(&self) -> bool {
        false
    }

    /// Whether its evaluation shares work between threads again and again, so that these had better stay
    /// awake: the evaluations of a field with a large batch, say.
    fn shares_work(&self) -> bool {
        false
    }

    /// Computes the outputs. Must be a function of the inputs alone (and of the state that it
    /// [reads](CallOp::reads_state)).
    ///
    /// # Errors
    /// Whatever can go wrong with the data.
    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError>;

    /// The reverse rule: from a cotangent of each output, where `None` is zero, the cotangents of
    /// the inputs. Only those in `rule.needs` are used.
    ///
    /// # Errors
    /// Those of what it records.
    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>>;

    /// The forward rule: from a tangent of each input, where `None` is zero, the tangents of the
    /// outputs.
    ///
    /// # Errors
    /// Those of what it records.
    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>>;
}

/// One evaluation of a [`CallOp`].
#[derive(Debug)]
pub struct Evaluation<'a, T: Real> {
    /// The inputs.
    pub inputs: &'a [Arg<'a, T>],
    /// Where the outputs go, one after another; what it holds before is undefined.
    pub output: &'a mut [T],
    /// What [`CallOp::new_state`] made, as the last evaluation left it.
    pub state: &'a mut dyn Any,
    /// The state of the call whose value is the first input, if the operation
    /// [reads it](CallOp::reads_state).
    pub producer: Option<&'a dyn Any>,
}

/// What a rule of a [`CallOp`] sees.
#[derive(Debug)]
pub struct CallRule<'a, 't, T: Real> {
    /// The value of the call itself: the first input of an operation that
    /// [reads its state](CallOp::reads_state).
    pub call: Var<'t, T>,
    /// The inputs.
    pub inputs: &'a [Var<'t, T>],
    /// The outputs.
    pub outputs: &'a [Var<'t, T>],
    /// Which inputs a cotangent is wanted for (in a forward rule: which have a tangent).
    pub needs: &'a [bool],
}

impl<T: Real> Tape<T> {
    /// Reads the state of the call that `x` is the value, or an output, of.
    ///
    /// What is recorded from it depends on the data, so that it cannot be replayed on other
    /// inputs; see [`Var::value`](crate::Var::value). `None` if `x` is no such thing, or has only
    /// been traced.
    #[track_caller]
    pub fn read_state<R>(&self, x: Var<'_, T>, read: impl FnOnce(&dyn Any) -> R) -> Option<R> {
        let loc = std::panic::Location::caller();
        let mut graph = self.graph().borrow_mut();
        let mut id = x.id();
        while graph.node(id).op.alias_offset().is_some() {
            id = graph.node(id).args[0];
        }
        graph.observe(loc);
        graph.states.get(&id).map(|state| read(&**state))
    }

    /// The value of the call that `x` is an output of, or is itself: the first input of an operation
    /// that [reads its state](CallOp::reads_state). `None` if `x` is neither.
    pub fn producer<'t>(&'t self, x: Var<'t, T>) -> Option<Var<'t, T>> {
        let graph = self.graph().borrow();
        let mut id = x.id();
        while graph.node(id).op.alias_offset().is_some() {
            id = graph.node(id).args[0];
        }
        matches!(graph.node(id).op, Op::Call(_)).then(|| Var::new(self, id))
    }

    /// Records a user's operation and evaluates it.
    ///
    /// # Errors
    /// Those of its evaluation.
    ///
    /// # Panics
    /// If the operation does not take inputs of these shapes.
    #[track_caller]
    pub fn call<'t>(
        &'t self,
        op: Arc<dyn CallOp<T>>,
        inputs: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape()).collect();
        let outputs = op.output_shapes(&shapes);
        let call = self.record(Op::Call(op), inputs, flat_shape(&outputs))?;
        Ok(self.project(call, outputs))
    }

    /// The outputs of a call.
    #[track_caller]
    pub(crate) fn project<'t>(&'t self, call: Var<'t, T>, outputs: Vec<Shape>) -> Vec<Var<'t, T>> {
        let mut offset = 0;
        let outputs = outputs.into_iter().enumerate().map(|(output, shape)| {
            let len = shape.numel();
            let var = call.record(Op::Project { output, offset }, &[], shape);
            offset += len;
            var
        });
        outputs.collect()
    }
}
