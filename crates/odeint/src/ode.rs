//! The differentiable solve.

mod compiled;
mod gradient;
mod in_parts;
mod recorded;
mod solve;
mod times;
mod unrolled;
mod with_mass;

use std::sync::Arc;

use costate_tape::{Result, Var};

pub use self::gradient::Gradient;
pub(crate) use self::recorded::Recorded;
pub use self::times::Times;
use crate::Real;
use crate::error::ErrorKind;
use crate::integrator::check_atol;
use crate::memory::Memory;
use crate::method::Method;
use crate::operation::{AdjointState, SolveState, solve_error};
use crate::options::{Options, Stepping};
use crate::stats::Stats;
use crate::tangent::TangentState;

/// An initial-value problem solver whose solve is an operation of the tape.
///
/// ```
/// use costate_odeint::{Ode, Tsit5};
/// use costate_tape::Tape;
/// use ndarray::arr1;
///
/// let tape = Tape::new();
/// let rate = tape.scalar(0.5);
/// let y0 = tape.constant(&arr1(&[2.0]));
/// let ode = Ode::new(Tsit5).tolerance(1e-9, 1e-9);
/// // dy/dt = -rate y, so y(2) = 2 exp(-2 rate).
/// let ys = ode.solve(|_t, y| -(rate * y), y0, [0.0, 2.0])?;
/// let end = ys.index_axis(0, 1).sum();
/// let d_rate = end.grad(&[rate])?[0];
/// assert!((d_rate.item() + 4.0 * (-1f64).exp()).abs() < 1e-7);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # With respect to what
///
/// | derivatives with respect to | by |
/// | --- | --- |
/// | the initial state | `y0` |
/// | parameters, and all else that the field touches | being captured by it |
/// | the first and the last time, and every saved one | `ts` that is a variable |
/// | what the functions of events and the changes there capture | [`event`](Ode::event) |
/// | each sample's own state, times and inputs | [`solve_each`](Ode::solve_each), [`solve_each_with`](Ode::solve_each_with) |
/// | parameters of a steady state | [`steady_state`](crate::steady_state) |
///
/// The derivatives of the time of an event, and of the states before and after it, are had in the
/// same way. Tolerances and other options are numbers, and have none: a gradient is that of what was
/// computed on the steps that were taken, and how those were chosen does not enter it. The
/// derivative with respect to a tolerance is that of an error, and no smooth function.
#[derive(Clone, Debug)]
pub struct Ode {
    pub(crate) method: Method,
    pub(crate) options: Options,
    pub(crate) gradient: Gradient,
    pub(crate) memory: Memory,
    activations: usize,
    /// An absolute tolerance for each component, or none.
    pub(crate) atol: Arc<[f64]>,
}

/// The most memory for activations, in bytes, unless another is chosen.
const ACTIVATIONS: usize = 1 << 28;

impl Ode {
    /// A solver with the default tolerance and the exact gradient.
    pub fn new(method: impl Into<Method>) -> Ode {
        Ode {
            method: method.into(),
            options: Options::default(),
            gradient: Gradient::Exact,
            memory: Memory::Stages,
            activations: ACTIVATIONS,
            atol: Arc::default(),
        }
    }

    /// With the given relative and absolute tolerance.
    pub fn tolerance(mut self, rtol: f64, atol: f64) -> Ode {
        (self.options.rtol, self.options.atol) = (rtol, atol);
        self
    }

    /// With an absolute tolerance for each component of the state, in the order of its entries, as
    /// [`Solver::atol_each`](crate::Solver::atol_each): of use where components have very different
    /// sizes. The error of a step is then measured as
    ///
    /// ```text
    /// √(1/n Σ_i (e_i / (atol_i + rtol · max(|y_i| before, |y_i| after)))²)
    /// ```
    ///
    /// and takes the place of that with one [`atol`](crate::Options::atol) for all, which is left for
    /// what is no component of the state: [`Gradient::Continuous`] and [`Gradient::Interpolated`] solve
    /// for cotangents by it. It has no part in the gradient, as other tolerances have none. In
    /// [`solve_each`](Ode::solve_each) the tolerances are for the components of one sample.
    ///
    /// Robertson's reaction has a component that is ten thousand times smaller than the others:
    ///
    /// ```
    /// use costate_odeint::{Kvaerno5, Ode};
    /// use costate_tape::{Tape, Var};
    /// use ndarray::arr1;
    ///
    /// let tape = Tape::<f64>::new();
    /// let (y0, rate) = (tape.constant(&arr1(&[1.0, 0.0, 0.0])), tape.scalar(0.04));
    /// let ode = Ode::new(Kvaerno5).tolerance(1e-6, 1e-6).atol_each([1e-8, 1e-12, 1e-8]);
    /// let ys = ode.solve(
    ///     |_t, y| {
    ///         let [a, b, c] = [0, 1, 2].map(|i| y.index_axis(0, i));
    ///         let (slow, fast, back) = (rate * a, b * b * 3e7, b * c * 1e4);
    ///         Var::stack(0, &[back - slow, slow - fast - back, fast])
    ///     },
    ///     y0,
    ///     [0.0, 40.0],
    /// )?;
    /// let b = ys.index_axis(0, 1).index_axis(0, 1);
    /// assert!((b.item() / 9.185534765e-6 - 1.0).abs() < 1e-5);
    /// assert!(b.grad(&[rate])?[0].item().is_finite());
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// A solve fails with [`ErrorKind::WrongTolerances`] if there are not as many as components.
    pub fn atol_each(mut self, atol: impl Into<Vec<f64>>) -> Ode {
        self.atol = atol.into().into();
        self
    }

