//! Algebraically reversible steps: from the state after a step the state before it is computed by
//! arithmetic alone, to rounding, so that nothing need be kept to go back.
//!
//! Each carries a companion of the state. A symmetric one-step method is reversible too, but an
//! explicit one is not symmetric; the companion makes explicit steps reversible.

use costate_ops::Buffer;

use crate::Real;
use crate::error::{Error, ErrorKind, FieldError};
use crate::field::Field;
use crate::method::{self, Method};
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
        /// The method: any explicit one. See [`coupled`](Scheme::coupled).
        method: &'static Tableau,
        /// `λ`, above 0 and at most 1, usually 0.999. Going back multiplies rounding errors by
        /// `1/λ` a step; smaller ones make steps forward more stable.
        coupling: f64,
    },
}

impl Scheme {
    /// [`Coupled`](Scheme::Coupled) solutions by the given method.
    pub fn coupled(method: impl Into<Method>, coupling: f64) -> Scheme {
        Scheme::Coupled { method: method.into().tableau(), coupling }
    }

    /// Its order and the solution between its steps.
    pub(crate) fn tableau(self) -> &'static Tableau {
        match self {
            Scheme::ReversibleHeun => &method::reversible::HEUN,
            Scheme::AsynchronousLeapfrog => &method::reversible::LEAPFROG,
            Scheme::Coupled { method, .. } => method::reversible::coupled(method),
        }
    }

    /// Checks a method that is to be coupled.
    pub(crate) fn check(self) -> Result<(), Error> {
        let Scheme::Coupled { method, coupling } = self else { return Ok(()) };
        // A Rosenbrock method's stages have no weight for its first slope.
        let explicit =
            method.is_explicit() && method.uses_first() && method.a[1].first() != Some(&0.0);
        if !explicit {
            return Err(ErrorKind::NotExplicit { method: method.name }.into());
        }
        // Written so that NaN fails.
        if !(coupling > 0.0 && coupling <= 1.0) {
            let (option, expected) = ("coupling", "above 0 and at most 1");
            return Err(ErrorKind::BadOption { option, value: coupling, expected }.into());
        }
        Ok(())
    }
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
    /// The estimate of the error of the last step.
    error: Buffer<T>,
}

impl<T: Real> Reversible<T> {
    /// Starts at `y0` at time `t`. Evaluates the field once, unless a method is coupled.
    ///
    /// # Errors
    /// If the state is empty, the method is not explicit or is for positions and momenta, its
    /// coupling is no number above 0 and at most 1, or the field fails.
    pub fn new(
        scheme: Scheme,
        f: &mut dyn Field<T>,
        t: f64,
        y0: &[T],
    ) -> Result<Reversible<T>, Error> {
        let n = y0.len();
        if n == 0 {
            return Err(ErrorKind::EmptyState.into());
        }
        scheme.check()?;
        let mut start = Reversible::blank(scheme, n);
        start.begin(f, t, y0).map_err(ErrorKind::Field)?;
        Ok(start)
    }

    /// Memory for states of `n` components.
    pub(crate) fn blank(scheme: Scheme, n: usize) -> Reversible<T> {
        let slopes = match scheme {
            Scheme::Coupled { method, .. } => method.rows() - 1,
            _ => 1,
        };
        Reversible {
            scheme,
            t: 0.0,
            y: Buffer::zeros(n),
            companion: Buffer::zeros(n),
            k: Buffer::zeros(slopes * n),
            scratch: Buffer::zeros(n),
            error: Buffer::zeros(n),
        }
    }

    /// Starts anew at another state.
    pub(crate) fn begin(
        &mut self,
        f: &mut dyn Field<T>,
        t: f64,
        y0: &[T],
    ) -> Result<(), FieldError> {
        self.t = t;
        self.y.copy_from_slice(y0);
        self.companion.copy_from_slice(y0);
        match self.scheme {
            Scheme::ReversibleHeun => f.eval(t, y0, &mut self.k),
            Scheme::AsynchronousLeapfrog => f.eval(t, y0, &mut self.companion),
            Scheme::Coupled { .. } => Ok(()),
        }
    }

