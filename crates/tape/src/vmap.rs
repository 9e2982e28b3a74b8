//! A function written for one sample, applied to a batch.
//!
//! Each operation of the function becomes one on arrays with a further axis in front. What does not
//! depend on the samples is computed once.

use costate_ops::Range1;

use crate::Real;
use crate::op::{Op, Result};
use crate::shape::Shape;
use crate::tape::{Scope, Tape};
use crate::var::Var;

/// A value of the function for all samples.
#[derive(Clone)]
enum Value<'t, T: Real> {
    /// The same for every sample.
    Shared(Var<'t, T>),
    /// One for each, along the first axis.
    Batch(Var<'t, T>),
    /// A user's operation, evaluated for each sample by itself.
    Calls(Vec<Var<'t, T>>),
}

impl<'t, T: Real> Value<'t, T> {
    /// With the samples along the first axis.
    fn batch(&self, n: usize) -> Var<'t, T> {
        match self {
            Value::Shared(x) => x.broadcast_to(front(n, &x.shape())),
            Value::Batch(x) => *x,
            Value::Calls(calls) => Var::stack(0, calls),
        }
    }

    /// That of one sample.
    fn sample(&self, i: usize) -> Var<'t, T> {
        match self {
            Value::Shared(x) => *x,
            Value::Batch(x) => x.index_axis(0, i),
            Value::Calls(calls) => calls[i],
        }
    }
}

/// A shape with a further axis in front.
fn front(n: usize, shape: &[usize]) -> Shape {
    [n].iter().chain(shape).copied().collect()
}

/// All of the first axis, then the given ranges.
fn all_and(n: usize, ranges: &[Range1]) -> Vec<Range1> {
    [Range1 { start: 0, len: n, step: 1 }].iter().chain(ranges).copied().collect()
}

impl<T: Real> Tape<T> {
    /// Applies `f`, written for one sample, to every sample of a batch: `f` gets each input without
    /// its first axis, and each output has one in front.
    ///
    /// The samples share what `f` captures. Products with shared matrices become one product;
    /// operations of users and ODE solves are evaluated sample by sample, so that each solve has
    /// its own steps.
    ///
    /// ```
    /// use costate_tape::Tape;
    /// use ndarray::arr2;
    ///
    /// let tape = Tape::new();
    /// let x = tape.constant(&arr2(&[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]));
    /// // The gradient of each sample's own loss.
    /// let g = tape.vmap(&[x], |x| x[0].square().sum().grad(&[x[0]]))?[0];
    /// assert_eq!(g.to_vec(), [2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `f`, or if it [reads a number](Var::value).
    ///
    /// # Panics
    /// If there are no inputs, or one has no first axis or another length of it.
    #[track_caller]
    pub fn vmap<'t>(
        &'t self,
        inputs: &[Var<'t, T>],
        f: impl FnOnce(&[Var<'t, T>]) -> Result<Vec<Var<'t, T>>>,
    ) -> Result<Vec<Var<'t, T>>> {
        let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape()).collect();
        let n = *shapes.first().and_then(|s| s.first()).expect("vmap: an input with a first axis");
        for shape in &shapes {
            let found = shape.first();
            assert!(found == Some(&n), "vmap: a batch of {n}, and an input of shape {shape}");
        }
        let samples: Vec<_> = inputs
            .iter()
            .zip(&shapes)
            .map(|(x, shape)| match n {
                0 => self.scalar(T::zero()).broadcast_to(&shape[1..]),
                _ => x.index_axis(0, 0),
            })
            .collect();
        let scope = self.scope(&samples, f)?;
        T::vmap(self, n, inputs, scope)
    }

