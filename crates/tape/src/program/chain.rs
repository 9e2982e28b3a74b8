//! Chains: element-wise operations on arrays of one length that are done in one pass.
//!
//! [`units`] puts operations together and turns each group into a [`Chain`] of the kernels.

use costate_ops::{Binary, CHAIN_REGISTERS, Chain, ChainMemory, ChainOp, ChainStep, Unary};

use crate::Real;
use crate::function::Function;
use crate::op::Op;

use super::{Operand, Place};

/// From how many entries on operations stay apart: alone, the expensive ones use all threads.
const LONG: usize = 1 << 18;

/// What is done at one place of a program.
#[derive(Clone, Debug)]
pub(crate) enum Unit<T> {
    /// One operation.
    Single(usize),
    /// Several, in one pass.
    Chain(Built<T>),
}

/// A chain with its operands and results.
#[derive(Clone, Debug)]
pub(crate) struct Built<T> {
    pub chain: Chain<T>,
    /// The nodes that it reads, operand by operand.
    pub args: Vec<usize>,
    /// The nodes whose values it writes, result by result.
    pub results: Vec<usize>,
}

/// Whether an operation can be part of a chain.
fn chains<T: Real>(op: &Op<T>) -> bool {
    match op {
        Op::Unary(_) | Op::Binary(_) | Op::Affine { .. } | Op::Powi(_) | Op::Select => true,
        Op::LinComb(c) => !c.is_empty(),
        _ => false,
    }
}

/// Groups the operations of a function, in an order in which they can be done.
///
/// `skip` marks the nodes that are no work: inputs, constants and views; `root` is the node whose
/// memory a node's value is in. A group stays open for operations of its length until something
/// else reads a value that it makes.
pub(crate) fn units<T: Real>(f: &Function<T>, skip: &[bool], root: &[usize]) -> Vec<Unit<T>> {
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); f.nodes.len()];
    for (id, node) in f.nodes.iter().enumerate().filter(|(id, _)| !skip[*id]) {
        node.args.iter().for_each(|&a| readers[root[a as usize]].push(id));
    }
    // An output is read by nobody within the function: by a node that does not exist.
    f.outputs.iter().for_each(|&o| readers[root[o as usize]].push(usize::MAX));

    let mut done = Vec::new();
    let mut open: Vec<(usize, Vec<usize>)> = Vec::new();
    for (id, node) in f.nodes.iter().enumerate().filter(|(id, _)| !skip[*id]) {
        let len = node.shape.numel();
        let joins = chains(&node.op) && 0 < len && len < LONG;
        let mut i = 0;
        while i < open.len() {
            let reads = node.args.iter().any(|&a| open[i].1.contains(&root[a as usize]));
            if reads && !(joins && open[i].0 == len) {
                close(f, &open.remove(i).1, root, &readers, &mut done);
            } else {
                i += 1;
            }
        }
        match open.iter_mut().find(|(n, _)| *n == len) {
            _ if !joins => done.push(Unit::Single(id)),
            Some((_, members)) => members.push(id),
            None => open.push((len, vec![id])),
        }
    }
    open.iter().for_each(|(_, members)| close(f, members, root, &readers, &mut done));
    done
}

/// Turns a group into a unit, or into several if it needs too many registers.
fn close<T: Real>(
    f: &Function<T>,
    members: &[usize],
    root: &[usize],
    readers: &[Vec<usize>],
    done: &mut Vec<Unit<T>>,
) {
    if let [one] = members {
        done.push(Unit::Single(*one));
        return;
    }
    let bytes = f.nodes[members[0]].shape.numel() * size_of::<T>();
    match build(f, members, root, readers) {
        Some(built) if is_faster(&built.chain, bytes) => done.push(Unit::Chain(built)),
        Some(_) => done.extend(members.iter().map(|&m| Unit::Single(m))),
        None => {
            let (first, second) = members.split_at(members.len() / 2);
            close(f, first, root, readers, done);
            close(f, second, root, readers, done);
        }
    }
}

