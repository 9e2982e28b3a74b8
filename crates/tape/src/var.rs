//! A variable: a handle to a recorded value.

use std::fmt;

use ndarray::{ArrayD, IxDyn};

use crate::Real;
use crate::graph::NodeId;
use crate::op::Op;
use crate::shape::Shape;
use crate::tape::Tape;

/// A handle to a value on a [`Tape`]. It is `Copy`: `a * b + a` needs no clone.
///
/// Operations on it are methods and operators. Shapes broadcast as in NumPy and `ndarray`;
/// shapes that do not match panic, naming both and the caller's line.
pub struct Var<'t, T: Real> {
    tape: &'t Tape<T>,
    id: NodeId,
}

impl<T: Real> Clone for Var<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Real> Copy for Var<'_, T> {}

impl<T: Real> fmt::Debug for Var<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let graph = self.tape.graph().borrow();
        let node = graph.node(self.id);
        write!(f, "%{} {}{}", self.id, node.op.name(), graph.shape(self.id))
    }
}

impl<'t, T: Real> Var<'t, T> {
    pub(crate) fn new(tape: &'t Tape<T>, id: NodeId) -> Var<'t, T> {
        Var { tape, id }
    }

    pub(crate) fn id(self) -> NodeId {
        self.id
    }

    /// The tape it lives on.
    pub fn tape(self) -> &'t Tape<T> {
        self.tape
    }

    /// Its shape.
    pub fn shape(self) -> Shape {
        self.tape.graph().borrow().shape(self.id).clone()
    }

    /// A copy of its value.
    ///
    /// Inside a [scope](Tape::scope), or while a function is recorded for replay, reading a number
    /// makes the recording depend on it: such a function is recorded again for other inputs
    /// instead of being replayed.
    ///
    /// # Panics
    /// If the variable belongs to a function that is only traced and has no value.
    #[track_caller]
    pub fn value(self) -> ArrayD<T> {
        ArrayD::from_shape_vec(IxDyn(&self.shape()), self.to_vec())
            .expect("a value has as many entries as its shape")
    }

    /// A copy of its entries in row-major order. See [`Var::value`] about scopes.
    ///
    /// # Panics
    /// If the variable belongs to a function that is only traced and has no value.
    #[track_caller]
    pub fn to_vec(self) -> Vec<T> {
        let mut graph = self.tape.graph().borrow_mut();
        assert!(!graph.symbolic, "a variable of a function being traced has no value to read");
        let loc = std::panic::Location::caller();
        graph.check_open(self.id, loc);
        graph.observe(loc);
        graph.value(self.id).to_vec()
    }

    /// The only entry of a variable that has one. See [`Var::value`] about scopes.
    ///
    /// # Panics
    /// If it has another number of entries.
    #[track_caller]
    pub fn item(self) -> T {
        let shape = self.shape();
        assert!(shape.numel() == 1, "item: shape {shape} has {} entries, not 1", shape.numel());
        self.to_vec()[0]
    }

    /// Records an operation whose first argument is this. For operations that cannot fail.
    #[track_caller]
    pub(crate) fn record(self, op: Op<T>, rest: &[Var<'t, T>], shape: Shape) -> Var<'t, T> {
        let mut args = smallvec::SmallVec::<[Var<'t, T>; 4]>::from_slice(&[self]);
        args.extend_from_slice(rest);
        match self.tape.record(op, &args, shape) {
            Ok(var) => var,
            Err(e) => unreachable!("only calls can fail: {e}"),
        }
    }
}
