//! Products of matrices, transposed or not at no cost.

use costate_ops::{MatMul, Product};
use smallvec::SmallVec;

use super::{Arg, Cotangents, Op, Rule, add_options};
use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// `(m, k, n)` of `op(A) op(B)`.
pub(crate) fn extents(a: &[usize], ta: bool, b: &[usize], tb: bool) -> (usize, usize, usize) {
    let (m, k) = if ta { (a[1], a[0]) } else { (a[0], a[1]) };
    (m, k, if tb { b[0] } else { b[1] })
}

/// A right side with three axes is [strips of columns](MatMul::strips) of a matrix.
pub(crate) fn eval<T: Real>(ta: bool, tb: bool, args: &[Arg<'_, T>], out: &mut [T]) {
    if let [count, k, width] = args[1].shape[..] {
        let n = count * width;
        let spec = MatMul { m: out.len() / n, k, n, ta, tb, accumulate: false };
        return costate_ops::matmul_strips(spec, args[0].data, args[1].data, out);
    }
    let (m, k, n) = extents(args[0].shape, ta, args[1].shape, tb);
    let spec = MatMul { m, k, n, ta, tb, accumulate: false };
    costate_ops::matmul(spec, args[0].data, args[1].data, out);
}

/// How a product is computed of matrices of these shapes; of strips it is for [`eval`] to do so.
pub(crate) fn product<T: Real>(op: &Op<T>, a: &[usize], b: &[usize]) -> Option<Product> {
    let Op::MatMul { ta, tb } = *op else { return None };
    if b.len() != 2 {
        return None;
    }
    let (m, k, n) = extents(a, ta, b, tb);
    Some(Product::new::<T>(MatMul { m, k, n, ta, tb, accumulate: false }))
}

pub(crate) fn eval_batch<T: Real>(ta: bool, tb: bool, args: &[Arg<'_, T>], out: &mut [T]) {
    let (m, k, n) = extents(&args[0].shape[1..], ta, &args[1].shape[1..], tb);
    let spec = MatMul { m, k, n, ta, tb, accumulate: false };
    costate_ops::matmul_batch(spec, args[0].shape[0], args[0].data, args[1].data, out);
}

/// With `C = op(A) op(B)`: `Ā = C̄ op(B)ᵀ` and `B̄ = op(A)ᵀ C̄`, each written in the layout in
/// which the argument is stored, so that nothing is ever transposed in memory.
///
/// `product` is that of two matrices or of two batches of them.
pub(crate) fn vjp<'t, T: Real>(
    product: impl Fn(Var<'t, T>, Var<'t, T>, bool, bool) -> Var<'t, T>,
    ta: bool,
    tb: bool,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    let (a, b) = (rule.args[0], rule.args[1]);
    let da = || if ta { product(b, g, tb, true) } else { product(g, b, false, !tb) };
    let db = || if tb { product(g, a, true, ta) } else { product(a, g, !ta, false) };
    SmallVec::from_iter([rule.needs[0].then(da), rule.needs[1].then(db)])
}

pub(crate) fn jvp<'t, T: Real>(
    product: impl Fn(Var<'t, T>, Var<'t, T>, bool, bool) -> Var<'t, T>,
    ta: bool,
    tb: bool,
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let (a, b) = (rule.args[0], rule.args[1]);
    add_options(dots[0].map(|da| product(da, b, ta, tb)), dots[1].map(|db| product(a, db, ta, tb)))
}

/// Products.
impl<'t, T: Real> Var<'t, T> {
    /// The product of two arrays as in NumPy's `@`: `C_ij = Σ_l A_il B_lj`.
    ///
    /// A vector on the left is a row, on the right a column, and its axis is gone from the
    /// result. More than two axes are batches of matrices, in the last two; the axes before them
    /// broadcast: `[b, m, k] · [b, k, n]` and `[m, k] · [b, k, n]` are `[b, m, n]`. With one matrix
    /// on the right, `[b, m, k] · [k, n]`, all rows are those of a single product, the faster form.
    ///
    /// # Panics
    /// If the inner lengths differ, a side has no axis, or the batches do not broadcast together.
    #[track_caller]
    pub fn matmul(self, other: Var<'t, T>) -> Var<'t, T> {
        let (a, b) = (self.shape(), other.shape());
        let inner = if b.ndim() < 2 { 0 } else { b.ndim() - 2 };
        assert!(
            a.ndim() >= 1 && b.ndim() >= 1 && a[a.ndim() - 1] == b[inner],
            "matmul: shapes {a} and {b} do not match: the last length of the left side must be \
             the last but one, or only one, of the right side"
        );
        if b.ndim() > 2 {
            return self.batches(other);
        }
        let rows: usize = a[..a.ndim() - 1].iter().product();
        let left = self.reshape([rows, b[0]]);
        let right = if b.ndim() == 1 { other.reshape([b[0], 1]) } else { other };
        let axes = a[..a.ndim() - 1].iter().chain(&b[1..]).copied();
        left.matmul_with(right, false, false).reshape(axes.collect::<Shape>())
    }

    /// [`Var::matmul`] where the right side is a batch of matrices.
    #[track_caller]
    fn batches(self, other: Var<'t, T>) -> Var<'t, T> {
        let (a, b) = (self.shape(), other.shape());
        if a.ndim() == 1 {
            let product = self.reshape([1, a[0]]).batches(other);
            let axes = product.shape();
            return product.reshape(axes.without(axes.ndim() - 2));
        }
        let (at, bt) = (a.ndim() - 2, b.ndim() - 2);
        let Some(leading) = costate_ops::broadcast_shape(&a[..at], &b[..bt]) else {
            panic!("matmul: the leading axes of shapes {a} and {b} cannot be broadcast together")
        };
        let batch = leading.iter().product();
        let with = |m: usize, n: usize| leading.iter().copied().chain([m, n]).collect::<Shape>();
        let (m, k, n) = (a[at], b[bt], b[bt + 1]);
        let left = self.broadcast_to(with(m, k)).reshape([batch, m, k]);
        let right = other.broadcast_to(with(k, n)).reshape([batch, k, n]);
        left.matmul_batch(right, false, false).reshape(with(m, n))
    }

    /// `op(A) op(B)` of each pair of matrices in two batches `[b, _, _]`.
    #[track_caller]
    pub(crate) fn matmul_batch(self, other: Var<'t, T>, ta: bool, tb: bool) -> Var<'t, T> {
        let (a, b) = (self.shape(), other.shape());
        let (m, _, n) = extents(&a[1..], ta, &b[1..], tb);
        self.record(Op::MatMulBatch { ta, tb }, &[other], Shape::from([a[0], m, n]))
    }

    /// `a_i b_j` for all entries: the axes of this, then those of `other`.
    #[track_caller]
    pub fn outer(self, other: Var<'t, T>) -> Var<'t, T> {
        let (a, b) = (self.shape(), other.shape());
        let ones = std::iter::repeat_n(1, b.ndim());
        self.reshape(a.iter().copied().chain(ones).collect::<Shape>()) * other
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
