//! Small programs put together number by number.

use std::sync::Arc;

use costate_ops::{Binary, ScalarOp, Unary};

use super::scalar::{Builder, Id, REGISTERS, Scalars, Value};
use super::{Inner, Program};
use crate::Real;
use crate::shape::Shape;

/// A program on few numbers in the making, out of others and of sums and products.
///
/// Where a function is traced to find what it does, here everything is known: such a program takes
/// microseconds to make. It is [small](Program::small), with the bits of its operations one by one.
///
/// ```
/// use costate_tape::{Function, Numbers, Program, Shape, Workspace};
///
/// let f = Function::trace_shapes(&[Shape::scalar()], |_, x| Ok(vec![x[0].square()]))?;
/// let square = Program::<f64>::compile(&f)?;
/// // x ↦ x⁴ + 2
/// let mut numbers = Numbers::new();
/// let x = numbers.input(1);
/// let squared = numbers.call(&square, &[&x]).expect("a small program").remove(0);
/// let fourth = numbers.call(&square, &[&squared]).expect("a small program").remove(0);
/// let two = numbers.constant(2.0);
/// let sum = numbers.add(fourth[0], two);
/// let program = numbers.compile(&[vec![sum]]).expect("few numbers");
/// let mut workspace = Workspace::new(&program);
/// assert_eq!(program.evaluate(&mut workspace, &[&[3.0]])?.get(0), [83.0]);
/// # Ok::<(), costate_tape::Error>(())
/// ```
#[derive(Debug)]
pub struct Numbers<T: Real> {
    pub(super) builder: Builder<T>,
    inputs: Vec<usize>,
}

/// One of the numbers of a program in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(pub(super) Id);

impl<T: Real> Default for Numbers<T> {
    fn default() -> Self {
        Numbers::new()
    }
}

impl<T: Real> Numbers<T> {
    /// A program without inputs.
    pub fn new() -> Numbers<T> {
        Numbers { builder: Builder::new(), inputs: Vec::new() }
    }

    /// The entries of the next input, a vector.
    pub fn input(&mut self, len: usize) -> Vec<Number> {
        self.inputs.push(len);
        let input = self.inputs.len() - 1;
        (0..len).map(|i| Number(self.builder.push(Value::Input(input, i)))).collect()
    }

    /// Zero, which costs nothing to add.
    pub fn zero(&self) -> Number {
        Number(0)
    }

    /// A number that is known.
    pub fn constant(&mut self, x: T) -> Number {
        Number(self.builder.constant(x))
    }

    /// `a + b`.
    pub fn add(&mut self, a: Number, b: Number) -> Number {
        Number(self.builder.add(a.0, b.0))
    }

    /// `a b`.
    pub fn mul(&mut self, a: Number, b: Number) -> Number {
        Number(self.builder.step(ScalarOp::Mul, [a.0, b.0, 0]))
    }

    /// `f(a)`.
    pub fn unary(&mut self, f: Unary, a: Number) -> Number {
        Number(self.builder.step(ScalarOp::Unary(f), [a.0, 0, 0]))
    }

    /// `f(a, b)`.
    pub fn binary(&mut self, f: Binary, a: Number, b: Number) -> Number {
        Number(self.builder.binary(f, a.0, b.0))
    }

    /// The outputs of another program; `None` if it is not small.
    ///
    /// # Panics
    /// If the inputs do not fit it.
    pub fn call(&mut self, program: &Program<T>, inputs: &[&[Number]]) -> Option<Vec<Vec<Number>>> {
        let scalars = program.inner.scalars.as_ref()?;
        let expected = &program.inner.input_lens;
        let fit = expected.len() == inputs.len()
            && expected.iter().zip(inputs).all(|(&len, input)| len == input.len());
        assert!(fit, "inputs of {expected:?} entries are needed");
        let mut registers = [0; REGISTERS];
        for &(register, x) in &scalars.constants {
            registers[usize::from(register)] = self.builder.constant(x);
        }
        for (i, input) in inputs.iter().enumerate() {
            for (register, number) in registers[scalars.input(i)].iter_mut().zip(*input) {
                *register = number.0;
            }
        }
        for step in &scalars.steps {
            let args = step.args.map(|register| registers[usize::from(register)]);
            registers[usize::from(step.out)] = self.step(step.op, args);
        }
        let output = |o: &super::Operand| {
            registers[o.offset..o.offset + o.len].iter().map(|&id| Number(id)).collect()
        };
        Some(program.inner.outputs.iter().map(output).collect())
    }

    pub(super) fn step(&mut self, op: ScalarOp, mut args: [Id; 3]) -> Id {
        // Arguments that are not read would make equal steps differ.
        args[op.arguments()..].fill(0);
        match op {
            ScalarOp::Copy => args[0],
            ScalarOp::Add => self.builder.add(args[0], args[1]),
            _ => self.builder.step(op, args),
        }
    }

    /// The program with these outputs, each a vector; `None` if it has too many numbers.
    pub fn compile(self, outputs: &[Vec<Number>]) -> Option<Program<T>> {
        let ids: Vec<Vec<Id>> =
            outputs.iter().map(|output| output.iter().map(|number| number.0).collect()).collect();
        let shapes: Vec<Shape> = outputs.iter().map(|output| [output.len()].into()).collect();
        let mut scalars: Scalars<T> =
            self.builder.finish(&self.inputs, &ids.iter().collect::<Vec<_>>(), &shapes)?;
        let outputs = std::mem::take(&mut scalars.outputs);
        let inputs = self.inputs.iter().map(|&len| [len].into()).collect();
        let inner =
            Inner { scalars: Some(scalars), outputs, arena: REGISTERS, ..Inner::new(inputs) };
        Some(Program { inner: Arc::new(inner) })
    }
}
