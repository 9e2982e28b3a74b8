//! Activations and clipping, composed of other operations.

use crate::Real;
use crate::var::Var;

/// Activations and clipping.
impl<'t, T: Real> Var<'t, T> {
    /// `x` where `x > 0`, `slope · x` elsewhere; NaN at NaN. Its derivative at 0 is `slope`.
    #[track_caller]
    pub fn leaky_relu(self, slope: T) -> Var<'t, T> {
        self.gt(self.tape().scalar(T::zero())).select(self, self.scale(slope))
    }

    /// `x` where `x > 0`, `alpha (eˣ - 1)` elsewhere (Clevert, Unterthiner and Hochreiter, ICLR
    /// 2016); `-alpha` at `-∞`, NaN at NaN. Its derivative at 0 is `alpha`.
    #[track_caller]
    pub fn elu(self, alpha: T) -> Var<'t, T> {
        let zero = self.tape().scalar(T::zero());
        let positive = self.gt(zero);
        // The exponential of a large entry overflows, and its gradient would be 0 · ∞.
        let safe = positive.select(zero, self);
        positive.select(self, safe.exp_m1().scale(alpha))
    }

    /// `x Φ(x) = x (1 + erf(x/√2))/2`, exactly, not by `tanh` (Hendrycks and Gimpel,
    /// arXiv:1606.08415); NaN at `-∞` and at NaN. For large negative `x`, where it vanishes, the
    /// error is small beside `x`, not beside the result.
    #[track_caller]
    pub fn gelu(self) -> Var<'t, T> {
        let half = T::from_f64(0.5);
        let erf = self.scale(T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erf();
        self * erf.affine(half, half)
    }

    /// `x / (1 + e⁻ˣ)`, also called swish; NaN at `-∞` and at NaN.
    #[doc(alias = "swish")]
    #[track_caller]
    pub fn silu(self) -> Var<'t, T> {
        self * self.sigmoid()
    }

    /// `low` below `low`, `high` above `high`, `x` between; NaN at NaN. The derivative is 1 between
    /// and at the bounds, 0 outside.
    ///
    /// # Panics
    /// Unless `low ≤ high`.
    #[track_caller]
    pub fn clamp(self, low: T, high: T) -> Var<'t, T> {
        assert!(low <= high, "clamp: the lower bound {low} is not below the upper bound {high}");
        let (low, high) = (self.tape().scalar(low), self.tape().scalar(high));
        self.lt(low).select(low, self.gt(high).select(high, self))
    }
}
