//! The feed-forward differential equation.

use costate_odeint::Ode;
use costate_ops::Real;
use costate_tape::Var;

use super::Activation;
use crate::error::Result;
use crate::params::{Bound, Param, Params};

/// `dx/dt = A(t) x + β(t) + φ(x)` for `t` from 0 to 1: the limit of a feed-forward network
/// `x ← σ(W x + b)` whose weights `W = I + A Δt`, `b = β Δt` and activation `σ(x) = x + φ(x) Δt`
/// are near the identity (J. Ruseckas, arXiv 1909.03767, section 5).
///
/// The weights vary along depth: `A` and `β` are parameters at equidistant knots, and linear
/// between them. With one knot they are constant.
#[derive(Clone, Copy, Debug)]
pub struct FeedForwardOde {
    /// `A` at the knots, `[knots, width, width]`, for states that are rows: `x A`.
    pub weight: Param,
    /// `β` at the knots, `[knots, width]`.
    pub bias: Param,
    width: usize,
    knots: usize,
    phi: Activation,
}

impl FeedForwardOde {
    /// Adds `name.weight`, uniform in `±1/√width`, and `name.bias`, zero.
    ///
    /// # Panics
    /// If there are no knots, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        knots: usize,
        phi: Activation,
    ) -> FeedForwardOde {
        assert!(knots > 0, "FeedForwardOde: at least one knot");
        let bound = 1.0 / (width.max(1) as f64).sqrt();
        FeedForwardOde {
            weight: params.uniform(format!("{name}.weight"), [knots, width, width], bound),
            bias: params.zeros(format!("{name}.bias"), [knots, width]),
            width,
            knots,
            phi,
        }
    }

    /// The vector field at time `t` (0-d) and states `x` (`[…, width]`).
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn field<'t, T: Real>(&self, p: &Bound<'t, T>, t: Var<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        let (a, beta) = (self.at(p[self.weight], t), self.at(p[self.bias], t));
        let a = a.reshape([self.width, self.width]);
        x.matmul(a) + beta + self.phi.apply(x)
    }

    /// What is given at the knots, at time `t`: `Σ_j max(0, 1 - |t (knots - 1) - j|) y_j`.
    fn at<'t, T: Real>(&self, y: Var<'t, T>, t: Var<'t, T>) -> Var<'t, T> {
        let shape = y.shape();
        let flat = y.reshape([self.knots, shape[1..].iter().product()]);
        if self.knots == 1 {
            return flat.index_axis(0, 0);
        }
        let places: Vec<T> = (0..self.knots).map(|j| T::from_f64(j as f64)).collect();
        let places = t.tape().leaf(&places, [self.knots]);
        let distance = (t.scale(T::from_f64((self.knots - 1) as f64)) - places).abs();
        distance.affine(-T::one(), T::one()).relu().matmul(flat)
    }

    /// The state at `t = 1`, from that at `t = 0`: `[…, width]` to `[…, width]`.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        x: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        let xs = ode.solve(|t, x| self.field(p, t, x), x, [0.0, 1.0])?;
        Ok(xs.index_axis(0, 1))
    }
}
