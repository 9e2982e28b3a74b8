//! Reductions along axes that are composed of other operations, and the norm.

use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// More reductions.
impl<'t, T: Real> Var<'t, T> {
    /// This shape with the given axes of length 1, and without them.
    #[track_caller]
    fn reduced(self, what: &str, axes: &[usize]) -> (Shape, Shape) {
        let shape = self.shape();
        let mut kept = shape.clone();
        for (i, &axis) in axes.iter().enumerate() {
            assert!(axis < shape.ndim(), "{what}: shape {shape} has no axis {axis}");
            assert!(!axes[..i].contains(&axis), "{what}: axes {axes:?} name axis {axis} twice");
            kept = kept.with(axis, 1);
        }
        let gone = (0..shape.ndim()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect();
        (kept, gone)
    }

    /// The sum along the given axes, in any order, which go away; 0 where there is nothing to add.
    ///
    /// # Panics
    /// If there is no such axis, or one is named twice.
    #[track_caller]
    pub fn sum_axes(self, axes: &[usize]) -> Var<'t, T> {
        let (kept, gone) = self.reduced("sum_axes", axes);
        self.sum_to(&kept).reshape(gone)
    }

    /// The mean along the given axes, in any order, which go away; NaN if their lengths multiply
    /// to 0.
    ///
    /// # Panics
    /// If there is no such axis, or one is named twice.
    #[track_caller]
    pub fn mean_axes(self, axes: &[usize]) -> Var<'t, T> {
        let (kept, gone) = self.reduced("mean_axes", axes);
        let shape = self.shape();
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        self.sum_to(&kept).reshape(gone) / T::from_f64(count as f64)
    }

    /// The given axes as one, which comes last; it is axis number `.1`.
    #[track_caller]
    fn joined(self, what: &str, axes: &[usize]) -> (Var<'t, T>, usize) {
        let (_, gone) = self.reduced(what, axes);
        let shape = self.shape();
        let rest = (0..shape.ndim()).filter(|axis| !axes.contains(axis));
        let order: Vec<usize> = rest.chain(axes.iter().copied()).collect();
        let count = axes.iter().map(|&axis| shape[axis]).product();
        let joined: Shape = gone.iter().copied().chain([count]).collect();
        (self.permute(&order).reshape(joined), gone.ndim())
    }

    /// The variance along the given axes. See [`Var::var_axis`].
    ///
    /// # Panics
    /// If there is no such axis, one is named twice, or `ddof` is larger than the number of entries.
    #[doc(alias = "variance")]
    #[track_caller]
    pub fn var_axes(self, axes: &[usize], ddof: usize) -> Var<'t, T> {
        let (x, axis) = self.joined("var_axes", axes);
        x.var_axis(axis, ddof)
    }

    /// The product along the given axes. See [`Var::prod_axis`].
    ///
    /// # Panics
    /// If there is no such axis, or one is named twice.
    #[doc(alias = "product")]
    #[track_caller]
    pub fn prod_axes(self, axes: &[usize]) -> Var<'t, T> {
        let (x, axis) = self.joined("prod_axes", axes);
        x.prod_axis(axis)
    }

    /// The largest entry along the given axes. See [`Var::max_axis`].
    ///
    /// # Panics
    /// If there is no such axis, or one is named twice.
    #[doc(alias = "amax")]
    #[track_caller]
    pub fn max_axes(self, axes: &[usize]) -> Var<'t, T> {
        let (x, axis) = self.joined("max_axes", axes);
        x.max_axis(axis)
    }

    /// The smallest entry along the given axes. See [`Var::min_axis`].
    ///
    /// # Panics
    /// If there is no such axis, or one is named twice.
    #[track_caller]
    pub fn min_axes(self, axes: &[usize]) -> Var<'t, T> {
        let (x, axis) = self.joined("min_axes", axes);
        x.min_axis(axis)
    }

    /// The Euclidean norm `√Σ x²` along the given axes, which go away; without overflow. Its
    /// gradient is `x / norm`, and 0 where all entries are 0. See [`Var::norm`].
    ///
    /// # Panics
    /// If there is no such axis, or one is named twice.
    #[track_caller]
    pub fn norm_axes(self, axes: &[usize]) -> Var<'t, T> {
        let (x, axis) = self.joined("norm_axes", axes);
        x.scaled_norm(axis)
    }

    /// Where along the given axes, flattened in the order given, the largest entry is. See
    /// [`Var::argmax_axis`].
    ///
    /// # Panics
    /// As [`Var::argmax_axis`], or if an axis is named twice.
    #[track_caller]
    pub fn argmax_axes(self, axes: &[usize]) -> Vec<usize> {
        let (x, axis) = self.joined("argmax_axes", axes);
        x.argmax_axis(axis)
    }

    /// The variance along one axis, which goes away: `Σ (x - mean)² / (n - ddof)`, with `ddof` 0
    /// for that of a whole population, and 1 for the unbiased estimate from a sample. In two
    /// passes, so that a large mean does not cancel it. NaN if `n = 0` or `n = ddof`.
    ///
    /// # Panics
    /// If there is no such axis, or `ddof` is larger than its length.
    #[track_caller]
    pub fn var_axis(self, axis: usize, ddof: usize) -> Var<'t, T> {
        let (kept, gone) = self.reduced("var_axis", &[axis]);
        let n = self.shape()[axis];
        assert!(ddof <= n, "var_axis: {n} entries have no {ddof} degrees of freedom to take away");
        let mean = self.sum_to(&kept) / T::from_f64(n as f64);
        (self - mean).square().sum_to(&kept).reshape(gone) / T::from_f64((n - ddof) as f64)
    }

    /// The product along one axis, which goes away; 1 if its length is 0.
    ///
    /// By halves, in `log₂ n` steps of products, so the gradient, the product of the other entries,
    /// is right where entries are 0, and costs no division.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn prod_axis(self, axis: usize) -> Var<'t, T> {
        let (_, gone) = self.reduced("prod_axis", &[axis]);
        let mut x = self;
        loop {
            let n = x.shape()[axis];
            if n == 0 {
                return self.tape().scalar(T::one()).broadcast_to(gone);
            }
            if n == 1 {
                return x.reshape(gone);
            }
            let half = n / 2;
            let product = x.slice_axis(axis, 0..half) * x.slice_axis(axis, half..2 * half);
            x = if n.is_multiple_of(2) {
                product
            } else {
                Var::concat(axis, &[product, x.slice_axis(axis, n - 1..n)])
            };
        }
    }

    /// The smallest entry along one axis, which goes away; NaN if any is, `+∞` if its length is 0.
    /// Ties share the gradient equally.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn min_axis(self, axis: usize) -> Var<'t, T> {
        self.reduced("min_axis", &[axis]);
        -(-self).max_axis(axis)
    }

    /// The Euclidean norm `√Σ x²` of all entries, without overflow; 0 for an empty array, `+∞` if
    /// an entry is infinite, NaN if one is. The gradient is `x / norm`, and is taken as 0 where all
    /// entries are 0, where there is none.
    #[track_caller]
    pub fn norm(self) -> Var<'t, T> {
        self.reshape([self.shape().numel()]).scaled_norm(0)
    }

    /// The norm along one axis.
    #[track_caller]
    fn scaled_norm(self, axis: usize) -> Var<'t, T> {
        let tape = self.tape();
        let (zero, one) = (tape.scalar(T::zero()), tape.scalar(T::one()));
        let kept = self.shape().with(axis, 1);
        // The norm is the same for every scale, so the scale has no derivative of its own.
        let largest = self.abs().max_axis(axis).detach();
        let finite = largest.gt(zero) * largest.lt(tape.scalar(T::infinity()));
        let scale = finite.select(largest, one);
        let squares = (self / scale.reshape(kept)).square().sum_axis(axis);
        let nothing = squares.eq(zero);
        let root = nothing.select(one, squares).sqrt();
        nothing.select(zero, root) * scale
    }

    /// Where along an axis the largest entry is: for each place of the other axes, in row-major
    /// order, the first of equals, and the first NaN if there is one.
    ///
    /// It reads the values: see [`Var::value`] about scopes.
    ///
    /// # Panics
    /// If there is no such axis, or its length is 0 while there are places to answer for; or if
    /// the variable belongs to a function that is only traced and has no value.
    #[track_caller]
    pub fn argmax_axis(self, axis: usize) -> Vec<usize> {
        self.reduced("argmax_axis", &[axis]);
        let (outer, n, inner) = self.shape().around(axis);
        let mut places = vec![0; outer * inner];
        costate_ops::argmax_axis(&self.to_vec(), outer, n, inner, &mut places);
        places
    }

    /// Running sums along an axis: `y_j = Σ_{l ≤ j} x_l`.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn cumsum(self, axis: usize) -> Var<'t, T> {
        self.running_sum(axis, false)
    }

    /// Running sums along an axis from its end: `y_j = Σ_{l ≥ j} x_l`, the transpose of
    /// [`Var::cumsum`].
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn cumsum_reverse(self, axis: usize) -> Var<'t, T> {
        self.running_sum(axis, true)
    }

    #[track_caller]
    pub(crate) fn running_sum(self, axis: usize, reverse: bool) -> Var<'t, T> {
        let (shape, _) = (self.shape(), self.reduced("cumsum", &[axis]));
        self.record(super::Op::CumSum { axis, reverse }, &[], shape)
    }
}
