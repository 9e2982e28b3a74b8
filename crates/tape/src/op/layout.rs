//! Rearranging entries: reshape, permute, slice, pad, concatenate.

use std::sync::Arc;

use costate_ops::Range1;
use smallvec::SmallVec;

use super::{Arg, Cotangents, Op, Rule};
use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// The axes that undo a permutation.
pub(crate) fn inverse(axes: &[usize]) -> SmallVec<[usize; 4]> {
    let mut inverse = SmallVec::from_elem(0, axes.len());
    for (i, &axis) in axes.iter().enumerate() {
        inverse[axis] = i;
    }
    inverse
}

pub(crate) fn eval_concat<T: Real>(axis: usize, args: &[Arg<'_, T>], out: &mut [T]) {
    let (outer, _, inner) = Shape::from(args[0].shape).around(axis);
    let xs: SmallVec<[&[T]; 8]> = args.iter().map(|a| a.data).collect();
    let lens: SmallVec<[usize; 8]> = args.iter().map(|a| a.shape[axis]).collect();
    costate_ops::concat(&xs, outer, &lens, inner, out);
}

pub(crate) fn concat_vjp<'t, T: Real>(
    axis: usize,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    let mut start = 0;
    rule.args
        .iter()
        .zip(rule.needs)
        .map(|(arg, &need)| {
            let range = start..start + arg.shape()[axis];
            start = range.end;
            need.then(|| g.slice_axis(axis, range))
        })
        .collect()
}

pub(crate) fn concat_jvp<'t, T: Real>(
    axis: usize,
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Var<'t, T> {
    let dots: Vec<_> = rule
        .args
        .iter()
        .zip(dots)
        .map(|(arg, dot)| dot.unwrap_or_else(|| arg.zeros_like()))
        .collect();
    Var::concat(axis, &dots)
}

