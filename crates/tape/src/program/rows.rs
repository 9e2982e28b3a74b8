//! Blocks of rows: a function that treats each row of its inputs alike, split into blocks that are
//! computed on different threads.
//!
//! A batch is usually one array with a row for each sample, and most of what is computed on it, row
//! by row: element-wise operations, products with a matrix of parameters, sums along a row. Only
//! sums over the batch join the rows, in the cotangents of parameters. Such a function is compiled
//! for a block of rows instead of all: its **sums** are added block by block, and what follows from
//! them, the **tail**, is computed once. So are sums that are large matrices, from what the blocks
//! leave. A thread then takes a block through the whole program,
//! which pays where the single operations are too short to be shared, and keeps what it works on
//! in its caches.
//!
//! Into how many blocks the rows are split depends on the program alone. So its results have the
//! same bits for any number of threads, although sums over the batch are rounded otherwise than they
//! would be in one piece.

use std::sync::Arc;

use costate_ops::{Buffer, MatMul, alone, axpy, is_shared};
use rayon::prelude::*;
use smallvec::SmallVec;

use crate::Real;
use crate::function::Function;
use crate::graph::NodeId;
use crate::keeping::between;
use crate::op::{Op, Result};
use crate::shape::Shape;

use super::kinds::{Kind, MOST, TILE, cost, kinds, rows_per_block, shrink};
use super::{Operand, Place, Program, Workspace};

/// From how many nanoseconds of work on, as estimated, a program is split: sharing it costs a few
/// microseconds.
const WORTH: f64 = 60e3;
/// How much work a block should be at least.
const BLOCK: f64 = 25e3;
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
    /// each of the first of these is; the tail reads the others. They lie first in the arena, one after
    /// another. The block's other outputs are sums.
    widths: Vec<usize>,
    results: Vec<usize>,
    /// Where the sums lie in the arena.
    sums: Vec<Operand>,
    /// From the inputs, the sums, and what blocks leave for it to outputs, and where those are written.
    tail: Option<Program<T>>,
    after: Vec<Operand>,
    /// All in one piece, to the same bits, where that is better on one thread: from the inputs to the
    /// first results and what the tail finds.
    whole: Option<Program<T>>,
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
    blocks: Vec<Block<T>>,
    tail: Option<Box<Workspace<T>>>,
    whole: Option<Box<Workspace<T>>>,
}

