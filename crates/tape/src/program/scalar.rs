//! Tiny programs, entry by entry.
//!
//! The field of a small system works on two or three numbers at a time. There, taking up an array
//! operation costs more than its arithmetic, and most operations only move numbers about: slices,
//! pads, stacks, broadcasts. So a function whose arrays are small is unfolded into operations on
//! single numbers in 256 registers. Moving becomes naming, and adding a zero that a pad made
//! becomes nothing. Results are those of the arrays, bit for bit, but for the sign of zeros.

use std::collections::HashMap;
use std::ops::Range;

use costate_ops::{self as ops, Binary, LaneRegisters, Unary};

use crate::Real;
pub(crate) use costate_ops::{SCALAR_REGISTERS as REGISTERS, ScalarOp as Code, ScalarStep as Step};

use crate::function::Function;
use crate::op::{Arg, Op, eval};
use crate::shape::Shape;

use super::{Operand, Place};

/// Arrays with more entries are not unfolded.
const LARGEST: usize = 16;

/// What an operation costs, in additions.
fn cost(code: Code) -> usize {
    use Unary::*;
    match code {
        Code::Unary(Neg | Abs | Sign | Square | Sqrt | Recip | Relu) => 1,
        Code::Unary(_) | Code::Binary(Binary::Pow) => 6,
        Code::Powi(_) => 2,
        _ => 1,
    }
}

/// An operation with its argument number `i` replaced by the operation that makes it, if there is a
/// code for both in one.
fn fused(outer: Code, i: usize, inner: Code) -> Option<Code> {
    Some(match (outer, i, inner) {
        // Sums and products commute, to the bit.
        (Code::Add, _, Code::Mul) => Code::MulAdd,
        (Code::Sub, 0, Code::Mul) => Code::MulSub,
        (Code::Sub, 1, Code::Mul) => Code::SubMul,
        (Code::Mul, _, Code::Mul) => Code::MulMul,
        (Code::Add, _, Code::Add) => Code::AddAdd,
        _ => return None,
    })
}

/// An unfolded program.
#[derive(Clone, Debug)]
pub(crate) struct Scalars<T: Real> {
    pub constants: Vec<(u8, T)>,
    /// The registers of each input, in a row: the first one, and how many.
    pub inputs: Vec<(u8, usize)>,
    pub steps: Vec<Step>,
    pub outputs: Vec<Operand>,
}

/// The number of a value; 0 is the zero that a pad makes.
pub(super) type Id = usize;

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<T> {
    Constant(T),
    Input(usize, usize),
    Step(Code, [Id; 3]),
}

#[derive(Debug)]
pub(super) struct Builder<T: Real> {
    values: Vec<Value<T>>,
    constants: HashMap<u64, Id>,
    steps: HashMap<(Code, [Id; 3]), Id>,
}

impl<T: Real> Builder<T> {
    pub fn new() -> Self {
        let values = vec![Value::Constant(T::zero())];
        Builder { values, constants: HashMap::new(), steps: HashMap::new() }
    }

