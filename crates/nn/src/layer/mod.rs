//! Layers: small structs of parameter handles, with a `forward`.

mod activation;
mod attention;
mod bilinear;
mod conv;
mod deep;
mod dropout;
mod embedding;
mod feed_forward_ode;
mod linear;
mod mlp;
mod norm;
mod pool;
mod recurrent;

pub use activation::Activation;
pub use attention::Attention;
pub use bilinear::Bilinear;
pub use conv::{Conv1d, Conv2d};
pub use deep::{NearIdentityNet, ResidualNet};
pub use dropout::Dropout;
pub use embedding::Embedding;
pub use feed_forward_ode::FeedForwardOde;
pub use linear::Linear;
pub use mlp::Mlp;
pub use norm::{BatchNorm, GroupNorm, LayerNorm, Moments};
pub use pool::{Pool1d, Pool2d};
pub use recurrent::{Gru, Lstm};
