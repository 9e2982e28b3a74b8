//! Large linear systems, dense and sparse, by the crate `faer`.
//!
//! It works in `f64` on one thread, so results do not depend on the number of threads. What follows
//! from the pattern of a sparse matrix alone is found once.

use std::fmt;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::lu::partial_pivoting;
use faer::perm::PermRef;
use faer::sparse::linalg::lu::{LuRef, NumericLu, SymbolicLu, factorize_symbolic_lu};
use faer::sparse::{SparseColMatRef, SymbolicSparseColMat};
use faer::{Conj, Mat, MatMut, Par};

use crate::Real;
use crate::mass::Mass;
use crate::sparsity::Sparsity;

/// The least number of rows for which it is of use.
pub(crate) const LEAST: usize = 64;
/// A matrix with more than this part of all entries is dense.
const DENSE: f64 = 0.2;

/// A matrix `M - c J` and its factors.
pub(crate) struct Large {
    factors: Factors,
    right: Vec<f64>,
    scratch: MemBuffer,
    regular: bool,
}

#[derive(Clone)]
enum Factors {
    Dense { lu: Mat<f64>, forward: Vec<usize>, inverse: Vec<usize> },
    Sparse(Box<Sparse>),
}

#[derive(Clone)]
struct Sparse {
    pattern: SymbolicSparseColMat<usize>,
    values: Vec<f64>,
    /// The places of the entries of the Jacobian, and of the mass matrix.
    jacobian: Vec<usize>,
    mass: Vec<usize>,
    symbolic: SymbolicLu<usize>,
    numeric: NumericLu<usize, f64>,
}

impl Large {
    pub fn new<T: Real>(n: usize, pattern: Option<&Sparsity>, mass: Option<&Mass<T>>) -> Large {
        let sparse = pattern.and_then(|pattern| sparse(n, pattern, mass));
        let factors = sparse.unwrap_or_else(|| Factors::Dense {
            lu: Mat::zeros(n, n),
            forward: vec![0; n],
            inverse: vec![0; n],
        });
        let scratch = MemBuffer::new(match &factors {
            Factors::Dense { .. } => {
                let factor = partial_pivoting::factor::lu_in_place_scratch::<usize, f64>;
                let solve = partial_pivoting::solve::solve_in_place_scratch::<usize, f64>;
                factor(n, n, Par::Seq, Default::default()).or(solve(n, 1, Par::Seq))
            }
            Factors::Sparse(sparse) => sparse
                .symbolic
                .factorize_numeric_lu_scratch::<f64>(Par::Seq, Default::default())
                .or(sparse.symbolic.solve_in_place_scratch::<f64>(1, Par::Seq)),
        });
        Large { factors, right: vec![0.0; n], scratch, regular: false }
    }

    /// Factors `M - c J`; returns whether it is regular.
    pub fn factor<T: Real>(
        &mut self,
        c: f64,
        pattern: Option<&Sparsity>,
        jacobian: &[T],
        mass: Option<&Mass<T>>,
    ) -> bool {
        let n = self.right.len();
        let stack = MemStack::new(&mut self.scratch);
        self.regular = match &mut self.factors {
            Factors::Dense { lu, forward, inverse } => {
                lu.fill(0.0);
                match pattern {
                    Some(pattern) => pattern
                        .entries()
                        .zip(jacobian)
                        .for_each(|((i, j), x)| lu[(i, j)] = -c * x.as_f64()),
                    None => {
                        (0..n * n).for_each(|ij| lu[(ij / n, ij % n)] = -c * jacobian[ij].as_f64())
                    }
                }
                match mass {
                    None => (0..n).for_each(|i| lu[(i, i)] += 1.0),
                    Some(mass) => {
                        mass.entries().for_each(|(i, j, m)| lu[(i, j)] += m.as_f64());
                    }
                }
                partial_pivoting::factor::lu_in_place(
                    lu.as_mut(),
                    forward,
                    inverse,
                    Par::Seq,
                    stack,
                    Default::default(),
                );
                (0..n).all(|i| lu[(i, i)].is_finite() && lu[(i, i)] != 0.0)
            }
            Factors::Sparse(sparse) => {
                let Sparse { pattern, values, jacobian: places, mass: diagonal, symbolic, numeric } =
                    &mut **sparse;
                values.fill(0.0);
                for (&place, x) in places.iter().zip(jacobian) {
                    values[place] = -c * x.as_f64();
                }
                match mass {
                    None => diagonal.iter().for_each(|&place| values[place] += 1.0),
                    Some(mass) => {
                        for (&place, (_, _, m)) in diagonal.iter().zip(mass.entries()) {
                            values[place] += m.as_f64();
                        }
                    }
                }
                let matrix = SparseColMatRef::new(pattern.as_ref(), values);
                values.iter().all(|x| x.is_finite())
                    && symbolic
                        .factorize_numeric_lu(numeric, matrix, Par::Seq, stack, Default::default())
                        .is_ok()
            }
        };
        self.regular
    }

