//! Where a Jacobian may differ from 0, and how it is found in few evaluations.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::Real;
use crate::error::FieldError;
use crate::field::{Eval, Field, forward};
use crate::mass::Mass;

/// The places where the Jacobian `∂f/∂y` of a field may differ from 0, column by column, and a
/// colouring of its columns: those of one colour have no row in common, so that one difference, or
/// one product with a vector, finds all their entries (A. R. Curtis, M. J. D. Powell, J. K. Reid,
/// IMA J. Appl. Math. 13 (1974) 117).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sparsity {
    n: usize,
    /// Where in `rows` each column starts.
    starts: Vec<usize>,
    rows: Vec<usize>,
    colors: Vec<usize>,
    count: usize,
}

impl Sparsity {
    /// Those of an `n × n` matrix at the given rows and columns, in any order and perhaps more than
    /// once.
    ///
    /// ```
    /// use costate_odeint::Sparsity;
    ///
    /// // Three neighbours in a row of a hundred.
    /// let entries = (0..100).flat_map(|i| (i.max(1) - 1..(i + 2).min(100)).map(move |j| (i, j)));
    /// let pattern = Sparsity::new(100, entries);
    /// assert_eq!((pattern.len(), pattern.colors()), (298, 3));
    /// ```
    ///
    /// # Panics
    /// If a row or column is not below `n`.
    #[track_caller]
    pub fn new(n: usize, entries: impl IntoIterator<Item = (usize, usize)>) -> Sparsity {
        let mut columns = vec![Vec::new(); n];
        for (i, j) in entries {
            assert!(i < n && j < n, "Sparsity::new: entry ({i}, {j}) of a matrix with {n} rows");
            columns[j].push(i);
        }
        let (mut starts, mut rows) = (vec![0], Vec::new());
        for column in &mut columns {
            column.sort_unstable();
            column.dedup();
            rows.extend_from_slice(column);
            starts.push(rows.len());
        }
        let mut pattern = Sparsity { n, starts, rows, colors: Vec::new(), count: 0 };
        pattern.color();
        pattern
    }

    /// Finds out where the field at `(t, y)` depends on the state, by `n` evaluations in which one
    /// component is NaN.
    ///
    /// What the field does not use at that time and state is not found, nor what it uses only to
    /// decide; then give the places by [`new`](Sparsity::new).
    ///
    /// # Errors
    /// Those of the field.
    pub fn detect<T: Real>(
        field: &mut dyn Field<T>,
        t: f64,
        y: &[T],
    ) -> Result<Sparsity, FieldError> {
        let n = y.len();
        let (mut moved, mut dy) = (y.to_vec(), vec![T::zero(); n]);
        let mut entries = Vec::new();
        for j in 0..n {
            moved[j] = T::from_f64(f64::NAN);
            field.eval(t, &moved, &mut dy)?;
            entries.extend((0..n).filter(|&i| dy[i].is_nan()).map(|i| (i, j)));
            moved[j] = y[j];
        }
        Ok(Sparsity::new(n, entries))
    }

    /// Gives each column the first colour that no column has with which it shares a row; those with
    /// many entries first.
    fn color(&mut self) {
        let mut columns_of = vec![Vec::new(); self.n];
        for (i, j) in self.entries() {
            columns_of[i].push(j);
        }
        let mut order: Vec<usize> = (0..self.n).collect();
        order.sort_by_key(|&j| std::cmp::Reverse(self.column(j).len()));
        const NONE: usize = usize::MAX;
        let mut colors = vec![NONE; self.n];
        // For each colour, the last column that could not have it.
        let mut taken: Vec<usize> = Vec::new();
        for j in order {
            for &i in self.column(j) {
                for &other in &columns_of[i] {
                    if colors[other] != NONE {
                        taken[colors[other]] = j;
                    }
                }
            }
            let free = taken.iter().position(|&column| column != j).unwrap_or(taken.len());
            if free == taken.len() {
                taken.push(NONE);
            }
            colors[j] = free;
        }
        (self.count, self.colors) = (taken.len(), colors);
    }

    /// The number of rows and columns.
    pub fn rows(&self) -> usize {
        self.n
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many colours the columns have: how many products find the matrix.
    pub fn colors(&self) -> usize {
        self.count
    }

    /// The row and column of each entry, column by column.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.n).flat_map(|j| self.column(j).iter().map(move |&i| (i, j)))
    }

    /// The rows of the entries of a column.
    fn column(&self, j: usize) -> &[usize] {
        &self.rows[self.starts[j]..self.starts[j + 1]]
    }

    /// The colour of each column.
    pub(crate) fn color_of(&self) -> &[usize] {
        &self.colors
    }

    /// Writes the entries, given column by column, to a full matrix, row-major.
    pub(crate) fn scatter<T: Real>(&self, values: &[T], to: &mut [T]) {
        to.fill(T::zero());
        for ((i, j), &value) in self.entries().zip(values) {
            to[i * self.n + j] = value;
        }
    }

    /// The whole matrix, row by row, from such products as [`decompress`](Self::decompress) takes.
    pub(crate) fn scatter_products<T: Real>(&self, products: &[T], to: &mut [T]) {
        to.fill(T::zero());
        for (i, j) in self.entries() {
            to[i * self.n + j] = products[self.colors[j] * self.n + i];
        }
    }

    /// Takes the entries out of products with the sum of the columns of each colour, `products` one
    /// after another.
    pub(crate) fn decompress<T: Real>(&self, products: &[T], values: &mut [T]) {
        for ((i, j), value) in self.entries().zip(values) {
            *value = products[self.colors[j] * self.n + i];
        }
    }
}

