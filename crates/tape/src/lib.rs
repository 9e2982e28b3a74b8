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
#![forbid(unsafe_code)]

mod call;
pub mod check;
mod checkpoint;
mod diagnose;
mod error;
mod function;
mod grad;
mod graph;
mod jvp;
mod linearize;
mod op;
mod program;
mod shape;
mod tape;
mod transform;
mod var;
mod vmap;

pub use call::{Arg, CallOp, CallRule, Evaluation};
pub use diagnose::NonFinite;
pub use error::{CallError, Error};
pub use function::Function;
pub use linearize::Linearized;
pub use op::Result;
pub use op::ranges::Slice;
pub use program::{Outputs, Program, Workspace};
pub use shape::Shape;
pub use tape::{Scope, Tape};
pub use var::Var;
