//! The inner loops of products: tiles of the result whose sums stay in registers.

use crate::Real;
use crate::isa::Kernel;
use crate::matmul::MatMul;

/// Up to how many rows are few.
const FEW: usize = 64;
/// The bytes of a line of the cache.
const LINE: usize = 64;
/// To the first-level cache, and to the second.
const NEAR: bool = true;
const FAR: bool = false;

/// Has a cache get what lies at a place, which may be outside.
#[inline(always)]
fn fetch<const TO: bool, T>(x: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
        let place = x.as_ptr().wrapping_add(at).cast();
        // SAFETY: a hint, which reads nothing: no address is wrong.
        unsafe {
            match TO {
                NEAR => _mm_prefetch::<_MM_HINT_T0>(place),
                FAR => _mm_prefetch::<_MM_HINT_T1>(place),
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (x, at);
}

/// A product with `op(B)` in row-major order: sums in the order of the inner index, and then with what
/// was there, if it is to be added to.
pub(crate) struct Rows<'a, T> {
    /// `m`, `k`, `n`.
    pub(crate) size: [usize; 3],
    pub(crate) accumulate: bool,
    /// From row to row and from column to column of `op(A)`, within as many rows: such panels lie one
    /// after another.
    pub(crate) a_strides: (usize, usize),
    pub(crate) a_panel: usize,
    /// From row to row of `C`.
    pub(crate) c_row: usize,
    pub(crate) a: &'a [T],
    pub(crate) b: &'a [T],
    pub(crate) c: &'a mut [T],
    pub(crate) next: Next<'a, T>,
}

/// What will be read after a product, to be fetched meanwhile: the first `width` entries of rows.
pub(crate) struct Next<'a, T> {
    pub(crate) from: &'a [T],
    pub(crate) rows: usize,
    pub(crate) step: usize,
    pub(crate) width: usize,
}

impl<T> Default for Next<'_, T> {
    fn default() -> Self {
        Next { from: &[], rows: 0, step: 0, width: 0 }
    }
}

impl<'a, T: Real> Rows<'a, T> {
    /// A product of matrices that lie without gaps.
    pub(crate) fn whole(spec: MatMul, a: &'a [T], b: &'a [T], c: &'a mut [T]) -> Rows<'a, T> {
        let MatMul { m, k, n, accumulate, .. } = spec;
        let (size, a_strides) = ([m, k, n], spec.a_strides());
        Rows {
            size,
            accumulate,
            a_strides,
            a_panel: m.max(1),
            c_row: n,
            a,
            b,
            c,
            next: Next::default(),
        }
    }
}

impl<T: Real> Kernel for Rows<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        self.all_columns::<FMA, VECTOR, false>();
    }
}

/// The same for sides that may lie far away: while a tile is computed, what is needed next is fetched to
/// the caches. The processor does that by itself only where something is read in the order of memory.
pub(crate) struct Ahead<'a, T>(pub(crate) Rows<'a, T>);

impl<T: Real> Kernel for Ahead<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        self.0.all_columns::<FMA, VECTOR, true>();
    }
}