    pub fn push(&mut self, value: Value<T>) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }

    pub fn constant(&mut self, x: T) -> Id {
        let bits = x.as_f64().to_bits();
        match self.constants.get(&bits) {
            Some(&id) => id,
            None => {
                let id = self.push(Value::Constant(x));
                self.constants.insert(bits, id);
                id
            }
        }
    }

    pub fn step(&mut self, code: Code, args: [Id; 3]) -> Id {
        match self.steps.get(&(code, args)) {
            Some(&id) => id,
            None => {
                let id = self.push(Value::Step(code, args));
                self.steps.insert((code, args), id);
                id
            }
        }
    }

    pub fn add(&mut self, a: Id, b: Id) -> Id {
        match (a, b) {
            (0, x) | (x, 0) => x,
            (a, b) => self.step(Code::Add, [a, b, 0]),
        }
    }

    fn scale(&mut self, c: T, x: Id) -> Id {
        if c == T::one() || x == 0 {
            return x;
        }
        let c = self.constant(c);
        self.step(Code::Mul, [c, x, 0])
    }

    pub fn binary(&mut self, f: Binary, a: Id, b: Id) -> Id {
        match f {
            Binary::Add => self.add(a, b),
            Binary::Sub if b == 0 => a,
            Binary::Sub => self.step(Code::Sub, [a, b, 0]),
            Binary::Mul => self.step(Code::Mul, [a, b, 0]),
            _ => self.step(Code::Binary(f), [a, b, 0]),
        }
    }

    /// The program of these outputs, or `None` if it needs too many registers.
    pub fn finish(
        mut self,
        inputs: &[usize],
        outputs: &[&Vec<Id>],
        shapes: &[Shape],
    ) -> Option<Scalars<T>> {
        fuse(&mut self.values, outputs);
        allocate(&self.values, inputs, outputs, shapes)
    }

    /// The sum in the order of [`ops::sum`]: sixteen lanes, folded in halves.
    fn sum(&mut self, x: &[Id]) -> Id {
        let mut lanes = [0; 16];
        lanes[..x.len()].copy_from_slice(x);
        let mut n = 16;
        while n > 1 {
            n /= 2;
            for i in 0..n {
                lanes[i] = self.add(lanes[i], lanes[i + n]);
            }
        }
        lanes[0]
    }
}

/// Applies an operation that only moves entries to their numbers.
fn moved<T: Real>(f: &Function<T>, ids: &[Vec<Id>], n: usize) -> Vec<Id> {
    let node = &f.nodes[n];
    let wide: Vec<Vec<f64>> =
        node.args.iter().map(|&a| ids[a as usize].iter().map(|&id| id as f64).collect()).collect();
    let args: Vec<Arg<'_, f64>> = node
        .args
        .iter()
        .zip(&wide)
        .map(|(&a, data)| Arg { data, shape: &f.nodes[a as usize].shape })
        .collect();
    let op = match &node.op {
        Op::Expand => Op::Expand,
        Op::Permute(axes) => Op::Permute(axes.clone()),
        Op::Slice(ranges) => Op::Slice(ranges.clone()),
        // Adds to zeros, and the number of zero is 0.
        Op::Pad(ranges) => Op::Pad(ranges.clone()),
        Op::Concat { axis } => Op::Concat { axis: *axis },
        Op::Gather { axis, index } => Op::Gather { axis: *axis, index: index.clone() },
        op => unreachable!("{} computes", op.name()),
    };
    let mut out = vec![0.0; node.shape.numel()];
    eval(&op, &args, &mut out, &node.shape);
    out.into_iter().map(|id| id as Id).collect()
}

