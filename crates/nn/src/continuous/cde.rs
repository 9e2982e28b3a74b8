//! The neural controlled differential equation.

use costate_odeint::Ode;
use costate_odeint::Real;
use costate_tape::Var;

use super::path::{Path, slope};
use super::rows;
use crate::error::Result;
use crate::layer::{Activation, Linear, Mlp};
use crate::params::{Bound, Params};

/// `dz/dt = F(z) dX/dt` with a network `F` and a [`Path`] `X` through data, which may be irregular:
/// the continuous counterpart of a recurrent network (P. Kidger et al., arXiv 2005.08926). `F(z)` is
/// a matrix `[width, channels]`, bounded by a `tanh`; `z` begins as an affine function of the first
/// observation. Let time be one of the channels: `z` changes only where `X` does.
#[derive(Clone, Debug)]
pub struct NeuralCde {
    start: Linear,
    field: Mlp,
    width: usize,
    channels: usize,
}

impl NeuralCde {
    /// For paths of as many channels and hidden states of the given width; adds the networks
    /// `name.start` and `name.field`, whose hidden layers have the given widths.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        [channels, width]: [usize; 2],
        hidden: &[usize],
        activation: Activation,
    ) -> NeuralCde {
        let widths = [&[width], hidden, &[width * channels]].concat();
        NeuralCde {
            start: Linear::new(params, &format!("{name}.start"), channels, width),
            field: Mlp::new(params, &format!("{name}.field"), &widths, activation),
            width,
            channels,
        }
    }

    /// `F(z) dX/dt` from states `[rows, width]` and slopes of the path `[rows, channels]`.
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn field<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        z: Var<'t, T>,
        slope: Var<'t, T>,
    ) -> Var<'t, T> {
        let n = rows("NeuralCde", z, self.width);
        rows("NeuralCde", slope, self.channels);
        let matrices = self.field.forward(p, z).tanh().reshape([n, self.width, self.channels]);
        matrices.matmul(slope.reshape([n, self.channels, 1])).reshape([n, self.width])
    }

    /// The hidden states at the observations, `[times, rows, width]`.
    ///
    /// Each interval between observations is a solve of its own, so that no step crosses a jump in
    /// the path's derivatives; a number of steps is meant for each interval.
    ///
    /// # Errors
    /// Those of the solves.
    ///
    /// # Panics
    /// If the path has another number of channels.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        ode: &Ode,
        path: &Path<'t, T>,
    ) -> Result<Var<'t, T>> {
        let first = path.pieces[0][0];
        rows("NeuralCde", first, self.channels);
        let mut z = self.start.forward(p, first);
        let mut zs = vec![z];
        for (piece, w) in path.pieces.iter().zip(path.ts.windows(2)) {
            let field = |s, z| self.field(p, z, slope(piece, s));
            z = ode.solve(field, z, [0.0, w[1] - w[0]])?.index_axis(0, 1);
            zs.push(z);
        }
        Ok(Var::stack(0, &zs))
    }
}
