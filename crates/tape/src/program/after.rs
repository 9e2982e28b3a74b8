//! Products that do an operation with each of their sums before they write it, instead of in a pass
//! of its own: add a bias, or multiply with the derivative of an activation. Which products do is for
//! their kernels to say ([`Product::takes`](costate_ops::Product::takes)).

use costate_ops::Binary;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::op::{Op, matmul};

/// A function in which some operations are done by the products that they read.
pub(super) struct Fused<T: Real> {
    /// The product is at the place of the operation, with the other operand as third argument.
    pub function: Function<T>,
    /// The operation that a node does after the product.
    pub after: Vec<Option<Binary>>,
    /// The nodes where the product was.
    pub gone: Vec<bool>,
}

/// Has products do what can be done with their sums. The bits are the same.
pub(super) fn fuse<T: Real>(f: &Function<T>) -> Fused<T> {
    let mut readers = vec![0; f.nodes.len()];
    let args = f.nodes.iter().flat_map(|node| &node.args);
    args.chain(&f.outputs).for_each(|&id| readers[id as usize] += 1);
    let mut function = f.clone();
    let (mut after, mut gone) = (vec![None; f.nodes.len()], vec![false; f.nodes.len()]);
    for (id, node) in f.nodes.iter().enumerate() {
        let Op::Binary(op) = node.op else { continue };
        let [a, b] = [node.args[0] as usize, node.args[1] as usize];
        let sides = match op {
            Binary::Add | Binary::Mul => &[(a, b), (b, a)][..],
            // The derivative follows from the left side.
            Binary::TanhGrad | Binary::SigmoidGrad => &[(b, a)],
            _ => continue,
        };
        let found = sides.iter().copied().find_map(|(product, other)| {
            if readers[product] != 1 || !takes(f, product, op) {
                return None;
            }
            let other = match op {
                Binary::Add => row(f, other, node)?,
                _ => (f.nodes[other].shape == node.shape).then_some(other)?,
            };
            Some((product, other))
        });
        if let Some((product, other)) = found {
            let FnNode { op: product_op, args, .. } = &f.nodes[product];
            let fused = &mut function.nodes[id];
            fused.op = product_op.clone();
            fused.args = args.iter().copied().chain([other as u32]).collect();
            (after[id], gone[product]) = (Some(op), true);
        }
    }
    Fused { function, after, gone }
}

/// The row that a value repeats for each row of `sum`.
fn row<T: Real>(f: &Function<T>, id: usize, sum: &FnNode<T>) -> Option<usize> {
    let node = &f.nodes[id];
    let Op::Expand = node.op else { return None };
    let row = &f.nodes[node.args[0] as usize].shape;
    let n = *sum.shape.last()?;
    let repeats = row.numel() == n && (n == 1 || row.last() == Some(&n));
    repeats.then_some(node.args[0] as usize)
}

/// Whether a value is a product whose kernel does such an operation.
fn takes<T: Real>(f: &Function<T>, id: usize, op: Binary) -> bool {
    let node = &f.nodes[id];
    if !matches!(node.op, Op::MatMul { .. }) {
        return false;
    }
    let shape = |i: usize| &f.nodes[node.args[i] as usize].shape;
    matmul::product(&node.op, shape(0), shape(1)).is_some_and(|product| product.takes(op))
}
