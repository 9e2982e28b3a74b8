//! The multi-layer perceptron.

use costate_odeint::Real;
use costate_tape::{Shape, Var};

use super::{Activation, Linear};
use crate::module::last_axis;
use crate::params::{Bound, Params};

/// Affine layers with an activation between them, and none after the last.
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    activation: Activation,
}

impl Mlp {
    /// A network of the given widths, from inputs to outputs; layer `i` is named `name.i`.
    ///
    /// # Panics
    /// If there are fewer than two widths, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        widths: &[usize],
        activation: Activation,
    ) -> Mlp {
        assert!(widths.len() >= 2, "Mlp: widths {widths:?} lack inputs or outputs");
        let layers = widths
            .windows(2)
            .enumerate()
            .map(|(i, w)| Linear::new(params, &format!("{name}.{i}"), w[0], w[1]))
            .collect();
        Mlp { layers, activation }
    }

    /// Its first layer.
    pub fn first(&self) -> Linear {
        self.layers[0]
    }

    /// Its last layer.
    pub fn last(&self) -> Linear {
        *self.layers.last().expect("at least one layer")
    }

    /// From `[…, inputs]` to `[…, outputs]`.
    ///
    /// # Panics
    /// If the last length is not the number of inputs.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        let (last, hidden) = self.layers.split_last().expect("at least one layer");
        let mut x = x;
        // A loop, since a panic in a closure would not name the caller's line.
        for layer in hidden {
            x = self.activation.apply(layer.forward(p, x));
        }
        last.forward(p, x)
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        last_axis("Mlp", [self.first().widths()[0], self.last().widths()[1]], input)
    }
}
