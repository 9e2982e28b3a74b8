//! The ways to the gradient of a solve.

/// The way to the gradient of a solve.
///
/// | way | the gradient of | keeps | when |
/// | --- | --- | --- | --- |
/// | `Exact` | what was computed, to rounding | states and slopes of each step, or less: [`Memory`](crate::Memory) | always |
/// | `Interpolated` | the exact solution, to the tolerance | as `Exact` | to compare, and where a smooth `p(t)` is wanted |
/// | `Continuous` | the exact solution, to the tolerance | the saved states | to compare; fails where the solution contracts |
/// | `Reversible` | what was computed, to a few more roundings | one state and its companion | for a reversible [`Scheme`](crate::Scheme), where nothing else fits in memory |
/// | `Unrolled` | what was computed, to rounding | every operation of every stage | to check the others |
/// | `Forward` | what was computed, to rounding | the tangents of the saved states | few entries to differentiate with respect to, and many steps |
///
/// In each way the steps are constants: their size is not differentiated.
///
/// Derivatives of any order, in reverse and in forward mode, are those of `Exact` on the recorded
/// grid, whichever way was chosen, but for `Unrolled`. They can be compiled and taken inside a field.
/// One case is left to unrolling, which needs the numbers of the grid and so can be neither: forward
/// mode and second derivatives in directions in which [times](crate::Times::Var) move.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gradient {
    /// The discrete adjoint on the recorded grid.
    #[default]
    Exact,
    /// Hamilton's equations solved backward with their own error control. Fails, rather than
    /// return a wrong gradient, if the state that is solved for again departs from the solution.
    Continuous,
    /// The equation of `p` alone solved backward with its own error control, the state read from
    /// the interpolants of the forward pass, which keeps all slopes. The equation is linear, and as
    /// stable backward as the tangents are forward, so nothing departs; stiff ones are solved by
    /// the same implicit method.
    Interpolated,
    /// The steps of a reversible [`Scheme`](crate::Scheme) undone one after another from the last
    /// state, which with its companion is all that is kept: as `Exact`, but for rounding errors, which
    /// going back multiplies. Other methods have no such way.
    Reversible,
    /// Every operation of every stage on the tape, and plain back-propagation.
    Unrolled,
    /// Sensitivities: the tangents of the solution in the direction of each entry of what is
    /// differentiated with respect to, on the grid of the solve, and from them the gradient.
    ///
    /// Tangents go through the field in batches of 16, one pass along the grid for each, and do not
    /// steer the step size. With `d` entries that takes `⌈d / 16⌉` passes of the cost of up to
    /// seventeen solves each, and `d` solutions of memory. The cotangents of
    /// [times](crate::Times::Var) take one backward pass instead.
    Forward,
}
