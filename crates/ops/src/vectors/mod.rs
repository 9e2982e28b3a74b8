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
use std::marker::PhantomData;

use vector::Vector;

use crate::Real;
use crate::isa::{Isa, Kernel, dispatch};

/// The vectors of a type of numbers.
pub trait HasVectors: Sized {
    /// In registers of 64 bytes.
    type Long: Vector<Of = Self>;
    /// In registers of 32 bytes.
    type Short: Vector<Of = Self>;
}

impl HasVectors for f32 {
    type Long = __m512;
    type Short = __m256;
}

impl HasVectors for f64 {
    type Long = __m512d;
    type Short = __m256d;
}

/// A loop over vectors.
trait Vectors<T: Real> {
    /// The loop; `#[inline(always)]`, or it would not be compiled for the instruction set.
    ///
    /// # Safety
    /// The machine has the instructions of `V`.
    unsafe fn run<V: Vector<Of = T>>(self);
}

/// The best instruction set up to `isa` that has vectors of at most `len` numbers.
#[inline]
fn with_vectors_of<T: Real>(isa: Isa, len: usize) -> Option<Isa> {
    let bytes = len * size_of::<T>();
    match isa {
        Isa::Avx512 if bytes >= 64 => Some(Isa::Avx512),
        Isa::Avx512 | Isa::Avx2 if bytes >= 32 => Some(Isa::Avx2),
        _ => None,
    }
}

/// Runs a loop with an instruction set that has vectors.
#[inline(always)]
fn run<T: Real>(isa: Isa, job: impl Vectors<T>) {
    dispatch(isa, InVectors(job, PhantomData));
}

struct InVectors<J, T>(J, PhantomData<T>);

impl<T: Real, J: Vectors<T>> Kernel for InVectors<J, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        // SAFETY: kernels run for an instruction set that the machine has, and those are its registers.
        unsafe {
            match VECTOR {
                64 => self.0.run::<T::Long>(),
                32 => self.0.run::<T::Short>(),
                _ => unreachable!("there is no vector"),
            }
        }
    }
}
