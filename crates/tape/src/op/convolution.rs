//! Convolution and pooling.
//!
//! A window is a list of places, so taking all windows of an array is a gather, and the rest is a
//! matrix product, a mean or a maximum. The rules of those serve every order of derivative.

use std::sync::Arc;

use crate::Real;
use crate::shape::Shape;
use crate::var::Var;

/// How windows lie along one axis.
#[derive(Clone, Copy)]
struct Windows {
    n: usize,
    size: usize,
    stride: usize,
    padding: usize,
}

impl Windows {
    /// How many windows there are: `⌊(n + 2 padding - size) / stride⌋ + 1`.
    #[track_caller]
    fn count(self, what: &str) -> usize {
        let Windows { n, size, stride, padding } = self;
        assert!(size > 0 && stride > 0, "{what}: a window of {size} by steps of {stride}");
        let padded = n + 2 * padding;
        assert!(
            padded >= size,
            "{what}: a window of {size} does not fit {n} entries padded by {padding} on either side"
        );
        (padded - size) / stride + 1
    }

    /// Entry `j` of window `i`, `None` in the padding.
    fn place(self, i: usize, j: usize) -> Option<usize> {
        (i * self.stride + j).checked_sub(self.padding).filter(|&place| place < self.n)
    }
}

/// The windows of the last two axes, flattened.
struct Unfolded<'t, T: Real> {
    /// `[batch, channels, window entries, windows]`.
    windows: Var<'t, T>,
    /// How many windows there are along each axis.
    counts: [usize; 2],
}

impl<'t, T: Real> Var<'t, T> {
    /// All windows of `[batch, channels, height, width]`, with `fill` in the padding.
    #[track_caller]
    fn unfold(
        self,
        what: &str,
        size: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        fill: T,
    ) -> Unfolded<'t, T> {
        let shape = self.shape();
        let axis = |i: usize| Windows {
            n: shape[2 + i],
            size: size[i],
            stride: stride[i],
            padding: padding[i],
        };
        let (rows, columns) = (axis(0), axis(1));
        let counts = [rows.count(what), columns.count(what)];
        let outside = rows.n * columns.n;
        let mut places = Vec::with_capacity(size[0] * size[1] * counts[0] * counts[1]);
        for a in 0..size[0] {
            for b in 0..size[1] {
                for i in 0..counts[0] {
                    for j in 0..counts[1] {
                        places.push(match (rows.place(i, a), columns.place(j, b)) {
                            (Some(row), Some(column)) => row * columns.n + column,
                            _ => outside,
                        });
                    }
                }
            }
        }
        let [batch, channels] = [shape[0], shape[1]];
        let mut flat = self.reshape([batch, channels, outside]);
        if padding != [0, 0] {
            let fill = self.tape().scalar(fill).broadcast_to([batch, channels, 1]);
            flat = Var::concat(2, &[flat, fill]);
        }
        let places: Arc<[usize]> = places.into();
        let axes = [batch, channels, size[0] * size[1], counts[0] * counts[1]];
        Unfolded { windows: flat.gather(2, places).reshape(axes), counts }
    }

    /// This as `[batch, channels, 1, n]`.
    #[track_caller]
    fn with_height(self, what: &str) -> Var<'t, T> {
        let shape = self.shape();
        assert!(shape.ndim() == 3, "{what}: shape {shape} is not [batch, channels, n]");
        self.reshape([shape[0], shape[1], 1, shape[2]])
    }

    /// Without the height that [`with_height`](Var::with_height) made.
    #[track_caller]
    fn without_height(self) -> Var<'t, T> {
        let shape = self.shape();
        self.reshape([shape[0], shape[1], shape[3]])
    }

    #[track_caller]
    fn images(self, what: &str) -> Shape {
        let shape = self.shape();
        assert!(shape.ndim() == 4, "{what}: shape {shape} is not [batch, channels, height, width]");
        shape
    }
}

