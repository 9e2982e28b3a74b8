//! Broadcasting and its transpose, summation.

use super::Op;
use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// Broadcasting and sums.
impl<'t, T: Real> Var<'t, T> {
    /// Repeats along axes of length 1, and along new axes in front, to the given shape.
    ///
    /// # Panics
    /// If an axis has a length that is neither 1 nor the wanted one.
    #[doc(alias = "expand")]
    #[track_caller]
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Var<'t, T> {
        let (from, to) = (self.shape(), shape.into());
        if from == to {
            return self;
        }
        assert!(
            costate_ops::broadcast_shape(&from, &to).is_some_and(|s| *s == *to),
            "broadcast_to: shape {from} cannot be broadcast to {to}"
        );
        self.record(Op::Expand, &[], to)
    }

    /// Both arrays, broadcast to their common shape.
    #[track_caller]
    pub(crate) fn broadcast_pair(self, other: Var<'t, T>, what: &str) -> (Var<'t, T>, Var<'t, T>) {
        let (a, b) = (self.shape(), other.shape());
        if a == b {
            return (self, other);
        }
        let Some(shape) = costate_ops::broadcast_shape(&a, &b) else {
            panic!("{what}: shapes {a} and {b} cannot be broadcast together")
        };
        (self.broadcast_to(shape.as_slice()), other.broadcast_to(shape.as_slice()))
    }

    /// Sums along the axes that broadcasting `shape` to this shape repeats.
    ///
    /// # Panics
    /// If `shape` cannot be broadcast to this shape.
    #[track_caller]
    pub fn sum_to(self, shape: &Shape) -> Var<'t, T> {
        let from = self.shape();
        if from == *shape {
            return self;
        }
        assert!(
            costate_ops::broadcast_shape(&from, shape).is_some_and(|s| *s == *from),
            "sum_to: shape {shape} does not broadcast to {from}"
        );
        self.record(Op::SumTo, &[], shape.clone())
    }

    /// The sum of all entries, 0-d; 0 for an empty array.
    #[track_caller]
    pub fn sum(self) -> Var<'t, T> {
        self.sum_to(&Shape::scalar())
    }

    /// The sum along one axis, which goes away.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn sum_axis(self, axis: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(axis < shape.ndim(), "sum_axis: shape {shape} has no axis {axis}");
        self.sum_to(&shape.with(axis, 1)).reshape(shape.without(axis))
    }

    /// The mean of all entries, 0-d; NaN for an empty array.
    #[track_caller]
    pub fn mean(self) -> Var<'t, T> {
        self.sum() / T::from_f64(self.shape().numel() as f64)
    }

    /// The mean along one axis, which goes away; NaN if its length is 0.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn mean_axis(self, axis: usize) -> Var<'t, T> {
        let sum = self.sum_axis(axis);
        sum / T::from_f64(self.shape()[axis] as f64)
    }
}
