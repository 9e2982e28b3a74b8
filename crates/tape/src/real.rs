//! The element types of tapes.

use crate::compiled::Compiled;

/// A floating-point element type: `f32` or `f64`, with what this crate computes for it.
///
/// The trait is sealed, as [`costate_ops::Real`] is.
pub trait Real: costate_ops::Real + Compiled {}

impl Real for f32 {}
impl Real for f64 {}
