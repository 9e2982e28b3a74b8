//! Functions of one number, entry by entry.

use crate::Real;
use crate::elementwise::{
    check_len, in_parallel, in_parallel_in_place, is_long, map, map_in_place, map_wide,
    map_wide_in_place,
};
use crate::isa::{Isa, Kernel, dispatch, dispatch_arithmetic, dispatch_len};
use crate::math::{self, scalar};

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unary {
    /// `-x`.
    Neg,
    /// `|x|`.
    Abs,
    /// `-1`, `0` or `1`, keeping the sign of a zero; NaN at NaN.
    Sign,
    /// `x²`.
    Square,
    /// `√x`.
    Sqrt,
    /// `1/x`.
    Recip,
    /// `eˣ`, to 1.5 ulp.
    Exp,
    /// The natural logarithm, to 1.5 ulp.
    Ln,
    /// `sin x`, by the standard library.
    Sin,
    /// `cos x`, by the standard library.
    Cos,
    /// `tanh x`, to 2.5 ulp.
    Tanh,
    /// `1/(1 + e⁻ˣ)`, to 3 ulp.
    Sigmoid,
    /// `ln(1 + eˣ)`, to 3 ulp.
    Softplus,
    /// `1 - e⁻ˣ`, to 2.5 ulp: the derivative of `softplus`, from its value `x`.
    SoftplusSlope,
    /// `max(x, 0)`; NaN at NaN.
    Relu,
    /// `eˣ - 1`, exact near 0, by the standard library.
    ExpM1,
    /// `ln(1 + x)`, exact near 0, by the standard library; `-∞` at -1, NaN below.
    Ln1p,
    /// `tan x`, by the standard library.
    Tan,
    /// `arcsin x`, by the standard library; NaN outside `[-1, 1]`.
    Asin,
    /// `arccos x`, by the standard library; NaN outside `[-1, 1]`.
    Acos,
    /// `arctan x`, by the standard library.
    Atan,
    /// `sinh x`, by the standard library.
    Sinh,
    /// `cosh x`, by the standard library.
    Cosh,
    /// `arsinh x`, to 3 ulp.
    Asinh,
    /// `arcosh x`, to 3 ulp; NaN below 1.
    Acosh,
    /// `artanh x`, to 3 ulp; `±∞` at ±1, NaN outside.
    Atanh,
    /// The error function `2/√π ∫₀ˣ e^(-t²) dt`, to 1.5 ulp.
    Erf,
    /// The largest whole number not above `x`.
    Floor,
}

