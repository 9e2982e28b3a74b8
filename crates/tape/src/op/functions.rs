//! Trigonometric, hyperbolic and other functions, entry by entry. All are NaN at NaN. Their rules
//! stand with the others in [`super::elementwise`].

use costate_ops::{Binary, Unary};

use crate::Real;
use crate::var::Var;

/// Trigonometric, hyperbolic and other functions of each entry.
impl<'t, T: Real> Var<'t, T> {
    /// `eˣ - 1`, without cancellation near 0; -1 at `-∞`.
    #[doc(alias = "expm1")]
    #[track_caller]
    pub fn exp_m1(self) -> Var<'t, T> {
        self.unary(Unary::ExpM1)
    }

    /// `ln(1 + x)`, without cancellation near 0; `-∞` at -1, NaN below.
    #[doc(alias = "log1p")]
    #[track_caller]
    pub fn ln_1p(self) -> Var<'t, T> {
        self.unary(Unary::Ln1p)
    }

    /// `tan x`; NaN at `±∞`. Its derivative is `1 + tan² x`.
    #[track_caller]
    pub fn tan(self) -> Var<'t, T> {
        self.unary(Unary::Tan)
    }

    /// `arcsin x`; NaN outside `[-1, 1]`. Its derivative at `±1` is `+∞`.
    #[doc(alias = "arcsin")]
    #[track_caller]
    pub fn asin(self) -> Var<'t, T> {
        self.unary(Unary::Asin)
    }

    /// `arccos x`; NaN outside `[-1, 1]`. Its derivative at `±1` is `-∞`.
    #[doc(alias = "arccos")]
    #[track_caller]
    pub fn acos(self) -> Var<'t, T> {
        self.unary(Unary::Acos)
    }

    /// `arctan x`; `±π/2` at `±∞`. Its derivative is `1/(1 + x²)`.
    #[doc(alias = "arctan")]
    #[track_caller]
    pub fn atan(self) -> Var<'t, T> {
        self.unary(Unary::Atan)
    }

    /// `sinh x`; `±∞` at `±∞`.
    #[track_caller]
    pub fn sinh(self) -> Var<'t, T> {
        self.unary(Unary::Sinh)
    }

    /// `cosh x`; `+∞` at `±∞`.
    #[track_caller]
    pub fn cosh(self) -> Var<'t, T> {
        self.unary(Unary::Cosh)
    }

    /// `arsinh x`; `±∞` at `±∞`. Its derivative is `1/√(1 + x²)`.
    #[doc(alias = "arcsinh")]
    #[track_caller]
    pub fn asinh(self) -> Var<'t, T> {
        self.unary(Unary::Asinh)
    }

    /// `arcosh x`; NaN below 1. Its derivative is `1/√(x² - 1)`, `+∞` at 1.
    #[doc(alias = "arccosh")]
    #[track_caller]
    pub fn acosh(self) -> Var<'t, T> {
        self.unary(Unary::Acosh)
    }

    /// `artanh x`; `±∞` at `±1`, NaN outside. Its derivative is `1/(1 - x²)`.
    #[doc(alias = "arctanh")]
    #[track_caller]
    pub fn atanh(self) -> Var<'t, T> {
        self.unary(Unary::Atanh)
    }

    /// The error function `2/√π ∫₀ˣ e^(-t²) dt`; `±1` at `±∞`. Its derivative is `2/√π e^(-x²)`.
    #[track_caller]
    pub fn erf(self) -> Var<'t, T> {
        self.unary(Unary::Erf)
    }

    /// The largest whole number not above `x`; `±∞` at `±∞`. Its derivative is 0 everywhere.
    #[track_caller]
    pub fn floor(self) -> Var<'t, T> {
        self.unary(Unary::Floor)
    }

    /// The angle of the point `(other, self)` with the first axis, in `[-π, π]`, with broadcasting:
    /// `arctan(self / other)` in the right quadrant; 0 or `±π` at the origin, by the signs of the
    /// zeros. Its derivatives are `(other, -self) / (self² + other²)`, NaN at the origin.
    #[track_caller]
    pub fn atan2(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Atan2, other)
    }
}
