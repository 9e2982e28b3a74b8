//! Differential equation solvers on slices, and the solve as a differentiable operation.
//!
//! [`solve`] and [`Integrator`] need no tape: a field is any closure on slices. Times are `f64`
//! whatever the state is. [`Ode`] makes the solve an operation of the tape.
//!
//! `dy/dt = -y` from `y(0) = 1`, with [`Tsit5`] and the default tolerance:
//!
//! ```
//! use costate_odeint::{Options, Tsit5, solve};
//!
//! let f = |_t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0];
//! let solution = solve(Tsit5, f, &[1.0], &[0.0, 0.5, 1.0], &Options::default())?;
//! for (i, t) in solution.ts.iter().enumerate() {
//!     assert!((solution.y(i)[0] - (-t).exp()).abs() < 1e-6);
//! }
//! # Ok::<(), costate_odeint::Error>(())
//! ```
#![forbid(unsafe_code)]

mod additive;
mod adjoint;
mod auto;
mod batch;
pub mod check;
mod checkpoints;
mod compiled;
mod control;
mod dense;
mod differences;
mod dirk;
mod each_operation;
mod error;
mod event;
mod field;
mod fixed_point;
mod grid;
mod implicit;
mod in_parts;
mod instrument;
mod integrator;
mod kept;
mod krylov;
#[cfg(feature = "faer")]
mod large;
mod linear;
mod mass;
mod memory;
mod method;
mod multistep;
mod newton;
mod ode;
mod ode_each;
mod ode_events;
mod operation;
mod options;
mod pieces;
mod power;
mod preparation;
#[cfg(feature = "progress")]
mod progress;
mod real;
mod reversible;
mod reversible_adjoint;
mod root;
mod rosenbrock;
mod row_blocks;
mod separable;

mod sink;
mod small;
mod solve;
mod solver;
mod sparsity;
mod split;
mod stats;
mod steady_state;
mod step;
mod stepper;
mod tableau;
mod tangent;
mod unroll;
mod unroll_multistep;
mod unroll_reversible;
mod var_event;
mod vector_field;
mod weights;
mod whole_step;

pub use additive::AdditiveTableau;
pub use auto::Auto;
pub use batch::{Sample, solve_batch, solve_batch_with};
pub use control::Controller;
pub use dense::DenseSolution;
pub use dirk::DirkTableau;
pub use error::{Error, ErrorKind, FieldError, Partial};
pub use event::{Direction, Event, Occurrence};
pub use field::{Field, WithJacobian, with_jacobian};
pub use instrument::{
    Comparison, ComparisonRow, GradientWithError, Invariant, Measured, MomentumTrajectory, Segment,
    Way, compare_gradients, compare_ways, gradient_with_error, momentum_trajectory, p_dot_delta,
};
pub use integrator::Integrator;
pub use mass::{Mass, WithMass, with_mass};
pub use memory::Memory;
pub use method::{
    Bdf, Bosh3, Dop853, Dopri5, Dopri5Shampine, Euler, GaussLegendre4, GaussLegendre6, Heun,
    ImplicitEuler, KenCarp4, KenCarp4Imex, Kvaerno3, Kvaerno4, Kvaerno5, Method, Midpoint, Ralston,
    Rk4, Rodas5P, Ssprk3, SymplecticEuler, ThreeEighths, TrBdf2, Tsit5, VelocityVerlet, Verner6,
    Verner7, Verner9, Yoshida4, Yoshida6,
};
pub use ode::{Gradient, Ode, Times};
pub use ode_each::Span;
pub use ode_events::OdeEvents;
pub use options::{Options, Stepping};
#[cfg(feature = "progress")]
pub use progress::progress_bar;
pub use real::Real;
pub use reversible::{Reversible, Scheme};
pub use root::{RootFinder, fixed_point, root};
pub use rosenbrock::RosenbrockTableau;
pub use separable::Separable;
pub use solve::{Solution, solve, solve_with};
pub use solver::{Solved, Solver};
pub use sparsity::{NoJacobian, Sparsity, WithSparsity, with_sparse_jacobian, with_sparsity};
pub use split::{Split, split};
pub use stats::Stats;
pub use steady_state::steady_state;
pub use step::{Step, rk_step};
pub use tableau::{Interpolant, Part, Tableau};
pub use var_event::{EventSolution, VarEvent, VarOccurrence};
