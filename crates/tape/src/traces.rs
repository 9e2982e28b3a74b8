//! Traces of Jacobians: a sum whose terms differ in their weights alone is made by one product.
//!
//! `tr ∂f/∂x` is the sum of the `∂f_i/∂x_i`, each of which takes a pass of its own through the layers of
//! `f`. With one hidden layer between two others, `f(x) = φ(ψ(x A) B) C`, that of a row of a batch is
//!
//! ```text
//! Σ_i Σ_j φ'_j ((ψ' ∘ a_i) B)_j C_ji = Σ_j φ'_j (ψ' M)_j,   M = B ∘ Σ_i a_iᵀ c_i,
//! ```
//!
//! where `a_i` is a row of `A` and `c_i` a column of `C` as a row: one product of the batch instead of as many as
//! `x` has components, and `M` does not depend on the state. Whoever writes down a flow can derive that; here it
//! is found, for any sum of such terms, with one hidden layer or two, by forward or reverse mode.

mod replace;
mod search;

use std::ops::Range;

use costate_ops::Binary;
use smallvec::SmallVec;

use self::replace::replace;
use self::search::Search;
use crate::Real;

use crate::function::Function;
use crate::graph::NodeId;
use crate::hoist::follows;
use crate::program::cost;
use crate::rows_alike::compute_one_row;

/// At most so many terms of a sum are merged.
const TERMS: usize = 256;
/// The share of the time before that is worth it.
const WORTH: f64 = 0.95;

impl<T: Real> Function<T> {
    /// An equivalent function of a batch, the input number `state`, for which sums such as exact traces cost less: by
    /// formulas that hold for all numbers, up to rounding. What follows from the inputs numbered `fixed`
    /// alone is taken to cost nothing, as if it were [computed once](Function::hoist).
    ///
    /// ```
    /// use costate_tape::{Function, Program, Shape, Var};
    ///
    /// let shapes = [[32, 2], [2, 16], [16, 16], [16, 2]].map(Shape::from);
    /// let trace = Function::<f64>::trace_shapes(&shapes, |tape, x| {
    ///     let y = x[0].matmul(x[1]).tanh().matmul(x[2]).tanh().matmul(x[3]);
    ///     let mut sum = vec![];
    ///     for i in 0..2 {
    ///         let unit = tape.eye(2).slice_axis(0, i..i + 1).broadcast_to([32, 2]);
    ///         sum.push(tape.jvp(&[y], &[x[0]], &[unit])?[0].slice_axis(1, i..i + 1));
    ///     }
    ///     Ok(vec![Var::concat(1, &sum).sum_axis(1)])
    /// })?;
    /// // One product of the batch instead of two, once what follows from the weights is there.
    /// let each = |f: &Function<f64>| Program::compile(&f.hoist(1..4).expect("weights").each);
    /// assert!(each(&trace.merge_traces(0, 1..4))?.len() < each(&trace)?.len());
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no such inputs.
    pub fn merge_traces(&self, state: usize, fixed: Range<usize>) -> Function<T> {
        if self.require_replayable().is_err() {
            return self.clone();
        }
        let mut f = compute_one_row(&T::simplify(self));
        while let Some(cheaper) = merge_one(&f, state, fixed.clone()) {
            f = cheaper;
        }
        f
    }
}

/// Merges the terms of one sum, if that makes the function cheaper.
fn merge_one<T: Real>(f: &Function<T>, state: usize, fixed: Range<usize>) -> Option<Function<T>> {
    let mut varies = vec![false; f.nodes.len()];
    varies[f.inputs[state] as usize] = true;
    for (id, node) in f.nodes.iter().enumerate() {
        varies[id] |= node.args.iter().any(|&a| varies[a as usize]);
    }
    let now = work(f, fixed.clone());
    let mut seen = vec![false; f.nodes.len()];
    for root in (0..f.nodes.len()).rev().filter(|&id| varies[id]) {
        if seen[root] || !is_numbers(f, root) {
            continue;
        }
        let pieces = Search::pieces_of(f, root as NodeId, &varies, &mut seen);
        let keys = || pieces.iter().filter_map(|piece| piece.term.as_ref().ok());
        let alike = |a: &Term| keys().filter(|b| a.key == b.key).count() > 1;
        if pieces.len() > TERMS || !keys().any(alike) {
            continue;
        }
        let Ok(merged) = replace(f, root, &pieces) else { continue };
        let merged = T::simplify(&merged);
        if work(&merged, fixed.clone()) < WORTH * now {
            return Some(merged);
        }
    }
    None
}

/// About how long a function takes, without what follows from fixed inputs.
fn work<T: Real>(f: &Function<T>, fixed: Range<usize>) -> f64 {
    let follows = follows(f, fixed);
    let nodes = f.nodes.iter().zip(follows).filter(|(_, follows)| !follows);
    nodes.map(|(node, _)| cost(f, node)).sum()
}

/// Whether a value is a number for each of several rows.
fn is_numbers<T: Real>(f: &Function<T>, id: usize) -> bool {
    matches!(f.nodes[id].shape[..], [rows] | [rows, 1] if rows > 1)
}

/// What is multiplied into each entry, by such an operation with that as its first argument. In order.
type Factors = SmallVec<[(Binary, NodeId); 4]>;

/// `Σ_j outer_j (left W)_j last_j`, a number for each row, or without `W` `Σ_j outer_j row_j last_j`; what differs
/// between terms that can be merged is not part of the key.
#[derive(Debug)]
struct Term {
    key: Key,
    /// A row that is multiplied into `left`, or stands for `left W`.
    row: Option<NodeId>,
    /// `W`, and whether it is transposed.
    weights: Option<(NodeId, bool)>,
    last: Last,
}

#[derive(Debug, PartialEq)]
struct Key {
    outer: Factors,
    left: Left,
    /// How many entries are summed.
    len: usize,
}

#[derive(Debug, PartialEq)]
enum Left {
    /// There is no product.
    None,
    /// That of these factors and the row.
    Factors(Factors),
    Value(NodeId),
}

/// The weights of the sum.
#[derive(Clone, Copy, Debug)]
enum Last {
    Ones,
    Column { of: NodeId, transposed: bool, column: usize },
}

/// A part of a sum: a term, or else a value, perhaps a column of it.
struct Piece<T> {
    scale: T,
    term: std::result::Result<Term, (NodeId, Option<usize>)>,
}
