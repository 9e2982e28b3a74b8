//! Diagonally implicit Runge–Kutta methods as data.

use crate::tableau::Tableau;

/// The coefficients of a diagonally implicit Runge–Kutta method with an explicit first stage and a
/// last stage that is the new state (ESDIRK, stiffly accurate):
///
/// ```text
/// k_0 = f(t, y),   Y_i = y + h Σ_{j≤i} a_ij k_j,   k_i = f(t + c_i h, Y_i),   y_1 = Y_{s-1}
/// ```
///
/// All implicit stages have the same `a_ii`, so that one factorisation of `I - h a_ii ∂f/∂y` serves
/// them all. The end slope `k_{s-1}` is the `k_0` of the next step. It is never evaluated, but
/// follows from the stage equation, `k = (Y - y - h Σ_{j<i} a_ij k_j) / (h a_ii)`: so the rounding
/// of `Y` is not multiplied by a stiff field's Lipschitz constant (L. F. Shampine, ACM Trans. Math.
/// Softw. 6 (1980) 104).
#[derive(Debug)]
pub struct DirkTableau {
    /// The coefficients.
    pub tableau: Tableau,
    /// Row `i` holds the weights `α_ij`, `j < i`, of the first guess `k_i = Σ α_ij k_j`.
    pub predictor: &'static [&'static [f64]],
    /// Whether the error estimate is multiplied by `(I - h a_ii ∂f/∂y)⁻¹`: where it would grow with
    /// stiffness otherwise, as for embedded methods that are not A-stable (L. F. Shampine,
    /// L. S. Baca, SIAM J. Numer. Anal. 21 (1984)).
    pub filter: bool,
}

impl DirkTableau {
    /// The `a_ii` of the implicit stages.
    pub fn diagonal(&self) -> f64 {
        let last = self.tableau.rows() - 1;
        self.tableau.a[last][last]
    }
}
