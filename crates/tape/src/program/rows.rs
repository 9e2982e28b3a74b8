//! Blocks of rows: a function that treats each row of its inputs alike, split into blocks that are
//! computed on different threads.
//!
//! A batch is usually one array with a row for each sample, and most of what is computed on it, row
//! by row: element-wise operations, products with a matrix of parameters, sums along a row. Only
//! sums over the batch join the rows, in the cotangents of parameters. Such a function is compiled
//! for a block of rows instead of all: its **sums** are added block by block, and what follows from
//! them, the **tail**, is computed once. A thread then takes a block through the whole program,
//! which pays where the single operations are too short to be shared, and keeps what it works on
//! in its caches.
//!
//! Into how many blocks the rows are split depends on the program alone. So its results have the
//! same bits for any number of threads, although sums over the batch are rounded otherwise than they
//! would be in one piece.

use std::sync::Arc;

use costate_ops::{Binary, Range1, Real, axpy};
use rayon::prelude::*;
use smallvec::SmallVec;

use crate::function::{FnNode, Function};
use crate::graph::NodeId;
use crate::keeping::between;
use crate::op::{Op, Result};
use crate::shape::Shape;

use super::{Operand, Place, Program, Workspace, simplify};

/// From how many nanoseconds of work on, as estimated, a program is split: sharing it costs a few
/// microseconds.
const WORTH: f64 = 60e3;
/// How much work a block should be at least, and into how many the rows are split at most.
const BLOCK: f64 = 25e3;
const MOST: usize = 8;
/// Blocks are a multiple of so many rows, a tile of products and vectors.
const TILE: usize = 16;
/// Up to how many bytes a matrix of parameters may have, so that each block can read it from a
/// near cache. Products with larger ones are shared out by themselves.
const NEAR: usize = 128 * 1024;

/// What the rows have to do with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The same for all rows.
    Whole,
    /// Its leading axis runs over the rows.
    Rows,
    /// A sum over the rows.
    Sum,
    /// What follows from sums.
    Tail,
}

/// A value that was taken to run over the rows, but must be whole.
struct MustBeWhole(NodeId);

/// An input of the blocks' program.
#[derive(Debug)]
enum Given<T> {
    Input(usize),
    Constant(Arc<[T]>),
}

/// A program split into blocks of rows.
#[derive(Debug)]
pub(crate) struct Rows<T: Real> {
    /// The program of a block, and that of the last one if it is shorter.
    block: Program<T>,
    last: Option<Program<T>>,
    /// How many rows there are, and how many a block has.
    rows: usize,
    per_block: usize,
    /// The inputs of a block, and how many entries a row has of those that run over the rows.
    given: Vec<(Given<T>, Option<usize>)>,
    /// The entries that a row has of the first outputs of a block, and which output of the program
    /// each is. They lie first in the arena, one after another. The block's other outputs are sums.
    widths: Vec<usize>,
    results: Vec<usize>,
    /// Where the sums lie in the arena.
    sums: Vec<Operand>,
    /// From the inputs and the sums to outputs, and where those are copied to.
    tail: Option<Program<T>>,
    after: Vec<Operand>,
}

/// A split program, its outputs, and how large its arena is.
pub(crate) struct Split<T: Real> {
    pub rows: Rows<T>,
    pub outputs: Vec<Operand>,
    pub arena: usize,
}

/// The memory of the blocks.
#[derive(Debug)]
pub(crate) struct Blocks<T: Real> {
    blocks: Vec<Workspace<T>>,
    tail: Option<Box<Workspace<T>>>,
}