#[derive(Debug)]
struct Block<T: Real> {
    workspace: Workspace<T>,
    sums: Buffer<T>,
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
    let mut kinds = kinds(f, rows)?;
    // Products of rows with a matrix, and whether that is in strips.
    let products = f.nodes.iter().zip(&kinds).filter_map(|(node, kind)| {
        let Op::MatMul { tb, .. } = node.op else { return None };
        let in_strips = f.nodes[node.args[1] as usize].shape.len() == 3;
        let k = f.nodes[node.args[0] as usize].shape[1];
        let spec = MatMul { m: rows, k, n: node.shape[1], ta: false, tb, accumulate: false };
        (*kind == Kind::Rows).then_some((spec, in_strips))
    });
    let products: SmallVec<[(MatMul, bool); 8]> = products.collect();
    let in_strips = products.iter().any(|&(_, in_strips)| in_strips);
    if in_strips {
        // Then no sum shows in a bit whether there are blocks.
        kinds.iter_mut().filter(|kind| **kind == Kind::Sum).for_each(|kind| *kind = Kind::Tail);
    }
    let of = |id: NodeId| kinds[id as usize];
    let kinds = &kinds[..];
    let all = |kind: Kind| (0..f.nodes.len()).filter(move |&id| kinds[id] == kind);
    let sum = |kind: Kind| all(kind).map(|id| cost(f, &f.nodes[id])).sum::<f64>();
    let per_block = rows_per_block(rows, (work / BLOCK) as usize, in_strips);
    let blocks = rows.div_ceil(per_block);
    let serial = |id: &usize| !is_shared_product(f, *id);
    let tail = all(Kind::Tail).filter(serial).map(|id| cost(f, &f.nodes[id])).sum::<f64>();
    if blocks < 2 || tail > 0.1 * work || sum(Kind::Whole) * blocks as f64 > 0.1 * work {
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

    // Their outputs: rows, and the sums that outputs need. What is an input stays where it is.
    let input = |id: NodeId| f.inputs.iter().position(|&input| input == id);
    let (results, others): (Vec<usize>, Vec<usize>) = (0..f.outputs.len())
        .filter(|&i| input(f.outputs[i]).is_none())
        .partition(|&i| of(f.outputs[i]) == Kind::Rows);
    let ids = |outputs: &[usize]| outputs.iter().map(|&i| f.outputs[i]).collect::<Vec<NodeId>>();
    let (row_outputs, others) = (ids(&results), ids(&others));
    let is_read = |sum: usize| {
        let tails = all(Kind::Tail).flat_map(|id| &f.nodes[id].args);
        tails.chain(&others).any(|&read| read as usize == sum)
    };
    let sums: Vec<NodeId> =
        all(Kind::Sum).filter(|&id| is_read(id)).map(|id| id as NodeId).collect();
    // What else of the rows the tail reads.
    let given_already = |id: NodeId| matches!(f.nodes[id as usize].op, Op::Input | Op::Const);
    let mut left: Vec<NodeId> = all(Kind::Tail)
        .flat_map(|id| f.nodes[id].args.iter().copied())
        .filter(|&id| of(id) == Kind::Rows && !given_already(id))
        .collect();
    left.sort_unstable();
    left.dedup();
    let block_outputs: Vec<NodeId> =
        row_outputs.iter().chain(&left).chain(&sums).copied().collect();
    let compiled = |rows: usize| {
        let shrunk = shrink(f, kinds, rows);
        Program::compile_whole(&T::simplify(&between(&shrunk, &given_ids, &block_outputs)))
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
    left.iter().for_each(|&id| drop(place(id)));
    let of_sums: Vec<Operand> = sums.iter().map(|&id| place(id)).collect();
    let mut tails: Vec<NodeId> = others.iter().copied().filter(|id| !sums.contains(id)).collect();
    tails.sort_unstable();
    tails.dedup();
    let after: Vec<Operand> = tails.iter().map(|&id| place(id)).collect();
    let mut output = |id: &NodeId| {
        if let Some(i) = input(*id) {
            let shape = f.nodes[*id as usize].shape.clone();
            return Operand { place: Place::Input(i), offset: 0, len: shape.numel(), shape };
        }
        let place = || of_rows.next().expect("a place for each output");
        let found = |ids: &[NodeId], places: &[Operand]| {
            ids.iter().position(|other| other == id).map(|i| places[i].clone())
        };
        found(&sums, &of_sums).or_else(|| found(&tails, &after)).unwrap_or_else(place)
    };
    let outputs = f.outputs.iter().map(&mut output).collect();
    // If no product shows it either, one thread takes all rows in one piece.
    let same_rows =
        |m: usize| products.iter().all(|(spec, in_strips)| *in_strips || spec.same_rows::<T>(m));
    let whole = (in_strips && same_rows(per_block) && (last == 0 || same_rows(last))).then(|| {
        let outputs: Vec<NodeId> = row_outputs.iter().chain(&tails).copied().collect();
        Program::compile_whole(&T::simplify(&between(f, &f.inputs, &outputs)))
    });
    let tail = (!tails.is_empty()).then(|| {
        let inputs: Vec<NodeId> = f.inputs.iter().chain(&sums).chain(&left).copied().collect();
        Program::compile_whole(&T::simplify(&between(f, &inputs, &tails)))
    });
    Some(Split {
        outputs,
        rows: Rows {
            block: compiled(per_block),
            last: (last > 0).then(|| compiled(last)),
            rows,
            per_block,
            given,
            widths: row_outputs.iter().chain(&left).map(|&id| width(id)).collect(),
            results,
            sums: of_sums,
            tail,
            after,
            whole,
        },
        arena,
    })
}

/// Whether an operation is a product that is shared out by itself.
fn is_shared_product<T: Real>(f: &Function<T>, id: usize) -> bool {
    let node = &f.nodes[id];
    let Op::MatMul { .. } = node.op else { return false };
    let [left, columns] = [f.nodes[node.args[0] as usize].shape.numel(), node.shape[1]];
    is_shared(left * columns)
}

/// A block at work.
struct Task<'a, T: Real> {
    start: usize,
    program: &'a Program<T>,
    workspace: &'a mut Workspace<T>,
    /// Where the outputs of its program are wanted.
    outputs: SmallVec<[&'a mut [T]; 16]>,
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
        let in_sums = self.sums.iter().map(|sum| sum.len).sum();
        let block = |i| {
            let workspace = Workspace::new(self.program(i));
            Block { workspace, sums: Buffer::zeros(in_sums) }
        };
        Blocks {
            blocks: (0..self.rows.div_ceil(self.per_block)).map(block).collect(),
            tail: self.tail.as_ref().map(|tail| Box::new(Workspace::new(tail))),
            whole: self.whole.as_ref().map(|whole| Box::new(Workspace::new(whole))),
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
        let in_rows = self.widths.iter().sum::<usize>() * self.rows;
        let in_sums = self.sums.iter().map(|sum| sum.len).sum();
        let (of_rows, rest) = arena.split_at_mut(in_rows);
        let (sums, mut after) = rest.split_at_mut(in_sums);
        let mut places: SmallVec<[&mut [T]; 16]> = SmallVec::new();
        for place in &self.after {
            places.push(after.split_off_mut(..place.len).expect("there is room"));
        }
        if let Some((whole, workspace)) = self.whole.as_ref().zip(blocks.whole.as_deref_mut())
            && rayon::current_num_threads() == 1
        {
            let mut all = self.places(of_rows, outputs);
            all.truncate(self.results.len());
            all.extend(places);
            return whole.run(workspace, inputs, &mut all);
        }
        self.run_blocks(&mut blocks.blocks, inputs, of_rows, outputs)?;

        for (i, block) in blocks.blocks.iter().enumerate() {
            if i == 0 {
                sums.copy_from_slice(&block.sums)
            } else {
                axpy(T::one(), &block.sums, sums)
            }
        }
        let Some((tail, workspace)) = self.tail.as_ref().zip(blocks.tail.as_deref_mut()) else {
            return Ok(());
        };
        let mut given: SmallVec<[&[T]; 16]> = SmallVec::from_slice(inputs);
        given.extend(self.sums.iter().map(|sum| &sums[sum.offset - in_rows..][..sum.len]));
        let mut at = 0;
        for (i, width) in self.widths.iter().enumerate() {
            if i >= self.results.len() {
                given.push(&of_rows[at..at + width * self.rows]);
            }
            at += width * self.rows;
        }
        tail.run(workspace, &given, &mut places)
    }

    /// Where what runs over the rows is written: where it is wanted, or in the arena.
    fn places<'a>(
        &self,
        mut of_rows: &'a mut [T],
        outputs: Option<&'a mut [&mut [T]]>,
    ) -> SmallVec<[&'a mut [T]; 16]> {
        let mut wanted: SmallVec<[Option<&mut [T]>; 16]> = SmallVec::new();
        if let Some(outputs) = outputs {
            wanted.extend(outputs.iter_mut().map(|out| Some(&mut **out)));
        }
        let mut places = SmallVec::new();
        for (n, width) in self.widths.iter().enumerate() {
            let own = of_rows.split_off_mut(..width * self.rows).expect("there is room");
            let given = self.results.get(n).and_then(|&i| wanted.get_mut(i)?.take());
            places.push(given.unwrap_or(own));
        }
        places
    }

    /// All blocks; `of_rows` is where their outputs are that run over the rows, and sums stay with each.
    fn run_blocks(
        &self,
        blocks: &mut [Block<T>],
        inputs: &[&[T]],
        of_rows: &mut [T],
        outputs: Option<&mut [&mut [T]]>,
    ) -> Result<()> {
        let mut tasks: SmallVec<[Task<'_, T>; MOST]> = SmallVec::new();
        let mut in_sums: SmallVec<[&mut [T]; MOST]> = SmallVec::new();
        for (i, Block { workspace, sums }) in blocks.iter_mut().enumerate() {
            let (start, program) = (i * self.per_block, self.program(i));
            tasks.push(Task { start, program, workspace, outputs: SmallVec::new() });
            in_sums.push(sums);
        }
        for (place, width) in self.places(of_rows, outputs).into_iter().zip(&self.widths) {
            // An array without entries has no chunks.
            let mut chunks = place.chunks_mut((width * self.per_block).max(1));
            tasks.iter_mut().for_each(|t| t.outputs.push(chunks.next().unwrap_or_default()));
        }
        for (task, mut sums) in tasks.iter_mut().zip(in_sums) {
            for sum in &self.sums {
                task.outputs.push(sums.split_off_mut(..sum.len).expect("there is room"));
            }
        }
        let threads = rayon::current_num_threads();
        if threads == 1 {
            tasks.iter_mut().try_for_each(|task| self.block(task, inputs))
        } else if threads <= tasks.len() {
            let tasks = tasks.par_iter_mut().with_max_len(1);
            tasks.try_for_each(|task| alone(|| self.block(task, inputs)))
        } else {
            tasks.par_iter_mut().with_max_len(1).try_for_each(|task| self.block(task, inputs))
        }
    }

    /// One block.
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
        task.program.run(task.workspace, &given, &mut task.outputs)
    }
}