/// Whether a chain on arrays of so many bytes beats its operations one by one.
///
/// An operation by itself costs about 7 ns to take up, and then 8 ns for each tile of 512 bytes. In
/// a chain it costs 6 ns for each tile, and so does every operand and result that is moved to or
/// from a register.
fn is_faster<T>(chain: &Chain<T>, bytes: usize) -> bool {
    let tiles = bytes as f64 / 512.0;
    let (steps, moves) = (chain.steps.len() as f64, chain.loads.len() + chain.stores.len());
    6.0 * tiles * (steps + moves as f64) <= steps * (7.0 + 8.0 * tiles)
}

/// Where a value within a chain comes from.
#[derive(Clone, Copy)]
enum Value<T> {
    Constant(T),
    Operand,
    Step(ChainOp, [usize; 3]),
}

/// The values of a chain, in the order in which they arise.
struct Builder<T> {
    values: Vec<Value<T>>,
    /// The nodes that are read, and the values they are read to.
    args: Vec<(usize, usize)>,
}

impl<T: Real> Builder<T> {
    fn push(&mut self, value: Value<T>) -> usize {
        self.values.push(value);
        self.values.len() - 1
    }

    fn constant(&mut self, x: T) -> usize {
        let bits = x.as_f64().to_bits();
        let same = |v: &Value<T>| matches!(v, Value::Constant(c) if c.as_f64().to_bits() == bits);
        match self.values.iter().position(same) {
            Some(id) => id,
            None => self.push(Value::Constant(x)),
        }
    }

    fn step(&mut self, op: ChainOp, args: &[usize]) -> usize {
        let mut all = [args[0]; 3];
        all[..args.len()].copy_from_slice(args);
        self.push(Value::Step(op, all))
    }

    fn binary(&mut self, op: Binary, a: usize, b: usize) -> usize {
        self.step(ChainOp::Binary(op), &[a, b])
    }

    /// One operation of the function. What is left out changes no bit: a product with 1, a sum
    /// with -0.
    fn operation(&mut self, op: &Op<T>, x: &[usize]) -> usize {
        match op {
            Op::Unary(u) => self.step(ChainOp::Unary(*u), x),
            Op::Binary(b) => self.step(ChainOp::Binary(*b), x),
            Op::Powi(n) => self.step(ChainOp::Powi(*n), x),
            Op::Select => self.step(ChainOp::Select, x),
            Op::Affine { mul, add } => {
                let nothing = *add == T::zero() && add.is_sign_negative();
                match (*mul == T::one(), nothing) {
                    (true, _) => {
                        let add = self.constant(*add);
                        self.binary(Binary::Add, x[0], add)
                    }
                    (false, true) => {
                        let mul = self.constant(*mul);
                        self.binary(Binary::Mul, mul, x[0])
                    }
                    (false, false) => {
                        let (mul, add) = (self.constant(*mul), self.constant(*add));
                        self.step(ChainOp::MulAdd, &[mul, x[0], add])
                    }
                }
            }
            Op::LinComb(c) => {
                let mut sum = x[0];
                if c[0] != T::one() || c.len() == 1 {
                    let first = self.constant(c[0]);
                    sum = self.binary(Binary::Mul, first, x[0]);
                }
                for (&c, &x) in c.iter().zip(x).skip(1) {
                    sum = if c == T::one() {
                        self.binary(Binary::Add, sum, x)
                    } else if c == -T::one() {
                        self.binary(Binary::Sub, sum, x)
                    } else {
                        let c = self.constant(c);
                        self.step(ChainOp::AddMul, &[sum, c, x])
                    };
                }
                sum
            }
            op => unreachable!("{} is not element-wise", op.name()),
        }
    }
}

/// Turns a group into a chain; `None` if it needs too many registers. `readers` are those of each
/// node's value.
fn build<T: Real>(
    f: &Function<T>,
    members: &[usize],
    root: &[usize],
    readers: &[Vec<usize>],
) -> Option<Built<T>> {
    let is_result = |m: usize| readers[m].iter().any(|r| members.binary_search(r).is_err());
    let mut b = Builder { values: Vec::new(), args: Vec::new() };
    // The value of each member so far.
    let mut made: Vec<(usize, usize)> = Vec::new();
    for &member in members {
        let node = &f.nodes[member];
        let x: Vec<usize> = node
            .args
            .iter()
            .map(|&a| {
                let a = a as usize;
                let inside = made.iter().find(|(m, _)| *m == root[a]);
                let read = b.args.iter().find(|(n, _)| *n == a);
                match (inside, read) {
                    (Some(&(_, value)), _) | (None, Some(&(_, value))) => value,
                    (None, None) => {
                        let value = b.push(Value::Operand);
                        b.args.push((a, value));
                        value
                    }
                }
            })
            .collect();
        let value = b.operation(&node.op, &x);
        made.push((member, value));
    }
    let results: Vec<(usize, usize)> = made.into_iter().filter(|(m, _)| is_result(*m)).collect();
    let chain = allocate(&b, &results)?;
    let args = b.args.iter().map(|(node, _)| *node).collect();
    Some(Built { chain, args, results: results.iter().map(|(node, _)| *node).collect() })
}

