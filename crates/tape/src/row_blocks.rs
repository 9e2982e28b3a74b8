//! Functions of blocks of rows: a function that treats each row of a batch alike is, on some of the rows,
//! the same function of a smaller batch.
//!
//! A [program](crate::Program) of much work is cut by itself, each time it runs, and its threads meet at
//! the end of each run. Who runs a function again and again can cut the batch instead, and have a thread
//! take its rows through many runs.

use costate_ops::MatMul;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::op::Op;
use crate::program::{Kind, TILE, cost, kinds_of, rows_per_block, shrink};

/// About how many nanoseconds of work a block should be at least between two times at which threads wait for
/// each other.
const BLOCK: f64 = 150e3;

/// A function cut into blocks of rows: see [`Function::row_blocks`].
#[derive(Clone, Debug)]
pub struct RowBlocks<T: Real> {
    /// How many rows there are.
    pub rows: usize,
    /// How many a block has; the last one may have fewer.
    pub per_block: usize,
    /// The function of a block.
    pub block: Function<T>,
    /// That of the last one, if it has fewer rows.
    pub last: Option<Function<T>>,
    /// For each input, whether it is rows, of which a block's function gets its own.
    pub over_rows: Vec<bool>,
}

impl<T: Real> Function<T> {
    /// The same function on blocks of the rows of input `input`, whose first axis is a batch: `None` if it
    /// does not treat each row alike, or if that is not worth it where a block is evaluated `runs` times
    /// before threads wait for each other.
    ///
    /// All outputs are rows. How many rows a block has follows from the function alone.
    ///
    /// ```
    /// use costate_tape::{Function, Shape};
    ///
    /// let shapes = [Shape::from([600, 64]), Shape::from([64, 64])];
    /// let f = Function::<f64>::trace_shapes(&shapes, |_, x| Ok(vec![x[0].matmul(x[1]).tanh()]))?;
    /// let cut = f.row_blocks(0, 10).expect("much work");
    /// assert_eq!(cut.over_rows, [true, false]);
    /// assert_eq!(cut.block.output_shapes(), [Shape::from([cut.per_block, 64])]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If there is no such input.
    pub fn row_blocks(&self, input: usize, runs: usize) -> Option<RowBlocks<T>> {
        self.require_replayable().ok()?;
        let f = T::simplify(self);
        let rows = *f.nodes[f.inputs[input] as usize].shape.first()?;
        if rows < 2 * TILE || f.nodes.iter().any(|node| matches!(node.op, Op::Call(_))) {
            return None;
        }
        let strips = |node: &FnNode<T>| {
            let Op::MatMul { ta: false, .. } = node.op else { return false };
            let k = f.nodes[node.args[0] as usize].shape[1];
            let product =
                MatMul { m: rows, k, n: node.shape[1], ta: false, tb: false, accumulate: false };
            product.strips::<T>().is_some()
        };
        let kinds = kinds_of(&f, rows, &strips)?;
        let is_rows = |id: &u32| kinds[*id as usize] == Kind::Rows;
        let mixes = kinds.iter().any(|kind| !matches!(kind, Kind::Rows | Kind::Whole));
        if mixes || !is_rows(&f.inputs[input]) || !f.outputs.iter().all(is_rows) {
            return None;
        }
        let (mut work, mut whole, mut in_strips) = (0.0, 0.0, false);
        for (node, kind) in f.nodes.iter().zip(&kinds) {
            match kind {
                Kind::Rows => work += cost(&f, node),
                _ => whole += cost(&f, node),
            }
            in_strips |= strips(node);
            if let (Kind::Rows, Some(value)) = (kind, &node.constant)
                && !are_alike(value, rows)
            {
                return None;
            }
        }
        let worth = (work * runs as f64 / BLOCK) as usize;
        let per_block = rows_per_block(rows, worth, in_strips);
        let blocks = rows.div_ceil(per_block);
        if worth < 2 || blocks < 2 || whole * blocks as f64 > 0.1 * work {
            return None;
        }
        let last = rows % per_block;
        Some(RowBlocks {
            rows,
            per_block,
            block: shrink(&f, &kinds, per_block),
            last: (last > 0).then(|| shrink(&f, &kinds, last)),
            over_rows: f.inputs.iter().map(is_rows).collect(),
        })
    }
}

/// Whether all rows of a constant are the same.
fn are_alike<T: Real>(value: &[T], rows: usize) -> bool {
    let width = value.len() / rows;
    let bits = |x: &T| x.as_f64().to_bits();
    value.iter().zip(value.iter().skip(width)).all(|(a, b)| bits(a) == bits(b))
}
