//! The maximum along an axis, and what is built from it.

use super::{Arg, Op, Rule};
use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

pub(crate) fn eval_max<T: Real>(axis: usize, x: Arg<'_, T>, out: &mut [T]) {
    let (outer, n, inner) = Shape::from(x.shape).around(axis);
    costate_ops::max_axis(x.data, outer, n, inner, out);
}

pub(crate) fn eval_cumsum<T: Real>(axis: usize, reverse: bool, x: Arg<'_, T>, out: &mut [T]) {
    let (outer, n, inner) = Shape::from(x.shape).around(axis);
    costate_ops::cumsum(x.data, outer, n, inner, reverse, out);
}

/// 1 over the number of ties where an entry is the maximum, 0 elsewhere.
fn weights<'t, T: Real>(axis: usize, rule: &Rule<'_, 't, T>) -> Var<'t, T> {
    let x = rule.args[0];
    let kept = x.shape().with(axis, 1);
    let mask = x.eq(rule.out.reshape(kept.clone()));
    mask / mask.sum_to(&kept)
}

pub(crate) fn max_vjp<'t, T: Real>(
    axis: usize,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Var<'t, T> {
    weights(axis, rule) * g.reshape(rule.args[0].shape().with(axis, 1))
}

pub(crate) fn max_jvp<'t, T: Real>(
    axis: usize,
    rule: &Rule<'_, 't, T>,
    dot: Var<'t, T>,
) -> Var<'t, T> {
    (weights(axis, rule) * dot).sum_axis(axis)
}

/// Reductions along an axis.
impl<'t, T: Real> Var<'t, T> {
    /// The largest entry along one axis, which goes away; NaN if any is, `-∞` if its length is 0.
    /// Ties share the gradient equally.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn max_axis(self, axis: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(axis < shape.ndim(), "max_axis: shape {shape} has no axis {axis}");
        self.record(Op::MaxAxis { axis }, &[], shape.without(axis))
    }

    /// `ln Σ eˣ` along one axis, which goes away, without overflow.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn logsumexp(self, axis: usize) -> Var<'t, T> {
        // The shift cancels, so its own gradient does too.
        let shift = self.max_axis(axis).detach();
        let shifted = self - shift.reshape(self.shape().with(axis, 1));
        shifted.exp().sum_axis(axis).ln() + shift
    }

    /// `x - ln Σ eˣ` along one axis: the logarithm of [`Var::softmax`].
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn log_softmax(self, axis: usize) -> Var<'t, T> {
        self - self.logsumexp(axis).reshape(self.shape().with(axis, 1))
    }

    /// `eˣ / Σ eˣ` along one axis, without overflow.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn softmax(self, axis: usize) -> Var<'t, T> {
        self.log_softmax(axis).exp()
    }
}
