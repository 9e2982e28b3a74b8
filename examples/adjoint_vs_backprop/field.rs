//! The model that is compared: put yours here.
//!
//! As it stands it is the field of a neural ODE, one hidden layer of 32 units, for a spiral in the
//! plane.

use ndarray::ArrayD;

use crate::{V, random};

/// The state at the first time.
pub fn y0() -> ArrayD<f64> {
    ArrayD::from_shape_vec(vec![8, 2], random(16, 1, 1.5)).expect("eight points in the plane")
}

/// The times at which the loss reads the state.
pub fn times() -> Vec<f64> {
    (0..=10).map(|i| 0.2 * f64::from(i)).collect()
}

/// What the field is made of.
pub fn parameters() -> Vec<ArrayD<f64>> {
    let array = |shape: [usize; 2], seed, size| {
        let entries = random(shape[0] * shape[1], seed, size);
        ArrayD::from_shape_vec(shape.to_vec(), entries).expect("as many entries as the shape has")
    };
    vec![
        array([2, 32], 2, 1.2),
        array([1, 32], 3, 0.5),
        array([32, 2], 4, 0.6),
        array([1, 2], 5, 0.2),
    ]
}

/// `dy/dt`.
pub fn field<'t>(w: &[V<'t>], _t: V<'t>, y: V<'t>) -> V<'t> {
    (y.matmul(w[0]) + w[1]).tanh().matmul(w[2]) + w[3]
}

/// The loss of the states at all times, stacked along the first axis.
pub fn loss(ys: V<'_>) -> V<'_> {
    ys.square().mean()
}
