//! Differential equation solvers on slices, and the solve as a differentiable operation.
//!
//! [`solve`] and [`Integrator`] need no tape: a field is any closure on slices. Times are `f64`
//! whatever the state is.
#![forbid(unsafe_code)]

mod control;
mod error;
mod integrator;
mod method;
mod options;
mod solve;
mod stats;
mod tableau;

pub use error::{Error, ErrorKind, FieldError, Partial};
pub use integrator::{Field, Integrator, Step};
pub use method::{Dopri5, Euler, Method, Rk4, Tsit5};
pub use options::{Options, Stepping};
pub use solve::{Solution, solve};
pub use stats::Stats;
pub use tableau::{Interpolant, Tableau};
