//! Reading and adding at given places of an axis.

use std::sync::Arc;

use super::{Arg, Op};
use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

pub(crate) fn eval_gather<T: Real>(axis: usize, index: &[usize], x: Arg<'_, T>, out: &mut [T]) {
    let (outer, n, inner) = Shape::from(x.shape).around(axis);
    costate_ops::gather(x.data, outer, n, inner, index, out);
}

pub(crate) fn eval_scatter_add<T: Real>(
    axis: usize,
    index: &[usize],
    x: Arg<'_, T>,
    out: &mut [T],
    shape: &[usize],
) {
    let (outer, n, inner) = Shape::from(shape).around(axis);
    out.fill(T::zero());
    costate_ops::scatter_add(x.data, outer, n, inner, index, out);
}

/// Indexing by a list of places.
impl<'t, T: Real> Var<'t, T> {
    /// The entries at the given places of an axis, in that order; places may repeat.
    ///
    /// # Panics
    /// If there is no such axis, or a place lies outside it.
    #[doc(alias("index_select", "take"))]
    #[track_caller]
    pub fn gather(self, axis: usize, index: impl Into<Arc<[usize]>>) -> Var<'t, T> {
        let (shape, index) = (self.shape(), index.into());
        assert!(axis < shape.ndim(), "gather: shape {shape} has no axis {axis}");
        if let Some(i) = index.iter().find(|&&i| i >= shape[axis]) {
            panic!("gather: place {i} lies outside axis {axis} of shape {shape}");
        }
        let out = shape.with(axis, index.len());
        self.record(Op::Gather { axis, index }, &[], out)
    }

    /// Zeros with `n` places along an axis, to which each entry is added at its place: the
    /// transpose of [`Var::gather`].
    ///
    /// # Panics
    /// If there is no such axis, its length is not that of `index`, or a place is not below `n`.
    #[track_caller]
    pub fn scatter_add(self, axis: usize, index: impl Into<Arc<[usize]>>, n: usize) -> Var<'t, T> {
        let (shape, index) = (self.shape(), index.into());
        assert!(axis < shape.ndim(), "scatter_add: shape {shape} has no axis {axis}");
        assert!(
            shape[axis] == index.len(),
            "scatter_add: axis {axis} of shape {shape} needs {} places, not {}",
            shape[axis],
            index.len()
        );
        if let Some(i) = index.iter().find(|&&i| i >= n) {
            panic!("scatter_add: place {i} is not below {n}");
        }
        let out = shape.with(axis, n);
        self.record(Op::ScatterAdd { axis, index }, &[], out)
    }
}