/// Unfolds a simplified function, if its arrays are small and it gets faster by it.
pub(crate) fn unfold<T: Real>(f: &Function<T>) -> Option<Scalars<T>> {
    let mut b = Builder::new();
    let mut ids: Vec<Vec<Id>> = Vec::with_capacity(f.nodes.len());
    let mut inputs = 0;
    let mut arrays = 0;
    let small = |n: usize| f.nodes[n].shape.numel() <= LARGEST;
    for (n, node) in f.nodes.iter().enumerate() {
        if !small(n) {
            return None;
        }
        let len = node.shape.numel();
        let arg = |i: usize| &ids[node.args[i] as usize];
        let new: Vec<Id> = match &node.op {
            Op::Input => {
                inputs += 1;
                (0..len).map(|i| b.push(Value::Input(inputs - 1, i))).collect()
            }
            Op::Const => node.constant.as_ref()?.iter().map(|&x| b.constant(x)).collect(),
            Op::Reshape | Op::Detach => arg(0).clone(),
            Op::Expand
            | Op::Permute(_)
            | Op::Slice(_)
            | Op::Pad(_)
            | Op::Concat { .. }
            | Op::Gather { .. } => moved(f, &ids, n),
            Op::Unary(u) => arg(0).iter().map(|&x| b.step(Code::Unary(*u), [x, 0, 0])).collect(),
            Op::Powi(e) => arg(0).iter().map(|&x| b.step(Code::Powi(*e), [x, 0, 0])).collect(),
            Op::Binary(g) => arg(0).iter().zip(arg(1)).map(|(&x, &y)| b.binary(*g, x, y)).collect(),
            Op::Affine { mul, add } => arg(0)
                .iter()
                .map(|&x| {
                    let scaled = b.scale(*mul, x);
                    let add = if *add == T::zero() { 0 } else { b.constant(*add) };
                    b.add(scaled, add)
                })
                .collect(),
            Op::LinComb(c) => (0..len)
                .map(|i| {
                    c.iter().enumerate().fold(0, |sum, (j, &c)| {
                        let term = b.scale(c, ids[node.args[j] as usize][i]);
                        b.add(sum, term)
                    })
                })
                .collect(),
            Op::Select => {
                (0..len).map(|i| b.step(Code::Select, [arg(0)[i], arg(1)[i], arg(2)[i]])).collect()
            }
            Op::SumTo => {
                let (x, from) = (arg(0), &f.nodes[node.args[0] as usize].shape);
                if len == 1 {
                    vec![b.sum(x)]
                } else if len > 0 && from.ends_with(&node.shape) {
                    // Rows are added from first to last.
                    let rows = x.chunks(len);
                    rows.fold(vec![0; len], |sum, row| {
                        sum.iter().zip(row).map(|(&s, &x)| b.add(s, x)).collect()
                    })
                } else {
                    return None;
                }
            }
            Op::MatMul { .. }
            | Op::MatMulBatch { .. }
            | Op::Solve
            | Op::SolveTriangular { .. }
            | Op::LogDet
            | Op::CumSum { .. }
            | Op::MaxAxis { .. }
            | Op::ScatterAdd { .. }
            | Op::Call(_)
            | Op::Project { .. } => return None,
        };
        arrays += usize::from(!matches!(node.op, Op::Input | Op::Const | Op::Reshape | Op::Detach));
        ids.push(new);
    }
    let outputs: Vec<&Vec<Id>> = f.outputs.iter().map(|&o| &ids[o as usize]).collect();
    let cost = |value: &Value<T>| match value {
        Value::Step(code, _) => cost(*code),
        _ => 0,
    };
    let used = last_readers(&b.values, &outputs);
    let cost: usize =
        b.values.iter().zip(&used).filter(|(_, last)| last.is_some()).map(|(v, _)| cost(v)).sum();
    let shapes: Vec<Shape> = f.outputs.iter().map(|&o| f.nodes[o as usize].shape.clone()).collect();
    let lens: Vec<usize> = f.input_shapes().iter().map(Shape::numel).collect();
    let scalars = b.finish(&lens, &outputs, &shapes)?;
    // Taking up an array operation costs about as much as five operations on numbers.
    (cost <= 5 * arrays).then_some(scalars)
}

/// Does two operations in one where nothing else needs the first one's result: taking up an
/// operation costs as much as the operation.
fn fuse<T: Real>(values: &mut [Value<T>], outputs: &[&Vec<Id>]) {
    let mut readers = vec![0; values.len()];
    for &id in outputs.iter().copied().flatten() {
        readers[id] += 1;
    }
    let used = last_readers(values, outputs);
    for (value, _) in values.iter().zip(&used).filter(|(_, last)| last.is_some()) {
        if let Value::Step(code, args) = value {
            args[..code.arguments()].iter().for_each(|&arg| readers[arg] += 1);
        }
    }
    for id in 0..values.len() {
        let Value::Step(code, args) = values[id] else { continue };
        let fused = (0..code.arguments()).find_map(|i| match values[args[i]] {
            Value::Step(inner, [a, b, _]) if readers[args[i]] == 1 => {
                Some((fused(code, i, inner)?, [a, b, args[1 - i]]))
            }
            _ => None,
        });
        if let Some((code, args)) = fused {
            values[id] = Value::Step(code, args);
        }
    }
}

/// The last reader of each value, if it has any; `usize::MAX` is the outputs. Values are numbered in
/// the order in which they arise.
fn last_readers<T: Real>(values: &[Value<T>], outputs: &[&Vec<Id>]) -> Vec<Option<usize>> {
    let mut last: Vec<Option<usize>> = vec![None; values.len()];
    for &id in outputs.iter().copied().flatten() {
        last[id] = Some(usize::MAX);
    }
    for (id, value) in values.iter().enumerate().rev() {
        if let (Value::Step(code, args), Some(_)) = (value, last[id]) {
            for &arg in &args[..code.arguments()] {
                last[arg] = last[arg].max(Some(id));
            }
        }
    }
    last
}

