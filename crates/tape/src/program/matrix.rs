//! The matrix of a small program that is linear in an input.

use costate_ops::{Binary, ScalarOp, Unary};

use super::Program;
use super::numbers::{Number, Numbers};
use super::scalar::{Id, REGISTERS};
use crate::Real;

/// A number of the program.
#[derive(Clone, Debug)]
enum Value {
    /// One that does not depend on the input.
    Fixed(Id),
    /// A sum of the input's entries, with the coefficients that are not 0.
    Sum(Vec<Option<Id>>),
}

use Value::{Fixed, Sum};

impl<T: Real> Numbers<T> {
    /// The matrix that takes the last input of another program to its output of that number, row by row,
    /// from the other inputs. `None` if the program is not small, or it cannot be seen that the output
    /// is linear in the last input.
    ///
    /// What waits for that input is then a product with the matrix alone.
    ///
    /// ```
    /// use costate_tape::{Function, Numbers, Program, Shape, Workspace};
    ///
    /// let shapes = [Shape::scalar(), [2].into()];
    /// let f = Function::trace_shapes(&shapes, |_, x| {
    ///     let [a, b] = [0, 1].map(|i| x[1].index_axis(0, i));
    ///     Ok(vec![x[0] * a - b * x[0].square()])
    /// })?;
    /// let f = Program::<f64>::compile(&f)?;
    /// let mut numbers = Numbers::new();
    /// let x = numbers.input(1);
    /// let matrix = numbers.matrix(&f, &[&x], 0).expect("a linear program");
    /// let program = numbers.compile(&matrix).expect("few numbers");
    /// let mut workspace = Workspace::new(&program);
    /// assert_eq!(program.evaluate(&mut workspace, &[&[3.0]])?.get(0), [3.0, -9.0]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Panics
    /// If the inputs do not fit the program, or there is no such output.
    pub fn matrix(
        &mut self,
        program: &Program<T>,
        inputs: &[&[Number]],
        output: usize,
    ) -> Option<Vec<Vec<Number>>> {
        let scalars = program.inner.scalars.as_ref()?;
        let (&columns, expected) = program.inner.input_lens.split_last()?;
        let fit = expected.len() == inputs.len()
            && expected.iter().zip(inputs).all(|(&len, input)| len == input.len());
        assert!(fit, "inputs of {expected:?} entries are needed before the last one");
        let mut registers = vec![Fixed(0); REGISTERS];
        for &(register, x) in &scalars.constants {
            // The number of zero is 0.
            let id = if x == T::zero() { 0 } else { self.builder.constant(x) };
            registers[usize::from(register)] = Fixed(id);
        }
        for (i, input) in inputs.iter().enumerate() {
            for (register, number) in registers[scalars.input(i)].iter_mut().zip(*input) {
                *register = Fixed(number.0);
            }
        }
        let one = self.builder.constant(T::one());
        for (i, register) in registers[scalars.input(inputs.len())].iter_mut().enumerate() {
            *register = Sum((0..columns).map(|j| (i == j).then_some(one)).collect());
        }
        for step in &scalars.steps {
            let args = step.args.map(|register| registers[usize::from(register)].clone());
            let count = step.op.arguments();
            registers[usize::from(step.out)] = self.linear(step.op, &args[..count])?;
        }
        let found = &program.inner.outputs[output];
        let row = |value: &Value| match value {
            Fixed(0) => Some(vec![Number(0); columns]),
            Fixed(_) => None,
            Sum(row) => Some(row.iter().map(|c| Number(c.unwrap_or(0))).collect()),
        };
        registers[found.offset..found.offset + found.len].iter().map(row).collect()
    }

