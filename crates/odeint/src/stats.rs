//! What a solve did.

use std::fmt;

/// Counts of one solve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Steps that were taken.
    pub accepted: usize,
    /// Steps that were tried and given up, because their error was too large.
    pub rejected: usize,
    /// Evaluations of the vector field.
    pub f_evals: usize,
    /// Evaluations of its vector-Jacobian product.
    pub vjp_evals: usize,
    /// Evaluations of its Jacobian, by implicit methods; the evaluations that a Jacobian by finite
    /// differences takes are not counted in `f_evals`.
    pub jacobian_evals: usize,
    /// Factorisations of the matrix of Newton's method.
    pub factorisations: usize,
    /// How often [`Auto`](crate::Auto) went from one method to the other.
    pub switches: usize,
    /// Bytes kept for the backward pass; in the statistics of that pass, with what it kept itself.
    pub bytes_kept: usize,
    /// How many of these bytes are the times of steps.
    pub grid_bytes: usize,
    /// The most states kept for the backward pass at any moment, be it with slopes or without.
    pub states_kept: usize,
    /// Steps that the backward pass took again.
    pub retaken: usize,
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} steps accepted, {} rejected, {} evaluations of f, {} of its vjp, {} bytes kept",
            self.accepted, self.rejected, self.f_evals, self.vjp_evals, self.bytes_kept
        )?;
        if self.factorisations > 0 {
            write!(
                f,
                ", {} Jacobians, {} factorisations",
                self.jacobian_evals, self.factorisations
            )?;
        }
        if self.switches > 0 {
            write!(f, ", {} switches of the method", self.switches)?;
        }
        if self.retaken > 0 {
            write!(f, ", {} steps taken again", self.retaken)?;
        }
        Ok(())
    }
}
