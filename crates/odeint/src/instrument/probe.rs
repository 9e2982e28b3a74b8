//! What instruments tell a solve, and what its backward pass tells them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use costate_ops::dot;

use crate::Real;
use crate::grid::StepEnd;

/// What a solve is told by an instrument, beside its options.
#[derive(Clone, Debug, Default)]
pub(crate) struct Probe<T: Real> {
    /// The ends of the steps to take, instead of steps of its own choice. The last is the end.
    pub grid: Option<Arc<[StepEnd]>>,
    /// Where the exact backward pass writes what it goes through.
    pub pass: Option<Arc<Mutex<Pass<T>>>>,
}

impl<T: Real> Probe<T> {
    /// By steps with the given ends.
    pub fn on(grid: &[StepEnd]) -> Probe<T> {
        Probe { grid: Some(grid.into()), pass: None }
    }

    /// The record of a pass that begins.
    pub fn start(&self) -> Option<MutexGuard<'_, Pass<T>>> {
        let mut pass = self.pass.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner);
        pass.clear();
        Some(pass)
    }
}

/// A backward pass at the ends of steps, from the last to the start of the first.
///
/// At each, what comes later has left two cotangents: of the state, and of the slope there, which is
/// the first slope of the step that follows and has not been taken back yet. The momentum is
/// `p + (∂f/∂x)ᵀ k̄`. Observations at the time itself are not in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass<T: Real> {
    /// A tangent of the captured inputs, one after another; may be empty.
    pub tangent: Vec<T>,
    pub ts: Vec<f64>,
    pub ys: Vec<T>,
    pub p: Vec<T>,
    /// `k̄`, zero where the method does not use its first slope.
    pub slope: Vec<T>,
    /// For reversible schemes, the companions of the states, at which the slopes are then, and their
    /// cotangents; else empty.
    pub companions: Vec<T>,
    pub companion_p: Vec<T>,
    /// The cotangents of the captured inputs so far, times their tangent, and the sum of the
    /// absolute values of the terms.
    pub captured: Vec<[f64; 2]>,
    /// The cotangent of the time of all later stages, if the pass computes it.
    pub times: Vec<f64>,
    pub time: f64,
}

impl<T: Real> Pass<T> {
    fn clear(&mut self) {
        *self = Pass { tangent: std::mem::take(&mut self.tangent), ..Pass::default() };
    }

    pub fn visit(&mut self, t: f64, y: &[T], p: &[T], slope: Option<&[T]>, captured: &[T]) {
        self.ts.push(t);
        self.ys.extend_from_slice(y);
        self.p.extend_from_slice(p);
        match slope {
            Some(slope) => self.slope.extend_from_slice(slope),
            None => self.slope.resize(self.p.len(), T::zero()),
        }
        if !self.tangent.is_empty() {
            let sizes = self.tangent.iter().zip(captured);
            let size = sizes.map(|(a, b)| (a.as_f64() * b.as_f64()).abs()).sum();
            self.captured.push([dot(&self.tangent, captured).as_f64(), size]);
        }
        self.times.push(self.time);
    }
}
