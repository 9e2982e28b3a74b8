//! Algebraically reversible steps: from the state after a step the state before it is computed by
//! arithmetic alone, to rounding, so that nothing need be kept to go back.
//!
//! Each carries a companion of the state. A symmetric one-step method is reversible too, but an
//! explicit one is not symmetric; the companion makes explicit steps reversible.

use costate_ops::{Buffer, Real};

use crate::error::{Error, ErrorKind, FieldError};
use crate::field::Field;
use crate::method::Method;
use crate::step::combine;
use crate::tableau::Tableau;

/// A way to make explicit steps reversible.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Scheme {
    /// Reversible Heun, of order 2, one evaluation a step:
    ///
    /// ```text
    /// ŷ₁ = 2 y₀ - ŷ₀ + h f(t₀, ŷ₀),   y₁ = y₀ + h/2 (f(t₀, ŷ₀) + f(t₁, ŷ₁))
    /// ```
    ///
    /// P. Kidger, J. Foster, X. Li, T. Lyons, NeurIPS 2021. Its region of stability is the segment
    /// `[-i, i]`: it suits short times and problems without decay.
    ReversibleHeun,
    /// The asynchronous leapfrog (ALF), of order 2, one evaluation a step:
    ///
    /// ```text
    /// y_½ = y₀ + h/2 v₀,   v₁ = 2 f(t₀ + h/2, y_½) - v₀,   y₁ = y_½ + h/2 v₁
    /// ```
    ///
    /// U. Mutze, *An asynchronous leapfrog method II* (2013); J. Zhuang et al., ICLR 2021. Its
    /// region of stability is the segment `[-i, i]`, too.
    AsynchronousLeapfrog,
    /// Two solutions by any explicit method, coupled so that each step can be undone. With the
    /// increment `Ψ_h(t, x)` of the method,
    ///
    /// ```text
    /// y₁ = λ y₀ + (1 - λ) z₀ + Ψ_h(t₀, z₀),   z₁ = z₀ - Ψ_{-h}(t₁, y₁)
    /// ```
    ///
    /// It has the order of the method, and a region of stability with an interior.
    /// S. McCallum, J. Foster, arXiv 2410.11648 (2024).
    Coupled {
        /// The method: any explicit one.
        method: Method,
        /// `λ`, above 0 and at most 1, usually 0.999. Going back multiplies rounding errors by
        /// `1/λ` a step; smaller ones make steps forward more stable.
        coupling: f64,
    },
}

/// A solve by reversible steps, which can be taken forward and back.
///
/// ```
/// use costate_odeint::{Reversible, Scheme};
///
/// let mut f = |_t: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -y[0].sin());
/// let mut solve = Reversible::new(Scheme::AsynchronousLeapfrog, &mut f, 0.0, &[1.0, 0.0])?;
/// let time = |n: usize| 0.01 * n as f64;
/// for n in 1..=1000 {
///     solve.step_to(&mut f, time(n))?;
/// }
/// for n in (0..1000).rev() {
///     solve.step_back_to(&mut f, time(n))?;
/// }
/// assert!((solve.y()[0] - 1.0).abs() < 1e-12);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reversible<T: Real> {
    scheme: Scheme,
    t: f64,
    y: Buffer<T>,
    /// `ŷ`, `v` or `z`.
    companion: Buffer<T>,
    /// The slope at `ŷ`; for a coupled method, its slopes.
    k: Buffer<T>,
    scratch: Buffer<T>,
}

impl<T: Real> Reversible<T> {
    /// Starts at `y0` at time `t`. Evaluates the field once, unless a method is coupled.
    ///
    /// # Errors
    /// If the state is empty, the method's stages are coupled or it is for positions and momenta, its
    /// coupling is no number above 0 and at most 1, or the field fails.
    pub fn new(
        scheme: Scheme,
        f: &mut impl Field<T>,
        t: f64,
        y0: &[T],
    ) -> Result<Reversible<T>, Error> {
        let n = y0.len();
        if n == 0 {
            return Err(ErrorKind::EmptyState.into());
        }
        let slopes = match scheme {
            Scheme::Coupled { method, coupling } => {
                let tableau = method.tableau();
                if !tableau.uses_first() || !tableau.is_explicit() {
                    return Err(ErrorKind::NotExplicit { method: tableau.name }.into());
                }
                // Written so that NaN fails.
                if !(coupling > 0.0 && coupling <= 1.0) {
                    let (option, expected) = ("coupling", "above 0 and at most 1");
                    return Err(ErrorKind::BadOption { option, value: coupling, expected }.into());
                }
                tableau.rows() - 1
            }
            _ => 1,
        };
        let mut start = Reversible {
            scheme,
            t,
            y: Buffer::zeros(n),
            companion: Buffer::zeros(n),
            k: Buffer::zeros(slopes * n),
            scratch: Buffer::zeros(n),
        };
        start.y.copy_from_slice(y0);
        start.companion.copy_from_slice(y0);
        match scheme {
            Scheme::ReversibleHeun => f.eval(t, y0, &mut start.k),
            Scheme::AsynchronousLeapfrog => f.eval(t, y0, &mut start.companion),
            Scheme::Coupled { .. } => Ok(()),
        }
        .map_err(ErrorKind::Field)?;
        Ok(start)
    }