/// Gives each value a register.
fn allocate<T: Real>(b: &Builder<T>, results: &[(usize, usize)]) -> Option<Chain<T>> {
    // The last reader of each value.
    let mut last: Vec<usize> = (0..b.values.len()).collect();
    for (id, value) in b.values.iter().enumerate() {
        if let Value::Step(op, args) = value {
            args[..op.arguments()].iter().for_each(|&arg| last[arg] = id);
        }
    }
    results.iter().for_each(|&(_, value)| last[value] = usize::MAX);

    let mut chain = Chain { constants: vec![], loads: vec![], steps: vec![], stores: Vec::new() };
    let mut free: Vec<u8> = (0..CHAIN_REGISTERS as u8).rev().collect();
    let mut home: Vec<u8> = vec![0; b.values.len()];
    for (id, value) in b.values.iter().enumerate() {
        if let Value::Constant(x) = value {
            home[id] = free.pop()?;
            chain.constants.push((home[id], *x));
            last[id] = usize::MAX;
        }
    }
    for &(_, value) in &b.args {
        home[value] = free.pop()?;
        chain.loads.push(home[value]);
    }
    for (id, value) in b.values.iter().enumerate() {
        let Value::Step(op, args) = value else { continue };
        let args = &args[..op.arguments()];
        let mut from = [0; 3];
        for (i, &arg) in args.iter().enumerate() {
            from[i] = home[arg];
            if last[arg] == id && !args[..i].contains(&arg) {
                free.push(home[arg]);
            }
        }
        home[id] = free.pop()?;
        chain.steps.push(ChainStep { op: *op, args: from, out: home[id] });
    }
    chain.stores = results.iter().map(|&(_, value)| home[value]).collect();
    Some(chain)
}

/// A chain at its place in a program.
#[derive(Clone, Debug)]
pub(crate) struct ChainInstruction<T: Real> {
    pub chain: Chain<T>,
    pub len: usize,
    pub args: Vec<Operand>,
    pub outs: Vec<Operand>,
}

/// What a chain reads and writes during a run.
pub(crate) struct Memory<'a, 'b, T: Real> {
    pub instruction: &'a ChainInstruction<T>,
    pub inputs: &'a [&'a [T]],
    pub constants: &'a [T],
    pub arena: &'a mut [T],
    pub direct: &'a mut [&'b mut [T]],
}

impl<T: Real> ChainMemory<T> for Memory<'_, '_, T> {
    #[inline(always)]
    fn operand(&self, i: usize) -> &[T] {
        let Operand { place, offset, len, .. } = self.instruction.args[i];
        let from = match place {
            Place::Input(i) => self.inputs[i],
            Place::Constant => self.constants,
            Place::Arena => &*self.arena,
            Place::Output(i) => &*self.direct[i],
        };
        &from[offset..offset + len]
    }

    #[inline(always)]
    fn result(&mut self, i: usize) -> &mut [T] {
        let Operand { place, offset, len, .. } = self.instruction.outs[i];
        match place {
            Place::Output(i) => &mut self.direct[i][offset..offset + len],
            _ => &mut self.arena[offset..offset + len],
        }
    }
}

/// The name of a step in a printed program.
pub(crate) fn name(op: ChainOp) -> String {
    match op {
        ChainOp::Unary(u) => Unary::name(u).to_owned(),
        ChainOp::Binary(b) => Binary::name(b).to_owned(),
        ChainOp::MulAdd => "mul_add".to_owned(),
        ChainOp::AddMul => "add_mul".to_owned(),
        ChainOp::Powi(n) => format!("powi[{n}]"),
        ChainOp::Select => "select".to_owned(),
    }
}
