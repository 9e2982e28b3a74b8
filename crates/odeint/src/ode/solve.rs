//! A solve on the tape: its field recorded, then one operation.

use std::sync::Arc;

use costate_tape::{Result, Var};

use super::{Gradient, Ode, Times};
use crate::Real;
use crate::additive::{Portion, PortionRef};
use crate::error::ErrorKind;
use crate::mass::Mass;
use crate::method::Method;
use crate::operation::solve_error;
use crate::preparation::Preparation;
use crate::solve::check_times;

impl Ode {
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
        T::solve_portions(
            self,
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

    /// Solves a field that may be in parts.
    #[track_caller]
    pub(crate) fn solve_portions<'t, T: Real>(
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
        let (function, preparation) = Preparation::split(scope.function)?;
        let mut op = self.operation(function, fixed)?;
        let field = Arc::get_mut(&mut op.field).expect("it is new");
        field.mass = mass.map(|mass| Arc::new(mass.clone()));
        field.prepare(preparation);
        let inputs: Vec<_> = [y0].into_iter().chain(times).chain(scope.captured).collect();
        Ok(tape.call(Arc::new(op), &inputs)?[0])
    }
}
