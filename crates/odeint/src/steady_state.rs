//! Steady states of a vector field.

use costate_tape::{Result, Var};

use crate::Real;
use crate::implicit::{Kind, implicit};
use crate::root::RootFinder;

impl RootFinder {
    /// The steady state `f(y) = 0` to which `dy/dt = f(y)` flows from `guess`.
    ///
    /// It follows the flow by linearly implicit Euler steps,
    ///
    /// ```text
    /// (I/δ - ∂f/∂y) Δ = f(y),   y ← y + Δ,   δ ← δ ‖f before‖ / ‖f after‖
    /// ```
    ///
    /// from `δ = 1` on (see [`dt0`](RootFinder::dt0)), which grow and so turn into Newton's method
    /// (pseudo-transient continuation: C. T. Kelley, D. E. Keyes, SIAM J. Numer. Anal. 35 (1998)
    /// 508). So it tends to go where the solution goes, where Newton's method would as soon find a
    /// state that repels; but time is not resolved, and near a border between two states it may take
    /// the other. The field may be stiff.
    ///
    /// # Errors
    /// As [`root`](RootFinder::root); a solution that oscillates or grows has no steady state.
    ///
    /// # Panics
    /// If `f` returns another shape.
    #[track_caller]
    pub fn steady_state<'t, T: Real>(
        &self,
        f: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
        guess: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        implicit("steady_state", f, guess, self.flow(), Kind::General)
    }
}

/// The steady state of `dy/dt = f(y)` near `guess`, differentiable with respect to all that `f`
/// captures: [`RootFinder::steady_state`] with the default tolerance.
///
/// The concentration at which what is made at a rate `a` and decays at the rate `b y²` stays:
///
/// ```
/// use costate_odeint::steady_state;
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let (a, b) = (tape.scalar(3.0), tape.scalar(0.5));
/// let y = steady_state(|y| Ok(a - b * y * y), tape.scalar(0.1))?;
/// assert!((y.item() - 6f64.sqrt()).abs() < 1e-14);
/// let dy = y.grad(&[a])?[0];
/// assert!((dy.item() - 0.5 / (3.0 * 0.5f64).sqrt()).abs() < 1e-14);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// As [`RootFinder::root`].
///
/// # Panics
/// If `f` returns another shape.
#[track_caller]
pub fn steady_state<'t, T: Real>(
    f: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    guess: Var<'t, T>,
) -> Result<Var<'t, T>> {
    RootFinder::new().steady_state(f, guess)
}
