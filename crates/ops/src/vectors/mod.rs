//! Kernels that are written with the names of instructions, of AVX-512 or AVX2, for what the compiler does
//! not make of a loop.
//!
//! Each is a loop over a [`Vector`], and a [`Kernel`](crate::isa::Kernel) that chooses one by the length
//! of registers.

mod avx2;
mod avx512;
mod narrow;
mod outer;
mod short;
mod vector;

pub(crate) use narrow::narrow;
pub(crate) use outer::outer;
pub(crate) use short::short;

use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};

use vector::Vector;

use crate::Real;
use crate::isa::{Isa, Kernel, dispatch};

/// A loop over vectors.
trait Vectors<T: Real> {
    /// The loop; `#[inline(always)]`, or it would not be compiled for the instruction set.
    ///
    /// # Safety
    /// The machine has the instructions of `V`.
    unsafe fn run<V: Vector<Of = T>>(self);
}

/// How many bytes the registers of an instruction set have, where there are such loops for it.
fn register(isa: Isa) -> Option<usize> {
    match isa {
        Isa::Avx512 => Some(64),
        Isa::Avx2 => Some(32),
        Isa::Baseline => None,
    }
}

/// Runs a loop in double precision with an instruction set that has registers for it.
#[inline(always)]
fn in_f64(isa: Isa, job: impl Vectors<f64>) {
    dispatch(isa, InF64(job));
}

/// The same in single precision.
#[inline(always)]
fn in_f32(isa: Isa, job: impl Vectors<f32>) {
    dispatch(isa, InF32(job));
}

struct InF64<J>(J);
struct InF32<J>(J);

impl<J: Vectors<f64>> Kernel for InF64<J> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        // SAFETY: kernels run for an instruction set that the machine has, and those are its registers.
        unsafe {
            match VECTOR {
                64 => self.0.run::<__m512d>(),
                32 => self.0.run::<__m256d>(),
                _ => unreachable!("there is no register"),
            }
        }
    }
}

impl<J: Vectors<f32>> Kernel for InF32<J> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        // SAFETY: as above.
        unsafe {
            match VECTOR {
                64 => self.0.run::<__m512>(),
                32 => self.0.run::<__m256>(),
                _ => unreachable!("there is no register"),
            }
        }
    }
}

/// A slice as one of double precision, if it is.
fn as_f64<T: Real>(x: &[T]) -> Option<&[f64]> {
    (size_of::<T>() == size_of::<f64>()).then(|| bytemuck::cast_slice(x))
}
