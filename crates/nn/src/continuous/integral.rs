//! Integrals along a solve: what is summed up beside the state.

use costate_odeint::Real;
use costate_odeint::{Ode, Times};
use costate_tape::Var;

use crate::error::Result;

/// A place of the path that an [`Integrand`] sees.
#[derive(Clone, Copy, Debug)]
pub struct Along<'t, T: Real> {
    /// The time, 0-d.
    pub t: Var<'t, T>,
    /// The states, `[rows, width]`.
    pub x: Var<'t, T>,
    /// Their slopes, recorded as a function of `t` and `x`, so that they can be differentiated with
    /// respect to them.
    pub slope: Var<'t, T>,
}

/// What is integrated along a path: one number for each row. Closures are integrands, see
/// [`integrand`].
pub trait Integrand<'t, T: Real> {
    /// Its value at a place, `[rows]`.
    ///
    /// # Errors
    /// Those of what it records.
    fn at(&self, place: &Along<'t, T>) -> costate_tape::Result<Var<'t, T>>;
}

impl<'t, T: Real, F> Integrand<'t, T> for F
where
    F: Fn(&Along<'t, T>) -> costate_tape::Result<Var<'t, T>>,
{
    fn at(&self, place: &Along<'t, T>) -> costate_tape::Result<Var<'t, T>> {
        self(place)
    }
}

/// A closure as an integrand: it is returned as it is, with its argument's type known.
///
/// ```
/// use costate_nn::{integrand, solve_with_integrals};
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let x = tape.leaf(&[1.0], [1, 1]);
/// let square = integrand(|at| Ok(at.x.square().sum_axis(1)));
/// let (_, integrals) =
///     solve_with_integrals(&Ode::new(Tsit5), |_, x| Ok(-x), x, [0.0, 1.0], &[&square])?;
/// assert!((integrals[0].to_vec()[0] - (1.0 - (-2f64).exp()) / 2.0).abs() < 1e-5);
/// # Ok::<(), costate_nn::Error>(())
/// ```
pub fn integrand<'t, T, F>(f: F) -> F
where
    T: Real,
    F: Fn(&Along<'t, T>) -> costate_tape::Result<Var<'t, T>>,
{
    f
}

/// Solves `dx/dt = f(t, x)` as [`Ode::try_solve`] does, and with it `dq_k/dt = g_k(t, x)` from 0 for
/// each integrand `g_k`. Returns the states at `ts`, `[times, rows, width]`, and the integrals over
/// the whole time, `[rows]` each; they are negative sums where time runs backward.
///
/// The integrals are part of the state, so the method's order and error control hold for them too.
///
/// ```
/// use costate_nn::{KineticEnergy, solve_with_integrals};
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let x = tape.leaf(&[1.0, 2.0], [2, 1]);
/// let ode = Ode::new(Tsit5);
/// let (xs, energy) =
///     solve_with_integrals(&ode, |_, x| Ok(-x), x, [0.0, 1.0], &[&KineticEnergy])?;
/// assert_eq!(*xs.shape(), [2, 2, 1]);
/// // ∫ (x e⁻ᵗ)² dt
/// let expected = (1.0 - (-2f64).exp()) / 2.0;
/// let found = energy[0].to_vec();
/// assert!((found[0] - expected).abs() < 1e-6 && (found[1] - 4.0 * expected).abs() < 1e-6);
/// # Ok::<(), costate_nn::Error>(())
/// ```
///
/// # Errors
/// Those of the solve, of `f` and of the integrands.
///
/// # Panics
/// If the state is not `[rows, width]`, or `f` or an integrand returns another shape than it should.
#[track_caller]
pub fn solve_with_integrals<'a, 't, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
    x: Var<'t, T>,
    ts: impl Into<Times<'a, 't, T>>,
    integrands: &[&dyn Integrand<'t, T>],
) -> Result<(Var<'t, T>, Vec<Var<'t, T>>)> {
    let shape = x.shape();
    assert!(shape.ndim() == 2, "solve_with_integrals: a state of shape {shape}, not [rows, width]");
    let (rows, width, count) = (shape[0], shape[1], integrands.len());
    let field = |t: Var<'t, T>, y: Var<'t, T>| {
        // Names of their own: derivatives with respect to them are those of the field alone.
        let (t, x) = (t.fresh(), y.slice_axis(1, 0..width).fresh());
        let slope = f(t, x)?;
        let found = slope.shape();
        assert!(found == shape, "solve_with_integrals: a slope of shape {found} for {shape}");
        let mut parts = vec![slope];
        for (k, integrand) in integrands.iter().enumerate() {
            let g = integrand.at(&Along { t, x, slope })?;
            let found = g.shape();
            assert!(*found == [rows], "integrand {k}: shape {found}, not [{rows}]");
            parts.push(g.reshape([rows, 1]));
        }
        Ok(Var::concat(1, &parts))
    };
    let ys = ode.try_solve(field, x.pad(1, 0, count), ts)?;
    let end = ys.index_axis(0, ys.shape()[0] - 1);
    let integral = |k: usize| end.index_axis(1, width + k);
    Ok((ys.slice_axis(2, 0..width), (0..count).map(integral).collect()))
}
