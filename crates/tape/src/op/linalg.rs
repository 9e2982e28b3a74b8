//! Systems of linear equations with small dense matrices, and what is built from them.

use costate_ops::Triangle;
use smallvec::SmallVec;

use super::{Arg, Cotangents, Op, Rule};
use crate::Real;
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

pub(crate) fn eval_solve<T: Real>(args: &[Arg<'_, T>], out: &mut [T]) {
    let [batch, n, k] = [0, 1, 2].map(|axis| args[1].shape[axis]);
    costate_ops::solve(batch, n, k, args[0].data, args[1].data, out);
}

pub(crate) fn eval_solve_triangular<T: Real>(
    lower: bool,
    transposed: bool,
    args: &[Arg<'_, T>],
    out: &mut [T],
) {
    let [batch, n, k] = [0, 1, 2].map(|axis| args[1].shape[axis]);
    let triangle = Triangle { lower, transposed };
    costate_ops::solve_triangular(triangle, batch, n, k, args[0].data, args[1].data, out);
}

pub(crate) fn eval_log_det<T: Real>(a: Arg<'_, T>, out: &mut [T]) {
    costate_ops::log_det(a.shape[0], a.shape[1], a.data, out);
}

/// With `A X = B`: `B̄ = A⁻ᵀ X̄` and `Ā = -B̄ Xᵀ`.
pub(crate) fn solve_vjp<'t, T: Real>(rule: &Rule<'_, 't, T>, g: Var<'t, T>) -> Cotangents<'t, T> {
    let b = transposed(rule.args[0]).solve_batch(g);
    let a = rule.needs[0].then(|| -b.matmul_batch(rule.out, false, true));
    SmallVec::from_iter([a, rule.needs[1].then_some(b)])
}

/// With `A X = B`: `Ẋ = A⁻¹ (Ḃ - Ȧ X)`.
pub(crate) fn solve_jvp<'t, T: Real>(
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let ax = dots[0].map(|a| a.matmul_batch(rule.out, false, false));
    let right = match (dots[1], ax) {
        (Some(b), Some(ax)) => b - ax,
        (b, ax) => b.or(ax.map(|ax| -ax))?,
    };
    Some(rule.args[0].solve_batch(right))
}

/// Zeros above the diagonal of each matrix of a batch `[b, n, n]`, or below it.
fn triangle<'t, T: Real>(a: Var<'t, T>, lower: bool) -> Var<'t, T> {
    let n = a.shape()[1];
    let inside = |i: usize, j: usize| if lower { j <= i } else { i <= j };
    let mask: Vec<T> =
        (0..n * n).map(|e| if inside(e / n, e % n) { T::one() } else { T::zero() }).collect();
    a * a.tape().leaf(&mask, [n, n])
}

/// As [`solve_vjp`], but only the triangle has a cotangent; with `Lᵀ X = B` it is `-X B̄ᵀ`.
pub(crate) fn solve_triangular_vjp<'t, T: Real>(
    lower: bool,
    transposed: bool,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    let b = rule.args[0].solve_triangle(g, lower, !transposed);
    let a = rule.needs[0].then(|| {
        let (left, right) = if transposed { (rule.out, b) } else { (b, rule.out) };
        -triangle(left.matmul_batch(right, false, true), lower)
    });
    SmallVec::from_iter([a, rule.needs[1].then_some(b)])
}

/// As [`solve_jvp`].
pub(crate) fn solve_triangular_jvp<'t, T: Real>(
    lower: bool,
    transposed: bool,
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let ax = dots[0].map(|a| triangle(a, lower).matmul_batch(rule.out, transposed, false));
    let right = match (dots[1], ax) {
        (Some(b), Some(ax)) => b - ax,
        (b, ax) => b.or(ax.map(|ax| -ax))?,
    };
    Some(rule.args[0].solve_triangle(right, lower, transposed))
}

/// `Ā = ḡ A⁻ᵀ`.
pub(crate) fn log_det_vjp<'t, T: Real>(rule: &Rule<'_, 't, T>, g: Var<'t, T>) -> Var<'t, T> {
    let a = rule.args[0];
    let inverse = transposed(a).solve_batch(a.tape().eye(a.shape()[1]).broadcast_to(a.shape()));
    inverse * g.reshape([a.shape()[0], 1, 1])
}

/// `tr(A⁻¹ Ȧ)`.
pub(crate) fn log_det_jvp<'t, T: Real>(rule: &Rule<'_, 't, T>, dot: Var<'t, T>) -> Var<'t, T> {
    rule.args[0].solve_batch(dot).trace()
}

/// Each matrix of a batch `[b, n, n]`, transposed.
fn transposed<'t, T: Real>(a: Var<'t, T>) -> Var<'t, T> {
    a.permute(&[0, 2, 1])
}

impl<T: Real> Tape<T> {
    /// The `n × n` unit matrix.
    #[track_caller]
    pub fn eye(&self, n: usize) -> Var<'_, T> {
        self.scalar(T::one()).broadcast_to([n]).diag()
    }
}

