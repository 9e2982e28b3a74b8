//! Gradients cut to a size.

use costate_odeint::Real;

use super::Optimiser;
use crate::error::Result;
use crate::state::{Persist, State};

/// Scales a gradient down to the Euclidean norm `max` if it is larger; returns its norm from
/// before (R. Pascanu, T. Mikolov, Y. Bengio, arXiv 1211.5063).
///
/// ```
/// let mut g = [3.0, -4.0];
/// assert_eq!(costate_nn::clip_norm(&mut g, 1.0), 5.0);
/// assert_eq!(g, [0.6000000000000001, -0.8]);
/// ```
pub fn clip_norm<T: Real>(gradient: &mut [T], max: f64) -> f64 {
    // In double precision and relative to the largest entry, so that no square overflows.
    let largest = gradient.iter().map(|g| g.as_f64().abs()).fold(0.0, f64::max);
    if largest == 0.0 {
        return 0.0;
    }
    let squares = gradient.iter().map(|g| (g.as_f64() / largest).powi(2)).sum::<f64>();
    let norm = largest * squares.sqrt();
    if norm > max {
        let scale = max / norm;
        gradient.iter_mut().for_each(|g| *g = T::from_f64(g.as_f64() * scale));
    }
    norm
}

/// Cuts each entry of a gradient to `[-max, max]`.
pub fn clip_value<T: Real>(gradient: &mut [T], max: f64) {
    let max = T::from_f64(max);
    gradient.iter_mut().for_each(|g| *g = g.max(-max).min(max));
}

/// Stamps an optimiser that cuts the gradient before another one sees it.
macro_rules! clipped {
    ($(#[$doc:meta])* $name:ident, $cut:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name<T: Real, O> {
            /// The optimiser that takes the step.
            pub inner: O,
            max: f64,
            cut: Vec<T>,
        }

        impl<T: Real, O: Optimiser<T>> $name<T, O> {
            /// Around an optimiser, with the largest size.
            pub fn new(inner: O, max: f64) -> Self {
                $name { inner, max, cut: Vec::new() }
            }
        }

        impl<T: Real, O: Optimiser<T>> Optimiser<T> for $name<T, O> {
            fn update(&mut self, params: &mut [T], gradient: &[T]) {
                self.cut.clear();
                self.cut.extend_from_slice(gradient);
                $cut(&mut self.cut, self.max);
                self.inner.update(params, &self.cut);
            }

            fn rate(&self) -> f64 {
                self.inner.rate()
            }

            fn set_rate(&mut self, rate: f64) {
                self.inner.set_rate(rate);
            }
        }

        impl<T: Real, O: Persist> Persist for $name<T, O> {
            fn store(&self, state: &mut State) {
                self.inner.store(state);
            }

            fn restore(&mut self, state: &State) -> Result<()> {
                self.inner.restore(state)
            }
        }
    };
}

clipped! {
    /// An optimiser whose gradients have at most a given [norm](clip_norm).
    ClipNorm, clip_norm
}

clipped! {
    /// An optimiser whose gradients have entries of at most a given [size](clip_value).
    ClipValue, clip_value
}
