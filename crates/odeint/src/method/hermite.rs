//! Cubic Hermite interpolation as weights of slopes, for methods without an interpolant of their
//! own.

/// `b_i(θ) = (3θ² - 2θ³) b_i`, plus `θ - 2θ² + θ³` for the first slope and `θ³ - θ²` for the last,
/// the end slope: the cubic through both states with both slopes. Coefficients of `θ, θ², θ³`.
pub(super) const fn hermite<const ROWS: usize>(b: [f64; ROWS]) -> [[f64; 3]; ROWS] {
    let mut weights = [[0.0; 3]; ROWS];
    let mut i = 0;
    while i < ROWS {
        weights[i] = [0.0, 3.0 * b[i], -2.0 * b[i]];
        i += 1;
    }
    weights[0][0] += 1.0;
    weights[0][1] -= 2.0;
    weights[0][2] += 1.0;
    weights[ROWS - 1][1] -= 1.0;
    weights[ROWS - 1][2] += 1.0;
    weights
}
