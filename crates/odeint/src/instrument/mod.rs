//! Instruments of a gradient: what its backward pass went through, whether it is right, and how
//! accurate it is.

mod compare;
mod invariant;
mod probe;
mod recorded;
mod refine;
mod trajectory;
mod way;

pub use compare::{Comparison, ComparisonRow, Measured, compare_gradients, compare_ways};
pub(crate) use invariant::rounding;
pub use invariant::{Invariant, p_dot_delta};
pub(crate) use probe::{Pass, Probe};
pub(crate) use recorded::{Recorded, frozen};
pub use refine::{GradientWithError, gradient_with_error};
pub use trajectory::{MomentumTrajectory, Segment, momentum_trajectory};
pub use way::Way;
