//! Large memory, straight from the system.

use std::fmt;
use std::ops::{Deref, DerefMut};

use memmap2::{MmapMut, MmapOptions};

use crate::{Buffer, Real};

/// From how many bytes on memory comes from the system.
const LARGE: usize = 1 << 20;

/// The size of a large page.
const PAGE: usize = 2 << 20;

/// Memory of at least so many bytes, with all pages there.
#[cfg(target_os = "linux")]
fn map(bytes: usize) -> Option<MmapMut> {
    use memmap2::Advice;
    // The system puts what is a multiple of a large page where such pages can begin.
    let map = MmapOptions::new().len(bytes.next_multiple_of(PAGE)).map_anon().ok()?;
    // Both only make it faster, and not every system can. The last part has small pages if it is short: a
    // large one would be made zeros as a whole.
    let _ = map.advise_range(Advice::HugePage, 0, (bytes + PAGE / 8) / PAGE * PAGE);
    let _ = map.advise_range(Advice::PopulateWrite, 0, bytes);
    Some(map)
}

#[cfg(not(target_os = "linux"))]
fn map(bytes: usize) -> Option<MmapMut> {
    MmapOptions::new().len(bytes).map_anon().ok()
}

/// A [`Buffer`] for what is large and written once in each of many runs.
///
/// The system gives memory page by page, each when it is first written to, and that takes several times
/// as long as the writing. Asked for all pages at once it takes less, and less for few large ones; and
/// memory that the process had before is not made zeros once more.
///
/// Dereferences to a slice. The default is empty and allocates nothing.
#[derive(Default)]
pub struct Pages<T: Real> {
    small: Buffer<T>,
    large: Option<MmapMut>,
    len: usize,
}

impl<T: Real> Pages<T> {
    /// Changes the number of entries; what they are afterwards is unspecified. Allocates only if
    /// it never had as many.
    pub fn resize(&mut self, len: usize) {
        let bytes = len * size_of::<T>();
        if self.large.as_ref().is_none_or(|large| large.len() < bytes) {
            self.large = None;
            if bytes >= LARGE {
                self.large = map(bytes);
            }
            // Also where the system has no such pages.
            if self.large.is_none() {
                self.small.resize(len);
            }
        }
        self.len = len;
    }
}

impl<T: Real> Clone for Pages<T> {
    fn clone(&self) -> Self {
        let mut clone = Pages::default();
        clone.resize(self.len);
        clone.copy_from_slice(self);
        clone
    }
}

impl<T: Real> Deref for Pages<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match &self.large {
            Some(large) => bytemuck::cast_slice(&large[..self.len * size_of::<T>()]),
            None => &self.small,
        }
    }
}

impl<T: Real> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match &mut self.large {
            Some(large) => bytemuck::cast_slice_mut(&mut large[..self.len * size_of::<T>()]),
            None => &mut self.small,
        }
    }
}

impl<T: Real> fmt::Debug for Pages<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_aligned_and_keeps_its_memory() {
        let mut pages = Pages::<f32>::default();
        assert!(pages.is_empty());
        for len in [10, LARGE / 4 - 1, LARGE / 4, LARGE] {
            pages.resize(len);
            assert_eq!(pages.len(), len);
            assert_eq!(pages.as_ptr() as usize % 64, 0);
            (pages[0], pages[len - 1]) = (1.0, 2.0);
            let clone = pages.clone();
            assert_eq!((clone.len(), clone[0], clone[len - 1]), (len, 1.0, 2.0));
            let before = pages.as_ptr();
            pages.resize(len);
            assert_eq!(before, pages.as_ptr());
        }
    }
}
