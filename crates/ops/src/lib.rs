//! Kernels on arrays: element-wise, broadcast, reduction and matrix product.

mod real;

pub use real::Real;