    /// A step of a program.
    fn linear(&mut self, op: ScalarOp, args: &[Value]) -> Option<Value> {
        let fixed: Option<Vec<Id>> =
            args.iter().map(|arg| if let Fixed(id) = arg { Some(*id) } else { None }).collect();
        if let Some(mut ids) = fixed {
            ids.resize(3, 0);
            return Some(Fixed(self.step(op, [ids[0], ids[1], ids[2]])));
        }
        match (op, args) {
            (ScalarOp::Copy, [a]) => Some(a.clone()),
            (ScalarOp::Unary(Unary::Neg), [a]) => self.negative(a),
            (ScalarOp::Add | ScalarOp::Binary(Binary::Add), [a, b]) => self.plus(a, b),
            (ScalarOp::Sub | ScalarOp::Binary(Binary::Sub), [a, b]) => self.minus(a, b),
            (ScalarOp::Mul | ScalarOp::Binary(Binary::Mul), [a, b]) => self.times(a, b),
            (ScalarOp::Binary(Binary::Div), [Sum(a), Fixed(b)]) => {
                Some(self.each(a, |numbers, c| numbers.builder.binary(Binary::Div, c, *b)))
            }
            (ScalarOp::MulAdd, [a, b, c]) => {
                let product = self.times(a, b)?;
                self.plus(&product, c)
            }
            (ScalarOp::MulSub, [a, b, c]) => {
                let product = self.times(a, b)?;
                self.minus(&product, c)
            }
            (ScalarOp::SubMul, [a, b, c]) => {
                let product = self.times(a, b)?;
                self.minus(c, &product)
            }
            (ScalarOp::MulMul, [a, b, c]) => {
                let product = self.times(a, b)?;
                self.times(&product, c)
            }
            (ScalarOp::AddAdd, [a, b, c]) => {
                let sum = self.plus(a, b)?;
                self.plus(&sum, c)
            }
            _ => None,
        }
    }

    /// A function of each coefficient of a sum.
    fn each(&mut self, sum: &[Option<Id>], mut f: impl FnMut(&mut Self, Id) -> Id) -> Value {
        Sum(sum.iter().map(|c| c.map(|c| f(self, c))).collect())
    }

    fn negative(&mut self, a: &Value) -> Option<Value> {
        let negative =
            |numbers: &mut Self, c| numbers.builder.step(ScalarOp::Unary(Unary::Neg), [c, 0, 0]);
        Some(match a {
            Fixed(0) => Fixed(0),
            Fixed(a) => Fixed(negative(self, *a)),
            Sum(a) => self.each(a, negative),
        })
    }

    fn plus(&mut self, a: &Value, b: &Value) -> Option<Value> {
        let builder = &mut self.builder;
        Some(match (a, b) {
            (Fixed(a), Fixed(b)) => Fixed(builder.add(*a, *b)),
            (Fixed(0), sum) | (sum, Fixed(0)) => sum.clone(),
            (Sum(a), Sum(b)) => {
                let entries = a.iter().zip(b).map(|pair| match pair {
                    (Some(a), Some(b)) => Some(builder.add(*a, *b)),
                    (a, b) => a.or(*b),
                });
                Sum(entries.collect())
            }
            _ => return None,
        })
    }

    fn minus(&mut self, a: &Value, b: &Value) -> Option<Value> {
        match (a, b) {
            (Sum(a), Sum(b)) => {
                let entries = a.iter().zip(b).map(|pair| match pair {
                    (Some(a), Some(b)) => Some(self.builder.binary(Binary::Sub, *a, *b)),
                    (a, None) => *a,
                    (None, Some(b)) => {
                        Some(self.builder.step(ScalarOp::Unary(Unary::Neg), [*b, 0, 0]))
                    }
                });
                Some(Sum(entries.collect()))
            }
            (Fixed(a), Fixed(b)) => Some(Fixed(self.builder.binary(Binary::Sub, *a, *b))),
            _ => {
                let negative = self.negative(b)?;
                self.plus(a, &negative)
            }
        }
    }

    fn times(&mut self, a: &Value, b: &Value) -> Option<Value> {
        let one = self.builder.constant(T::one());
        match (a, b) {
            (Fixed(a), Fixed(b)) => Some(Fixed(self.builder.step(ScalarOp::Mul, [*a, *b, 0]))),
            (Sum(sum), Fixed(by)) | (Fixed(by), Sum(sum)) => Some(self.each(sum, |numbers, c| {
                if c == one { *by } else { numbers.builder.step(ScalarOp::Mul, [c, *by, 0]) }
            })),
            (Sum(_), Sum(_)) => None,
        }
    }
}
