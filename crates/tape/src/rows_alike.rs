//! What is the same in every row is computed for one row, and repeated where it is read.
//!
//! A tangent that starts as the same unit vector in each row of a batch stays the same in each row until
//! something that differs is multiplied into it. Users write it for all rows, as the batch is written.

use std::sync::Arc;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::graph::{Args, NodeId};
use crate::op::Op;
use crate::program::{keeps_rows, with_rows};

/// The same function, in which operations whose result has equal rows are done for one of them.
pub(crate) fn compute_one_row<T: Real>(f: &Function<T>) -> Function<T> {
    let mut builder = Builder { nodes: Vec::with_capacity(f.nodes.len()), made: Vec::new() };
    let mut alike = vec![false; f.nodes.len()];
    for (id, node) in f.nodes.iter().enumerate() {
        let starts = starts(f, node);
        alike[id] = starts || stays(f, node, &alike);
        let made = if alike[id] && !starts {
            let mut one = with_rows(node, 1);
            let of_rows = if let Op::MatMul { .. } = node.op { 1 } else { node.args.len() };
            for (i, arg) in one.args.iter_mut().enumerate() {
                *arg = if i < of_rows {
                    builder.row(f, *arg)
                } else {
                    builder.made[*arg as usize].all
                };
            }
            let row = builder.push(one);
            let args = Args::from_iter([row]);
            let all = builder.push(FnNode { op: Op::Expand, args, constant: None, ..node.clone() });
            Made { all, row: Some(row) }
        } else {
            let mut node = node.clone();
            node.args.iter_mut().for_each(|arg| *arg = builder.made[*arg as usize].all);
            Made { all: builder.push(node), row: None }
        };
        builder.made.push(made);
    }
    let at = |ids: &[NodeId]| ids.iter().map(|&id| builder.made[id as usize].all).collect();
    let (inputs, outputs) = (at(&f.inputs), at(&f.outputs));
    T::simplify(&Function::from_parts(builder.nodes, inputs, outputs))
}

/// Where a value lies in the new function, and one row of it if that was asked for.
#[derive(Clone, Copy)]
struct Made {
    all: NodeId,
    row: Option<NodeId>,
}

struct Builder<T: Real> {
    nodes: Vec<FnNode<T>>,
    made: Vec<Made>,
}

impl<T: Real> Builder<T> {
    fn push(&mut self, node: FnNode<T>) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() as NodeId - 1
    }

    /// One row of a value whose rows are alike.
    fn row(&mut self, f: &Function<T>, id: NodeId) -> NodeId {
        let made = self.made[id as usize];
        made.row.unwrap_or_else(|| {
            let node = &f.nodes[id as usize];
            let mut one = with_rows(node, 1);
            match &node.constant {
                Some(value) => one.constant = Some(Arc::from(&value[..one.shape.numel()])),
                None => one.args[0] = self.made[one.args[0] as usize].all,
            }
            let row = self.push(one);
            self.made[id as usize].row = Some(row);
            row
        })
    }
}

/// How many rows a value has, if there are several.
fn rows<T: Real>(node: &FnNode<T>) -> Option<usize> {
    node.shape.first().copied().filter(|&rows| rows > 1 && node.shape.numel() > 0)
}

/// Whether a value is a row repeated, or a constant with equal rows.
fn starts<T: Real>(f: &Function<T>, node: &FnNode<T>) -> bool {
    let Some(rows) = rows(node) else { return false };
    match (&node.op, &node.constant) {
        (Op::Expand, _) => {
            let from = &f.nodes[node.args[0] as usize].shape;
            from.len() < node.shape.len() || from[0] == 1
        }
        (Op::Const, Some(value)) => {
            let mut each = value.chunks_exact(value.len() / rows);
            let first = each.next().expect("several rows");
            let bits = |x: &T| x.as_f64().to_bits();
            each.all(|row| row.iter().zip(first).all(|(a, b)| bits(a) == bits(b)))
        }
        _ => false,
    }
}

/// Whether an operation makes equal rows from equal rows.
fn stays<T: Real>(f: &Function<T>, node: &FnNode<T>, alike: &[bool]) -> bool {
    let Some(rows) = rows(node) else { return false };
    let is_alike = |i: usize| {
        let arg = node.args[i] as usize;
        alike[arg] && f.nodes[arg].shape[0] == rows
    };
    match node.op {
        Op::MatMul { ta, .. } => !ta && is_alike(0),
        Op::Input | Op::Const => false,
        _ => keeps_rows(f, node, rows) && (0..node.args.len()).all(is_alike),
    }
}
