//! Kernels that are written with the names of AVX-512's instructions, for what the compiler does not
//! make of a loop.

mod narrow;
mod outer;
mod short;
mod vector;

pub(crate) use narrow::narrow;
pub(crate) use outer::outer;
pub(crate) use short::short;

use crate::Real;

/// A slice as one of double precision, if it is.
fn as_f64<T: Real>(x: &[T]) -> Option<&[f64]> {
    (size_of::<T>() == size_of::<f64>()).then(|| bytemuck::cast_slice(x))
}
