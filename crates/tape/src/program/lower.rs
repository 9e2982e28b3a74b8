//! From a function to instructions: where each value lies, and which memory is used again.
//!
//! All values of a run live in one arena. An operation that only looks at its argument
//! ([`Op::alias_offset`]) is no instruction; broadcasting into a binary operation is none either,
//! since the kernel repeats the smaller operand by itself; element-wise operations of one length are
//! done in one pass ([`chain`](super::chain)); an element-wise operation whose argument is not
//! needed again writes over it; products do what can be done with each of their sums
//! ([`after`](super::after)); and memory whose value is no longer needed is given to the next
//! value that fits.

use costate_ops::Binary;
use smallvec::SmallVec;

use crate::Real;
use crate::function::Function;
use crate::op::{Op, matmul};
use crate::shape::Shape;

use super::after::{Fused, fuse};
use super::chain::{Built, ChainInstruction, Unit, units};
use super::{Direct, Instruction, Operand, Place, Single};

/// Values start at multiples of 64 bytes, the length of a cache line.
fn padded<T>(len: usize) -> usize {
    len.next_multiple_of(64 / size_of::<T>())
}

/// A lowered function.
pub(crate) struct Lowered<T: Real> {
    pub instructions: Vec<Instruction<T>>,
    pub constants: Vec<T>,
    pub outputs: Vec<Operand>,
    pub direct: Vec<Direct>,
    pub arena: usize,
}

/// From how many bytes on an output is written where it is wanted.
const LARGE: usize = 4096;

/// The memory of the arena that is free, by start.
#[derive(Default)]
struct Arena {
    free: Vec<(usize, usize)>,
    len: usize,
}

impl Arena {
    /// The smallest free piece that fits, or new memory at the end.
    fn take(&mut self, len: usize) -> usize {
        let fits = (0..self.free.len()).filter(|&i| self.free[i].1 >= len);
        if let Some(i) = fits.min_by_key(|&i| self.free[i].1) {
            let (start, have) = self.free[i];
            if have == len {
                self.free.remove(i);
            } else {
                self.free[i] = (start + len, have - len);
            }
            return start;
        }
        self.len += len;
        self.len - len
    }

    fn give(&mut self, start: usize, len: usize) {
        if len == 0 {
            return;
        }
        let i = self.free.partition_point(|&(s, _)| s < start);
        self.free.insert(i, (start, len));
        if i + 1 < self.free.len() && start + len == self.free[i + 1].0 {
            self.free[i].1 += self.free.remove(i + 1).1;
        }
        if i > 0 && self.free[i - 1].0 + self.free[i - 1].1 == start {
            self.free[i - 1].1 += self.free.remove(i).1;
        }
    }
}

/// Whether broadcasting to `to` repeats the whole of `from`, one copy after another.
fn repeats(from: &Shape, to: &Shape) -> bool {
    let ones = from.iter().take_while(|&&n| n == 1).count();
    from.numel() == 1 || to.ends_with(&from[ones..])
}

/// Which nodes are broadcasts that binary operations do by themselves and nobody else reads.
fn virtual_broadcasts<T: Real>(f: &Function<T>) -> Vec<bool> {
    let mut folded: Vec<bool> = f
        .nodes
        .iter()
        .map(|node| {
            matches!(node.op, Op::Expand)
                && repeats(&f.nodes[node.args[0] as usize].shape, &node.shape)
        })
        .collect();
    for &id in &f.outputs {
        folded[id as usize] = false;
    }
    for node in &f.nodes {
        if !matches!(node.op, Op::Binary(_)) {
            node.args.iter().for_each(|&a| folded[a as usize] = false);
        }
    }
    folded
}

/// Whether the kernel can write over its argument number `i`.
fn overwrites<T: Real>(op: &Op<T>, i: usize) -> bool {
    match op {
        Op::Unary(_) | Op::Affine { .. } | Op::Powi(_) => i == 0,
        Op::Binary(_) => i < 2,
        _ => false,
    }
}

/// What is known of a function's values while it is lowered.
struct Planner<'f, T: Real> {
    f: &'f Function<T>,
    /// What is done after a product.
    after: Vec<Option<Binary>>,
    /// The node whose memory a node's value is in.
    root: Vec<usize>,
    /// For each of those, the last unit that reads it.
    last_use: Vec<usize>,
    operands: Vec<Option<Operand>>,
    /// The nodes whose values are written where an output is wanted, by its number among those.
    direct: Vec<Option<usize>>,
    arena: Arena,
}

