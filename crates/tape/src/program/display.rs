//! A program as text, one operation a line.

use std::fmt;

use costate_ops::ChainStep;

use crate::Real;
use crate::op::Op;

use super::chain::{self, ChainInstruction};
use super::scalar::{Code, Step};
use super::{Instruction, Operand, Place, Program};

/// Inputs are `i0, i1, …`, constants `c`, values in the arena `@start`, and those that are written
/// where an output is wanted `o0, o1, …`.
impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Input(i) if self.offset == 0 => write!(f, "i{i}{}", self.shape),
            Place::Input(i) => write!(f, "i{i}+{}{}", self.offset, self.shape),
            Place::Constant => write!(f, "c{}{}", self.offset, self.shape),
            Place::Arena => write!(f, "@{}{}", self.offset, self.shape),
            Place::Output(i) if self.offset == 0 => write!(f, "o{i}{}", self.shape),
            Place::Output(i) => write!(f, "o{i}+{}{}", self.offset, self.shape),
        }
    }
}

/// In a chain, `r0, r1, …` are registers.
impl<T: Real> fmt::Display for ChainInstruction<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  chain {{")?;
        for (register, x) in &self.chain.constants {
            writeln!(f, "    r{register} = {x}")?;
        }
        for (register, arg) in self.chain.loads.iter().zip(&self.args) {
            writeln!(f, "    r{register} = {arg}")?;
        }
        for ChainStep { op, args, out } in &self.chain.steps {
            write!(f, "    r{out} = {}", chain::name(*op))?;
            for (n, arg) in args[..op.arguments()].iter().enumerate() {
                write!(f, "{}r{arg}", if n > 0 { ", " } else { " " })?;
            }
            writeln!(f)?;
        }
        for (register, out) in self.chain.stores.iter().zip(&self.outs) {
            writeln!(f, "    {out} = r{register}")?;
        }
        writeln!(f, "  }}")
    }
}

impl<T: Real> fmt::Display for Program<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = &*self.inner;
        write!(f, "program {}(", T::NAME)?;
        for (i, shape) in program.input_shapes.iter().enumerate() {
            write!(f, "{}i{i}{shape}", if i > 0 { ", " } else { "" })?;
        }
        writeln!(f, ")")?;
        if let Some(scalars) = &program.scalars {
            for (register, x) in &scalars.constants {
                writeln!(f, "  r{register} = {x}")?;
            }
            for (i, &(first, len)) in scalars.inputs.iter().enumerate() {
                match len {
                    0 => {}
                    1 => writeln!(f, "  r{first} = i{i}")?,
                    _ => writeln!(f, "  r{first}..r{} = i{i}", usize::from(first) + len - 1)?,
                }
            }
            for Step { op: code, args, out } in &scalars.steps {
                let name = match code {
                    Code::Copy => "copy".to_owned(),
                    Code::Add => "add".to_owned(),
                    Code::Sub => "sub".to_owned(),
                    Code::Mul => "mul".to_owned(),
                    Code::Unary(u) => u.name().to_owned(),
                    Code::Binary(b) => b.name().to_owned(),
                    Code::Powi(n) => format!("powi[{n}]"),
                    Code::Select => "select".to_owned(),
                    Code::MulAdd => "mul_add".to_owned(),
                    Code::MulSub => "mul_sub".to_owned(),
                    Code::SubMul => "sub_mul".to_owned(),
                    Code::MulMul => "mul_mul".to_owned(),
                    Code::AddAdd => "add_add".to_owned(),
                };
                write!(f, "  r{out} = {name}")?;
                for (n, arg) in args[..code.arguments()].iter().enumerate() {
                    write!(f, "{}r{arg}", if n > 0 { ", " } else { " " })?;
                }
                writeln!(f)?;
            }
        }
        if let Some(rows) = &program.rows {
            let (count, per_block) = rows.extents();
            let (block, tail) = rows.parts();
            write!(f, "  in blocks of {per_block} of {count} rows: {block}")?;
            if let Some(tail) = tail {
                write!(f, "  then, with the sums of all blocks: {tail}")?;
            }
        }
        for i in &program.instructions {
            let i = match i {
                Instruction::Single(single) => single,
                Instruction::Chain(chain) => {
                    write!(f, "{chain}")?;
                    continue;
                }
            };
            write!(f, "  {} = ", i.out)?;
            if let Some(after) = i.after {
                write!(f, "{} of ", after.name())?;
            }
            write!(f, "{}", i.op.name())?;
            match &i.op {
                Op::Affine { mul, add } => write!(f, "[{mul}, {add}]")?,
                Op::Powi(n) => write!(f, "[{n}]")?,
                Op::LinComb(c) => write!(f, "{c:?}")?,
                Op::MatMul { ta, tb } | Op::MatMulBatch { ta, tb } => {
                    let mark = |t: bool| if t { "t" } else { "n" };
                    write!(f, "[{}{}]", mark(*ta), mark(*tb))?;
                }
                Op::Permute(axes) => write!(f, "{axes:?}")?,
                Op::Concat { axis } | Op::MaxAxis { axis } => write!(f, "[{axis}]")?,
                _ => {}
            }
            for (n, arg) in i.args.iter().enumerate() {
                write!(f, "{}{arg}", if n > 0 { ", " } else { " " })?;
            }
            writeln!(f)?;
        }
        write!(f, "  return")?;
        for (i, out) in program.outputs.iter().enumerate() {
            write!(f, "{}{out}", if i > 0 { ", " } else { " " })?;
        }
        writeln!(f)
    }
}
