//! Vectors of both types and of both lengths.

use crate::Real;

/// A vector of numbers of a type.
///
/// # Safety
/// Its functions need the instruction set that has it, with fused multiply-add; what is loaded or stored
/// must be there.
pub trait Vector: Copy {
    type Of: Real;
    const LEN: usize;
    /// How many registers there are for them.
    const REGISTERS: usize;
    /// Zeros.
    unsafe fn zero() -> Self;
    /// The same number everywhere.
    unsafe fn splat(x: Self::Of) -> Self;
    /// The numbers from a place on.
    unsafe fn load(from: *const Self::Of) -> Self;
    /// `len` numbers from a place on, fewer than `LEN`, and zeros.
    unsafe fn load_some(from: *const Self::Of, len: usize) -> Self;
    /// Writes the numbers to a place.
    unsafe fn store(self, to: *mut Self::Of);
    /// Writes those from number `first` on to where they would be from a place on, where there is room for
    /// all of them.
    unsafe fn store_from(self, first: usize, to: *mut Self::Of);
    /// `self b + c`.
    unsafe fn fma(self, b: Self, c: Self) -> Self;
    /// `self b`.
    unsafe fn mul(self, b: Self) -> Self;
    /// `self + b`.
    unsafe fn add(self, b: Self) -> Self;
    /// `self - b`.
    unsafe fn sub(self, b: Self) -> Self;
    /// The sum of the numbers of each of eight vectors, added in the same order.
    unsafe fn sums(of: [Self; 8]) -> [Self::Of; 8];
}

#[cfg(test)]
mod tests {
    use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};

    use super::*;
    use crate::isa::Isa;

    fn check<V: Vector>() {
        let number = |i: usize, j: usize| V::Of::from_f64((i * V::LEN + j) as f64);
        // SAFETY: the machine has the instructions, and `LEN` numbers are loaded where so many are.
        let found = unsafe {
            V::sums(std::array::from_fn(|i| {
                let numbers: Vec<V::Of> = (0..V::LEN).map(|j| number(i, j)).collect();
                V::load(numbers.as_ptr())
            }))
        };
        for (i, found) in found.iter().enumerate() {
            let sum = (0..V::LEN).map(|j| number(i, j)).reduce(|a, b| a + b);
            assert_eq!(Some(*found), sum, "{i}");
        }
    }

    fn check_parts<V: Vector>() {
        let numbers: Vec<V::Of> = (1..=V::LEN).map(|i| V::Of::from_f64(i as f64)).collect();
        let ninety = V::Of::from_f64(90.0);
        for some in 0..V::LEN {
            let (mut loaded, mut stored) = (vec![ninety; V::LEN], vec![ninety; V::LEN]);
            // SAFETY: the machine has the instructions; there are as many numbers as are loaded, and room
            // for a vector where one is stored.
            unsafe {
                V::load_some(numbers[..some].as_ptr(), some).store(loaded.as_mut_ptr());
                V::load(numbers.as_ptr()).store_from(some, stored.as_mut_ptr());
            }
            for i in 0..V::LEN {
                assert_eq!(loaded[i], if i < some { numbers[i] } else { V::Of::from_f64(0.0) });
                assert_eq!(stored[i], if i < some { ninety } else { numbers[i] });
            }
        }
    }

    #[test]
    fn sums_and_parts_are_in_their_places() {
        if Isa::detect() >= Isa::Avx512 {
            check::<__m512d>();
            check::<__m512>();
            check_parts::<__m512d>();
            check_parts::<__m512>();
        }
        if Isa::detect() >= Isa::Avx2 {
            check::<__m256d>();
            check::<__m256>();
            check_parts::<__m256d>();
            check_parts::<__m256>();
        }
    }
}
