//! Functions applied to each entry.

use costate_odeint::Real;
use costate_tape::{Result, Var};

/// A function applied to each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Activation {
    /// `x`.
    Identity,
    /// `tanh x`.
    Tanh,
    /// `1/(1 + e⁻ˣ)`.
    Sigmoid,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `max(x, 0)`.
    Relu,
    /// `x` where that is positive, `0.01 x` elsewhere.
    LeakyRelu,
    /// `x` where that is positive, `eˣ - 1` elsewhere.
    Elu,
    /// `x Φ(x)` with the normal distribution function `Φ`.
    Gelu,
    /// `x/(1 + e⁻ˣ)`.
    Silu,
    /// `sin x`.
    Sin,
}

impl Activation {
    /// All of them.
    pub const ALL: [Activation; 10] = [
        Activation::Identity,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Gelu,
        Activation::Silu,
        Activation::Sin,
    ];

    /// Applies it.
    #[track_caller]
    pub fn apply<T: Real>(self, x: Var<'_, T>) -> Var<'_, T> {
        match self {
            Activation::Identity => x,
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Softplus => x.softplus(),
            Activation::Relu => x.relu(),
            Activation::LeakyRelu => x.leaky_relu(T::from_f64(0.01)),
            Activation::Elu => x.elu(T::one()),
            Activation::Gelu => x.gelu(),
            Activation::Silu => x.silu(),
            Activation::Sin => x.sin(),
        }
    }

    /// The least and the largest value that its derivative can take or come near, to four digits
    /// outward.
    pub fn slopes(self) -> [f64; 2] {
        match self {
            Activation::Identity => [1.0, 1.0],
            Activation::Tanh | Activation::Softplus | Activation::Relu | Activation::Elu => {
                [0.0, 1.0]
            }
            Activation::Sigmoid => [0.0, 0.25],
            Activation::LeakyRelu => [0.01, 1.0],
            // At `x = ±√2`, where the second derivative `(2 - x²) N(x)` is 0.
            Activation::Gelu => [-0.1290, 1.1290],
            Activation::Silu => [-0.0999, 1.0999],
            Activation::Sin => [-1.0, 1.0],
        }
    }

    /// Its derivative at each entry, by one forward pass.
    ///
    /// # Errors
    /// None: the type is that of all passes.
    #[track_caller]
    pub fn derivative<T: Real>(self, x: Var<'_, T>) -> Result<Var<'_, T>> {
        // A name of its own, since `x` may be made of itself where the activation is the identity.
        let x = x.fresh();
        Ok(x.tape().jvp(&[self.apply(x)], &[x], &[x.ones_like()])?[0])
    }
}
