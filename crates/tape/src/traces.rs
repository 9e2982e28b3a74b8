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

use std::ops::Range;

use costate_ops::{Binary, Real, Unary};
use smallvec::SmallVec;

use crate::function::Function;
use crate::graph::NodeId;
use crate::hoist::follows;
use crate::op::{Op, Result};
use crate::program::{cost, simplify};
use crate::rows_alike::compute_one_row;
use crate::tape::Tape;
use crate::var::Var;

/// At most so many terms are looked for in a sum, at most so deep in it, and so many factors of each.
const TERMS: usize = 256;
const FACTORS: usize = 8;
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
    /// // One product instead of two.
    /// let merged = Program::compile(&trace.merge_traces(0, 1..4))?;
    /// assert!(merged.len() < Program::compile(&trace)?.len());
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there are no such inputs.
    pub fn merge_traces(&self, state: usize, fixed: Range<usize>) -> Function<T> {
        if self.require_replayable().is_err() {
            return self.clone();
        }
        let mut f = compute_one_row(&simplify(self));
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
        if seen[root] || rows_of_numbers(f, root).is_none() {
            continue;
        }
        let mut search = Search { f, varies: &varies, pieces: Vec::new(), seen: &mut seen };
        search.sum(root as NodeId, Path { scale: T::one(), depth: 0 });
        let pieces = search.pieces;
        let keys = || pieces.iter().filter_map(|piece| piece.term.as_ref().ok());
        let alike = |a: &Term| keys().filter(|b| a.key == b.key).count() > 1;
        if pieces.len() > TERMS || !keys().any(alike) {
            continue;
        }
        let Ok(merged) = replace(f, root, &pieces) else { continue };
        let merged = simplify(&merged);
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

/// How many rows a value has that is one number for each of several.
fn rows_of_numbers<T: Real>(f: &Function<T>, id: usize) -> Option<usize> {
    match f.nodes[id].shape[..] {
        [rows] | [rows, 1] if rows > 1 => Some(rows),
        _ => None,
    }
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

/// The way from a sum to a part of it.
#[derive(Clone, Copy)]
struct Path<T> {
    scale: T,
    depth: usize,
}

impl<T: Real> Path<T> {
    /// The way on, through a coefficient.
    fn times(self, c: T) -> Path<T> {
        Path { scale: self.scale * c, depth: self.depth + 1 }
    }
}

struct Search<'a, T: Real> {
    f: &'a Function<T>,
    varies: &'a [bool],
    pieces: Vec<Piece<T>>,
    seen: &'a mut [bool],
}

impl<T: Real> Search<'_, T> {
    fn shape(&self, id: NodeId) -> &[usize] {
        &self.f.nodes[id as usize].shape
    }

    fn give_up(&self, path: Path<T>) -> bool {
        self.pieces.len() > TERMS || path.depth > TERMS
    }

    fn other(&mut self, id: NodeId, column: Option<usize>, path: Path<T>) {
        self.pieces.push(Piece { scale: path.scale, term: Err((id, column)) });
    }

    /// Finds the pieces of a number for each row.
    fn sum(&mut self, id: NodeId, path: Path<T>) {
        let f = self.f;
        let node = &f.nodes[id as usize];
        let columns = |ids: &[NodeId]| ids.iter().all(|&id| f.nodes[id as usize].shape[1] == 1);
        self.seen[id as usize] = true;
        if self.give_up(path) || !self.varies[id as usize] {
            return self.other(id, None, path);
        }
        if let Some(parts) = linear(f, id) {
            return parts.iter().for_each(|&(c, part)| self.sum(part, path.times(c)));
        }
        let arg = node.args.first().copied().unwrap_or(id);
        match (&node.op, self.shape(arg)) {
            (Op::Reshape, from) if from.first() == node.shape.first() && from.len() <= 2 => {
                self.sum(arg, path.times(T::one()));
            }
            (Op::SumTo, [rows, _]) if Some(rows) == node.shape.first() => {
                let summed = &f.nodes[arg as usize];
                match summed.op {
                    Op::Concat { axis: 1 } if columns(&summed.args) => {
                        summed.args.iter().for_each(|&part| self.sum(part, path.times(T::one())));
                    }
                    _ => self.term(id, None, arg, Last::Ones, path),
                }
            }
            (Op::Slice(ranges), &[rows, _]) if ranges[0].len == rows && ranges[0].step == 1 => {
                self.column(arg, ranges[1].start, path);
            }
            (Op::MatMul { .. }, _) => self.column(id, 0, path),
            _ => self.other(id, None, path),
        }
    }

    /// Finds the pieces of a column of a matrix.
    fn column(&mut self, id: NodeId, column: usize, path: Path<T>) {
        let node = &self.f.nodes[id as usize];
        if self.give_up(path) {
            return self.other(id, Some(column), path);
        }
        if let Some(parts) = linear(self.f, id) {
            return parts.iter().for_each(|&(c, part)| self.column(part, column, path.times(c)));
        }
        match node.op {
            Op::MatMul { ta: false, tb } if !self.varies[node.args[1] as usize] => {
                let last = Last::Column { of: node.args[1], transposed: tb, column };
                self.term(id, Some(column), node.args[0], last, path);
            }
            _ => self.other(id, Some(column), path),
        }
    }

    /// Finds the pieces of `x · last`, which is the value `id` or a column of it.
    fn term(&mut self, id: NodeId, column: Option<usize>, x: NodeId, last: Last, path: Path<T>) {
        let start = self.pieces.len();
        if !self.factors(x, Factors::new(), last, path) {
            self.pieces.truncate(start);
            self.other(id, column, path);
        }
    }

    /// The same of the product of `x` and factors found before, entry by entry; false if it is none that
    /// can be merged.
    fn factors(&mut self, x: NodeId, mut outer: Factors, last: Last, path: Path<T>) -> bool {
        if self.give_up(path) || outer.len() > FACTORS {
            return false;
        }
        if let Some(parts) = linear(self.f, x) {
            let mut parts = parts.iter();
            return parts.all(|&(c, x)| self.factors(x, outer.clone(), last, path.times(c)));
        }
        let node = &self.f.nodes[x as usize];
        if let Op::Binary(op) = node.op {
            let start = self.pieces.len();
            return ways(op, &node.args).any(|(factor, x)| {
                self.pieces.truncate(start);
                let mut outer = outer.clone();
                outer.push((op, factor));
                self.factors(x, outer, last, path)
            });
        }
        outer.sort_unstable();
        let (len, mut scale) = (node.shape[1], path.scale);
        let (left, row, weights) = match node.op {
            Op::MatMul { ta: false, tb } if !self.varies[node.args[1] as usize] => {
                let weights = Some((node.args[1], tb));
                match self.scaled_row(node.args[0], Factors::new(), path) {
                    Some((factors, row, scaled)) => {
                        scale = scaled;
                        (Left::Factors(factors), Some(row), weights)
                    }
                    None => (Left::Value(node.args[0]), None, weights),
                }
            }
            _ => match self.row(x) {
                Some(row) if !outer.is_empty() => (Left::None, Some(row), None),
                _ => return false,
            },
        };
        let term = Term { key: Key { outer, left, len }, row, weights, last };
        self.pieces.push(Piece { scale, term: Ok(term) });
        true
    }

    /// A value as the product of factors, a row that is the same for all, and a number.
    fn scaled_row(
        &self,
        x: NodeId,
        mut factors: Factors,
        path: Path<T>,
    ) -> Option<(Factors, NodeId, T)> {
        if self.give_up(path) || factors.len() > FACTORS {
            return None;
        }
        let node = &self.f.nodes[x as usize];
        if let Some(&[(c, x)]) = linear(self.f, x).as_deref() {
            return self.scaled_row(x, factors, path.times(c));
        }
        if let Op::Binary(op) = node.op {
            return ways(op, &node.args).find_map(|(factor, x)| {
                let mut factors = factors.clone();
                factors.push((op, factor));
                self.scaled_row(x, factors, path)
            });
        }
        factors.sort_unstable();
        let row = self.row(x)?;
        (!factors.is_empty()).then_some((factors, row, path.scale))
    }

    /// The row that a value repeats, if it does not depend on the state.
    fn row(&self, x: NodeId) -> Option<NodeId> {
        let node = &self.f.nodes[x as usize];
        if !matches!(node.op, Op::Expand) || self.varies[x as usize] {
            return None;
        }
        let from = self.shape(node.args[0]);
        (from.len() < 2 || from[0] == 1).then_some(node.args[0])
    }
}

