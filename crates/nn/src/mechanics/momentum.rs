//! The momentum conjugate to the hidden state, and what follows from it along depth.

use costate_odeint::Ode;
use costate_ops::Real;
use costate_tape::Var;

use crate::error::Result;

/// States and momenta of a network of continuous depth at given times.
#[derive(Clone, Debug)]
pub struct Trajectory<'t, T: Real> {
    /// The times.
    pub ts: Vec<f64>,
    /// `x(t)`, as many as times.
    pub states: Vec<Var<'t, T>>,
    /// `p(t) = ∂L/∂x(t)`.
    pub momenta: Vec<Var<'t, T>>,
    /// `H(t) = p · f(t, x)`, 0-d, the sum over all rows. Along an autonomous field it is constant.
    /// At the end it is `dL/dt1`, at the start `-dL/dt0`.
    pub energies: Vec<Var<'t, T>>,
    /// The loss, 0-d.
    pub loss: Var<'t, T>,
}

/// Solves `dx/dt = f(t, x)` through the given times and differentiates a loss of the last state
/// with respect to the state at each of them: the momenta (arXiv 1909.03767, section 3).
///
/// ```
/// use costate_nn::mechanics::trajectory;
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// // dx/dt = -x, so p grows as eᵗ, and H = -p x stays.
/// let tape = Tape::<f64>::new();
/// let x = tape.leaf(&[2.0], [1, 1]);
/// let ode = Ode::new(Tsit5).tolerance(1e-10, 1e-10);
/// let path = trajectory(&ode, |_, x| Ok(-x), x, &[0.0, 0.5, 1.0], |x| Ok(x.sum()))?;
/// for (t, p) in path.ts.iter().zip(&path.momenta) {
///     assert!((p.item() - (t - 1.0).exp()).abs() < 1e-8);
/// }
/// assert!((path.energies[0].item() - path.energies[2].item()).abs() < 1e-8);
/// # Ok::<(), costate_nn::Error>(())
/// ```
///
/// # Errors
/// Those of the solves, of `f` and of the loss.
///
/// # Panics
/// If there are no times, or `f` returns another shape than that of the state.
#[track_caller]
pub fn trajectory<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
    x: Var<'t, T>,
    ts: &[f64],
    loss: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
) -> Result<Trajectory<'t, T>> {
    assert!(!ts.is_empty(), "trajectory: no times");
    // A name of its own, since the momentum at the start is the derivative with respect to it.
    let mut states = vec![x.fresh()];
    for w in ts.windows(2) {
        let from = states[states.len() - 1];
        states.push(ode.try_solve(&f, from, [w[0], w[1]])?.index_axis(0, 1));
    }
    let loss = loss(states[states.len() - 1])?;
    let momenta = loss.grad(&states)?;
    let mut energies = Vec::with_capacity(ts.len());
    for ((&t, &x), &p) in ts.iter().zip(&states).zip(&momenta) {
        let t = x.tape().scalar(T::from_f64(t));
        energies.push((p * f(t, x)?).sum());
    }
    Ok(Trajectory { ts: ts.to_vec(), states, momenta, energies, loss })
}

impl<'t, T: Real> Trajectory<'t, T> {
    /// `dL/dθ(t) = ∂H/∂θ = (∂f/∂θ)ᵀ p` at each time, for each of the weights: the gradient as a
    /// function of depth (arXiv 1909.03767, section 3), whose integral is the gradient with
    /// respect to weights that do not vary. First index the time, second the weight.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn weight_gradients(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
        weights: &[Var<'t, T>],
    ) -> Result<Vec<Vec<Var<'t, T>>>> {
        let mut all = Vec::with_capacity(self.ts.len());
        for ((&t, x), p) in self.ts.iter().zip(&self.states).zip(&self.momenta) {
            let tape = x.tape();
            // The state depends on the weights too: that is not part of the partial derivative.
            let slope = f(tape.scalar(T::from_f64(t)), x.detach())?;
            all.push(tape.vjp(&[slope], &[*p], weights)?);
        }
        Ok(all)
    }
}

/// Hamilton's equations for `H = p · f(t, x)`: the field `[f, -(∂f/∂x)ᵀ p]` of `z = [x, p]`,
/// `[rows, 2 width]`.
///
/// # Errors
/// Those of `f`.
///
/// # Panics
/// If `z` has not two axes, or an odd width, or `f` returns another shape than that of `x`.
#[track_caller]
pub fn hamiltonian_field<'t, T: Real>(
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
    t: Var<'t, T>,
    z: Var<'t, T>,
) -> costate_tape::Result<Var<'t, T>> {
    let shape = z.shape();
    assert!(
        shape.ndim() == 2 && shape[1].is_multiple_of(2),
        "hamiltonian_field: shape {shape}, not [rows, 2 width]"
    );
    let n = shape[1] / 2;
    let (x, p) = (z.slice_axis(1, 0..n).fresh(), z.slice_axis(1, n..2 * n));
    let slope = f(t, x)?;
    let force = z.tape().vjp(&[slope], &[p], &[x])?[0];
    Ok(Var::concat(1, &[slope, -force]))
}