    /// What `scope` recorded for one of `n` samples, for all of them.
    #[track_caller]
    pub(crate) fn vmap_of<'t>(
        &'t self,
        n: usize,
        inputs: &[Var<'t, T>],
        scope: Scope<'t, T>,
    ) -> Result<Vec<Var<'t, T>>> {
        scope.function.require_replayable()?;
        let given = inputs.iter().map(|&x| Value::Batch(x));
        let captured = scope.captured.iter().map(|&x| Value::Shared(x));
        let mut given = given.chain(captured);
        let mut values: Vec<Value<'t, T>> = Vec::new();
        for node in &scope.function.nodes {
            let value = match (&node.op, &node.constant) {
                (Op::Input, _) => given.next().expect("a value for each input"),
                (Op::Const, Some(value)) => Value::Shared(self.leaf(value, &node.shape)),
                (op, _) => {
                    let args: Vec<_> = node.args.iter().map(|&a| &values[a as usize]).collect();
                    self.blaming(node.loc, || self.map_operation(op, &args, &node.shape, n))?
                }
            };
            values.push(value);
        }
        let outputs = scope.function.outputs.iter();
        Ok(outputs.map(|&id| values[id as usize].batch(n)).collect())
    }

    /// One operation on all samples; `shape` is that of one sample's result.
    fn map_operation<'t>(
        &'t self,
        op: &Op<T>,
        args: &[&Value<'t, T>],
        shape: &Shape,
        n: usize,
    ) -> Result<Value<'t, T>> {
        let shared: Option<Vec<Var<'t, T>>> = args
            .iter()
            .map(|a| match a {
                Value::Shared(x) => Some(*x),
                _ => None,
            })
            .collect();
        if let Some(args) = shared {
            return Ok(Value::Shared(self.record(op.clone(), &args, shape.clone())?));
        }
        let out = front(n, shape);
        let batch: Vec<Var<'t, T>> = match op {
            Op::Call(_) | Op::Project { .. } | Op::MatMul { .. } => Vec::new(),
            _ => args.iter().map(|a| a.batch(n)).collect(),
        };
        let result = match op {
            Op::Unary(_)
            | Op::Binary(_)
            | Op::Affine { .. }
            | Op::Powi(_)
            | Op::LinComb(_)
            | Op::Select
            | Op::Reshape
            | Op::Detach => self.record(op.clone(), &batch, out)?,
            Op::Expand => {
                let from = batch[0].shape();
                let missing = out.ndim() - from.ndim();
                let axes = [n].into_iter().chain(vec![1; missing]).chain(from[1..].iter().copied());
                batch[0].reshape(axes.collect::<Shape>()).broadcast_to(out)
            }
            Op::SumTo => {
                let missing = batch[0].shape().ndim() - out.ndim();
                let axes = [n].into_iter().chain(vec![1; missing]).chain(shape.iter().copied());
                batch[0].sum_to(&axes.collect()).reshape(out)
            }
            Op::Permute(axes) => {
                let axes: Vec<usize> = [0].into_iter().chain(axes.iter().map(|a| a + 1)).collect();
                batch[0].permute(&axes)
            }
            Op::Slice(ranges) => batch[0].slice_ranges(all_and(n, ranges)),
            Op::Pad(ranges) => batch[0].pad_into(all_and(n, ranges), out),
            Op::Concat { axis } => Var::concat(axis + 1, &batch),
            Op::MaxAxis { axis } => batch[0].max_axis(axis + 1),
            Op::Gather { axis, index } => batch[0].gather(axis + 1, index.clone()),
            Op::ScatterAdd { axis, index } => {
                batch[0].scatter_add(axis + 1, index.clone(), shape[*axis])
            }
            Op::MatMul { ta, tb } => self.map_product(args, *ta, *tb, n, out),
            Op::CumSum { axis, reverse } => {
                self.record(Op::CumSum { axis: axis + 1, reverse: *reverse }, &batch, out)?
            }
            // Batches of batches are longer batches.
            Op::MatMulBatch { .. } | Op::Solve | Op::SolveTriangular { .. } | Op::LogDet => {
                let flat: Vec<_> = batch
                    .iter()
                    .map(|x| {
                        let shape = x.shape();
                        let axes =
                            [shape[0] * shape[1]].into_iter().chain(shape[2..].iter().copied());
                        x.reshape(axes.collect::<Shape>())
                    })
                    .collect();
                let axes = [out[0] * out[1]].into_iter().chain(out[2..].iter().copied());
                self.record(op.clone(), &flat, axes.collect())?.reshape(out)
            }
            Op::Call(call) => {
                let each = (0..n).map(|i| {
                    let args: Vec<_> = args.iter().map(|a| a.sample(i)).collect();
                    self.record(Op::Call(call.clone()), &args, shape.clone())
                });
                return Ok(Value::Calls(each.collect::<Result<_>>()?));
            }
            Op::Project { .. } => {
                let each =
                    (0..n).map(|i| self.record(op.clone(), &[args[0].sample(i)], shape.clone()));
                let each: Vec<_> = each.collect::<Result<_>>()?;
                match each.as_slice() {
                    [] => self.leaf(&[], out),
                    each => Var::stack(0, each),
                }
            }
            Op::Input | Op::Const => unreachable!("leaves have values"),
        };
        Ok(Value::Batch(result))
    }

    /// `op(A) op(B)` where at least one side differs between samples.
    fn map_product<'t>(
        &'t self,
        args: &[&Value<'t, T>],
        ta: bool,
        tb: bool,
        n: usize,
        out: Shape,
    ) -> Var<'t, T> {
        match args {
            // Rows of all samples, one after another.
            [Value::Batch(a), Value::Shared(b)] => {
                let a = if ta { a.permute(&[0, 2, 1]) } else { *a };
                let (rows, k) = (n * a.shape()[1], a.shape()[2]);
                a.reshape([rows, k]).matmul_with(*b, false, tb).reshape(out)
            }
            // The same for the transposed product: op(B)ᵀ op(A)ᵀ.
            [Value::Shared(a), Value::Batch(b)] => {
                let b = if tb { *b } else { b.permute(&[0, 2, 1]) };
                let (columns, k) = (b.shape()[1], b.shape()[2]);
                let c = b.reshape([n * columns, k]).matmul_with(*a, false, !ta);
                c.reshape([n, columns, out[1]]).permute(&[0, 2, 1])
            }
            [a, b] => self
                .record(Op::MatMulBatch { ta, tb }, &[a.batch(n), b.batch(n)], out)
                .expect("only calls can fail"),
            _ => unreachable!("a product has two sides"),
        }
    }
}
