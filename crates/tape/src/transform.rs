//! Derivatives as matrices, and products with them. All are recorded, so they can be
//! differentiated again and composed.

use costate_ops::Real;

use crate::op::Result;
use crate::shape::Shape;
use crate::var::Var;

impl<'t, T: Real> Var<'t, T> {
    /// `∂y/∂x` of this `y` with respect to `x`, of shape `[…shape of y, …shape of x]`.
    ///
    /// One reverse pass for each entry of `y`, or one forward pass for each entry of `x`, whichever
    /// are fewer.
    ///
    /// ```
    /// use costate_tape::Tape;
    /// use ndarray::arr1;
    ///
    /// let tape = Tape::new();
    /// let x = tape.constant(&arr1(&[2.0, 3.0]));
    /// let jacobian = x.square().jacobian(x)?;
    /// assert_eq!(jacobian.to_vec(), [4.0, 0.0, 0.0, 6.0]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of calls in the passes, such as the backward pass of an ODE solve.
    #[track_caller]
    pub fn jacobian(self, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let (outputs, inputs) = (self.shape().numel(), x.shape().numel());
        if outputs <= inputs { self.jacobian_reverse(x) } else { self.jacobian_forward(x) }
    }

    /// [`jacobian`](Var::jacobian) by one reverse pass for each entry of this.
    ///
    /// # Errors
    /// Those of calls in the passes.
    #[track_caller]
    pub fn jacobian_reverse(self, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let (y_shape, x_shape) = (self.shape(), x.shape());
        let mut rows = Vec::with_capacity(y_shape.numel());
        for i in 0..y_shape.numel() {
            let seed = self.basis(i);
            rows.push(self.tape().vjp(&[self], &[seed], &[x])?[0]);
        }
        let shape: Shape = y_shape.iter().chain(x_shape.iter()).copied().collect();
        Ok(match rows.as_slice() {
            [] => self.tape().leaf(&[], shape),
            rows => Var::stack(0, rows).reshape(shape),
        })
    }

    /// [`jacobian`](Var::jacobian) by one forward pass for each entry of `x`.
    ///
    /// # Errors
    /// Those of calls in the passes.
    #[track_caller]
    pub fn jacobian_forward(self, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let (y_shape, x_shape) = (self.shape(), x.shape());
        let mut columns = Vec::with_capacity(x_shape.numel());
        for i in 0..x_shape.numel() {
            let seed = x.basis(i);
            columns.push(self.tape().jvp(&[self], &[x], &[seed])?[0]);
        }
        let shape: Shape = y_shape.iter().chain(x_shape.iter()).copied().collect();
        Ok(match columns.as_slice() {
            [] => self.tape().leaf(&[], shape),
            columns => Var::stack(y_shape.ndim(), columns).reshape(shape),
        })
    }

    /// `∂²y/∂x²` of this number, of shape `[…shape of x, …shape of x]`: the forward Jacobian of the
    /// gradient.
    ///
    /// # Errors
    /// Those of calls in the passes.
    ///
    /// # Panics
    /// If this has more than one entry.
    #[track_caller]
    pub fn hessian(self, x: Var<'t, T>) -> Result<Var<'t, T>> {
        self.grad(&[x])?[0].jacobian_forward(x)
    }

    /// `(∂²y/∂x²) v` of this number, at the cost of a few evaluations: forward over reverse.
    ///
    /// # Errors
    /// Those of calls in the passes.
    ///
    /// # Panics
    /// If this has more than one entry, or `v` not the shape of `x`.
    #[track_caller]
    pub fn hvp(self, x: Var<'t, T>, v: Var<'t, T>) -> Result<Var<'t, T>> {
        let gradient = self.grad(&[x])?[0];
        Ok(self.tape().jvp(&[gradient], &[x], &[v])?[0])
    }

    /// This value, not differentiated: [`detach`](Var::detach) under the name that other systems
    /// use.
    #[track_caller]
    pub fn stop_gradient(self) -> Var<'t, T> {
        self.detach()
    }

    /// One at entry `i`, zero elsewhere, in this shape.
    #[track_caller]
    fn basis(self, i: usize) -> Var<'t, T> {
        let shape = self.shape();
        let mut entries = vec![T::zero(); shape.numel()];
        entries[i] = T::one();
        self.tape().leaf(&entries, shape)
    }
}
