//! Parameters, layers, losses and optimisers, composed from the tape and the solve.
//!
//! A layer is a small struct of [`Param`] handles with a `forward`, which records on the tape that
//! the parameters were [bound](Params::bind) to. A layer of continuous depth is one whose body is
//! an ODE solve.
#![forbid(unsafe_code)]

mod checkpoint;
mod error;
mod layer;
mod loss;
mod optimiser;
mod params;

pub use error::{Error, Result};
pub use layer::{Activation, FeedForwardOde, Linear, Mlp, NearIdentityNet, ResidualNet};
pub use loss::{accuracy, cross_entropy};
pub use optimiser::{Adam, Optimiser, Sgd};
pub use params::{Bound, Param, Params};
