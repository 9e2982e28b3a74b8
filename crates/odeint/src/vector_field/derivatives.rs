//! The functions of a field's derivatives.

use costate_tape::{Function, Result, Shape};

use crate::Real;
use crate::sparsity::Sparsity;

/// States with more components have their Jacobian by one batched pass, whose program is shorter
/// but does more work, instead of a pass for each row.
pub(super) const UNFOLDED: usize = 16;

/// From the inputs to `∂f/∂y`, row-major.
pub(super) fn jacobian<T: Real>(function: &Function<T>) -> Result<Function<T>> {
    let shape = function.input_shapes()[1].clone();
    if shape.numel() <= UNFOLDED {
        return function.jacobian(0, 1);
    }
    function.transform(&[], |tape, inputs, _, _| {
        let rows: Shape = [shape.numel()].iter().chain(shape.iter()).copied().collect();
        let n = shape.numel();
        let seeds: Vec<T> =
            (0..n * n).map(|ij| if ij % (n + 1) == 0 { T::one() } else { T::zero() }).collect();
        let seeds = tape.leaf(&seeds, rows);
        tape.vmap(&[seeds], |seed| {
            let slope = function.inline(tape, inputs)?;
            tape.vjp(&slope, seed, &[inputs[1]])
        })
    })
}

/// From the inputs to the products of `∂f/∂y` with the sum of the columns of each colour.
pub(super) fn compressed<T: Real>(
    function: &Function<T>,
    pattern: &Sparsity,
) -> Result<Function<T>> {
    let shape = function.input_shapes()[1].clone();
    function.transform(&[], |tape, inputs, _, _| {
        let (n, colors) = (shape.numel(), pattern.colors());
        let mut seeds = vec![T::zero(); colors * n];
        for (j, &color) in pattern.color_of().iter().enumerate() {
            seeds[color * n + j] = T::one();
        }
        let batch: Shape = [colors].iter().chain(shape.iter()).copied().collect();
        let seeds = tape.leaf(&seeds, batch);
        tape.vmap(&[seeds], |seed| {
            let slope = function.inline(tape, inputs)?;
            tape.jvp(&slope, &[inputs[1]], seed)
        })
    })
}

/// From the inputs to `∂f/∂t`.
pub(super) fn rate<T: Real>(function: &Function<T>) -> Result<Function<T>> {
    function.transform(&[], |tape, inputs, outputs, _| {
        tape.jvp(outputs, &[inputs[0]], &[tape.scalar(T::one())])
    })
}
