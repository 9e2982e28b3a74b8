//! Integrands: regularisers of the path, and the trace of a flow.

use costate_odeint::Real;
use costate_tape::{Result, Var};

use super::integral::{Along, Integrand};
use crate::rng::Rng;

/// `|f|²`: paths of little length and even speed, which a solver takes in few steps (C. Finlay et
/// al., arXiv 2002.02798).
#[derive(Clone, Copy, Debug)]
pub struct KineticEnergy;

impl<'t, T: Real> Integrand<'t, T> for KineticEnergy {
    #[track_caller]
    fn at(&self, place: &Along<'t, T>) -> Result<Var<'t, T>> {
        Ok(place.slope.square().sum_axis(1))
    }
}

/// `|εᵀ ∂f/∂x|²` with a probe `ε`, `[rows, width]`, of independent entries of mean 0 and variance 1:
/// its mean over probes is the squared Frobenius norm of the Jacobian (C. Finlay et al.,
/// arXiv 2002.02798). The probe is an input, drawn anew for each step of training:
/// [`Rng::normals`], [`Rng::signs`].
#[derive(Clone, Copy, Debug)]
pub struct JacobianNorm<'t, T: Real>(
    /// The probe.
    pub Var<'t, T>,
);

impl<'t, T: Real> Integrand<'t, T> for JacobianNorm<'t, T> {
    #[track_caller]
    fn at(&self, place: &Along<'t, T>) -> Result<Var<'t, T>> {
        let product = place.x.tape().vjp(&[place.slope], &[self.0], &[place.x])?[0];
        Ok(product.square().sum_axis(1))
    }
}

/// `|dᴷx/dtᴷ|²` along the path, by `K - 1` nested forward passes: a method of order `K - 1` or more
/// takes few steps where it is small (TayNODE: J. Kelly et al., arXiv 2007.04504). With `K = 1` it
/// is the [`KineticEnergy`].
#[derive(Clone, Copy, Debug)]
pub struct TaylorNorm(
    /// `K`, at least 1.
    pub usize,
);

impl<'t, T: Real> Integrand<'t, T> for TaylorNorm {
    #[track_caller]
    fn at(&self, place: &Along<'t, T>) -> Result<Var<'t, T>> {
        assert!(self.0 > 0, "TaylorNorm: derivative number 0 is the state itself");
        let Along { t, x, slope } = *place;
        let mut derivative = slope;
        for _ in 1..self.0 {
            // Along the path, d/dt is ∂/∂t + f · ∂/∂x.
            derivative = x.tape().jvp(&[derivative], &[t, x], &[t.ones_like(), slope])?[0];
        }
        Ok(derivative.square().sum_axis(1))
    }
}

/// `tr ∂f/∂x`, the divergence of the field: the rate at which the logarithm of volume grows.
#[derive(Clone, Copy, Debug)]
pub enum Trace<'t, T: Real> {
    /// As the sum of the diagonal, by one forward pass for each component. A solve makes one product of
    /// them where the field is a network with one hidden layer or two, by
    /// [`Function::merge_traces`](costate_tape::Function::merge_traces).
    Exact,
    /// `εᵀ (∂f/∂x) ε` with a probe as in [`JacobianNorm`], whose mean over probes is the trace
    /// (M. F. Hutchinson, Commun. Stat. Simul. 18 (1989) 1059; W. Grathwohl et al.,
    /// arXiv 1810.01367). One backward pass, whatever the width.
    Hutchinson(Var<'t, T>),
}

impl<'t, T: Real> Integrand<'t, T> for Trace<'t, T> {
    #[track_caller]
    fn at(&self, place: &Along<'t, T>) -> Result<Var<'t, T>> {
        let Along { x, slope, .. } = *place;
        let tape = x.tape();
        match *self {
            Trace::Hutchinson(probe) => {
                let product = tape.vjp(&[slope], &[probe], &[x])?[0];
                Ok((product * probe).sum_axis(1))
            }
            Trace::Exact => {
                let width = x.shape()[1];
                let mut entries = Vec::with_capacity(width);
                for i in 0..width {
                    // The same unit vector in each row: rows do not depend on each other.
                    let unit = tape.eye(width).slice_axis(0, i..i + 1).broadcast_to(x.shape());
                    let column = tape.jvp(&[slope], &[x], &[unit])?[0];
                    entries.push(column.slice_axis(1, i..i + 1));
                }
                match entries.as_slice() {
                    [] => Ok(x.sum_axis(1)),
                    entries => Ok(Var::concat(1, entries).sum_axis(1)),
                }
            }
        }
    }
}

/// A random end time, uniform in `[end - spread, end + spread]` (STEER: A. Ghosh et al.,
/// arXiv 2006.10711): a field that is trained with it comes to rest near its end, and is easier to
/// solve. Pass it as the end of the times of a solve, in training only.
///
/// # Panics
/// If the spread is negative, or reaches back to the start.
#[track_caller]
pub fn steer(rng: &mut Rng, start: f64, end: f64, spread: f64) -> f64 {
    let fits = spread >= 0.0 && spread < (end - start).abs();
    assert!(fits, "steer: a spread of {spread} for times from {start} to {end}");
    end + spread * (2.0 * rng.uniform() - 1.0)
}
