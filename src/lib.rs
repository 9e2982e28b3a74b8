//! Automatic differentiation on a recorded tape whose ODE solve is a differentiable operation.
