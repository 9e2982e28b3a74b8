//! Rosenbrock methods as data, and their steps.

use costate_ops::Buffer;

use crate::Real;
use crate::error::FieldError;
use crate::field::Field;
use crate::linear::Matrix;
use crate::newton::Outcome;
use crate::step::combine;
use crate::tableau::Tableau;

/// The coefficients of a Rosenbrock–Wanner method, in the form that needs no products with the
/// Jacobian (E. Hairer, G. Wanner, *Solving Ordinary Differential Equations II*, IV.7):
///
/// ```text
/// Y_i = y + h Σ_{j<i} a_ij k_j
/// (M - hγ J) k_i = γ (f(t + c_i h, Y_i) + M Σ_{j<i} c_ij k_j + d_i h f_t)
/// y_1 = y + h Σ b_i k_i
/// ```
///
/// with the Jacobian `J = ∂f/∂y` and `f_t = ∂f/∂t` at `(t, y)`, and the mass matrix `M`, by default
/// the unit matrix. In the book `h k_i` is `u_i`. The `k_i` are no slopes of the solution, but the
/// solution, the error estimate and the interpolant are sums of them as in a Runge–Kutta method.
///
/// The first slope of the [`tableau`](RosenbrockTableau::tableau) is `f(t, y)`, from which the first
/// stage is found, and the last is the end slope; neither has a weight. The stages lie between.
#[derive(Debug)]
pub struct RosenbrockTableau {
    /// The coefficients `a_ij`, with `a_ii = 0`, `b` and `c_i`.
    pub tableau: Tableau,
    /// `γ`.
    pub gamma: f64,
    /// Row `i` holds `c_ij` for `j < i`.
    pub coupling: &'static [&'static [f64]],
    /// `d_i`.
    pub time: &'static [f64],
}

impl RosenbrockTableau {
    /// The numbers of the stages among the slopes.
    pub fn stages(&self) -> std::ops::Range<usize> {
        1..self.tableau.rows() - 1
    }
}

/// The memory of a step.
#[derive(Clone, Debug)]
pub(crate) struct Rosenbrock<T: Real> {
    method: &'static RosenbrockTableau,
    matrix: Matrix<T>,
    /// `∂f/∂t`.
    rate: Buffer<T>,
    sum: Buffer<T>,
    /// Whether the derivatives are those at the start of the step.
    known: bool,
    pub factorisations: usize,
}

impl<T: Real> Rosenbrock<T> {
    pub fn new(method: &'static RosenbrockTableau, n: usize) -> Rosenbrock<T> {
        Rosenbrock {
            method,
            matrix: Matrix::new(n),
            rate: Buffer::zeros(n),
            sum: Buffer::zeros(n),
            known: false,
            factorisations: 0,
        }
    }

    /// Forgets the derivatives: a step from another state begins.
    pub fn forget_derivatives(&mut self) {
        self.known = false;
    }

    /// One step from `y0` at `t0` to `t1`: the stages to `k`, the first slope of which is there, and
    /// the state to `y1`.
    pub fn stages(
        &mut self,
        f: &mut dyn Field<T>,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
    ) -> Result<Outcome, FieldError> {
        let (n, h) = (y0.len(), t1 - t0);
        let method = self.method;
        let tableau = &method.tableau;
        if !self.known {
            self.matrix.evaluate(f, t0, y0, &k[..n])?;
            f.time_derivative(t0, y0, &k[..n], &mut self.rate)?;
            self.known = true;
        }
        self.factorisations += 1;
        if !self.matrix.factor(h * method.gamma, f.mass()) {
            // A smaller step has a matrix nearer to the mass matrix.
            return Ok(Outcome::Diverged(1));
        }
        let gamma = T::from_f64(method.gamma);
        for i in method.stages() {
            let (done, rest) = k.split_at_mut(i * n);
            let k = &mut rest[..n];
            combine(Some(y0), h, tableau.a[i], done, y1);
            if i == 1 {
                k.copy_from_slice(&done[..n]);
            } else {
                f.eval(tableau.time(i, t0, t1), y1, k)?;
            }
            combine(None, 1.0, method.coupling[i], done, &mut self.sum);
            self.matrix.add_mass(f.mass(), &self.sum, k);
            let d = T::from_f64(method.time[i] * h);
            for (k, &rate) in k.iter_mut().zip(&*self.rate) {
                *k = gamma * (*k + d * rate);
            }
            self.matrix.solve(k);
        }
        combine(Some(y0), h, tableau.b, k, y1);
        Ok(Outcome::Converged)
    }
}
