//! The storage behind a tape: nodes in the order of recording, their values in one arena.

use std::any::Any;
use std::collections::HashMap;
use std::panic::Location;

use costate_ops::Real;
use smallvec::SmallVec;

use crate::call::Evaluation;
use crate::error::Error;
use crate::op::{Arg, Op, eval};
use crate::shape::Shape;

/// The number of a node: its position on the tape.
pub(crate) type NodeId = u32;

/// The nodes that a node reads.
pub(crate) type Args = SmallVec<[NodeId; 2]>;

/// A source line.
pub(crate) type Loc = &'static Location<'static>;

/// Where a node's value lies in the arena.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Span {
    pub start: usize,
    pub len: usize,
}

/// One recorded operation.
#[derive(Clone, Debug)]
pub(crate) struct Node<T: Real> {
    pub op: Op<T>,
    pub args: Args,
    pub shape: Shape,
    pub value: Span,
    /// The user's line that recorded it.
    pub loc: Loc,
    /// The scope it was recorded in; 0 is the tape itself.
    pub scope: u32,
}

/// A function being recorded in place, or one whose recording has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScopeState {
    pub closed: bool,
    /// Where a number was read while it was being recorded.
    pub observed: Option<Loc>,
}

/// What a [`Tape`](crate::Tape) guards by a `RefCell`.
pub(crate) struct Graph<T: Real> {
    pub nodes: Vec<Node<T>>,
    pub values: Vec<T>,
    /// What `Call` operations keep from their evaluation, by node.
    pub states: HashMap<NodeId, Box<dyn Any + Send>>,
    pub scopes: Vec<ScopeState>,
    /// The scopes being recorded, innermost last.
    pub open: SmallVec<[u32; 4]>,
    /// Shapes only: nothing is evaluated.
    pub symbolic: bool,
    /// The line to which a differentiation rule attributes what it records.
    pub blame: Option<Loc>,
}

impl<T: Real> Graph<T> {
    pub fn new(symbolic: bool) -> Graph<T> {
        Graph {
            nodes: Vec::new(),
            values: Vec::new(),
            states: HashMap::new(),
            scopes: vec![ScopeState::default()],
            open: SmallVec::from_slice(&[0]),
            symbolic,
            blame: None,
        }
    }

    pub fn node(&self, id: NodeId) -> &Node<T> {
        &self.nodes[id as usize]
    }

    pub fn value(&self, id: NodeId) -> &[T] {
        let Span { start, len } = self.node(id).value;
        &self.values[start..start + len]
    }

    /// Records a leaf with the given value. On a symbolic tape only constants have one.
    pub fn push_leaf(&mut self, op: Op<T>, shape: Shape, value: &[T], loc: Loc) -> NodeId {
        let span = Span { start: self.values.len(), len: value.len() };
        self.values.extend_from_slice(value);
        self.push_node(op, Args::new(), shape, span, loc)
    }

    /// Records an operation and evaluates it.
    ///
    /// # Panics
    /// If an argument belongs to a scope whose recording has ended.
    pub fn push(&mut self, op: Op<T>, args: Args, shape: Shape, loc: Loc) -> Result<NodeId, Error> {
        for &arg in &args {
            self.check_open(arg, loc);
        }
        let id = self.nodes.len() as NodeId;
        let span = match op.alias(&args, |a| self.node(a).value.start, shape.numel()) {
            Some(span) => span,
            None if self.symbolic => Span::default(),
            None => self.evaluate(id, &op, &args, &shape, loc)?,
        };
        Ok(self.push_node(op, args, shape, span, loc))
    }

    fn evaluate(
        &mut self,
        id: NodeId,
        op: &Op<T>,
        args: &Args,
        shape: &Shape,
        loc: Loc,
    ) -> Result<Span, Error> {
        let (start, len) = (self.values.len(), shape.numel());
        self.values.resize(start + len, T::zero());
        let (head, out) = self.values.split_at_mut(start);
        let nodes = &self.nodes;
        let inputs: SmallVec<[Arg<'_, T>; 4]> = args
            .iter()
            .map(|&a| {
                let node = &nodes[a as usize];
                Arg { data: &head[node.value.start..][..node.value.len], shape: &node.shape }
            })
            .collect();
        if let Op::Call(call) = op {
            let mut state = call.new_state();
            let producer = args.first().and_then(|a| self.states.get(a)).map(|s| &**s as &dyn Any);
            let mut e = Evaluation { inputs: &inputs, output: out, state: &mut *state, producer };
            let loc = self.blame.unwrap_or(loc);
            call.eval(&mut e).map_err(|e| Error::call(call.name(), Some(loc), e))?;
            self.states.insert(id, state);
        } else {
            eval(op, &inputs, out, shape);
        }
        Ok(Span { start, len })
    }

    /// Gives back the memory of what was recorded since there were `start` nodes and `values`
    /// entries.
    pub fn forget_values(&mut self, start: NodeId, values: usize) {
        self.values.truncate(values);
        self.nodes[start as usize..].iter_mut().for_each(|node| node.value = Span::default());
        self.states.retain(|&id, _| id < start);
    }

    /// Panics if a node belongs to a scope whose recording has ended.
    pub fn check_open(&self, id: NodeId, loc: Loc) {
        let node = self.node(id);
        assert!(
            !self.scopes[node.scope as usize].closed,
            "a Var recorded at {} is used at {loc}, after the scope that it belongs to has \
             ended; return it from the scope instead",
            node.loc
        );
    }

    /// Notes that a number was read: what is being recorded depends on it.
    pub fn observe(&mut self, loc: Loc) {
        for &scope in &self.open {
            self.scopes[scope as usize].observed.get_or_insert(loc);
        }
    }

    fn push_node(&mut self, op: Op<T>, args: Args, shape: Shape, value: Span, loc: Loc) -> NodeId {
        let id = NodeId::try_from(self.nodes.len()).expect("a tape holds at most 2^32 nodes");
        let scope = *self.open.last().expect("the tape itself is always open");
        let loc = self.blame.unwrap_or(loc);
        self.nodes.push(Node { op, args, shape, value, loc, scope });
        id
    }
}