/// Systems of linear equations.
impl<'t, T: Real> Var<'t, T> {
    /// The leading axes, how many matrices they are, and `n`, of an array of `n × n` matrices.
    #[track_caller]
    fn square_matrices(self, what: &str) -> (Shape, usize, usize) {
        let shape = self.shape();
        let d = shape.ndim();
        assert!(
            d >= 2 && shape[d - 2] == shape[d - 1],
            "{what}: shape {shape} is not that of square matrices"
        );
        let leading = Shape::from(&shape[..d - 2]);
        let batch = leading.numel();
        (leading, batch, shape[d - 1])
    }

    /// `X` with `A X = B` for batches `[b, n, n]` and `[b, n, k]`.
    #[track_caller]
    fn solve_batch(self, b: Var<'t, T>) -> Var<'t, T> {
        self.record(Op::Solve, &[b], b.shape())
    }

    /// `X` with `op(L) X = B` for batches `[b, n, n]` and `[b, n, k]`.
    #[track_caller]
    fn solve_triangle(self, b: Var<'t, T>, lower: bool, transposed: bool) -> Var<'t, T> {
        self.record(Op::SolveTriangular { lower, transposed }, &[b], b.shape())
    }

    /// [`solve`](Var::solve) with a triangular matrix, by substitution: `n² k` operations. Only the
    /// lower triangle of this is read, the diagonal included, or only the upper one; the rest has
    /// gradient 0. Entries are infinite or NaN where a diagonal entry is 0.
    ///
    /// # Panics
    /// If this is not square, or the shapes do not match.
    #[track_caller]
    pub fn solve_triangular(self, b: Var<'t, T>, lower: bool) -> Var<'t, T> {
        self.solve_by("solve_triangular", b, |a, b| a.solve_triangle(b, lower, false))
    }

    /// The solution `x` of `A x = b`, where `A`, this, is an `n × n` matrix and `b` a vector of
    /// length `n` or a matrix `n × k`; or batches of matrices: their leading axes broadcast, and
    /// `b` has as many axes as it takes.
    ///
    /// By elimination with partial pivoting, `2/3 n³` operations on one thread, and as many again
    /// in the backward pass: made for small matrices. If `A` is singular, entries are infinite or
    /// NaN; if it is nearly so, they are large and inexact, and their derivatives more so.
    ///
    /// # Panics
    /// If this is not square, or the shapes do not match.
    #[track_caller]
    pub fn solve(self, b: Var<'t, T>) -> Var<'t, T> {
        self.solve_by("solve", b, Var::solve_batch)
    }

    /// Brings both sides to batches of matrices, and the result of `solve` back.
    #[track_caller]
    fn solve_by(
        self,
        what: &str,
        b: Var<'t, T>,
        solve: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
    ) -> Var<'t, T> {
        let (leading, _, n) = self.square_matrices(what);
        let (a, right) = (self.shape(), b.shape());
        if right.ndim() == 1 {
            assert!(right[0] == n, "{what}: shapes {a} and {right} do not match");
            let x = self.solve_by(what, b.reshape([n, 1]), solve);
            let axes = x.shape();
            return x.reshape(&axes[..axes.ndim() - 1]);
        }
        let d = right.ndim();
        let common = (d >= 2 && right[d - 2] == n)
            .then(|| costate_ops::broadcast_shape(&leading, &right[..d - 2]))
            .flatten();
        let Some(common) = common else { panic!("{what}: shapes {a} and {right} do not match") };
        let (k, batch) = (right[d - 1], common.iter().product::<usize>());
        let with = |last: [usize; 2]| common.iter().copied().chain(last).collect::<Shape>();
        let a = self.broadcast_to(with([n, n])).reshape([batch, n, n]);
        let b = b.broadcast_to(with([n, k])).reshape([batch, n, k]);
        solve(a, b).reshape(with([n, k]))
    }

    /// `A⁻¹` of a square matrix, or of each of a batch. To apply it, [`Var::solve`] is faster and
    /// more accurate. Entries are infinite or NaN if the matrix is singular.
    ///
    /// # Panics
    /// If this is not square.
    #[doc(alias = "inverse")]
    #[track_caller]
    pub fn inv(self) -> Var<'t, T> {
        let (_, _, n) = self.square_matrices("inv");
        self.solve(self.tape().eye(n))
    }

    /// `ln |det A|` of a square matrix, or of each of a batch; `-∞` if it is singular, 0 if it has
    /// no entries. The gradient is `A⁻ᵀ`, not finite if it is singular.
    ///
    /// # Panics
    /// If this is not square.
    #[track_caller]
    pub fn logdet(self) -> Var<'t, T> {
        let (leading, batch, n) = self.square_matrices("logdet");
        let flat = self.reshape([batch, n, n]);
        flat.record(Op::LogDet, &[], Shape::from([batch])).reshape(leading)
    }
}
