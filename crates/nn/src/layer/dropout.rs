//! Entries left out at random.

use costate_odeint::Real;
use costate_tape::{Shape, Var};
use ndarray::{ArrayD, IxDyn};

use crate::rng::Rng;

/// Leaves entries out in training, each with the same probability, and scales the others so that
/// the mean stays (N. Srivastava et al., J. Mach. Learn. Res. 15 (2014) 1929). In use it is not
/// applied.
///
/// The mask is an input, not a thing that is drawn inside, so that a replay, a checkpoint or a step
/// of a solver sees the mask that it is given and no other:
///
/// ```
/// use costate_nn::{Dropout, Rng};
/// use costate_tape::Tape;
///
/// let (dropout, mut rng) = (Dropout::new(0.5), Rng::seeded(3));
/// let tape = Tape::<f64>::new();
/// let x = tape.leaf(&[1.0; 6], [2, 3]);
/// let mask = tape.constant(&dropout.mask(&mut rng, x.shape()));
/// assert!(dropout.forward(x, mask).to_vec().iter().all(|&y| y == 0.0 || y == 2.0));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    rate: f64,
}

impl Dropout {
    /// That leaves out each entry with this probability.
    ///
    /// # Panics
    /// If it is not in `[0, 1)`.
    #[track_caller]
    pub fn new(rate: f64) -> Dropout {
        assert!((0.0..1.0).contains(&rate), "Dropout: rate {rate} is not in [0, 1)");
        Dropout { rate }
    }

    /// A mask: 0 with the probability of being left out, `1/(1 - rate)` elsewhere.
    pub fn mask<T: Real>(&self, rng: &mut Rng, shape: impl Into<Shape>) -> ArrayD<T> {
        let kept = T::from_f64(1.0 / (1.0 - self.rate));
        let entry = || if rng.uniform() < self.rate { T::zero() } else { kept };
        ArrayD::from_shape_simple_fn(IxDyn(&shape.into()), entry)
    }

    /// `x` times the mask.
    ///
    /// # Panics
    /// If the mask has another shape.
    #[track_caller]
    pub fn forward<'t, T: Real>(&self, x: Var<'t, T>, mask: Var<'t, T>) -> Var<'t, T> {
        let (shape, found) = (x.shape(), mask.shape());
        assert!(shape == found, "Dropout: a mask of shape {found} for shape {shape}");
        x * mask
    }
}