/// Splits a function, if that is possible and worth it.
pub(crate) fn split<T: Real>(f: &Function<T>) -> Option<Split<T>> {
    if f.nodes.iter().any(|node| matches!(node.op, Op::Call(_) | Op::Project { .. })) {
        return None;
    }
    let work: f64 = f.nodes.iter().map(|node| cost(f, node)).sum();
    if work < WORTH {
        return None;
    }
    // The number of rows is that of the inputs with the most entries.
    let inputs = || f.inputs.iter().map(|&id| &f.nodes[id as usize].shape);
    let mut candidates: SmallVec<[(usize, usize); 8]> = SmallVec::new();
    for rows in inputs().filter_map(|shape| shape.first().copied()) {
        if rows >= 2 * TILE && candidates.iter().all(|c| c.1 != rows) {
            let with = inputs().filter(|shape| shape.first() == Some(&rows));
            candidates.push((with.map(Shape::numel).sum(), rows));
        }
    }
    candidates.sort_unstable_by(|a, b| b.cmp(a));
    candidates.iter().take(3).find_map(|&(_, rows)| split_at(f, rows, work))
}

/// [`split`] for a given number of rows.
fn split_at<T: Real>(f: &Function<T>, rows: usize, work: f64) -> Option<Split<T>> {
    let kinds = kinds(f, rows)?;
    let of = |id: NodeId| kinds[id as usize];
    let kinds = &kinds[..];
    let all = |kind: Kind| (0..f.nodes.len()).filter(move |&id| kinds[id] == kind);
    let sum = |kind: Kind| all(kind).map(|id| cost(f, &f.nodes[id])).sum::<f64>();
    let blocks = (work / BLOCK) as usize;
    let blocks = (1 << blocks.max(1).ilog2()).clamp(2, MOST);
    let per_block = rows.div_ceil(blocks).next_multiple_of(TILE);
    let blocks = rows.div_ceil(per_block);
    if blocks < 2 || sum(Kind::Tail) > 0.1 * work || sum(Kind::Whole) * blocks as f64 > 0.1 * work {
        return None;
    }

    // The blocks' inputs: those of the function, and constants that run over the rows.
    let constants = all(Kind::Rows).filter(|&id| matches!(f.nodes[id].op, Op::Const));
    let constants: Vec<NodeId> = constants.map(|id| id as NodeId).collect();
    let given_ids: Vec<NodeId> = f.inputs.iter().chain(&constants).copied().collect();
    let width = |id: NodeId| f.nodes[id as usize].shape.numel() / rows;
    let given = given_ids
        .iter()
        .enumerate()
        .map(|(i, &id)| {
            let from = match &f.nodes[id as usize].constant {
                Some(value) if i >= f.inputs.len() => Given::Constant(value.clone()),
                _ => Given::Input(i),
            };
            (from, (of(id) == Kind::Rows).then(|| width(id)))
        })
        .collect();

    // Their outputs: rows, and the sums that outputs need.
    let (results, others): (Vec<usize>, Vec<usize>) =
        (0..f.outputs.len()).partition(|&i| of(f.outputs[i]) == Kind::Rows);
    let ids = |outputs: &[usize]| outputs.iter().map(|&i| f.outputs[i]).collect::<Vec<NodeId>>();
    let (row_outputs, others) = (ids(&results), ids(&others));
    let is_read = |sum: usize| {
        let tails = all(Kind::Tail).flat_map(|id| &f.nodes[id].args);
        tails.chain(&others).any(|&read| read as usize == sum)
    };
    let sums: Vec<NodeId> =
        all(Kind::Sum).filter(|&id| is_read(id)).map(|id| id as NodeId).collect();
    let block_outputs: Vec<NodeId> = row_outputs.iter().chain(&sums).copied().collect();
    let compiled = |rows: usize| {
        let shrunk = shrink(f, kinds, rows);
        Program::compile_whole(&simplify(&between(&shrunk, &given_ids, &block_outputs)))
    };
    let last = rows % per_block;

    let mut arena = 0;
    let mut place = |id: NodeId| {
        let shape = f.nodes[id as usize].shape.clone();
        let len = shape.numel();
        arena += len;
        Operand { place: Place::Arena, offset: arena - len, len, shape }
    };
    let mut of_rows = row_outputs.iter().map(|&id| place(id)).collect::<Vec<_>>().into_iter();
    let of_sums: Vec<Operand> = sums.iter().map(|&id| place(id)).collect();
    let mut tails: Vec<NodeId> = others.iter().copied().filter(|id| !sums.contains(id)).collect();
    tails.sort_unstable();
    tails.dedup();
    let after: Vec<Operand> = tails.iter().map(|&id| place(id)).collect();
    let mut output = |id: &NodeId| {
        let place = || of_rows.next().expect("a place for each output");
        let found = |ids: &[NodeId], places: &[Operand]| {
            ids.iter().position(|other| other == id).map(|i| places[i].clone())
        };
        found(&sums, &of_sums).or_else(|| found(&tails, &after)).unwrap_or_else(place)
    };
    let outputs = f.outputs.iter().map(&mut output).collect();
    let tail = (!tails.is_empty()).then(|| {
        let inputs: Vec<NodeId> = f.inputs.iter().chain(&sums).copied().collect();
        Program::compile_whole(&simplify(&between(f, &inputs, &tails)))
    });
    Some(Split {
        outputs,
        rows: Rows {
            block: compiled(per_block),
            last: (last > 0).then(|| compiled(last)),
            rows,
            per_block,
            given,
            widths: row_outputs.iter().map(|&id| width(id)).collect(),
            results,
            sums: of_sums,
            tail,
            after,
        },
        arena,
    })
}

