//! Derivatives in space, by which a partial differential equation is a system of ordinary ones.

use costate_odeint::Real;
use costate_tape::Var;

/// Equidistant points on a circle of a given length: the method of lines for equations in one
/// dimension of space with periodic ends.
///
/// A field is `[rows, points]`. Derivatives are central differences of fourth order,
/// `u' ≈ (u₋₂ - 8 u₋₁ + 8 u₁ - u₂)/12h`, `u'' ≈ (-u₋₂ + 16 u₋₁ - 30 u + 16 u₁ - u₂)/12h²`.
///
/// ```
/// use costate_nn::Grid1d;
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// // The heat equation: a wave of length 1 decays at the rate ν (2π)².
/// let grid = Grid1d::new(32, 1.0);
/// let tape = Tape::<f64>::new();
/// let nu = tape.scalar(0.01);
/// let wave: Vec<f64> = grid.points().iter().map(|x| (std::f64::consts::TAU * x).sin()).collect();
/// let u = tape.leaf(&wave, [1, 32]);
/// let us = Ode::new(Tsit5).solve(|_, u| nu * grid.second(u), u, [0.0, 1.0])?;
/// let left = (us.index_axis(0, 1).square().sum() / u.square().sum()).sqrt().item();
/// let rate = 0.01 * std::f64::consts::TAU.powi(2);
/// assert!((left - (-rate).exp()).abs() < 1e-4);
/// # Ok::<(), costate_tape::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid1d {
    points: usize,
    length: f64,
}

impl Grid1d {
    /// As many points on a circle of this length.
    ///
    /// # Panics
    /// If there are fewer than five points, or the length is not positive and finite.
    #[track_caller]
    pub fn new(points: usize, length: f64) -> Grid1d {
        assert!(points >= 5, "Grid1d: {points} points; the differences take five");
        assert!(length > 0.0 && length.is_finite(), "Grid1d: a length of {length}");
        Grid1d { points, length }
    }

    /// The distance of two points.
    pub fn spacing(&self) -> f64 {
        self.length / self.points as f64
    }

    /// The places of the points, from 0.
    pub fn points(&self) -> Vec<f64> {
        (0..self.points).map(|i| i as f64 * self.spacing()).collect()
    }

    /// `∂u/∂x`, `[rows, points]` to the same.
    ///
    /// # Panics
    /// If the field has another shape.
    #[track_caller]
    pub fn first<'t, T: Real>(&self, u: Var<'t, T>) -> Var<'t, T> {
        let [a, b, c, d] = self.neighbours(u);
        let scale = T::from_f64(1.0 / (12.0 * self.spacing()));
        ((a - d) + (c - b).scale(T::from_f64(8.0))).scale(scale)
    }

    /// `∂²u/∂x²`, `[rows, points]` to the same.
    ///
    /// # Panics
    /// If the field has another shape.
    #[track_caller]
    pub fn second<'t, T: Real>(&self, u: Var<'t, T>) -> Var<'t, T> {
        let [a, b, c, d] = self.neighbours(u);
        let scale = T::from_f64(1.0 / (12.0 * self.spacing().powi(2)));
        let near = (b + c).scale(T::from_f64(16.0)) - u.scale(T::from_f64(30.0));
        (near - (a + d)).scale(scale)
    }

    /// The values two points before, one before, one after and two after.
    #[track_caller]
    fn neighbours<'t, T: Real>(&self, u: Var<'t, T>) -> [Var<'t, T>; 4] {
        super::rows("Grid1d", u, self.points);
        let n = self.points;
        let from =
            |first: usize| Var::concat(1, &[u.slice_axis(1, first..n), u.slice_axis(1, 0..first)]);
        [from(n - 2), from(n - 1), from(1), from(2)]
    }
}
