#![doc = include_str!("../README.md")]
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

/// What most programs use: `use costate::prelude::*`.
pub mod prelude {
    pub use costate_nn::{
        Activation, Adam, Bound, FeedForwardOde, Linear, Mlp, NearIdentityNet, Optimiser, Param,
        Params, ResidualNet, Sgd, accuracy, cross_entropy,
    };
    pub use costate_odeint::{
        Bosh3, Dopri5, Euler, Gradient, Heun, ImplicitEuler, KenCarp4, Kvaerno3, Kvaerno4,
        Kvaerno5, Midpoint, Ode, Options, Ralston, Rk4, Ssprk3, ThreeEighths, TrBdf2, Tsit5,
    };
    pub use costate_ops::Real;
    pub use costate_tape::{Function, Program, Tape, Var, Workspace, check};
}
