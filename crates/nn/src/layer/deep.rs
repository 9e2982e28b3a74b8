//! The discrete counterparts of the differential equations: networks of many equal layers.

use costate_odeint::Real;
use costate_tape::{Shape, Var};

use super::Activation;
use crate::module::last_axis;
use crate::params::{Bound, Param, Params};

/// The parameters of `depth` layers of one width.
#[derive(Clone, Copy, Debug)]
struct Stack {
    weight: Param,
    bias: Param,
    depth: usize,
    width: usize,
    antisymmetric: bool,
}

impl Stack {
    #[track_caller]
    fn new<T: Real>(params: &mut Params<T>, name: &str, width: usize, depth: usize) -> Stack {
        assert!(depth > 0, "a network needs at least one layer");
        let bound = 1.0 / (width.max(1) as f64).sqrt();
        Stack {
            weight: params.uniform(format!("{name}.weight"), [depth, width, width], bound),
            bias: params.zeros(format!("{name}.bias"), [depth, width]),
            depth,
            width,
            antisymmetric: false,
        }
    }

    /// The step `Δt`: the depth as a whole is a time of 1.
    fn step<T: Real>(&self) -> T {
        T::from_f64(1.0 / self.depth as f64)
    }

    /// `x A_l + β_l`.
    #[track_caller]
    fn affine<'t, T: Real>(&self, p: &Bound<'t, T>, l: usize, x: Var<'t, T>) -> Var<'t, T> {
        let a = p[self.weight].index_axis(0, l);
        let a = if self.antisymmetric { (a - a.t()).scale(T::from_f64(0.5)) } else { a };
        x.matmul(a) + p[self.bias].index_axis(0, l)
    }
}

/// A residual network: `x ← x + Δt σ(x W_l + b_l)`, `Δt = 1/depth`. It is the Euler method for
/// `dx/dt = σ(x W(t) + b(t))`.
#[derive(Clone, Copy, Debug)]
pub struct ResidualNet {
    stack: Stack,
    sigma: Activation,
}

impl ResidualNet {
    /// Adds `name.weight`, `[depth, width, width]`, uniform in `±1/√width`, and `name.bias`,
    /// `[depth, width]`, zero.
    ///
    /// # Panics
    /// If the depth is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        depth: usize,
        sigma: Activation,
    ) -> ResidualNet {
        ResidualNet { stack: Stack::new(params, name, width, depth), sigma }
    }

    /// The width of its layers.
    pub fn width(&self) -> usize {
        self.stack.width
    }

    /// From `[…, width]` to `[…, width]`.
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, mut x: Var<'t, T>) -> Var<'t, T> {
        for l in 0..self.stack.depth {
            x = self.layer(p, l, x);
        }
        x
    }

    /// The input and the states after each layer, `depth + 1` of them: the gradient of a loss with
    /// respect to one is its momentum.
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn states<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Vec<Var<'t, T>> {
        let mut states = vec![x];
        for l in 0..self.stack.depth {
            states.push(self.layer(p, l, states[l]));
        }
        states
    }

    #[track_caller]
    fn layer<'t, T: Real>(&self, p: &Bound<'t, T>, l: usize, x: Var<'t, T>) -> Var<'t, T> {
        x + self.sigma.apply(self.stack.affine(p, l, x)).scale(self.stack.step())
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        last_axis("ResidualNet", [self.width(); 2], input)
    }
}

/// A feed-forward network near the identity: `x ← σ(x W_l + b_l)` with `W_l = I + A_l Δt`,
/// `b_l = β_l Δt`, `σ(x) = x + φ(x) Δt`, `Δt = 1/depth`. As its depth grows it tends to the
/// [feed-forward differential equation](super::FeedForwardOde).
#[derive(Clone, Copy, Debug)]
pub struct NearIdentityNet {
    stack: Stack,
    phi: Activation,
}

impl NearIdentityNet {
    /// Adds `name.weight` (`A`), `[depth, width, width]`, uniform in `±1/√width`, and `name.bias`
    /// (`β`), `[depth, width]`, zero.
    ///
    /// # Panics
    /// If the depth is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        depth: usize,
        phi: Activation,
    ) -> NearIdentityNet {
        NearIdentityNet { stack: Stack::new(params, name, width, depth), phi }
    }

    /// With `(A - Aᵀ)/2` in the place of `A`: see
    /// [`FeedForwardOde::antisymmetric`](super::FeedForwardOde::antisymmetric).
    pub fn antisymmetric(mut self) -> NearIdentityNet {
        self.stack.antisymmetric = true;
        self
    }

    /// The width of its layers.
    pub fn width(&self) -> usize {
        self.stack.width
    }

    /// From `[…, width]` to `[…, width]`.
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, mut x: Var<'t, T>) -> Var<'t, T> {
        for l in 0..self.stack.depth {
            x = self.layer(p, l, x);
        }
        x
    }

    /// The input and the states after each layer, `depth + 1` of them: the gradient of a loss with
    /// respect to one is its momentum.
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn states<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Vec<Var<'t, T>> {
        let mut states = vec![x];
        for l in 0..self.stack.depth {
            states.push(self.layer(p, l, states[l]));
        }
        states
    }

    #[track_caller]
    fn layer<'t, T: Real>(&self, p: &Bound<'t, T>, l: usize, x: Var<'t, T>) -> Var<'t, T> {
        let step = self.stack.step();
        let z = x + self.stack.affine(p, l, x).scale(step);
        z + self.phi.apply(z).scale(step)
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        last_axis("NearIdentityNet", [self.width(); 2], input)
    }
}
