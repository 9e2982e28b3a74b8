//! The Hamiltonian network.

use costate_odeint::Real;
use costate_odeint::{Ode, Times};
use costate_tape::Var;

use super::rows;
use crate::error::Result;
use crate::layer::{Activation, Mlp};
use crate::params::{Bound, Params};

/// `dq/dt = ∂H/∂p`, `dp/dt = -∂H/∂q` with a network `H(q, p)` (S. Greydanus, M. Dzamba,
/// J. Yosinski, arXiv 1906.01563): whatever its weights, `H` is conserved. The field is a gradient,
/// so training takes second derivatives of the network.
///
/// ```
/// use costate_nn::{Activation, HamiltonianNet, Params};
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// let mut params = Params::<f64>::seeded(1);
/// let net = HamiltonianNet::new(&mut params, "h", 1, &[16], Activation::Tanh);
/// let tape = Tape::new();
/// let (p, z) = (params.bind(&tape), tape.leaf(&[1.0, 0.5], [1, 2]));
/// let ode = Ode::new(Tsit5).tolerance(1e-10, 1e-10);
/// let zs = net.forward(&p, &ode, z, [0.0, 5.0])?;
/// let energies = [0, 1].map(|i| net.energy(&p, zs.index_axis(0, i)).item());
/// assert!((energies[0] - energies[1]).abs() < 1e-8);
/// # Ok::<(), costate_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct HamiltonianNet {
    energy: Mlp,
    width: usize,
}

impl HamiltonianNet {
    /// For `width` coordinates `q` and as many momenta `p`; adds the network `name`, whose hidden
    /// layers have the given widths. The activation must be smooth.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        width: usize,
        hidden: &[usize],
        activation: Activation,
    ) -> HamiltonianNet {
        let widths = [&[2 * width], hidden, &[1]].concat();
        HamiltonianNet { energy: Mlp::new(params, name, &widths, activation), width }
    }

    /// `H` of each row of `z = [q, p]`: `[rows, 2 width]` to `[rows]`.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn energy<'t, T: Real>(&self, p: &Bound<'t, T>, z: Var<'t, T>) -> Var<'t, T> {
        let n = rows("HamiltonianNet", z, 2 * self.width);
        self.energy.forward(p, z).reshape([n])
    }

    /// The field `[∂H/∂p, -∂H/∂q]`, `[rows, 2 width]`.
    ///
    /// # Errors
    /// None: the type is that of all gradients.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn field<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        z: Var<'t, T>,
    ) -> costate_tape::Result<Var<'t, T>> {
        let z = z.fresh();
        let slope = self.energy(p, z).sum().grad(&[z])?[0];
        let n = self.width;
        let (dq, dp) = (slope.slice_axis(1, n..2 * n), -slope.slice_axis(1, 0..n));
        Ok(Var::concat(1, &[dq, dp]))
    }

    /// States `[q, p]` at the given times, `[times, rows, 2 width]`, from those at the first.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn forward<'a, 't, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        z: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        rows("HamiltonianNet", z, 2 * self.width);
        Ok(ode.try_solve(|_, z| self.field(p, z), z, ts)?)
    }
}
