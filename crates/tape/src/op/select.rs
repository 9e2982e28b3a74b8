//! Choosing between two arrays entry by entry.

use smallvec::SmallVec;

use super::{Cotangents, Op, Rule};
use crate::Real;
use crate::var::Var;

pub(crate) fn vjp<'t, T: Real>(rule: &Rule<'_, 't, T>, g: Var<'t, T>) -> Cotangents<'t, T> {
    let (cond, zero) = (rule.args[0], g.zeros_like());
    let a = rule.needs[1].then(|| cond.select(g, zero));
    let b = rule.needs[2].then(|| cond.select(zero, g));
    SmallVec::from_iter([None, a, b])
}

pub(crate) fn jvp<'t, T: Real>(
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let zero = dots[1].or(dots[2])?.zeros_like();
    Some(rule.args[0].select(dots[1].unwrap_or(zero), dots[2].unwrap_or(zero)))
}

/// Choice.
impl<'t, T: Real> Var<'t, T> {
    /// `a` where this is not 0, `b` elsewhere, with broadcasting.
    ///
    /// An entry not chosen gets gradient 0. If it is NaN or infinite inside the operation that
    /// made it, that operation can still turn 0 into NaN: choose safe arguments first, then apply
    /// the operation.
    ///
    /// # Panics
    /// If the three shapes cannot be broadcast together.
    #[doc(alias = "where")]
    #[track_caller]
    pub fn select(self, a: Var<'t, T>, b: Var<'t, T>) -> Var<'t, T> {
        let (a, b) = a.broadcast_pair(b, "select");
        let (cond, a) = self.broadcast_pair(a, "select");
        let b = b.broadcast_to(a.shape());
        cond.record(Op::Select, &[a, b], a.shape())
    }
}