    /// With as many equal steps over the whole time.
    pub fn steps(mut self, n: usize) -> Ode {
        self.options.stepping = Stepping::Steps(n);
        self
    }

    /// With other options.
    pub fn options(mut self, options: Options) -> Ode {
        self.options = options;
        self
    }

    /// With steps that end at the saved times; see
    /// [`stop_at_saves`](crate::Options::stop_at_saves).
    pub fn stop_at_saves(mut self) -> Ode {
        self.options.stop_at_saves = true;
        self
    }

    /// With another limit to the memory, in bytes, in which [`Gradient::Exact`] keeps activations
    /// of the field for the backward pass; by default 256 MiB.
    ///
    /// Those of later steps are computed again, so the gradient is the same to the bit. With 0 all
    /// are: a solve then keeps states and slopes only.
    pub fn activations(mut self, bytes: usize) -> Ode {
        self.activations = bytes;
        self
    }

    /// With less kept for the backward pass of [`Gradient::Exact`], which then takes steps again;
    /// the gradient is the same to the bit.
    pub fn memory(mut self, memory: Memory) -> Ode {
        self.memory = memory;
        self
    }

    /// With another way to the gradient.
    pub fn gradient(mut self, gradient: Gradient) -> Ode {
        self.gradient = gradient;
        self
    }

    pub(crate) fn method(&self) -> Method {
        self.method
    }

    pub(crate) fn with_method(mut self, method: Method) -> Ode {
        self.method = method;
        self
    }

    pub(crate) fn chosen_options(&self) -> &Options {
        &self.options
    }

    /// Whether the method has this way to the gradient, the options of that make sense, and the
    /// tolerances fit a state of so many components.
    pub(crate) fn check(&self, components: usize) -> Result<()> {
        if !self.atol.is_empty() {
            check_atol(&self.atol, &self.options, components).map_err(solve_error)?;
        }
        if self.memory == Memory::Checkpoints(0) {
            let (option, expected) = ("checkpoints", "at least 1");
            return Err(solve_error(ErrorKind::BadOption { option, value: 0.0, expected }));
        }
        let tableau = self.method.tableau();
        let continuous = [Gradient::Continuous, Gradient::Interpolated].contains(&self.gradient);
        let reversible = matches!(self.method, Method::Reversible(_));
        if self.gradient == Gradient::Reversible && !reversible {
            return Err(solve_error(ErrorKind::NotReversible { method: tableau.name }));
        }
        if self.gradient == Gradient::Forward && reversible {
            let what = "give tangents of its steps in batches; use another gradient";
            return Err(solve_error(ErrorKind::Unsupported { method: tableau.name, what }));
        }
        if continuous && tableau.is_partitioned() {
            return Err(solve_error(ErrorKind::NoContinuousAdjoint { method: tableau.name }));
        }
        Ok(())
    }

    /// What the solve that made `x` did, or if `x` is a cotangent from a backward pass, what that
    /// pass did.
    ///
    /// `None` if `x` is neither, or the solve was unrolled. Reads numbers, so a function that is
    /// recorded around it cannot be compiled: see [`Var::value`].
    pub fn stats<T: Real>(x: Var<'_, T>) -> Option<Stats> {
        let read = |state: &dyn std::any::Any| {
            let solve = state.downcast_ref::<SolveState<T>>().map(|state| state.stats);
            let tangent = || state.downcast_ref::<TangentState<T>>().map(|state| state.stats);
            solve
                .or_else(tangent)
                .or_else(|| state.downcast_ref::<AdjointState<T>>().map(|state| state.stats))
        };
        x.tape().read_state(x, read).flatten()
    }
}
