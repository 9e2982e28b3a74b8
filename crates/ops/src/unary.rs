//! Functions of one number, entry by entry.

use crate::elementwise::{
    PARALLEL, check_len, in_parallel, in_parallel_in_place, map, map_in_place, map_wide,
    map_wide_in_place,
};
use crate::isa::{Isa, Kernel, dispatch, dispatch_arithmetic, dispatch_len};
use crate::{Real, math};

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
    /// `max(x, 0)`; NaN at NaN.
    Relu,
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
        Unary::Relu,
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
            Unary::Relu => "relu",
        }
    }

    /// Whether it costs so much that long arrays are worth several threads.
    fn is_expensive(self) -> bool {
        use Unary::*;
        matches!(self, Exp | Ln | Sin | Cos | Tanh | Sigmoid | Softplus)
    }

    /// The specification of the kernel: exactly what it computes, or for [`Exp`](Unary::Exp),
    /// [`Ln`](Unary::Ln), [`Tanh`](Unary::Tanh), [`Sigmoid`](Unary::Sigmoid) and
    /// [`Softplus`](Unary::Softplus), what it approximates.
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
            Unary::Relu => relu(x),
        }
    }
}

#[inline(always)]
fn sign<T: Real>(x: T) -> T {
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
fn relu<T: Real>(x: T) -> T {
    if x < T::zero() { T::zero() } else { x }
}

struct OutOfPlace<'a, T>(Unary, &'a [T], &'a mut [T]);

impl<T: Real> Kernel for OutOfPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
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
            Unary::Exp => map_wide(x, out, math::exp::<T, FMA>),
            Unary::Ln => map_wide(x, out, math::ln::<T, FMA>),
            Unary::Tanh => map_wide(x, out, math::tanh::<T, FMA>),
            Unary::Sigmoid => map_wide(x, out, math::sigmoid::<T, FMA>),
            Unary::Softplus => map_wide(x, out, math::softplus::<T, FMA>),
        }
    }
}

struct InPlace<'a, T>(Unary, &'a mut [T]);

impl<T: Real> Kernel for InPlace<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool>(self) {
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
            Unary::Exp => map_wide_in_place(x, math::exp::<T, FMA>),
            Unary::Ln => map_wide_in_place(x, math::ln::<T, FMA>),
            Unary::Tanh => map_wide_in_place(x, math::tanh::<T, FMA>),
            Unary::Sigmoid => map_wide_in_place(x, math::sigmoid::<T, FMA>),
            Unary::Softplus => map_wide_in_place(x, math::softplus::<T, FMA>),
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
    if !op.is_expensive() {
        dispatch_len(x.len(), OutOfPlace(op, x, out));
    } else if x.len() >= PARALLEL {
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
    if !op.is_expensive() {
        dispatch_len(x.len(), InPlace(op, x));
    } else if x.len() >= PARALLEL {
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
