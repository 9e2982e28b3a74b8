//! Replaying a program.

use std::any::Any;

use costate_ops::{self as ops, After, Binary};
use smallvec::SmallVec;

use crate::Real;
use crate::call::Evaluation;
use crate::error::Error;
use crate::op::{Arg, Op, Result};

use super::chain::Memory;
use super::{Instruction, Operand, Place, Program, Single, Workspace};

/// What an instruction reads from, while its own destination is borrowed.
struct Sources<'a, 'b, T> {
    inputs: &'a [&'a [T]],
    constants: &'a [T],
    direct: &'a [&'b mut [T]],
    /// The arena before and after the destination, and where the latter begins.
    before: &'a [T],
    after: &'a [T],
    after_start: usize,
}

impl<'a, T: Real> Sources<'a, '_, T> {
    #[inline(always)]
    fn get(&self, operand: &Operand) -> &'a [T] {
        let Operand { place, offset, len, .. } = *operand;
        match place {
            Place::Input(i) => &self.inputs[i][offset..offset + len],
            Place::Constant => &self.constants[offset..offset + len],
            Place::Arena if offset < self.after_start => &self.before[offset..offset + len],
            Place::Arena => &self.after[offset - self.after_start..][..len],
            Place::Output(i) => &self.direct[i][offset..offset + len],
        }
    }

    fn arg<'s>(&self, operand: &'s Operand) -> Arg<'s, T>
    where
        'a: 's,
    {
        Arg { data: self.get(operand), shape: &operand.shape }
    }
}

/// The results of a run, read where they lie.
#[derive(Debug)]
pub struct Outputs<'a, T: Real> {
    program: &'a Program<T>,
    inputs: &'a [&'a [T]],
    arena: &'a [T],
}

impl<'a, T: Real> Outputs<'a, T> {
    /// Those of a program on a few numbers, in its registers.
    pub(super) fn of_numbers(program: &'a Program<T>, arena: &'a [T]) -> Outputs<'a, T> {
        Outputs { program, inputs: &[], arena }
    }

    /// The entries of output `i`, row-major.
    #[inline]
    pub fn get(&self, i: usize) -> &'a [T] {
        let inner = &self.program.inner;
        let Operand { place, offset, len, .. } = inner.outputs[i];
        let from = match place {
            Place::Input(i) => self.inputs[i],
            Place::Constant => &inner.constants,
            Place::Arena => self.arena,
            Place::Output(i) => &self.arena[inner.direct[i].start..],
        };
        &from[offset..offset + len]
    }

    /// The entries of output `i` and of all after it, one after another, if they lie so. Those of a
    /// [small](Program::small) program do.
    #[inline]
    pub fn from(&self, i: usize) -> Option<&'a [T]> {
        let outputs = &self.program.inner.outputs[i..];
        match outputs {
            _ if self.program.is_small() => {
                let len = outputs.iter().map(|o| o.len).sum::<usize>();
                let offset = outputs.first().map_or(0, |o| o.offset);
                Some(&self.arena[offset..offset + len])
            }
            _ => None,
        }
    }
}

