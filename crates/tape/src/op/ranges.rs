//! Ranges with steps, and the rearrangements along an axis that they give.

use std::ops::{Bound, RangeBounds};

use costate_ops::Range1;
use smallvec::SmallVec;

use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// A range of an axis for [`Var::slice`]: from a start to an end, which is excluded, every so many
/// entries. Negative places count from the end of the axis.
///
/// With a negative step the same range is walked backwards from its last entry, as in `ndarray`:
/// of `0, 1, 2, 3, 4`, the range `1..4` by `-2` is `3, 1`.
///
/// ```
/// use costate_tape::{Slice, Tape};
///
/// let tape = Tape::<f64>::new();
/// let x = tape.leaf(&[0.0, 1.0, 2.0, 3.0, 4.0], [5]);
/// assert_eq!(x.slice(&[Slice::new(1..).by(2)]).to_vec(), [1.0, 3.0]);
/// assert_eq!(x.slice(&[Slice::new(1..4).by(-2)]).to_vec(), [3.0, 1.0]);
/// assert_eq!(x.slice(&[Slice::new(-2..)]).to_vec(), [3.0, 4.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    start: isize,
    end: Option<isize>,
    step: isize,
}

impl Slice {
    /// A range such as `1..4`, `..-1`, `2..` or `..`, by steps of 1.
    pub fn new(range: impl RangeBounds<isize>) -> Slice {
        let start = match range.start_bound() {
            Bound::Included(&i) => i,
            Bound::Excluded(&i) => i + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            // The place after -1, the last one, is the end of the axis.
            Bound::Included(-1) => None,
            Bound::Included(&i) => Some(i + 1),
            Bound::Excluded(&i) => Some(i),
            Bound::Unbounded => None,
        };
        Slice { start, end, step: 1 }
    }

    /// All of an axis.
    pub fn all() -> Slice {
        Slice::new(..)
    }

    /// The same range by other steps.
    ///
    /// # Panics
    /// If the step is 0.
    #[track_caller]
    pub fn by(self, step: isize) -> Slice {
        assert!(step != 0, "Slice::by: a step of 0");
        Slice { step, ..self }
    }

    /// The entries of an axis of length `n`, or `None` if the range lies outside it.
    fn on(self, n: usize) -> Option<Range1> {
        let place = |i: isize| if i < 0 { i.checked_add_unsigned(n) } else { Some(i) };
        let (start, end) = (place(self.start)?, self.end.map_or(Some(n as isize), place)?);
        if start < 0 || end < start || end > n as isize {
            return None;
        }
        let len = ((end - start) as usize).div_ceil(self.step.unsigned_abs());
        let first = if self.step < 0 && len > 0 { end - 1 } else { start };
        // An empty range starts anywhere; 0 is always allowed.
        let start = if len == 0 { 0 } else { first as usize };
        Some(Range1 { start, len, step: self.step })
    }
}

/// Every entry of every axis.
fn whole(shape: &Shape) -> Vec<Range1> {
    shape.iter().map(|&len| Range1 { start: 0, len, step: 1 }).collect()
}

/// Ranges, and what is made of them.
impl<'t, T: Real> Var<'t, T> {
    /// A range of each axis, with steps; axes for which none is given are taken whole.
    ///
    /// # Panics
    /// If more ranges are given than there are axes, or one lies outside its axis.
    #[track_caller]
    pub fn slice(self, slices: &[Slice]) -> Var<'t, T> {
        let shape = self.shape();
        assert!(slices.len() <= shape.ndim(), "slice: {} ranges for shape {shape}", slices.len());
        let mut ranges = whole(&shape);
        for (axis, slice) in slices.iter().enumerate() {
            let Some(range) = slice.on(shape[axis]) else {
                panic!("slice: {slice:?} lies outside axis {axis} of shape {shape}")
            };
            ranges[axis] = range;
        }
        self.slice_ranges(ranges)
    }

    /// The entries of one axis in reverse order.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn flip(self, axis: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(axis < shape.ndim(), "flip: shape {shape} has no axis {axis}");
        let mut ranges = whole(&shape);
        let n = shape[axis];
        ranges[axis] = Range1 { start: n.saturating_sub(1), len: n, step: -1 };
        self.slice_ranges(ranges)
    }

    /// Parts of the given lengths along one axis, in order: the inverse of [`Var::concat`].
    ///
    /// # Panics
    /// If there is no such axis, or the lengths do not add up to its.
    #[track_caller]
    pub fn split(self, axis: usize, lens: &[usize]) -> Vec<Var<'t, T>> {
        let shape = self.shape();
        assert!(axis < shape.ndim(), "split: shape {shape} has no axis {axis}");
        let sum = lens.iter().try_fold(0usize, |sum, &len| sum.checked_add(len));
        assert!(
            sum == Some(shape[axis]),
            "split: the lengths {lens:?} do not add up to axis {axis} of shape {shape}"
        );
        let mut parts = Vec::with_capacity(lens.len());
        let mut start = 0;
        for &len in lens {
            parts.push(self.slice_axis(axis, start..start + len));
            start += len;
        }
        parts
    }

    /// Zeros before and after along one axis.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn pad(self, axis: usize, before: usize, after: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(axis < shape.ndim(), "pad: shape {shape} has no axis {axis}");
        if before + after == 0 {
            return self;
        }
        let mut ranges = whole(&shape);
        ranges[axis].start = before;
        self.pad_into(ranges, shape.with(axis, before + shape[axis] + after))
    }

    /// Without an axis of length 1. Costs nothing.
    ///
    /// # Panics
    /// If there is no such axis, or its length is not 1.
    #[track_caller]
    pub fn squeeze(self, axis: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(
            axis < shape.ndim() && shape[axis] == 1,
            "squeeze: shape {shape} has no axis {axis} of length 1"
        );
        self.reshape(shape.without(axis))
    }

    /// With a new axis of length 1, which becomes axis number `axis`. Costs nothing.
    ///
    /// # Panics
    /// If the shape has fewer than `axis` axes.
    #[doc(alias = "expand_dims")]
    #[track_caller]
    pub fn unsqueeze(self, axis: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(axis <= shape.ndim(), "unsqueeze: shape {shape} can have no new axis {axis}");
        let axes = shape[..axis].iter().chain([&1]).chain(&shape[axis..]).copied();
        self.reshape(axes.collect::<Shape>())
    }

    /// With two axes exchanged.
    ///
    /// # Panics
    /// If there is no such axis.
    #[track_caller]
    pub fn swap_axes(self, a: usize, b: usize) -> Var<'t, T> {
        let shape = self.shape();
        assert!(
            a < shape.ndim() && b < shape.ndim(),
            "swap_axes: shape {shape} has no axis {}",
            a.max(b)
        );
        let mut axes: SmallVec<[usize; 4]> = (0..shape.ndim()).collect();
        axes.swap(a, b);
        self.permute(&axes)
    }
}
