//! Pooling: one number for each window.

use costate_odeint::Real;
use costate_tape::{Shape, Var};

/// What a window comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Max,
    Mean,
}

/// The largest entry, or the mean, of each window of images, channel by channel. Windows lie side by
/// side and there is no padding unless [`stride`](Pool2d::stride) and [`padding`](Pool2d::padding)
/// say otherwise. The padding never is the largest entry, and counts as 0 in a mean.
///
/// ```
/// use costate_nn::Pool2d;
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let image = tape.leaf(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0], [1, 1, 2, 4]);
/// assert_eq!(Pool2d::max([2, 2]).forward(image).to_vec(), [6.0, 8.0]);
/// assert_eq!(Pool2d::mean([2, 2]).forward(image).to_vec(), [3.5, 5.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2d {
    kind: Kind,
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
}

impl Pool2d {
    /// The largest entry of each window, `NaN` if any is.
    ///
    /// # Panics
    /// If a size is 0.
    #[track_caller]
    pub fn max(size: [usize; 2]) -> Pool2d {
        Pool2d::new(Kind::Max, size)
    }

    /// The mean of each window.
    ///
    /// # Panics
    /// If a size is 0.
    #[track_caller]
    pub fn mean(size: [usize; 2]) -> Pool2d {
        Pool2d::new(Kind::Mean, size)
    }

    #[track_caller]
    fn new(kind: Kind, size: [usize; 2]) -> Pool2d {
        assert!(size[0] > 0 && size[1] > 0, "Pool2d: a window of {} by {}", size[0], size[1]);
        Pool2d { kind, size, stride: size, padding: [0, 0] }
    }

    /// With steps of so many pixels down and to the right.
    ///
    /// # Panics
    /// If one is 0.
    #[track_caller]
    pub fn stride(mut self, stride: [usize; 2]) -> Pool2d {
        assert!(stride[0] > 0 && stride[1] > 0, "Pool2d: strides of {stride:?}");
        self.stride = stride;
        self
    }

    /// With so many pixels more above and below, and to the left and the right: less than a
    /// window's size.
    ///
    /// # Panics
    /// If a window could lie in the padding alone.
    #[track_caller]
    pub fn padding(mut self, padding: [usize; 2]) -> Pool2d {
        let [h, w] = self.size;
        let fits = padding[0] < h && padding[1] < w;
        assert!(fits, "Pool2d: a padding of {padding:?} for windows of {h} by {w}");
        self.padding = padding;
        self
    }

    /// From `[samples, channels, height, width]` to `[samples, channels, height', width']` with
    /// `height' = (height + 2 padding - size)/stride + 1`, rounded down, and the width likewise.
    ///
    /// # Panics
    /// If the input has another number of axes, or is smaller than a window.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, x: Var<'t, T>) -> Var<'t, T> {
        if let Err(reason) = self.output_shape(&x.shape()) {
            panic!("{reason}");
        }
        match self.kind {
            Kind::Max => x.max_pool2d(self.size, self.stride, self.padding),
            Kind::Mean => x.avg_pool2d(self.size, self.stride, self.padding),
        }
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        let [h, w] = self.size;
        let counts = match input[..] {
            [_, _, height, width] => windows([height, width], self.size, self.stride, self.padding),
            _ => None,
        };
        let [rows, columns] = counts.ok_or_else(|| {
            format!(
                "Pool2d: shape {input}, not [samples, channels, height, width] that a window of \
                 {h} by {w} fits into"
            )
        })?;
        Ok([input[0], input[1], rows, columns].into())
    }
}

/// The largest entry, or the mean, of each window of series: see [`Pool2d`].
///
/// ```
/// use costate_nn::Pool1d;
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let series = tape.leaf(&[1.0, 4.0, 2.0, 0.0, 5.0], [1, 1, 5]);
/// assert_eq!(Pool1d::max(2).forward(series).to_vec(), [4.0, 2.0]);
/// assert_eq!(Pool1d::max(2).stride(1).forward(series).to_vec(), [4.0, 4.0, 2.0, 5.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool1d {
    kind: Kind,
    size: usize,
    stride: usize,
    padding: usize,
}

impl Pool1d {
    /// The largest entry of each window, `NaN` if any is.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    pub fn max(size: usize) -> Pool1d {
        Pool1d::new(Kind::Max, size)
    }

    /// The mean of each window.
    ///
    /// # Panics
    /// If the size is 0.
    #[track_caller]
    pub fn mean(size: usize) -> Pool1d {
        Pool1d::new(Kind::Mean, size)
    }

    #[track_caller]
    fn new(kind: Kind, size: usize) -> Pool1d {
        assert!(size > 0, "Pool1d: a window of size 0");
        Pool1d { kind, size, stride: size, padding: 0 }
    }

    /// With steps of so many entries.
    ///
    /// # Panics
    /// If it is 0.
    #[track_caller]
    pub fn stride(mut self, stride: usize) -> Pool1d {
        assert!(stride > 0, "Pool1d: a stride of 0");
        self.stride = stride;
        self
    }

    /// With so many entries more at each end: less than the window's size.
    ///
    /// # Panics
    /// If a window could lie in the padding alone.
    #[track_caller]
    pub fn padding(mut self, padding: usize) -> Pool1d {
        let size = self.size;
        assert!(padding < size, "Pool1d: a padding of {padding} for windows of size {size}");
        self.padding = padding;
        self
    }

    /// From `[samples, channels, length]` to `[samples, channels, length']` with
    /// `length' = (length + 2 padding - size)/stride + 1`, rounded down.
    ///
    /// # Panics
    /// If the input has another number of axes, or is shorter than a window.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, x: Var<'t, T>) -> Var<'t, T> {
        if let Err(reason) = self.output_shape(&x.shape()) {
            panic!("{reason}");
        }
        match self.kind {
            Kind::Max => x.max_pool1d(self.size, self.stride, self.padding),
            Kind::Mean => x.avg_pool1d(self.size, self.stride, self.padding),
        }
    }

    /// The shape of its output, or what is wrong with the input's.
    pub(crate) fn output_shape(&self, input: &Shape) -> Result<Shape, String> {
        let size = self.size;
        let counts = match input[..] {
            [_, _, length] => windows([1, length], [1, size], [1, self.stride], [0, self.padding]),
            _ => None,
        };
        let [_, length] = counts.ok_or_else(|| {
            format!(
                "Pool1d: shape {input}, not [samples, channels, length] that a window of size \
                 {size} fits into"
            )
        })?;
        Ok([input[0], input[1], length].into())
    }
}

/// How many windows there are down and to the right, if one fits.
pub(super) fn windows(
    lengths: [usize; 2],
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Option<[usize; 2]> {
    let mut counts = [0; 2];
    for k in 0..2 {
        let free = (lengths[k] + 2 * padding[k]).checked_sub(size[k])?;
        counts[k] = free / stride[k] + 1;
    }
    Some(counts)
}
