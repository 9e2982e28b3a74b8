//! Products of matrices.
//!
//! Tiles of a few rows and columns, whose sums stay in registers. The small products that vector
//! fields are made of read their right side where it lies; for large ones a strip of it at a time is
//! copied to where the tile reads it in order. Products with very few rows or columns go to the
//! `gemm` crate. Which way is taken depends on the extents alone, and no way's bits on the threads.

use std::cell::RefCell;
use std::thread::LocalKey;

use rayon::prelude::*;

use crate::awake::threads;
use crate::elementwise::check_len;
use crate::isa::{Isa, Kernel, dispatch};
use crate::product::Add;
use crate::tile::{Ahead, Next, Rows};
use crate::vectors::narrow;
use crate::{Buffer, Real, transpose};

/// `C = op(A) op(B)`, where `op(A)` is `m × k` and `op(B)` is `k × n`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MatMul {
    /// Rows of `C`.
    pub m: usize,
    /// The inner length.
    pub k: usize,
    /// Columns of `C`.
    pub n: usize,
    /// `A` is stored transposed, `k × m`.
    pub ta: bool,
    /// `B` is stored transposed, `n × k`.
    pub tb: bool,
    /// `C` is added to instead of overwritten.
    pub accumulate: bool,
}

/// By what a product is computed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Inner products, by name of the instruction.
    Narrow,
    /// Tiles that read the right side where it lies, on one thread.
    Small,
    /// Tiles that read the right side in strips.
    Blocked,
    /// The `gemm` crate.
    Library,
}

impl MatMul {
    /// Steps in memory from row to row and from column to column of `op(A)`.
    pub(crate) fn a_strides(&self) -> (usize, usize) {
        if self.ta { (1, self.m) } else { (self.k, 1) }
    }
    /// Steps in memory from row to row and from column to column of `op(B)`.
    fn b_strides(&self) -> (usize, usize) {
        if self.tb { (1, self.k) } else { (self.n, 1) }
    }

    /// Of how many columns the strips are that a product reads a large right side in, where they divide
    /// its columns: all rows of the first columns, then all of the next ones, and so on. A right side
    /// that many products share can be [given in strips](matmul_strips). For a small one it is not worth it.
    ///
    /// ```
    /// let spec = |m| costate_ops::MatMul { m, k: 256, n: 512, ta: false, tb: false, accumulate: false };
    /// assert!(spec(256).strips::<f32>().is_some());
    /// assert_eq!(spec(1).strips::<f32>(), None);
    /// ```
    pub fn strips<T: Real>(&self) -> Option<usize> {
        let worth = self.m >= TALL && self.right_bytes::<T>() > SMALL;
        (worth && self.fits_strips::<T>()).then(strip::<T>)
    }

    /// Whether the right side can be cut into strips.
    fn fits_strips<T: Real>(&self) -> bool {
        self.k > 0 && self.n > 0 && self.n.is_multiple_of(strip::<T>())
    }

    /// Whether each row of the result has the same bits if the left side has so many rows instead.
    ///
    /// How a product is computed depends on its extents, and where that is otherwise, so may be the bits; of
    /// what the `gemm` crate computes nothing is said.
    ///
    /// ```
    /// let spec = costate_ops::MatMul { m: 64, k: 40, n: 40, ta: false, tb: false, accumulate: false };
    /// assert!(spec.same_rows::<f64>(1000));
    /// ```
    pub fn same_rows<T: Real>(&self, rows: usize) -> bool {
        match [self.way::<T>(), MatMul { m: rows, ..*self }.way::<T>()] {
            [Way::Library, _] | [_, Way::Library] => false,
            // Of a longer one, parts are added up.
            [Way::Small, Way::Blocked] | [Way::Blocked, Way::Small] => self.k <= DEPTH,
            [one, other] => one == other,
        }
    }

    fn way<T: Real>(&self) -> Way {
        let few = self.m * self.k * self.n < PARALLEL;
        match () {
            _ if self.has_long_rows() && few && Isa::detect() != Isa::Baseline => Way::Narrow,
            _ if self.has_long_rows() => Way::Library,
            _ if self.is_small::<T>() => Way::Small,
            _ if self.m < TALL || self.n < 8 => Way::Library,
            _ => Way::Blocked,
        }
    }

    fn right_bytes<T: Real>(&self) -> usize {
        self.k * self.n * size_of::<T>()
    }

    /// Whether the right side is read where it lies.
    pub(crate) fn is_small<T: Real>(&self) -> bool {
        self.right_bytes::<T>() <= SMALL && self.m * self.k * self.n < PARALLEL
    }

