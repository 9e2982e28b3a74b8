//! Passes over systems of a few numbers, which are compiled for each number of components.

use super::{Backward, Cotangents, Reverse};
use crate::Real;
use crate::error::FieldError;
use crate::stats::Stats;

/// Systems with more components are not of a few numbers.
pub(crate) const FEW: usize = 4;

/// A [`Reverse`] that knows the number of components.
pub(crate) trait ReverseOfFew<T: Real> {
    /// Begins a pass.
    fn start(&mut self, from: &Backward<'_, T>);

    /// Takes the steps of a grid in reverse.
    fn steps<const D: usize>(&mut self, from: &Backward<'_, T>) -> Result<(), FieldError>;

    /// Ends a pass.
    fn finish<const D: usize>(&mut self, from: &Backward<'_, T>, to: &mut Cotangents<'_, T>);

    /// What a pass over so many steps did.
    fn stats(&self, steps: usize) -> Stats;
}

/// Such a pass as any other, which finds the number of components.
pub(crate) struct OfFew<'a, P>(pub &'a mut P);

impl<T: Real, P: ReverseOfFew<T>> Reverse<T> for OfFew<'_, P> {
    fn start(&mut self, from: &Backward<'_, T>) {
        self.0.start(from);
    }

    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        _: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        match from.dim() {
            1 => self.0.steps::<1>(from),
            2 => self.0.steps::<2>(from),
            3 => self.0.steps::<3>(from),
            FEW => self.0.steps::<FEW>(from),
            dim => unreachable!("{dim} components are not few"),
        }
    }

    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        match from.dim() {
            1 => self.0.finish::<1>(from, to),
            2 => self.0.finish::<2>(from, to),
            3 => self.0.finish::<3>(from, to),
            FEW => self.0.finish::<FEW>(from, to),
            dim => unreachable!("{dim} components are not few"),
        }
        Ok(())
    }

    fn stats(&self, steps: usize) -> Stats {
        self.0.stats(steps)
    }
}
