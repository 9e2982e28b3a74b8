//! Functions of two numbers, entry by entry.

use rayon::prelude::*;

use crate::Real;
use crate::elementwise::{check_repeats, share, zip, zip_in_place};
use crate::isa::{Isa, Kernel, dispatch_arithmetic, dispatch_len};

/// A function of two numbers. Comparisons give 1 for true and 0 for false.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Sub,
    /// `a b`.
    Mul,
    /// `a / b`.
    Div,
    /// `max(a, b)`; NaN if either is.
    Max,
    /// `min(a, b)`; NaN if either is.
    Min,
    /// `a` to the power `b`, by the standard library.
    Pow,
    /// `a < b`.
    Lt,
    /// `a ≤ b`.
    Le,
    /// `a > b`.
    Gt,
    /// `a ≥ b`.
    Ge,
    /// `a = b`.
    Eq,
    /// `b (1 - a²)`: the derivative of `tanh`, from its value `a`, times `b`.
    TanhGrad,
    /// `b a (1 - a)`: the derivative of `sigmoid`, from its value `a`, times `b`.
    SigmoidGrad,
    /// The angle of the point `(b, a)` with the first axis, in `[-π, π]`, by the standard library.
    Atan2,
}

impl Binary {
    /// All of them.
    pub const ALL: &[Binary] = &[
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Max,
        Binary::Min,
        Binary::Pow,
        Binary::Lt,
        Binary::Le,
        Binary::Gt,
        Binary::Ge,
        Binary::Eq,
        Binary::TanhGrad,
        Binary::SigmoidGrad,
        Binary::Atan2,
    ];

    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Binary::Add => "add",
            Binary::Sub => "sub",
            Binary::Mul => "mul",
            Binary::Div => "div",
            Binary::Max => "max",
            Binary::Min => "min",
            Binary::Pow => "pow",
            Binary::Lt => "lt",
            Binary::Le => "le",
            Binary::Gt => "gt",
            Binary::Ge => "ge",
            Binary::Eq => "eq",
            Binary::TanhGrad => "tanh_grad",
            Binary::SigmoidGrad => "sigmoid_grad",
            Binary::Atan2 => "atan2",
        }
    }

    /// The specification of the kernel: exactly what it computes.
    #[inline(always)]
    pub fn eval<T: Real>(self, a: T, b: T) -> T {
        let truth = |holds: bool| if holds { T::one() } else { T::zero() };
        match self {
            Binary::Add => a + b,
            Binary::Sub => a - b,
            Binary::Mul => a * b,
            Binary::Div => a / b,
            // If b is NaN no comparison holds and b is taken.
            Binary::Max => {
                if a > b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
            Binary::Min => {
                if a < b || a.is_nan() {
                    a
                } else {
                    b
                }
            }
            Binary::Pow => a.powf(b),
            Binary::Lt => truth(a < b),
            Binary::Le => truth(a <= b),
            Binary::Gt => truth(a > b),
            Binary::Ge => truth(a >= b),
            Binary::Eq => truth(a == b),
            Binary::TanhGrad => b * (T::one() - a * a),
            Binary::SigmoidGrad => b * (a * (T::one() - a)),
            Binary::Atan2 => a.atan2(b),
        }
    }
}

/// Where the result goes.
enum Into<'a, T> {
    New { a: &'a [T], b: &'a [T], out: &'a mut [T] },
    Left { a: &'a mut [T], b: &'a [T] },
    Right { a: &'a [T], b: &'a mut [T] },
}

struct BinaryKernel<'a, T>(Binary, Into<'a, T>);

impl<T: Real> BinaryKernel<'_, T> {
    #[inline(always)]
    fn with(self, f: impl Fn(T, T) -> T) {
        match self.1 {
            Into::New { a, b, out } => zip(a, b, out, f),
            Into::Left { a, b } => zip_in_place(a, b, f),
            Into::Right { a, b } => zip_in_place(b, a, |b, a| f(a, b)),
        }
    }
}

impl<T: Real> Kernel for BinaryKernel<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        // One loop for each function, which is known where the loop is compiled.
        match self.0 {
            Binary::Add => self.with(|a, b| Binary::Add.eval(a, b)),
            Binary::Sub => self.with(|a, b| Binary::Sub.eval(a, b)),
            Binary::Mul => self.with(|a, b| Binary::Mul.eval(a, b)),
            Binary::Div => self.with(|a, b| Binary::Div.eval(a, b)),
            Binary::Max => self.with(|a, b| Binary::Max.eval(a, b)),
            Binary::Min => self.with(|a, b| Binary::Min.eval(a, b)),
            Binary::Pow => self.with(|a, b| Binary::Pow.eval(a, b)),
            Binary::Lt => self.with(|a, b| Binary::Lt.eval(a, b)),
            Binary::Le => self.with(|a, b| Binary::Le.eval(a, b)),
            Binary::Gt => self.with(|a, b| Binary::Gt.eval(a, b)),
            Binary::Ge => self.with(|a, b| Binary::Ge.eval(a, b)),
            Binary::Eq => self.with(|a, b| Binary::Eq.eval(a, b)),
            Binary::TanhGrad => self.with(|a, b| Binary::TanhGrad.eval(a, b)),
            Binary::SigmoidGrad => self.with(|a, b| Binary::SigmoidGrad.eval(a, b)),
            Binary::Atan2 => self.with(|a, b| Binary::Atan2.eval(a, b)),
        }
    }
}

