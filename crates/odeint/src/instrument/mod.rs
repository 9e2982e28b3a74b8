//! Instruments of a gradient: what its backward pass went through, whether it is right, and how
//! accurate it is.

mod invariant;
mod probe;
mod recorded;
mod refine;
mod trajectory;

pub use invariant::{Invariant, p_dot_delta};
pub(crate) use probe::{Pass, Probe};
pub use refine::{GradientWithError, gradient_with_error};
pub use trajectory::{MomentumTrajectory, Segment, momentum_trajectory};
