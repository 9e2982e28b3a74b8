//! A vector for each of a number of things.

use costate_odeint::Real;
use costate_tape::Var;

use crate::init::Init;
use crate::params::{Bound, Param, Params};

/// A table whose row `i` stands for thing number `i`.
#[derive(Clone, Copy, Debug)]
pub struct Embedding {
    /// The table, `[things, width]`.
    pub table: Param,
}

impl Embedding {
    /// Adds `name.table`, standard normal.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        things: usize,
        width: usize,
    ) -> Embedding {
        let table = params.init(format!("{name}.table"), [things, width], Init::Normal(1.0));
        Embedding { table }
    }

    /// The rows of the given things, `[things.len(), width]`.
    ///
    /// # Panics
    /// If there is no such thing.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, things: &[usize]) -> Var<'t, T> {
        p[self.table].gather(0, things)
    }
}
