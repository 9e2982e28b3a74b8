//! A sum made anew from its terms.

use costate_ops::Binary;

use super::{Factors, Key, Last, Left, Piece, Term};
use crate::Real;
use crate::function::Function;
use crate::graph::NodeId;
use crate::op::Result;
use crate::tape::Tape;
use crate::var::Var;

/// The function with the value `root` made from its pieces, those with equal keys as one.
pub(super) fn replace<T: Real>(
    f: &Function<T>,
    root: usize,
    pieces: &[Piece<T>],
) -> Result<Function<T>> {
    f.with_value(root, |tape, vars| Merge { f, vars, tape }.sum(root, pieces))
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