impl Unary {
    /// All of them.
    pub const ALL: &[Unary] = &[
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Square,
        Unary::Sqrt,
        Unary::Recip,
        Unary::Exp,
        Unary::Ln,
        Unary::Sin,
        Unary::Cos,
        Unary::Tanh,
        Unary::Sigmoid,
        Unary::Softplus,
        Unary::SoftplusSlope,
        Unary::Relu,
        Unary::ExpM1,
        Unary::Ln1p,
        Unary::Tan,
        Unary::Asin,
        Unary::Acos,
        Unary::Atan,
        Unary::Sinh,
        Unary::Cosh,
        Unary::Asinh,
        Unary::Acosh,
        Unary::Atanh,
        Unary::Erf,
        Unary::Floor,
    ];

    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Unary::Neg => "neg",
            Unary::Abs => "abs",
            Unary::Sign => "sign",
            Unary::Square => "square",
            Unary::Sqrt => "sqrt",
            Unary::Recip => "recip",
            Unary::Exp => "exp",
            Unary::Ln => "ln",
            Unary::Sin => "sin",
            Unary::Cos => "cos",
            Unary::Tanh => "tanh",
            Unary::Sigmoid => "sigmoid",
            Unary::Softplus => "softplus",
            Unary::SoftplusSlope => "softplus_slope",
            Unary::Relu => "relu",
            Unary::ExpM1 => "expm1",
            Unary::Ln1p => "ln_1p",
            Unary::Tan => "tan",
            Unary::Asin => "asin",
            Unary::Acos => "acos",
            Unary::Atan => "atan",
            Unary::Sinh => "sinh",
            Unary::Cosh => "cosh",
            Unary::Asinh => "asinh",
            Unary::Acosh => "acosh",
            Unary::Atanh => "atanh",
            Unary::Erf => "erf",
            Unary::Floor => "floor",
        }
    }

    /// Whether it costs so much that long arrays are worth several threads.
    pub fn is_expensive(self) -> bool {
        use Unary::*;
        match self {
            Neg | Abs | Sign | Square | Sqrt | Recip | Relu | Floor => false,
            Exp | Ln | Sin | Cos | Tanh | Sigmoid | Softplus | SoftplusSlope | ExpM1 | Ln1p
            | Tan | Asin | Acos | Atan | Sinh | Cosh | Asinh | Acosh | Atanh | Erf => true,
        }
    }

    /// The specification of the kernel: exactly what it computes, or for [`Exp`](Unary::Exp),
    /// [`Ln`](Unary::Ln), [`Tanh`](Unary::Tanh), [`Sigmoid`](Unary::Sigmoid),
    /// [`Softplus`](Unary::Softplus) and [`SoftplusSlope`](Unary::SoftplusSlope), what it approximates.
    pub fn eval<T: Real>(self, x: T) -> T {
        match self {
            Unary::Neg => -x,
            Unary::Abs => x.abs(),
            Unary::Sign => sign(x),
            Unary::Square => x * x,
            Unary::Sqrt => x.sqrt(),
            Unary::Recip => T::one() / x,
            Unary::Exp => x.exp(),
            Unary::Ln => x.ln(),
            Unary::Sin => x.sin(),
            Unary::Cos => x.cos(),
            Unary::Tanh => x.tanh(),
            Unary::Sigmoid => {
                let z = (-x.abs()).exp();
                (if x < T::zero() { z } else { T::one() }) / (T::one() + z)
            }
            Unary::Softplus => relu(x) + (-x.abs()).exp().ln_1p(),
            Unary::SoftplusSlope => -(-x).exp_m1(),
            Unary::Relu => relu(x),
            Unary::ExpM1 => x.exp_m1(),
            Unary::Ln1p => x.ln_1p(),
            Unary::Tan => x.tan(),
            Unary::Asin => x.asin(),
            Unary::Acos => x.acos(),
            Unary::Atan => x.atan(),
            Unary::Sinh => x.sinh(),
            Unary::Cosh => x.cosh(),
            Unary::Asinh => scalar::asinh(x),
            Unary::Acosh => scalar::acosh(x),
            Unary::Atanh => scalar::atanh(x),
            Unary::Erf => T::from_f64(scalar::erf(x.as_f64())),
            Unary::Floor => x.floor(),
        }
    }
}

#[inline(always)]
pub(crate) fn sign<T: Real>(x: T) -> T {
    // Zero and NaN stay as they are.
    if x > T::zero() {
        T::one()
    } else if x < T::zero() {
        -T::one()
    } else {
        x
    }
}

#[inline(always)]
pub(crate) fn relu<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

/// How many vectors an expensive function is computed for at once.
const AT_ONCE: usize = 4;

struct OutOfPlace<'a, T>(Unary, &'a [T], &'a mut [T]);

impl<T: Real> Kernel for OutOfPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let OutOfPlace(op, x, out) = self;
        match op {
            Unary::Neg => map(x, out, |x| -x),
            Unary::Abs => map(x, out, |x| x.abs()),
            Unary::Sign => map(x, out, sign),
            Unary::Square => map(x, out, |x| x * x),
            Unary::Sqrt => map(x, out, |x| x.sqrt()),
            Unary::Recip => map(x, out, |x| T::one() / x),
            Unary::Sin => map(x, out, |x| x.sin()),
            Unary::Cos => map(x, out, |x| x.cos()),
            Unary::Relu => map(x, out, relu),
            Unary::Exp => map_wide::<T, VECTOR, AT_ONCE>(x, out, math::Exp::<FMA>),
            Unary::Ln => map_wide::<T, VECTOR, AT_ONCE>(x, out, math::Ln::<FMA>),
            Unary::Tanh => map_wide::<T, VECTOR, AT_ONCE>(x, out, math::Tanh::<FMA>),
            Unary::Sigmoid => map_wide::<T, VECTOR, AT_ONCE>(x, out, math::Sigmoid::<FMA>),
            Unary::Softplus => map_wide::<T, VECTOR, AT_ONCE>(x, out, math::Softplus::<FMA>),
            Unary::SoftplusSlope => {
                map_wide::<T, VECTOR, AT_ONCE>(x, out, math::SoftplusSlope::<FMA>);
            }
            Unary::Floor => map(x, out, |x| x.floor()),
            // Function calls, beside which the choice in `eval` costs nothing.
            _ => map(x, out, |x| op.eval(x)),
        }
    }
}