impl<T: Real> Planner<'_, T> {
    fn operand(&self, node: usize) -> &Operand {
        self.operands[node].as_ref().expect("values are made before they are read")
    }

    /// Notes where views lie whose argument's value has a place by now, and drops them from `views`.
    fn show(&mut self, views: &mut Vec<usize>, folded: &[bool]) {
        views.retain(|&id| {
            let node = &self.f.nodes[id];
            let Some(from) = &self.operands[node.args[0] as usize] else { return true };
            let offset = from.offset + node.op.alias_offset().unwrap_or(0);
            let len = if folded[id] { from.len } else { node.shape.numel() };
            let (place, shape) = (from.place, node.shape.clone());
            self.operands[id] = Some(Operand { place, offset, len, shape });
            false
        });
    }

    /// The values that nobody reads after a unit, of those that these nodes show.
    fn dying(&self, args: &[usize], unit: usize) -> Vec<usize> {
        let roots = args.iter().map(|&a| self.root[a]);
        let mut dying: Vec<usize> = roots.filter(|&r| self.last_use[r] == unit).collect();
        dying.sort_unstable();
        dying.dedup();
        dying.retain(|&r| self.operand(r).place == Place::Arena);
        dying
    }

    /// Whether a result of `len` entries can be written over argument `i`: it dies, and is the
    /// whole of its memory, and no other argument shows a part of that.
    fn can_overwrite(&self, args: &[usize], i: usize, len: usize, dying: &[usize]) -> bool {
        let r = self.root[args[i]];
        let (arg, whole) = (self.operand(args[i]), self.operand(r));
        dying.contains(&r)
            && arg.len == len
            && whole.len == len
            && arg.offset == whole.offset
            && (0..args.len()).all(|j| j == i || self.root[args[j]] != r)
    }

    /// New memory for the value of a node.
    fn place(&mut self, node: usize) -> Operand {
        let len = self.f.nodes[node].shape.numel();
        if let Some(i) = self.direct[node] {
            let shape = self.f.nodes[node].shape.clone();
            let operand = Operand { place: Place::Output(i), offset: 0, len, shape };
            self.operands[node] = Some(operand.clone());
            return operand;
        }
        // An empty value needs no place; 0 is one that always exists.
        let offset = if len == 0 { 0 } else { self.arena.take(padded::<T>(len)) };
        self.put(node, offset)
    }

    /// Notes where the value of a node lies.
    fn put(&mut self, node: usize, offset: usize) -> Operand {
        let shape = self.f.nodes[node].shape.clone();
        let operand = Operand { place: Place::Arena, offset, len: shape.numel(), shape };
        self.operands[node] = Some(operand.clone());
        operand
    }

    fn give(&mut self, root: usize) {
        let Operand { offset, len, .. } = *self.operand(root);
        self.arena.give(offset, padded::<T>(len));
    }

    /// Gives back what dies with a unit that has made `results`.
    fn finish(&mut self, dying: &[usize], results: &[usize], unit: usize) {
        dying.iter().for_each(|&r| self.give(r));
        // Values that nobody reads, such as an output of a call that is not used.
        for &r in results {
            if self.last_use[r] == unit {
                self.give(r);
            }
        }
    }

    fn single(&mut self, id: usize, unit: usize) -> Single<T> {
        let node = &self.f.nodes[id];
        let nodes: Vec<usize> = node.args.iter().map(|&a| a as usize).collect();
        let args: SmallVec<[Operand; 3]> = nodes.iter().map(|&a| self.operand(a).clone()).collect();
        let mut dying = self.dying(&nodes, unit);
        let len = node.shape.numel();
        let may = self.direct[id].is_none();
        let in_place = (0..nodes.len()).find(|&i| {
            may && overwrites(&node.op, i) && self.can_overwrite(&nodes, i, len, &dying)
        });
        let out = match in_place {
            Some(i) => {
                dying.retain(|r| *r != self.root[nodes[i]]);
                self.put(id, args[i].offset)
            }
            None => self.place(id),
        };
        self.finish(&dying, &[id], unit);
        Single {
            product: match &node.op {
                Op::MatMul { .. } => matmul::product(&node.op, &args[0].shape, &args[1].shape),
                _ => None,
            },
            op: node.op.clone(),
            args,
            out,
            after: self.after[id],
            in_place,
            state: None,
            producer: None,
            loc: node.loc,
        }
    }

    fn chain(&mut self, built: Built<T>, unit: usize) -> ChainInstruction<T> {
        let Built { chain, args: nodes, results } = built;
        let args = nodes.iter().map(|&a| self.operand(a).clone()).collect();
        let len = self.f.nodes[results[0]].shape.numel();
        let mut dying = self.dying(&nodes, unit);
        let mut outs = Vec::new();
        for &result in &results {
            let may = self.direct[result].is_none();
            let over =
                (0..nodes.len()).find(|&i| may && self.can_overwrite(&nodes, i, len, &dying));
            outs.push(match over {
                Some(i) => {
                    let r = self.root[nodes[i]];
                    dying.retain(|&d| d != r);
                    let offset = self.operand(r).offset;
                    self.put(result, offset)
                }
                None => self.place(result),
            });
        }
        self.finish(&dying, &[], unit);
        ChainInstruction { chain, len, args, outs }
    }
}