/// About how many nanoseconds an operation takes.
fn cost<T: Real>(f: &Function<T>, node: &FnNode<T>) -> f64 {
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
/// many rows are taken to run over them, until that turns out wrong.
fn kinds<T: Real>(f: &Function<T>, rows: usize) -> Option<Vec<Kind>> {
    let leads = |node: &FnNode<T>| node.shape.first() == Some(&rows);
    let mut leaves: Vec<bool> = f.nodes.iter().map(leads).collect();
    for _ in 0..=f.inputs.len() {
        let mut kinds: Vec<Kind> = Vec::with_capacity(f.nodes.len());
        let mut wrong = None;
        for (id, node) in f.nodes.iter().enumerate() {
            let kind = match node.op {
                Op::Input | Op::Const if leaves[id] => Ok(Some(Kind::Rows)),
                Op::Input | Op::Const => Ok(Some(Kind::Whole)),
                _ => kind(f, node, rows, &kinds),
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
        let Some(mut id) = wrong else { return Some(kinds) };
        while matches!(
            f.nodes[id as usize].op,
            Op::Reshape | Op::Detach | Op::Permute(_) | Op::Slice(_)
        ) {
            id = f.nodes[id as usize].args[0];
        }
        let leaf = matches!(f.nodes[id as usize].op, Op::Input | Op::Const);
        if !leaf || !std::mem::replace(&mut leaves[id as usize], false) {
            return None;
        }
    }
    None
}

/// [`kinds`] of one operation, given those before it.
fn kind<T: Real>(
    f: &Function<T>,
    node: &FnNode<T>,
    rows: usize,
    kinds: &[Kind],
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
        let repeats = matches!(node.op, Op::Expand) && node.shape.first() == Some(&rows) && {
            let from = shape(0);
            from.len() < node.shape.len() || from.first() == Some(&1)
        };
        return Ok(Some(if repeats { Rows } else { Whole }));
    }
    let first_rows = || node.args.iter().copied().find(|&a| kinds[a as usize] == Rows);
    let whole_axis = |ranges: &[Range1], n: usize| {
        ranges.first().is_some_and(|r| r.start == 0 && r.step == 1 && r.len == n)
    };
    let rows_if = |holds: bool| Ok(holds.then_some(Rows));
    match &node.op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Affine { .. }
        | Op::Powi(_)
        | Op::LinComb(_)
        | Op::Select
        | Op::Detach => match any(Whole) {
            // A number with one entry for each row would have to be cut up.
            true => Err(MustBeWhole(first_rows().expect("there is one"))),
            false => Ok(Some(Rows)),
        },
        Op::MatMul { ta, tb } => match (of(0), of(1), ta, tb) {
            (Rows, Whole, false, _) => rows_if(shape(1).numel() * size_of::<T>() <= NEAR),
            (Rows, Rows, true, false) => Ok(Some(Sum)),
            (Rows, Whole, true, _) => Err(MustBeWhole(node.args[0])),
            _ => Err(MustBeWhole(node.args[1])),
        },
        Op::MatMulBatch { .. } | Op::Solve | Op::SolveTriangular { .. } | Op::LogDet => {
            rows_if(!any(Whole))
        }
        Op::Expand if shape(0).len() < node.shape.len() => Err(MustBeWhole(node.args[0])),
        Op::Expand => Ok(Some(Rows)),
        Op::SumTo => {
            let keeps = shape(0).len() == node.shape.len() && node.shape.first() == Some(&rows);
            Ok(Some(if keeps { Rows } else { Sum }))
        }
        Op::Reshape => rows_if(node.shape.first() == Some(&rows)),
        Op::Permute(axes) => rows_if(axes.first() == Some(&0)),
        Op::Slice(ranges) | Op::Pad(ranges) => rows_if(whole_axis(ranges, rows)),
        Op::Concat { axis } => rows_if(*axis > 0 && !any(Whole)),
        Op::MaxAxis { axis } | Op::CumSum { axis, .. } => rows_if(*axis > 0),
        Op::Gather { axis, .. } | Op::ScatterAdd { axis, .. } => rows_if(*axis > 0),
        Op::Input | Op::Const | Op::Call(_) | Op::Project { .. } => Ok(None),
    }
}

/// The same operations on fewer rows.
fn shrink<T: Real>(f: &Function<T>, kinds: &[Kind], rows: usize) -> Function<T> {
    let mut nodes = f.nodes.clone();
    for (node, _) in nodes.iter_mut().zip(kinds).filter(|(_, kind)| **kind == Kind::Rows) {
        let mut shape: SmallVec<[usize; 8]> = node.shape.iter().copied().collect();
        shape[0] = rows;
        node.shape = shape.iter().copied().collect();
        if let Op::Slice(ranges) | Op::Pad(ranges) = &mut node.op {
            let mut shorter = ranges.to_vec();
            shorter[0].len = rows;
            *ranges = shorter.into();
        }
    }
    Function::from_parts(nodes, f.inputs.clone(), f.outputs.clone())
}

/// A block at work.
struct Task<'a, T: Real> {
    start: usize,
    program: &'a Program<T>,
    workspace: &'a mut Workspace<T>,
    outputs: SmallVec<[&'a mut [T]; 8]>,
}

impl<T: Real> Rows<T> {
    /// The programs of the blocks and of the tail, for printing.
    pub fn parts(&self) -> (&Program<T>, Option<&Program<T>>) {
        (&self.block, self.tail.as_ref())
    }

    /// Whether output `i` of the program is written where it is wanted.
    pub fn writes(&self, i: usize) -> bool {
        self.results.contains(&i)
    }

    /// How many rows there are, and how many a block has.
    pub fn extents(&self) -> (usize, usize) {
        (self.rows, self.per_block)
    }

    pub fn blocks(&self) -> Blocks<T> {
        let count = self.rows.div_ceil(self.per_block);
        Blocks {
            blocks: (0..count).map(|i| Workspace::new(self.program(i))).collect(),
            tail: self.tail.as_ref().map(|tail| Box::new(Workspace::new(tail))),
        }
    }

    /// The program of block `i`.
    fn program(&self, i: usize) -> &Program<T> {
        match &self.last {
            Some(last) if (i + 1) * self.per_block > self.rows => last,
            _ => &self.block,
        }
    }

    /// Evaluates all outputs into the arena, or those that run over the rows where they are wanted.
    pub fn run(
        &self,
        blocks: &mut Blocks<T>,
        inputs: &[&[T]],
        arena: &mut [T],
        outputs: Option<&mut [&mut [T]]>,
    ) -> Result<()> {
        let mut tasks: SmallVec<[Task<'_, T>; MOST]> = SmallVec::new();
        for (i, workspace) in blocks.blocks.iter_mut().enumerate() {
            let (start, program) = (i * self.per_block, self.program(i));
            tasks.push(Task { start, program, workspace, outputs: SmallVec::new() });
        }
        let (mut rest, after_rows) =
            arena.split_at_mut(self.widths.iter().sum::<usize>() * self.rows);
        let mut wholes: SmallVec<[&mut [T]; 8]> = SmallVec::new();
        match outputs {
            Some(outputs) => {
                let mut outputs: SmallVec<[Option<&mut [T]>; 16]> =
                    outputs.iter_mut().map(|out| Some(&mut **out)).collect();
                wholes.extend(self.results.iter().filter_map(|&i| outputs[i].take()));
            }
            None => {
                for width in &self.widths {
                    let (whole, others) = rest.split_at_mut(width * self.rows);
                    rest = others;
                    wholes.push(whole);
                }
            }
        }
        for (whole, width) in wholes.into_iter().zip(&self.widths) {
            // An array without entries has no chunks.
            let mut chunks = whole.chunks_mut((width * self.per_block).max(1));
            tasks.iter_mut().for_each(|t| t.outputs.push(chunks.next().unwrap_or_default()));
        }
        if rayon::current_num_threads() == 1 {
            tasks.iter_mut().try_for_each(|task| self.block(task, inputs))?;
        } else {
            tasks.par_iter_mut().with_max_len(1).try_for_each(|task| self.block(task, inputs))?;
        }
        drop(tasks);

        let first = self.widths.iter().sum::<usize>() * self.rows;
        let in_sums = self.sums.iter().map(|sum| sum.len).sum();
        let (sums, after) = after_rows.split_at_mut(in_sums);
        for (i, workspace) in blocks.blocks.iter().enumerate() {
            for (n, sum) in self.sums.iter().enumerate() {
                let part = self.program(i).arena_output(workspace, self.widths.len() + n);
                let to = &mut sums[sum.offset - first..][..sum.len];
                if i == 0 { to.copy_from_slice(part) } else { axpy(T::one(), part, to) }
            }
        }
        let Some((tail, workspace)) = self.tail.as_ref().zip(blocks.tail.as_deref_mut()) else {
            return Ok(());
        };
        let mut given: SmallVec<[&[T]; 16]> = SmallVec::from_slice(inputs);
        given.extend(self.sums.iter().map(|sum| &sums[sum.offset - first..][..sum.len]));
        let found = tail.evaluate(workspace, &given)?;
        for (i, place) in self.after.iter().enumerate() {
            after[place.offset - first - in_sums..][..place.len].copy_from_slice(found.get(i));
        }
        Ok(())
    }

    /// One block; its sums stay in its workspace.
    fn block(&self, task: &mut Task<'_, T>, inputs: &[&[T]]) -> Result<()> {
        let end = (task.start + self.per_block).min(self.rows);
        let mut given: SmallVec<[&[T]; 16]> = SmallVec::new();
        for (from, width) in &self.given {
            let from = match from {
                Given::Input(i) => inputs[*i],
                Given::Constant(value) => value,
            };
            given.push(match width {
                Some(width) => &from[task.start * width..end * width],
                None => from,
            });
        }
        let found = task.program.evaluate(task.workspace, &given)?;
        for (i, out) in task.outputs.iter_mut().enumerate() {
            out.copy_from_slice(found.get(i));
        }
        Ok(())
    }
}
