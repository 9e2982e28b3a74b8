//! Layers: small structs of parameter handles, with a `forward`.

mod activation;
mod deep;
mod feed_forward_ode;
mod linear;
mod mlp;

pub use activation::Activation;
pub use deep::{NearIdentityNet, ResidualNet};
pub use feed_forward_ode::FeedForwardOde;
pub use linear::Linear;
pub use mlp::Mlp;
