//! Losses of classification.

use costate_odeint::Real;
use costate_tape::Var;

/// The mean over the rows of `-ln softmax(logits)[label]`, 0-d. `logits` is `[rows, classes]`.
///
/// # Panics
/// If there is not one label for each row, or a label is no class.
#[track_caller]
pub fn cross_entropy<'t, T: Real>(logits: Var<'t, T>, labels: &[usize]) -> Var<'t, T> {
    let shape = logits.shape();
    assert!(
        shape.ndim() == 2 && shape[0] == labels.len(),
        "cross_entropy: {} labels for logits of shape {shape}",
        labels.len()
    );
    let classes = shape[1];
    let mut chosen = vec![T::zero(); shape.numel()];
    for (row, &label) in labels.iter().enumerate() {
        assert!(label < classes, "cross_entropy: label {label} of {classes} classes");
        chosen[row * classes + label] = T::one();
    }
    let chosen = logits.tape().leaf(&chosen, &shape);
    -(logits.log_softmax(1) * chosen).sum() / T::from_f64(labels.len() as f64)
}

/// The fraction of rows whose largest logit is the label's.
///
/// # Panics
/// If there is not one label for each row of `[rows, classes]`.
#[track_caller]
pub fn accuracy<T: Real>(logits: Var<'_, T>, labels: &[usize]) -> f64 {
    let shape = logits.shape();
    assert!(
        shape.ndim() == 2 && shape[0] == labels.len(),
        "accuracy: {} labels for logits of shape {shape}",
        labels.len()
    );
    let mut best = vec![0; labels.len()];
    costate_ops::argmax_axis(&logits.to_vec(), shape[0], shape[1], 1, &mut best);
    let right = best.iter().zip(labels).filter(|(a, b)| a == b).count();
    right as f64 / labels.len() as f64
}
