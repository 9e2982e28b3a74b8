//! Mechanics of deep networks: the claims of J. Ruseckas, *Differential equations as models of deep
//! neural networks* (arXiv 1909.03767), each as a function.
//!
//! The hidden state `x(t)` of a network of continuous depth obeys `dx/dt = f(t, x, θ(t))`. With
//! the momentum `p = ∂L/∂x(t)` conjugate to it and `H = p · f`, back-propagation is Hamilton's
//! equations,
//!
//! ```text
//! dx/dt = ∂H/∂p = f,   dp/dt = -∂H/∂x = -(∂f/∂x)ᵀ p,   dL/dθ(t) = ∂H/∂θ
//! ```
//!
//! and what mechanics knows holds for training:
//!
//! | claim | function |
//! | --- | --- |
//! | momentum, `H` and `dL/dθ(t)` along depth | [`trajectory`], [`weight_gradients`](Trajectory::weight_gradients) |
//! | back-propagation is Hamilton's equations | [`hamiltonian_field`] |
//! | a change of variables takes `p` to `(∂g/∂x)⁻ᵀ p` and leaves the loss | [`transform_field`], [`transform_momentum`] |
//! | a symmetry of `f` conserves `p · ξ` | [`lie_bracket`], [`conserved`] |
//! | phase volume is conserved | [`log_volume`] |
//! | `dF/dt = {F, H}` | [`poisson_bracket`] |
//! | a network with trained weights tends to an ODE | [`interpolate_depth`] |
//! | linear and nonlinear parts of the feed-forward ODE separate | [`split_forward`], [`expm`] |
//! | a rotation removes the linear part | [`rotated_forward`] |
//! | its divergence is `tr A + Σ φ'(x_i)` | [`FeedForwardOde::divergence`], [`FeedForwardOde::log_density`] |
//! | antisymmetric `A` bounds the Jacobian | [`jacobian_bounds`], [`FeedForwardOde::antisymmetric`] |
//!
//! States are rows, `[rows, width]`, that do not depend on each other. Fields are closures
//! `f(t, x)`.
//!
//! [`FeedForwardOde::divergence`]: crate::FeedForwardOde::divergence
//! [`FeedForwardOde::log_density`]: crate::FeedForwardOde::log_density
//! [`FeedForwardOde::antisymmetric`]: crate::FeedForwardOde::antisymmetric

mod bounds;
mod canonical;
mod depth;
mod expm;
mod momentum;
mod splitting;
mod symmetry;
mod volume;

pub use bounds::jacobian_bounds;
pub use canonical::{transform_field, transform_momentum};
pub use depth::interpolate_depth;
pub use expm::expm;
pub use momentum::{Trajectory, hamiltonian_field, trajectory};
pub use splitting::{Splitting, rotated_forward, split_forward};
pub use symmetry::{conserved, lie_bracket, poisson_bracket};
pub use volume::log_volume;
