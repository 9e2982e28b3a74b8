//! Runge–Kutta methods as data.

/// The coefficients of a Runge–Kutta method, explicit or diagonally implicit.
///
/// A step of size `h` from `(t, y)` computes slopes
/// `k_i = f(t + c_i h, y + h Σ_{j<i} a_ij k_j)` and the new state `y + h Σ b_i k_i`.
///
/// **One convention for all methods: the last row is the end slope**, `k = f(t + h, y₁)`, with
/// `c = 1`, `a` equal to the other rows' `b`, and weight 0 of its own. Methods with the property
/// "first same as last" (FSAL) have it by nature, others get it appended. It is the first slope of
/// the next step, so it costs nothing, and interpolants and error estimates can use it.
///
/// Diagonally implicit methods are those of [`DirkTableau`]: row `i` has an entry `a_ii` as well,
/// and the last stage is the new state, so that its slope is the end slope by nature; its weight is
/// then `a_ii`.
///
/// [`DirkTableau`]: crate::DirkTableau
#[derive(Debug)]
pub struct Tableau {
    /// The name in messages and tables.
    pub name: &'static str,
    /// The order of convergence.
    pub order: u32,
    /// The order of the embedded method that estimates the error.
    pub embedded_order: Option<u32>,
    /// Row `i` holds `a_ij` for `j < i`, and `a_ii` of an implicit stage.
    pub a: &'static [&'static [f64]],
    /// The weights of the solution.
    pub b: &'static [f64],
    /// The weights of the error estimate: those of the solution less those of the embedded method.
    pub error: Option<&'static [f64]>,
    /// The times of the slopes within a step of size 1.
    pub c: &'static [f64],
    /// The solution within a step.
    pub interpolant: Interpolant,
}

/// The solution within a step: `y(t + θh) = y + h Σ b_i(θ) k_i` for `0 ≤ θ ≤ 1`, with polynomials
/// `b_i`.
#[derive(Debug)]
pub struct Interpolant {
    /// The order `p*` of the weights: `b_i(θ)` satisfies the order conditions up to it at every `θ`
    /// (E. Hairer, S. P. Nørsett, G. Wanner, *Solving Ordinary Differential Equations I*, II.6), so
    /// that the error within one step is `O(h^(p*+1))`. Over the whole interval of integration the
    /// states in between then converge with order `min(p, p* + 1)`, with `p` that of the method.
    pub order: u32,
    /// Row `i` holds the coefficients of `θ, θ², …` in `b_i(θ)`.
    pub weights: &'static [&'static [f64]],
}

impl Tableau {
    /// How many slopes a step has, the end slope included.
    pub fn rows(&self) -> usize {
        self.b.len()
    }

    /// Whether no stage is implicit.
    pub fn is_explicit(&self) -> bool {
        self.a.iter().enumerate().all(|(i, row)| row.len() <= i)
    }

    /// Whether the error estimate uses the end slope.
    pub fn error_needs_end(&self) -> bool {
        self.error.is_some_and(|e| e[e.len() - 1] != 0.0)
    }
}

impl Interpolant {
    /// `b_i(θ)`.
    pub fn weight(&self, i: usize, theta: f64) -> f64 {
        self.weights[i].iter().rev().fold(0.0, |sum, &c| (sum + c) * theta)
    }

    /// `db_i/dθ`.
    pub fn weight_derivative(&self, i: usize, theta: f64) -> f64 {
        let terms = self.weights[i].iter().enumerate().rev();
        terms.fold(0.0, |sum, (j, &c)| sum * theta + (j + 1) as f64 * c)
    }

    /// Whether it uses the end slope.
    pub fn needs_end(&self) -> bool {
        self.weights.last().is_some_and(|row| row.iter().any(|&c| c != 0.0))
    }
}