/// Gives each value that is needed a register, outputs and inputs in rows; `None` if there are too
/// few.
fn allocate<T: Real>(
    values: &[Value<T>],
    inputs: &[usize],
    outputs: &[&Vec<Id>],
    shapes: &[Shape],
) -> Option<Scalars<T>> {
    let last = last_readers(values, outputs);
    let mut result = Scalars { constants: vec![], inputs: vec![], steps: vec![], outputs: vec![] };
    let mut home: Vec<Option<u8>> = vec![None; values.len()];
    let mut free: Vec<u8> = (0..=u8::MAX).rev().collect();
    // Outputs get the first registers, so that each lies in a row.
    let mut copies = Vec::new();
    let mut place = 0;
    for (ids, shape) in outputs.iter().zip(shapes) {
        let shape = shape.clone();
        result.outputs.push(Operand { place: Place::Arena, offset: place, len: ids.len(), shape });
        for &id in *ids {
            let register = u8::try_from(place).ok()?;
            match values[id] {
                Value::Step(..) if home[id].is_none() => home[id] = Some(register),
                _ => copies.push((id, register)),
            }
            place += 1;
        }
    }
    // Constants and inputs are there before the first step, and keep their registers.
    for &len in inputs {
        result.inputs.push((u8::try_from(place).ok()?, len));
        place += len;
    }
    if place > REGISTERS {
        return None;
    }
    free.truncate(REGISTERS - place);
    for (id, value) in values.iter().enumerate().filter(|(id, _)| last[*id].is_some()) {
        match *value {
            Value::Constant(x) => {
                home[id] = Some(free.pop()?);
                result.constants.push((home[id]?, x));
            }
            Value::Input(input, entry) => {
                let (first, _) = result.inputs[input];
                home[id] = Some(first + entry as u8);
            }
            Value::Step(..) => {}
        }
    }
    for (id, value) in values.iter().enumerate().filter(|(id, _)| last[*id].is_some()) {
        let Value::Step(code, args) = value else { continue };
        let args = &args[..code.arguments()];
        let mut from = [0; 3];
        for (from, &arg) in from.iter_mut().zip(args) {
            *from = home[arg].expect("values arise before they are read");
        }
        // Registers of what dies here are free for the result.
        for (i, &arg) in args.iter().enumerate() {
            let temporary = matches!(values[arg], Value::Step(..)) && last[arg] == Some(id);
            if temporary && usize::from(from[i]) >= place && !args[..i].contains(&arg) {
                free.push(from[i]);
            }
        }
        let out = match home[id] {
            Some(register) => register,
            None => free.pop()?,
        };
        home[id] = Some(out);
        result.steps.push(Step { op: *code, args: from, out });
    }
    for (id, out) in copies {
        let from = home[id].expect("outputs are needed");
        result.steps.push(Step { op: Code::Copy, args: [from, 0, 0], out });
    }
    Some(result)
}

impl<T: Real> Scalars<T> {
    /// Writes the constants, once for a register file.
    pub fn prepare(&self, registers: &mut [T]) {
        for &(register, x) in &self.constants {
            registers[usize::from(register)] = x;
        }
    }

    /// [`prepare`](Scalars::prepare) of registers with several lanes.
    pub fn prepare_lanes(&self, registers: &mut LaneRegisters<T>) {
        for &(register, x) in &self.constants {
            registers.all_mut()[usize::from(register)] = [x; ops::LANES];
        }
    }

    /// Where the entries of an input are.
    pub fn input(&self, i: usize) -> Range<usize> {
        let (first, len) = self.inputs[i];
        usize::from(first)..usize::from(first) + len
    }

    /// Runs the program on the inputs that are in their registers.
    pub fn run(&self, registers: &mut [T]) {
        ops::run_scalars(&self.steps, registers.try_into().expect("a register file"));
    }
}
