//! Recurrent layers: a state that takes in one input after another.

use costate_odeint::Real;
use costate_tape::Var;

use crate::init::Init;
use crate::params::{Bound, Param, Params};

/// Weights of `n` gates: `x W + b` of the input and `h U` of the state.
#[derive(Clone, Copy, Debug)]
struct Gates {
    input: Param,
    state: Param,
    bias: Param,
    inputs: usize,
    width: usize,
}

impl Gates {
    /// Adds `name.input`, `[inputs, n width]`, `name.state`, `[width, n width]`, and `name.bias`,
    /// `[n width]`, all uniform in `±1/√width`.
    #[track_caller]
    fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        inputs: usize,
        width: usize,
        n: usize,
    ) -> Gates {
        assert!(width > 0, "a recurrent layer {name:?} whose state has no entries");
        let init = Init::Uniform(1.0 / (width as f64).sqrt());
        Gates {
            input: params.init(format!("{name}.input"), [inputs, n * width], init),
            state: params.init(format!("{name}.state"), [width, n * width], init),
            bias: params.init(format!("{name}.bias"), [n * width], init),
            inputs,
            width,
        }
    }

    #[track_caller]
    fn check<T: Real>(&self, name: &str, x: Var<'_, T>, states: &[Var<'_, T>]) {
        let shape = x.shape();
        let (inputs, width) = (self.inputs, self.width);
        assert!(
            shape.ndim() == 2 && shape[1] == inputs,
            "{name}: an input of shape {shape}, not [rows, {inputs}]"
        );
        for state in states {
            let (found, rows) = (state.shape(), shape[0]);
            assert!(
                *found == [rows, width],
                "{name}: a state of shape {found}, not [{rows}, {width}]"
            );
        }
    }

    /// Gate number `i` of `[rows, n width]`.
    #[track_caller]
    fn gate<'t, T: Real>(&self, gates: Var<'t, T>, i: usize) -> Var<'t, T> {
        gates.slice_axis(1, i * self.width..(i + 1) * self.width)
    }
}

/// The number of inputs of a sequence `[times, rows, inputs]`.
#[track_caller]
fn times<T: Real>(name: &str, xs: Var<'_, T>) -> usize {
    let shape = xs.shape();
    assert!(
        shape.ndim() == 3 && shape[0] > 0,
        "{name}: a sequence of shape {shape}, not [times, rows, inputs] with a time at least"
    );
    shape[0]
}

/// The gated recurrent unit (K. Cho et al., arXiv 1406.1078): with `r = σ(x W_r + h U_r + b_r)` and
/// `z = σ(x W_z + h U_z + b_z)`,
///
/// ```text
/// n = tanh(x W_n + b_n + r (h U_n + c)),   h ← (1 - z) n + z h
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Gru {
    gates: Gates,
    candidate: Param,
}

impl Gru {
    /// Adds `name.input`, `name.state`, `name.bias` (each for `r`, `z` and `n`, side by side) and
    /// `name.candidate` (`c`), uniform in `±1/√width`.
    ///
    /// # Panics
    /// If the width is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(params: &mut Params<T>, name: &str, inputs: usize, width: usize) -> Gru {
        let gates = Gates::new(params, name, inputs, width, 3);
        let init = Init::Uniform(1.0 / (width as f64).sqrt());
        Gru { gates, candidate: params.init(format!("{name}.candidate"), [width], init) }
    }

    /// The next state, from an input `[rows, inputs]` and a state `[rows, width]`.
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn step<'t, T: Real>(&self, p: &Bound<'t, T>, x: Var<'t, T>, h: Var<'t, T>) -> Var<'t, T> {
        self.gates.check("Gru", x, &[h]);
        let gates = &self.gates;
        let a = x.matmul(p[gates.input]) + p[gates.bias];
        let b = h.matmul(p[gates.state]);
        let r = (gates.gate(a, 0) + gates.gate(b, 0)).sigmoid();
        let z = (gates.gate(a, 1) + gates.gate(b, 1)).sigmoid();
        let n = (gates.gate(a, 2) + r * (gates.gate(b, 2) + p[self.candidate])).tanh();
        n + z * (h - n)
    }

    /// The states after each input of a sequence `[times, rows, inputs]`, from the state `h`:
    /// `[times, rows, width]`.
    ///
    /// # Panics
    /// If they have other shapes, or there are no times.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        xs: Var<'t, T>,
        mut h: Var<'t, T>,
    ) -> Var<'t, T> {
        let mut hs = Vec::new();
        for i in 0..times("Gru", xs) {
            h = self.step(p, xs.index_axis(0, i), h);
            hs.push(h);
        }
        Var::stack(0, &hs)
    }
}

/// Long short-term memory (S. Hochreiter, J. Schmidhuber, Neural Comput. 9 (1997) 1735; with the
/// gate that forgets of F. A. Gers et al., Neural Comput. 12 (2000) 2451): with
/// `i, f, o = σ(x W + h U + b)` and `g = tanh(x W_g + h U_g + b_g)`,
///
/// ```text
/// c ← f c + i g,   h ← o tanh c
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lstm {
    gates: Gates,
}

impl Lstm {
    /// Adds `name.input`, `name.state` and `name.bias` (each for `i`, `f`, `g` and `o`, side by
    /// side), uniform in `±1/√width`, and 1 more for the bias of `f`, so that it does not forget
    /// at first.
    ///
    /// # Panics
    /// If the width is 0, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(params: &mut Params<T>, name: &str, inputs: usize, width: usize) -> Lstm {
        let gates = Gates::new(params, name, inputs, width, 4);
        let mut bias = params.get(gates.bias).to_owned();
        bias.iter_mut().skip(width).take(width).for_each(|b| *b += T::one());
        params.set(gates.bias, &bias);
        Lstm { gates }
    }

    /// The next `h` and `c`, from an input `[rows, inputs]` and `h` and `c`, `[rows, width]`.
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn step<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        x: Var<'t, T>,
        [h, c]: [Var<'t, T>; 2],
    ) -> [Var<'t, T>; 2] {
        self.gates.check("Lstm", x, &[h, c]);
        let gates = &self.gates;
        let a = x.matmul(p[gates.input]) + h.matmul(p[gates.state]) + p[gates.bias];
        let [i, f, o] = [0, 1, 3].map(|k| gates.gate(a, k).sigmoid());
        let c = f * c + i * gates.gate(a, 2).tanh();
        [o * c.tanh(), c]
    }

    /// `h` after each input of a sequence `[times, rows, inputs]`, `[times, rows, width]`, and the
    /// last state.
    ///
    /// # Panics
    /// If they have other shapes, or there are no times.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        xs: Var<'t, T>,
        mut state: [Var<'t, T>; 2],
    ) -> (Var<'t, T>, [Var<'t, T>; 2]) {
        let mut hs = Vec::new();
        for i in 0..times("Lstm", xs) {
            state = self.step(p, xs.index_axis(0, i), state);
            hs.push(state[0]);
        }
        (Var::stack(0, &hs), state)
    }
}
