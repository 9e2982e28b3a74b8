//! Weights that vary along depth.

use costate_odeint::Real;
use costate_tape::Var;

use crate::init::Init;
use crate::params::{Bound, Param, Params};

/// Functions of time, from 0 to 1, whose combinations the weights are: `θ(t) = Σ_j φ_j(t) θ_j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Basis {
    /// `φ = 1`: the same weights at all times.
    Constant,
    /// As many equal pieces, each with its own weights: a stack of layers, each an ODE.
    Piecewise(usize),
    /// Linear between as many equidistant knots, at least two, from time 0 to time 1.
    Linear(usize),
    /// `1, cos 2πkt, sin 2πkt` for `k` up to the given number (S. Massaroli et al.,
    /// arXiv 2002.08071).
    Fourier(usize),
}

impl Basis {
    /// How many functions there are.
    pub fn len(self) -> usize {
        match self {
            Basis::Constant => 1,
            Basis::Piecewise(n) | Basis::Linear(n) => n,
            Basis::Fourier(k) => 2 * k + 1,
        }
    }

    /// Whether there are none, which is no basis.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The functions at time `t`, 0-d: `[len]`. Before 0 and after 1 they go on as they are there,
    /// those of Fourier periodically.
    ///
    /// # Panics
    /// If there are no pieces, or fewer than two knots, or `t` is not 0-d.
    #[track_caller]
    pub fn at<T: Real>(self, t: Var<'_, T>) -> Var<'_, T> {
        self.check();
        let (tape, shape) = (t.tape(), t.shape());
        assert!(shape.ndim() == 0, "Basis: a time of shape {shape}");
        let t = t.reshape([1]);
        let numbers = |f: fn(f64) -> f64, n: usize| {
            let entries: Vec<T> = (0..n).map(|j| T::from_f64(f(j as f64))).collect();
            tape.leaf(&entries, [n])
        };
        match self {
            Basis::Constant => tape.leaf(&[T::one()], [1]),
            Basis::Piecewise(n) => {
                // Where in the pieces, kept inside the first and the last one.
                let last = T::from_f64((n - 1) as f64);
                let piece = t.scale(T::from_f64(n as f64)).floor().clamp(T::zero(), last);
                numbers(|j| j, n).eq(piece)
            }
            Basis::Linear(n) => {
                let place = t.clamp(T::zero(), T::one()).scale(T::from_f64((n - 1) as f64));
                (place - numbers(|j| j, n)).abs().affine(-T::one(), T::one()).relu()
            }
            Basis::Fourier(k) => {
                let angles = t * numbers(|j| std::f64::consts::TAU * (j + 1.0), k);
                Var::concat(0, &[tape.leaf(&[T::one()], [1]), angles.cos(), angles.sin()])
            }
        }
    }

    #[track_caller]
    fn check(self) {
        let fits = match self {
            Basis::Constant | Basis::Fourier(_) => true,
            Basis::Piecewise(n) => n > 0,
            Basis::Linear(n) => n > 1,
        };
        assert!(fits, "{self:?}: at least one piece, or two knots");
    }
}

/// The affine layer `x W(t) + b(t)` whose weights vary with time, each a combination of the
/// functions of a [`Basis`].
#[derive(Clone, Copy, Debug)]
pub struct TimeLinear {
    /// `W`, `[basis.len(), inputs, outputs]`.
    pub weight: Param,
    /// `b`, `[basis.len(), outputs]`.
    pub bias: Param,
    /// The functions of time.
    pub basis: Basis,
    inputs: usize,
    outputs: usize,
}

impl TimeLinear {
    /// Adds `name.weight` and `name.bias`. At first they do not vary: the weights as `init` says,
    /// the biases 0.
    ///
    /// # Panics
    /// If the basis has no pieces, or fewer than two knots, or there is a parameter of such a name.
    #[track_caller]
    pub fn new<T: Real>(
        params: &mut Params<T>,
        name: &str,
        inputs: usize,
        outputs: usize,
        basis: Basis,
        init: Init,
    ) -> TimeLinear {
        basis.check();
        let n = basis.len();
        let first: Vec<T> = init.draw(params.rng(), [inputs, outputs]);
        let mut place = 0;
        let weight = params.add(format!("{name}.weight"), [n, inputs, outputs], |_| {
            let (j, i) = (place / first.len(), place % first.len());
            place += 1;
            let varies = matches!(basis, Basis::Fourier(_)) && j > 0;
            if varies { T::zero() } else { first[i] }
        });
        let bias = params.zeros(format!("{name}.bias"), [n, outputs]);
        TimeLinear { weight, bias, basis, inputs, outputs }
    }

    /// From `[…, inputs]` to `[…, outputs]`, at time `t`, 0-d.
    ///
    /// # Panics
    /// If they have other shapes.
    #[track_caller]
    pub fn forward<'t, T: Real>(
        &self,
        p: &Bound<'t, T>,
        t: Var<'t, T>,
        x: Var<'t, T>,
    ) -> Var<'t, T> {
        let (n, inputs, outputs) = (self.basis.len(), self.inputs, self.outputs);
        let (w, b) = if self.basis == Basis::Constant {
            (p[self.weight].reshape([inputs, outputs]), p[self.bias].reshape([outputs]))
        } else {
            let phi = self.basis.at(t);
            let w = phi.matmul(p[self.weight].reshape([n, inputs * outputs]));
            (w.reshape([inputs, outputs]), phi.matmul(p[self.bias]))
        };
        x.matmul(w) + b
    }
}
