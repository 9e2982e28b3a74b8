//! Sums over the rows of a batch, taken out of a function.
//!
//! The cotangents of weights and biases are `Xᵀ G` and the sums of the rows of `G`. A solve adds those of
//! each evaluation to those of all others, and products [can add to what is
//! there](costate_ops::sum_outer), so that the sums of one evaluation need not be made.

use std::ops::Range;

use costate_ops::is_shared;

use crate::Real;
use crate::function::Function;
use crate::graph::NodeId;
use crate::op::Op;
use crate::op::matmul::extents;

/// Up to how many rows that is worth it where the product is small: longer ones by themselves hardly notice
/// the entries that they read and write. Of large ones, the result is no longer in a near cache when it is
/// added to others.
const ROWS: usize = 64;

/// How an output follows from those of the function [without its sums](Function::without_sums), which
/// are told by their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// It is one of them.
    Whole(usize),
    /// `Xᵀ G`, where `X` is `rows × m` and `G` is `rows × n`.
    Outer {
        /// `[rows, m, n]`.
        size: [usize; 3],
        /// `X`.
        left: usize,
        /// `G`.
        right: usize,
    },
    /// The sum of the rows of `G`, which is `rows × n`.
    Rows {
        /// `[rows, n]`.
        size: [usize; 2],
        /// `G`.
        of: usize,
    },
}

/// A function without its sums over rows: see [`Function::without_sums`].
#[derive(Clone, Debug)]
pub struct WithoutSums<T: Real> {
    /// From the inputs to the outputs that are no such sums, in their order, and then the factors of
    /// those that are, some of which may be inputs.
    pub function: Function<T>,
    /// For each of the outputs that were asked for, how it follows.
    pub parts: Vec<Part>,
}

impl<T: Real> Function<T> {
    /// Takes sums over few rows, and large products over any number of them with the biases beside them, out of
    /// the outputs of the given numbers; `None` if there are none.
    ///
    /// ```
    /// use costate_tape::{Function, Part, Shape};
    ///
    /// let shapes = [Shape::from([20, 2]), Shape::from([2, 50])];
    /// let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![x[0].matmul(x[1]).tanh()]))?;
    /// // The inputs are x, w and the cotangent of the result, the output the cotangent of w.
    /// let split = f.vjp(&[1])?.without_sums(0..1).expect("a product");
    /// assert_eq!(split.parts, [Part::Outer { size: [20, 2, 50], left: 0, right: 1 }]);
    /// assert_eq!(split.function.output_shapes(), [Shape::from([20, 2]), Shape::from([20, 50])]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no such outputs.
    pub fn without_sums(&self, outputs: Range<usize>) -> Option<WithoutSums<T>> {
        self.require_replayable().ok()?;
        let f = T::simplify(self);
        let mut sums: Vec<Option<Sum>> =
            f.outputs[outputs.clone()].iter().map(|&id| sum(&f, id)).collect();
        keep_worth(&mut sums);
        if sums.iter().all(Option::is_none) {
            return None;
        }
        let is_sum = |i: usize| outputs.contains(&i) && sums[i - outputs.start].is_some();
        let mut left: Vec<NodeId> =
            (0..f.outputs.len()).filter(|&i| !is_sum(i)).map(|i| f.outputs[i]).collect();
        let (mut whole, count) = (outputs.start, left.len());
        let mut factor = |id: NodeId| {
            let known = left[count..].iter().position(|&known| known == id);
            count
                + known.unwrap_or_else(|| {
                    left.push(id);
                    left.len() - 1 - count
                })
        };
        let parts = sums.iter().map(|sum| match *sum {
            None => {
                whole += 1;
                Part::Whole(whole - 1)
            }
            Some(Sum { left: Some(left), right, size }) => {
                Part::Outer { size, left: factor(left), right: factor(right) }
            }
            Some(Sum { left: None, right, size: [rows, _, n] }) => {
                Part::Rows { size: [rows, n], of: factor(right) }
            }
        });
        let parts = parts.collect();
        let function = Function::from_parts(f.nodes, f.inputs, left);
        Some(WithoutSums { function: T::simplify(&function), parts })
    }
}

/// A sum over rows; without `left`, of the rows of `right` alone.
struct Sum {
    left: Option<NodeId>,
    right: NodeId,
    size: [usize; 3],
}

/// The value of a node as a sum over rows.
fn sum<T: Real>(f: &Function<T>, mut id: NodeId) -> Option<Sum> {
    while let Op::Reshape | Op::Detach = f.nodes[id as usize].op {
        id = f.nodes[id as usize].args[0];
    }
    // That of a weight whose transpose is used.
    if let Op::Permute(axes) = &f.nodes[id as usize].op
        && **axes == [1, 0]
    {
        let found = of_node(f, f.nodes[id as usize].args[0])?;
        let (left, [rows, m, n]) = (found.left?, found.size);
        return Some(Sum { left: Some(found.right), right: left, size: [rows, n, m] });
    }
    of_node(f, id)
}

/// [`sum`] of what is neither a view nor transposed.
fn of_node<T: Real>(f: &Function<T>, id: NodeId) -> Option<Sum> {
    let node = &f.nodes[id as usize];
    let shape = |i: usize| &f.nodes[node.args[i] as usize].shape;
    let sum = match node.op {
        Op::MatMul { ta, tb } if shape(1).ndim() == 2 => {
            let (m, rows, n) = extents(shape(0), ta, shape(1), tb);
            // A single row lies in memory as a single column does.
            if rows != 1 && (!ta || tb) {
                return None;
            }
            Sum { left: Some(node.args[0]), right: node.args[1], size: [rows, m, n] }
        }
        Op::SumTo => {
            let ones = node.shape.iter().take_while(|&&n| n == 1).count();
            let (n, all) = (node.shape.numel(), shape(0));
            if n == 0 || !all.ends_with(&node.shape[ones..]) {
                return None;
            }
            Sum { left: None, right: node.args[0], size: [all.numel() / n, 0, n] }
        }
        _ => return None,
    };
    Some(sum)
}

/// Leaves those that are worth it: see [`ROWS`].
fn keep_worth(sums: &mut [Option<Sum>]) {
    let is_large = |sum: &Sum| is_shared(sum.size.iter().product());
    let large: Vec<NodeId> =
        sums.iter().flatten().filter(|sum| is_large(sum)).map(|sum| sum.right).collect();
    for sum in sums {
        // A bias comes with the weights beside it.
        let is_worth =
            |sum: &Sum| sum.size[0] <= ROWS || is_large(sum) || large.contains(&sum.right);
        *sum = sum.take().filter(is_worth);
    }
}
