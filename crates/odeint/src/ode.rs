//! The differentiable solve.

mod gradient;
mod recorded;
mod times;
mod unrolled;

use std::sync::Arc;

use costate_ops::Real;
use costate_tape::{Function, Result, Var};

pub use self::gradient::Gradient;
pub(crate) use self::recorded::Recorded;
pub use self::times::Times;
use crate::additive::{Portion, PortionRef};
use crate::error::ErrorKind;
use crate::instrument::Probe;
use crate::integrator::check_atol;
use crate::mass::Mass;
use crate::memory::Memory;
use crate::method::Method;
use crate::operation::{AdjointState, Passes, SolveOp, SolveState, solve_error};
use crate::options::{Options, Stepping};
use crate::solve::check_times;
use crate::stats::Stats;
use crate::tangent::TangentState;
use crate::vector_field::VectorField;

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

    /// Solves `dy/dt = f(t, y)`, `y(ts[0]) = y0`, and returns the states at `ts`, stacked along a
    /// new first axis: shape `[ts.len(), …shape of y0]`.
    ///
    /// `f` gets the time, 0-d, and the state, and is recorded once; whatever else it touches is
    /// captured, so that gradients flow to it, to `y0`, and to `ts` if that is a variable. `ts`
    /// increases or decreases throughout; states between steps come from the interpolant.
    ///
    /// A field that reads numbers ([`Var::value`]) is recorded again at every evaluation and
    /// differentiated by [`Gradient::Unrolled`], whatever was chosen.
    ///
    /// # Errors
    /// If the times or options make no sense or the solve fails; `call_error` of the error holds
    /// the [`Error`](crate::Error) with the solution so far.
    ///
    /// # Panics
    /// If `f` returns another shape than that of the state.
    #[track_caller]
    pub fn solve<'a, 't, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        self.try_solve(|t, y| Ok(f(t, y)), y0, ts)
    }

    /// [`solve`](Ode::solve) with a field that may fail to record, such as one that solves another
    /// equation.
    ///
    /// # Errors
    /// Those of [`solve`](Ode::solve), and those of `f`.
    ///
    /// # Panics
    /// If `f` returns another shape than that of the state.
    #[track_caller]
    pub fn try_solve<'a, 't, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        self.solve_portions(
            &|portion, t, y| match portion {
                Portion::Rest => Ok(y.zeros_like()),
                _ => f(t, y),
            },
            false,
            None,
            y0,
            ts.into(),
        )
    }

    /// [`solve`](Ode::solve) of `M dy/dt = f(t, y)` with a constant [mass matrix](Mass), which may be
    /// singular: a differential-algebraic equation of index 1.
    ///
    /// For [`Bdf`](crate::Bdf), with [`Gradient::Exact`], `Forward` or `Unrolled`. The initial state must
    /// satisfy the algebraic equations. If it depends on what is differentiated, that has to be on the
    /// tape: the gradient is that of the steps, which take an initial state that does not satisfy them
    /// as it is.
    ///
    /// ```
    /// use costate_odeint::{Bdf, Mass, Ode};
    /// use costate_tape::{Tape, Var};
    /// use ndarray::arr1;
    ///
    /// // x' = -k x, and z = 2 x.
    /// let tape = Tape::<f64>::new();
    /// let (y0, k) = (tape.constant(&arr1(&[1.0, 2.0])), tape.scalar(0.5));
    /// let ode = Ode::new(Bdf).tolerance(1e-8, 1e-8);
    /// let ys = ode.solve_mass(
    ///     |_t, y| {
    ///         let (x, z) = (y.index_axis(0, 0), y.index_axis(0, 1));
    ///         Var::stack(0, &[-(k * x), x * 2.0 - z])
    ///     },
    ///     &Mass::diagonal([1.0, 0.0]),
    ///     y0,
    ///     [0.0, 2.0],
    /// )?;
    /// let z = ys.index_axis(0, 1).index_axis(0, 1);
    /// // z = 2 exp(-2 k).
    /// let d_k = z.grad(&[k])?[0].item();
    /// assert!((d_k + 4.0 * (-1f64).exp()).abs() < 1e-6);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`solve`](Ode::solve), and if the method or the gradient does not take a mass matrix, or
    /// it has another number of rows than the state has components.
    ///
    /// # Panics
    /// If the field returns another shape than that of the state.
    #[track_caller]
    pub fn solve_mass<'a, 't, T: Real>(
        &self,
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        mass: &Mass<T>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        self.check_mass(mass, y0.shape().numel())?;
        self.solve_portions(
            &|portion, t, y| match portion {
                Portion::Rest => Ok(y.zeros_like()),
                _ => Ok(f(t, y)),
            },
            false,
            Some(mass),
            y0,
            ts.into(),
        )
    }

    /// Checks that the method and the gradient take a mass matrix.
    fn check_mass<T: Real>(&self, mass: &Mass<T>, components: usize) -> Result<()> {
        let method = self.method.tableau().name;
        let discrete = [Gradient::Exact, Gradient::Forward, Gradient::Unrolled];
        if !self.method.tableau().is_multistep() || !discrete.contains(&self.gradient) {
            let what = "solve equations with a mass matrix on a tape by this gradient; take Bdf, and \
                        `Gradient::Exact`, `Forward` or `Unrolled`";
            return Err(solve_error(ErrorKind::Unsupported { method, what }));
        }
        let rows = mass.rows();
        if rows != components {
            return Err(solve_error(ErrorKind::WrongMass { rows, components }));
        }
        Ok(())
    }

    /// [`solve`](Ode::solve) of `dy/dt = stiff(t, y) + rest(t, y)`, a field in two parts as
    /// [`split`](crate::split) makes one on slices.
    ///
    /// An additive method such as [`KenCarp4Imex`](crate::KenCarp4Imex) solves only the stiff part
    /// implicitly, and its exact gradient goes back through the explicit stages by reverse stages and
    /// through the implicit ones by transposed systems with the stiff part's Jacobian. To any other
    /// method it is one field.
    ///
    /// ```
    /// use costate_odeint::{KenCarp4Imex, Ode};
    /// use costate_tape::Tape;
    /// use ndarray::arr1;
    ///
    /// // A fast decay to cos(t), times a parameter.
    /// let tape = Tape::<f64>::new();
    /// let (y0, size) = (tape.constant(&arr1(&[1.0])), tape.scalar(3.0));
    /// let ys = Ode::new(KenCarp4Imex).solve_split(
    ///     |_t, y| y * -1e4,
    ///     |t, _y| (t.cos() * size * 1e4).reshape([1]),
    ///     y0,
    ///     [0.0, 2.0],
    /// )?;
    /// let d_size = ys.index_axis(0, 1).sum().grad(&[size])?[0].item();
    /// assert!((d_size - 2f64.cos()).abs() < 1e-3);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`solve`](Ode::solve).
    ///
    /// # Panics
    /// If a part returns another shape than that of the state.
    #[track_caller]
    pub fn solve_split<'a, 't, T: Real>(
        &self,
        stiff: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        rest: impl Fn(Var<'t, T>, Var<'t, T>) -> Var<'t, T>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        self.try_solve_split(|t, y| Ok(stiff(t, y)), |t, y| Ok(rest(t, y)), y0, ts)
    }

    /// [`solve_split`](Ode::solve_split) with parts that may fail to record.
    ///
    /// # Errors
    /// Those of [`solve`](Ode::solve), and those of the parts.
    ///
    /// # Panics
    /// If a part returns another shape than that of the state.
    #[track_caller]
    pub fn try_solve_split<'a, 't, T: Real>(
        &self,
        stiff: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
        rest: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        ts: impl Into<Times<'a, 't, T>>,
    ) -> Result<Var<'t, T>> {
        let same = |what: &str, part: Var<'t, T>, y: Var<'t, T>| {
            let (found, expected) = (part.shape(), y.shape());
            assert!(
                found == expected,
                "solve_split: the {what} returns shape {found} for a state of shape {expected}"
            );
            part
        };
        let stiff = |t, y| Ok::<_, costate_tape::Error>(same("stiff part", stiff(t, y)?, y));
        let rest = |t, y| Ok::<_, costate_tape::Error>(same("rest", rest(t, y)?, y));
        self.solve_portions(
            &|portion, t, y| match portion {
                Portion::All => Ok(stiff(t, y)? + rest(t, y)?),
                Portion::Stiff => stiff(t, y),
                Portion::Rest => rest(t, y),
            },
            true,
            None,
            y0,
            ts.into(),
        )
    }

    /// Solves a field that may be in parts. Compiled once for all fields.
    #[track_caller]
    fn solve_portions<'t, T: Real>(
        &self,
        f: &PortionRef<'_, 't, T>,
        in_parts: bool,
        mass: Option<&Mass<T>>,
        y0: Var<'t, T>,
        ts: Times<'_, 't, T>,
    ) -> Result<Var<'t, T>> {
        let tape = y0.tape();
        let loc = std::panic::Location::caller();
        let (fixed, times): (Option<Arc<[f64]>>, _) = match ts {
            Times::Fixed(ts) => (Some(ts.as_ref().into()), None),
            Times::Var(ts) => {
                let shape = ts.shape();
                assert!(shape.ndim() == 1, "solve: times of shape {shape}; they need one axis");
                (None, Some(ts))
            }
        };
        // Bad input is reported before anything is recorded.
        match (&fixed, times) {
            (Some(ts), _) => check_times(ts).map_err(solve_error)?,
            (_, Some(ts)) if ts.shape().numel() == 0 => {
                return Err(solve_error(ErrorKind::EmptyTimes));
            }
            _ => {}
        }
        if y0.shape().numel() == 0 {
            return Err(solve_error(ErrorKind::EmptyState));
        }
        self.check(y0.shape().numel())?;
        let checked = |portion, t: Var<'t, T>, y: Var<'t, T>| {
            let slope = f(portion, t, y)?;
            let (found, expected) = (slope.shape(), y.shape());
            assert!(
                found == expected,
                "solve: the field of the solve at {loc} returns shape {found} for a state of \
                 shape {expected}"
            );
            Ok(slope)
        };

        let start = match (&fixed, times) {
            (Some(ts), _) => tape.scalar(T::from_f64(ts[0])),
            (_, Some(ts)) => ts.index_axis(0, 0),
            _ => unreachable!("times are fixed or a variable"),
        };
        let portions: &[Portion] = match in_parts && matches!(self.method, Method::Additive(_)) {
            true => &[Portion::All, Portion::Stiff, Portion::Rest],
            false => &[Portion::All],
        };
        let scope = tape.scope(&[start, y0], |x| {
            portions.iter().map(|&portion| checked(portion, x[0], x[1])).collect::<Result<_>>()
        })?;
        if self.gradient == Gradient::Unrolled || scope.function.is_value_dependent() {
            return self.unrolled(tape, &checked, mass, y0, fixed, times, None);
        }
        let mut op = self.operation(scope.function, fixed)?;
        if let Some(mass) = mass {
            let field = Arc::get_mut(&mut op.field).expect("it is new");
            field.mass = Some(Arc::new(mass.clone()));
        }
        let captured = scope.captured.iter().copied();
        let inputs: Vec<_> = [y0].into_iter().chain(times).chain(captured).collect();
        Ok(tape.call(Arc::new(op), &inputs)?[0])
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

    /// The solve of a recorded field, whose inputs are the time, the state and what it captures.
    #[track_caller]
    pub(crate) fn apply<'t, T: Real>(
        &self,
        field: Function<T>,
        captured: &[Var<'t, T>],
        y0: Var<'t, T>,
        fixed: Option<Arc<[f64]>>,
        times: Option<Var<'t, T>>,
        probe: Probe<T>,
    ) -> Result<Var<'t, T>> {
        let tape = y0.tape();
        self.check(y0.shape().numel())?;
        if self.gradient == Gradient::Unrolled {
            let parts = field.output_shapes().len() > 1;
            let at = |portion: Portion, t: Var<'t, T>, y: Var<'t, T>| {
                let inputs: Vec<_> = [t, y].iter().chain(captured).copied().collect();
                let all = field.inline(tape, &inputs)?;
                Ok(match portion {
                    Portion::Stiff if parts => all[1],
                    Portion::Rest if parts => all[2],
                    Portion::Rest => y.zeros_like(),
                    _ => all[0],
                })
            };
            return self.unrolled(tape, &at, None, y0, fixed, times, probe.grid.as_deref());
        }
        let op = SolveOp { probe, ..self.operation(field, fixed)? };
        let captured = captured.iter().copied();
        let inputs: Vec<_> = [y0].into_iter().chain(times).chain(captured).collect();
        Ok(tape.call(Arc::new(op), &inputs)?[0])
    }

    /// The operation of a solve at these times, or at those of its second input.
    pub(crate) fn operation<T: Real>(
        &self,
        field: Function<T>,
        times: Option<Arc<[f64]>>,
    ) -> Result<SolveOp<T>> {
        let tableau = self.method.tableau();
        let mut field = match field.output_shapes().len() {
            1 => VectorField::new(field)?,
            _ => VectorField::new(field.with_outputs(&[0]))?
                .with_parts(field.with_outputs(&[1]), field.with_outputs(&[2]))?,
        };
        field = field.for_method(self.method)?;
        if self.gradient == Gradient::Exact && !self.method.needs_jacobian() && !tableau.coupled {
            field = field.keeping(times.is_none())?;
        }
        Ok(SolveOp {
            method: self.method,
            options: self.options,
            atol: self.atol.clone(),
            gradient: self.gradient,
            memory: self.memory,
            activations: self.activations,
            times,
            field: Arc::new(field),
            probe: Probe::default(),
            passes: Passes::default(),
        })
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