/// A sum of other values of the same shape, with coefficients.
fn linear<T: Real>(f: &Function<T>, id: NodeId) -> Option<SmallVec<[(T, NodeId); 4]>> {
    let node = &f.nodes[id as usize];
    let (one, args) = (T::one(), &node.args);
    let parts = |c: &[T]| Some(c.iter().copied().zip(args.iter().copied()).collect());
    match &node.op {
        Op::Binary(Binary::Add) => parts(&[one, one]),
        Op::Binary(Binary::Sub) => parts(&[one, -one]),
        Op::Unary(Unary::Neg) => parts(&[-one]),
        Op::Affine { mul, add } if *add == T::zero() => parts(&[*mul]),
        Op::LinComb(c) => parts(c),
        _ => None,
    }
}

/// The ways to see an operation as the product of a factor and something else: `(factor, x)`.
fn ways(op: Binary, args: &[NodeId]) -> impl Iterator<Item = (NodeId, NodeId)> {
    let (first, second) = match op {
        Binary::TanhGrad | Binary::SigmoidGrad => (Some((args[0], args[1])), None),
        Binary::Mul => (Some((args[0], args[1])), Some((args[1], args[0]))),
        _ => (None, None),
    };
    first.into_iter().chain(second)
}

/// The function with the value `root` made from its pieces, those with equal keys as one.
fn replace<T: Real>(f: &Function<T>, root: usize, pieces: &[Piece<T>]) -> Result<Function<T>> {
    let tape = Tape::symbolic();
    let mut vars: Vec<Var<'_, T>> = Vec::with_capacity(f.nodes.len());
    for (id, node) in f.nodes.iter().enumerate() {
        let var = tape.blaming(node.loc, || match (&node.op, &node.constant) {
            _ if id == root => Ok(Merge { f, vars: &vars, tape: &tape }.sum(root, pieces)),
            (Op::Input, _) => Ok(tape.untouched(node.shape.clone())),
            (Op::Const, Some(value)) => Ok(tape.leaf(value, node.shape.clone())),
            (op, _) => {
                let args: SmallVec<[Var<'_, T>; 4]> =
                    node.args.iter().map(|&a| vars[a as usize]).collect();
                tape.record(op.clone(), &args, node.shape.clone())
            }
        })?;
        vars.push(var);
    }
    let at = |ids: &[NodeId]| ids.iter().map(|&id| vars[id as usize]).collect::<Vec<_>>();
    Ok(Function::cut(&tape, &at(&f.inputs), &at(&f.outputs)))
}

/// What records the new values.
struct Merge<'a, 't, T: Real> {
    f: &'a Function<T>,
    vars: &'a [Var<'t, T>],
    tape: &'t Tape<T>,
}

