//! The search for what a sum consists of.

use costate_ops::{Binary, Unary};
use smallvec::SmallVec;

use super::{Factors, Key, Last, Left, Piece, TERMS, Term};
use crate::Real;
use crate::function::Function;
use crate::graph::NodeId;
use crate::op::Op;

/// At most so deep in a sum terms are looked for, and so many factors of each.
const DEPTH: usize = 256;
const FACTORS: usize = 8;

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

pub(super) struct Search<'a, T: Real> {
    f: &'a Function<T>,
    varies: &'a [bool],
    pieces: Vec<Piece<T>>,
    seen: &'a mut [bool],
}

impl<T: Real> Search<'_, T> {
    /// The pieces of the sum `root`, if `varies` says which values depend on the state; notes in `seen` what it
    /// goes through. More than [`TERMS`] are not all.
    pub fn pieces_of(
        f: &Function<T>,
        root: NodeId,
        varies: &[bool],
        seen: &mut [bool],
    ) -> Vec<Piece<T>> {
        let mut search = Search { f, varies, pieces: Vec::new(), seen };
        search.sum(root, Path { scale: T::one(), depth: 0 });
        search.pieces
    }

    fn shape(&self, id: NodeId) -> &[usize] {
        &self.f.nodes[id as usize].shape
    }

    fn give_up(&self, path: Path<T>) -> bool {
        self.pieces.len() > TERMS || path.depth > DEPTH
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
