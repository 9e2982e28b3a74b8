//! The field of a state with tangents.

use costate_tape::{Function, Result, Shape, Tape, Var};

use crate::Real;
use crate::preparation::Preparation;
use crate::vector_field::{FieldProgram, VectorField};

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
    /// what its solve captures of the numbers `dotted`.
    ///
    /// States are stacked along a new first axis, the tangents after the state; the directions of a
    /// captured input's tangent are along a new first axis too.
    pub fn with_tangents(&self, dotted: &[usize], directions: usize) -> Result<VectorField<T>> {
        let tangents = |field: &VectorField<T>| field.tangents(dotted, directions);
        let function = tangents(self)?;
        // Parts and derivatives would have to be split with it.
        let (function, preparation) = match (&self.parts, &self.derivative) {
            (None, None) => Preparation::split(function)?,
            _ => (function, None),
        };
        let mut field = VectorField::new(function)?;
        field.mass = self.mass.clone();
        field.preparation = preparation;
        if let Some(parts) = &self.parts {
            field = field.with_parts(tangents(&parts.stiff)?, tangents(&parts.rest)?)?;
        }
        match &self.derivative {
            None => Ok(field),
            Some(derivative) => {
                let inputs = self.tangent_shapes(dotted, directions);
                field.with_derivative(Function::trace_shapes(&inputs, |tape, x| {
                    derivative.inline(tape, &self.own_inputs(tape, x)?)
                })?)
            }
        }
    }

    /// The inputs of its field with tangents.
    fn tangent_shapes(&self, dotted: &[usize], directions: usize) -> Vec<Shape> {
        let stacked =
            |n: usize, shape: &Shape| [n].iter().chain(shape.iter()).copied().collect::<Shape>();
        let mut shapes = self.given_shapes();
        let dots: Vec<_> = dotted.iter().map(|i| stacked(directions, &shapes[2 + i])).collect();
        shapes[1] = stacked(1 + directions, &shapes[1]);
        shapes.extend(dots);
        shapes
    }

    /// The inputs of this field's function, from those with tangents.
    fn own_inputs<'t>(&self, tape: &'t Tape<T>, x: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        let captured = self.record_captured(tape, &x[2..self.given_shapes().len()])?;
        Ok([x[0], x[1].index_axis(0, 0)].into_iter().chain(captured).collect())
    }

    /// The function of [`with_tangents`](Self::with_tangents).
    fn tangents(&self, dotted: &[usize], directions: usize) -> Result<Function<T>> {
        let given = self.given_shapes().len();
        Function::trace_shapes(&self.tangent_shapes(dotted, directions), |tape, x| {
            let at = self.own_inputs(tape, x)?;
            let wrt: Vec<_> = [at[1]].into_iter().chain(dotted.iter().map(|i| x[2 + i])).collect();
            let dots: Vec<_> = [x[1].slice_axis(0, 1..1 + directions)]
                .into_iter()
                .chain(x[given..].iter().copied())
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
        })
    }
}
