//! Classifiers of equal size, which differ in what lies between encoder and decoder.

use costate::nn::{Integrand, JacobianNorm, KineticEnergy, TaylorNorm, TimeLinear};
use costate::nn::{solve_with_integrals, steer};
use costate::prelude::*;

use crate::data::Data;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    FeedForwardOde,
    ResidualOde,
    Residual,
    NearIdentity,
    FeedForward,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::FeedForwardOde,
        Kind::ResidualOde,
        Kind::Residual,
        Kind::NearIdentity,
        Kind::FeedForward,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::FeedForwardOde => "feed-forward ODE",
            Kind::ResidualOde => "residual ODE",
            Kind::Residual => "residual network",
            Kind::NearIdentity => "near-identity network",
            Kind::FeedForward => "feed-forward network",
        }
    }
}

/// What is added to the loss, with its weight.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Regulariser {
    None,
    /// `λ ∫ |f|² dt`.
    Kinetic(f32),
    /// `λ ∫ (|f|² + |εᵀ ∂f/∂x|²) dt`.
    Jacobian(f32),
    /// A random end time, within so much of 1.
    Steer(f64),
    /// `λ ∫ |dᴷx/dtᴷ|² dt`, with `K = 3`.
    Taylor(f32),
}

impl Regulariser {
    /// Chosen once, before any result was seen.
    pub const ALL: [Regulariser; 4] = [
        Regulariser::Kinetic(0.01),
        Regulariser::Jacobian(0.01),
        Regulariser::Steer(0.5),
        Regulariser::Taylor(0.001),
    ];

    pub fn name(self) -> &'static str {
        match self {
            Regulariser::None => "",
            Regulariser::Kinetic(_) => "kinetic energy",
            Regulariser::Jacobian(_) => "kinetic energy and Jacobian norm",
            Regulariser::Steer(_) => "STEER",
            Regulariser::Taylor(_) => "TayNODE",
        }
    }
}

/// What lies between encoder and decoder: `depth` matrices of the hidden width and as many rows,
/// in each.
enum Body {
    /// `dx/dt = A(t) x + β(t) + tanh x`.
    FeedForwardOde(FeedForwardOde),
    /// `dx/dt = tanh(x W(t) + b(t))`.
    ResidualOde(TimeLinear),
    /// `x ← x + Δt tanh(x W + b)`.
    Residual(ResidualNet),
    /// `x ← σ(x W + b)` near the identity.
    NearIdentity(NearIdentityNet),
    /// `x ← tanh(x W + b)`.
    FeedForward(Vec<Linear>),
}

/// `softmax(decoder(body(encoder(x))))`.
pub struct Classifier {
    encoder: Linear,
    body: Body,
    decoder: Linear,
    ode: Ode,
}

/// A batch's logits, the regulariser's part of the loss, and evaluations of the field.
pub struct Output<'t> {
    pub logits: Var<'t, f32>,
    pub penalty: Option<Var<'t, f32>>,
    pub evaluations: usize,
}

impl Classifier {
    pub fn new(params: &mut Params<f32>, kind: Kind, data: &Data) -> Classifier {
        let (width, depth, tanh) = (data.width, data.depth, Activation::Tanh);
        let encoder = Linear::new(params, "encoder", data.train.x.ncols(), width);
        let body = match kind {
            Kind::FeedForwardOde => {
                Body::FeedForwardOde(FeedForwardOde::new(params, "body", width, depth, tanh))
            }
            Kind::ResidualOde => {
                let init = Init::Uniform(1.0 / (width as f64).sqrt());
                let basis = Basis::Linear(depth);
                Body::ResidualOde(TimeLinear::new(params, "body", width, width, basis, init))
            }
            Kind::Residual => Body::Residual(ResidualNet::new(params, "body", width, depth, tanh)),
            Kind::NearIdentity => {
                Body::NearIdentity(NearIdentityNet::new(params, "body", width, depth, tanh))
            }
            Kind::FeedForward => {
                let init = Init::XavierUniform;
                let layer = |l| Linear::with_init(params, &format!("body.{l}"), width, width, init);
                Body::FeedForward((0..depth).map(layer).collect())
            }
        };
        let decoder = Linear::new(params, "decoder", width, 10);
        let ode = Ode::new(Tsit5).tolerance(1e-3, 1e-4);
        Classifier { encoder, body, decoder, ode }
    }

    /// In training the regulariser has random numbers to draw; in use there are none.
    pub fn forward<'t>(
        &self,
        p: &Bound<'t, f32>,
        x: Var<'t, f32>,
        training: Option<(Regulariser, &mut Rng)>,
    ) -> costate::Result<Output<'t>> {
        let x = self.encoder.forward(p, x);
        let (mut penalty, mut evaluations) = (None, 0);
        let x = match &self.body {
            Body::Residual(net) => net.forward(p, x),
            Body::NearIdentity(net) => net.forward(p, x),
            Body::FeedForward(layers) => {
                layers.iter().fold(x, |x, layer| layer.forward(p, x).tanh())
            }
            body => {
                let field = |t, x| match body {
                    Body::FeedForwardOde(body) => Ok(body.field(p, t, x)),
                    Body::ResidualOde(layer) => Ok(layer.forward(p, t, x).tanh()),
                    _ => unreachable!("networks are above"),
                };
                let xs;
                (xs, penalty, evaluations) = self.solve(field, x, training)?;
                xs.index_axis(0, 1)
            }
        };
        Ok(Output { logits: self.decoder.forward(p, x), penalty, evaluations })
    }

    fn solve<'t>(
        &self,
        field: impl Fn(Var<'t, f32>, Var<'t, f32>) -> costate::tape::Result<Var<'t, f32>>,
        x: Var<'t, f32>,
        training: Option<(Regulariser, &mut Rng)>,
    ) -> costate::Result<(Var<'t, f32>, Option<Var<'t, f32>>, usize)> {
        let plain = |end: f64| -> costate::Result<_> {
            let xs = self.ode.try_solve(&field, x, [0.0, end])?;
            let evaluations = Ode::stats(xs).map_or(0, |stats| stats.f_evals);
            Ok((xs, None, evaluations))
        };
        let Some((regulariser, rng)) = training else { return plain(1.0) };
        let with = |weight: f32, integrands: &[&dyn Integrand<'t, f32>]| -> costate::Result<_> {
            let (xs, integrals) =
                solve_with_integrals(&self.ode, &field, x, [0.0, 1.0], integrands)?;
            let sum = integrals.iter().fold(None, |sum: Option<Var<'t, f32>>, q| {
                Some(sum.map_or(q.mean(), |sum| sum + q.mean()))
            });
            Ok((xs, sum.map(|sum| sum * weight), 0))
        };
        match regulariser {
            Regulariser::None => plain(1.0),
            Regulariser::Steer(spread) => plain(steer(rng, 0.0, 1.0, spread)),
            Regulariser::Kinetic(weight) => with(weight, &[&KineticEnergy]),
            Regulariser::Taylor(weight) => with(weight, &[&TaylorNorm(3)]),
            Regulariser::Jacobian(weight) => {
                let probe = JacobianNorm(x.tape().constant(&rng.signs(x.shape())));
                with(weight, &[&KineticEnergy, &probe])
            }
        }
    }
}
