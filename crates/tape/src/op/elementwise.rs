//! Functions of one or two numbers, entry by entry.

use costate_ops::{Binary, Unary};
use smallvec::SmallVec;

use super::{Cotangents, Op, Rule, add_options};
use crate::Real;
use crate::var::Var;

/// `g f'(x)`: both rules of a function of one number, since its Jacobian is diagonal.
pub(crate) fn chain<'t, T: Real>(
    f: Unary,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Option<Var<'t, T>> {
    let (x, y, one) = (rule.args[0], rule.out, T::one());
    // As a product, since the difference of 1 and a square cancels where x is close to 1.
    let one_minus_square = || x.affine(-one, one) * (x + one);
    Some(match f {
        Unary::Neg => -g,
        Unary::Abs => g * x.sign(),
        Unary::Sign | Unary::Floor => return None,
        Unary::Square => g * x.scale(T::from_f64(2.0)),
        Unary::Sqrt => g / y.scale(T::from_f64(2.0)),
        Unary::Recip => -(g * y.square()),
        Unary::Exp => g * y,
        Unary::Ln => g / x,
        Unary::Sin => g * x.cos(),
        Unary::Cos => -(g * x.sin()),
        Unary::Tanh => y.binary(Binary::TanhGrad, g),
        Unary::Sigmoid => y.binary(Binary::SigmoidGrad, g),
        // From the value, which a layer keeps anyway, and not as sigmoid(x).
        Unary::Softplus => g * y.unary(Unary::SoftplusSlope),
        // Not 1 - y, which is inexact where y is close to 1.
        Unary::SoftplusSlope => g * (-x).exp(),
        Unary::Relu => g * y.sign(),
        // Not y + 1, which is inexact where y is close to -1.
        Unary::ExpM1 => g * x.exp(),
        Unary::Ln1p => g / (x + one),
        Unary::Tan => g * (y.square() + one),
        Unary::Asin => g / one_minus_square().sqrt(),
        Unary::Acos => -(g / one_minus_square().sqrt()),
        Unary::Atan => g / (x.square() + one),
        Unary::Sinh => g * x.cosh(),
        Unary::Cosh => g * x.sinh(),
        Unary::Asinh => g / (x.square() + one).sqrt(),
        // Two roots, since the product overflows where they do not.
        Unary::Acosh => g / ((x - one).sqrt() * (x + one).sqrt()),
        Unary::Atanh => g / one_minus_square(),
        Unary::Erf => g * (-x.square()).exp().scale(T::from_f64(std::f64::consts::FRAC_2_SQRT_PI)),
    })
}

/// The partial derivatives of a function of two numbers, each applied to `g`.
fn partial<'t, T: Real>(
    f: Binary,
    rule: &Rule<'_, 't, T>,
    arg: usize,
    g: Var<'t, T>,
) -> Option<Var<'t, T>> {
    let (a, b, out) = (rule.args[0], rule.args[1], rule.out);
    let half = |x: Var<'t, T>| x.scale(T::from_f64(0.5));
    Some(match (f, arg) {
        (Binary::Add, _) | (Binary::Sub, 0) => g,
        (Binary::Sub, _) => -g,
        (Binary::Mul, 0) => g * b,
        (Binary::Mul, _) => g * a,
        (Binary::Div, 0) => g / b,
        (Binary::Div, _) => -(g * out / b),
        // 1 where this argument wins, 1/2 at a tie, 0 elsewhere.
        (Binary::Max, 0) | (Binary::Min, 1) => g * half(a.gt(b) + a.ge(b)),
        (Binary::Max, _) | (Binary::Min, _) => g * half(a.lt(b) + a.le(b)),
        (Binary::Pow, 0) => g * b * a.pow(b - T::one()),
        // a^b ln a has the limit 0 at a = 0 for b > 0, where the formula gives 0 · -∞.
        (Binary::Pow, _) => {
            let zero = a.zeros_like();
            let safe = a.eq(zero).select(a.ones_like(), a);
            g * out * safe.ln()
        }
        (Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge | Binary::Eq, _) => return None,
        // out = b (1 - a²) with a = tanh(x), b the cotangent.
        (Binary::TanhGrad, 0) => g * b * a.scale(T::from_f64(-2.0)),
        (Binary::TanhGrad, _) => a.binary(Binary::TanhGrad, g),
        // out = b a (1 - a) with a = sigmoid(x), b the cotangent.
        (Binary::SigmoidGrad, 0) => g * b * a.affine(T::from_f64(-2.0), T::one()),
        (Binary::SigmoidGrad, _) => a.binary(Binary::SigmoidGrad, g),
        (Binary::Atan2, 0) => g * (b / (a.square() + b.square())),
        (Binary::Atan2, _) => -(g * (a / (a.square() + b.square()))),
    })
}

pub(crate) fn binary_vjp<'t, T: Real>(
    f: Binary,
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    SmallVec::from_iter([0, 1].map(
        |arg| {
            if rule.needs[arg] { partial(f, rule, arg, g) } else { None }
        },
    ))
}

pub(crate) fn binary_jvp<'t, T: Real>(
    f: Binary,
    rule: &Rule<'_, 't, T>,
    dots: &[Option<Var<'t, T>>],
) -> Option<Var<'t, T>> {
    let [a, b] = [0, 1].map(|arg| dots[arg].and_then(|dot| partial(f, rule, arg, dot)));
    add_options(a, b)
}

