//! The operators `+ - * /`, between variables, numbers and `ndarray` arrays.

use std::ops::{Add, Div, Mul, Neg, Sub};

use costate_ops::{Binary, Unary};
use ndarray::{ArrayBase, Data, Dimension};

use crate::Real;
use crate::var::Var;

impl<'t, T: Real> Neg for Var<'t, T> {
    type Output = Var<'t, T>;
    #[track_caller]
    fn neg(self) -> Var<'t, T> {
        self.unary(Unary::Neg)
    }
}

/// Stamps an operator for `Var ∘ Var`, `Var ∘ number` and `number ∘ Var`.
macro_rules! operator {
    ($trait:ident, $method:ident, |$x:ident, $c:ident| $right:expr, |$d:ident, $y:ident| $left:expr) => {
        impl<'t, T: Real> $trait for Var<'t, T> {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, other: Var<'t, T>) -> Var<'t, T> {
                self.binary(Binary::$trait, other)
            }
        }

        impl<'t, T: Real> $trait<T> for Var<'t, T> {
            type Output = Var<'t, T>;
            #[track_caller]
            fn $method(self, $c: T) -> Var<'t, T> {
                let $x = self;
                $right
            }
        }

        impl<'t> $trait<Var<'t, f32>> for f32 {
            type Output = Var<'t, f32>;
            #[track_caller]
            fn $method(self, $y: Var<'t, f32>) -> Var<'t, f32> {
                let $d = self;
                $left
            }
        }

        impl<'t> $trait<Var<'t, f64>> for f64 {
            type Output = Var<'t, f64>;
            #[track_caller]
            fn $method(self, $y: Var<'t, f64>) -> Var<'t, f64> {
                let $d = self;
                $left
            }
        }
    };
}

/// Stamps an operator for `Var ∘ &array`. Once for each type, since the compiler could not tell a
/// generic one from `Var ∘ number`.
macro_rules! array_operator {
    ($trait:ident, $method:ident, $real:ty) => {
        impl<'t, S: Data<Elem = $real>, D: Dimension> $trait<&ArrayBase<S, D>> for Var<'t, $real> {
            type Output = Var<'t, $real>;
            #[track_caller]
            fn $method(self, array: &ArrayBase<S, D>) -> Var<'t, $real> {
                self.binary(Binary::$trait, self.tape().constant(array))
            }
        }
    };
}

array_operator!(Add, add, f32);
array_operator!(Add, add, f64);
array_operator!(Sub, sub, f32);
array_operator!(Sub, sub, f64);
array_operator!(Mul, mul, f32);
array_operator!(Mul, mul, f64);
array_operator!(Div, div, f32);
array_operator!(Div, div, f64);

operator!(Add, add, |x, c| x.affine(T::one(), c), |c, y| y.affine(1.0, c));
operator!(Sub, sub, |x, c| x.affine(T::one(), -c), |c, y| y.affine(-1.0, c));
operator!(Mul, mul, |x, c| x.scale(c), |c, y| y.scale(c));
operator!(Div, div, |x, c| x.binary(Binary::Div, x.tape().scalar(c)), |c, y| y
    .tape()
    .scalar(c)
    .binary(Binary::Div, y));
