//! Optimisers: from a gradient to a step.

mod adam;
mod clip;
mod lbfgs;
mod line_search;
mod rmsprop;
mod sgd;

pub use adam::{Adam, AdamW};
pub use clip::{ClipNorm, ClipValue, clip_norm, clip_value};
pub use lbfgs::{Lbfgs, Minimum, Stopped};
pub use rmsprop::RmsProp;
pub use sgd::Sgd;

use costate_odeint::Real;

use crate::error::{Error, Result};
use crate::state::State;

/// Changes parameters along a gradient. Both are the whole arena of a [`Params`](crate::Params).
pub trait Optimiser<T: Real> {
    /// Takes one step.
    ///
    /// # Panics
    /// If the lengths differ from each other or from those of earlier steps.
    fn update(&mut self, params: &mut [T], gradient: &[T]);

    /// The learning rate of the next step.
    fn rate(&self) -> f64;

    /// Changes the learning rate, as a [`Schedule`](crate::Schedule) says.
    fn set_rate(&mut self, rate: f64);
}

/// Makes running sums as long as the parameters, at the first step.
#[track_caller]
fn start<T: Real>(sums: &mut Vec<T>, len: usize) {
    if sums.is_empty() {
        sums.resize(len, T::zero());
    }
    let had = sums.len();
    assert!(had == len, "{len} parameters; at the optimiser's first step there were {had}");
}

/// Checks that there is a gradient for each parameter.
#[track_caller]
fn check(name: &str, params: usize, gradient: usize) {
    assert!(params == gradient, "{name}: a gradient of {gradient} entries for {params} parameters");
}

/// Running sums from a state: all of one length.
fn sums<T: Real, const N: usize>(state: &State, names: [&str; N]) -> Result<[Vec<T>; N]> {
    let mut found: [Vec<T>; N] = std::array::from_fn(|_| Vec::new());
    for (sum, name) in found.iter_mut().zip(names) {
        *sum = state.get(name, None)?;
    }
    match found.iter().position(|sum| sum.len() != found[0].len()) {
        Some(i) => Err(Error::state(format!(
            "{:?} has {} entries, {:?} {}",
            names[i],
            found[i].len(),
            names[0],
            found[0].len()
        ))),
        None => Ok(found),
    }
}
