//! The operations: each family in a file of its own, holding how it is recorded, what it computes,
//! and its two rules.
//!
//! A rule is written once, in terms of operations on [`Var`]s, so what it emits can be
//! differentiated, replayed and optimised like anything a user records. `covered.rs` sees to it that
//! none is without a test.

use std::sync::Arc;

use costate_ops::{Binary, Range1, Unary};
use smallvec::SmallVec;

use crate::Real;
use crate::call::CallOp;
use crate::error::Error;
use crate::shape::Shape;
use crate::var::Var;

pub(crate) mod activation;
pub(crate) mod axes;
pub(crate) mod broadcast;
pub(crate) mod convolution;
#[cfg(test)]
mod covered;
pub(crate) mod diagonal;
pub(crate) mod einsum;
pub(crate) mod elementwise;
pub(crate) mod functions;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod linalg;
pub(crate) mod linear;
pub(crate) mod matmul;
pub(crate) mod operators;
pub(crate) mod ranges;
pub(crate) mod reduce;
pub(crate) mod select;

/// A recorded operation. Closed where the optimiser must understand it, open through `Call`.
#[derive(Clone, Debug)]
pub(crate) enum Op<T: Real> {
    /// A leaf whose value is given by the caller of a function.
    Input,
    /// A leaf whose value is part of the program.
    Const,
    /// `f(x)`, entry by entry.
    Unary(Unary),
    /// `f(x, y)`, entry by entry, equal shapes.
    Binary(Binary),
    /// `mul * x + add`.
    Affine { mul: T, add: T },
    /// `x^n`.
    Powi(i32),
    /// `Σ c_i x_i`, equal shapes.
    LinComb(Arc<[T]>),
    /// `where(c ≠ 0, a, b)`, equal shapes.
    Select,
    /// `op(A) op(B)` of two matrices, each transposed or not.
    MatMul { ta: bool, tb: bool },
    /// The same of each of a batch: `[b, m, k]` and `[b, k, n]`.
    MatMulBatch { ta: bool, tb: bool },
    /// `X` with `A X = B`, of a batch: `[b, n, n]` and `[b, n, k]`.
    Solve,
    /// `X` with `op(L) X = B`, of a batch; `L` is the lower or upper triangle of the first argument.
    SolveTriangular { lower: bool, transposed: bool },
    /// `ln |det A|` of a batch `[b, n, n]`.
    LogDet,
    /// Repeats along axes of length 1 or missing in front.
    Expand,
    /// Sums along the axes that `Expand` repeats.
    SumTo,
    /// The same entries under another shape.
    Reshape,
    /// The same entries, cut off from differentiation.
    Detach,
    /// Reorders axes: axis `i` of the result is axis `axes[i]` of the argument.
    Permute(Arc<[usize]>),
    /// A range of every axis.
    Slice(Arc<[Range1]>),
    /// Zeros, with the argument written into a range of every axis.
    Pad(Arc<[Range1]>),
    /// One after another along an axis.
    Concat { axis: usize },
    /// The largest entry along an axis, which goes away.
    MaxAxis { axis: usize },
    /// Running sums along an axis, from its end if in reverse.
    CumSum { axis: usize, reverse: bool },
    /// The entries at the given places of an axis.
    Gather { axis: usize, index: Arc<[usize]> },
    /// Zeros, with entries added at the given places of an axis.
    ScatterAdd { axis: usize, index: Arc<[usize]> },
    /// A user's operation; its value is all its outputs, one after another.
    Call(Arc<dyn CallOp<T>>),
    /// One output of a `Call`.
    Project { output: usize, offset: usize },
}

/// An input of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Arg<'a, T> {
    /// The entries, row-major.
    pub data: &'a [T],
    /// The shape.
    pub shape: &'a [usize],
}

impl<T: Real> Op<T> {
    /// The offset into the argument's value of an operation that only looks at it.
    pub fn alias_offset(&self) -> Option<usize> {
        match self {
            Op::Reshape | Op::Detach => Some(0),
            Op::Project { offset, .. } => Some(*offset),
            _ => None,
        }
    }

    /// Whether each entry of the result follows from those at its place in arguments of the same shape.
    pub fn is_elementwise(&self) -> bool {
        matches!(
            self,
            Op::Unary(_)
                | Op::Binary(_)
                | Op::Affine { .. }
                | Op::Powi(_)
                | Op::LinComb(_)
                | Op::Select
                | Op::Detach
        )
    }

