//! Sums of outer products: what rows of a batch add to the gradient of a matrix that multiplies them.

use crate::Real;
use crate::elementwise::check_len;
use crate::isa::{Isa, Kernel, dispatch_arithmetic};
use crate::matmul::{MatMul, is_shared, matmul_of};
use crate::vectors::outer;

/// How many partial sums a few columns are added in.
const LANES: usize = 16;

/// `C = Aᵀ B` and `sums = Σ_l B_l`, or the same added to what is there, where `A` is `rows × m`, `B` is
/// `rows × n`, `C` is `m × n`, and `sums` has `n` entries or none. `size` is `[rows, m, n]`; with `m` of 0
/// only the sums of rows are made.
///
/// These are the gradients of the weights and of the bias of `x W + b`, where `A` holds the rows `x` and
/// `B` their cotangents, from few rows: a tile of `C` is as wide as registers allow, since its sums are
/// short. A [large](crate::is_shared) product is computed as [others](crate::matmul()) are, to the same bits for
/// any number of threads. Where `n` is much smaller than `m`, `Cᵀ = Bᵀ A` is faster.
///
/// ```
/// let (mut c, mut sums) = ([0.0; 2], [0.0]);
/// costate_ops::sum_outer([1, 2, 1], false, &[1.0, 2.0], &[10.0], &mut c, &mut sums);
/// costate_ops::sum_outer([1, 2, 1], true, &[3.0, 4.0], &[100.0], &mut c, &mut sums);
/// assert_eq!((c, sums), ([310.0, 420.0], [110.0]));
/// ```
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn sum_outer<T: Real>(
    size: [usize; 3],
    accumulate: bool,
    a: &[T],
    b: &[T],
    c: &mut [T],
    sums: &mut [T],
) {
    let [rows, m, n] = size;
    check_len("sum_outer, left", a.len(), rows * m);
    check_len("sum_outer, right", b.len(), rows * n);
    check_len("sum_outer, result", c.len(), m * n);
    if !sums.is_empty() {
        check_len("sum_outer, sums", sums.len(), n);
    }
    T::sum_outer(size, accumulate, a, b, c, sums);
}

/// [`sum_outer`] with the given instruction set.
///
/// # Panics
/// If a length does not fit, or the machine lacks the instruction set.
#[doc(hidden)]
#[inline]
pub fn sum_outer_on<T: Real>(
    isa: Isa,
    size: [usize; 3],
    accumulate: bool,
    a: &[T],
    b: &[T],
    c: &mut [T],
    sums: &mut [T],
) {
    let mut job = Outer { size, accumulate, a, b, c, sums };
    if size[2] == 0 || (!job.is_few() && outer(isa, &mut job)) {
        return;
    }
    // Rows that are shorter than a vector, or so short that several are added at once.
    dispatch_arithmetic(isa, job);
}

/// [`sum_outer`]: a large one as a product like others.
#[inline]
pub(crate) fn sum_outer_of<T: Real>(
    [rows, m, n]: [usize; 3],
    accumulate: bool,
    a: &[T],
    b: &[T],
    c: &mut [T],
    sums: &mut [T],
) {
    let isa = Isa::detect();
    if !is_shared(rows * m * n) {
        return sum_outer_on(isa, [rows, m, n], accumulate, a, b, c, sums);
    }
    matmul_of(MatMul { m, k: rows, n, ta: true, tb: false, accumulate }, a, b, c);
    if !sums.is_empty() {
        sum_outer_on(isa, [rows, 0, n], accumulate, &[], b, &mut [], sums);
    }
}

/// The arguments of [`sum_outer`].
pub(crate) struct Outer<'a, T> {
    pub size: [usize; 3],
    pub accumulate: bool,
    pub a: &'a [T],
    pub b: &'a [T],
    pub c: &'a mut [T],
    pub sums: &'a mut [T],
}

impl<T: Real> Kernel for Outer<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let [rows, m, n] = self.size;
        assert!(self.a.len() == rows * m && self.b.len() == rows * n);
        if self.is_few() {
            return match n {
                1 => self.few::<1>(),
                2 => self.few::<2>(),
                _ => self.few::<4>(),
            };
        }
        // Where registers are longer, wide results have a loop of their own.
        match n.min(16 / size_of::<T>()) {
            4.. => self.all::<4, FMA>(),
            2.. => self.all::<2, FMA>(),
            _ => self.all::<1, FMA>(),
        }
    }
}

