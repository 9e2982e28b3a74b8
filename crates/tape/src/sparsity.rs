//! Which entries of an output depend on which entries of an input.
//!
//! Each entry of each operation has the set of input entries that it may depend on. Operations that
//! only move entries are carried out on the numbers of entries, so that they need no rules of their
//! own; what is not known to be sparse depends on all entries of its arguments.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::op::Op;
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

/// The input entries that an entry depends on, in order.
type Set = Rc<[u32]>;

/// How much work a search may be: entries that are put together.
const WORK: usize = 50_000_000;

impl<T: Real> Function<T> {
    /// The pairs `(i, j)` for which entry `i` of the output numbered `output` may depend on entry `j`
    /// of the input numbered `input`, by the operations between them: a pattern for its Jacobian,
    /// sorted by `i`. `None` where the search would take too long, or there is a call that may do
    /// anything between them; then assume all.
    ///
    /// What is multiplied by a constant matrix does not depend on entries that meet its zeros.
    /// Otherwise numbers do not count: `0 · x` depends on `x`. What goes through
    /// [`detach`](Var::detach) does not.
    ///
    /// ```
    /// use costate_tape::{Function, Shape};
    ///
    /// let f = Function::<f64>::trace_shapes(&[Shape::from([3])], |_, x| {
    ///     let difference = x[0].slice_axis(0, 1..3) - x[0].slice_axis(0, 0..2);
    ///     Ok(vec![difference.square()])
    /// })?;
    /// assert_eq!(f.sparsity(0, 0).unwrap(), [(0, 0), (0, 1), (1, 1), (1, 2)]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such output or input.
    pub fn sparsity(&self, output: usize, input: usize) -> Option<Vec<(usize, usize)>> {
        let (input, output) = (self.inputs[input], self.outputs[output]);
        let mut search = Search { empty: Rc::from([]), work: 0 };
        let mut sets: Vec<Vec<Set>> = Vec::with_capacity(self.nodes.len());
        for (id, node) in self.nodes.iter().enumerate() {
            let found = if id == input as usize {
                (0..node.shape.numel() as u32).map(|j| Rc::from([j])).collect()
            } else {
                search.node(self, node, &sets)?
            };
            sets.push(found);
            if search.work > WORK {
                return None;
            }
        }
        let pairs = sets[output as usize].iter().enumerate();
        Some(pairs.flat_map(|(i, set)| set.iter().map(move |&j| (i, j as usize))).collect())
    }
}

struct Search {
    empty: Set,
    work: usize,
}

impl Search {
    /// The sets of an operation from those of its arguments.
    fn node<T: Real>(
        &mut self,
        function: &Function<T>,
        node: &FnNode<T>,
        sets: &[Vec<Set>],
    ) -> Option<Vec<Set>> {
        let n = node.shape.numel();
        let args: Vec<&[Set]> = node.args.iter().map(|&a| &*sets[a as usize]).collect();
        let depends = args.iter().any(|sets| sets.iter().any(|set| !set.is_empty()));
        if !depends || matches!(node.op, Op::Detach) {
            return Some(vec![self.empty.clone(); n]);
        }
        let shape = |i: usize| &function.nodes[node.args[i] as usize].shape;
        Some(match &node.op {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Affine { .. }
            | Op::Powi(_)
            | Op::LinComb(_)
            | Op::Select => (0..n).map(|i| self.all(args.iter().map(|sets| &sets[i]))).collect(),
            Op::Expand
            | Op::Reshape
            | Op::Permute(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Concat { .. }
            | Op::Gather { .. } => {
                let shapes: Vec<Shape> = (0..args.len()).map(|i| shape(i).clone()).collect();
                let from = moved::<T>(&node.op, &shapes, &node.shape);
                let flat: Vec<&Set> = args.iter().copied().flatten().collect();
                let set = |from: Option<usize>| from.map_or(&self.empty, |i| flat[i]).clone();
                from.into_iter().map(set).collect()
            }
            Op::SumTo => {
                let to = moved::<T>(&Op::Expand, std::slice::from_ref(&node.shape), shape(0));
                self.gathered(n, args[0], &to)
            }
            Op::ScatterAdd { axis, index } => {
                let gather = Op::Gather { axis: *axis, index: index.clone() };
                let to = moved::<T>(&gather, std::slice::from_ref(&node.shape), shape(0));
                self.gathered(n, args[0], &to)
            }
            Op::MatMul { ta, tb } => {
                let constant = |i: usize| function.nodes[node.args[i] as usize].constant.as_deref();
                let a = Matrix::new(args[0], shape(0), *ta, constant(0));
                let b = Matrix::new(args[1], shape(1), *tb, constant(1));
                self.product(&a, &b)
            }
            Op::Call(_) | Op::Project { .. } => return None,
            _ => {
                let whole = self.all(args.iter().copied().flatten());
                vec![whole; n]
            }
        })
    }

    /// All of some sets.
    fn all<'a>(&mut self, sets: impl Iterator<Item = &'a Set>) -> Set {
        let mut whole = self.empty.clone();
        for set in sets {
            if whole.is_empty() {
                whole = set.clone();
            } else if !set.is_empty() && !Rc::ptr_eq(&whole, set) && *whole != **set {
                self.work += whole.len() + set.len();
                whole = merge(&whole, set);
            }
            if self.work > WORK {
                break;
            }
        }
        whole
    }

