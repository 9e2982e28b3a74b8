//! The feed-forward differential equation.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use super::Activation;
use crate::continuous::{Along, normal_log_density, rows, solve_with_integrals};
use crate::error::Result;
use crate::params::{Bound, Param, Params};

/// `dx/dt = A(t) x + β(t) + φ(x)` for `t` from 0 to 1: the limit of a feed-forward network
/// `x ← σ(W x + b)` whose weights `W = I + A Δt`, `b = β Δt` and activation `σ(x) = x + φ(x) Δt`
/// are near the identity (J. Ruseckas, arXiv 1909.03767, section 5).
///
/// The weights vary along depth: `A` and `β` are parameters at equidistant knots, and linear
/// between them; before time 0 and after time 1 they stay. With one knot they are constant.
#[derive(Clone, Copy, Debug)]
pub struct FeedForwardOde {
    /// `A` at the knots, `[knots, width, width]`, for states that are rows: `x A`.
    pub weight: Param,
    /// `β` at the knots, `[knots, width]`.
    pub bias: Param,
    width: usize,
    knots: usize,
    phi: Activation,
    antisymmetric: bool,
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
            antisymmetric: false,
        }
    }

    /// With `(A - Aᵀ)/2` in the place of `A`: a rotation, so that gradients neither vanish nor
    /// explode along depth. See [`jacobian_bounds`](crate::mechanics::jacobian_bounds).
    pub fn antisymmetric(mut self) -> FeedForwardOde {
        self.antisymmetric = true;
        self
    }

    /// The width of its states.
    pub fn width(&self) -> usize {
        self.width
    }

    /// How many knots its weights have along depth.
    pub fn knots(&self) -> usize {
        self.knots
    }

    /// `φ`.
    pub fn activation(&self) -> Activation {
        self.phi
    }

    /// `A`, `[width, width]`, and `β`, `[width]`, at time `t`, 0-d.
    #[track_caller]
    pub fn weights<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        t: Var<'t, T>,
    ) -> (Var<'t, T>, Var<'t, T>) {
        let (a, beta) = (self.at(p[self.weight], t), self.at(p[self.bias], t));
        let a = a.reshape([self.width, self.width]);
        let a = if self.antisymmetric { (a - a.t()).scale(T::from_f64(0.5)) } else { a };
        (a, beta)
    }

    /// The vector field at time `t` (0-d) and states `x` (`[…, width]`).
    ///
    /// # Panics
    /// If the last length of `x` is not the width.
    #[track_caller]
    pub fn field<'t, T: Real>(&self, p: &Bound<'t, T>, t: Var<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        self.check(x);
        let (a, beta) = self.weights(p, t);
        x.matmul(a) + beta + self.phi.apply(x)
    }

    /// The divergence of the field at time `t` (0-d) and states `x` (`[rows, width]`), `[rows]`:
    /// `tr A + Σ_i φ'(x_i)`, exact at the cost of one pass over the entries (J. Ruseckas,
    /// arXiv 1909.03767, section 5).
    ///
    /// # Errors
    /// None: the type is that of all derivatives.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn divergence<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        t: Var<'t, T>,
        x: Var<'t, T>,
    ) -> costate_tape::Result<Var<'t, T>> {
        rows("FeedForwardOde", x, self.width);
        let slopes = self.phi.derivative(x)?.sum_axis(1);
        // An antisymmetric matrix has a diagonal of zeros.
        if self.antisymmetric {
            return Ok(slopes);
        }
        Ok(slopes + self.weights(p, t).0.trace())
    }

    /// `ln p(x)` of each row, `[rows, width]` to `[rows]`, where `x` is the state at time 1 of
    /// standard normal states at time 0: the normalising flow that this equation makes, whose trace
    /// is free. See [`Flow`](crate::Flow).
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn log_density<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        x: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        rows("FeedForwardOde", x, self.width);
        let divergence = |place: &Along<'t, T>| self.divergence(p, place.t, place.x);
        let field = |t, x| Ok(self.field(p, t, x));
        let (xs, integrals) = solve_with_integrals(ode, field, x, [1.0, 0.0], &[&divergence])?;
        Ok(normal_log_density(xs.index_axis(0, 1)) + integrals[0])
    }

    /// What is given at the knots, at time `t`, kept inside `[0, 1]`:
    /// `Σ_j max(0, 1 - |t (knots - 1) - j|) y_j`.
    fn at<'t, T: Real>(&self, y: Var<'t, T>, t: Var<'t, T>) -> Var<'t, T> {
        let shape = y.shape();
        let flat = y.reshape([self.knots, shape[1..].iter().product()]);
        if self.knots == 1 {
            return flat.index_axis(0, 0);
        }
        let places: Vec<T> = (0..self.knots).map(|j| T::from_f64(j as f64)).collect();
        let places = t.tape().leaf(&places, [self.knots]);
        let place = t.clamp(T::zero(), T::one()).scale(T::from_f64((self.knots - 1) as f64));
        let distance = (place - places).abs();
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
        self.check(x);
        let xs = ode.solve(|t, x| self.field(p, t, x), x, [0.0, 1.0])?;
        Ok(xs.index_axis(0, 1))
    }

    #[track_caller]
    fn check<T: Real>(&self, x: Var<'_, T>) {
        let (shape, width) = (x.shape(), self.width);
        assert!(shape.last() == Some(&width), "FeedForwardOde: shape {shape}, not […, {width}]");
    }
}
