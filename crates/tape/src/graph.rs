//! The storage behind a tape: nodes in the order of recording, their values in one arena.

use std::any::Any;
use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use costate_ops::{Binary, Unary};
use smallvec::SmallVec;

use crate::Real;
use crate::call::Evaluation;
use crate::error::Error;
use crate::op::{Arg, Op};
use crate::shape::{Shape, ShapeId, Shapes};

/// The number of a node: its position on the tape.
pub(crate) type NodeId = u32;

/// The nodes that a node reads.
pub(crate) type Args = SmallVec<[NodeId; 2]>;

/// A source line.
pub(crate) type Loc = &'static Location<'static>;

/// One recorded operation.
#[derive(Clone, Debug)]
pub(crate) struct Node<T: Real> {
    pub op: Op<T>,
    pub args: Args,
    pub shape: ShapeId,
    /// The scope it was recorded in; 0 is the tape itself.
    pub scope: u32,
    /// Where its value begins in the arena. It has as many entries as its shape.
    pub start: usize,
    /// The user's line that recorded it.
    pub loc: Loc,
}

impl<T: Real> Node<T> {
    fn blank() -> Node<T> {
        let (op, args, shape) = (Op::Const, Args::new(), ShapeId::default());
        Node { op, args, shape, scope: 0, start: 0, loc: Location::caller() }
    }
}

/// A function being recorded in place, or one whose recording has ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ScopeState {
    pub closed: bool,
    /// Where a number was read while it was being recorded.
    pub observed: Option<Loc>,
}

/// A vector that grows ahead of its use, so that adding an entry is writing to a place that is there.
///
/// Nodes are written part by part. Pushed as a whole they would be put together elsewhere byte by
/// byte and copied in wide loads, which stalls: a third of the time of recording.
pub(crate) struct Slots<E> {
    entries: Vec<E>,
    used: usize,
}

impl<E: Clone> Slots<E> {
    fn new() -> Slots<E> {
        Slots { entries: Vec::new(), used: 0 }
    }

    /// Takes `len` more entries into use: those that were, and the new ones with old contents.
    #[inline(always)]
    fn take(&mut self, len: usize, blank: E) -> (&mut [E], &mut [E]) {
        let (start, end) = (self.used, self.used + len);
        if end > self.entries.len() {
            self.grow(end, blank);
        }
        self.used = end;
        let (before, rest) = self.entries.split_at_mut(start);
        (before, &mut rest[..len])
    }

    #[cold]
    fn grow(&mut self, end: usize, blank: E) {
        self.entries.resize(end.max(2 * self.entries.len()).max(256), blank);
    }
}

impl<E> Deref for Slots<E> {
    type Target = [E];
    #[inline(always)]
    fn deref(&self) -> &[E] {
        &self.entries[..self.used]
    }
}

impl<E> DerefMut for Slots<E> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [E] {
        &mut self.entries[..self.used]
    }
}

/// What a [`Tape`](crate::Tape) guards by a `RefCell`.
pub(crate) struct Graph<T: Real> {
    pub nodes: Slots<Node<T>>,
    pub shapes: Shapes,
    values: Slots<T>,
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
            nodes: Slots::new(),
            shapes: Shapes::default(),
            values: Slots::new(),
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

    pub fn shape(&self, id: NodeId) -> &Shape {
        self.shapes.get(self.node(id).shape)
    }

    pub fn value(&self, id: NodeId) -> &[T] {
        let node = self.node(id);
        &self.values[node.start..node.start + self.shapes.numel(node.shape)]
    }

    /// How many entries are in use.
    pub fn entries(&self) -> usize {
        self.values.used
    }

    /// How many bytes are held, but for what calls keep.
    pub fn bytes(&self) -> usize {
        self.values.used * size_of::<T>() + self.nodes.len() * size_of::<Node<T>>()
    }

    /// Forgets everything, but keeps the memory.
    pub fn clear(&mut self) {
        // What operations hold is given back now, and not when their place is used again.
        self.nodes.iter_mut().for_each(|node| node.op = Op::Const);
        self.nodes.used = 0;
        self.values.used = 0;
        self.states.clear();
        self.scopes.clear();
        self.scopes.push(ScopeState::default());
        self.open.truncate(1);
        self.blame = None;
    }

    /// Records a leaf with the given value. On a symbolic tape only constants have one.
    pub fn push_leaf(&mut self, op: Op<T>, shape: &Shape, value: &[T], loc: Loc) -> NodeId {
        let shape = self.shapes.id(shape);
        let start = self.values.used;
        self.values.take(value.len(), T::zero()).1.copy_from_slice(value);
        self.push_node(op, Args::new(), shape, start, loc)
    }

    /// Records an operation and evaluates it.
    ///
    /// # Panics
    /// If an argument belongs to a scope whose recording has ended.
    pub fn push(
        &mut self,
        op: Op<T>,
        args: Args,
        shape: &Shape,
        loc: Loc,
    ) -> Result<NodeId, Error> {
        for &arg in &args {
            self.check_open(arg, loc);
        }
        let id = self.nodes.len() as NodeId;
        let shape = self.shapes.id(shape);
        let start = match op.alias_offset() {
            Some(offset) => self.node(args[0]).start + offset,
            None if self.symbolic => 0,
            None => self.evaluate(id, &op, &args, shape, loc)?,
        };
        Ok(self.push_node(op, args, shape, start, loc))
    }

