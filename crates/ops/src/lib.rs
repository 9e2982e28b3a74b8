//! Kernels on arrays: element-wise, broadcast, reduction and matrix product.
//!
//! An array is a slice of its entries in row-major order, and a shape where one is needed. Every
//! kernel writes to a slice of the caller and allocates nothing; only matrix products keep memory,
//! a scratch buffer a thread that grows to what they need. A length that does not fit is a
//! programming error and panics.
//!
//! # Instruction sets
//!
//! Kernels are plain loops, compiled once for each [`Isa`] and chosen at run time. Beside each
//! stands its specification: [`Unary::eval`], [`Binary::eval`], [`matmul_naive`].
//!
//! # The same bits
//!
//! - The result does not depend on the number of threads.
//! - Entry `i` of an element-wise result does not depend on the array's length or on `i`.
//! - Arithmetic, sums and linear combinations give the same bits with every instruction set.
//!   `exp`, `ln`, `tanh`, `sigmoid`, `softplus` and matrix products use fused multiply-add where
//!   the machine has it, and so give one of two results; inner products of long rows are added up in as
//!   many parts as a register has numbers. Their errors are bounded either way.

mod awake;
mod binary;
mod broadcast;
mod buffer;
mod chain;
mod combine;
mod compiled;
mod elementwise;
mod factor;
mod index;
mod inverse;
mod isa;
mod lanes;
mod layout;
mod linear;
mod lu;
mod math;
mod matmul;
#[cfg(target_arch = "x86_64")]
mod native;
#[cfg(not(target_arch = "x86_64"))]
#[path = "native_elsewhere.rs"]
mod native;
mod outer;
mod pages;
mod product;
mod real;
mod reduce;
mod scalar;
mod scan;
mod short;
mod tile;
mod tolerance;
mod unary;
#[cfg_attr(not(target_arch = "x86_64"), path = "vectors_elsewhere.rs")]
mod vectors;

pub use awake::{alone, awake};
pub use binary::{Binary, binary, binary_in_place_left, binary_in_place_right, binary_on};
pub use broadcast::{broadcast_shape, expand, sum_to};
pub use buffer::Buffer;
pub use chain::{
    CHAIN_REGISTERS, Chain, ChainMemory, ChainOp, ChainRegisters, ChainStep, chain, chain_on,
};
pub use combine::{combine, combine_rows};
pub use elementwise::copy;
pub use factor::{lu_factor, lu_solve, lu_solve_transposed};
pub use index::{gather, scatter_add};
pub use inverse::invert;
pub use isa::Isa;
pub use lanes::{
    Apart, LANES, LaneRegisters, SCALAR_REGISTERS, ScalarOp, ScalarStep, run_lanes, run_lanes_on,
};
pub use layout::{Range1, concat, permute, slice, slice_add, transpose};
pub use linear::{
    affine, affine_in_place, axpy, axpy_compensated, lincomb, powi, powi_in_place, select,
};
pub use lu::{Triangle, log_det, solve, solve_triangular};
#[doc(hidden)]
pub use matmul::small as matmul_small;
pub use matmul::{MatMul, is_shared, matmul, matmul_batch, matmul_naive, matmul_strips};
pub use native::{Native, NativeLanes};
pub use outer::{sum_outer, sum_outer_on};
pub use pages::Pages;
pub use product::{After, Product};
pub use real::Real;
pub use reduce::{argmax_axis, dot, first_not_finite, max_axis, sum};
pub use scalar::run_scalars;
pub use scan::cumsum;
pub use tolerance::sum_squared_ratios;
pub use unary::{Unary, unary, unary_in_place, unary_in_place_on, unary_on};
