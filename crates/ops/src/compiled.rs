//! The kernels whose code is long, compiled here for both types: what is generic is compiled once
//! more in every program that calls it.

use crate::binary::{binary_left_of, binary_of, binary_right_of};
use crate::combine::combine_of;
use crate::lanes::{LaneRegisters, ScalarStep, run_lanes_of};
use crate::linear::lincomb_of;
use crate::matmul::{MatMul, matmul_of, matmul_strips_of};
use crate::outer::sum_outer_of;
use crate::product::{After, Product, product_of};
use crate::unary::{unary_in_place_of, unary_of};
use crate::{Binary, Real, Unary};

/// Makes a trait of functions that are generic over the type of numbers, each given after its signature, and
/// implements it for both types: so they are compiled in the crate that has the trait, and not again in each
/// that calls them by `T::name(…)`. `Real` is the trait of these types.
#[doc(hidden)]
#[macro_export]
macro_rules! compiled {
    (
        $(#[$about:meta])*
        pub trait $Compiled:ident for $Real:path {
            $(
                $(#[$attribute:meta])*
                fn $name:ident $(<$life:lifetime>)? ($($arg:ident: $Arg:ty),* $(,)?) $(-> $Out:ty)?
                    = $function:path;
            )*
        }
    ) => {
        $(#[$about])*
        pub trait $Compiled: Sized {
            $(
                $(#[$attribute])*
                fn $name $(<$life>)? ($($arg: $Arg),*) $(-> $Out)? where Self: $Real;
            )*
        }
        $crate::compiled!(@impl f32, $Compiled {
            $($(#[$attribute])* fn $name $(<$life>)? ($($arg: $Arg),*) $(-> $Out)? = $function;)*
        });
        $crate::compiled!(@impl f64, $Compiled {
            $($(#[$attribute])* fn $name $(<$life>)? ($($arg: $Arg),*) $(-> $Out)? = $function;)*
        });
    };
    (
        @impl $T:ty, $Compiled:ident {
            $(
                $(#[$attribute:meta])*
                fn $name:ident $(<$life:lifetime>)? ($($arg:ident: $Arg:ty),*) $(-> $Out:ty)?
                    = $function:path;
            )*
        }
    ) => {
        impl $Compiled for $T {
            $(
                $(#[$attribute])*
                fn $name $(<$life>)? ($($arg: $Arg),*) $(-> $Out)? {
                    $function($($arg),*)
                }
            )*
        }
    };
}

compiled! {
    /// What the functions of the same names call, whose documentation says what each does.
    pub trait Compiled for Real {
        fn unary(op: Unary, x: &[Self], out: &mut [Self]) = unary_of;
        fn unary_in_place(op: Unary, x: &mut [Self]) = unary_in_place_of;
        fn binary(op: Binary, a: &[Self], b: &[Self], out: &mut [Self]) = binary_of;
        fn binary_in_place_left(op: Binary, a: &mut [Self], b: &[Self]) = binary_left_of;
        fn binary_in_place_right(op: Binary, a: &[Self], b: &mut [Self]) = binary_right_of;
        fn lincomb(c: &[Self], xs: &[&[Self]], out: &mut [Self]) = lincomb_of;
        fn combine(terms: &[(Self, &[Self])], last: Option<&[Self]>, out: &mut [Self])
            = combine_of;
        fn matmul(spec: MatMul, a: &[Self], b: &[Self], c: &mut [Self]) = matmul_of;
        fn product(
            product: &Product,
            a: &[Self],
            b: &[Self],
            after: After<'_, Self>,
            c: &mut [Self],
        ) = product_of;
        fn matmul_strips(spec: MatMul, a: &[Self], strips: &[Self], c: &mut [Self])
            = matmul_strips_of;
        fn sum_outer(
            size: [usize; 3],
            accumulate: bool,
            a: &[Self],
            b: &[Self],
            c: &mut [Self],
            sums: &mut [Self],
        ) = sum_outer_of;
        fn run_lanes(steps: &[ScalarStep], registers: &mut LaneRegisters<Self>) = run_lanes_of;
    }
}
