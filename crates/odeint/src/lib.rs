//! Differential equation solvers on slices, and the solve as a differentiable operation.
//!
//! [`solve`] and [`Integrator`] need no tape: a field is any closure on slices. Times are `f64`
//! whatever the state is. [`Ode`] makes the solve an operation of the tape.
#![forbid(unsafe_code)]

mod adjoint;
mod control;
mod error;
mod grid;
mod integrator;
mod method;
mod ode;
mod operation;
mod options;
mod solve;
mod stats;
mod tableau;
mod unroll;
mod vector_field;

pub use error::{Error, ErrorKind, FieldError, Partial};
pub use integrator::{Field, Integrator, Step};
pub use method::{Dopri5, Euler, Method, Rk4, Tsit5};
pub use ode::{Gradient, Ode, Times};
pub use options::{Options, Stepping};
pub use solve::{Solution, solve};
pub use stats::Stats;
pub use tableau::{Interpolant, Tableau};