    /// The time that was reached.
    pub fn t(&self) -> f64 {
        self.t
    }

    /// The state there.
    pub fn y(&self) -> &[T] {
        &self.y
    }

    /// The companion of the state: `ŷ`, `v` or `z` of the [`Scheme`]. With the state it is all that a
    /// step depends on.
    pub fn companion(&self) -> &[T] {
        &self.companion
    }

    /// Takes one step to the time `t`, forward or backward in time.
    ///
    /// # Errors
    /// If the field fails; then the state means nothing.
    pub fn step_to(&mut self, f: &mut impl Field<T>, t: f64) -> Result<(), Error> {
        self.advance(f, t).map_err(|e| ErrorKind::Field(e).into())
    }

    /// Undoes the step that led here from the time `t`.
    ///
    /// # Errors
    /// If the field fails; then the state means nothing.
    pub fn step_back_to(&mut self, f: &mut impl Field<T>, t: f64) -> Result<(), Error> {
        self.back(f, t).map_err(|e| ErrorKind::Field(e).into())
    }

    pub(crate) fn back(&mut self, f: &mut impl Field<T>, t: f64) -> Result<(), FieldError> {
        match self.scheme {
            // A symmetric step is undone by one in the other direction.
            Scheme::ReversibleHeun | Scheme::AsynchronousLeapfrog => self.advance(f, t),
            Scheme::Coupled { method, coupling } => self.retreat(f, method.tableau(), coupling, t),
        }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    fn advance(&mut self, f: &mut impl Field<T>, t: f64) -> Result<(), FieldError> {
        let h = t - self.t;
        let Reversible { y, companion, k, scratch, .. } = self;
        match self.scheme {
            Scheme::ReversibleHeun => {
                let (step, half) = (T::from_f64(h), T::from_f64(0.5 * h));
                for ((c, y), &k) in companion.iter_mut().zip(y.iter_mut()).zip(k.iter()) {
                    *c = *y + *y - *c + step * k;
                    *y += half * k;
                }
                f.eval(t, companion, k)?;
                costate_ops::axpy(half, k, y);
            }
            Scheme::AsynchronousLeapfrog => {
                let half = T::from_f64(0.5 * h);
                costate_ops::axpy(half, companion, y);
                // The same time, from either side.
                f.eval(0.5 * (self.t + t), y, k)?;
                for (v, &k) in companion.iter_mut().zip(k.iter()) {
                    *v = k + k - *v;
                }
                costate_ops::axpy(half, companion, y);
            }
            Scheme::Coupled { method, coupling } => {
                let tableau = method.tableau();
                increment(tableau, f, self.t, t, companion, k, scratch)?;
                let (near, far) = (T::from_f64(coupling), T::from_f64(1.0 - coupling));
                for ((y, &z), &d) in y.iter_mut().zip(companion.iter()).zip(scratch.iter()) {
                    *y = near * *y + far * z + d;
                }
                increment(tableau, f, t, self.t, y, k, scratch)?;
                costate_ops::axpy(-T::one(), scratch, companion);
            }
        }
        self.t = t;
        Ok(())
    }

    fn retreat(
        &mut self,
        f: &mut impl Field<T>,
        tableau: &Tableau,
        coupling: f64,
        t: f64,
    ) -> Result<(), FieldError> {
        let Reversible { y, companion, k, scratch, .. } = self;
        increment(tableau, f, self.t, t, y, k, scratch)?;
        costate_ops::axpy(T::one(), scratch, companion);
        increment(tableau, f, t, self.t, companion, k, scratch)?;
        let (near, far) = (T::from_f64(coupling), T::from_f64(1.0 - coupling));
        for ((y, &z), &d) in y.iter_mut().zip(companion.iter()).zip(scratch.iter()) {
            *y = (*y - far * z - d) / near;
        }
        self.t = t;
        Ok(())
    }
}

/// What an explicit method adds to `x` in a step from `t0` to `t1`, written to `out`.
pub(crate) fn increment<T: Real>(
    tableau: &Tableau,
    f: &mut impl Field<T>,
    t0: f64,
    t1: f64,
    x: &[T],
    k: &mut [T],
    out: &mut [T],
) -> Result<(), FieldError> {
    let (n, h) = (x.len(), t1 - t0);
    let last = tableau.rows() - 1;
    for i in 0..last {
        let (done, rest) = k.split_at_mut(i * n);
        combine(Some(x), h, tableau.a[i], done, out);
        f.eval(tableau.time(i, t0, t1), out, &mut rest[..n])?;
    }
    combine(None, h, &tableau.b[..last], k, out);
    Ok(())
}