/// The Jacobian by forward differences, an evaluation for each colour.
pub(crate) fn difference<T: Real>(
    f: &mut Eval<'_, T>,
    t: f64,
    y: &[T],
    dy: &[T],
    pattern: &Sparsity,
    values: &mut [T],
) -> Result<(), FieldError> {
    let mut moved: SmallVec<[T; 64]> = SmallVec::from_slice(y);
    let mut slope: SmallVec<[T; 64]> = SmallVec::from_slice(y);
    let root = |y: T| T::from_f64((T::EPSILON.as_f64() * y.as_f64().abs().max(1e-5)).sqrt());
    for color in 0..pattern.colors() {
        let mine = |j: usize| pattern.colors[j] == color;
        (0..y.len()).filter(|&j| mine(j)).for_each(|j| moved[j] = y[j] + root(y[j]));
        f(t, &moved, &mut slope)?;
        for j in (0..y.len()).filter(|&j| mine(j)) {
            let reciprocal = T::one() / (moved[j] - y[j]);
            let range = pattern.starts[j]..pattern.starts[j + 1];
            for (value, &i) in values[range.clone()].iter_mut().zip(&pattern.rows[range]) {
                *value = (slope[i] - dy[i]) * reciprocal;
            }
            moved[j] = y[j];
        }
    }
    Ok(())
}

/// A field whose Jacobian is sparse; see [`with_sparsity`].
#[derive(Clone, Debug)]
pub struct WithSparsity<F, J> {
    field: F,
    sparsity: Arc<Sparsity>,
    jacobian: Option<J>,
}

/// A Jacobian that is not given.
pub type NoJacobian<T> = fn(f64, &[T], &mut [T]);

/// The field `field`, whose Jacobian has entries only at the places `sparsity`: it is found by
/// differences in as many evaluations as there are [colours](Sparsity::colors). With the feature
/// `faer` implicit methods factor it as a sparse matrix.
///
/// ```
/// use costate_odeint::{Bdf, Options, Sparsity, solve, with_sparsity};
///
/// // Diffusion along a rod whose ends are kept at 0.
/// let n = 50;
/// let mut f = move |_t: f64, y: &[f64], dy: &mut [f64]| {
///     for i in 0..n {
///         let left = if i > 0 { y[i - 1] } else { 0.0 };
///         let right = if i + 1 < n { y[i + 1] } else { 0.0 };
///         dy[i] = 1e4 * (left - 2.0 * y[i] + right);
///     }
/// };
/// let y0 = vec![1.0; n];
/// let sparsity = Sparsity::detect(&mut f, 0.0, &y0)?;
/// assert_eq!(sparsity.colors(), 3);
/// let solution = solve(Bdf, with_sparsity(f, sparsity), &y0, &[0.0, 1.0], &Options::default())?;
/// assert!(solution.y(1)[n / 2].abs() < 1e-6);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub fn with_sparsity<T: Real, F: Field<T>>(
    field: F,
    sparsity: impl Into<Arc<Sparsity>>,
) -> WithSparsity<F, NoJacobian<T>> {
    WithSparsity { field, sparsity: sparsity.into(), jacobian: None }
}

/// [`with_sparsity`] with the Jacobian's entries, which `jacobian(t, y, values)` writes in the order
/// of [`Sparsity::entries`]. Of a field in [parts](crate::split) it stands for that of the stiff part.
pub fn with_sparse_jacobian<T, F, J>(
    field: F,
    sparsity: impl Into<Arc<Sparsity>>,
    jacobian: J,
) -> WithSparsity<F, J>
where
    T: Real,
    F: Field<T>,
    J: FnMut(f64, &[T], &mut [T]),
{
    WithSparsity { field, sparsity: sparsity.into(), jacobian: Some(jacobian) }
}

impl<T, F, J> Field<T> for WithSparsity<F, J>
where
    T: Real,
    F: Field<T>,
    J: FnMut(f64, &[T], &mut [T]),
{
    forward!(field: eval, eval_part, eval_stiff, eval_rest, kept_len, eval_keeping);
    forward!(field: mass, time_derivative);

    fn sparsity(&self) -> Option<&Arc<Sparsity>> {
        Some(&self.sparsity)
    }

    fn jacobian(&mut self, t: f64, y: &[T], dy: &[T], out: &mut [T]) -> Result<(), FieldError> {
        let pattern = self.sparsity.clone();
        let mut values = vec![T::zero(); pattern.len()];
        self.sparse_jacobian(t, y, dy, &pattern, &mut values)?;
        pattern.scatter(&values, out);
        Ok(())
    }

    fn jacobian_stiff(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        out: &mut [T],
    ) -> Result<(), FieldError> {
        if self.jacobian.is_some() {
            return self.jacobian(t, y, dy, out);
        }
        let pattern = self.sparsity.clone();
        let mut values = vec![T::zero(); pattern.len()];
        let stiff = &mut |t: f64, y: &[T], dy: &mut [T]| self.eval_stiff(t, y, dy);
        difference(stiff, t, y, dy, &pattern, &mut values)?;
        pattern.scatter(&values, out);
        Ok(())
    }

    fn sparse_jacobian(
        &mut self,
        t: f64,
        y: &[T],
        dy: &[T],
        pattern: &Sparsity,
        values: &mut [T],
    ) -> Result<(), FieldError> {
        match &mut self.jacobian {
            None => {
                difference(&mut |t, y, dy| self.field.eval(t, y, dy), t, y, dy, pattern, values)
            }
            Some(jacobian) => {
                jacobian(t, y, values);
                Ok(())
            }
        }
    }
}
