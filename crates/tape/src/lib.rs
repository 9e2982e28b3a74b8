//! The recorded tape: variables, differentiation rules, replayable programs.
//!
//! Running an ordinary Rust function on [`Var`]s records a straight-line program on a [`Tape`],
//! values and all. Everything else is made from that:
//!
//! - a *gradient* ([`Var::grad`], [`Tape::vjp`]) or a *tangent* ([`Tape::jvp`]) is more program,
//!   emitted onto the same tape by each operation's own rule, so derivatives of any order need
//!   nothing new;
//! - a [`Function`] is a piece of program cut out of a tape: by [`Function::trace`], or by
//!   [`Tape::scope`], which captures what the function closes over;
//! - a [`Program`] is a function compiled for replay: no recording and no allocation;
//! - a [`CallOp`] is an operation from outside this crate, such as an ODE solve.
//!
//! # Shapes
//!
//! Arrays are dense and row-major, of any number of axes, `[]` being a single number. Operations
//! on two arrays broadcast as in NumPy. A shape that does not fit is a programming error: it
//! panics with both shapes, at the caller's line.
//!
//! # Ties, zero, infinity, NaN
//!
//! Values are those of IEEE 754: nothing is caught, and NaN spreads, also through comparisons of
//! maxima. [`Tape::find_non_finite`] says where one was born. Where there is no derivative:
//!
//! | operation | where | derivative |
//! | --- | --- | --- |
//! | `abs`, `relu`, `sign`, `floor`, comparisons | at the kink or jump | 0 |
//! | `leaky_relu`, `elu` | 0 | that of the negative side |
//! | `clamp` | at a bound | 1 |
//! | `maximum`, `minimum` | tie | half to each |
//! | `max_axis`, `min_axis`, `max_pool` | tie | shared equally |
//! | `sqrt`, `ln`, `recip`, `x.powf(c)` with `c < 1` | 0 | infinite, or NaN times a zero cotangent |
//! | `pow` | base 0, with respect to the exponent | 0 |
//! | `norm` | all entries 0 | 0 |
//! | `prod_axis` | entries 0 | exact, no division |
//! | `select` | the side not chosen | 0, but `0 · ∞` is NaN: guard its argument, not its result |
//! | `logsumexp`, `softmax`, `softplus`, `sigmoid`, `tanh` | large arguments | no overflow |
//! | `solve`, `inv`, `logdet` | singular matrix | infinite or NaN |
//!
//! # Memory
//!
//! A tape takes the entries of every recorded value and 80 bytes for each operation, and keeps both
//! until it is dropped or cleared; nothing is recursive, so its length is limited by memory only.
#![forbid(unsafe_code)]
#[cfg(test)]
extern crate self as costate_tape;

mod call;
pub mod check;
mod checkpoint;
mod compiled;
mod diagnose;
mod error;
mod function;
mod grad;
mod graph;
mod hoist;
mod jvp;
mod keeping;
mod linearize;
mod op;
mod program;
mod real;
mod row_blocks;
mod rows_alike;
mod shape;
mod sparsity;
mod sums;
mod tape;
mod traces;
mod transform;
mod var;
mod vmap;

pub use call::{Arg, CallOp, CallRule, Evaluation};
pub use diagnose::NonFinite;
pub use error::{CallError, Error};
pub use function::Function;
pub use hoist::Hoisted;
pub use keeping::Keeping;
pub use linearize::Linearized;
pub use op::Result;
pub use op::ranges::Slice;
pub use program::{Lanes, Number, Numbers, Outputs, Port, Program, Small, Workspace};
pub use real::Real;
pub use row_blocks::RowBlocks;
pub use shape::Shape;
pub use sums::{Part, WithoutSums};
pub use tape::{Scope, Tape};
pub use var::Var;
