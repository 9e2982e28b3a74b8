//! What is solved: a vector field on slices.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::Real;
use crate::error::FieldError;
use crate::integrator::Steps;
use crate::mass::Mass;
use crate::options::Options;
use crate::sparsity::{self, Sparsity};
use crate::stats::Stats;
use crate::tableau::{Part, Tableau};

/// A vector field `dy/dt = f(t, y)`. Closures `FnMut(f64, &[T], &mut [T])` are fields.
///
/// Only implicit methods ask for derivatives. A field that does not give them is differentiated by
/// finite differences; [`with_jacobian`] gives a closure an exact Jacobian.
pub trait Field<T: Real> {
    /// Writes `f(t, y)` to `dy`.
    ///
    /// # Errors
    /// Whatever the field finds wrong; it ends the solve.
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError>;

    /// Writes one part of `f(t, y)` to `dy`, and 0 to the rest. By default it evaluates all of it.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn eval_part(&mut self, t: f64, y: &[T], dy: &mut [T], part: Part) -> Result<(), FieldError> {
        self.eval(t, y, dy)?;
        if part != Part::All {
            part.mask(dy);
        }
        Ok(())
    }

    /// Takes the step of an explicit method from the first to the second of the times, if this field was
    /// compiled together with the method: the slopes after the first one, the new state, and its error
    /// by these absolute and relative tolerances, or where that cannot be had the error estimates.
    #[doc(hidden)]
    fn explicit_step(
        &mut self,
        times: [f64; 2],
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        tolerances: Option<[f64; 2]>,
        errors: &mut [T],
    ) -> Option<AtOnce> {
        let _ = (times, y0, k, y1, tolerances, errors);
        None
    }

    /// This field, if it takes steps by [`explicit_step`](Field::explicit_step).
    #[doc(hidden)]
    fn steps(&mut self) -> Option<&mut dyn Steps<T>> {
        None
    }

    /// Tries the step of a diagonally implicit method, if this field was compiled together with it.
    #[doc(hidden)]
    fn implicit_step(&mut self, step: ImplicitStep<'_, T>) -> Option<ImplicitAtOnce> {
        let _ = step;
        None
    }

    /// Takes the step of an explicit method from the first to the second of the times, if this field is that of
    /// a batch in blocks of rows, each of which goes through the whole step: the slopes after the first one, and
    /// the new state. `kept` has a place for what each evaluation [keeps](Field::eval_keeping), or none.
    #[doc(hidden)]
    fn step_by_rows(
        &mut self,
        tableau: &Tableau,
        times: [f64; 2],
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
        kept: &mut [&mut [T]],
    ) -> Option<Result<(), FieldError>> {
        let _ = (tableau, times, y0, k, y1, kept);
        None
    }

    /// How many numbers [`eval_keeping`](Field::eval_keeping) leaves for a backward pass.
    #[doc(hidden)]
    fn kept_len(&self) -> usize {
        0
    }

    /// [`eval_part`](Field::eval_part) that also writes to `kept` what a backward pass through this
    /// evaluation can use.
    #[doc(hidden)]
    fn eval_keeping(
        &mut self,
        t: f64,
        y: &[T],
        dy: &mut [T],
        part: Part,
        kept: &mut [T],
    ) -> Result<(), FieldError> {
        let _ = kept;
        self.eval_part(t, y, dy, part)
    }

    /// The mass matrix `M` of `M dy/dt = f(t, y)`, or `None` if it is the unit matrix, as by default.
    /// It is the same at every call. See [`with_mass`](crate::with_mass).
    fn mass(&self) -> Option<&Mass<T>> {
        None
    }

    /// Writes `∂f/∂y` at `(t, y)` to `jacobian`, row-major: entry `i n + j` is `∂f_i/∂y_j`. `dy` is
    /// `f(t, y)` up to rounding.
    ///
    /// By default by forward differences, which take `n` evaluations. An implicit method needs no
    /// exact Jacobian to be right, but its iterations converge faster with one.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        jacobian: &mut [T],
    ) -> Result<(), FieldError> {
        difference_jacobian(&mut |t, y, dy| self.eval(t, y, dy), t, y, dy, jacobian)
    }

    /// Writes the stiff part of `f(t, y)` to `dy`; see [`split`](crate::split). By default it is all of it. Only
    /// [additive](crate::AdditiveTableau) methods tell the parts apart.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn eval_stiff(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.eval(t, y, dy)
    }

    /// Writes `f(t, y)` less its [stiff part](Field::eval_stiff) to `dy`; by default 0.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn eval_rest(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        let _ = (t, y);
        dy.fill(T::zero());
        Ok(())
    }

    /// [`jacobian`](Field::jacobian) of the stiff part, which is `dy`.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn jacobian_stiff(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        jacobian: &mut [T],
    ) -> Result<(), FieldError> {
        self.jacobian(t, y, dy, jacobian)
    }

    /// The places where `∂f/∂y` may differ from 0, if they are known and few. Then implicit methods
    /// ask for the [entries there](Field::sparse_jacobian) instead of the whole matrix. It is the
    /// same at every call. See [`with_sparsity`](crate::with_sparsity).
    fn sparsity(&self) -> Option<&Arc<Sparsity>> {
        None
    }

    /// Writes the entries of `∂f/∂y` at the places of `pattern`, which is
    /// [`sparsity`](Field::sparsity), to `values`, in the order of
    /// [`Sparsity::entries`](Sparsity::entries). `dy` is `f(t, y)` up to rounding.
    ///
    /// By default by differences, an evaluation for each [colour](Sparsity::colors).
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn sparse_jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        pattern: &Sparsity,
        values: &mut [T],
    ) -> Result<(), FieldError> {
        sparsity::difference(&mut |t, y, dy| self.eval(t, y, dy), t, y, dy, pattern, values)
    }

    /// Writes `∂f/∂t` at `(t, y)` to `out`. `dy` is `f(t, y)` up to rounding. Only Rosenbrock
    /// methods ask for it.
    ///
    /// By default by a forward difference of one evaluation.
    ///
    /// # Errors
    /// Those of [`eval`](Field::eval).
    fn time_derivative(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        out: &mut [T],
    ) -> Result<(), FieldError> {
        difference_rate(&mut |t, y, dy| self.eval(t, y, dy), t, y, dy, out)
    }
}

