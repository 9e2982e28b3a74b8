#![doc = include_str!("../README.md")]
//!
//! # Operations of one's own
//!
//! [`CallOp`](tape::CallOp) adds an operation: what it computes, and its two rules in terms of
//! operations. It can then be used anywhere, here in a vector field, `dy/dt = -y³`, whose solution
//! is `y₀ / √(1 + 2 y₀² t)`, and differentiated as often as one likes.
//!
//! ```
//! use std::sync::Arc;
//!
//! use costate::prelude::*;
//! use costate::tape::{CallError, CallOp, CallRule, Evaluation, Shape};
//!
//! /// `x³`.
//! #[derive(Debug)]
//! struct Cube;
//!
//! impl CallOp<f64> for Cube {
//!     fn name(&self) -> &str {
//!         "cube"
//!     }
//!     fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
//!         vec![inputs[0].clone()]
//!     }
//!     fn eval(&self, e: &mut Evaluation<'_, f64>) -> Result<(), CallError> {
//!         e.output.iter_mut().zip(e.inputs[0].data).for_each(|(y, x)| *y = x * x * x);
//!         Ok(())
//!     }
//!     fn vjp<'t>(
//!         &self,
//!         rule: &CallRule<'_, 't, f64>,
//!         cotangents: &[Option<Var<'t, f64>>],
//!     ) -> costate::tape::Result<Vec<Option<Var<'t, f64>>>> {
//!         let x = rule.inputs[0];
//!         Ok(vec![cotangents[0].map(|g| g * x * x * 3.0)])
//!     }
//!     fn jvp<'t>(
//!         &self,
//!         rule: &CallRule<'_, 't, f64>,
//!         tangents: &[Option<Var<'t, f64>>],
//!     ) -> costate::tape::Result<Vec<Option<Var<'t, f64>>>> {
//!         self.vjp(rule, tangents) // the Jacobian is diagonal
//!     }
//! }
//!
//! // The rules are right.
//! let x = ndarray::arr1(&[0.5, -1.5]).into_dyn();
//! check::gradient(|tape, x| Ok(tape.call(Arc::new(Cube), x)?[0]), &[x]).unwrap();
//!
//! let tape = Tape::new();
//! let y0 = tape.leaf(&[0.8], [1]);
//! let ode = Ode::new(Tsit5).tolerance(1e-10, 1e-12);
//! let field = |_t, y| Ok(-tape.call(Arc::new(Cube), &[y])?[0]);
//! let end = ode.try_solve(field, y0, &[0.0, 2.0])?.index_axis(0, 1).sum();
//! let first = end.grad(&[y0])?[0].sum();
//! let second = first.grad(&[y0])?[0];
//! let s = 1.0 + 2.0 * 0.8 * 0.8 * 2.0f64;
//! assert!((end.item() - 0.8 / s.sqrt()).abs() < 1e-9);
//! assert!((first.item() - s.powf(-1.5)).abs() < 1e-8);
//! assert!((second.item() + 6.0 * 0.8 * 2.0 * s.powf(-2.5)).abs() < 1e-7);
//! # Ok::<(), costate::tape::Error>(())
//! ```
#![forbid(unsafe_code)]

pub use costate_nn::{Error, Result};

/// Kernels on arrays.
pub use costate_ops as ops;

/// The recorded tape: variables, differentiation rules, replayable programs, gradient checking.
pub use costate_tape as tape;

/// Differential equation solvers, and the solve as a differentiable operation.
pub use costate_odeint as odeint;

/// Parameters, layers, losses and optimisers.
pub use costate_nn as nn;

/// Checking gradients: of functions, operations and layers, and of solves.
///
/// ```
/// use costate::prelude::*;
/// use ndarray::arr1;
///
/// let (y0, rate) = (arr1(&[1.0, -0.5]).into_dyn(), arr1(&[0.7, 0.2]).into_dyn());
/// check::gradient(|_, x| Ok((x[0] * x[1]).sin()), &[y0.clone(), rate.clone()]).unwrap();
/// let ode = Ode::new(Tsit5).tolerance(1e-4, 1e-6);
/// check::solve(&ode, |w, _, y| Ok((w[0] * y).sin() - y), &[y0, rate], &[0.0, 1.5]).unwrap();
/// ```
pub mod check {
    pub use costate_odeint::check::{
        CheckError, NoRoom, Property, Violation, property, property_events, solve, solve_events,
    };
    pub use costate_tape::check::{Culprit, Mismatch, derivatives, difference, gradient};

    /// Random inputs, fields and solves for property tests (feature `proptest`).
    #[cfg(feature = "proptest")]
    pub mod strategy {
        pub use costate_odeint::check::strategy::*;
        pub use costate_tape::check::strategy::*;
    }
}

/// What most programs use: `use costate::prelude::*`.
pub mod prelude {
    pub use costate_nn::{
        Activation, Adam, AdamW, Basis, Batches, Bound, Cosine, FeedForwardOde, Init, Lbfgs,
        Linear, Mlp, Module, NearIdentityNet, OdeBlock, Optimiser, Param, Params, ResidualNet, Rng,
        Schedule, Sequential, Sgd, accuracy, cross_entropy,
    };
    pub use costate_odeint::{
        Auto, Bdf, Bosh3, Dop853, Dopri5, Dopri5Shampine, Euler, GaussLegendre4, GaussLegendre6,
        Gradient, Heun, ImplicitEuler, KenCarp4, Kvaerno3, Kvaerno4, Kvaerno5, Memory, Midpoint,
        Ode, Options, Ralston, Real, Rk4, Rodas5P, Scheme, Ssprk3, SymplecticEuler, ThreeEighths,
        TrBdf2, Tsit5, VarEvent, VelocityVerlet, Verner6, Verner7, Verner9, Yoshida4, Yoshida6,
        compare_gradients, fixed_point, gradient_with_error, momentum_trajectory, p_dot_delta,
        steady_state,
    };
    pub use costate_tape::{Function, Program, Tape, Var, Workspace};

    pub use crate::check;
}

/// The programs in the pages of the documentation are compiled and run with the tests.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../docs/models/ode_block.md")]
    mod ode_block {}
    #[doc = include_str!("../docs/models/augmented.md")]
    mod augmented {}
    #[doc = include_str!("../docs/models/second_order.md")]
    mod second_order {}
    #[doc = include_str!("../docs/models/hamiltonian.md")]
    mod hamiltonian {}
    #[doc = include_str!("../docs/models/lagrangian.md")]
    mod lagrangian {}
    #[doc = include_str!("../docs/models/flow.md")]
    mod flow {}
    #[doc = include_str!("../docs/models/latent_ode.md")]
    mod latent_ode {}
    #[doc = include_str!("../docs/models/neural_cde.md")]
    mod neural_cde {}
    #[doc = include_str!("../docs/models/universal.md")]
    mod universal {}
    #[doc = include_str!("../docs/models/pde.md")]
    mod pde {}
    #[doc = include_str!("../docs/models/regularisers.md")]
    mod regularisers {}
}
