//! Tests of the differentiable solve. One program for many files: each would compile the solvers
//! anew.

mod activations;
mod bdf_gradient;
mod check;
mod check_events;
mod choice_gradient;
mod component_tolerances;
mod each;
mod event_gradient;
mod gradient;
mod hoisting;
mod implicit_gradient;
mod instruments;
mod memory;
mod network;
mod reversible_gradient;
mod roots;
mod row_blocks;
mod tangent;
mod ways;
mod whole_steps;
