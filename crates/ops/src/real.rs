//! The element types: `f32` and `f64`, behind one sealed trait.

use std::fmt::{Debug, Display, LowerExp};
use std::iter::Sum;

use bytemuck::Pod;
use num_traits::{Float, NumAssign};

use crate::compiled::Compiled;
use crate::math::Math;
use crate::vectors::HasVectors;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// A floating-point element type: `f32` or `f64`.
///
/// The trait is sealed: kernels are written for these two types, and code that is generic over
/// `Real` may rely on there being no third.
pub trait Real:
    sealed::Sealed
    + Compiled
    + HasVectors
    + Float
    + NumAssign
    + Math
    + Pod
    + Default
    + Debug
    + Display
    + LowerExp
    + Sum
    + Send
    + Sync
    + 'static
{
    /// The type's name as Rust spells it, `"f32"` or `"f64"`.
    const NAME: &'static str;
    /// The distance from 1 to the next larger number.
    const EPSILON: Self;

    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// The same value in double precision.
    fn as_f64(self) -> f64;
}

impl Real for f32 {
    const NAME: &'static str = "f32";
    const EPSILON: f32 = f32::EPSILON;

    #[inline(always)]
    fn from_f64(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn as_f64(self) -> f64 {
        f64::from(self)
    }
}

impl Real for f64 {
    const NAME: &'static str = "f64";
    const EPSILON: f64 = f64::EPSILON;

    #[inline(always)]
    fn from_f64(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn as_f64(self) -> f64 {
        self
    }
}
