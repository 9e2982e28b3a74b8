//! Three classifiers of the same size, which differ in what lies between encoder and decoder.

use costate::prelude::*;

/// Hidden units.
pub const WIDTH: usize = 48;
/// Layers of the discrete networks, and knots of the differential equation's weights.
pub const DEPTH: usize = 4;

/// What lies between encoder and decoder.
#[derive(Clone, Copy)]
pub enum Body {
    /// `dx/dt = A(t) x + β(t) + tanh x`.
    Ode(FeedForwardOde),
    /// `x ← x + Δt tanh(W x + b)`.
    Residual(ResidualNet),
    /// `x ← σ(W x + b)` near the identity.
    FeedForward(NearIdentityNet),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ode,
    Residual,
    FeedForward,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Ode, Kind::Residual, Kind::FeedForward];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Ode => "ODE network",
            Kind::Residual => "residual network",
            Kind::FeedForward => "feed-forward network",
        }
    }
}

/// `softmax(decoder(body(encoder(image))))`.
#[derive(Clone)]
pub struct Classifier {
    encoder: Linear,
    pub body: Body,
    decoder: Linear,
    ode: Ode,
}

impl Classifier {
    pub fn new<T: Real>(params: &mut Params<T>, kind: Kind, ode: Ode) -> Classifier {
        let encoder = Linear::new(params, "encoder", 64, WIDTH);
        let tanh = Activation::Tanh;
        let body = match kind {
            Kind::Ode => Body::Ode(FeedForwardOde::new(params, "body", WIDTH, DEPTH, tanh)),
            Kind::Residual => Body::Residual(ResidualNet::new(params, "body", WIDTH, DEPTH, tanh)),
            Kind::FeedForward => {
                Body::FeedForward(NearIdentityNet::new(params, "body", WIDTH, DEPTH, tanh))
            }
        };
        let decoder = Linear::new(params, "decoder", WIDTH, 10);
        Classifier { encoder, body, decoder, ode }
    }

    /// The hidden state at the start.
    pub fn encode<'t, T: Real>(&self, p: &Bound<'t, T>, images: Var<'t, T>) -> Var<'t, T> {
        self.encoder.forward(p, images)
    }

    /// Logits from the hidden state at the end.
    pub fn decode<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        self.decoder.forward(p, x)
    }

    /// Logits, `[images, 10]`.
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        images: Var<'t, T>,
    ) -> costate::Result<Var<'t, T>> {
        let x = self.encode(p, images);
        let x = match self.body {
            Body::Ode(body) => body.forward(p, &self.ode, x)?,
            Body::Residual(body) => body.forward(p, x),
            Body::FeedForward(body) => body.forward(p, x),
        };
        Ok(self.decode(p, x))
    }
}