    /// The name in printed programs and messages.
    pub fn name(&self) -> &str {
        match self {
            Op::Input => "input",
            Op::Const => "const",
            Op::Unary(u) => u.name(),
            Op::Binary(b) => b.name(),
            Op::Affine { .. } => "affine",
            Op::Powi(_) => "powi",
            Op::LinComb(_) => "lincomb",
            Op::Select => "select",
            Op::MatMul { .. } => "matmul",
            Op::MatMulBatch { .. } => "matmul_batch",
            Op::Solve => "solve",
            Op::SolveTriangular { .. } => "solve_triangular",
            Op::LogDet => "log_det",
            Op::Expand => "expand",
            Op::SumTo => "sum_to",
            Op::Reshape => "reshape",
            Op::Detach => "detach",
            Op::Permute(_) => "permute",
            Op::Slice(_) => "slice",
            Op::Pad(_) => "pad",
            Op::Concat { .. } => "concat",
            Op::MaxAxis { .. } => "max_axis",
            Op::CumSum { .. } => "cumsum",
            Op::Gather { .. } => "gather",
            Op::ScatterAdd { .. } => "scatter_add",
            Op::Call(call) => call.name(),
            Op::Project { .. } => "project",
        }
    }
}

/// Computes an operation that is neither a leaf, nor an alias, nor a `Call`.
pub(crate) fn eval<T: Real>(op: &Op<T>, args: &[Arg<'_, T>], out: &mut [T], shape: &[usize]) {
    match op {
        Op::Unary(u) => costate_ops::unary(*u, args[0].data, out),
        Op::Binary(b) => costate_ops::binary(*b, args[0].data, args[1].data, out),
        Op::Affine { mul, add } => costate_ops::affine(*mul, *add, args[0].data, out),
        Op::Powi(n) => costate_ops::powi(*n, args[0].data, out),
        Op::LinComb(c) => {
            let xs: SmallVec<[&[T]; 8]> = args.iter().map(|a| a.data).collect();
            costate_ops::lincomb(c, &xs, out);
        }
        Op::Select => costate_ops::select(args[0].data, args[1].data, args[2].data, out),
        Op::MatMul { ta, tb } => matmul::eval(*ta, *tb, args, out),
        Op::MatMulBatch { ta, tb } => matmul::eval_batch(*ta, *tb, args, out),
        Op::Solve => linalg::eval_solve(args, out),
        Op::SolveTriangular { lower, transposed } => {
            linalg::eval_solve_triangular(*lower, *transposed, args, out);
        }
        Op::LogDet => linalg::eval_log_det(args[0], out),
        Op::Expand => costate_ops::expand(args[0].data, args[0].shape, out, shape),
        Op::SumTo => costate_ops::sum_to(args[0].data, args[0].shape, out, shape),
        Op::Permute(axes) => costate_ops::permute(args[0].data, args[0].shape, axes, out),
        Op::Slice(ranges) => costate_ops::slice(args[0].data, args[0].shape, ranges, out),
        Op::Pad(ranges) => {
            out.fill(T::zero());
            costate_ops::slice_add(args[0].data, out, shape, ranges);
        }
        Op::Concat { axis } => layout::eval_concat(*axis, args, out),
        Op::MaxAxis { axis } => reduce::eval_max(*axis, args[0], out),
        Op::CumSum { axis, reverse } => reduce::eval_cumsum(*axis, *reverse, args[0], out),
        Op::Gather { axis, index } => index::eval_gather(*axis, index, args[0], out),
        Op::ScatterAdd { axis, index } => {
            index::eval_scatter_add(*axis, index, args[0], out, shape);
        }
        Op::Input | Op::Const | Op::Reshape | Op::Detach | Op::Call(_) | Op::Project { .. } => {
            unreachable!("{} has no kernel", op.name())
        }
    }
}

/// What a differentiation rule sees of the node it differentiates.
#[derive(Debug)]
pub(crate) struct Rule<'a, 't, T: Real> {
    pub args: &'a [Var<'t, T>],
    pub out: Var<'t, T>,
    /// Which arguments a cotangent is wanted for.
    pub needs: &'a [bool],
}

/// Cotangents of a node's arguments; `None` is zero.
pub(crate) type Cotangents<'t, T> = SmallVec<[Option<Var<'t, T>>; 4]>;