impl<T: Real> Outer<'_, T> {
    /// Whether there are only sums of rows, of so few entries that whole rows fit in a vector.
    fn is_few(&self) -> bool {
        let [_, m, n] = self.size;
        m == 0 && matches!(n, 1 | 2 | 4)
    }

    /// The sums of rows of `N` entries: several rows at once.
    #[inline(always)]
    fn few<const N: usize>(self) {
        let (chunks, rest) = self.b.as_chunks::<LANES>();
        let mut lanes = [T::zero(); LANES];
        for chunk in chunks {
            add(&mut lanes, chunk);
        }
        let (half, rest) = rest.as_chunks::<8>();
        half.iter().for_each(|half| add(&mut lanes, half));
        let (quarter, rest) = rest.as_chunks::<4>();
        quarter.iter().for_each(|quarter| add(&mut lanes, quarter));
        for (lane, &b) in lanes.iter_mut().zip(rest) {
            *lane += b;
        }
        // Each time the upper half is added to the lower one, down to one row.
        let mut sums = halved::<T, 16, 8>(lanes);
        let four = halved::<T, 8, 4>(sums);
        sums[..4].copy_from_slice(&four);
        if N <= 2 {
            (sums[0], sums[1]) = (sums[0] + sums[2], sums[1] + sums[3]);
        }
        if N == 1 {
            sums[0] += sums[1];
        }
        for (sum, &found) in self.sums.iter_mut().zip(&sums[..N]) {
            *sum = if self.accumulate { *sum + found } else { found };
        }
    }

    /// With vectors of `L` numbers, of which a row has at least one.
    #[inline(always)]
    fn all<const L: usize, const FMA: bool>(mut self) {
        let [_, m, n] = self.size;
        let mut j = 0;
        // As many at once as fit, since the sums of a few wait for each other.
        let most = if m <= 2 { 4 } else { 2 };
        while j < n {
            j += L * match (n - j).div_ceil(L).min(most) {
                4.. => self.columns::<4, L, FMA>(j),
                2.. => self.columns::<2, L, FMA>(j),
                _ => self.columns::<1, L, FMA>(j),
            };
        }
    }

    /// All rows of `V` vectors of columns, from column `j` on. Where there are not so many columns, the
    /// last vector begins among those of the one before. Returns `V`.
    #[inline(always)]
    fn columns<const V: usize, const L: usize, const FMA: bool>(&mut self, j: usize) -> usize {
        let (m, mut i) = (self.size[1], 0);
        if !self.sums.is_empty() {
            i = match m {
                0 | 1 => self.tile::<0, V, L, true, FMA>(i, j),
                _ => self.tile::<2, V, L, true, FMA>(i, j),
            };
        }
        while m - i >= 4 {
            i = self.tile::<4, V, L, false, FMA>(i, j);
        }
        while m - i >= 2 {
            i = self.tile::<2, V, L, false, FMA>(i, j);
        }
        if i < m {
            self.tile::<1, V, L, false, FMA>(i, j);
        }
        V
    }

    /// `R` rows and `V` vectors of `L` columns, and the sums of those columns if `S`. Returns the row
    /// after.
    #[inline(always)]
    fn tile<const R: usize, const V: usize, const L: usize, const S: bool, const FMA: bool>(
        &mut self,
        i: usize,
        j: usize,
    ) -> usize {
        let [rows, m, n] = self.size;
        // Where the last vector begins.
        let last = (j + (V - 1) * L).min(n - L);
        assert!(i + R <= m && (V == 1 || j + (V - 1) * L <= n));
        let mut c = [[[T::zero(); L]; V]; R];
        let mut sums = [[T::zero(); L]; V];
        for l in 0..rows {
            let mut b = [[T::zero(); L]; V];
            for (v, b) in b.iter_mut().enumerate() {
                let at = if v + 1 < V { j + v * L } else { last };
                // SAFETY: `l < rows`, and `at + L ≤ n`: of the last vector by its definition, of others
                // since the last but one ends at `j + (V - 1) L ≤ n`. So these `L` entries lie within row
                // `l` of the `rows × n` entries that `run` found; arrays are aligned like their entries.
                *b = unsafe { *self.b.as_ptr().add(l * n + at).cast() };
            }
            for (r, c) in c.iter_mut().enumerate() {
                // SAFETY: `l < rows` and `i + r < i + R ≤ m`: within row `l` of `rows × m`.
                let a = unsafe { *self.a.get_unchecked(l * m + i + r) };
                for v in 0..V {
                    for w in 0..L {
                        c[v][w] = T::fma::<FMA>(a, b[v][w], c[v][w]);
                    }
                }
            }
            if S {
                for v in 0..V {
                    for w in 0..L {
                        sums[v][w] += b[v][w];
                    }
                }
            }
        }
        for (r, c) in c.iter().enumerate() {
            write(*c, &mut self.c[(i + r) * n..][..n], [j, last], self.accumulate);
        }
        if S {
            write(sums, &mut self.sums[..n], [j, last], self.accumulate);
        }
        i + R
    }
}

/// Adds numbers to the first lanes.
#[inline(always)]
fn add<T: Real, const N: usize>(lanes: &mut [T; LANES], x: &[T; N]) {
    for i in 0..N {
        lanes[i] += x[i];
    }
}

/// The sum of both halves of `N` numbers.
#[inline(always)]
fn halved<T: Real, const N: usize, const HALF: usize>(x: [T; N]) -> [T; HALF] {
    std::array::from_fn(|i| x[i] + x[HALF + i])
}

/// Writes the sums of a row of a tile, whose first vector begins at `j` and whose last one at `last`, or
/// adds them to what is there.
#[inline(always)]
fn write<T: Real, const V: usize, const L: usize>(
    sums: [[T; L]; V],
    to: &mut [T],
    [j, last]: [usize; 2],
    accumulate: bool,
) {
    // How much of the last vector is in the one before.
    let done = j + (V - 1) * L - last;
    for (v, sums) in sums.iter().enumerate() {
        let mut sums = *sums;
        let is_last = v + 1 == V;
        let at = if is_last { last } else { j + v * L };
        let to: &mut [T; L] = (&mut to[at..at + L]).try_into().expect("so many");
        // What was there comes last: added first, it would make each sum as inexact as itself.
        if accumulate {
            for (sum, &to) in sums.iter_mut().zip(&*to) {
                *sum += to;
            }
        }
        if is_last {
            // By places that are known: a range that is not would have all sums stay in memory.
            for (w, (sum, &to)) in sums.iter_mut().zip(&*to).enumerate() {
                *sum = if w < done { to } else { *sum };
            }
        }
        *to = sums;
    }
}
