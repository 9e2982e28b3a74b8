//! Parameters, layers, losses and optimisers, composed from the tape and the solve.
//!
//! A layer is a small struct of [`Param`] handles with a `forward`, which records on the tape that
//! the parameters were [bound](Params::bind) to. A layer of continuous depth is one whose body is
//! an ODE solve.
#![forbid(unsafe_code)]

mod checkpoint;
mod continuous;
mod error;
mod init;
mod layer;
mod loss;
pub mod mechanics;
mod module;
mod optimiser;
mod params;
mod rng;
mod state;
mod summary;
mod training;

pub use checkpoint::{load_checkpoint, save_checkpoint};
pub use continuous::{
    Along, Augmented, Basis, Elbo, Flow, Grid1d, HamiltonianNet, Integrand, JacobianNorm,
    KineticEnergy, LagrangianNet, LatentOde, NeuralCde, OdeBlock, Path, PathKind, SecondOrder,
    TaylorNorm, TimeLinear, Trace, Universal, integrand, normal_log_density, solve_with_integrals,
    steer,
};
pub use error::{Error, Result};
pub use init::Init;
pub use layer::{
    Activation, Attention, BatchNorm, Bilinear, Conv1d, Conv2d, Dropout, Embedding, FeedForwardOde,
    GroupNorm, Gru, LayerNorm, Linear, Lstm, Mlp, Moments, NearIdentityNet, Pool1d, Pool2d,
    ResidualNet,
};
pub use loss::{accuracy, cross_entropy};
pub use module::{Module, Residual, Sequential};
pub use optimiser::{
    Adam, AdamW, ClipNorm, ClipValue, Lbfgs, Minimum, Optimiser, RmsProp, Sgd, Stopped, clip_norm,
    clip_value,
};
pub use params::{Bound, Param, Params};
pub use rng::Rng;
pub use state::{Persist, State};
pub use summary::Summary;
#[cfg(feature = "progress")]
pub use training::Progress;
pub use training::{
    Batches, Constant, Cosine, CsvLog, EarlyStopping, Ema, Plateau, Schedule, StepDecay, Swa,
    Warmup,
};
