//! The affine layer.

use costate_odeint::Real;
use costate_tape::{Shape, Var};

use crate::init::Init;
use crate::module::last_axis;
use crate::params::{Bound, Param, Params};

/// `x W + b`, with `W: [inputs, outputs]` and `b: [outputs]`.
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    /// `W`.
    pub weight: Param,
    /// `b`.
    pub bias: Param,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    /// Adds `name.weight` and `name.bias`, both uniform in `±1/√inputs`.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(params: &mut Params<T>, name: &str, inputs: usize, outputs: usize) -> Self {
        let bound = 1.0 / (inputs.max(1) as f64).sqrt();
        Linear {
            weight: params.uniform(format!("{name}.weight"), [inputs, outputs], bound),
            bias: params.uniform(format!("{name}.bias"), [outputs], bound),
            inputs,
            outputs,
        }
    }

    /// Adds `name.weight` as `init` says, and `name.bias`, zero.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn with_init<T: Real>(
        params: &mut Params<T>,
        name: &str,
        inputs: usize,
        outputs: usize,
        init: Init,
    ) -> Self {
        Linear {
            weight: params.init(format!("{name}.weight"), [inputs, outputs], init),
            bias: params.zeros(format!("{name}.bias"), [outputs]),
            inputs,
            outputs,
        }
    }

    /// From `[…, inputs]` to `[…, outputs]`.
    ///
    /// # Panics
    /// If the last length is not the number of inputs.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>) -> Var<'t, T> {
        x.matmul(p[self.weight]) + p[self.bias]
    }

    /// The lengths of its inputs and outputs.
    pub fn widths(&self) -> [usize; 2] {
        [self.inputs, self.outputs]
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        last_axis("Linear", self.widths(), input)
    }
}