    /// Goes to the state of another solve by the same scheme.
    pub(crate) fn copy_from(&mut self, other: &Reversible<T>) {
        self.t = other.t;
        self.y.copy_from_slice(&other.y);
        self.companion.copy_from_slice(&other.companion);
        if matches!(self.scheme, Scheme::ReversibleHeun) {
            self.k.copy_from_slice(&other.k);
        }
    }

    /// How many numbers it goes on from.
    pub(crate) fn point_len(&self) -> usize {
        let parts = if matches!(self.scheme, Scheme::ReversibleHeun) { 3 } else { 2 };
        parts * self.y.len()
    }

    /// Writes these numbers.
    pub(crate) fn write(&self, point: &mut [T]) {
        let n = self.y.len();
        point[..n].copy_from_slice(&self.y);
        point[n..2 * n].copy_from_slice(&self.companion);
        if point.len() > 2 * n {
            point[2 * n..].copy_from_slice(&self.k);
        }
    }

    /// Reads them.
    pub(crate) fn read(&mut self, t: f64, point: &[T]) {
        let n = self.y.len();
        self.t = t;
        self.y.copy_from_slice(&point[..n]);
        self.companion.copy_from_slice(&point[n..2 * n]);
        if point.len() > 2 * n {
            self.k.copy_from_slice(&point[2 * n..]);
        }
    }

    /// The estimate of the error of the last step forward: that of the method, or for reversible Heun
    /// the distance to a step of Euler's method. Of the asynchronous leapfrog there is none.
    pub(crate) fn error(&self) -> &[T] {
        &self.error
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
    pub fn step_to(&mut self, f: &mut dyn Field<T>, t: f64) -> Result<(), Error> {
        self.advance(f, t).map_err(|e| ErrorKind::Field(e).into())
    }

    /// Undoes the step that led here from the time `t`.
    ///
    /// # Errors
    /// If the field fails; then the state means nothing.
    pub fn step_back_to(&mut self, f: &mut dyn Field<T>, t: f64) -> Result<(), Error> {
        self.back(f, t).map_err(|e| ErrorKind::Field(e).into())
    }

    pub(crate) fn back(&mut self, f: &mut dyn Field<T>, t: f64) -> Result<(), FieldError> {
        match self.scheme {
            // A symmetric step is undone by one in the other direction.
            Scheme::ReversibleHeun | Scheme::AsynchronousLeapfrog => self.advance(f, t),
            Scheme::Coupled { method, coupling } => self.retreat(f, method, coupling, t),
        }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// For reversible Heun, the slope at the companion.
    pub(crate) fn slope(&self) -> &[T] {
        &self.k
    }

    fn advance(&mut self, f: &mut dyn Field<T>, t: f64) -> Result<(), FieldError> {
        let h = t - self.t;
        let Reversible { y, companion, k, scratch, error, .. } = self;
        match self.scheme {
            Scheme::ReversibleHeun => {
                let (step, half) = (T::from_f64(h), T::from_f64(0.5 * h));
                costate_ops::affine(-half, T::zero(), k, error);
                for ((c, y), &k) in companion.iter_mut().zip(y.iter_mut()).zip(k.iter()) {
                    *c = *y + *y - *c + step * k;
                    *y += half * k;
                }
                f.eval(t, companion, k)?;
                costate_ops::axpy(half, k, y);
                costate_ops::axpy(half, k, error);
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
                increment(method, f, self.t, t, companion, k, scratch)?;
                let last = method.rows() - 1;
                if let Some(weights) = method.error {
                    combine(None, h, &weights[..last], k, error);
                }
                let (near, far) = (T::from_f64(coupling), T::from_f64(1.0 - coupling));
                for ((y, &z), &d) in y.iter_mut().zip(companion.iter()).zip(scratch.iter()) {
                    *y = near * *y + far * z + d;
                }
                increment(method, f, t, self.t, y, k, scratch)?;
                costate_ops::axpy(-T::one(), scratch, companion);
                if let Some(weights) = method.error {
                    // The end slope is the first one on the way back.
                    let first = &k[..error.len()];
                    costate_ops::axpy(T::from_f64(h * weights[last]), first, error);
                }
            }
        }
        self.t = t;
        Ok(())
    }

    fn retreat(
        &mut self,
        f: &mut dyn Field<T>,
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
    f: &mut dyn Field<T>,
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
