//! The tape: where operations are recorded, in the order in which they ran.

use std::cell::RefCell;
use std::fmt;
use std::panic::Location;

use ndarray::{ArrayRef, Dimension};
use smallvec::SmallVec;

use crate::Real;
use crate::function::Function;
use crate::graph::{Args, Graph, Loc, NodeId, ScopeState};
use crate::op::{Op, Result};
use crate::shape::Shape;
use crate::var::Var;

/// A recording of operations and their values.
///
/// Running an ordinary Rust function on [`Var`]s records it: each operation is evaluated at once
/// and appended. A gradient is more operations on the same tape, so it can itself be
/// differentiated.
///
/// Memory is the values of all recorded operations, plus 80 bytes for each; it is given
/// back when the tape is dropped or [cleared](Tape::clear).
///
/// ```
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let x = tape.scalar(3.0);
/// let y = x * x + 2.0 * x;
/// assert_eq!(y.item(), 15.0);
/// assert_eq!(y.grad(&[x])?[0].item(), 8.0);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// A `Var` cannot outlive its tape:
///
/// ```compile_fail
/// let x = {
///     let tape = costate_tape::Tape::<f64>::new();
///     tape.scalar(1.0)
/// };
/// x + 1.0;
/// ```
pub struct Tape<T: Real> {
    graph: RefCell<Graph<T>>,
}

impl<T: Real> Default for Tape<T> {
    fn default() -> Tape<T> {
        Tape::new()
    }
}

