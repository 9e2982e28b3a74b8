//! The momentum conjugate to the hidden state, and what follows from it along depth.

use costate_odeint::Real;
use costate_odeint::{Ode, momentum_trajectory};
use costate_tape::Var;
use ndarray::{ArrayD, IxDyn};

use crate::error::Result;

/// States and momenta of a network of continuous depth at given times.
#[derive(Clone, Debug)]
pub struct Trajectory<'t, T: Real> {
    /// The times.
    pub ts: Vec<f64>,
    /// `x(t)`, as many as times; constants of the tape, as are the momenta.
    pub states: Vec<Var<'t, T>>,
    /// `p(t) = ∂L/∂x(t)`.
    pub momenta: Vec<Var<'t, T>>,
    /// `H(t) = p · f(t, x)`, the sum over all rows. Along an autonomous field it is constant. At the
    /// end it is `dL/dt1`, at the start `-dL/dt0`.
    pub energies: Vec<f64>,
    /// For each of the weights asked for, `dL/dθ(t) = ∂H/∂θ = (∂f/∂θ)ᵀ p` at each time: the gradient
    /// as a function of depth (arXiv 1909.03767, section 3), whose integral is the gradient with
    /// respect to weights that do not vary. First index the weight, second the time.
    pub weight_gradients: Vec<Vec<ArrayD<T>>>,
    /// `dL/dθ` of each of these weights.
    pub gradient: Vec<ArrayD<T>>,
    /// The loss.
    pub loss: f64,
}

/// Solves `dx/dt = f(t, x)` through the given times, and follows the momentum of a loss of the last
/// state back along the steps (arXiv 1909.03767, section 3); with the gradient of the loss with
/// respect to `weights`, and how it comes about along depth.
///
/// It is [`momentum_trajectory`] at times of one's own: one forward and one backward pass.
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
/// let path = trajectory(&ode, |_, x| Ok(-x), x, &[0.0, 0.5, 1.0], |x| Ok(x.sum()), &[])?;
/// for (t, p) in path.ts.iter().zip(&path.momenta) {
///     assert!((p.item() - (t - 1.0).exp()).abs() < 1e-8);
/// }
/// assert!((path.energies[0] - path.energies[2]).abs() < 1e-8);
/// # Ok::<(), costate_nn::Error>(())
/// ```
///
/// # Errors
/// Those of [`momentum_trajectory`].
///
/// # Panics
/// If there are no times, or `f` returns another shape than that of the state, or the loss has more
/// than one entry.
#[track_caller]
pub fn trajectory<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
    x: Var<'t, T>,
    ts: &[f64],
    loss: impl FnOnce(Var<'t, T>) -> costate_tape::Result<Var<'t, T>>,
    weights: &[Var<'t, T>],
) -> Result<Trajectory<'t, T>> {
    assert!(!ts.is_empty(), "trajectory: no times");
    let at_end = |xs: Var<'t, T>| loss(xs.index_axis(0, ts.len() - 1));
    let path = momentum_trajectory(&ode.clone().stop_at_saves(), f, x, ts, at_end, weights)?;
    // Steps end at each of the times, and only the last is seen by the loss.
    let row = |t: &f64| path.ts.iter().position(|at| at == t).expect("a step ends there");
    let rows: Vec<usize> = ts.iter().map(row).collect();
    let var = |entries: &[T]| x.tape().leaf(entries, x.shape());
    let of_weight = |k: usize, entries: &[T]| {
        let shape = IxDyn(&weights[k].shape());
        ArrayD::from_shape_vec(shape, entries.to_vec()).expect("as many as the weight has")
    };
    let along = |k: usize| {
        let n = weights[k].shape().numel();
        rows.iter().map(|&i| of_weight(k, &path.rates[k][i * n..(i + 1) * n])).collect()
    };
    Ok(Trajectory {
        ts: ts.to_vec(),
        states: rows.iter().map(|&i| var(path.state(i))).collect(),
        momenta: rows.iter().map(|&i| var(path.momentum(i))).collect(),
        energies: rows.iter().map(|&i| path.hamiltonian[i]).collect(),
        weight_gradients: (0..weights.len()).map(along).collect(),
        gradient: (0..weights.len()).map(|k| of_weight(k, &path.gradient[k])).collect(),
        loss: path.loss,
    })
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
