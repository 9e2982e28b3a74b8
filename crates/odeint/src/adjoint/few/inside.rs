//! The times inside a step.

use smallvec::SmallVec;

use super::add;
use crate::Real;
use crate::adjoint::Backward;
use crate::grid::GridStep;
use crate::solve::position;
use crate::tableau::Interpolant;

/// What the states at the times inside a step send to its slopes.
pub(super) struct Inside<'a, T> {
    /// The cotangents of these states.
    pub cotangents: SmallVec<[&'a [T]; 8]>,
    /// For each of them the weights of all slopes in it.
    weights: SmallVec<[T; 64]>,
    slopes: usize,
}

impl<'a, T: Real> Inside<'a, T> {
    /// For steps of so many slopes.
    pub fn new(slopes: usize) -> Inside<'a, T> {
        Inside { cotangents: SmallVec::new(), weights: SmallVec::new(), slopes }
    }

    /// Takes up a step. The cotangents of states at its end are added to `p`.
    #[inline(always)]
    pub fn begin(
        &mut self,
        from: &'a Backward<'_, T>,
        step: &GridStep,
        interpolant: &Interpolant,
        p: &mut [T],
    ) {
        self.cotangents.clear();
        self.weights.clear();
        for time in step.saves.clone() {
            let theta = position(from.ts[time], step.t0, step.h, step.t1);
            if theta < 1.0 {
                self.cotangents.push(from.g(time));
                let weight = |i| T::from_f64(interpolant.weight(i, theta));
                self.weights.extend((0..self.slopes).map(weight));
            } else {
                add(p, from.g(time));
            }
        }
    }

    pub fn is_empty(&self) -> bool {
        self.cotangents.is_empty()
    }

    /// The cotangent of slope `i` of a step of size `h`, from these states and from those stages `bars`
    /// that use it, with the weights `column`. What was found last is added last, since it is what the sum
    /// waits for.
    #[inline(always)]
    pub fn slope<const D: usize>(&self, i: usize, column: &[T], bars: &[[T; D]], h: T) -> [T; D] {
        let mut sum = [T::zero(); D];
        for (g, weights) in self.cotangents.iter().zip(self.weights.chunks_exact(self.slopes)) {
            for (sum, &g) in sum.iter_mut().zip(*g) {
                *sum += weights[i] * g;
            }
        }
        for (&a, bar) in column.iter().zip(bars).rev() {
            for (sum, &bar) in sum.iter_mut().zip(bar) {
                *sum += a * bar;
            }
        }
        sum.map(|x| h * x)
    }
}