/// `ḡ ↦ (∂out/∂args)ᵀ ḡ`: the reverse rule of every operation with one output.
pub(crate) fn vjp<'t, T: Real>(
    op: &Op<T>,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    let one = |x| SmallVec::from_iter([Some(x)]);
    match op {
        Op::Unary(u) => SmallVec::from_iter([elementwise::chain(*u, rule, g)]),
        Op::Binary(b) => elementwise::binary_vjp(*b, rule, g),
        Op::Affine { mul, .. } => one(g.scale(*mul)),
        Op::Powi(n) => one(linear::powi_chain(*n, rule.args[0], g)),
        Op::LinComb(c) => linear::lincomb_vjp(c, rule, g),
        Op::Select => select::vjp(rule, g),
        Op::MatMul { ta, tb } => matmul::vjp(Var::matmul_with, *ta, *tb, rule, g),
        Op::MatMulBatch { ta, tb } => matmul::vjp(Var::matmul_batch, *ta, *tb, rule, g),
        Op::Solve => linalg::solve_vjp(rule, g),
        Op::SolveTriangular { lower, transposed } => {
            linalg::solve_triangular_vjp(*lower, *transposed, rule, g)
        }
        Op::LogDet => one(linalg::log_det_vjp(rule, g)),
        Op::Expand => one(g.sum_to(&rule.args[0].shape())),
        Op::SumTo => one(g.broadcast_to(rule.args[0].shape())),
        Op::Reshape => one(g.reshape(rule.args[0].shape())),
        Op::Permute(axes) => one(g.permute(&layout::inverse(axes))),
        Op::Slice(ranges) => one(g.pad_into(ranges.clone(), rule.args[0].shape())),
        Op::Pad(ranges) => one(g.slice_ranges(ranges.clone())),
        Op::Concat { axis } => layout::concat_vjp(*axis, rule, g),
        Op::MaxAxis { axis } => one(reduce::max_vjp(*axis, rule, g)),
        Op::CumSum { axis, reverse } => one(g.running_sum(*axis, !reverse)),
        Op::Gather { axis, index } => {
            one(g.scatter_add(*axis, index.clone(), rule.args[0].shape()[*axis]))
        }
        Op::ScatterAdd { axis, index } => one(g.gather(*axis, index.clone())),
        Op::Input | Op::Const | Op::Detach | Op::Call(_) | Op::Project { .. } => {
            unreachable!("{} is differentiated by the sweep itself", op.name())
        }
    }
}

/// `ẋ ↦ (∂out/∂args) ẋ`: the forward rule. At least one tangent is present.
pub(crate) fn jvp<'t, T: Real>(
    op: &Op<T>,
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let first = dots[0];
    match op {
        Op::Unary(u) => elementwise::chain(*u, rule, first?),
        Op::Binary(b) => elementwise::binary_jvp(*b, rule, dots),
        Op::Affine { mul, .. } => Some(first?.scale(*mul)),
        Op::Powi(n) => Some(linear::powi_chain(*n, rule.args[0], first?)),
        Op::LinComb(c) => linear::lincomb_jvp(c, dots),
        Op::Select => select::jvp(rule, dots),
        Op::MatMul { ta, tb } => matmul::jvp(Var::matmul_with, *ta, *tb, rule, dots),
        Op::MatMulBatch { ta, tb } => matmul::jvp(Var::matmul_batch, *ta, *tb, rule, dots),
        Op::Solve => linalg::solve_jvp(rule, dots),
        Op::SolveTriangular { lower, transposed } => {
            linalg::solve_triangular_jvp(*lower, *transposed, rule, dots)
        }
        Op::LogDet => Some(linalg::log_det_jvp(rule, first?)),
        Op::Expand => Some(first?.broadcast_to(rule.out.shape())),
        Op::SumTo => Some(first?.sum_to(&rule.out.shape())),
        Op::Reshape => Some(first?.reshape(rule.out.shape())),
        Op::Permute(axes) => Some(first?.permute(axes)),
        Op::Slice(ranges) => Some(first?.slice_ranges(ranges.clone())),
        Op::Pad(ranges) => Some(first?.pad_into(ranges.clone(), rule.out.shape())),
        Op::Concat { axis } => Some(layout::concat_jvp(*axis, rule, dots)),
        Op::MaxAxis { axis } => Some(reduce::max_jvp(*axis, rule, first?)),
        Op::CumSum { axis, reverse } => Some(first?.running_sum(*axis, *reverse)),
        Op::Gather { axis, index } => Some(first?.gather(*axis, index.clone())),
        Op::ScatterAdd { axis, index } => {
            Some(first?.scatter_add(*axis, index.clone(), rule.out.shape()[*axis]))
        }
        Op::Input | Op::Const | Op::Detach | Op::Call(_) | Op::Project { .. } => {
            unreachable!("{} is differentiated by the sweep itself", op.name())
        }
    }
}

/// Adds up what is present.
pub(crate) fn add_options<'t, T: Real>(
    a: Option<Var<'t, T>>,
    b: Option<Var<'t, T>>,
) -> Option<Var<'t, T>> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    }
}

/// The result of recording something that may fail.
pub type Result<T> = std::result::Result<T, Error>;

/// The shape of a `Call`'s value: all outputs one after another.
pub(crate) fn flat_shape(outputs: &[Shape]) -> Shape {
    Shape::from([outputs.iter().map(Shape::numel).sum::<usize>()])
}
