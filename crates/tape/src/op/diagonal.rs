//! Diagonals of matrices, which lie at even steps in memory.

use costate_ops::Range1;

use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// Of each row of `n²` entries in a batch, those on the diagonal.
fn ranges(batch: usize, n: usize) -> Vec<Range1> {
    vec![
        Range1 { start: 0, len: batch, step: 1 },
        Range1 { start: 0, len: n, step: n as isize + 1 },
    ]
}

/// Diagonals.
impl<'t, T: Real> Var<'t, T> {
    /// The diagonal matrix with these entries; leading axes are a batch: `[b, n]` gives
    /// `[b, n, n]`.
    ///
    /// # Panics
    /// If this has no axis.
    #[track_caller]
    pub fn diag(self) -> Var<'t, T> {
        let shape = self.shape();
        let Some((&n, leading)) = shape.split_last() else {
            panic!("diag: shape {shape} has no axis");
        };
        let batch = leading.iter().product();
        let out: Shape = leading.iter().copied().chain([n, n]).collect();
        let flat = self.reshape([batch, n]);
        flat.pad_into(ranges(batch, n), Shape::from([batch, n * n])).reshape(out)
    }

    /// The diagonal of a square matrix, or of each of a batch: `[b, n, n]` gives `[b, n]`.
    ///
    /// # Panics
    /// If the last two lengths differ, or there are fewer.
    #[track_caller]
    pub fn diagonal(self) -> Var<'t, T> {
        let shape = self.shape();
        let d = shape.ndim();
        assert!(
            d >= 2 && shape[d - 2] == shape[d - 1],
            "diagonal: shape {shape} is not that of square matrices"
        );
        let (batch, n) = (shape[..d - 2].iter().product(), shape[d - 1]);
        self.reshape([batch, n * n]).slice_ranges(ranges(batch, n)).reshape(&shape[..d - 1])
    }

    /// `Σ_i A_ii` of a square matrix, or of each of a batch; 0 if it has no entries.
    ///
    /// # Panics
    /// If the last two lengths differ, or there are fewer.
    #[track_caller]
    pub fn trace(self) -> Var<'t, T> {
        let shape = self.shape();
        assert!(
            shape.ndim() >= 2 && shape[shape.ndim() - 2] == shape[shape.ndim() - 1],
            "trace: shape {shape} is not that of square matrices"
        );
        self.diagonal().sum_axis(shape.ndim() - 2)
    }
}
