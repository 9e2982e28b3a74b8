//! Rearranging the entries of an array.

use smallvec::SmallVec;

use crate::Real;
use crate::elementwise::check_len;
use crate::isa::{Isa, Kernel, dispatch_arithmetic};

/// The steps in memory of a row-major array's axes.
fn strides(shape: &[usize]) -> SmallVec<[isize; 6]> {
    let mut strides: SmallVec<[isize; 6]> = SmallVec::from_elem(1, shape.len());
    for i in (1..shape.len()).rev() {
        strides[i - 1] = strides[i] * shape[i] as isize;
    }
    strides
}

/// Calls `f(place in the view, offset in memory)` at the start of each innermost row of a view.
fn for_each_row(shape: &[usize], strides: &[isize], base: isize, mut f: impl FnMut(usize, isize)) {
    if shape.contains(&0) {
        return;
    }
    let Some((&inner, outer)) = shape.split_last() else {
        return f(0, base);
    };
    let mut index: SmallVec<[usize; 6]> = SmallVec::from_elem(0, outer.len());
    let (mut place, mut offset) = (0, base);
    loop {
        f(place, offset);
        place += inner;
        let mut axis = outer.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            offset += strides[axis];
            if index[axis] < outer[axis] {
                break;
            }
            offset -= strides[axis] * outer[axis] as isize;
            index[axis] = 0;
        }
    }
}

/// Copies entries of `x` that are `step` apart, from `offset` on.
fn copy_row<T: Real>(out: &mut [T], x: &[T], offset: isize, step: isize) {
    if step == 1 {
        out.copy_from_slice(&x[offset as usize..][..out.len()]);
    } else {
        for (i, out) in out.iter_mut().enumerate() {
            *out = x[(offset + i as isize * step) as usize];
        }
    }
}

/// Copies `rows` pieces of `len` entries, which begin `from` entries apart, to places `to` apart. Short ones by
/// loads and stores of that length: a call for each would take longer than what it does.
fn copy_pieces<T: Real>(x: &[T], from: usize, out: &mut [T], to: usize, rows: usize, len: usize) {
    fn of_length<T: Real, const N: usize>(x: &[T], from: usize, out: &mut [T], to: usize) {
        for (out, x) in out.chunks_mut(to).zip(x.chunks(from)) {
            out[..N].copy_from_slice(&x[..N]);
        }
    }
    if rows == 0 || len == 0 {
        return;
    }
    let x = &x[..(rows - 1) * from + len];
    match len {
        1 => of_length::<T, 1>(x, from, out, to),
        2 => of_length::<T, 2>(x, from, out, to),
        3 => of_length::<T, 3>(x, from, out, to),
        4 => of_length::<T, 4>(x, from, out, to),
        _ => out
            .chunks_mut(to)
            .zip(x.chunks(from))
            .for_each(|(out, x)| out[..len].copy_from_slice(&x[..len])),
    }
}

/// Side of the squares in which a matrix is transposed: a row of one is a cache line of `f64`.
const TILE: usize = 8;

struct Transpose<'a, T> {
    x: &'a [T],
    rows: usize,
    columns: usize,
    out: &'a mut [T],
}

impl<T: Real> Kernel for Transpose<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let Transpose { x, rows, columns, out } = self;
        let (whole_rows, whole_columns) = (rows / TILE * TILE, columns / TILE * TILE);
        for i in (0..whole_rows).step_by(TILE) {
            for j in (0..whole_columns).step_by(TILE) {
                let tile: [&[T; TILE]; TILE] = std::array::from_fn(|r| {
                    x[(i + r) * columns + j..][..TILE].try_into().expect("TILE entries")
                });
                for c in 0..TILE {
                    let row: [T; TILE] = std::array::from_fn(|r| tile[r][c]);
                    out[(j + c) * rows + i..][..TILE].copy_from_slice(&row);
                }
            }
        }
        // What is left at the right and at the bottom.
        for j in 0..columns {
            let from = if j < whole_columns { whole_rows } else { 0 };
            for i in from..rows {
                out[j * rows + i] = x[i * columns + j];
            }
        }
    }
}

/// Writes the transpose of the `rows × columns` matrix `x`.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn transpose<T: Real>(x: &[T], rows: usize, columns: usize, out: &mut [T]) {
    check_len("transpose", x.len(), rows * columns);
    check_len("transpose", out.len(), rows * columns);
    dispatch_arithmetic(Isa::detect(), Transpose { x, rows, columns, out });
}

