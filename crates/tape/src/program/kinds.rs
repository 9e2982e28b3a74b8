//! What the rows of a batch have to do with each value of a function, and what computing it costs:
//! on this [blocks of rows](super::rows) are decided.

use costate_ops::Binary;
use smallvec::SmallVec;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::graph::NodeId;
use crate::op::Op;

/// Up to how many bytes a matrix of parameters may have, so that each block can read it from a
/// near cache; larger ones only in the order in which they are read. Products with others, and those
/// whose sums are larger, are shared out by themselves.
const NEAR: usize = 128 * 1024;
const NEAR_IN_STRIPS: usize = 1024 * 1024;

/// Blocks are a multiple of so many rows, a tile of products and vectors.
pub(crate) const TILE: usize = 16;

/// Into how many blocks rows are split at most, and how many a block has at least where weights are large: each
/// block reads all of them again, from the second-level cache or from beyond it.
pub(crate) const MOST: usize = 32;
const ROWS_OF_STRIPS: usize = 64;

/// How many rows a block has, where there is work for so many blocks, and perhaps weights in strips.
pub(crate) fn rows_per_block(rows: usize, blocks: usize, in_strips: bool) -> usize {
    let blocks = (1 << blocks.max(1).ilog2()).clamp(2, MOST);
    let least = if in_strips { ROWS_OF_STRIPS } else { TILE };
    rows.div_ceil(blocks).next_multiple_of(TILE).max(least)
}

/// What the rows have to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same for all rows.
    Whole,
    /// Its leading axis runs over the rows.
    Rows,
    /// A sum over the rows.
    Sum,
    /// A large sum over the rows, or what follows from sums.
    Tail,
}

/// A value that was taken to run over the rows, but must be whole.
struct MustBeWhole(NodeId);

/// About how many nanoseconds an operation takes.
pub(crate) fn cost<T: Real>(f: &Function<T>, node: &FnNode<T>) -> f64 {
    let shape = |i: usize| &f.nodes[node.args[i] as usize].shape;
    let (len, bytes) = (node.shape.numel() as f64, size_of::<T>() as f64);
    let product = |ta: bool, axis: usize| {
        let inner = shape(0)[if ta { axis } else { axis + 1 }];
        0.003 * bytes * len * inner as f64
    };
    match &node.op {
        Op::Input | Op::Const | Op::Reshape | Op::Detach | Op::Project { .. } => 0.0,
        Op::MatMul { ta, .. } => product(*ta, 0),
        Op::MatMulBatch { ta, .. } => product(*ta, 1),
        Op::Unary(u) if u.is_expensive() => 0.1 * bytes * len,
        Op::Binary(Binary::Pow | Binary::Atan2) => 10.0 * len,
        Op::Solve | Op::SolveTriangular { .. } => {
            shape(0).numel() as f64 + len * shape(0)[1] as f64
        }
        Op::LogDet => shape(0).numel() as f64 * shape(0)[1] as f64 / 3.0,
        Op::SumTo | Op::MaxAxis { .. } => 0.03 * bytes * shape(0).numel() as f64,
        _ => 0.02 * bytes * len,
    }
}

/// What the rows have to do with each value, or `None` if some operation mixes them. Inputs with as
/// many rows, and what is repeated as often, are taken to run over them until that turns out wrong.
pub(super) fn kinds<T: Real>(f: &Function<T>, rows: usize) -> Option<Vec<Kind>> {
    kinds_of(f, rows, &|node| f.nodes[node.args[1] as usize].shape.len() == 3)
}

/// [`kinds`], given which products with a matrix read it in strips.
pub(crate) fn kinds_of<T: Real>(
    f: &Function<T>,
    rows: usize,
    in_strips: &impl Fn(&FnNode<T>) -> bool,
) -> Option<Vec<Kind>> {
    let mut whole = vec![false; f.nodes.len()];
    for _ in 0..2 * f.inputs.len() + 8 {
        let mut kinds: Vec<Kind> = Vec::with_capacity(f.nodes.len());
        let mut wrong = None;
        for (id, node) in f.nodes.iter().enumerate() {
            let leads = node.shape.first() == Some(&rows) && !whole[id];
            let kind = match node.op {
                Op::Input | Op::Const => Ok(Some(if leads { Kind::Rows } else { Kind::Whole })),
                _ => kind(f, node, leads, rows, &kinds, in_strips),
            };
            match kind {
                Ok(Some(kind)) => kinds.push(kind),
                Ok(None) => return None,
                Err(MustBeWhole(id)) => {
                    wrong = Some(id);
                    break;
                }
            }
        }
        let Some(id) = wrong else { return Some(kinds) };
        if whole[id as usize] {
            return None;
        }
        // Then so must be what it is computed from.
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            if kinds[id as usize] == Kind::Rows && !whole[id as usize] {
                whole[id as usize] = true;
                open.extend(&f.nodes[id as usize].args);
            }
        }
    }
    None
}

