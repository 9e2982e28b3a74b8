//! The ODE block with room to move.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use super::block::OdeBlock;
use super::rows;
use super::weights::Basis;
use crate::error::Result;
use crate::layer::Activation;
use crate::params::{Bound, Params};

/// An [`OdeBlock`] on states with further components that begin at 0 (E. Dupont, A. Doucet,
/// Y. W. Teh, arXiv 1904.01681). Paths of an ODE do not cross, so there are functions that a block
/// cannot be, such as `x → -x` on a line; with one dimension more it can.
#[derive(Clone, Debug)]
pub struct Augmented {
    /// The block on all components.
    pub block: OdeBlock,
    width: usize,
    extra: usize,
}

impl Augmented {
    /// A block of the given width with `extra` further components; else as [`OdeBlock::new`].
    ///
    /// # Panics
    /// As [`OdeBlock::new`].
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        [width, extra]: [usize; 2],
        hidden: &[usize],
        basis: Basis,
        activation: Activation,
    ) -> Augmented {
        let block = OdeBlock::new(params, name, width + extra, hidden, basis, activation);
        Augmented { block, width, extra }
    }

    /// From `[rows, width]` at time 0 to all components at time 1, `[rows, width + extra]`.
    ///
    /// # Errors
    /// Those of the solve.
    ///
    /// # Panics
    /// If the state has another shape.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        x: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        rows("Augmented", x, self.width);
        self.block.forward(p, ode, x.pad(1, 0, self.extra))
    }
}