/// Reorders axes: axis `i` of the result is axis `axes[i]` of `x`.
///
/// # Panics
/// If a length does not fit, or `axes` does not name every axis once.
#[track_caller]
pub fn permute<T: Real>(x: &[T], shape: &[usize], axes: &[usize], out: &mut [T]) {
    check_len("permute", x.len(), shape.iter().product());
    check_len("permute", out.len(), x.len());
    check_len("permute axes", axes.len(), shape.len());
    let each_once = (0..shape.len()).all(|axis| axes.contains(&axis));
    assert!(each_once, "permute: {axes:?} is no order of the {} axes", shape.len());
    if let ([rows, columns], [1, 0]) = (shape, axes) {
        return transpose(x, *rows, *columns, out);
    }
    let from = strides(shape);
    let view: SmallVec<[usize; 6]> = axes.iter().map(|&a| shape[a]).collect();
    let steps: SmallVec<[isize; 6]> = axes.iter().map(|&a| from[a]).collect();
    let (inner, step) = (view.last().copied().unwrap_or(1), steps.last().copied().unwrap_or(1));
    for_each_row(&view, &steps, 0, |place, offset| {
        copy_row(&mut out[place..place + inner], x, offset, step);
    });
}

/// A range of one axis: `len` entries from `start` on, `step` apart. The step may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range1 {
    /// The first entry.
    pub start: usize,
    /// How many.
    pub len: usize,
    /// From one to the next.
    pub step: isize,
}

/// The shape, steps and start in memory of a range of every axis.
#[track_caller]
fn view(
    what: &str,
    shape: &[usize],
    ranges: &[Range1],
) -> (SmallVec<[usize; 6]>, SmallVec<[isize; 6]>, isize) {
    check_len(what, ranges.len(), shape.len());
    let mut base = 0;
    let mut steps = strides(shape);
    for ((range, &n), step) in ranges.iter().zip(shape).zip(&mut steps) {
        if range.len > 0 {
            let last = range.start as isize + (range.len as isize - 1) * range.step;
            let inside = range.start < n && (0..n as isize).contains(&last);
            assert!(inside, "{what}: {range:?} lies outside an axis of length {n}");
        }
        base += range.start as isize * *step;
        *step *= range.step;
    }
    (ranges.iter().map(|r| r.len).collect(), steps, base)
}

/// Writes a range of every axis of `x`.
///
/// # Panics
/// If a length does not fit, or a range lies outside its axis.
#[track_caller]
pub fn slice<T: Real>(x: &[T], shape: &[usize], ranges: &[Range1], out: &mut [T]) {
    check_len("slice", x.len(), shape.iter().product());
    let (lens, steps, base) = view("slice", shape, ranges);
    check_len("slice", out.len(), lens.iter().product());
    // Columns of a matrix.
    if let (&[rows, len], &[from, 1]) = (&lens[..], &steps[..])
        && from > 0
        && !out.is_empty()
    {
        return copy_pieces(&x[base as usize..], from as usize, out, len, rows, len);
    }
    let (inner, step) = (lens.last().copied().unwrap_or(1), steps.last().copied().unwrap_or(1));
    for_each_row(&lens, &steps, base, |place, offset| {
        copy_row(&mut out[place..place + inner], x, offset, step);
    });
}

/// Adds `x` to a range of every axis of `out`, which has shape `shape`: the transpose of
/// [`slice()`].
///
/// # Panics
/// If a length does not fit, or a range lies outside its axis.
#[track_caller]
pub fn slice_add<T: Real>(x: &[T], out: &mut [T], shape: &[usize], ranges: &[Range1]) {
    check_len("slice_add", out.len(), shape.iter().product());
    let (lens, steps, base) = view("slice_add", shape, ranges);
    check_len("slice_add", x.len(), lens.iter().product());
    let (inner, step) = (lens.last().copied().unwrap_or(1), steps.last().copied().unwrap_or(1));
    for_each_row(&lens, &steps, base, |place, offset| {
        for i in 0..inner {
            out[(offset + i as isize * step) as usize] += x[place + i];
        }
    });
}

/// Writes arrays `[outer, lens[i], inner]` one after another along the middle axis.
///
/// # Panics
/// If a length does not fit.
#[track_caller]
pub fn concat<T: Real>(xs: &[&[T]], outer: usize, lens: &[usize], inner: usize, out: &mut [T]) {
    check_len("concat", xs.len(), lens.len());
    check_len("concat", out.len(), outer * lens.iter().sum::<usize>() * inner);
    for (x, len) in xs.iter().zip(lens) {
        check_len("concat", x.len(), outer * len * inner);
    }
    let (all, mut at) = (lens.iter().sum::<usize>() * inner, 0);
    for (x, len) in xs.iter().zip(lens) {
        let n = len * inner;
        if !x.is_empty() {
            copy_pieces(x, n, &mut out[at..], all, outer, n);
        }
        at += n;
    }
}