/// [`kinds`] of one operation, given those before it.
fn kind<T: Real>(
    f: &Function<T>,
    node: &FnNode<T>,
    leads: bool,
    rows: usize,
    kinds: &[Kind],
    in_strips: &impl Fn(&FnNode<T>) -> bool,
) -> std::result::Result<Option<Kind>, MustBeWhole> {
    use Kind::{Rows, Sum, Tail, Whole};
    let of = |i: usize| kinds[node.args[i] as usize];
    let shape = |i: usize| &f.nodes[node.args[i] as usize].shape;
    let any = |kind: Kind| node.args.iter().any(|&a| kinds[a as usize] == kind);
    if any(Sum) || any(Tail) {
        return Ok((!any(Rows)).then_some(Tail));
    }
    if !any(Rows) {
        // Repeating along the rows is the same for each block.
        let repeats = matches!(node.op, Op::Expand) && leads && {
            let from = shape(0);
            from.len() < node.shape.len() || from.first() == Some(&1)
        };
        return Ok(Some(if repeats { Rows } else { Whole }));
    }
    let first_rows = || node.args.iter().copied().find(|&a| kinds[a as usize] == Rows);
    let rows_if = |holds: bool| Ok(holds.then_some(Rows));
    match &node.op {
        op if op.is_elementwise() => match any(Whole) {
            // A number with one entry for each row would have to be cut up.
            true => Err(MustBeWhole(first_rows().expect("there is one"))),
            false => Ok(Some(Rows)),
        },
        Op::MatMul { ta, tb } => match (of(0), of(1), ta, tb) {
            (Rows, Whole, false, _) => {
                let near = if in_strips(node) { NEAR_IN_STRIPS } else { NEAR };
                rows_if(shape(1).numel() * size_of::<T>() <= near)
            }
            // A large sum for each block would take longer to add up than the blocks gain.
            (Rows, Rows, true, false) => match node.shape.numel() * size_of::<T>() <= NEAR {
                true => Ok(Some(Sum)),
                false => Ok(Some(Tail)),
            },
            (Rows, Whole, true, _) => Err(MustBeWhole(node.args[0])),
            _ => Err(MustBeWhole(node.args[1])),
        },
        Op::Expand if shape(0).len() < node.shape.len() => Err(MustBeWhole(node.args[0])),
        Op::SumTo if !keeps_rows(f, node, rows) => Ok(Some(Sum)),
        _ => rows_if(keeps_rows(f, node, rows) && !any(Whole)),
    }
}

/// Whether an operation other than a product of two matrices treats the rows of its arguments, which
/// all have so many, each for itself.
pub(crate) fn keeps_rows<T: Real>(f: &Function<T>, node: &FnNode<T>, rows: usize) -> bool {
    let shape = |i: usize| &f.nodes[node.args[i] as usize].shape;
    let leads = || node.shape.first() == Some(&rows);
    match &node.op {
        Op::MatMulBatch { .. } | Op::Solve | Op::SolveTriangular { .. } | Op::LogDet => true,
        Op::Expand | Op::SumTo => shape(0).len() == node.shape.len() && leads(),
        Op::Reshape => leads(),
        Op::Permute(axes) => axes.first() == Some(&0),
        Op::Slice(ranges) | Op::Pad(ranges) => {
            ranges.first().is_some_and(|r| r.start == 0 && r.step == 1 && r.len == rows)
        }
        Op::Concat { axis }
        | Op::MaxAxis { axis }
        | Op::CumSum { axis, .. }
        | Op::Gather { axis, .. }
        | Op::ScatterAdd { axis, .. } => *axis > 0,
        op => op.is_elementwise(),
    }
}

/// The same operation on so many rows.
pub(crate) fn with_rows<T: Real>(node: &FnNode<T>, rows: usize) -> FnNode<T> {
    let mut node = node.clone();
    let mut shape: SmallVec<[usize; 8]> = node.shape.iter().copied().collect();
    shape[0] = rows;
    node.shape = shape.iter().copied().collect();
    if let Op::Slice(ranges) | Op::Pad(ranges) = &mut node.op {
        let mut shorter = ranges.to_vec();
        shorter[0].len = rows;
        *ranges = shorter.into();
    }
    node
}

/// The same operations on so many rows: the first ones of constants.
pub(crate) fn shrink<T: Real>(f: &Function<T>, kinds: &[Kind], rows: usize) -> Function<T> {
    let nodes = f.nodes.iter().zip(kinds).map(|(node, kind)| {
        if *kind != Kind::Rows {
            return node.clone();
        }
        let mut node = with_rows(node, rows);
        let len = node.shape.numel();
        node.constant = node.constant.map(|value| value[..len].into());
        node
    });
    Function::from_parts(nodes.collect(), f.inputs.clone(), f.outputs.clone())
}
