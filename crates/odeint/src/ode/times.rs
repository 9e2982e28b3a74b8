//! The times of a solve.

use std::borrow::Cow;

use costate_tape::Var;

use crate::Real;

/// The times of a solve: numbers, or a variable to differentiate with respect to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Times<'a, 't, T: Real> {
    /// Constants.
    Fixed(Cow<'a, [f64]>),
    /// A variable of shape `[n]`.
    Var(Var<'t, T>),
}

impl<'a, T: Real> From<&'a [f64]> for Times<'a, '_, T> {
    fn from(ts: &'a [f64]) -> Self {
        Times::Fixed(Cow::Borrowed(ts))
    }
}

impl<'a, T: Real> From<&'a Vec<f64>> for Times<'a, '_, T> {
    fn from(ts: &'a Vec<f64>) -> Self {
        Times::Fixed(Cow::Borrowed(ts))
    }
}

impl<T: Real> From<Vec<f64>> for Times<'_, '_, T> {
    fn from(ts: Vec<f64>) -> Self {
        Times::Fixed(Cow::Owned(ts))
    }
}

impl<T: Real, const N: usize> From<[f64; N]> for Times<'_, '_, T> {
    fn from(ts: [f64; N]) -> Self {
        Times::Fixed(Cow::Owned(ts.to_vec()))
    }
}

impl<'a, T: Real, const N: usize> From<&'a [f64; N]> for Times<'a, '_, T> {
    fn from(ts: &'a [f64; N]) -> Self {
        Times::Fixed(Cow::Borrowed(ts))
    }
}

impl<'t, T: Real> From<Var<'t, T>> for Times<'_, 't, T> {
    fn from(ts: Var<'t, T>) -> Self {
        Times::Var(ts)
    }
}
