//! The same network at another depth.

use costate_odeint::Real;
use ndarray::{ArrayD, ArrayViewD, Axis};

/// Weights of a network of `depth` layers, linear in depth between the layers, read at `layers`
/// places: `[depth, …]` to `[layers, …]`. Layer `l` of `n` stands for the depth `(l + 1/2)/n` of a
/// total of 1; before the first and after the last the weights stay.
///
/// With trained weights, residual and near-identity networks of growing depth tend to their
/// differential equation at first order (arXiv 1909.03767, sections 2 and 5).
///
/// ```
/// use costate_nn::mechanics::interpolate_depth;
/// use ndarray::arr2;
///
/// let weights = arr2(&[[0.0], [4.0]]).into_dyn();
/// let finer = interpolate_depth(weights.view(), 4);
/// assert_eq!(finer, arr2(&[[0.0], [1.0], [3.0], [4.0]]).into_dyn());
/// ```
///
/// # Panics
/// If either has no layers.
#[track_caller]
pub fn interpolate_depth<T: Real>(weights: ArrayViewD<'_, T>, layers: usize) -> ArrayD<T> {
    let depth = weights.shape().first().copied().unwrap_or(0);
    let shape = weights.shape();
    assert!(depth > 0 && layers > 0, "interpolate_depth: shape {shape:?} to {layers} layers");
    let mut shape = shape.to_vec();
    shape[0] = layers;
    let mut out = ArrayD::from_elem(shape, T::zero());
    for (l, mut layer) in out.axis_iter_mut(Axis(0)).enumerate() {
        let place = (l as f64 + 0.5) / layers as f64 * depth as f64 - 0.5;
        let place = place.clamp(0.0, (depth - 1) as f64);
        let below = (place.floor() as usize).min(depth.saturating_sub(2));
        let share = T::from_f64(place - below as f64);
        layer.assign(&weights.index_axis(Axis(0), below));
        if below + 1 < depth {
            let above = weights.index_axis(Axis(0), below + 1);
            layer.zip_mut_with(&above, |a, &b| *a += share * (b - *a));
        }
    }
    out
}
