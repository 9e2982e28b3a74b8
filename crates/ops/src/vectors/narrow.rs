//! Products with few columns: inner products of rows that lie without gaps.
//!
//! Sums across a vector are what the compiler does not find by itself: written as a loop, this takes
//! five times as long.

use super::vector::Vector;
use super::{Vectors, run};
use crate::Real;
use crate::isa::Isa;
use crate::product::Add;

/// How many sums are made at once.
const SUMS: usize = 8;

/// `C = A B` and what is to be added, where `A` has rows of length `k`, and `B` at most four columns, which
/// lie one after another. Returns whether it was done: it is not if the machine has no such vectors.
///
/// # Panics
/// If the lengths do not fit, or there are no or more columns.
#[inline]
pub(crate) fn narrow<T: Real>(
    k: usize,
    and: Add<'_, T>,
    a: &[T],
    columns: &[T],
    c: &mut [T],
) -> bool {
    let isa = Isa::detect();
    if isa == Isa::Baseline {
        return false;
    }
    run(isa, Job { k, and, a, columns, c });
    true
}

struct Job<'a, T> {
    k: usize,
    and: Add<'a, T>,
    a: &'a [T],
    columns: &'a [T],
    c: &'a mut [T],
}

impl<T: Real> Vectors<T> for Job<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector<Of = T>>(self) {
        // SAFETY: that of this function.
        unsafe {
            // As many rows at once as there are places for sums.
            match self.columns.len() / self.k {
                1 => self.rows::<V, 8, 1>(),
                2 => self.rows::<V, 4, 2>(),
                3 => self.rows::<V, 2, 3>(),
                4 => self.rows::<V, 2, 4>(),
                n => panic!("{n} columns are not few"),
            }
        }
    }
}

impl<T: Real> Job<'_, T> {
    /// # Safety
    /// The machine has the instructions of `V`.
    #[inline(always)]
    unsafe fn rows<V: Vector<Of = T>, const R: usize, const N: usize>(self) {
        let Job { k, and, a, columns, c } = self;
        let bias = match and {
            Add::Bias(bias) => {
                assert!(bias.len() == N);
                std::array::from_fn(|i| bias[i % N])
            }
            _ => [T::zero(); SUMS],
        };
        let mut results = c.chunks_exact_mut(R * N);
        let mut rows = a.chunks_exact(R * k);
        for (a, c) in rows.by_ref().zip(results.by_ref()) {
            // SAFETY: that of this function, as below.
            unsafe { tile::<V, R, N>(k, and, &bias, a, columns, c) };
        }
        let (rest, results) = (rows.remainder(), results.into_remainder());
        for (a, c) in rest.chunks_exact(k).zip(results.chunks_exact_mut(N)) {
            // SAFETY: as above.
            unsafe { tile::<V, 1, N>(k, and, &bias, a, columns, c) };
        }
    }
}

/// The products of `R` rows with `N` columns. `bias` is what is added to each, if that is a row.
///
/// # Safety
/// The machine has the instructions of `V`.
#[inline(always)]
unsafe fn tile<V: Vector, const R: usize, const N: usize>(
    k: usize,
    and: Add<'_, V::Of>,
    bias: &[V::Of; SUMS],
    a: &[V::Of],
    columns: &[V::Of],
    c: &mut [V::Of],
) {
    assert!(a.len() == R * k && columns.len() == N * k && c.len() == R * N && R * N <= SUMS);
    // SAFETY: what is loaded are numbers of a row or a column of `k`, from number `l` on: `LEN` if there
    // are so many, else all that are left. The lengths are those of as many rows and columns. The
    // machine has the instructions.
    let found = unsafe {
        let mut sums = [V::zero(); SUMS];
        let mut l = 0;
        while l < k {
            // Whole vectors but for the last one; a mask that is known costs nothing.
            let load =
                |from| if k - l >= V::LEN { V::load(from) } else { V::load_some(from, k - l) };
            let mut b = [V::zero(); N];
            for (j, b) in b.iter_mut().enumerate() {
                *b = load(columns.as_ptr().add(j * k + l));
            }
            for i in 0..R {
                let a = load(a.as_ptr().add(i * k + l));
                for j in 0..N {
                    sums[i * N + j] = a.fma(b[j], sums[i * N + j]);
                }
            }
            l += V::LEN;
        }
        V::sums(sums)
    };
    if let Ok(c) = <&mut [V::Of; SUMS]>::try_from(&mut *c) {
        match and {
            Add::Nothing => *c = found,
            Add::Result => *c = std::array::from_fn(|i| found[i] + c[i]),
            Add::Bias(_) => *c = std::array::from_fn(|i| found[i] + bias[i]),
        }
        return;
    }
    for (i, c) in c.iter_mut().enumerate() {
        *c = match and {
            Add::Nothing => found[i],
            Add::Result => found[i] + *c,
            Add::Bias(_) => found[i] + bias[i],
        };
    }
}
