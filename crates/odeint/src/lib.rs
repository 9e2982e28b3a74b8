//! Differential equation solvers on slices, and the solve as a differentiable operation.
