//! The layer that is linear in each of two inputs.

use costate_odeint::Real;
use costate_tape::Var;

use crate::init::Init;
use crate::params::{Bound, Param, Params};

/// `y_k = Σ_ij a_i W_ijk b_j + c_k`.
#[derive(Clone, Copy, Debug)]
pub struct Bilinear {
    /// `W`, `[left, right, outputs]`.
    pub weight: Param,
    /// `c`, `[outputs]`.
    pub bias: Param,
    sizes: [usize; 3],
}

impl Bilinear {
    /// Adds `name.weight` and `name.bias`, both uniform in `±1/√left`.
    ///
    /// # Panics
    /// If there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        left: usize,
        right: usize,
        outputs: usize,
    ) -> Bilinear {
        let init = Init::Uniform(1.0 / (left.max(1) as f64).sqrt());
        Bilinear {
            weight: params.init(format!("{name}.weight"), [left, right, outputs], init),
            bias: params.init(format!("{name}.bias"), [outputs], init),
            sizes: [left, right, outputs],
        }
    }

    /// From `[rows, left]` and `[rows, right]` to `[rows, outputs]`.
    ///
    /// # Panics
    /// If the inputs have other shapes.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        a: Var<'t, T>,
        b: Var<'t, T>,
    ) -> Var<'t, T> {
        let [left, right, outputs] = self.sizes;
        let (sa, sb) = (a.shape(), b.shape());
        let fits = sa.ndim() == 2 && sb.ndim() == 2 && sa[0] == sb[0];
        assert!(
            fits && sa[1] == left && sb[1] == right,
            "Bilinear: shapes {sa} and {sb}, not [rows, {left}] and [rows, {right}]"
        );
        let rows = sa[0];
        let matrices = a.matmul(p[self.weight].reshape([left, right * outputs]));
        let y = b.reshape([rows, 1, right]).matmul(matrices.reshape([rows, right, outputs]));
        y.reshape([rows, outputs]) + p[self.bias]
    }
}