impl<T: Real> fmt::Debug for Tape<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("nodes", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Real> Tape<T> {
    /// An empty tape.
    pub fn new() -> Tape<T> {
        Tape { graph: RefCell::new(Graph::new(false)) }
    }

    /// A tape that records shapes only: nothing is evaluated.
    pub(crate) fn symbolic() -> Tape<T> {
        Tape { graph: RefCell::new(Graph::new(true)) }
    }

    /// How many operations and leaves have been recorded.
    pub fn len(&self) -> usize {
        self.graph.borrow().nodes.len()
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes are kept: the recorded values and operations, and what operations such as
    /// an ODE solve keep for their backward pass.
    pub fn bytes(&self) -> usize {
        let graph = self.graph.borrow();
        let states = graph.states.iter().map(|(&id, state)| match &graph.node(id).op {
            Op::Call(call) => call.state_bytes(&**state),
            _ => 0,
        });
        graph.bytes() + states.sum::<usize>()
    }

    /// Forgets everything recorded, but keeps the memory for what comes next.
    pub fn clear(&mut self) {
        self.graph.get_mut().clear();
    }

    /// A leaf holding a copy of an `ndarray` array of any dimension.
    ///
    /// Every leaf can be differentiated with respect to, whether it is called a variable, a
    /// parameter or a constant.
    #[track_caller]
    pub fn constant<D: Dimension>(&self, array: &ArrayRef<T, D>) -> Var<'_, T> {
        match array.as_slice() {
            Some(entries) => self.leaf(entries, array.shape()),
            None => self.leaf(&array.iter().copied().collect::<Vec<T>>(), array.shape()),
        }
    }

    /// A leaf holding a copy of row-major entries.
    ///
    /// # Panics
    /// If the shape has another number of entries.
    #[track_caller]
    pub fn leaf(&self, entries: &[T], shape: impl Into<Shape>) -> Var<'_, T> {
        let shape = shape.into();
        assert!(
            entries.len() == shape.numel(),
            "leaf: {} entries given for shape {shape}, which has {}",
            entries.len(),
            shape.numel()
        );
        let loc = Location::caller();
        let id = self.graph.borrow_mut().push_leaf(Op::Const, &shape, entries, loc);
        Var::new(self, id)
    }

    /// A leaf holding one number, 0-d.
    #[track_caller]
    pub fn scalar(&self, value: T) -> Var<'_, T> {
        self.leaf(&[value], Shape::scalar())
    }

    /// A leaf whose entries are all `value`.
    #[track_caller]
    pub fn full(&self, shape: impl Into<Shape>, value: T) -> Var<'_, T> {
        self.scalar(value).broadcast_to(shape)
    }

    /// A leaf of zeros.
    #[track_caller]
    pub fn zeros(&self, shape: impl Into<Shape>) -> Var<'_, T> {
        self.full(shape, T::zero())
    }

    /// A leaf of ones.
    #[track_caller]
    pub fn ones(&self, shape: impl Into<Shape>) -> Var<'_, T> {
        self.full(shape, T::one())
    }

    /// Records `f` as a function of `inputs`, in place.
    ///
    /// Inside, `f` works on new variables with the shapes and values of `inputs`. Whatever else it
    /// touches that was recorded before is *captured*: it becomes a further input of the
    /// function, so a gradient of the function flows to it.
    ///
    /// # Panics
    /// A variable recorded inside must not be used after `f` has returned; only the function may.
    #[track_caller]
    pub fn scope<'t, E>(
        &'t self,
        inputs: &[Var<'t, T>],
        f: impl FnOnce(&[Var<'t, T>]) -> std::result::Result<Vec<Var<'t, T>>, E>,
    ) -> std::result::Result<Scope<'t, T>, E> {
        let open = self.open_scope(inputs, Location::caller());
        let vars: Vec<_> = open.inputs.iter().map(|&id| Var::new(self, id)).collect();
        let outputs = f(&vars);
        let scope = self.close_scope(open, outputs.as_deref().ok());
        outputs.map(|_| scope.expect("there are outputs"))
    }

    /// What is before a scope's function: compiled once for all functions, as is what is after it.
    fn open_scope(&self, inputs: &[Var<'_, T>], loc: &'static Location<'static>) -> OpenScope {
        let mut graph = self.graph.borrow_mut();
        let values = graph.entries();
        let scope = graph.scopes.len() as u32;
        graph.scopes.push(ScopeState::default());
        graph.open.push(scope);
        let start = graph.nodes.len() as NodeId;
        let inputs = inputs
            .iter()
            .map(|x| {
                let shape = graph.shape(x.id()).clone();
                let value = if graph.symbolic { Vec::new() } else { graph.value(x.id()).to_vec() };
                graph.push_leaf(Op::Input, &shape, &value, loc)
            })
            .collect();
        OpenScope { scope, start, values, inputs }
    }

    fn close_scope(&self, open: OpenScope, outputs: Option<&[Var<'_, T>]>) -> Option<Scope<'_, T>> {
        let mut graph = self.graph.borrow_mut();
        graph.open.pop();
        graph.scopes[open.scope as usize].closed = true;
        let observed = graph.scopes[open.scope as usize].observed;
        let extracted = outputs.map(|outputs| {
            let outputs: Vec<NodeId> = outputs.iter().map(|y| y.id()).collect();
            T::extract(&graph, open.start, &open.inputs, &outputs, observed)
        });
        // Nothing may read the values any more.
        graph.forget_values(open.start, open.values);
        let (function, captured) = extracted?;
        let captured = captured.iter().map(|&id| Var::new(self, id)).collect();
        Some(Scope { function, captured })
    }

    pub(crate) fn graph(&self) -> &RefCell<Graph<T>> {
        &self.graph
    }

    /// Runs `f`, attributing what it records to another line.
    pub(crate) fn blaming<R>(&self, loc: Loc, f: impl FnOnce() -> R) -> R {
        let before = self.graph.borrow_mut().blame.replace(loc);
        let result = f();
        self.graph.borrow_mut().blame = before;
        result
    }

    /// The number of a variable, which must be of this tape.
    #[track_caller]
    #[inline]
    pub(crate) fn own(&self, x: Var<'_, T>, what: &str) -> NodeId {
        if !std::ptr::eq(x.tape(), self) {
            two_tapes(what);
        }
        x.id()
    }

    /// Records an operation on variables of this tape.
    #[track_caller]
    pub(crate) fn record(
        &self,
        op: Op<T>,
        args: &[Var<'_, T>],
        shape: Shape,
    ) -> Result<Var<'_, T>> {
        let loc = Location::caller();
        // A loop, since a panic in a closure would not name the caller's line.
        let mut ids = Args::new();
        for arg in args {
            ids.push(self.own(*arg, op.name()));
        }
        let id = T::push(&mut self.graph.borrow_mut(), op, ids, &shape, loc)?;
        Ok(Var::new(self, id))
    }
}

#[cold]
#[track_caller]
fn two_tapes(what: &str) -> ! {
    panic!("{what}: the variables belong to two different tapes")
}

/// A scope whose function is being recorded.
struct OpenScope {
    scope: u32,
    /// Its first node, and how many entries there were before.
    start: NodeId,
    values: usize,
    inputs: Vec<NodeId>,
}

/// What [`Tape::scope`] recorded.
#[derive(Debug)]
pub struct Scope<'t, T: Real> {
    /// The function; its inputs are the given ones, then the captured ones.
    pub function: Function<T>,
    /// What the function touched that was recorded before.
    pub captured: SmallVec<[Var<'t, T>; 8]>,
}
