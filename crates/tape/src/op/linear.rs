//! Scaling, shifting, whole powers, and sums with constant coefficients.

use costate_ops::Unary;

use super::{Cotangents, Op, Rule};
use crate::Real;
use crate::var::Var;

/// `g n xⁿ⁻¹`: both rules of a whole power.
pub(crate) fn powi_chain<'t, T: Real>(n: i32, x: Var<'t, T>, g: Var<'t, T>) -> Var<'t, T> {
    match n {
        0 => g.zeros_like(),
        1 => g,
        _ => g * x.powi(n - 1).scale(T::from_f64(f64::from(n))),
    }
}

pub(crate) fn lincomb_vjp<'t, T: Real>(
    c: &[T],
    rule: &Rule<'_, 't, T>,
    g: Var<'t, T>,
) -> Cotangents<'t, T> {
    c.iter().zip(rule.needs).map(|(&c, &need)| need.then(|| g.scale(c))).collect()
}

pub(crate) fn lincomb_jvp<'t, T: Real>(c: &[T], dots: &[Option<Var<'t, T>>]) -> Option<Var<'t, T>> {
    let (c, dots): (Vec<T>, Vec<Var<'t, T>>) =
        c.iter().zip(dots).filter_map(|(&c, dot)| Some((c, (*dot)?))).unzip();
    Var::lincomb(&c, &dots)
}

/// Linear functions of the entries with constant coefficients.
impl<'t, T: Real> Var<'t, T> {
    /// `mul · x + add` for two numbers.
    #[track_caller]
    pub fn affine(self, mul: T, add: T) -> Var<'t, T> {
        let loc = std::panic::Location::caller();
        let id = self.tape().graph().borrow_mut().push_affine(mul, add, self.id(), loc);
        Var::new(self.tape(), id)
    }

    /// `c · x` for a number `c`.
    #[track_caller]
    pub fn scale(self, c: T) -> Var<'t, T> {
        if c == T::one() {
            self
        } else if c == -T::one() {
            self.unary(Unary::Neg)
        } else {
            // Adding -0 changes no bit, not even the sign of a zero.
            self.affine(c, -T::zero())
        }
    }

    /// `xⁿ` for a whole `n`, by repeated multiplication; `x⁰ = 1` everywhere.
    #[track_caller]
    pub fn powi(self, n: i32) -> Var<'t, T> {
        match n {
            1 => self,
            2 => self.square(),
            _ => self.record(Op::Powi(n), &[], self.shape()),
        }
    }

    /// `Σ c_i x_i` in one pass; `None` for an empty sum.
    ///
    /// # Panics
    /// If the numbers of coefficients and terms differ, or the shapes of two terms.
    #[track_caller]
    pub fn lincomb(c: &[T], xs: &[Var<'t, T>]) -> Option<Var<'t, T>> {
        assert_eq!(c.len(), xs.len(), "lincomb: as many coefficients as terms");
        let (first, rest) = xs.split_first()?;
        if rest.is_empty() {
            return Some(first.scale(c[0]));
        }
        let shape = first.shape();
        for x in rest {
            assert!(x.shape() == shape, "lincomb: shapes {shape} and {} differ", x.shape());
        }
        Some(first.record(Op::LinComb(c.into()), rest, shape))
    }

    /// Zeros of this shape.
    #[track_caller]
    pub fn zeros_like(self) -> Var<'t, T> {
        self.tape().scalar(T::zero()).broadcast_to(self.shape())
    }

    /// Ones of this shape.
    #[track_caller]
    pub fn ones_like(self) -> Var<'t, T> {
        self.tape().scalar(T::one()).broadcast_to(self.shape())
    }
}