/// Functions of each entry.
impl<'t, T: Real> Var<'t, T> {
    #[track_caller]
    pub(crate) fn unary(self, f: Unary) -> Var<'t, T> {
        let loc = std::panic::Location::caller();
        let id = self.tape().graph().borrow_mut().push_unary(f, self.id(), loc);
        Var::new(self.tape(), id)
    }

    /// `f(self, other)` after broadcasting both to their common shape.
    #[track_caller]
    pub(crate) fn binary(self, f: Binary, other: Var<'t, T>) -> Var<'t, T> {
        let (tape, loc) = (self.tape(), std::panic::Location::caller());
        let [a, b] = [self.id(), tape.own(other, f.name())];
        // The common case, done without looking at shapes.
        if let Some(id) = tape.graph().borrow_mut().push_binary(f, a, b, loc) {
            return Var::new(tape, id);
        }
        let (a, b) = self.broadcast_pair(other, f.name());
        a.record(Op::Binary(f), &[b], a.shape())
    }

    /// `|x|`. Its derivative at 0 is taken as 0.
    #[track_caller]
    pub fn abs(self) -> Var<'t, T> {
        self.unary(Unary::Abs)
    }

    /// `-1`, `0` or `1`; NaN at NaN. Its derivative is 0 everywhere.
    #[doc(alias = "signum")]
    #[track_caller]
    pub fn sign(self) -> Var<'t, T> {
        self.unary(Unary::Sign)
    }

    /// `x²`.
    #[track_caller]
    pub fn square(self) -> Var<'t, T> {
        self.unary(Unary::Square)
    }

    /// `√x`; NaN below 0. Its derivative at 0 is `+∞`.
    #[track_caller]
    pub fn sqrt(self) -> Var<'t, T> {
        self.unary(Unary::Sqrt)
    }

    /// `1/x`.
    #[doc(alias = "reciprocal")]
    #[track_caller]
    pub fn recip(self) -> Var<'t, T> {
        self.unary(Unary::Recip)
    }

    /// `eˣ`.
    #[track_caller]
    pub fn exp(self) -> Var<'t, T> {
        self.unary(Unary::Exp)
    }

    /// The natural logarithm; `-∞` at 0, NaN below.
    #[doc(alias = "log")]
    #[track_caller]
    pub fn ln(self) -> Var<'t, T> {
        self.unary(Unary::Ln)
    }

    /// `sin x`.
    #[track_caller]
    pub fn sin(self) -> Var<'t, T> {
        self.unary(Unary::Sin)
    }

    /// `cos x`.
    #[track_caller]
    pub fn cos(self) -> Var<'t, T> {
        self.unary(Unary::Cos)
    }

    /// `tanh x`.
    #[track_caller]
    pub fn tanh(self) -> Var<'t, T> {
        self.unary(Unary::Tanh)
    }

    /// `1 / (1 + e⁻ˣ)`.
    #[track_caller]
    pub fn sigmoid(self) -> Var<'t, T> {
        self.unary(Unary::Sigmoid)
    }

    /// `ln(1 + eˣ)`, without overflow.
    #[track_caller]
    pub fn softplus(self) -> Var<'t, T> {
        self.unary(Unary::Softplus)
    }

    /// `max(x, 0)`. Its derivative at 0 is taken as 0.
    #[track_caller]
    pub fn relu(self) -> Var<'t, T> {
        self.unary(Unary::Relu)
    }

    /// `max(a, b)` with broadcasting; NaN if either is. At a tie each gets half of the gradient.
    #[doc(alias = "max")]
    #[track_caller]
    pub fn maximum(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Max, other)
    }

    /// `min(a, b)` with broadcasting; NaN if either is. At a tie each gets half of the gradient.
    #[doc(alias = "min")]
    #[track_caller]
    pub fn minimum(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Min, other)
    }

    /// `aᵇ` with broadcasting; NaN for `a < 0` unless `b` is whole.
    ///
    /// The derivative with respect to `b` is `aᵇ ln a`, and 0 at `a = 0`.
    #[track_caller]
    pub fn pow(self, exponent: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Pow, exponent)
    }

    /// `xᶜ` for a number `c`; NaN for `x < 0` unless `c` is whole. See [`Var::powi`] for whole `c`.
    #[track_caller]
    pub fn powf(self, exponent: T) -> Var<'t, T> {
        self.pow(self.tape().scalar(exponent))
    }

    /// 1 where `a < b`, 0 elsewhere, with broadcasting. Not differentiated.
    #[track_caller]
    pub fn lt(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Lt, other)
    }

    /// 1 where `a ≤ b`, 0 elsewhere, with broadcasting. Not differentiated.
    #[track_caller]
    pub fn le(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Le, other)
    }

    /// 1 where `a > b`, 0 elsewhere, with broadcasting. Not differentiated.
    #[track_caller]
    pub fn gt(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Gt, other)
    }

    /// 1 where `a ≥ b`, 0 elsewhere, with broadcasting. Not differentiated.
    #[track_caller]
    pub fn ge(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Ge, other)
    }

    /// 1 where `a = b`, 0 elsewhere, with broadcasting. Not differentiated.
    #[track_caller]
    pub fn eq(self, other: Var<'t, T>) -> Var<'t, T> {
        self.binary(Binary::Eq, other)
    }
}
