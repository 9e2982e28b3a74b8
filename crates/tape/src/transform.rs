//! Transformations made of the two sweeps: value and gradient, Jacobians, Hessians and products
//! with them. On a tape they record; on a function they give another function, so they compose.

use costate_ops::Real;

use crate::function::Function;
use crate::op::Result;
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

/// The axes of one shape after those of another.
fn joined(a: &Shape, b: &Shape) -> Shape {
    a.iter().chain(b.iter()).copied().collect()
}

impl<T: Real> Tape<T> {
    /// `H v`: the Hessian of a number `y` with respect to all of `xs`, times a vector that is given
    /// in as many parts, `vs`. Forward over reverse, so it costs a few times what `y` does, and no
    /// Hessian is formed.
    ///
    /// # Errors
    /// Those of calls in the backward pass or of their tangents.
    ///
    /// # Panics
    /// If `y` has more than one entry, or a vector does not have the shape of its variable.
    #[track_caller]
    pub fn hvp<'t>(
        &'t self,
        y: Var<'t, T>,
        xs: &[Var<'t, T>],
        vs: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        let gradient = y.grad(xs)?;
        self.jvp(&gradient, xs, vs)
    }

    /// The Jacobian `∂y_i/∂x_j`: its axes are those of `y`, then those of `x`.
    ///
    /// It records a sweep for each entry of `x`, forward, or for each of `y`, in reverse, whichever
    /// are fewer. A [`Program`](crate::Program) made of it computes once what the sweeps have in
    /// common.
    ///
    /// # Errors
    /// Those of calls in the sweeps.
    #[track_caller]
    pub fn jacobian<'t>(&'t self, y: Var<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let (rows, columns) = (y.shape(), x.shape());
        let (m, n) = (rows.numel(), columns.numel());
        let shape = joined(&rows, &columns);
        if m * n == 0 {
            return Ok(self.scalar(T::zero()).broadcast_to(shape));
        }
        let mut parts = Vec::with_capacity(m.min(n));
        let forward = n <= m;
        for i in 0..m.min(n) {
            let along = if forward { &columns } else { &rows };
            let mut unit = vec![T::zero(); along.numel()];
            unit[i] = T::one();
            let unit = self.leaf(&unit, along);
            parts.push(if forward {
                self.jvp(&[y], &[x], &[unit])?[0].reshape([m, 1])
            } else {
                self.vjp(&[y], &[unit], &[x])?[0].reshape([1, n])
            });
        }
        Ok(Var::concat(usize::from(forward), &parts).reshape(shape))
    }

    /// The Hessian `∂²y/∂x_i ∂x_j` of a number `y`: its axes are those of `x`, twice. Forward over
    /// reverse, a sweep for each entry of `x`. See [`Tape::hvp`] for products with it.
    ///
    /// # Errors
    /// Those of calls in the sweeps.
    ///
    /// # Panics
    /// If `y` has more than one entry.
    #[track_caller]
    pub fn hessian<'t>(&'t self, y: Var<'t, T>, x: Var<'t, T>) -> Result<Var<'t, T>> {
        let gradient = y.grad(&[x])?;
        self.jacobian(gradient[0], x)
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
    /// `H` the Hessian of the first output with respect to those inputs. See [`Tape::hvp`].
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
            tape.hvp(outputs[0], &wrt, vectors)
        })
    }

    /// From the inputs to the Jacobian of the output numbered `output` with respect to the input
    /// numbered `wrt`. See [`Tape::jacobian`].
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    ///
    /// # Panics
    /// If there is no such output or input.
    pub fn jacobian(&self, output: usize, wrt: usize) -> Result<Function<T>> {
        self.transform(&[], |tape, inputs, outputs, _| {
            Ok(vec![tape.jacobian(outputs[output], inputs[wrt])?])
        })
    }

    /// From the inputs to the Hessian of the first output, a number, with respect to the input
    /// numbered `wrt`. See [`Tape::hessian`].
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    ///
    /// # Panics
    /// If the first output has more than one entry, or there is no such input.
    pub fn hessian(&self, wrt: usize) -> Result<Function<T>> {
        self.transform(&[], |tape, inputs, outputs, _| {
            Ok(vec![tape.hessian(outputs[0], inputs[wrt])?])
        })
    }
}