    /// Records a function of each entry.
    #[inline]
    pub fn push_unary(&mut self, f: Unary, x: NodeId, loc: Loc) -> NodeId {
        self.check_open(x, loc);
        let &Node { shape, start, .. } = self.node(x);
        let mut place = 0;
        if !self.symbolic {
            place = self.values.used;
            let len = self.shapes.numel(shape);
            let (before, out) = self.values.take(len, T::zero());
            costate_ops::unary(f, &before[start..start + len], out);
        }
        self.push_node(Op::Unary(f), SmallVec::from_slice(&[x]), shape, place, loc)
    }

    /// Records a function of two arrays' entries; `None` if their shapes differ.
    #[inline]
    pub fn push_binary(&mut self, f: Binary, a: NodeId, b: NodeId, loc: Loc) -> Option<NodeId> {
        let (x, y) = (self.node(a), self.node(b));
        let (shape, [i, j]) = (x.shape, [x.start, y.start]);
        if shape != y.shape {
            return None;
        }
        self.check_open(a, loc);
        self.check_open(b, loc);
        let mut place = 0;
        if !self.symbolic {
            place = self.values.used;
            let len = self.shapes.numel(shape);
            let (before, out) = self.values.take(len, T::zero());
            costate_ops::binary(f, &before[i..i + len], &before[j..j + len], out);
        }
        Some(self.push_node(Op::Binary(f), SmallVec::from_buf([a, b]), shape, place, loc))
    }

    /// Records `mul x + add`.
    #[inline]
    pub fn push_affine(&mut self, mul: T, add: T, x: NodeId, loc: Loc) -> NodeId {
        self.check_open(x, loc);
        let &Node { shape, start, .. } = self.node(x);
        let mut place = 0;
        if !self.symbolic {
            place = self.values.used;
            let len = self.shapes.numel(shape);
            let (before, out) = self.values.take(len, T::zero());
            costate_ops::affine(mul, add, &before[start..start + len], out);
        }
        self.push_node(Op::Affine { mul, add }, SmallVec::from_slice(&[x]), shape, place, loc)
    }

    fn evaluate(
        &mut self,
        id: NodeId,
        op: &Op<T>,
        args: &Args,
        shape: ShapeId,
        loc: Loc,
    ) -> Result<usize, Error> {
        let start = self.values.used;
        let (head, out) = self.values.take(self.shapes.numel(shape), T::zero());
        let (nodes, shapes) = (&self.nodes, &self.shapes);
        let inputs: SmallVec<[Arg<'_, T>; 4]> = args
            .iter()
            .map(|&a| {
                let node = &nodes[a as usize];
                let data = &head[node.start..][..shapes.numel(node.shape)];
                Arg { data, shape: shapes.get(node.shape) }
            })
            .collect();
        if let Op::Call(call) = op {
            out.fill(T::zero());
            let mut state = call.new_state();
            let producer = args.first().and_then(|a| self.states.get(a)).map(|s| &**s as &dyn Any);
            let mut e = Evaluation { inputs: &inputs, output: out, state: &mut *state, producer };
            let loc = self.blame.unwrap_or(loc);
            call.eval(&mut e).map_err(|e| Error::call(call.name(), Some(loc), e))?;
            self.states.insert(id, state);
        } else {
            T::evaluate_op(op, &inputs, out, shapes.get(shape));
        }
        Ok(start)
    }

    /// Gives back the memory of what was recorded since there were `start` nodes and `values`
    /// entries.
    pub fn forget_values(&mut self, start: NodeId, values: usize) {
        self.values.used = values;
        // Nobody may read them: the scope is closed.
        self.nodes[start as usize..].iter_mut().for_each(|node| node.start = 0);
        self.states.retain(|&id, _| id < start);
    }

    /// Panics if a node belongs to a scope whose recording has ended.
    #[inline]
    pub fn check_open(&self, id: NodeId, loc: Loc) {
        let node = self.node(id);
        if self.scopes[node.scope as usize].closed {
            used_too_late(node.loc, loc);
        }
    }

    /// Notes that a number was read: what is being recorded depends on it.
    pub fn observe(&mut self, loc: Loc) {
        for &scope in &self.open {
            self.scopes[scope as usize].observed.get_or_insert(loc);
        }
    }

    #[inline(always)]
    fn push_node(
        &mut self,
        op: Op<T>,
        args: Args,
        shape: ShapeId,
        start: usize,
        loc: Loc,
    ) -> NodeId {
        let id = NodeId::try_from(self.nodes.used).expect("a tape holds at most 2^32 nodes");
        let scope = *self.open.last().expect("the tape itself is always open");
        let loc = self.blame.unwrap_or(loc);
        let node = &mut self.nodes.take(1, Node::blank()).1[0];
        node.op = op;
        node.args = args;
        node.shape = shape;
        node.scope = scope;
        node.start = start;
        node.loc = loc;
        id
    }
}

#[cold]
fn used_too_late(recorded: Loc, used: Loc) -> ! {
    panic!(
        "a Var recorded at {recorded} is used at {used}, after the scope that it belongs to has \
         ended; return it from the scope instead"
    )
}
