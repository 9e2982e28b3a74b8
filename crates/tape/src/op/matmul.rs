//! Products of matrices, transposed or not at no cost.

use costate_ops::{MatMul, Real};
use smallvec::SmallVec;

use super::{Arg, Cotangents, Op, Rule, add_options};
use crate::shape::Shape;
use crate::var::Var;

/// `(m, k, n)` of `op(A) op(B)`.
pub(crate) fn extents(a: &[usize], ta: bool, b: &[usize], tb: bool) -> (usize, usize, usize) {
    let (m, k) = if ta { (a[1], a[0]) } else { (a[0], a[1]) };
    (m, k, if tb { b[0] } else { b[1] })
}

pub(crate) fn eval<T: Real>(ta: bool, tb: bool, args: &[Arg<'_, T>], out: &mut [T]) {
    let (m, k, n) = extents(args[0].shape, ta, args[1].shape, tb);
    let spec = MatMul { m, k, n, ta, tb, accumulate: false };
    costate_ops::matmul(spec, args[0].data, args[1].data, out);
}

/// With `C = op(A) op(B)`: `Ā = C̄ op(B)ᵀ` and `B̄ = op(A)ᵀ C̄`, each written in the layout in
/// which the argument is stored, so that nothing is ever transposed in memory.
pub(crate) fn vjp<'t, T: Real>(
    ta: bool,
    tb: bool,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    let (a, b) = (rule.args[0], rule.args[1]);
    let da = || if ta { b.matmul_with(g, tb, true) } else { g.matmul_with(b, false, !tb) };
    let db = || if tb { g.matmul_with(a, true, ta) } else { a.matmul_with(g, !ta, false) };
    SmallVec::from_iter([rule.needs[0].then(da), rule.needs[1].then(db)])
}

pub(crate) fn jvp<'t, T: Real>(
    ta: bool,
    tb: bool,
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let (a, b) = (rule.args[0], rule.args[1]);
    add_options(
        dots[0].map(|da| da.matmul_with(b, ta, tb)),
        dots[1].map(|db| a.matmul_with(db, ta, tb)),
    )
}

/// Products.
impl<'t, T: Real> Var<'t, T> {
    /// The product of two arrays as in NumPy's `@`: `C_ij = Σ_l A_il B_lj`.
    ///
    /// A vector on the left is a row, on the right a column, and its axis is gone from the
    /// result. Leading axes of the left side are rows like its second last:
    /// `[b, m, k] · [k, n]` is `[b, m, n]`.
    ///
    /// # Panics
    /// If the inner lengths differ, or the right side has more than two axes or none.
    #[track_caller]
    pub fn matmul(self, other: Var<'t, T>) -> Var<'t, T> {
        let (a, b) = (self.shape(), other.shape());
        assert!(
            a.ndim() >= 1 && (1..=2).contains(&b.ndim()) && a[a.ndim() - 1] == b[0],
            "matmul: shapes {a} and {b} do not match: the last length of the left side must be \
             the first of the right side"
        );
        let rows: usize = a[..a.ndim() - 1].iter().product();
        let left = self.reshape([rows, b[0]]);
        let right = if b.ndim() == 1 { other.reshape([b[0], 1]) } else { other };
        let axes = a[..a.ndim() - 1].iter().chain(&b[1..]).copied();
        left.matmul_with(right, false, false).reshape(axes.collect::<Shape>())
    }

    /// `op(A) op(B)` of two matrices, where `op` transposes if asked to.
    #[track_caller]
    pub(crate) fn matmul_with(self, other: Var<'t, T>, ta: bool, tb: bool) -> Var<'t, T> {
        let (m, _, n) = extents(&self.shape(), ta, &other.shape(), tb);
        self.record(Op::MatMul { ta, tb }, &[other], Shape::from([m, n]))
    }

    /// `Σ_i a_i b_i` over all entries of two arrays of one shape.
    ///
    /// # Panics
    /// If the shapes differ.
    #[track_caller]
    pub fn dot(self, other: Var<'t, T>) -> Var<'t, T> {
        let (a, b) = (self.shape(), other.shape());
        assert!(a == b, "dot: shapes {a} and {b} differ");
        (self * other).sum()
    }
}
