//! What is removed from a function before it is compiled: dead code, common subexpressions,
//! operations on constants alone, factors of one, and passes over the entries that another operation
//! does as well.

use std::collections::HashMap;
use std::sync::Arc;

use costate_ops::{Binary, Unary};
use smallvec::SmallVec;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::graph::{Args, NodeId};
use crate::op::{Arg, Op};
use crate::shape::Shape;

/// A constant larger than its arguments and than this is computed at run time instead of stored.
const FOLD_LIMIT: usize = 256;

/// Up to how many entries an operation more in their registers costs less than a pass.
const FEW: usize = 16;

/// Words that are equal for two operations that compute the same from the same arguments.
type Key = SmallVec<[u64; 8]>;

/// An equivalent function without common subexpressions, constant operations, dead code and what else
/// need not be done. Nothing that changes a bit of the result is, and derivatives stay what they are.
pub(crate) fn simplify<T: Real>(function: &Function<T>) -> Function<T> {
    let mut known = Known { nodes: Vec::with_capacity(function.nodes.len()), seen: HashMap::new() };
    let mut place: Vec<NodeId> = Vec::with_capacity(function.nodes.len());
    for node in &function.nodes {
        let mut node = node.clone();
        node.args.iter_mut().for_each(|a| *a = place[*a as usize]);
        fold(&mut node, &known.nodes);
        let same = times_one(&node, &known.nodes);
        place.push(same.unwrap_or_else(|| {
            as_derivative(&mut node, &mut known);
            known.add(node)
        }));
    }
    let at = |ids: &[NodeId]| ids.iter().map(|&id| place[id as usize]).collect::<Vec<_>>();
    sweep(known.nodes, &at(&function.inputs), &at(&function.outputs))
}

/// The nodes of the new function.
struct Known<T: Real> {
    nodes: Vec<FnNode<T>>,
    seen: HashMap<Key, NodeId>,
}

impl<T: Real> Known<T> {
    /// The place of a node, which is that of an equal one if there is one.
    fn add(&mut self, node: FnNode<T>) -> NodeId {
        let new = self.nodes.len() as NodeId;
        let id = key(&node).map_or(new, |key| *self.seen.entry(key).or_insert(new));
        if id == new {
            self.nodes.push(node);
        }
        id
    }
}

