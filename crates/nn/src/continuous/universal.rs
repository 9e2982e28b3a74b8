//! The universal differential equation.

use costate_odeint::Real;
use costate_odeint::{Ode, Times};
use costate_tape::Var;

use super::rows;
use crate::error::Result;
use crate::layer::{Activation, Mlp};
use crate::params::{Bound, Params};

/// `dx/dt = known(t, x) + N(x)`: the terms that are known, written down, plus a network for those
/// that are not (C. Rackauckas et al., arXiv 2001.04385). The known terms may have parameters of
/// their own.
///
/// ```
/// use costate_nn::{Activation, Params, Universal};
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
///
/// let mut params = Params::<f64>::seeded(0);
/// let rate = params.add("rate", [], |_| 0.5);
/// let model = Universal::new(&mut params, "unknown", 2, &[8], Activation::Tanh);
/// let tape = Tape::new();
/// let p = params.bind(&tape);
/// let x = tape.leaf(&[1.0, 2.0], [1, 2]);
/// let xs = model.forward(&p, &Ode::new(Tsit5), |_, x| -(p[rate] * x), x, [0.0, 0.5, 1.0])?;
/// assert_eq!(*xs.shape(), [3, 1, 2]);
/// # Ok::<(), costate_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Universal {
    network: Mlp,
    width: usize,
}

impl Universal {
    /// For states of the given width; adds the network `name`, whose hidden layers have the given
    /// widths. Its last weights are made small, so that at first the known terms are the whole.
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
    ) -> Universal {
        let widths = [&[width], hidden, &[width]].concat();
        let network = Mlp::new(params, name, &widths, activation);
        let last = network.last().weight;
        let small = params.get(last).mapv(|w| w * T::from_f64(0.1));
        params.set(last, &small);
        Universal { network, width }
    }

    /// The unknown part of the field at states `[rows, width]`.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn unknown<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        rows("Universal", x, self.width);
        self.network.forward(p, x)
    }

    /// The states at the given times, `[times, rows, width]`, from those at the first.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape, or `known` returns one.
    #[track_caller]
    pub fn forward<'a, 't, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        known: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        x: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        rows("Universal", x, self.width);
        Ok(ode.solve(|t, x| known(t, x) + self.unknown(p, x), x, ts)?)
    }
}
