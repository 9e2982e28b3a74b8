//! Memory aligned to cache lines.

use std::fmt;
use std::ops::{Deref, DerefMut};

use bytemuck::allocation::zeroed_vec;
use bytemuck::{Pod, Zeroable};

use crate::Real;

/// One cache line, the unit of allocation.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u8; 64]);

// SAFETY: an array of bytes: any bit pattern, zeros among them, is valid, and 64 bytes at an
// alignment of 64 leave no padding.
unsafe impl Zeroable for Line {}
// SAFETY: as above.
unsafe impl Pod for Line {}

/// A fixed number of entries, aligned to 64 bytes so that no vector load crosses a cache line.
///
/// Dereferences to a slice. The default is empty and allocates nothing.
#[derive(Clone)]
pub struct Buffer<T: Real> {
    lines: Vec<Line>,
    len: usize,
    entry: std::marker::PhantomData<T>,
}

impl<T: Real> Buffer<T> {
    /// Zeros.
    pub fn zeros(len: usize) -> Buffer<T> {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        // The system gives zeros without their being written.
        Buffer { lines: zeroed_vec(lines), len, entry: std::marker::PhantomData }
    }

    /// Changes the number of entries; what they are afterwards is unspecified. Allocates only if
    /// it never had as many.
    #[inline]
    pub fn resize(&mut self, len: usize) {
        let lines = (len * size_of::<T>()).div_ceil(size_of::<Line>());
        if self.lines.capacity() == 0 {
            self.lines = zeroed_vec(lines);
        } else if lines > self.lines.len() {
            self.lines.resize(lines, Line::zeroed());
        }
        self.len = len;
    }

    /// Adds entries at the end.
    #[inline(always)]
    pub fn extend_from_slice(&mut self, x: &[T]) {
        let (start, len) = (self.len, self.len + x.len());
        if len * size_of::<T>() > self.lines.len() * size_of::<Line>() {
            self.resize(len);
        }
        self.len = len;
        let to = &mut self[start..];
        if x.len() < 64 {
            // A call costs more than this copy.
            to.iter_mut().zip(x).for_each(|(to, &x)| *to = x);
        } else {
            crate::copy(x, to);
        }
    }
}

impl<T: Real> Default for Buffer<T> {
    fn default() -> Self {
        Buffer { lines: Vec::new(), len: 0, entry: std::marker::PhantomData }
    }
}

impl<T: Real> Deref for Buffer<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        &bytemuck::must_cast_slice(&self.lines)[..self.len]
    }
}

impl<T: Real> DerefMut for Buffer<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut bytemuck::must_cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl<T: Real> fmt::Debug for Buffer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_keeps_its_memory() {
        for len in [0, 1, 7, 64, 1000] {
            let mut buffer = Buffer::<f32>::zeros(len);
            assert_eq!(buffer.len(), len);
            assert!(buffer.iter().all(|&x| x == 0.0));
            assert_eq!(buffer.as_ptr() as usize % 64, 0);
            let before = buffer.as_ptr();
            buffer.resize(len / 2);
            buffer.resize(len);
            assert_eq!(before, buffer.as_ptr());
        }
    }
}
