//! Layers of a network with few inputs, `σ(A B + bias)`, in one pass: the division or the polynomial of
//! the activation leaves the processor time for all of a product with a short inner length.

use crate::elementwise::Wide;
use crate::isa::Kernel;
use crate::{Real, Unary, math};

/// How many rows are done at once: more would all be at their divisions at the same time, and none at the
/// next product.
const ROWS: usize = 2;

/// `C = σ(A B + bias)` of matrices that lie without gaps in row-major order.
pub(crate) struct Layer<'a, T> {
    /// From 1 to [`SHORT`](crate::short::SHORT).
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) a: &'a [T],
    pub(crate) b: &'a [T],
    pub(crate) bias: &'a [T],
    /// One that is [an activation](is_activation).
    pub(crate) activation: Unary,
    pub(crate) c: &'a mut [T],
}

/// Whether a function is computed so.
pub(crate) fn is_activation(op: Unary) -> bool {
    matches!(op, Unary::Tanh | Unary::Sigmoid | Unary::Softplus)
}

impl<T: Real> Kernel for Layer<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        // There are more than four columns.
        match (VECTOR / size_of::<T>()).min(self.n) {
            16.. => self.of_length::<16, FMA>(),
            8.. => self.of_length::<8, FMA>(),
            4.. => self.of_length::<4, FMA>(),
            _ => self.of_length::<2, FMA>(),
        }
    }
}

impl<T: Real> Layer<'_, T> {
    #[inline(always)]
    fn of_length<const L: usize, const FMA: bool>(self) {
        match self.activation {
            Unary::Tanh => self.with::<L, FMA>(math::Tanh::<FMA>),
            Unary::Sigmoid => self.with::<L, FMA>(math::Sigmoid::<FMA>),
            Unary::Softplus => self.with::<L, FMA>(math::Softplus::<FMA>),
            other => panic!("{} is no activation", other.name()),
        }
    }

    #[inline(always)]
    fn with<const L: usize, const FMA: bool>(self, f: impl Wide<T>) {
        match self.k {
            1 => self.all::<1, L, FMA>(f),
            2 => self.all::<2, L, FMA>(f),
            3 => self.all::<3, L, FMA>(f),
            4 => self.all::<4, L, FMA>(f),
            k => panic!("an inner length of {k} is not short"),
        }
    }

    #[inline(always)]
    fn all<const K: usize, const L: usize, const FMA: bool>(self, f: impl Wide<T>) {
        let Layer { n, a, b, bias, c, .. } = self;
        let right =
            Right { b: std::array::from_fn::<_, K, _>(|l| &b[l * n..][..n]), bias: &bias[..n] };
        let (blocks, rest) = a.as_chunks::<K>().0.as_chunks::<ROWS>();
        let mut results = c.chunks_exact_mut(ROWS * n);
        for (a, c) in blocks.iter().zip(results.by_ref()) {
            right.rows::<ROWS, L, FMA>(a, c, &f);
        }
        for (a, c) in rest.iter().zip(results.into_remainder().chunks_exact_mut(n)) {
            right.rows::<1, L, FMA>(&[*a], c, &f);
        }
    }
}

/// What all rows have in common.
struct Right<'a, T, const K: usize> {
    b: [&'a [T]; K],
    bias: &'a [T],
}

impl<T: Real, const K: usize> Right<'_, T, K> {
    /// All columns of `R` rows.
    #[inline(always)]
    fn rows<const R: usize, const L: usize, const FMA: bool>(
        &self,
        a: &[[T; K]; R],
        c: &mut [T],
        f: &impl Wide<T>,
    ) {
        let (n, mut j) = (self.bias.len(), 0);
        while n - j >= L {
            self.columns::<R, L, FMA>(a, j, c, f);
            j += L;
        }
        if j < n {
            // The last ones begin among columns that are done, and give those the same bits.
            self.columns::<R, L, FMA>(a, n - L, c, f);
        }
    }

    /// `R` rows of `L` columns from `j` on.
    #[inline(always)]
    fn columns<const R: usize, const L: usize, const FMA: bool>(
        &self,
        a: &[[T; K]; R],
        j: usize,
        c: &mut [T],
        f: &impl Wide<T>,
    ) {
        let n = self.bias.len();
        let vector = |row: &[T]| -> [T; L] { row[j..j + L].try_into().expect("as long") };
        let (b, bias) = (self.b.map(vector), vector(self.bias));
        let mut sums = [[T::zero(); L]; R];
        for (sums, a) in sums.iter_mut().zip(a) {
            for l in 0..K {
                for w in 0..L {
                    sums[w] = T::fma::<FMA>(a[l], b[l][w], sums[w]);
                }
            }
            (0..L).for_each(|w| sums[w] += bias[w]);
        }
        (0..L).for_each(|w| {
            let y = f.of::<R>(std::array::from_fn(|r| sums[r][w]));
            (0..R).for_each(|r| sums[r][w] = y[r]);
        });
        for (r, sums) in sums.iter().enumerate() {
            c[r * n + j..][..L].copy_from_slice(sums);
        }
    }
}
