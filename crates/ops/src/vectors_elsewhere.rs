//! What is not there on processors that have neither AVX-512 nor AVX2.

use crate::Real;
use crate::isa::Isa;
use crate::outer::Outer;
use crate::product::{Add, After};

/// There are no vectors.
pub trait HasVectors {}
impl HasVectors for f32 {}
impl HasVectors for f64 {}

/// `false`: it was not done.
pub(crate) fn narrow<T: Real>(_: usize, _: Add<'_, T>, _: &[T], _: &[T], _: &mut [T]) -> bool {
    false
}

/// `false`: it was not done.
pub(crate) fn outer<T: Real>(_: Isa, _: &mut Outer<'_, T>) -> bool {
    false
}

/// `false`: it was not done.
pub(crate) fn short<T: Real>(
    _: Isa,
    _: [usize; 2],
    _: &[T],
    _: &[T],
    _: After<'_, T>,
    _: &mut [T],
) -> bool {
    false
}
