//! Mass matrices: equations `M dy/dt = f(t, y)`.

use crate::Real;
use crate::error::FieldError;
use crate::field::{Field, forward};

/// A constant mass matrix `M` of an equation `M dy/dt = f(t, y)`; see [`with_mass`].
#[derive(Clone, Debug, PartialEq)]
pub struct Mass<T: Real> {
    n: usize,
    /// The diagonal, or all entries row by row.
    entries: Vec<T>,
    is_diagonal: bool,
}

impl<T: Real> Mass<T> {
    /// A diagonal matrix. Where an entry is 0, the equation is algebraic.
    pub fn diagonal(entries: impl Into<Vec<T>>) -> Mass<T> {
        let entries = entries.into();
        Mass { n: entries.len(), entries, is_diagonal: true }
    }

    /// A full `n × n` matrix, row-major.
    ///
    /// # Panics
    /// If the number of entries is no square.
    #[track_caller]
    pub fn dense(entries: impl Into<Vec<T>>) -> Mass<T> {
        let entries = entries.into();
        let n = entries.len().isqrt();
        assert!(n * n == entries.len(), "Mass::dense: {} entries are no square", entries.len());
        Mass { n, entries, is_diagonal: false }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.n
    }

    /// Its entries that may differ from 0: row, column, value.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, usize, T)> {
        self.entries.iter().enumerate().map(|(i, &x)| match self.is_diagonal {
            true => (i, i, x),
            false => (i / self.n, i % self.n, x),
        })
    }

    /// `out += M x`.
    pub(crate) fn multiply_add(&self, x: &[T], out: &mut [T]) {
        for (i, j, entry) in self.entries() {
            out[i] += entry * x[j];
        }
    }

    /// `out -= M x`.
    pub(crate) fn multiply_subtract(&self, x: &[T], out: &mut [T]) {
        for (i, j, entry) in self.entries() {
            out[i] -= entry * x[j];
        }
    }

    /// `out = Mᵀ x`.
    pub(crate) fn multiply_transposed(&self, x: &[T], out: &mut [T]) {
        out.fill(T::zero());
        for (i, j, entry) in self.entries() {
            out[j] += entry * x[i];
        }
    }

    /// About the slope where `M dy/dt` is given: exact if the matrix is diagonal, and 0 where a row
    /// is. It is for sizes only.
    pub(crate) fn rough_slope(&self, dy: &mut [T]) {
        let mut largest = vec![T::zero(); self.n];
        for (i, _, entry) in self.entries() {
            largest[i] = largest[i].max(entry.abs());
        }
        for ((dy, &m), i) in dy.iter_mut().zip(&largest).zip(0..) {
            let m = if self.is_diagonal { self.entries[i] } else { m };
            *dy = if m == T::zero() { T::zero() } else { *dy / m };
        }
    }
}

/// A field with a mass matrix; see [`with_mass`].
#[derive(Clone, Debug)]
pub struct WithMass<T: Real, F> {
    field: F,
    mass: Mass<T>,
}

/// The equation `M dy/dt = field(t, y)` with a constant matrix `M`, which may be singular if the
/// equation is then a differential-algebraic one of index 1: the algebraic equations determine the
/// algebraic components.
///
/// Only [`Rodas5P`](crate::Rodas5P) and [`Bdf`](crate::Bdf) take it; others fail with
/// [`Unsupported`](crate::ErrorKind::Unsupported). The initial state must satisfy the algebraic
/// equations. Tolerances hold for all components. On a tape it is
/// [`Ode::solve_mass`](crate::Ode::solve_mass).
///
/// Robertson's kinetics, whose third equation is the conservation of mass:
///
/// ```
/// use costate_odeint::{Mass, Options, Rodas5P, solve, with_mass};
///
/// let f = |_t: f64, y: &[f64], dy: &mut [f64]| {
///     let (a, b, c) = (0.04 * y[0], 1e4 * y[1] * y[2], 3e7 * y[1] * y[1]);
///     dy[0] = b - a;
///     dy[1] = a - b - c;
///     dy[2] = y[0] + y[1] + y[2] - 1.0;
/// };
/// let field = with_mass(f, Mass::diagonal([1.0, 1.0, 0.0]));
/// let options = Options::tolerance(1e-6, 1e-10);
/// let solution = solve(Rodas5P, field, &[1.0, 0.0, 0.0], &[0.0, 40.0], &options)?;
/// assert!((solution.y(1)[0] - 0.7158).abs() < 1e-4);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
pub fn with_mass<T: Real, F: Field<T>>(field: F, mass: Mass<T>) -> WithMass<T, F> {
    WithMass { field, mass }
}

impl<T: Real, F: Field<T>> Field<T> for WithMass<T, F> {
    forward!(field: eval, eval_part, eval_stiff, eval_rest, kept_len, eval_keeping);
    forward!(field: jacobian, jacobian_stiff, sparsity, sparse_jacobian, time_derivative);

    fn mass(&self) -> Option<&Mass<T>> {
        Some(&self.mass)
    }
}