/// Convolution and pooling. Batches of images are `[batch, channels, height, width]`, batches of
/// series `[batch, channels, n]`. Along each axis a result has
/// `⌊(n + 2 padding - size) / stride⌋ + 1` entries.
impl<'t, T: Real> Var<'t, T> {
    /// The convolution of images with a kernel `[out, channels, height, width]`, in the sense of
    /// neural networks (the kernel is not flipped):
    /// `y_bofg = Σ_cij k_ocij x_b,c,f·s+i-p,g·s'+j-p'`, with zeros outside.
    ///
    /// # Panics
    /// If the shapes do not match, a stride is 0, or the kernel is larger than the padded image.
    ///
    /// ```
    /// use costate_tape::Tape;
    ///
    /// let tape = Tape::<f64>::new();
    /// let image = tape.leaf(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [1, 1, 3, 3]);
    /// let kernel = tape.leaf(&[1.0, 0.0, 0.0, -1.0], [1, 1, 2, 2]);
    /// let y = image.conv2d(kernel, [1, 1], [0, 0]);
    /// assert_eq!(*y.shape(), [1, 1, 2, 2]);
    /// assert_eq!(y.to_vec(), [-4.0; 4]);
    /// ```
    #[track_caller]
    pub fn conv2d(self, kernel: Var<'t, T>, stride: [usize; 2], padding: [usize; 2]) -> Var<'t, T> {
        let (shape, k) = (self.images("conv2d"), kernel.shape());
        assert!(
            k.ndim() == 4 && k[1] == shape[1],
            "conv2d: a kernel of shape {k} for images of shape {shape}; it must be \
             [out, {}, height, width]",
            shape[1]
        );
        let Unfolded { windows, counts } =
            self.unfold("conv2d", [k[2], k[3]], stride, padding, T::zero());
        let entries = k[1] * k[2] * k[3];
        let windows = windows.reshape([shape[0], entries, counts[0] * counts[1]]);
        let y = kernel.reshape([k[0], entries]).matmul(windows);
        y.reshape([shape[0], k[0], counts[0], counts[1]])
    }

    /// The convolution of series with a kernel `[out, channels, size]`. See [`Var::conv2d`].
    ///
    /// # Panics
    /// If the shapes do not match, the stride is 0, or the kernel is longer than the padded series.
    #[track_caller]
    pub fn conv1d(self, kernel: Var<'t, T>, stride: usize, padding: usize) -> Var<'t, T> {
        let (x, k) = (self.with_height("conv1d"), kernel.shape());
        assert!(
            k.ndim() == 3 && k[1] == x.shape()[1],
            "conv1d: a kernel of shape {k} for series of shape {}; it must be [out, {}, size]",
            self.shape(),
            x.shape()[1]
        );
        x.conv2d(kernel.with_height("conv1d"), [1, stride], [0, padding]).without_height()
    }

    /// The mean of each window of images; the zeros of the padding count.
    ///
    /// # Panics
    /// If this is no batch of images, a stride or a size is 0, or the window does not fit.
    #[track_caller]
    pub fn avg_pool2d(
        self,
        size: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Var<'t, T> {
        let shape = self.images("avg_pool2d");
        let Unfolded { windows, counts } =
            self.unfold("avg_pool2d", size, stride, padding, T::zero());
        windows.mean_axis(2).reshape([shape[0], shape[1], counts[0], counts[1]])
    }

    /// The mean of each window of series. See [`Var::avg_pool2d`].
    ///
    /// # Panics
    /// If this is no batch of series, the stride or the size is 0, or the window does not fit.
    #[track_caller]
    pub fn avg_pool1d(self, size: usize, stride: usize, padding: usize) -> Var<'t, T> {
        let x = self.with_height("avg_pool1d");
        x.avg_pool2d([1, size], [1, stride], [0, padding]).without_height()
    }

    /// The largest entry of each window of images; NaN if any is. The padding is `-∞`, so that it
    /// never wins; ties share the gradient equally.
    ///
    /// # Panics
    /// If this is no batch of images, a stride or a size is 0, or the window does not fit.
    #[track_caller]
    pub fn max_pool2d(
        self,
        size: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
    ) -> Var<'t, T> {
        let shape = self.images("max_pool2d");
        let Unfolded { windows, counts } =
            self.unfold("max_pool2d", size, stride, padding, T::neg_infinity());
        windows.max_axis(2).reshape([shape[0], shape[1], counts[0], counts[1]])
    }

    /// The largest entry of each window of series. See [`Var::max_pool2d`].
    ///
    /// # Panics
    /// If this is no batch of series, the stride or the size is 0, or the window does not fit.
    #[track_caller]
    pub fn max_pool1d(self, size: usize, stride: usize, padding: usize) -> Var<'t, T> {
        let x = self.with_height("max_pool1d");
        x.max_pool2d([1, size], [1, stride], [0, padding]).without_height()
    }
}
