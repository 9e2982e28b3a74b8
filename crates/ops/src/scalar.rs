//! A small program on single numbers, one operation after another.

use crate::lanes::{SCALAR_REGISTERS, ScalarOp, ScalarStep};
use crate::{Binary, Real, Unary, powi_in_place, unary_in_place};

impl ScalarOp {
    /// What it computes from its arguments; those that it does not read are ignored. The bits are
    /// those of the kernels on arrays.
    #[inline(always)]
    pub fn eval<T: Real>(self, a: T, b: T, c: T) -> T {
        match self {
            ScalarOp::Add => a + b,
            ScalarOp::Mul => a * b,
            ScalarOp::Sub => a - b,
            ScalarOp::MulAdd => a * b + c,
            ScalarOp::MulSub => a * b - c,
            ScalarOp::SubMul => c - a * b,
            ScalarOp::MulMul => a * b * c,
            ScalarOp::AddAdd => a + b + c,
            ScalarOp::Copy => a,
            ScalarOp::Unary(Unary::Neg) => -a,
            ScalarOp::Unary(Unary::Square) => a * a,
            ScalarOp::Binary(Binary::Add) => a + b,
            ScalarOp::Binary(f) => f.eval(a, b),
            ScalarOp::Select => {
                if a != T::zero() {
                    b
                } else {
                    c
                }
            }
            ScalarOp::Unary(f) => one(|x| unary_in_place(f, x), a),
            ScalarOp::Powi(n) => one(|x| powi_in_place(n, x), a),
        }
    }
}

/// A kernel on one number: the bits that it gives on arrays.
fn one<T: Real>(kernel: impl FnOnce(&mut [T]), x: T) -> T {
    let mut x = [x];
    kernel(&mut x);
    x[0]
}

/// Runs steps on registers, each of which holds a number.
///
/// ```
/// use costate_ops::{SCALAR_REGISTERS, ScalarOp, ScalarStep, run_scalars};
///
/// let mut registers = [0.0; SCALAR_REGISTERS];
/// registers[..3].copy_from_slice(&[2.0, 3.0, 4.0]);
/// run_scalars(&[ScalarStep { op: ScalarOp::MulAdd, args: [0, 1, 2], out: 9 }], &mut registers);
/// assert_eq!(registers[9], 10.0);
/// ```
#[inline]
pub fn run_scalars<T: Real>(steps: &[ScalarStep], registers: &mut [T; SCALAR_REGISTERS]) {
    for step in steps {
        // One by one: taken apart as an array, they cost half as much again.
        let [a, b, c] = &step.args;
        let (a, b, c) = (usize::from(*a), usize::from(*b), usize::from(*c));
        let r = &mut *registers;
        r[usize::from(step.out)] = step.op.eval(r[a], r[b], r[c]);
    }
}