/// Replaces an operation on constants by its value.
fn fold<T: Real>(node: &mut FnNode<T>, nodes: &[FnNode<T>]) {
    let constants: Option<SmallVec<[Arg<'_, T>; 4]>> = node
        .args
        .iter()
        .map(|&a| {
            let arg = &nodes[a as usize];
            arg.constant.as_deref().map(|data| Arg { data, shape: &arg.shape })
        })
        .collect();
    let Some(args) = constants else { return };
    let opaque = matches!(node.op, Op::Input | Op::Const | Op::Call(_) | Op::Project { .. });
    let len = node.shape.numel();
    let limit = args.iter().map(|a| a.data.len()).fold(FOLD_LIMIT, usize::max);
    if opaque || args.is_empty() || len > limit {
        return;
    }
    let value: Arc<[T]> = if node.op.alias_offset().is_some() {
        args[0].data.into()
    } else {
        let mut value = vec![T::zero(); len];
        T::evaluate_op(&node.op, &args, &mut value, &node.shape);
        value.into()
    };
    node.op = Op::Const;
    node.args.clear();
    node.constant = Some(value);
}

/// Whether all entries of a value are one.
fn is_one<T: Real>(nodes: &[FnNode<T>], id: NodeId) -> bool {
    let mut node = &nodes[id as usize];
    if let Op::Expand = node.op {
        node = &nodes[node.args[0] as usize];
    }
    node.constant.as_ref().is_some_and(|value| value.iter().all(|&x| x == T::one()))
}

/// What is multiplied with one, if that is what an operation does: `1 x = x`.
fn times_one<T: Real>(node: &FnNode<T>, nodes: &[FnNode<T>]) -> Option<NodeId> {
    let Op::Binary(Binary::Mul) = node.op else { return None };
    let (a, b) = (node.args[0], node.args[1]);
    is_one(nodes, b).then_some(a).or_else(|| is_one(nodes, a).then_some(b))
}

/// `y`, if a value is `1 - y²`.
fn one_minus_square<T: Real>(node: &FnNode<T>, nodes: &[FnNode<T>]) -> Option<NodeId> {
    match node.op {
        Op::Affine { mul, add } if mul == -T::one() && add == T::one() => {
            let of = &nodes[node.args[0] as usize];
            matches!(of.op, Op::Unary(Unary::Square)).then(|| of.args[0])
        }
        Op::Binary(Binary::TanhGrad) if is_one(nodes, node.args[1]) => Some(node.args[0]),
        _ => None,
    }
}

/// `x (1 - y²)`, the derivative of `tanh` in terms of its value as people write it, as the one operation that
/// it is, and so `1 - y²` of more than a few entries. It rounds as they do.
fn as_derivative<T: Real>(node: &mut FnNode<T>, known: &mut Known<T>) {
    let (y, x) = match node.op {
        Op::Binary(Binary::Mul) => {
            let (a, b) = (node.args[0], node.args[1]);
            let of = |id: NodeId| one_minus_square(&known.nodes[id as usize], &known.nodes);
            let Some(found) = of(b).map(|y| (y, a)).or_else(|| of(a).map(|y| (y, b))) else {
                return;
            };
            found
        }
        Op::Affine { .. } if node.shape.numel() > FEW => {
            let Some(y) = one_minus_square(node, &known.nodes) else { return };
            let plain = |op: Op<T>, args: &[NodeId], shape: Shape, constant: Option<Arc<[T]>>| {
                let args = args.iter().copied().collect();
                FnNode { op, args, shape, loc: node.loc, constant }
            };
            let one = Some(Arc::from([T::one()]));
            let one = known.add(plain(Op::Const, &[], Shape::scalar(), one));
            (y, known.add(plain(Op::Expand, &[one], node.shape.clone(), None)))
        }
        _ => return,
    };
    node.op = Op::Binary(Binary::TanhGrad);
    node.args = Args::from_iter([y, x]);
}

/// The key of a node, or `None` if two of its kind are never the same.
fn key<T: Real>(node: &FnNode<T>) -> Option<Key> {
    let mut key = Key::new();
    let mut word = |w: usize| key.push(w as u64);
    match (&node.op, &node.constant) {
        (Op::Input | Op::Call(_), _) => return None,
        (Op::Const, Some(value)) => {
            if value.len() > FOLD_LIMIT {
                return None;
            }
            word(0);
            key.extend(value.iter().map(|v| v.as_f64().to_bits()));
        }
        (Op::Const, None) => return None,
        (Op::Unary(u), _) => [1, *u as usize].into_iter().for_each(word),
        (Op::Binary(b), _) => [2, *b as usize].into_iter().for_each(word),
        (Op::Affine { mul, add }, _) => {
            word(3);
            key.extend([mul, add].map(|c| c.as_f64().to_bits()));
        }
        (Op::Powi(n), _) => [4, *n as usize].into_iter().for_each(word),
        (Op::LinComb(c), _) => {
            word(5);
            key.extend(c.iter().map(|c| c.as_f64().to_bits()));
        }
        (Op::Select, _) => word(6),
        (Op::MatMul { ta, tb }, _) => [7, *ta as usize, *tb as usize].into_iter().for_each(word),
        (Op::Expand, _) => word(8),
        (Op::SumTo, _) => word(9),
        // Not the same, although both only rename: the result may be differentiated.
        (Op::Reshape, _) => word(10),
        (Op::Detach, _) => word(24),
        (Op::Permute(axes), _) => [11].into_iter().chain(axes.iter().copied()).for_each(word),
        (Op::Slice(ranges), _) | (Op::Pad(ranges), _) => {
            word(if matches!(node.op, Op::Slice(_)) { 12 } else { 13 });
            ranges.iter().flat_map(|r| [r.start, r.len, r.step as usize]).for_each(word);
        }
        (Op::Concat { axis }, _) => [14, *axis].into_iter().for_each(word),
        (Op::MaxAxis { axis }, _) => [15, *axis].into_iter().for_each(word),
        (Op::Gather { axis, index }, _) | (Op::ScatterAdd { axis, index }, _) => {
            word(if matches!(node.op, Op::Gather { .. }) { 16 } else { 17 });
            [*axis, index.as_ptr() as usize, index.len()].into_iter().for_each(word);
        }
        (Op::CumSum { axis, reverse }, _) => {
            [19, *axis, *reverse as usize].into_iter().for_each(word);
        }
        (Op::MatMulBatch { ta, tb }, _) => {
            [20, *ta as usize, *tb as usize].into_iter().for_each(word);
        }
        (Op::Solve, _) => word(21),
        (Op::LogDet, _) => word(22),
        (Op::SolveTriangular { lower, transposed }, _) => {
            [23, *lower as usize, *transposed as usize].into_iter().for_each(word);
        }
        (Op::Project { output, .. }, _) => [18, *output].into_iter().for_each(word),
    }
    // A separator, so that parameters, arguments and lengths cannot be taken for each other.
    key.push(u64::MAX);
    key.extend(node.args.iter().map(|&a| u64::from(a)));
    key.push(u64::MAX);
    key.extend(node.shape.iter().map(|&n| n as u64));
    Some(key)
}

/// Drops what no output needs. Inputs stay.
fn sweep<T: Real>(nodes: Vec<FnNode<T>>, inputs: &[NodeId], outputs: &[NodeId]) -> Function<T> {
    let mut live = vec![false; nodes.len()];
    inputs.iter().chain(outputs).for_each(|&id| live[id as usize] = true);
    for (id, node) in nodes.iter().enumerate().rev() {
        if live[id] {
            node.args.iter().for_each(|&a| live[a as usize] = true);
        }
    }
    let mut place = vec![NodeId::MAX; nodes.len()];
    let mut kept = Vec::new();
    for (id, mut node) in nodes.into_iter().enumerate().filter(|(id, _)| live[*id]) {
        node.args.iter_mut().for_each(|a| *a = place[*a as usize]);
        place[id] = kept.len() as NodeId;
        kept.push(node);
    }
    let at = |ids: &[NodeId]| ids.iter().map(|&id| place[id as usize]).collect();
    Function::from_parts(kept, at(inputs), at(outputs))
}