    /// The sets of results to which each entry is added.
    fn gathered(&mut self, n: usize, sets: &[Set], to: &[Option<usize>]) -> Vec<Set> {
        let mut terms: Vec<Vec<&Set>> = vec![Vec::new(); n];
        for (set, to) in sets.iter().zip(to) {
            if let Some(to) = to {
                terms[*to].push(set);
            }
        }
        terms.into_iter().map(|terms| self.all(terms.into_iter())).collect()
    }

    fn product<T: Real>(&mut self, a: &Matrix<'_, T>, b: &Matrix<'_, T>) -> Vec<Set> {
        let (m, inner, n) = (a.rows, a.columns, b.columns);
        let zero = |x: Option<T>| x == Some(T::zero());
        if a.values.is_some() || b.values.is_some() {
            let entry = |ij: usize| {
                let (i, j) = (ij / n, ij % n);
                let used = (0..inner).filter(|&l| !zero(a.value(i, l)) && !zero(b.value(l, j)));
                let sets: Vec<&Set> = used
                    .flat_map(|l| [a.set(i, l), b.set(l, j)])
                    .filter(|s| !s.is_empty())
                    .collect();
                self.work += inner;
                self.all(sets.into_iter())
            };
            return (0..m * n).map(entry).collect();
        }
        let rows: Vec<Set> = (0..m).map(|i| self.all((0..inner).map(|l| a.set(i, l)))).collect();
        let columns: Vec<Set> = (0..n).map(|j| self.all((0..inner).map(|l| b.set(l, j)))).collect();
        (0..m * n).map(|ij| self.all([&rows[ij / n], &columns[ij % n]].into_iter())).collect()
    }
}

/// An argument of a product, perhaps transposed.
struct Matrix<'a, T> {
    sets: &'a [Set],
    /// Its entries, if it is a constant.
    values: Option<&'a [T]>,
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a, T: Real> Matrix<'a, T> {
    fn new(
        sets: &'a [Set],
        shape: &Shape,
        transposed: bool,
        values: Option<&'a [T]>,
    ) -> Matrix<'a, T> {
        let (rows, columns) = if transposed { (shape[1], shape[0]) } else { (shape[0], shape[1]) };
        Matrix { sets, values, rows, columns, transposed }
    }

    fn place(&self, i: usize, j: usize) -> usize {
        if self.transposed { j * self.rows + i } else { i * self.columns + j }
    }

    fn set(&self, i: usize, j: usize) -> &'a Set {
        &self.sets[self.place(i, j)]
    }

    fn value(&self, i: usize, j: usize) -> Option<T> {
        self.values.map(|values| values[self.place(i, j)])
    }
}

/// For each entry of the result of an operation that moves entries, the number of the one that comes
/// there; the arguments' entries are numbered one after another. Found by moving the numbers.
fn moved<T: Real>(op: &Op<T>, shapes: &[Shape], out: &Shape) -> Vec<Option<usize>> {
    let tape = Tape::<f64>::new();
    let mut next = 0;
    let args: Vec<Var<'_, f64>> = shapes
        .iter()
        .map(|shape| {
            let numbers: Vec<f64> = (0..shape.numel()).map(|i| (next + i + 1) as f64).collect();
            next += shape.numel();
            tape.leaf(&numbers, shape.clone())
        })
        .collect();
    let op: Op<f64> = match op {
        Op::Expand => Op::Expand,
        Op::Reshape => Op::Reshape,
        Op::Permute(axes) => Op::Permute(axes.clone()),
        Op::Slice(ranges) => Op::Slice(ranges.clone()),
        Op::Pad(ranges) => Op::Pad(ranges.clone()),
        Op::Concat { axis } => Op::Concat { axis: *axis },
        Op::Gather { axis, index } => Op::Gather { axis: *axis, index: index.clone() },
        _ => unreachable!("{} does not move entries", op.name()),
    };
    let found = args[0].record(op, &args[1..], out.clone()).to_vec();
    found.into_iter().map(|number| (number > 0.0).then(|| number as usize - 1)).collect()
}

fn merge(a: &[u32], b: &[u32]) -> Set {
    let mut all = Vec::with_capacity(a.len() + b.len());
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let order = a[i].cmp(&b[j]);
        all.push(a[i].min(b[j]));
        i += usize::from(order != Ordering::Greater);
        j += usize::from(order != Ordering::Less);
    }
    all.extend_from_slice(&a[i..]);
    all.extend_from_slice(&b[j..]);
    all.into()
}
