//! A solve on the tape of a field in two parts.

use costate_tape::{Result, Var};

use super::{Ode, Times};
use crate::Real;
use crate::additive::Portion;

impl Ode {
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
        T::solve_portions(
            self,
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
}
