//! Sensitivities beside the solve: the gradient from tangents in all directions.

use costate_tape::{Result, Shape, Var};

use crate::Real;
use crate::operation::SolveOp;

/// How many directions go through one pass.
const BLOCK: usize = 16;

impl<T: Real> SolveOp<T> {
    /// The cotangents of the inputs, but for those of the times, from tangents: entry `j` is
    /// `g · ∂ys/∂x_j`.
    pub fn forward<'t>(
        &self,
        call: Var<'t, T>,
        inputs: &[Var<'t, T>],
        needs: &[bool],
        g: Var<'t, T>,
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let tape = call.tape();
        let time = self.times.is_none().then_some(1);
        let wanted: Vec<usize> =
            (0..inputs.len()).filter(|&i| needs[i] && Some(i) != time).collect();
        let shapes: Vec<Shape> = wanted.iter().map(|&i| inputs[i].shape()).collect();
        let total: usize = shapes.iter().map(|shape| shape.numel()).sum();
        let mut found = Vec::new();
        for start in (0..total).step_by(BLOCK) {
            let end = total.min(start + BLOCK);
            let (m, mut before) = (end - start, 0);
            let mut dots = vec![None; inputs.len()];
            for (&i, shape) in wanted.iter().zip(&shapes) {
                let n = shape.numel();
                if before < end && start < before + n {
                    let mut entries = vec![T::zero(); m * n];
                    for j in start.max(before)..end.min(before + n) {
                        entries[(j - start) * n + j - before] = T::one();
                    }
                    let shape: Shape = [m].iter().chain(shape.iter()).copied().collect();
                    dots[i] = Some(tape.leaf(&entries, shape));
                }
                before += n;
            }
            let Some(tangents) = self.tangent(call, inputs, &dots, false)? else { continue };
            // [times, directions, …state] to a row for each direction.
            let shape = tangents.shape();
            let (times, entries) = (shape[0], shape[2..].iter().product::<usize>());
            let rows = tangents.reshape([times, m, entries]).permute(&[1, 0, 2]);
            let rows = rows.reshape([m, times * entries]);
            found.push(rows.matmul(g.reshape([times * entries, 1])).reshape([m]));
        }
        let mut bars = vec![None; inputs.len()];
        if found.is_empty() {
            return Ok(bars);
        }
        let (all, mut before) = (Var::concat(0, &found), 0);
        for (i, shape) in wanted.into_iter().zip(shapes) {
            let n = shape.numel();
            bars[i] = Some(all.slice_axis(0, before..before + n).reshape(shape));
            before += n;
        }
        Ok(bars)
    }
}