/// What [`Field::explicit_step`] did.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct AtOnce {
    /// How often the field was evaluated.
    pub evaluations: usize,
    /// The square of the error measure; without it, the estimates were written.
    pub square: Option<f64>,
}

/// What [`Field::implicit_step`] is to do.
#[doc(hidden)]
#[derive(Debug)]
pub struct ImplicitStep<'a, T> {
    /// Start and end.
    pub times: [f64; 2],
    /// Whether it is the first try from this state.
    pub is_new: bool,
    /// The options, by which updates of iterations are measured.
    pub options: &'a Options,
    /// The absolute and the relative tolerance, if the error is to be measured by these.
    pub tolerances: Option<[f64; 2]>,
    /// The state at the start.
    pub y0: &'a [T],
    /// The slopes, the first of which is there.
    pub k: &'a mut [T],
    /// Where the new state goes.
    pub y1: &'a mut [T],
    /// Where the error estimate goes.
    pub estimate: &'a mut [T],
}

/// What [`Field::implicit_step`] did.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ImplicitAtOnce {
    /// The number of the stage that does not converge, if one does not.
    pub diverged: Option<usize>,
    /// How often the field and its Jacobian were evaluated, and matrices factored.
    pub evaluations: usize,
    pub jacobians: usize,
    pub factorisations: usize,
    /// The square of the error measure, if it could be had.
    pub square: Option<f64>,
}

impl<T: Real, F: FnMut(f64, &[T], &mut [T])> Field<T> for F {
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self(t, y, dy);
        Ok(())
    }
}