struct InPlace<'a, T>(Unary, &'a mut [T]);

impl<T: Real> Kernel for InPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let InPlace(op, x) = self;
        match op {
            Unary::Neg => map_in_place(x, |x| -x),
            Unary::Abs => map_in_place(x, |x| x.abs()),
            Unary::Sign => map_in_place(x, sign),
            Unary::Square => map_in_place(x, |x| x * x),
            Unary::Sqrt => map_in_place(x, |x| x.sqrt()),
            Unary::Recip => map_in_place(x, |x| T::one() / x),
            Unary::Sin => map_in_place(x, |x| x.sin()),
            Unary::Cos => map_in_place(x, |x| x.cos()),
            Unary::Relu => map_in_place(x, relu),
            Unary::Exp => map_wide_in_place::<T, VECTOR, AT_ONCE>(x, math::Exp::<FMA>),
            Unary::Ln => map_wide_in_place::<T, VECTOR, AT_ONCE>(x, math::Ln::<FMA>),
            Unary::Tanh => map_wide_in_place::<T, VECTOR, AT_ONCE>(x, math::Tanh::<FMA>),
            Unary::Sigmoid => map_wide_in_place::<T, VECTOR, AT_ONCE>(x, math::Sigmoid::<FMA>),
            Unary::Softplus => map_wide_in_place::<T, VECTOR, AT_ONCE>(x, math::Softplus::<FMA>),
            Unary::SoftplusSlope => {
                map_wide_in_place::<T, VECTOR, AT_ONCE>(x, math::SoftplusSlope::<FMA>);
            }
            Unary::Floor => map_in_place(x, |x| x.floor()),
            _ => map_in_place(x, |x| op.eval(x)),
        }
    }
}

/// `out_i = f(x_i)`.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn unary<T: Real>(op: Unary, x: &[T], out: &mut [T]) {
    check_len(op.name(), x.len(), out.len());
    T::unary(op, x, out);
}

pub(crate) fn unary_of<T: Real>(op: Unary, x: &[T], out: &mut [T]) {
    if !op.is_expensive() {
        dispatch_len(x.len(), OutOfPlace(op, x, out));
    } else if is_long(x.len()) {
        in_parallel(x, out, |x, out| unary_on(Isa::detect(), op, x, out));
    } else {
        unary_on(Isa::detect(), op, x, out);
    }
}

/// [`unary`] with the given instruction set, which the machine must have, on one thread.
///
/// # Panics
/// If the lengths differ, or the machine lacks the instruction set.
pub fn unary_on<T: Real>(isa: Isa, op: Unary, x: &[T], out: &mut [T]) {
    check_len(op.name(), x.len(), out.len());
    let kernel = OutOfPlace(op, x, out);
    if op.is_expensive() { dispatch(isa, kernel) } else { dispatch_arithmetic(isa, kernel) }
}

/// `x_i = f(x_i)`, with the same bits as [`unary`].
pub fn unary_in_place<T: Real>(op: Unary, x: &mut [T]) {
    T::unary_in_place(op, x);
}

pub(crate) fn unary_in_place_of<T: Real>(op: Unary, x: &mut [T]) {
    if !op.is_expensive() {
        dispatch_len(x.len(), InPlace(op, x));
    } else if is_long(x.len()) {
        in_parallel_in_place(x, |x| unary_in_place_on(Isa::detect(), op, x));
    } else {
        unary_in_place_on(Isa::detect(), op, x);
    }
}

/// [`unary_in_place`] with the given instruction set, which the machine must have, on one thread.
///
/// # Panics
/// If the machine lacks the instruction set.
pub fn unary_in_place_on<T: Real>(isa: Isa, op: Unary, x: &mut [T]) {
    let kernel = InPlace(op, x);
    if op.is_expensive() { dispatch(isa, kernel) } else { dispatch_arithmetic(isa, kernel) }
}
