//! Kernels on arrays: element-wise, broadcast, reduction and matrix product.
