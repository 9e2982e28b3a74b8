//! Two functions of one argument that share most of their work.

use rayon::prelude::*;

use crate::Real;
use crate::elementwise::{FOUR, LANES, check_len, is_long, share_or_chunk};
use crate::isa::{Isa, Kernel, dispatch};
use crate::math;

/// How many vectors are worked on at once where there are 32 registers.
const AT_ONCE: usize = 4;

struct SoftplusSigmoid<'a, T>(&'a [T], &'a mut [T], &'a mut [T]);

impl<T: Real> Kernel for SoftplusSigmoid<'_, T> {
    #[inline(always)]
    fn run<const FMA: bool, const VECTOR: usize>(self) {
        let SoftplusSigmoid(x, softplus, sigmoid) = self;
        match VECTOR / size_of::<T>() {
            _ if VECTOR == 64 => {
                all::<T, FMA, { AT_ONCE * LANES }, AT_ONCE>(x, softplus, sigmoid);
            }
            8 => all::<T, FMA, { FOUR * 8 }, FOUR>(x, softplus, sigmoid),
            4 if VECTOR == 32 => all::<T, FMA, { FOUR * 4 }, FOUR>(x, softplus, sigmoid),
            _ => all::<T, FMA, LANES, 1>(x, softplus, sigmoid),
        }
    }
}

/// In blocks of `B` entries, of which `N` at a time are worked on.
#[inline(always)]
fn all<T: Real, const FMA: bool, const B: usize, const N: usize>(
    x: &[T],
    softplus: &mut [T],
    sigmoid: &mut [T],
) {
    let (blocks, x) = x.as_chunks::<B>();
    let (softplus_blocks, softplus) = softplus.as_chunks_mut::<B>();
    let (sigmoid_blocks, sigmoid) = sigmoid.as_chunks_mut::<B>();
    for ((x, softplus), sigmoid) in blocks.iter().zip(softplus_blocks).zip(sigmoid_blocks) {
        block::<T, FMA, B, N>(x, softplus, sigmoid);
    }
    let (blocks, x) = x.as_chunks::<LANES>();
    let (softplus_blocks, softplus) = softplus.as_chunks_mut::<LANES>();
    let (sigmoid_blocks, sigmoid) = sigmoid.as_chunks_mut::<LANES>();
    for ((x, softplus), sigmoid) in blocks.iter().zip(softplus_blocks).zip(sigmoid_blocks) {
        block::<T, FMA, LANES, 1>(x, softplus, sigmoid);
    }
    if !x.is_empty() {
        let mut padded = [[T::zero(); LANES]; 3];
        padded[0][..x.len()].copy_from_slice(x);
        let [x, first, second] = &mut padded;
        block::<T, FMA, LANES, 1>(x, first, second);
        softplus.copy_from_slice(&first[..softplus.len()]);
        sigmoid.copy_from_slice(&second[..sigmoid.len()]);
    }
}

#[inline(always)]
fn block<T: Real, const FMA: bool, const B: usize, const N: usize>(
    x: &[T; B],
    softplus: &mut [T; B],
    sigmoid: &mut [T; B],
) {
    for i in 0..B / N {
        let (first, second) =
            math::softplus_sigmoid::<T, FMA, N>(std::array::from_fn(|j| x[j * (B / N) + i]));
        for j in 0..N {
            softplus[j * (B / N) + i] = first[j];
            sigmoid[j * (B / N) + i] = second[j];
        }
    }
}

/// [`Unary::Softplus`](crate::Unary::Softplus) of each `x_i`, and its derivative, which is
/// [`Unary::Sigmoid`](crate::Unary::Sigmoid), with the same bits; both follow from one exponential.
///
/// # Panics
/// If the lengths differ.
#[track_caller]
pub fn softplus_sigmoid<T: Real>(x: &[T], softplus: &mut [T], sigmoid: &mut [T]) {
    check_len("softplus_sigmoid, first", softplus.len(), x.len());
    check_len("softplus_sigmoid, second", sigmoid.len(), x.len());
    T::softplus_sigmoid(x, softplus, sigmoid);
}

pub(crate) fn softplus_sigmoid_of<T: Real>(x: &[T], softplus: &mut [T], sigmoid: &mut [T]) {
    let isa = Isa::detect();
    if !is_long(x.len()) {
        return dispatch(isa, SoftplusSigmoid(x, softplus, sigmoid));
    }
    let chunk = share_or_chunk(x.len());
    let outs = softplus.par_chunks_mut(chunk).zip(sigmoid.par_chunks_mut(chunk));
    outs.zip(x.par_chunks(chunk)).for_each(|((softplus, sigmoid), x)| {
        dispatch(isa, SoftplusSigmoid(x, softplus, sigmoid));
    });
}
