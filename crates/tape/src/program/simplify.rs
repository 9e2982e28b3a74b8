//! What is removed from a function before it is compiled: dead code, common subexpressions, and
//! operations on constants alone.

use std::collections::HashMap;
use std::sync::Arc;

use costate_ops::Real;
use smallvec::SmallVec;

use crate::function::{FnNode, Function};
use crate::graph::NodeId;
use crate::op::{Arg, Op, eval};

/// A constant larger than its arguments and than this is computed at run time instead of stored.
const FOLD_LIMIT: usize = 256;

/// Words that are equal for two operations that compute the same from the same arguments.
type Key = SmallVec<[u64; 8]>;

/// An equivalent function without common subexpressions, constant operations and dead code.
///
/// Nothing that changes a bit of the result is done.
pub(crate) fn simplify<T: Real>(function: &Function<T>) -> Function<T> {
    let mut nodes: Vec<FnNode<T>> = Vec::with_capacity(function.nodes.len());
    let mut seen: HashMap<Key, NodeId> = HashMap::new();
    let mut place: Vec<NodeId> = Vec::with_capacity(function.nodes.len());
    for node in &function.nodes {
        let mut node = node.clone();
        node.args.iter_mut().for_each(|a| *a = place[*a as usize]);
        fold(&mut node, &nodes);
        let new = nodes.len() as NodeId;
        let id = match key(&node) {
            Some(key) => *seen.entry(key).or_insert(new),
            None => new,
        };
        if id == new {
            nodes.push(node);
        }
        place.push(id);
    }
    let at = |ids: &[NodeId]| ids.iter().map(|&id| place[id as usize]).collect::<Vec<_>>();
    sweep(nodes, &at(&function.inputs), &at(&function.outputs))
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
        eval(&node.op, &args, &mut value, &node.shape);
        value.into()
    };
    node.op = Op::Const;
    node.args.clear();
    node.constant = Some(value);
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
        // Within a program both only rename; differentiation is over.
        (Op::Reshape | Op::Detach, _) => word(10),
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
