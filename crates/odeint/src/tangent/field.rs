//! The field of a state with tangents.

use costate_tape::{Function, Result, Shape, Var};

use crate::Real;
use crate::vector_field::{FieldProgram, Parts, VectorField};

impl<T: Real> VectorField<T> {
    /// From the inputs and `(v, τ)`, one after another, to `∂f/∂y v + ∂f/∂t τ`.
    pub fn along(&self) -> Result<FieldProgram<T>> {
        let shape = self.function.input_shapes()[1].clone();
        let n = shape.numel();
        let function =
            self.function.transform(&[[n + 1].into()], |tape, inputs, outputs, further| {
                let v = further[0].slice_axis(0, 0..n).reshape(shape.clone());
                let tau = further[0].slice_axis(0, n..n + 1).reshape([]);
                tape.jvp(outputs, &[inputs[0], inputs[1]], &[tau, v])
            })?;
        self.compile(&function)
    }

    /// `t, (y, δ…), θ, θ̇… ↦ (f, (∂f/∂y) δ + (∂f/∂θ) θ̇ …)`, for as many directions, with tangents of
    /// the captured inputs numbered `dotted`.
    ///
    /// States are stacked along a new first axis, the tangents after the state; the directions of a
    /// captured input's tangent are along a new first axis too.
    pub fn with_tangents(&self, dotted: &[usize], directions: usize) -> Result<VectorField<T>> {
        let shapes = self.function.input_shapes();
        let count = shapes.len();
        let stacked =
            |n: usize, shape: &Shape| [n].iter().chain(shape.iter()).copied().collect::<Shape>();
        let mut inputs = shapes.clone();
        inputs[1] = stacked(1 + directions, &shapes[1]);
        inputs.extend(dotted.iter().map(|i| stacked(directions, &shapes[2 + i])));
        // What this field's function takes.
        fn own<'t, T: Real>(x: &[Var<'t, T>], count: usize) -> Vec<Var<'t, T>> {
            let mut own = x[..count].to_vec();
            own[1] = x[1].index_axis(0, 0);
            own
        }
        let function = Function::trace_shapes(&inputs, |tape, x| {
            let at = own(x, count);
            let wrt: Vec<_> = [at[1]].into_iter().chain(dotted.iter().map(|i| at[2 + i])).collect();
            let dots: Vec<_> = [x[1].slice_axis(0, 1..1 + directions)]
                .into_iter()
                .chain(x[count..].iter().copied())
                .collect();
            let slope = self.function.inline(tape, &at)?[0];
            let tangents = if directions == 1 {
                let dots: Vec<_> = dots.iter().map(|dot| dot.index_axis(0, 0)).collect();
                tape.jvp(&[slope], &wrt, &dots)?[0].unsqueeze(0)
            } else {
                // Recorded inside, since the tangent of a solve must be where the solve is.
                tape.vmap(&dots, |dots| {
                    let slope = self.function.inline(tape, &at)?[0];
                    tape.jvp(&[slope], &wrt, dots)
                })?[0]
            };
            Ok(vec![Var::concat(0, &[slope.unsqueeze(0), tangents])])
        })?;
        let mut field = VectorField::new(function)?;
        field.mass = self.mass.clone();
        if let Some(parts) = &self.parts {
            let stiff = parts.stiff.with_tangents(dotted, directions)?;
            let rest = parts.rest.with_tangents(dotted, directions)?;
            field.parts = Some(Box::new(Parts { stiff, rest }));
        }
        match &self.derivative {
            None => Ok(field),
            Some(derivative) => field
                .with_derivative(Function::trace_shapes(&inputs, |tape, x| {
                    derivative.inline(tape, &own(x, count))
                })?),
        }
    }
}