    /// Whether it is inner products of long rows with few columns.
    pub(crate) fn has_long_rows(&self) -> bool {
        !self.ta && self.n <= NARROW && self.k >= LONG
    }

    /// How many entries both sides and the result have.
    #[track_caller]
    pub(crate) fn lens(&self) -> [usize; 3] {
        // Were these to wrap, the unchecked reads of tiles would not be covered.
        let size = |rows: usize, columns: usize| {
            let size = rows.checked_mul(columns);
            size.unwrap_or_else(|| panic!("matmul: {rows} times {columns} entries overflow"))
        };
        [size(self.m, self.k), size(self.k, self.n), size(self.m, self.n)]
    }

    #[track_caller]
    fn check(&self, a: usize, b: usize, c: usize) {
        let [left, right, result] = self.lens();
        check_len("matmul, left", a, left);
        check_len("matmul, right", b, right);
        check_len("matmul, result", c, result);
    }
}

/// The specification of [`matmul`].
///
/// # Panics
/// If a length does not fit.
pub fn matmul_naive<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    spec.check(a.len(), b.len(), c.len());
    let ((ar, ac), (br, bc)) = (spec.a_strides(), spec.b_strides());
    for i in 0..spec.m {
        for j in 0..spec.n {
            let c = &mut c[i * spec.n + j];
            let start = if spec.accumulate { *c } else { T::zero() };
            *c = (0..spec.k).fold(start, |sum, l| sum + a[i * ar + l * ac] * b[l * br + j * bc]);
        }
    }
}

/// Up to which size of the right side in bytes a product is computed here: it stays in the
/// second-level cache, and the strip of it that a tile needs in the first.
const SMALL: usize = 128 * 1024;
/// Up to how many columns a result is narrow: vectors along its rows would be mostly empty.
const NARROW: usize = 4;
/// From which inner length on the products of a narrow result are worth making contiguous.
const LONG: usize = 16;
/// From which number of multiplications on a product is spread over threads.
const PARALLEL: usize = 4_000_000;
/// How many rows of the right side are copied at a time.
const DEPTH: usize = 256;
/// How many rows of the left side are gone through with one strip: with `DEPTH` columns they stay
/// in the second-level cache. Whole panels.
const HEIGHT: usize = 264;
/// How many rows of a transposed left side lie together: those of a tile.
const PANEL: usize = 12;
/// How many pieces of a product each thread takes.
const PIECES: usize = 4;
const PIECES_OF_STRIPS: usize = 2;
/// From how many rows on copying the right side is worth it.
const TALL: usize = 16;

/// `C = op(A) op(B)`, or `C += op(A) op(B)`.
///
/// The same bits for any number of threads. They depend on the instruction set, since products
/// are fused with sums where the machine can.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn matmul<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    spec.check(a.len(), b.len(), c.len());
    T::matmul(spec, a, b, c);
}

pub(crate) fn matmul_of<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    if c.is_empty() {
        return;
    }
    match spec.way::<T>() {
        Way::Narrow | Way::Library if spec.has_long_rows() => long_rows(spec, a, b, c),
        Way::Small => small(Isa::detect(), spec, a, b, c),
        Way::Blocked => blocked(spec, a, b, c),
        Way::Narrow | Way::Library => library(spec, a, b, c),
    }
}

/// `C = op(A) B`, or `C += op(A) B`, with the right side in the strips that [`MatMul::strips`] asks for:
/// the bits of [`matmul`] where it does, which copies the right side to such strips each time, and those of
/// the same rows of a taller left side where that has too few rows for it.
///
/// # Panics
/// If a length does not fit, or strips do not divide the columns.
#[track_caller]
pub fn matmul_strips<T: Real>(spec: MatMul, a: &[T], strips: &[T], c: &mut [T]) {
    spec.check(a.len(), strips.len(), c.len());
    assert!(spec.fits_strips::<T>(), "matmul_strips: {spec:?} reads no strips");
    T::matmul_strips(spec, a, strips, c);
}

pub(crate) fn matmul_strips_of<T: Real>(spec: MatMul, a: &[T], strips: &[T], c: &mut [T]) {
    let MatMul { m, k, n, ta, .. } = spec;
    let piece = |a: &[T], c: &mut [T]| {
        for l in (0..k).step_by(DEPTH) {
            let mut right = Right::Packed { strips, rows: k, from: l };
            deep(spec, a, &mut right, [l, DEPTH.min(k - l)], c);
        }
    };
    let threads = if is_shared(m * k * n) { threads() } else { 1 };
    if threads == 1 || m < 2 * TALL {
        return piece(a, c);
    }
    // Each piece reads all strips from the second-level cache, so they are as large as that allows.
    let rows = m.div_ceil(PIECES_OF_STRIPS * threads).next_multiple_of(TALL);
    c.par_chunks_mut(rows * n).enumerate().for_each(|(i, c)| {
        piece(&a[i * rows * if ta { 1 } else { k }..], c);
    });
}

