//! From a function to instructions: where each value lies, and which memory is used again.
//!
//! All values of a run live in one arena. An operation that only looks at its argument
//! ([`Op::alias_offset`]) is no instruction; broadcasting into a binary operation is none either,
//! since the kernel repeats the smaller operand by itself; an element-wise operation whose
//! argument is not needed again writes over it; and memory whose value is no longer needed is
//! given to the next value that fits.

use costate_ops::Real;
use smallvec::SmallVec;

use crate::function::Function;
use crate::op::Op;
use crate::shape::Shape;

use super::{Instruction, Operand, Place};

/// Values start at multiples of 64 bytes, the length of a cache line.
fn padded<T>(len: usize) -> usize {
    len.next_multiple_of(64 / size_of::<T>())
}

/// A lowered function.
pub(crate) struct Lowered<T: Real> {
    pub instructions: Vec<Instruction<T>>,
    pub constants: Vec<T>,
    pub outputs: Vec<Operand>,
    pub arena: usize,
}

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

/// Plans the instructions of a simplified function.
pub(crate) fn lower<T: Real>(f: &Function<T>) -> Lowered<T> {
    let folded = virtual_broadcasts(f);
    // The node whose memory a node's value is in, and for each of those its last reader.
    let mut root: Vec<usize> = (0..f.nodes.len()).collect();
    let mut last_use: Vec<usize> = vec![0; f.nodes.len()];
    for (id, node) in f.nodes.iter().enumerate() {
        if node.op.alias_offset().is_some() || folded[id] {
            root[id] = root[node.args[0] as usize];
        } else {
            node.args.iter().for_each(|&a| last_use[root[a as usize]] = id);
            last_use[id] = id;
        }
    }
    for &id in &f.outputs {
        last_use[root[id as usize]] = usize::MAX;
    }

    let mut arena = Arena::default();
    let mut constants = Vec::new();
    let mut instructions: Vec<Instruction<T>> = Vec::new();
    let mut operands: Vec<Operand> = Vec::with_capacity(f.nodes.len());
    let mut state_of = vec![None; f.nodes.len()];
    let mut states = 0;
    let mut inputs = 0;
    for (id, node) in f.nodes.iter().enumerate() {
        let shape = node.shape.clone();
        let len = shape.numel();
        if node.op.alias_offset().is_some() || folded[id] {
            let from: &Operand = &operands[node.args[0] as usize];
            let offset = from.offset + node.op.alias_offset().unwrap_or(0);
            let len = if folded[id] { from.len } else { len };
            operands.push(Operand { place: from.place, offset, len, shape });
            continue;
        }
        if matches!(node.op, Op::Input) {
            operands.push(Operand { place: Place::Input(inputs), offset: 0, len, shape });
            inputs += 1;
            continue;
        }
        if let Some(value) = &node.constant {
            let offset = constants.len();
            constants.extend_from_slice(value);
            operands.push(Operand { place: Place::Constant, offset, len, shape });
            continue;
        }
        let args: SmallVec<[Operand; 3]> =
            node.args.iter().map(|&a| operands[a as usize].clone()).collect();
        let mut dying: SmallVec<[usize; 4]> =
            node.args.iter().map(|&a| root[a as usize]).filter(|&r| last_use[r] == id).collect();
        dying.sort_unstable();
        dying.dedup();
        let in_place = (0..node.args.len()).find(|&i| {
            let r = root[node.args[i] as usize];
            let once = (0..args.len()).all(|j| j == i || root[node.args[j] as usize] != r);
            let whole = args[i].place == Place::Arena
                && args[i].len == len
                && args[i].offset == operands[r].offset
                && operands[r].len == len;
            overwrites(&node.op, i) && dying.contains(&r) && whole && once
        });
        let offset = match in_place {
            Some(i) => {
                dying.retain(|r| *r != root[node.args[i] as usize]);
                args[i].offset
            }
            // An empty value needs no place; 0 is one that always exists.
            None if len == 0 => 0,
            None => arena.take(padded::<T>(len)),
        };
        for r in dying {
            if operands[r].place == Place::Arena {
                arena.give(operands[r].offset, padded::<T>(operands[r].len));
            }
        }
        let (state, producer) = match &node.op {
            Op::Call(call) => {
                state_of[id] = Some(states);
                states += 1;
                let producer = call.reads_state().then(|| state_of[node.args[0] as usize]);
                (state_of[id], producer.flatten())
            }
            _ => (None, None),
        };
        let out = Operand { place: Place::Arena, offset, len, shape };
        operands.push(out.clone());
        instructions.push(Instruction {
            op: node.op.clone(),
            args,
            out,
            in_place,
            state,
            producer,
            loc: node.loc,
        });
        // A value that nobody reads, such as an output of a call that is not used.
        if last_use[id] == id {
            arena.give(offset, padded::<T>(len));
        }
    }
    let outputs = f.outputs.iter().map(|&id| operands[id as usize].clone()).collect();
    Lowered { instructions, constants, outputs, arena: arena.len }
}