/// `out_i = f(a_i, b_i)`.
///
/// An operand whose length divides that of the result repeats: `out_i = f(a_i, b_(i mod n))`.
/// This covers numbers, and rows added to every row of a matrix.
///
/// # Panics
/// If the length of an operand does not divide that of the result.
#[track_caller]
pub fn binary<T: Real>(op: Binary, a: &[T], b: &[T], out: &mut [T]) {
    check_repeats(op.name(), a.len(), out.len());
    check_repeats(op.name(), b.len(), out.len());
    T::binary(op, a, b, out);
}

pub(crate) fn binary_of<T: Real>(op: Binary, a: &[T], b: &[T], out: &mut [T]) {
    let long = out.len();
    let Some(chunk) = share(long, || unit(&[a, b], long)) else {
        return dispatch_len(long, BinaryKernel(op, Into::New { a, b, out }));
    };
    out.par_chunks_mut(chunk).enumerate().for_each(|(i, out)| {
        let (start, len) = (i * chunk, out.len());
        let (a, b) = (piece(a, long, start, len), piece(b, long, start, len));
        dispatch_len(len, BinaryKernel(op, Into::New { a, b, out }));
    });
}

/// Pieces of an array of `len` entries are to have multiples of so many, so that shorter operands
/// repeat in each.
fn unit<T>(operands: &[&[T]], len: usize) -> usize {
    let shorter = || operands.iter().map(|x| x.len()).filter(|&n| n < len);
    let unit = shorter().max().map_or(16, |n| 16usize.next_multiple_of(n));
    if shorter().all(|n| unit.is_multiple_of(n)) { unit } else { len }
}

/// What a piece of an array of `long` entries reads of an operand.
fn piece<T>(x: &[T], long: usize, start: usize, len: usize) -> &[T] {
    if x.len() == long { &x[start..start + len] } else { x }
}

/// [`binary`] with the given instruction set, which the machine must have.
///
/// # Panics
/// If the length of an operand does not divide that of the result, or the machine lacks the
/// instruction set.
#[track_caller]
pub fn binary_on<T: Real>(isa: Isa, op: Binary, a: &[T], b: &[T], out: &mut [T]) {
    check_repeats(op.name(), a.len(), out.len());
    check_repeats(op.name(), b.len(), out.len());
    dispatch_arithmetic(isa, BinaryKernel(op, Into::New { a, b, out }));
}

/// `a_i = f(a_i, b_i)`, with the same bits as [`binary`]; `b` may repeat.
///
/// # Panics
/// If the length of `b` does not divide that of `a`.
#[track_caller]
pub fn binary_in_place_left<T: Real>(op: Binary, a: &mut [T], b: &[T]) {
    check_repeats(op.name(), b.len(), a.len());
    T::binary_in_place_left(op, a, b);
}

pub(crate) fn binary_left_of<T: Real>(op: Binary, a: &mut [T], b: &[T]) {
    let long = a.len();
    let Some(chunk) = share(long, || unit(&[b], long)) else {
        return dispatch_len(long, BinaryKernel(op, Into::Left { a, b }));
    };
    a.par_chunks_mut(chunk).enumerate().for_each(|(i, a)| {
        let b = piece(b, long, i * chunk, a.len());
        dispatch_len(a.len(), BinaryKernel(op, Into::Left { a, b }));
    });
}

/// `b_i = f(a_i, b_i)`, with the same bits as [`binary`]; `a` may repeat.
///
/// # Panics
/// If the length of `a` does not divide that of `b`.
#[track_caller]
pub fn binary_in_place_right<T: Real>(op: Binary, a: &[T], b: &mut [T]) {
    check_repeats(op.name(), a.len(), b.len());
    T::binary_in_place_right(op, a, b);
}

pub(crate) fn binary_right_of<T: Real>(op: Binary, a: &[T], b: &mut [T]) {
    let long = b.len();
    let Some(chunk) = share(long, || unit(&[a], long)) else {
        return dispatch_len(long, BinaryKernel(op, Into::Right { a, b }));
    };
    b.par_chunks_mut(chunk).enumerate().for_each(|(i, b)| {
        let a = piece(a, long, i * chunk, b.len());
        dispatch_len(b.len(), BinaryKernel(op, Into::Right { a, b }));
    });
}