/// How many columns of the right side are copied at a time: as many as a tile reads, so that `DEPTH` rows
/// of them fill half of the first-level cache, or two thirds.
fn strip<T: Real>() -> usize {
    let bytes = if Isa::detect() == Isa::Avx512 { 128 } else { 64 };
    bytes / size_of::<T>()
}

/// Whether a product of so many multiplications is spread over threads.
pub fn is_shared(multiplications: usize) -> bool {
    multiplications >= PARALLEL
}

/// A large product. Threads take rows of the result, and each sum is added in the order of the
/// inner index, so neither they nor the blocks show in a bit.
fn blocked<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    let MatMul { m, k, n, ta, .. } = spec;
    let threads = if is_shared(m * k * n) { threads() } else { 1 };
    if threads == 1 || m < 2 * TALL {
        blocked_rows(spec, a, b, c);
        return;
    }
    if ta {
        // Each piece copies the right side for itself, a strip at a time while the one before is used: so no
        // thread waits for another, or reads what that has just written.
        let rows = m.div_ceil(threads).next_multiple_of(PANEL);
        let pieces = c.par_chunks_mut(rows * n).enumerate();
        return pieces.for_each(|(i, c)| blocked_rows(spec, &a[i * rows..], b, c));
    }
    // More pieces than threads: one that is held up leaves the others' work to them.
    let rows = m.div_ceil(PIECES * threads).next_multiple_of(TALL);
    // The right side is copied by all threads together, and then read by each of them.
    let strip = strip::<T>();
    with_panel(n * DEPTH.min(k), |packed: &mut [T]| {
        for l in (0..k).step_by(DEPTH) {
            let depth = DEPTH.min(k - l);
            let packed = &mut packed[..n * depth];
            let share = n.div_ceil(strip).div_ceil(threads);
            let strips = packed.par_chunks_mut(strip * depth).enumerate();
            strips.with_min_len(share).for_each(|(j, to)| pack(spec, b, [l, depth, j * strip], to));
            let packed = &*packed;
            c.par_chunks_mut(rows * n).enumerate().for_each(|(i, c)| {
                let a = &a[i * rows * k..];
                let mut right = Right::Packed { strips: packed, rows: depth, from: 0 };
                deep(spec, a, &mut right, [l, depth], c);
            });
        }
    });
}

/// A large product on one thread.
fn blocked_rows<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    let MatMul { k, n, .. } = spec;
    with_panel(strip::<T>().min(n) * DEPTH.min(k), |strip: &mut [T]| {
        let mut right = Right::Own(b, strip);
        for l in (0..k).step_by(DEPTH) {
            deep(spec, a, &mut right, [l, DEPTH.min(k - l)], c);
        }
    });
}

/// The right side of a large product.
enum Right<'a, T> {
    /// As it was given, and where a strip of it is copied to before it is used.
    Own(&'a [T], &'a mut [T]),
    /// Copied already: strips of so many rows one after another, of which those from one on are
    /// wanted.
    Packed { strips: &'a [T], rows: usize, from: usize },
}