/// Methods of a field around another one, `self.$inner`, that are those of the other. They are named,
/// so that a method that is to be another one is seen to be missing.
macro_rules! forward {
    ($inner:ident: $($method:ident),*) => {
        $(crate::field::forward!(@$method $inner);)*
    };
    (@eval $inner:ident) => {
        fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
            self.$inner.eval(t, y, dy)
        }
    };
    (@eval_part $inner:ident) => {
        fn eval_part(
            &mut self,
            t: f64,
            y: &[T],
            dy: &mut [T],
            part: crate::tableau::Part,
        ) -> Result<(), FieldError> {
            self.$inner.eval_part(t, y, dy, part)
        }
    };
    (@eval_stiff $inner:ident) => {
        fn eval_stiff(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
            self.$inner.eval_stiff(t, y, dy)
        }
    };
    (@eval_rest $inner:ident) => {
        fn eval_rest(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
            self.$inner.eval_rest(t, y, dy)
        }
    };
    (@kept_len $inner:ident) => {
        fn kept_len(&self) -> usize {
            self.$inner.kept_len()
        }
    };
    (@eval_keeping $inner:ident) => {
        fn eval_keeping(
            &mut self,
            t: f64,
            y: &[T],
            dy: &mut [T],
            part: crate::tableau::Part,
            kept: &mut [T],
        ) -> Result<(), FieldError> {
            self.$inner.eval_keeping(t, y, dy, part, kept)
        }
    };
    (@mass $inner:ident) => {
        fn mass(&self) -> Option<&Mass<T>> {
            self.$inner.mass()
        }
    };
    (@sparsity $inner:ident) => {
        fn sparsity(&self) -> Option<&std::sync::Arc<crate::sparsity::Sparsity>> {
            self.$inner.sparsity()
        }
    };
    (@sparse_jacobian $inner:ident) => {
        fn sparse_jacobian(
            &mut self,
            t: f64,
            y: &[T],
            dy: &[T],
            pattern: &crate::sparsity::Sparsity,
            values: &mut [T],
        ) -> Result<(), FieldError> {
            self.$inner.sparse_jacobian(t, y, dy, pattern, values)
        }
    };
    (@$derivative:ident $inner:ident) => {
        // `jacobian`, `jacobian_stiff` and `time_derivative`.
        fn $derivative(
            &mut self,
            t: f64,
            y: &[T],
            dy: &[T],
            out: &mut [T],
        ) -> Result<(), FieldError> {
            self.$inner.$derivative(t, y, dy, out)
        }
    };
}
pub(crate) use forward;

/// [`Field::eval`] of any field.
pub(crate) type Eval<'a, T> = dyn FnMut(f64, &[T], &mut [T]) -> Result<(), FieldError> + 'a;

/// `∂f/∂y` by forward differences, with the increments of RADAU5 (E. Hairer, G. Wanner, *Solving
/// Ordinary Differential Equations II*, IV.8): the root of the unit roundoff times `y`, or times
/// 1e-5 where that is larger.
pub(crate) fn difference_jacobian<T: Real>(
    f: &mut Eval<'_, T>,
    t: f64,
    y: &[T],
    dy: &[T],
    jacobian: &mut [T],
) -> Result<(), FieldError> {
    let n = y.len();
    let mut moved: SmallVec<[T; 64]> = SmallVec::from_slice(y);
    for j in 0..n {
        moved[j] = y[j] + T::from_f64((T::EPSILON.as_f64() * y[j].as_f64().abs().max(1e-5)).sqrt());
        let column = &mut jacobian[j * n..(j + 1) * n];
        f(t, &moved, column)?;
        let reciprocal = T::one() / (moved[j] - y[j]);
        for (entry, &dy) in column.iter_mut().zip(dy) {
            *entry = (*entry - dy) * reciprocal;
        }
        moved[j] = y[j];
    }
    for i in 0..n {
        for j in 0..i {
            jacobian.swap(i * n + j, j * n + i);
        }
    }
    Ok(())
}

