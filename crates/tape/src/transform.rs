//! Derivatives as matrices, and products with them. All are recorded, so they can be
//! differentiated again and composed.

use crate::Real;
use crate::function::Function;
use crate::op::Result;
use crate::shape::Shape;
use crate::var::Var;

impl<'t, T: Real> Var<'t, T> {
    /// `∂y/∂x` of this `y` with respect to `x`, of shape `[…shape of y, …shape of x]`.
    ///
    /// One reverse pass for each entry of `y`, or one forward pass for each entry of `x`, whichever
    /// are fewer; all at once, as a batch, unless a call such as an ODE solve lies between.
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

    /// [`jacobian`](Var::jacobian) by reverse passes, one for each entry of this, all at once: the
    /// cotangents are a batch.
    ///
    /// # Errors
    /// Those of calls in the passes.
    #[track_caller]
    pub fn jacobian_reverse(self, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let (y_shape, x_shape) = (self.shape(), x.shape());
        let rows =
            self.for_each_seed(self, x, |seed| Ok(self.tape().vjp(&[self], &[seed], &[x])?[0]))?;
        Ok(rows.reshape(y_shape.iter().chain(x_shape.iter()).copied().collect::<Shape>()))
    }

    /// [`jacobian`](Var::jacobian) by forward passes, one for each entry of `x`, all at once: the
    /// tangents are a batch.
    ///
    /// # Errors
    /// Those of calls in the passes.
    #[track_caller]
    pub fn jacobian_forward(self, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let (y_shape, x_shape) = (self.shape(), x.shape());
        let columns =
            x.for_each_seed(self, x, |seed| Ok(self.tape().jvp(&[self], &[x], &[seed])?[0]))?;
        // The seeds' axis goes from the front to the back.
        let axes: Vec<usize> = (1..=y_shape.ndim()).chain([0]).collect();
        let jacobian = columns.permute(&axes);
        Ok(jacobian.reshape(y_shape.iter().chain(x_shape.iter()).copied().collect::<Shape>()))
    }

    /// `pass` of each unit array of this shape, stacked along a new first axis.
    fn for_each_seed(
        self,
        y: Var<'t, T>,
        x: Var<'t, T>,
        pass: impl Fn(Var<'t, T>) -> Result<Var<'t, T>>,
    ) -> Result<Var<'t, T>> {
        let (tape, shape) = (self.tape(), self.shape());
        let n = shape.numel();
        let mut entries = vec![T::zero(); n * n];
        (0..n).for_each(|i| entries[i * n + i] = T::one());
        let batch: Shape = [n].iter().chain(shape.iter()).copied().collect();
        let seeds = tape.leaf(&entries, batch);
        // The rules of calls may read what their forward pass kept, which a batch cannot.
        if n > 1 && !tape.has_call_between(x, y) {
            return Ok(tape.vmap(&[seeds], |seed| Ok(vec![pass(seed[0])?]))?[0]);
        }
        let each: Vec<_> = (0..n).map(|i| pass(seeds.index_axis(0, i))).collect::<Result<_>>()?;
        Ok(match each.as_slice() {
            [] => {
                pass(tape.scalar(T::zero()).broadcast_to(shape))?.unsqueeze(0).slice_axis(0, 0..0)
            }
            each => Var::stack(0, each),
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
}

impl<T: Real> Function<T> {
    /// From the inputs to the first output, a number, and its gradients with respect to the inputs
    /// numbered `wrt`.
    ///
    /// ```
    /// use costate_tape::{Function, Tape};
    /// use ndarray::arr1;
    ///
    /// let f = Function::trace(&[arr1(&[0.0, 0.0]).into_dyn()], |_, x| Ok(vec![x[0].square().sum()]))?;
    /// let tape = Tape::new();
    /// let x = tape.constant(&arr1(&[1.0, 2.0]));
    /// let results = f.value_and_grad(&[0])?.inline(&tape, &[x])?;
    /// assert_eq!(results[0].item(), 5.0);
    /// assert_eq!(results[1].to_vec(), [2.0, 4.0]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    ///
    /// # Panics
    /// If the first output has more than one entry, or there is no such input.
    pub fn value_and_grad(&self, wrt: &[usize]) -> Result<Function<T>> {
        self.transform(&[], |_, inputs, outputs, _| {
            let wrt: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
            let gradients = outputs[0].grad(&wrt)?;
            Ok([outputs[0]].into_iter().chain(gradients).collect())
        })
    }

    /// From the inputs, then a vector for each input numbered `wrt`, to the parts of `H v`, with
    /// `H` the Hessian of the first output with respect to those inputs. Forward over reverse.
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    ///
    /// # Panics
    /// If the first output has more than one entry, or there is no such input.
    pub fn hvp(&self, wrt: &[usize]) -> Result<Function<T>> {
        let shapes = self.input_shapes();
        let vectors: Vec<Shape> = wrt.iter().map(|&i| shapes[i].clone()).collect();
        self.transform(&vectors, |tape, inputs, outputs, vectors| {
            let wrt: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
            let gradients = outputs[0].grad(&wrt)?;
            tape.jvp(&gradients, &wrt, vectors)
        })
    }

    /// From the inputs to the Jacobian of the output numbered `output` with respect to the input
    /// numbered `wrt`. See [`Var::jacobian`].
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    ///
    /// # Panics
    /// If there is no such output or input.
    pub fn jacobian(&self, output: usize, wrt: usize) -> Result<Function<T>> {
        self.transform(&[], |_, inputs, outputs, _| {
            Ok(vec![outputs[output].jacobian(inputs[wrt])?])
        })
    }

    /// From the inputs to the Hessian of the first output, a number, with respect to the input
    /// numbered `wrt`. See [`Var::hessian`].
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    ///
    /// # Panics
    /// If the first output has more than one entry, or there is no such input.
    pub fn hessian(&self, wrt: usize) -> Result<Function<T>> {
        self.transform(&[], |_, inputs, outputs, _| Ok(vec![outputs[0].hessian(inputs[wrt])?]))
    }
}