/// Some rows of a large product, as many as `c` has, of the first of `a`: what inner indices from
/// `l` on, `depth` of them, add to it.
fn deep<T: Real>(
    spec: MatMul,
    a: &[T],
    right: &mut Right<'_, T>,
    [l, depth]: [usize; 2],
    c: &mut [T],
) {
    let MatMul { n, ta, accumulate, .. } = spec;
    let m = c.len() / n;
    let (row, column) = spec.a_strides();
    let columns = strip::<T>();
    // Columns of a transposed left side, which lie in its rows, are put together a tile at a time:
    // else each of its lines would be read again for every strip.
    let room = if ta { HEIGHT.min(m).next_multiple_of(PANEL) * depth } else { 0 };
    with_scratch(room, |copied: &mut [T]| {
        for i in (0..m).step_by(HEIGHT) {
            let height = HEIGHT.min(m - i);
            let left = &a[i * row + l * column..];
            if ta {
                let to = &mut *copied;
                dispatch(Isa::detect(), Panels { from: left, step: column, height, depth, to });
            }
            for j in (0..n).step_by(columns) {
                let width = columns.min(n - j);
                // What of the right side the next strip will be.
                let after = columns.min(n - j - width);
                let next = match right {
                    Right::Own(..) if spec.tb => Next::default(),
                    Right::Own(b, _) => {
                        let from = b.get(l * n + j + width..).unwrap_or_default();
                        Next { from, rows: depth, step: n, width: after }
                    }
                    Right::Packed { strips, rows, from } => {
                        let start = (j + width) * *rows + *from * after;
                        let from = strips.get(start..).unwrap_or_default();
                        Next { from, rows: depth, step: after, width: after }
                    }
                };
                let strip = match right {
                    Right::Own(b, strip) => {
                        pack(spec, b, [l, depth, j], &mut strip[..width * depth]);
                        &strip[..width * depth]
                    }
                    Right::Packed { strips, rows, from } => {
                        &strips[j * *rows + *from * width..][..width * depth]
                    }
                };
                let block = Rows {
                    size: [height, depth, width],
                    accumulate: accumulate || l > 0,
                    a_strides: if ta { (1, PANEL) } else { (row, column) },
                    a_panel: if ta { PANEL } else { height },
                    c_row: n,
                    a: if ta { copied } else { left },
                    b: strip,
                    c: &mut c[i * n + j..],
                    next,
                };
                dispatch(Isa::detect(), Ahead(block));
            }
        }
    });
}

/// Copies some columns of a matrix whose rows are `step` apart, from the first one on, and `depth` of
/// its rows.
struct Gather<'a, T> {
    from: &'a [T],
    step: usize,
    depth: usize,
    to: &'a mut [T],
}

impl<T: Real> Kernel for Gather<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Gather { from, step, depth, to } = self;
        match to.len() / depth {
            // Of a known width, a copy is a few instructions and not a call.
            32 => gather::<T, 32>(from, step, to),
            16 => gather::<T, 16>(from, step, to),
            8 => gather::<T, 8>(from, step, to),
            width => {
                for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(step)) {
                    to.copy_from_slice(&from[..width]);
                }
            }
        }
    }
}

/// Copies `height` columns of a matrix whose rows are `step` apart, and `depth` of its rows, as panels
/// of so many columns as a tile has rows.
struct Panels<'a, T> {
    from: &'a [T],
    step: usize,
    height: usize,
    depth: usize,
    to: &'a mut [T],
}

