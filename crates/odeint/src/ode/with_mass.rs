//! A solve on the tape with a mass matrix.

use costate_tape::{Result, Var};

use super::{Gradient, Ode, Times};
use crate::Real;
use crate::additive::Portion;
use crate::error::ErrorKind;
use crate::mass::Mass;
use crate::operation::solve_error;

impl Ode {
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
        T::solve_portions(
            self,
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
}