/// `∂f/∂t` by a forward difference.
pub(crate) fn difference_rate<T: Real>(
    f: &mut Eval<'_, T>,
    t: f64,
    y: &[T],
    dy: &[T],
    out: &mut [T],
) -> Result<(), FieldError> {
    let moved = t + (T::EPSILON.as_f64() * t.abs().max(1e-5)).sqrt();
    f(moved, y, out)?;
    let reciprocal = T::from_f64(1.0 / (moved - t));
    for (out, &dy) in out.iter_mut().zip(dy) {
        *out = (*out - dy) * reciprocal;
    }
    Ok(())
}

/// A closure with its Jacobian; see [`with_jacobian`].
#[derive(Clone, Copy, Debug)]
pub struct WithJacobian<F, J> {
    field: F,
    jacobian: J,
}

/// The field `field` with the Jacobian that `jacobian(t, y, out)` writes, row-major: entry
/// `i n + j` is `∂f_i/∂y_j`. All entries are to be written.
///
/// ```
/// use costate_odeint::{Kvaerno5, Options, solve, with_jacobian};
///
/// let field = with_jacobian(
///     |t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -1e6 * (y[0] - t.cos()),
///     |_t: f64, _y: &[f64], jacobian: &mut [f64]| jacobian[0] = -1e6,
/// );
/// let solution = solve(Kvaerno5, field, &[0.0], &[0.0, 2.0], &Options::default())?;
/// assert!((solution.y(1)[0] - 2f64.cos()).abs() < 1e-5);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
pub fn with_jacobian<T, F, J>(field: F, jacobian: J) -> WithJacobian<F, J>
where
    T: Real,
    F: FnMut(f64, &[T], &mut [T]),
    J: FnMut(f64, &[T], &mut [T]),
{
    WithJacobian { field, jacobian }
}

impl<T, F, J> Field<T> for WithJacobian<F, J>
where
    T: Real,
    F: FnMut(f64, &[T], &mut [T]),
    J: FnMut(f64, &[T], &mut [T]),
{
    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        (self.field)(t, y, dy);
        Ok(())
    }

    fn jacobian(&mut self, t: f64, y: &[T], _: &[T], out: &mut [T]) -> Result<(), FieldError> {
        (self.jacobian)(t, y, out);
        Ok(())
    }
}

/// A field whose evaluations are counted.
pub(crate) struct Counted<'a, F: ?Sized> {
    pub field: &'a mut F,
    pub stats: &'a mut Stats,
}

impl<T: Real, F: Field<T> + ?Sized> Field<T> for Counted<'_, F> {
    forward!(field: mass, sparsity, kept_len, time_derivative);

    fn eval(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.stats.f_evals += 1;
        self.field.eval(t, y, dy)
    }

    fn eval_part(&mut self, t: f64, y: &[T], dy: &mut [T], part: Part) -> Result<(), FieldError> {
        self.stats.f_evals += 1;
        self.field.eval_part(t, y, dy, part)
    }

    fn sparse_jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        pattern: &Sparsity,
        values: &mut [T],
    ) -> Result<(), FieldError> {
        self.stats.jacobian_evals += 1;
        self.field.sparse_jacobian(t, y, dy, pattern, values)
    }

    fn eval_keeping(
        &mut self,
        t: f64,
        y: &[T],
        dy: &mut [T],
        part: Part,
        kept: &mut [T],
    ) -> Result<(), FieldError> {
        self.stats.f_evals += 1;
        self.field.eval_keeping(t, y, dy, part, kept)
    }

    fn jacobian(&mut self, t: f64, y: &[T], dy: &[T], out: &mut [T]) -> Result<(), FieldError> {
        self.stats.jacobian_evals += 1;
        self.field.jacobian(t, y, dy, out)
    }

    fn eval_stiff(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.stats.f_evals += 1;
        self.field.eval_stiff(t, y, dy)
    }

    fn eval_rest(&mut self, t: f64, y: &[T], dy: &mut [T]) -> Result<(), FieldError> {
        self.stats.f_evals += 1;
        self.field.eval_rest(t, y, dy)
    }

    fn jacobian_stiff(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        out: &mut [T],
    ) -> Result<(), FieldError> {
        self.stats.jacobian_evals += 1;
        self.field.jacobian_stiff(t, y, dy, out)
    }
}