impl<T: Real> Rows<'_, T> {
    #[inline(always)]
    fn all_columns<const FMA: bool, const VECTOR: usize, const AHEAD: bool>(self) {
        match VECTOR / size_of::<T>() {
            16 => self.all::<16, FMA, AHEAD>(),
            8 if VECTOR == 64 => self.all::<8, FMA, AHEAD>(),
            8 => self.all_of_few::<8, FMA>(),
            4 => self.all_of_few::<4, FMA>(),
            _ => self.all_of_few::<2, FMA>(),
        }
    }

    /// With 32 registers of `L` numbers: 24 for sums, so that none waits for another, and each number of
    /// `A` is read once for two products. Few rows are rather divided by eight.
    #[inline(always)]
    fn all<const L: usize, const FMA: bool, const AHEAD: bool>(mut self) {
        let (n, mut j) = (self.size[2], 0);
        while n - j >= 2 * L {
            match self.size[0] > FEW {
                true => self.columns::<12, 2, L, FMA, AHEAD>(j),
                false => self.columns::<8, 2, L, FMA, AHEAD>(j),
            }
            j += 2 * L;
        }
        self.rest::<L, FMA>(j);
    }

    /// With 16 registers: 12 for sums. Where something is fetched ahead, these no longer stay there.
    #[inline(always)]
    fn all_of_few<const L: usize, const FMA: bool>(mut self) {
        let (n, mut j) = (self.size[2], 0);
        while n - j >= 2 * L {
            self.columns::<6, 2, L, FMA, false>(j);
            j += 2 * L;
        }
        self.rest::<L, FMA>(j);
    }

    /// Less than two vectors of columns, from `j` on: one, then what is left.
    #[inline(always)]
    fn rest<const L: usize, const FMA: bool>(&mut self, mut j: usize) {
        let n = self.size[2];
        if j < n && n >= L && !self.accumulate {
            // The last one begins among columns that are done, and gives those the same bits.
            if n - j > L {
                self.columns::<8, 1, L, FMA, false>(j);
            }
            self.columns::<8, 1, L, FMA, false>(n - L);
            return;
        }
        if n - j >= L {
            self.columns::<8, 1, L, FMA, false>(j);
            j += L;
        }
        if L > 8 && n - j >= 8 {
            self.columns::<8, 1, 8, FMA, false>(j);
            j += 8;
        }
        if L > 4 && n - j >= 4 {
            self.columns::<8, 1, 4, FMA, false>(j);
            j += 4;
        }
        if L > 2 && n - j >= 2 {
            self.columns::<8, 1, 2, FMA, false>(j);
            j += 2;
        }
        if n - j == 1 {
            self.columns::<8, 1, 1, FMA, false>(j);
        }
    }

    /// `V` vectors of columns from `j` on, `R` rows at a time.
    #[inline(always)]
    fn columns<
        const R: usize,
        const V: usize,
        const L: usize,
        const FMA: bool,
        const AHEAD: bool,
    >(
        &mut self,
        j: usize,
    ) {
        let ([m, k, _], row) = (self.size, self.a_strides.0);
        let mut i = 0;
        while i < m {
            // Where in `A` the first number of a row of this panel lies.
            let start = i;
            let at = |i: usize| start * k + (i - start) * row;
            let end = m.min(i + self.a_panel);
            // Eight rows are rather two tiles of four than one of six: what is left would wait for its sums.
            while end - i >= R && (R != 6 || end - i != 8) {
                self.tile::<R, V, L, FMA, AHEAD>(i, j, at(i));
                i += R;
            }
            if R > 8 && end - i >= 8 {
                self.tile::<8, V, L, FMA, AHEAD>(i, j, at(i));
                i += 8;
            }
            while R > 4 && end - i >= 4 {
                self.tile::<4, V, L, FMA, AHEAD>(i, j, at(i));
                i += 4;
            }
            if end - i >= 2 {
                self.tile::<2, V, L, FMA, AHEAD>(i, j, at(i));
                i += 2;
            }
            while i < end {
                self.tile::<1, V, L, FMA, AHEAD>(i, j, at(i));
                i += 1;
            }
        }
    }

    /// `R` rows and `V` vectors of `L` columns of the result, from row `i` and column `j` on; `first` is
    /// where in `A` that row begins.
    #[inline(always)]
    fn tile<const R: usize, const V: usize, const L: usize, const FMA: bool, const AHEAD: bool>(
        &mut self,
        i: usize,
        j: usize,
        first: usize,
    ) {
        let ([_, k, n], c_row) = (self.size, self.c_row);
        let (row, column) = self.a_strides;
        let mut sums = [[[T::zero(); L]; V]; R];
        // Checked once for the tile: a check at each entry would cost more than the arithmetic.
        assert!(k > 0 && first + (R - 1) * row + (k - 1) * column < self.a.len());
        assert!((k - 1) * n + j + V * L <= self.b.len());
        let line = if AHEAD { LINE / size_of::<T>() } else { k };
        for start in (0..k).step_by(line) {
            if AHEAD {
                self.fetch::<R, V, L>(i, j, first, start);
            }
            for l in start..k.min(start + line) {
                // SAFETY: `l ≤ k - 1`, so the last of these `V L` entries is at most at the place that
                // was found to lie inside; arrays are aligned like their entries.
                let b: [[T; L]; V] = unsafe { *self.b.as_ptr().add(l * n + j).cast() };
                for (r, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: `r ≤ R - 1` and `l ≤ k - 1`: at most the place found to lie inside.
                    let a = unsafe { *self.a.get_unchecked(first + r * row + l * column) };
                    for v in 0..V {
                        for w in 0..L {
                            sums[v][w] = T::fma::<FMA>(a, b[v][w], sums[v][w]);
                        }
                    }
                }
            }
        }
        let c = &mut self.c[i * c_row + j..(i + R - 1) * c_row + j + V * L];
        for (r, sums) in sums.iter().enumerate() {
            let mut sums = *sums;
            // What was there comes last: added first, it would make each sum as inexact as itself.
            if self.accumulate {
                for (v, sums) in sums.iter_mut().enumerate() {
                    for (sum, &c) in sums.iter_mut().zip(&c[r * c_row + v * L..][..L]) {
                        *sum += c;
                    }
                }
            }
            // SAFETY: `r ≤ R - 1`: these `V L` entries end where the slice ends, or before.
            unsafe { *c.as_mut_ptr().add(r * c_row).cast() = sums };
        }
    }

    /// Fetches what is needed some time after inner index `l` of a tile, a multiple of what a line of the
    /// cache holds: of each row of `A` the line after the next, a row of `C`, and part of what comes next.
    #[inline(always)]
    fn fetch<const R: usize, const V: usize, const L: usize>(
        &self,
        i: usize,
        j: usize,
        first: usize,
        l: usize,
    ) {
        let ([m, k, _], (row, column)) = (self.size, self.a_strides);
        let line = LINE / size_of::<T>();
        // Panels lie in the order in which they are read.
        if column == 1 {
            let ahead = l + 2 * line;
            let at = if ahead < k { first + ahead } else { first + R * row + ahead - k };
            for r in 0..R {
                fetch::<NEAR, T>(self.a, at + r * row);
            }
        }
        let (block, blocks) = (l / line, k.div_ceil(line));
        if block < R {
            for v in 0..V {
                fetch::<NEAR, T>(self.c, (i + block) * self.c_row + j + v * L);
            }
        }
        let Next { from, rows, step, width } = self.next;
        let at = i / R * blocks + block;
        let share = rows.div_ceil((m / R * blocks).max(1));
        for row in at * share..rows.min((at + 1) * share) {
            for at in (0..width).step_by(line) {
                fetch::<FAR, T>(from, row * step + at);
            }
        }
    }
}