    /// `x ← (M - c J)⁻¹ x`; NaN if the matrix is not regular.
    pub fn solve<T: Real>(&mut self, x: &mut [T]) {
        if !self.regular {
            x.fill(T::from_f64(f64::NAN));
            return;
        }
        let n = self.right.len();
        for (to, x) in self.right.iter_mut().zip(&*x) {
            *to = x.as_f64();
        }
        let right = MatMut::from_column_major_slice_mut(&mut self.right, n, 1);
        let stack = MemStack::new(&mut self.scratch);
        match &self.factors {
            Factors::Dense { lu, forward, inverse } => {
                let permutation = PermRef::new_checked(forward, inverse, n);
                partial_pivoting::solve::solve_in_place(
                    lu.as_ref(),
                    lu.as_ref(),
                    permutation,
                    right,
                    Par::Seq,
                    stack,
                );
            }
            Factors::Sparse(sparse) => {
                LuRef::new_unchecked(&sparse.symbolic, &sparse.numeric).solve_in_place_with_conj(
                    Conj::No,
                    right,
                    Par::Seq,
                    stack,
                );
            }
        }
        for (x, &from) in x.iter_mut().zip(&self.right) {
            *x = T::from_f64(from);
        }
    }
}

/// The places of a sparse matrix `M - c J`, unless there are so many that it is dense.
fn sparse<T: Real>(n: usize, pattern: &Sparsity, mass: Option<&Mass<T>>) -> Option<Factors> {
    let mass: Vec<(usize, usize)> = match mass {
        None => (0..n).map(|i| (i, i)).collect(),
        Some(mass) => mass.entries().map(|(i, j, _)| (i, j)).collect(),
    };
    let mut all: Vec<(usize, usize)> =
        pattern.entries().chain(mass.iter().copied()).map(|(i, j)| (j, i)).collect();
    all.sort_unstable();
    all.dedup();
    if all.len() as f64 > DENSE * (n * n) as f64 {
        return None;
    }
    let place = |(i, j): (usize, usize)| all.binary_search(&(j, i)).expect("among them");
    let starts = (0..=n).map(|j| all.partition_point(|&(column, _)| column < j)).collect();
    let rows = all.iter().map(|&(_, i)| i).collect();
    let structure = SymbolicSparseColMat::new_checked(n, n, starts, None, rows);
    let symbolic = factorize_symbolic_lu(structure.as_ref(), Default::default()).ok()?;
    Some(Factors::Sparse(Box::new(Sparse {
        values: vec![0.0; all.len()],
        jacobian: pattern.entries().map(place).collect(),
        mass: mass.into_iter().map(place).collect(),
        symbolic,
        numeric: NumericLu::new(),
        pattern: structure,
    })))
}

impl Clone for Large {
    fn clone(&self) -> Large {
        let scratch = MemBuffer::new(faer::dyn_stack::StackReq::new::<u8>(self.scratch.len()));
        let (right, regular) = (self.right.clone(), self.regular);
        Large { factors: self.factors.clone(), right, scratch, regular }
    }
}

impl fmt::Debug for Large {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sparse = matches!(self.factors, Factors::Sparse { .. });
        f.debug_struct("Large")
            .field("rows", &self.right.len())
            .field("sparse", &sparse)
            .finish_non_exhaustive()
    }
}
