//! The kernels whose code is long, compiled here for both types: what is generic is compiled once
//! more in every program that calls it.

use crate::binary::{binary_left_of, binary_of, binary_right_of};
use crate::combine::combine_of;
use crate::lanes::{LaneRegisters, ScalarStep, run_lanes_on};
use crate::linear::lincomb_of;
use crate::matmul::{MatMul, matmul_of, matmul_strips_of};
use crate::outer::sum_outer_of;
use crate::pair::softplus_sigmoid_of;
use crate::product::{After, Product, product_of};
use crate::unary::{unary_in_place_of, unary_of};
use crate::{Binary, Isa, Real, Unary};

/// What the functions of the same names call, whose documentation says what each does.
pub trait Compiled: Sized {
    fn unary(op: Unary, x: &[Self], out: &mut [Self]);
    fn unary_in_place(op: Unary, x: &mut [Self]);
    fn binary(op: Binary, a: &[Self], b: &[Self], out: &mut [Self]);
    fn binary_in_place_left(op: Binary, a: &mut [Self], b: &[Self]);
    fn binary_in_place_right(op: Binary, a: &[Self], b: &mut [Self]);
    fn softplus_sigmoid(x: &[Self], softplus: &mut [Self], sigmoid: &mut [Self]);
    fn lincomb(c: &[Self], xs: &[&[Self]], out: &mut [Self]);
    fn combine(terms: &[(Self, usize)], rows: &[Self], last: Option<&[Self]>, out: &mut [Self]);
    fn matmul(spec: MatMul, a: &[Self], b: &[Self], c: &mut [Self]);
    fn product(product: &Product, a: &[Self], b: &[Self], after: After<'_, Self>, c: &mut [Self])
    where
        Self: Real;
    fn matmul_strips(spec: MatMul, a: &[Self], strips: &[Self], c: &mut [Self]);
    fn sum_outer(
        size: [usize; 3],
        accumulate: bool,
        a: &[Self],
        b: &[Self],
        c: &mut [Self],
        sums: &mut [Self],
    );
    fn run_lanes(steps: &[ScalarStep], registers: &mut LaneRegisters<Self>)
    where
        Self: Real;
}

macro_rules! compile {
    ($T:ty) => {
        impl Compiled for $T {
            fn unary(op: Unary, x: &[$T], out: &mut [$T]) {
                unary_of(op, x, out);
            }
            fn unary_in_place(op: Unary, x: &mut [$T]) {
                unary_in_place_of(op, x);
            }
            fn binary(op: Binary, a: &[$T], b: &[$T], out: &mut [$T]) {
                binary_of(op, a, b, out);
            }
            fn binary_in_place_left(op: Binary, a: &mut [$T], b: &[$T]) {
                binary_left_of(op, a, b);
            }
            fn binary_in_place_right(op: Binary, a: &[$T], b: &mut [$T]) {
                binary_right_of(op, a, b);
            }
            fn softplus_sigmoid(x: &[$T], softplus: &mut [$T], sigmoid: &mut [$T]) {
                softplus_sigmoid_of(x, softplus, sigmoid);
            }
            fn lincomb(c: &[$T], xs: &[&[$T]], out: &mut [$T]) {
                lincomb_of(c, xs, out);
            }
            fn combine(terms: &[($T, usize)], rows: &[$T], last: Option<&[$T]>, out: &mut [$T]) {
                combine_of(terms, rows, last, out);
            }
            fn matmul(spec: MatMul, a: &[$T], b: &[$T], c: &mut [$T]) {
                matmul_of(spec, a, b, c);
            }
            fn product(product: &Product, a: &[$T], b: &[$T], after: After<'_, $T>, c: &mut [$T]) {
                product_of(product, a, b, after, c);
            }
            fn matmul_strips(spec: MatMul, a: &[$T], strips: &[$T], c: &mut [$T]) {
                matmul_strips_of(spec, a, strips, c);
            }
            fn sum_outer(
                size: [usize; 3],
                accumulate: bool,
                a: &[$T],
                b: &[$T],
                c: &mut [$T],
                sums: &mut [$T],
            ) {
                sum_outer_of(size, accumulate, a, b, c, sums);
            }
            fn run_lanes(steps: &[ScalarStep], registers: &mut LaneRegisters<$T>) {
                run_lanes_on(Isa::detect(), steps, registers);
            }
        }
    };
}

compile!(f32);
compile!(f64);