impl<T: Real> Kernel for Panels<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Panels { from, step, height, depth, to } = self;
        // In the order of memory, which the processor reads ahead; two rows at a time, so that each
        // line of a panel is written as a whole.
        for l in (0..depth).step_by(2) {
            let rows = 2.min(depth - l);
            let two: [&[T]; 2] =
                std::array::from_fn(|r| &from[(l + r.min(rows - 1)) * step..][..height]);
            let panels = to.chunks_mut(PANEL * depth);
            for (to, p) in panels.zip((0..height).step_by(PANEL)) {
                let to = to[l * PANEL..][..rows * PANEL].as_chunks_mut::<PANEL>().0;
                for (to, from) in to.iter_mut().zip(two) {
                    match from[p..].first_chunk() {
                        Some(from) => *to = *from,
                        None => to[..height - p].copy_from_slice(&from[p..]),
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn gather<T: Real, const WIDTH: usize>(from: &[T], step: usize, to: &mut [T]) {
    for (to, from) in to.as_chunks_mut::<WIDTH>().0.iter_mut().zip(from.chunks(step)) {
        *to = *from.first_chunk().expect("a row is as long");
    }
}

/// Copies a strip of `op(B)`: `depth` rows from `l` on, and columns from `j` on, as many as fit.
fn pack<T: Real>(spec: MatMul, b: &[T], [l, depth, j]: [usize; 3], strip: &mut [T]) {
    let MatMul { k, n, tb, .. } = spec;
    let width = strip.len() / depth;
    if tb {
        copy_transposed(&b[j * k + l..], k, depth, width, strip);
    } else {
        dispatch(Isa::detect(), Gather { from: &b[l * n + j..], step: n, depth, to: strip });
    }
}

/// `out`, `rows × columns`, from the transpose, whose rows are `step` apart.
fn copy_transposed<T: Real>(x: &[T], step: usize, rows: usize, columns: usize, out: &mut [T]) {
    const BLOCK: usize = 8;
    for r in (0..rows).step_by(BLOCK) {
        let height = BLOCK.min(rows - r);
        for (c, x) in x.chunks(step).take(columns).enumerate() {
            for (i, &x) in x[r..r + height].iter().enumerate() {
                out[(r + i) * columns + c] = x;
            }
        }
    }
}

/// As many products as `batch` says, of matrices that lie one after another in each array.
///
/// A single matrix of length `m k` (or `k n`) where a batch is expected does not repeat; for one
/// `B` and many `A`, a single product with `batch · m` rows is the faster form.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn matmul_batch<T: Real>(spec: MatMul, batch: usize, a: &[T], b: &[T], c: &mut [T]) {
    let MatMul { m, k, n, .. } = spec;
    check_len("matmul_batch, left", a.len(), batch * m * k);
    check_len("matmul_batch, right", b.len(), batch * k * n);
    check_len("matmul_batch, result", c.len(), batch * m * n);
    for i in 0..batch {
        let c = &mut c[i * m * n..][..m * n];
        matmul(spec, &a[i * m * k..][..m * k], &b[i * k * n..][..k * n], c);
    }
}

/// Calls `f` with a buffer of this thread.
pub(crate) fn with_scratch<T: Real>(len: usize, f: impl FnOnce(&mut [T])) {
    thread_local! {
        static SCRATCH: RefCell<Buffer<f64>> = RefCell::default();
    }
    with_buffer(&SCRATCH, len, f);
}

/// [`with_scratch`] for what is held while that is in use as well.
fn with_panel<T: Real>(len: usize, f: impl FnOnce(&mut [T])) {
    thread_local! {
        static PANEL: RefCell<Buffer<f64>> = RefCell::default();
    }
    with_buffer(&PANEL, len, f);
}

fn with_buffer<T: Real>(
    key: &'static LocalKey<RefCell<Buffer<f64>>>,
    len: usize,
    f: impl FnOnce(&mut [T]),
) {
    // Taken out: while `f` waits for other threads, this one may be given another product.
    let mut buffer = key.take();
    buffer.resize((len * size_of::<T>()).div_ceil(size_of::<f64>()));
    f(&mut bytemuck::cast_slice_mut(&mut buffer)[..len]);
    key.set(buffer);
}

/// A product whose right side is small, with the given instruction set.
///
/// # Panics
/// If a length does not fit, or the machine lacks the instruction set.
#[doc(hidden)]
pub fn small<T: Real>(isa: Isa, spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    spec.check(a.len(), b.len(), c.len());
    let MatMul { m, k, n, ta, tb, accumulate } = spec;
    if k == 0 {
        if !accumulate {
            c.fill(T::zero());
        }
    } else if ta && n > 1 && n <= NARROW {
        // The rows of A are contiguous: Cᵀ = op(B)ᵀ A, with the sums in the same order.
        with_scratch(n * m, |ct: &mut [T]| {
            if accumulate {
                transpose(c, m, n, ct);
            }
            let flipped = MatMul { m: n, k, n: m, ta: !tb, tb: false, accumulate };
            dispatch(isa, Rows::whole(flipped, b, a, ct));
            transpose(ct, n, m, c);
        });
    } else if tb && n > 1 && k > 1 {
        with_scratch(k * n, |rows: &mut [T]| {
            transpose(b, n, k, rows);
            dispatch(isa, Rows::whole(spec, a, rows, c));
        });
    } else {
        dispatch(isa, Rows::whole(spec, a, b, c));
    }
}

/// A product with few columns, each a long inner product with contiguous rows: these have loops of
/// their own, here and in `gemm`, that want contiguous columns as well.
fn long_rows<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    let MatMul { k, n, tb, accumulate, .. } = spec;
    let way = spec.way::<T>();
    let product = |columns: &[T], c: &mut [T]| {
        let and = if accumulate { Add::Result } else { Add::Nothing };
        if !(way == Way::Narrow && narrow(k, and, a, columns, c)) {
            library(MatMul { tb: true, ..spec }, a, columns, c);
        }
    };
    if tb || n == 1 {
        product(b, c);
    } else {
        with_scratch(k * n, |columns: &mut [T]| {
            transpose(b, k, n, columns);
            product(columns, c);
        });
    }
}

/// A product by the `gemm` crate.
fn library<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    let MatMul { m, k, n, accumulate, .. } = spec;
    let ((ar, ac), (br, bc)) = (spec.a_strides(), spec.b_strides());
    let threads = match threads() {
        2.. if is_shared(m * k * n) => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    // SAFETY: the lengths were checked against the extents, so every entry that these strides
    // reach lies inside its slice, and `c` is borrowed mutably, so it overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.as_ptr(),
            ac as isize,
            ar as isize,
            b.as_ptr(),
            bc as isize,
            br as isize,
            T::one(),
            T::one(),
            false,
            false,
            false,
            threads,
        );
    }
}
