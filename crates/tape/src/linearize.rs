//! The tangent of a function at a point, as a function of the tangents alone.

use ndarray::{ArrayD, IxDyn};

use crate::Real;
use crate::function::Function;
use crate::op::Result;
use crate::tape::Tape;
use crate::var::Var;

/// A function near a point: `f(x + ẋ) ≈ y + J ẋ`.
#[derive(Debug)]
pub struct Linearized<T: Real> {
    /// The outputs at the point.
    pub values: Vec<ArrayD<T>>,
    /// From a tangent of each input to the tangent of each output, `ẋ ↦ J ẋ`. It is linear, and
    /// whatever depends on the point alone is a constant of it, computed once.
    pub tangent: Function<T>,
}

impl<T: Real> Function<T> {
    /// The values and the linear map `ẋ ↦ J ẋ` at a point, with respect to the inputs numbered
    /// `wrt`.
    ///
    /// Where many products `J ẋ` are wanted at one point, this is cheaper than [`Function::jvp`],
    /// which computes the function anew for each.
    ///
    /// ```
    /// use costate_tape::{Function, Tape};
    /// use ndarray::arr1;
    ///
    /// let x = arr1(&[0.0, 1.0]).into_dyn();
    /// let f = Function::trace(&[x.clone()], |_, x| Ok(vec![x[0].sin()]))?;
    /// let linearized = f.linearize(&[x], &[0])?;
    /// assert_eq!(linearized.values[0][0], 0.0);
    /// let tape = Tape::new();
    /// let dx = tape.constant(&arr1(&[2.0, 1.0]));
    /// let dy = linearized.tangent.inline(&tape, &[dx])?[0].to_vec();
    /// assert_eq!(dy, [2.0, 1f64.cos()]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of calls in the function and of their rules.
    ///
    /// # Panics
    /// If the inputs do not have the shapes of the function's, or there is no input of a number.
    pub fn linearize(&self, inputs: &[ArrayD<T>], wrt: &[usize]) -> Result<Linearized<T>> {
        let tape = Tape::new();
        let x: Vec<Var<'_, T>> = inputs.iter().map(|x| tape.constant(x)).collect();
        let y = self.inline(&tape, &x)?;
        let at: Vec<_> = wrt.iter().map(|&i| x[i]).collect();
        // The values of these do not matter: the map is linear.
        let dots: Vec<_> = at.iter().map(|x| x.fresh_zeros()).collect();
        let tangents = tape.jvp(&y, &at, &dots)?;
        let tangent = Function::cut_dependent(&tape, &dots, &tangents);
        let value = |y: &Var<'_, T>| {
            ArrayD::from_shape_vec(IxDyn(&y.shape()), tape.graph().borrow().value(y.id()).to_vec())
                .expect("as many entries as the shape has")
        };
        Ok(Linearized { values: y.iter().map(value).collect(), tangent })
    }
}

impl<'t, T: Real> Var<'t, T> {
    /// A new leaf of zeros.
    fn fresh_zeros(self) -> Var<'t, T> {
        let shape = self.shape();
        self.tape().leaf(&vec![T::zero(); shape.numel()], shape)
    }
}