impl<'t, T: Real> Merge<'_, 't, T> {
    fn var(&self, id: NodeId) -> Var<'t, T> {
        self.vars[id as usize]
    }

    fn sum(&self, root: usize, pieces: &[Piece<T>]) -> Var<'t, T> {
        let shape = &self.f.nodes[root].shape;
        let mut done = vec![false; pieces.len()];
        let mut sum: Option<Var<'t, T>> = None;
        for (i, piece) in pieces.iter().enumerate() {
            if done[i] {
                continue;
            }
            let value = match &piece.term {
                &Err((id, column)) => {
                    let value = self.var(id);
                    let value = column.map_or(value, |i| value.slice_axis(1, i..i + 1));
                    value.reshape([shape[0], 1]).scale(piece.scale)
                }
                Ok(term) => {
                    let mut alike: Vec<(T, &Term)> = Vec::new();
                    for (done, piece) in done.iter_mut().zip(pieces) {
                        if let Ok(other) = &piece.term
                            && other.key == term.key
                        {
                            *done = true;
                            alike.push((piece.scale, other));
                        }
                    }
                    self.merged(shape[0], &alike)
                }
            };
            sum = Some(sum.map_or(value, |sum| sum + value));
        }
        sum.expect("a sum has pieces").reshape(shape.clone())
    }

    /// The sum of terms with the same key, `[rows, 1]`.
    fn merged(&self, rows: usize, terms: &[(T, &Term)]) -> Var<'t, T> {
        let Key { outer, left, len } = &terms[0].1.key;
        let left = match left {
            Left::None => {
                // Σ_j outer_j (Σ_i row_ij last_ij).
                let products = terms.iter().map(|&(scale, term)| {
                    let row = self.var(term.row.expect("terms without products have one"));
                    let row = row.broadcast_to([1, *len]);
                    self.last(term, *len).map_or(row, |last| row * last).scale(scale)
                });
                let weights = products.reduce(|a, b| a + b).expect("there is a term");
                return self.product_of(outer).matmul(weights.reshape([*len, 1]));
            }
            Left::Factors(factors) => self.product_of(factors),
            Left::Value(id) => self.var(*id),
        };
        let product = left.matmul(self.weights(left.shape()[1], *len, terms));
        outer
            .iter()
            .fold(product, |x, &factor| self.times(factor, x))
            .sum_axis(1)
            .reshape([rows, 1])
    }

    /// `Σ_i diag(row_i) W_i diag(last_i)`, from as many terms as there are with each `W`:
    /// `W ∘ Σ_i row_iᵀ last_i`.
    fn weights(&self, inner: usize, len: usize, terms: &[(T, &Term)]) -> Var<'t, T> {
        let mut all: Option<Var<'t, T>> = None;
        let of = |term: &Term| term.weights.expect("terms with products have weights");
        for (i, &(_, term)) in terms.iter().enumerate() {
            if terms[..i].iter().any(|(_, before)| of(before) == of(term)) {
                continue;
            }
            let same = terms.iter().filter(|(_, other)| of(other) == of(term));
            let (rows, lasts): (Vec<Var<'t, T>>, Vec<Var<'t, T>>) = same
                .map(|&(scale, term)| {
                    let one = self.tape.scalar(T::one());
                    let row = term.row.map_or(one, |row| self.var(row));
                    let last = self.last(term, len).unwrap_or(one).broadcast_to([1, len]);
                    (row.broadcast_to([1, inner]).scale(scale), last)
                })
                .unzip();
            let (rows, lasts) = (Var::concat(0, &rows), Var::concat(0, &lasts));
            let (weights, transposed) = of(term);
            let weights = self.var(weights);
            let weights = if transposed {
                (weights * lasts.matmul_with(rows, true, false)).t()
            } else {
                weights * rows.matmul_with(lasts, true, false)
            };
            all = Some(all.map_or(weights, |all| all + weights));
        }
        all.expect("there is a term")
    }

    /// What the entries are multiplied with in the sum, as a row; `None` if with ones.
    fn last(&self, term: &Term, len: usize) -> Option<Var<'t, T>> {
        let Last::Column { of, transposed, column } = term.last else { return None };
        let axis = if transposed { 0 } else { 1 };
        Some(self.var(of).slice_axis(axis, column..column + 1).reshape([1, len]))
    }

    fn times(&self, (op, factor): (Binary, NodeId), x: Var<'t, T>) -> Var<'t, T> {
        self.var(factor).binary(op, x)
    }

    /// The product of factors.
    fn product_of(&self, factors: &Factors) -> Var<'t, T> {
        let (&(op, first), rest) = factors.split_first().expect("there is a factor");
        let start = match op {
            Binary::Mul => self.var(first),
            _ => self.times((op, first), self.tape.scalar(T::one())),
        };
        rest.iter().fold(start, |x, &factor| self.times(factor, x))
    }
}