/// Rearrangements.
impl<'t, T: Real> Var<'t, T> {
    /// The same entries, in row-major order, under another shape. Costs nothing.
    ///
    /// # Panics
    /// If the numbers of entries differ.
    #[track_caller]
    pub fn reshape(self, shape: impl Into<Shape>) -> Var<'t, T> {
        let (from, to) = (self.shape(), shape.into());
        if from == to {
            return self;
        }
        assert!(
            from.numel() == to.numel(),
            "reshape: shape {from} has {} entries, shape {to} has {}",
            from.numel(),
            to.numel()
        );
        self.record(Op::Reshape, &[], to)
    }

    /// The same value as a variable of its own, on which nothing recorded before depends. Costs
    /// nothing.
    ///
    /// A rule that differentiates what it records takes the derivative with respect to fresh
    /// copies of its inputs. With respect to the inputs themselves it would also find how one
    /// input depends on another.
    #[track_caller]
    pub fn fresh(self) -> Var<'t, T> {
        self.record(Op::Reshape, &[], self.shape())
    }

    /// The same value, cut off from differentiation: its derivative is 0.
    #[doc(alias = "stop_gradient")]
    #[track_caller]
    pub fn detach(self) -> Var<'t, T> {
        self.record(Op::Detach, &[], self.shape())
    }

    /// Reorders axes: axis `i` of the result is axis `axes[i]` of this.
    ///
    /// # Panics
    /// If `axes` is not a permutation of this array's axes.
    #[doc(alias = "transpose")]
    #[track_caller]
    pub fn permute(self, axes: &[usize]) -> Var<'t, T> {
        let shape = self.shape();
        let mut sorted: SmallVec<[usize; 4]> = SmallVec::from_slice(axes);
        sorted.sort_unstable();
        assert!(
            sorted.iter().copied().eq(0..shape.ndim()),
            "permute: {axes:?} is not a permutation of the axes of shape {shape}"
        );
        if axes.is_sorted() {
            return self;
        }
        let out = axes.iter().map(|&a| shape[a]).collect();
        self.record(Op::Permute(axes.into()), &[], out)
    }

    /// The array with its axes reversed: the transpose of a matrix.
    #[doc(alias = "transpose")]
    #[track_caller]
    pub fn t(self) -> Var<'t, T> {
        let axes: SmallVec<[usize; 4]> = (0..self.shape().ndim()).rev().collect();
        self.permute(&axes)
    }

    /// A range of one axis.
    ///
    /// # Panics
    /// If there is no such axis, or the range lies outside it.
    #[track_caller]
    pub fn slice_axis(self, axis: usize, range: std::ops::Range<usize>) -> Var<'t, T> {
        let shape = self.shape();
        assert!(axis < shape.ndim(), "slice_axis: shape {shape} has no axis {axis}");
        assert!(
            range.start <= range.end && range.end <= shape[axis],
            "slice_axis: {range:?} lies outside axis {axis} of shape {shape}"
        );
        let mut ranges: Vec<Range1> =
            shape.iter().map(|&len| Range1 { start: 0, len, step: 1 }).collect();
        ranges[axis] = Range1 { start: range.start, len: range.len(), step: 1 };
        self.slice_ranges(ranges)
    }

    /// The entries at one place of an axis, which goes away.
    ///
    /// # Panics
    /// If there is no such axis, or the place lies outside it.
    #[track_caller]
    pub fn index_axis(self, axis: usize, place: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(
            axis < shape.ndim() && place < shape[axis],
            "index_axis: shape {shape} has no place {place} on axis {axis}"
        );
        self.slice_axis(axis, place..place + 1).reshape(shape.without(axis))
    }

    #[track_caller]
    pub(crate) fn slice_ranges(self, ranges: impl Into<Arc<[Range1]>>) -> Var<'t, T> {
        let ranges = ranges.into();
        let whole = ranges
            .iter()
            .zip(self.shape().iter())
            .all(|(r, &len)| r.start == 0 && r.len == len && r.step == 1);
        if whole {
            return self;
        }
        let out = ranges.iter().map(|r| r.len).collect();
        self.record(Op::Slice(ranges), &[], out)
    }

    #[track_caller]
    pub(crate) fn pad_into(self, ranges: impl Into<Arc<[Range1]>>, shape: Shape) -> Var<'t, T> {
        self.record(Op::Pad(ranges.into()), &[], shape)
    }

    /// Arrays one after another along an axis.
    ///
    /// # Panics
    /// If there is none, or their other lengths differ.
    #[doc(alias = "cat")]
    #[track_caller]
    pub fn concat(axis: usize, xs: &[Var<'t, T>]) -> Var<'t, T> {
        let (first, rest) = xs.split_first().expect("concat: at least one array");
        let shape = first.shape();
        assert!(axis < shape.ndim(), "concat: shape {shape} has no axis {axis}");
        let mut len = shape[axis];
        for x in rest {
            let other = x.shape();
            assert!(
                other.ndim() == shape.ndim() && other.with(axis, 0) == shape.with(axis, 0),
                "concat: shapes {shape} and {other} differ beside axis {axis}"
            );
            len += other[axis];
        }
        first.record(Op::Concat { axis }, rest, shape.with(axis, len))
    }

    /// Arrays of one shape along a new axis.
    ///
    /// # Panics
    /// If there is none, or their shapes differ.
    #[track_caller]
    pub fn stack(axis: usize, xs: &[Var<'t, T>]) -> Var<'t, T> {
        let shape = xs.first().expect("stack: at least one array").shape();
        assert!(axis <= shape.ndim(), "stack: shape {shape} can have no new axis {axis}");
        let mut axes = shape.to_vec();
        axes.insert(axis, 1);
        let xs: Vec<_> = xs
            .iter()
            .map(|x| {
                assert!(x.shape() == shape, "stack: shapes {shape} and {} differ", x.shape());
                x.reshape(axes.as_slice())
            })
            .collect();
        Var::concat(axis, &xs)
    }
}
