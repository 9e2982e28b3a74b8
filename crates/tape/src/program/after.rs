//! Products that do an operation with each of their sums before they write it, instead of in a pass
//! of its own: add a bias, or multiply with the derivative of an activation. Which products do is for
//! their kernels to say ([`Product::takes`](costate_ops::Product::takes)), as it is whether an
//! activation is computed while the product is at work
//! ([`Product::takes_function`](costate_ops::Product::takes_function)).

use costate_ops::{Binary, Product, Real, Unary};

use crate::function::{FnNode, Function};
use crate::op::{Op, matmul};

/// A function in which some operations are done by the products that they read.
pub(super) struct Fused<T: Real> {
    /// The product is at the place of the operation, with the other operand as third argument.
    pub function: Function<T>,
    /// What a node does after the product.
    pub after: Vec<After>,
    /// The nodes where the product was.
    pub gone: Vec<bool>,
}

/// What is done with each sum of a product.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct After {
    /// An operation on it and the product's third argument.
    pub operation: Option<Binary>,
    /// And then a function.
    pub function: Option<Unary>,
}

/// Has products do what can be done with their sums. The bits are the same.
pub(super) fn fuse<T: Real>(f: &Function<T>) -> Fused<T> {
    let mut readers = vec![0; f.nodes.len()];
    let args = f.nodes.iter().flat_map(|node| &node.args);
    args.chain(&f.outputs).for_each(|&id| readers[id as usize] += 1);
    let mut function = f.clone();
    let (mut after, mut gone) = (vec![After::default(); f.nodes.len()], vec![false; f.nodes.len()]);
    for (id, node) in f.nodes.iter().enumerate() {
        if let Op::Unary(op) = node.op {
            let from = node.args[0] as usize;
            let product = product(&function, from).filter(|product| product.takes_function(op));
            let biased = after[from].operation == Some(Binary::Add);
            if product.is_some() && biased && readers[from] == 1 {
                let FnNode { op: product, args, .. } = function.nodes[from].clone();
                (function.nodes[id].op, function.nodes[id].args) = (product, args);
                after[id] = After { function: Some(op), ..after[from] };
                gone[from] = true;
            }
        }
        let Op::Binary(op) = node.op else { continue };
        let [a, b] = [node.args[0] as usize, node.args[1] as usize];
        let sides = match op {
            Binary::Add | Binary::Mul => &[(a, b), (b, a)][..],
            // The derivative follows from the left side.
            Binary::TanhGrad | Binary::SigmoidGrad => &[(b, a)],
            _ => continue,
        };
        let found = sides.iter().copied().find_map(|(product, other)| {
            if readers[product] != 1 || !self::product(f, product)?.takes(op) {
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
            (after[id].operation, gone[product]) = (Some(op), true);
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

/// A value as a product, if it is one.
fn product<T: Real>(f: &Function<T>, id: usize) -> Option<Product> {
    let node = &f.nodes[id];
    if !matches!(node.op, Op::MatMul { .. }) {
        return None;
    }
    let shape = |i: usize| &f.nodes[node.args[i] as usize].shape;
    matmul::product(&node.op, shape(0), shape(1))
}