impl<T: Real> Program<T> {
    /// Runs the program and copies each output out.
    ///
    /// # Errors
    /// Those of calls inside it.
    ///
    /// # Panics
    /// If the number or the lengths of inputs or outputs are not those of the program, or the
    /// workspace was made for another one.
    pub fn run(
        &self,
        workspace: &mut Workspace<T>,
        inputs: &[&[T]],
        outputs: &mut [&mut [T]],
    ) -> Result<()> {
        let expected = self.inner.outputs.len();
        assert_eq!(outputs.len(), expected, "Program::run: one slice for each output");
        for (i, (out, expected)) in outputs.iter().zip(&self.inner.outputs).enumerate() {
            let (found, expected) = (out.len(), expected.shape.numel());
            assert_eq!(found, expected, "Program::run: entries of output {i}");
        }
        let results = T::evaluate(self, workspace, inputs, Some(outputs))?;
        let inner = &self.inner;
        let written =
            |i| inner.rows.as_ref().is_some_and(|rows| rows.writes(i)) || inner.is_direct(i);
        for i in (0..outputs.len()).filter(|i| !written(*i)) {
            let Operand { place, offset, len, .. } = inner.outputs[i];
            let Place::Output(from) = place else {
                ops::copy(results.get(i), outputs[i]);
                continue;
            };
            // The same value as another output, or a part of it.
            let from = inner.direct[from].output;
            let (before, after) = outputs.split_at_mut(i.max(from));
            let (from, to) =
                if from < i { (&before[from], &mut after[0]) } else { (&after[0], &mut before[i]) };
            ops::copy(&from[offset..offset + len], to);
        }
        Ok(())
    }

    /// Runs the program and leaves the outputs where they are.
    ///
    /// # Errors
    /// Those of calls inside it.
    ///
    /// # Panics
    /// If the number or the lengths of the inputs are not those of the program, or the workspace
    /// was made for another one.
    pub fn evaluate<'a>(
        &'a self,
        workspace: &'a mut Workspace<T>,
        inputs: &'a [&'a [T]],
    ) -> Result<Outputs<'a, T>> {
        T::evaluate(self, workspace, inputs, None)
    }

    /// [`evaluate`](Program::evaluate), which writes to `outputs` what can be written
    /// [there](Direct): of a program that is split into blocks of rows, what
    /// [it says](super::rows::Rows::writes).
    pub(crate) fn evaluate_of<'a>(
        &'a self,
        workspace: &'a mut Workspace<T>,
        inputs: &'a [&'a [T]],
        outputs: Option<&mut [&mut [T]]>,
    ) -> Result<Outputs<'a, T>> {
        let inner = &*self.inner;
        assert_eq!(inner.id, workspace.program, "the workspace was made for another program");
        assert_eq!(inputs.len(), inner.input_shapes.len(), "one slice for each input");
        for (i, (input, &expected)) in inputs.iter().zip(&inner.input_lens).enumerate() {
            if input.len() != expected {
                let shape = &inner.input_shapes[i];
                panic!("input {i} has shape {shape}; {} entries were given", input.len());
            }
        }
        let Workspace { arena, registers, states, blocks, .. } = workspace;
        if let Some((rows, blocks)) = inner.rows.as_ref().zip(blocks.as_mut()) {
            rows.run(blocks, inputs, arena, outputs)?;
            return Ok(Outputs { program: self, inputs, arena });
        }
        if let Some(scalars) = &inner.scalars {
            for (i, input) in inputs.iter().enumerate() {
                arena[scalars.input(i)].copy_from_slice(input);
            }
            scalars.run(arena);
            return Ok(Outputs { program: self, inputs, arena });
        }
        let end = inner.direct.first().map_or(inner.arena, |direct| direct.start);
        let (values, mut rest) = arena.split_at_mut(end);
        let mut places: SmallVec<[&mut [T]; 16]> = SmallVec::new();
        match outputs {
            Some(outputs) => {
                let direct = outputs.iter_mut().enumerate().filter(|(i, _)| inner.is_direct(*i));
                places.extend(direct.map(|(_, out)| &mut **out));
            }
            None => {
                let mut at = end;
                for direct in &inner.direct {
                    let (place, after) = rest[direct.start - at..].split_at_mut(direct.len);
                    places.push(place);
                    (rest, at) = (after, direct.start + direct.len);
                }
            }
        }
        let direct = &mut places[..];
        let mut run = || {
            for instruction in &inner.instructions {
                let instruction = match instruction {
                    Instruction::Single(single) => single,
                    Instruction::Chain(chain) => {
                        let (constants, arena) = (&inner.constants, &mut *values);
                        let direct = &mut *direct;
                        let mut memory =
                            Memory { instruction: chain, inputs, constants, arena, direct };
                        let registers = registers.as_mut().expect("made for a program with chains");
                        ops::chain(&chain.chain, chain.len, registers, &mut memory);
                        continue;
                    }
                };
                let constants = &inner.constants;
                let Operand { place, offset, len, .. } = instruction.out;
                if let Place::Output(i) = place {
                    let out = std::mem::take(&mut direct[i]);
                    let (before, after_start) = (&*values, end);
                    let sources =
                        Sources { inputs, constants, direct, before, after: &[], after_start };
                    step(instruction, &sources, out, states)?;
                    direct[i] = out;
                    continue;
                }
                let (before, rest) = values.split_at_mut(offset);
                let (out, after) = rest.split_at_mut(len);
                let after_start = offset + len;
                let sources = Sources { inputs, constants, direct, before, after, after_start };
                step(instruction, &sources, out, states)?;
            }
            Ok(())
        };
        if inner.shared {
            ops::awake(run)?
        } else {
            run()?
        }
        drop(places);
        Ok(Outputs { program: self, inputs, arena })
    }
}

