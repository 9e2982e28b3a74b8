//! How long the results of steps are read.

use crate::lanes::{SCALAR_REGISTERS, ScalarStep};

/// What becomes of the result of a step.
#[derive(Clone, Copy)]
pub(super) struct Result {
    /// The last step that reads it, if any does.
    pub until: Option<usize>,
    /// Whether it is wanted in the end.
    pub wanted: bool,
}

/// The last step that reads what each register holds, if any does.
pub(super) type Until = [Option<usize>; SCALAR_REGISTERS];

/// What becomes of the result of each step, if what these registers hold in the end is wanted, and the last
/// steps that read what registers hold at first.
pub(super) fn results_of(
    steps: &[ScalarStep],
    mut wanted: [bool; SCALAR_REGISTERS],
) -> (Vec<Result>, Until) {
    let mut until = [None; SCALAR_REGISTERS];
    let mut results: Vec<Result> = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate().rev() {
        let out = usize::from(step.out);
        results.push(Result { until: until[out].take(), wanted: std::mem::take(&mut wanted[out]) });
        for &arg in &step.args[..step.op.arguments()] {
            until[usize::from(arg)].get_or_insert(i);
        }
    }
    results.reverse();
    (results, until)
}
