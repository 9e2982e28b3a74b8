//! Random inputs for property tests, as proptest strategies (feature `proptest`).
//!
//! A property test of the gradient of one's own function is a few lines:
//!
//! ```
//! use costate_tape::check::{self, strategy};
//! use proptest::prelude::*;
//!
//! proptest!(|((a, b) in strategy::broadcasting_arrays::<f64>(3, 4, 0.5..2.0))| {
//!     check::gradient(|_, x| Ok(x[0].pow(x[1]).ln()), &[a, b]).map_err(|e| {
//!         TestCaseError::fail(e.to_string())
//!     })?;
//! });
//! ```

use std::ops::Range;

use costate_ops::Unary;
use ndarray::{ArrayD, IxDyn};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::Real;
use crate::var::Var;

/// Shapes of up to `axes` axes with lengths up to `len`: 0-d and empty ones among them.
pub fn shapes(axes: usize, len: usize) -> impl Strategy<Value = Vec<usize>> {
    // Small lengths, 1 and 0 are where things go wrong.
    let length = prop_oneof![4 => 1..=len, 1 => Just(1), 1 => Just(0)];
    vec(length, 0..=axes)
}

/// Two shapes that broadcast together: either may lack leading axes or have some of length 1.
pub fn broadcasting_shapes(
    axes: usize,
    len: usize,
) -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    shapes(axes, len).prop_flat_map(|common| {
        let n = common.len();
        let one = move |common: Vec<usize>| {
            (vec(any::<bool>(), n), 0..=n).prop_map(move |(repeats, missing)| {
                let axes = common.iter().zip(repeats).skip(missing);
                axes.map(|(&len, repeats)| if repeats { 1 } else { len }).collect::<Vec<_>>()
            })
        };
        (one(common.clone()), one(common))
    })
}

/// Arrays of one shape with entries from a range, in which what is tested should be smooth.
pub fn array<T: Real>(
    shape: &[usize],
    range: Range<f64>,
) -> impl Strategy<Value = ArrayD<T>> + use<T> {
    let len: usize = shape.iter().product();
    let shape = IxDyn(shape);
    vec(range, len).prop_map(move |entries| {
        let entries = entries.into_iter().map(T::from_f64).collect();
        ArrayD::from_shape_vec(shape.clone(), entries).expect("as many entries as the shape has")
    })
}

/// Arrays of any shape of up to `axes` axes with lengths up to `len`.
pub fn any_array<T: Real>(
    axes: usize,
    len: usize,
    range: Range<f64>,
) -> impl Strategy<Value = ArrayD<T>> {
    shapes(axes, len).prop_flat_map(move |shape| array(&shape, range.clone()))
}

/// Two arrays whose shapes broadcast together.
pub fn broadcasting_arrays<T: Real>(
    axes: usize,
    len: usize,
    range: Range<f64>,
) -> impl Strategy<Value = (ArrayD<T>, ArrayD<T>)> {
    broadcasting_shapes(axes, len)
        .prop_flat_map(move |(a, b)| (array(&a, range.clone()), array(&b, range.clone())))
}

/// A small smooth network with random widths, activation and weights.
///
/// Put its [`weights`](Network::weights) among the inputs of a function and
/// [apply](Network::apply) it to the variables that they become.
#[derive(Clone, Debug)]
pub struct Network<T: Real> {
    /// For each layer `W: [inputs, outputs]` and `b: [outputs]`.
    pub weights: Vec<ArrayD<T>>,
    activation: Unary,
}

/// Networks from `inputs` to `outputs` numbers, with up to two hidden layers of up to four units.
pub fn network<T: Real>(inputs: usize, outputs: usize) -> impl Strategy<Value = Network<T>> {
    let activation = prop::sample::select(vec![Unary::Tanh, Unary::Softplus, Unary::Sin]);
    (vec(1usize..=4, 0..=2), activation).prop_flat_map(move |(hidden, activation)| {
        let widths: Vec<usize> = [inputs].into_iter().chain(hidden).chain([outputs]).collect();
        let layers: Vec<_> = widths
            .windows(2)
            .flat_map(|w| [array::<T>(w, -1.0..1.0).boxed(), array(&w[1..], -1.0..1.0).boxed()])
            .collect();
        layers.prop_map(move |weights| Network { weights, activation })
    })
}

impl<T: Real> Network<T> {
    /// Applies the network with the given weights to `x`, `[…, inputs]`.
    ///
    /// # Panics
    /// If the shapes do not fit.
    #[track_caller]
    pub fn apply<'t>(&self, weights: &[Var<'t, T>], x: Var<'t, T>) -> Var<'t, T> {
        let mut y = x;
        for (i, layer) in weights.chunks(2).enumerate() {
            if i > 0 {
                y = y.unary(self.activation);
            }
            y = y.matmul(layer[0]) + layer[1];
        }
        y
    }
}
