//! Products that do something with each entry before it is written.

use crate::elementwise::check_len;
use crate::isa::{Isa, dispatch};
use crate::matmul::{MatMul, matmul_of};
use crate::narrow::narrow;
use crate::short::{SHORT, Short};
use crate::{Binary, Real, binary_in_place_right};

/// What is done with each entry of a product.
#[derive(Clone, Copy, Debug)]
pub enum After<'a, T> {
    /// Nothing.
    Nothing,
    /// This row is added to each row.
    Bias(&'a [T]),
    /// It is multiplied with the entry at its place.
    Mul(&'a [T]),
    /// [`Binary::TanhGrad`] of the entry at its place, and of it.
    TanhGrad(&'a [T]),
    /// [`Binary::SigmoidGrad`] of the entry at its place, and of it.
    SigmoidGrad(&'a [T]),
}

/// What is added to a product.
#[derive(Clone, Copy)]
pub(crate) enum Add<'a, T> {
    Nothing,
    /// What the result holds already.
    Result,
    /// This row to each row.
    Bias(&'a [T]),
}

impl MatMul {
    /// Whether [`matmul_then`] does such an operation in the pass of the product, for numbers of this type;
    /// else it is one of its own.
    pub fn takes<T: Real>(&self, op: Binary) -> bool {
        let known =
            matches!(op, Binary::Add | Binary::Mul | Binary::TanhGrad | Binary::SigmoidGrad);
        known && (self.is_short::<T>() || (op == Binary::Add && self.is_narrow::<T>()))
    }

    /// Whether [`Short`] computes it.
    pub(crate) fn is_short<T: Real>(&self) -> bool {
        let MatMul { k, ta, tb, accumulate, .. } = *self;
        let whole = !(ta || tb || accumulate) && self.is_small::<T>();
        whole && (1..=SHORT).contains(&k) && self.n > SHORT
    }

    /// Whether [`narrow`] does without a copy.
    fn is_narrow<T: Real>(&self) -> bool {
        self.has_long_rows() && (self.tb || self.n == 1) && self.is_small::<T>()
    }
}

/// `C = op(A) op(B)`, and something done with each entry: the bits of the product and the operation
/// after it.
///
/// # Panics
/// If a length does not fit, or `spec` says to accumulate.
#[track_caller]
pub fn matmul_then<T: Real>(spec: MatMul, a: &[T], b: &[T], after: After<'_, T>, c: &mut [T]) {
    spec.check(a.len(), b.len(), c.len());
    match after {
        After::Nothing => {}
        After::Bias(row) => check_len("matmul_then, row", row.len(), spec.n),
        After::Mul(x) | After::TanhGrad(x) | After::SigmoidGrad(x) => {
            check_len("matmul_then, other", x.len(), c.len());
        }
    }
    assert!(!spec.accumulate, "matmul_then: the product is a new one");
    T::matmul_then(spec, a, b, after, c);
}

pub(crate) fn matmul_then_of<T: Real>(
    spec: MatMul,
    a: &[T],
    b: &[T],
    after: After<'_, T>,
    c: &mut [T],
) {
    let MatMul { k, n, .. } = spec;
    if c.is_empty() {
        return;
    }
    if spec.is_short::<T>() {
        return dispatch(Isa::detect(), Short { k, n, a, b, after, c });
    }
    let (op, other) = match after {
        After::Nothing => return matmul_of(spec, a, b, c),
        After::Bias(x) => (Binary::Add, x),
        After::Mul(x) => (Binary::Mul, x),
        After::TanhGrad(x) => (Binary::TanhGrad, x),
        After::SigmoidGrad(x) => (Binary::SigmoidGrad, x),
    };
    if op == Binary::Add && spec.is_narrow::<T>() && narrow(k, Add::Bias(other), a, b, c) {
        return;
    }
    matmul_of(spec, a, b, c);
    binary_in_place_right(op, other, c);
}
