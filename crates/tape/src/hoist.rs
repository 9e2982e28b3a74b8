//! What need not be computed again: a function that is evaluated many times with some inputs fixed
//! is split into what follows from those alone, and the rest.
//!
//! A vector field is evaluated hundreds of times with the same parameters. Whatever it makes of the
//! parameters alone, such as an antisymmetric matrix `W - Wᵀ`, is then computed once. So are the
//! transposes in which products with parameters are fastest, which the backward pass needs.

use costate_ops::MatMul;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::graph::{Args, NodeId};
use crate::keeping::between;
use crate::op::Op;
use crate::shape::Shape;

/// A function in two parts.
#[derive(Clone, Debug)]
pub struct Hoisted<T: Real> {
    /// From the fixed inputs to what follows from them.
    pub once: Function<T>,
    /// From the inputs, with what `once` gives after the last fixed one, to the outputs.
    pub each: Function<T>,
}

/// From which inner length on, and up to how many columns, a product reads its right side by
/// columns.
const LONG: usize = 16;
const NARROW: usize = 4;

impl<T: Real> Function<T> {
    /// Splits off what depends on the inputs numbered `fixed`, a range of them, alone; `None` if
    /// nothing does that is worth it.
    ///
    /// ```
    /// use costate_tape::{Function, Shape};
    ///
    /// let shapes = [Shape::from([3]), Shape::from([3, 3])];
    /// let f = Function::<f64>::trace_shapes(&shapes, |_, x| {
    ///     let antisymmetric = x[1] - x[1].t();
    ///     Ok(vec![antisymmetric.matmul(x[0]).tanh()])
    /// })?;
    /// let parts = f.hoist(1..2).expect("the matrix");
    /// assert_eq!(parts.once.output_shapes(), [Shape::from([3, 3])]);
    /// assert_eq!(parts.each.input_shapes().len(), 3);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no such inputs.
    pub fn hoist(&self, fixed: std::ops::Range<usize>) -> Option<Hoisted<T>> {
        let mut f = T::simplify(self);
        if fixed.is_empty() || f.require_replayable().is_err() {
            return None;
        }
        lay_out_products(&mut f, fixed.clone());
        let hoisted = worth_hoisting(&f, fixed.clone());
        if hoisted.is_empty() {
            return None;
        }
        let (before, after) = f.inputs.split_at(fixed.end);
        let inputs: Vec<NodeId> = before.iter().chain(&hoisted).chain(after).copied().collect();
        Some(Hoisted {
            once: between(&f, &f.inputs[fixed], &hoisted),
            each: between(&f, &inputs, &f.outputs),
        })
    }

    /// [`hoist`](Self::hoist) for a function that is still to be differentiated: products are not laid out
    /// anew, and the inputs of `each` are those that are not fixed and what `once` gives, which is first the
    /// fixed inputs that `each` still needs.
    ///
    /// What `each` finds for the cotangents of what `once` gives can be added up over many evaluations, before
    /// it goes back through `once`.
    ///
    /// ```
    /// use costate_tape::{Function, Shape};
    ///
    /// let shapes = [Shape::from([3]), Shape::from([3, 3])];
    /// let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![(x[1] - x[1].t()).matmul(x[0])]))?;
    /// let parts = f.factor_out(1..2).expect("the matrix");
    /// assert_eq!(parts.each.input_shapes().len(), 2);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no such inputs, or others come after them.
    pub fn factor_out(&self, fixed: std::ops::Range<usize>) -> Option<Hoisted<T>> {
        let f = T::simplify(self);
        assert!(fixed.end == f.inputs.len(), "factor_out: there are inputs after the fixed ones");
        if fixed.is_empty() || f.require_replayable().is_err() {
            return None;
        }
        let hoisted = worth_hoisting(&f, fixed.clone());
        if hoisted.is_empty() {
            return None;
        }
        let (free, given) = f.inputs.split_at(fixed.start);
        let inputs: Vec<NodeId> = f.inputs.iter().chain(&hoisted).copied().collect();
        let needed = between(&f, &inputs, &f.outputs).depends_on();
        let left = given.iter().zip(&needed[fixed.start..]).filter(|(_, needed)| **needed);
        let gives: Vec<NodeId> = left.map(|(id, _)| id).chain(&hoisted).copied().collect();
        let inputs: Vec<NodeId> = free.iter().chain(&gives).copied().collect();
        let once = between(&f, given, &gives);
        Some(Hoisted { once, each: between(&f, &inputs, &f.outputs) })
    }
}

