//! The inverse of a tiny matrix.
//!
//! Where one matrix serves many solutions, each of which waits for the one before, a product with its
//! inverse waits for fewer operations than a solution by its factors.

use crate::Real;

/// Replaces a matrix by its inverse. Returns whether all pivots are finite and not 0; if not, its entries
/// are of no use.
///
/// By elimination with partial pivoting. Each column `x` is that of `(A + E) x = e` with a small `E` of
/// its own, so that `A A⁻¹` is near to the unit matrix; to have that of `A⁻¹ A`, invert the transpose.
///
/// ```
/// let mut m = [[0.0, 2.0], [4.0, 1.0]];
/// assert!(costate_ops::invert(&mut m));
/// assert_eq!(m, [[-0.125, 0.25], [0.5, 0.0]]);
/// ```
#[inline]
#[expect(clippy::needless_range_loop, reason = "rows and columns are named by their numbers")]
pub fn invert<T: Real, const D: usize>(matrix: &mut [[T; D]; D]) -> bool {
    let (mut a, mut b) = (*matrix, [[T::zero(); D]; D]);
    for (i, row) in b.iter_mut().enumerate() {
        row[i] = T::one();
    }
    let mut reciprocals = [T::zero(); D];
    for j in 0..D {
        for i in j + 1..D {
            // The largest entry of the column comes to the top. By a branch: a matrix is much like the one
            // before it.
            if a[i][j].abs() > a[j][j].abs() {
                a.swap(i, j);
                b.swap(i, j);
            }
        }
        reciprocals[j] = T::one() / a[j][j];
        for i in j + 1..D {
            let factor = a[i][j] * reciprocals[j];
            for c in j + 1..D {
                a[i][c] -= factor * a[j][c];
            }
            for c in 0..D {
                b[i][c] -= factor * b[j][c];
            }
        }
    }
    for i in (0..D).rev() {
        for c in 0..D {
            let mut x = b[i][c];
            for j in i + 1..D {
                x -= a[i][j] * b[j][c];
            }
            b[i][c] = x * reciprocals[i];
        }
    }
    *matrix = b;
    reciprocals.iter().all(|r| r.is_finite() && *r != T::zero())
}