/// Plans the instructions of a simplified function.
pub(crate) fn lower<T: Real>(f: &Function<T>) -> Lowered<T> {
    let Fused { function: f, after, gone } = &fuse(f);
    let folded = virtual_broadcasts(f);
    let mut root: Vec<usize> = (0..f.nodes.len()).collect();
    let view = |id: usize| f.nodes[id].op.alias_offset().is_some() || folded[id];
    let mut skip = vec![false; f.nodes.len()];
    for (id, node) in f.nodes.iter().enumerate() {
        if view(id) {
            root[id] = root[node.args[0] as usize];
        }
        skip[id] = view(id) || matches!(node.op, Op::Input) || node.constant.is_some() || gone[id];
    }
    let units = units(f, &skip, &root);
    let mut last_use: Vec<usize> = vec![0; f.nodes.len()];
    for (n, unit) in units.iter().enumerate() {
        match unit {
            Unit::Single(id) => {
                last_use[*id] = n;
                f.nodes[*id].args.iter().for_each(|&a| last_use[root[a as usize]] = n);
            }
            Unit::Chain(built) => {
                built.results.iter().for_each(|&r| last_use[r] = n);
                built.args.iter().for_each(|&a| last_use[root[a]] = n);
            }
        }
    }
    for &id in &f.outputs {
        last_use[root[id as usize]] = usize::MAX;
    }

    let mut direct = vec![None; f.nodes.len()];
    let mut directly = Vec::new();
    for (output, &id) in f.outputs.iter().enumerate() {
        let (id, len) = (id as usize, f.nodes[id as usize].shape.numel());
        if !skip[id] && direct[id].is_none() && len * size_of::<T>() >= LARGE {
            direct[id] = Some(directly.len());
            directly.push(Direct { output, start: 0, len });
        }
    }

    let mut constants = Vec::new();
    let operands = vec![None; f.nodes.len()];
    let (after, arena) = (after.clone(), Arena::default());
    let mut p = Planner { f, after, root, last_use, operands, direct, arena };
    let mut inputs = 0;
    for (id, node) in f.nodes.iter().enumerate() {
        let place = match (&node.op, &node.constant) {
            (Op::Input, _) => {
                inputs += 1;
                Some((Place::Input(inputs - 1), 0))
            }
            (_, Some(value)) => {
                constants.extend_from_slice(value);
                Some((Place::Constant, constants.len() - value.len()))
            }
            _ => None,
        };
        let shape = node.shape.clone();
        p.operands[id] =
            place.map(|(place, offset)| Operand { place, offset, len: shape.numel(), shape });
    }
    let mut views: Vec<usize> = (0..f.nodes.len()).filter(|&id| view(id)).collect();
    let mut instructions: Vec<Instruction<T>> = Vec::new();
    let mut state_of = vec![None; f.nodes.len()];
    let mut states = 0;
    for (n, unit) in units.into_iter().enumerate() {
        // Views of what is there by now.
        p.show(&mut views, &folded);
        match unit {
            Unit::Single(id) => {
                let mut single = p.single(id, n);
                let node = &f.nodes[id];
                if let Op::Call(call) = &node.op {
                    state_of[id] = Some(states);
                    single.state = Some(states);
                    states += 1;
                    let producer = call.reads_state().then(|| state_of[node.args[0] as usize]);
                    single.producer = producer.flatten();
                }
                instructions.push(Instruction::Single(Box::new(single)));
            }
            Unit::Chain(built) => instructions.push(Instruction::Chain(p.chain(built, n))),
        }
    }
    p.show(&mut views, &folded);
    let outputs = f.outputs.iter().map(|&id| p.operand(id as usize).clone()).collect();
    let mut arena = p.arena.len;
    for Direct { start, len, .. } in &mut directly {
        *start = arena;
        arena += padded::<T>(*len);
    }
    Lowered { instructions, constants, outputs, direct: directly, arena }
}