/// What follows from fixed inputs alone, and is worth being computed once.
fn worth_hoisting<T: Real>(f: &Function<T>, fixed: std::ops::Range<usize>) -> Vec<NodeId> {
    let follows = follows(f, fixed);
    // Values that cost nothing to make from others stay where they are used.
    let free = |node: &FnNode<T>| {
        matches!(node.op, Op::Input | Op::Const | Op::Expand | Op::Reshape | Op::Detach)
    };
    let mut wanted = vec![false; f.nodes.len()];
    for (id, node) in f.nodes.iter().enumerate().rev() {
        if !follows[id] || (free(node) && wanted[id]) {
            // What is not computed once needs its arguments.
            node.args.iter().for_each(|&a| wanted[a as usize] = true);
        }
    }
    f.outputs.iter().for_each(|&id| wanted[id as usize] = true);
    (0..f.nodes.len())
        .filter(|&id| wanted[id] && follows[id] && !free(&f.nodes[id]))
        .map(|id| id as NodeId)
        .collect()
}

/// For each value, whether it follows from fixed inputs and constants.
pub(crate) fn follows<T: Real>(f: &Function<T>, fixed: std::ops::Range<usize>) -> Vec<bool> {
    let mut follows = vec![false; f.nodes.len()];
    f.inputs[fixed].iter().for_each(|&id| follows[id as usize] = true);
    for (id, node) in f.nodes.iter().enumerate() {
        follows[id] |= match node.op {
            Op::Input | Op::Call(_) | Op::Project { .. } => false,
            Op::Const => true,
            _ => node.args.iter().all(|&a| follows[a as usize]),
        };
    }
    follows
}

/// Gives products the right side in the order in which they read it, where that can be made once: by
/// rows, by columns, or in strips of columns. The bits of a product do not depend on it.
fn lay_out_products<T: Real>(f: &mut Function<T>, fixed: std::ops::Range<usize>) {
    let follows = follows(f, fixed);
    let mut nodes: Vec<FnNode<T>> = Vec::with_capacity(f.nodes.len());
    let mut place: Vec<NodeId> = Vec::with_capacity(f.nodes.len());
    for (id, node) in f.nodes.iter().enumerate() {
        let mut node = node.clone();
        let right = node.args.get(1).map(|&right| right as usize);
        node.args.iter_mut().for_each(|a| *a = place[*a as usize]);
        if let (Op::MatMul { ta, tb }, Some(right)) = (&mut node.op, right) {
            let shape = &f.nodes[right].shape;
            let (k, n) = if *tb { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
            let fixed = follows[right] && !follows[id] && k > 1 && n > 1 && shape.len() == 2;
            let by_columns = !*ta && n <= NARROW && k >= LONG;
            let mut add = |op: Op<T>, arg: NodeId, shape: Shape| {
                let args = Args::from_iter([arg]);
                nodes.push(FnNode { op, args, shape, loc: node.loc, constant: None });
                nodes.len() as NodeId - 1
            };
            let spec = MatMul { m: node.shape[0], k, n, ta: *ta, tb: false, accumulate: false };
            if let Some(width) = spec.strips::<T>().filter(|_| fixed) {
                let count = n / width;
                let (cut, axes) = match *tb {
                    true => ([count, width, k], [0, 2, 1]),
                    false => ([k, count, width], [1, 0, 2]),
                };
                let cut = add(Op::Reshape, node.args[1], cut.into());
                node.args[1] = add(Op::Permute(axes.into()), cut, [count, k, width].into());
                *tb = false;
            } else if fixed && *tb != by_columns {
                *tb = by_columns;
                let turned = Shape::from([shape[1], shape[0]]);
                node.args[1] = add(Op::Permute([1, 0].into()), node.args[1], turned);
            }
        }
        place.push(nodes.len() as NodeId);
        nodes.push(node);
    }
    let at = |ids: &[NodeId]| ids.iter().map(|&id| place[id as usize]).collect::<Vec<_>>();
    *f = T::simplify(&Function::from_parts(nodes, at(&f.inputs), at(&f.outputs)));
}