/// One operation. What it computes is what [`eval`](crate::op::eval) does; written over an argument, it is the
/// in-place form of the same kernel.
#[inline]
fn step<T: Real>(
    i: &Single<T>,
    from: &Sources<'_, '_, T>,
    out: &mut [T],
    states: &mut [Box<dyn Any + Send>],
) -> Result<()> {
    let arg = |n: usize| from.get(&i.args[n]);
    if let Some(product) = &i.product {
        let after = match i.after {
            None => After::Nothing,
            Some(Binary::Add) => After::Bias(arg(2)),
            Some(Binary::TanhGrad) => After::TanhGrad(arg(2)),
            Some(Binary::SigmoidGrad) => After::SigmoidGrad(arg(2)),
            Some(_) => After::Mul(arg(2)),
        };
        product.run(arg(0), arg(1), after, out);
        return Ok(());
    }
    match (&i.op, i.in_place) {
        (Op::Unary(f), None) => ops::unary(*f, arg(0), out),
        (Op::Unary(f), Some(_)) => ops::unary_in_place(*f, out),
        (Op::Binary(f), None) => ops::binary(*f, arg(0), arg(1), out),
        (Op::Binary(f), Some(0)) => ops::binary_in_place_left(*f, out, arg(1)),
        (Op::Binary(f), Some(_)) => ops::binary_in_place_right(*f, arg(0), out),
        (Op::Affine { mul, add }, None) => ops::affine(*mul, *add, arg(0), out),
        (Op::Affine { mul, add }, Some(_)) => ops::affine_in_place(*mul, *add, out),
        (Op::Powi(n), None) => ops::powi(*n, arg(0), out),
        (Op::Powi(n), Some(_)) => ops::powi_in_place(*n, out),
        (Op::SumTo, _) => ops::sum_to(arg(0), &i.args[0].shape, out, &i.out.shape),
        (Op::Call(call), _) => {
            let args = arguments(i, from);
            let state = i.state.expect("every call has a state");
            let (earlier, later) = states.split_at_mut(state);
            let producer = i.producer.map(|p| &*earlier[p] as &dyn Any);
            let mut e = Evaluation { inputs: &args, output: out, state: &mut *later[0], producer };
            return call.eval(&mut e).map_err(|e| Error::call(call.name(), Some(i.loc), e));
        }
        (op, _) => {
            let args = arguments(i, from);
            T::evaluate_op(op, &args, out, &i.out.shape);
        }
    }
    Ok(())
}

/// All that an instruction reads.
fn arguments<'s, T: Real>(
    i: &'s Single<T>,
    from: &'s Sources<'_, '_, T>,
) -> SmallVec<[Arg<'s, T>; 16]> {
    let mut args = SmallVec::new();
    for arg in &i.args {
        args.push(from.arg(arg));
    }
    args
}
