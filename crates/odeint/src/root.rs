//! Roots and fixed points, differentiated by the implicit function theorem.

use costate_ops::{axpy, lu_factor, lu_solve};
use costate_tape::{CallError, Program, Result, Var, Workspace};

use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::implicit::{Kind, implicit};
use crate::krylov::{Gmres, norm};

/// The least part of a Newton step that is tried.
const SHORTEST: f64 = 1e-6;
/// To which part of the residual a Newton step by products is computed.
const FORCING: f64 = 1e-6;
/// Products with the Jacobian for one system.
const PRODUCTS: usize = 1000;

/// A solver of equations whose solution is an operation of the tape.
///
/// [`root`](RootFinder::root) finds `x` with `G(x) = 0` by Newton's method with a line search,
/// [`steady_state`](RootFinder::steady_state) by following `dx/dt = G(x)` first. The Jacobian is had
/// from the tape: as a matrix for at most 128 unknowns, by products with it (GMRES) for more. How
/// the root was found does not enter its derivatives: with `G(x, θ) = 0`,
///
/// ```text
/// G_xᵀ λ = -x̄,   θ̄ = G_θᵀ λ
/// ```
///
/// which is again an equation that the tape solves, so that derivatives of any order exist, and a
/// function with a root inside is compiled and replayed as any other. Nothing of the iterations is
/// kept. The guess has no derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RootFinder {
    rtol: f64,
    atol: f64,
    max_iterations: usize,
    /// The first size of a step in time, and whether there are such steps.
    dt0: f64,
    flow: bool,
}

impl Default for RootFinder {
    fn default() -> Self {
        RootFinder::new()
    }
}

impl RootFinder {
    /// With relative tolerance 1e-10, absolute tolerance 1e-12 and at most 100 iterations.
    pub fn new() -> RootFinder {
        RootFinder { rtol: 1e-10, atol: 1e-12, max_iterations: 100, dt0: 1.0, flow: false }
    }

    /// Iterates until a Newton step changes no entry by more than `atol + rtol |x_i|`; since such
    /// steps converge quadratically, the root is then far closer. No less than 16 units in the last
    /// place of the largest entry is asked for.
    pub fn tolerance(mut self, rtol: f64, atol: f64) -> RootFinder {
        (self.rtol, self.atol) = (rtol, atol);
        self
    }

    /// With another limit to the number of iterations.
    pub fn max_iterations(mut self, n: usize) -> RootFinder {
        self.max_iterations = n;
        self
    }

    /// With another size of the first step in time of a
    /// [`steady_state`](RootFinder::steady_state), by default 1: about the shortest time in which
    /// the solution changes is a good one.
    pub fn dt0(mut self, dt: f64) -> RootFinder {
        self.dt0 = dt;
        self
    }

    /// The same, but by steps in time.
    pub(crate) fn flow(mut self) -> RootFinder {
        self.flow = true;
        self
    }

    /// The `x` near `guess` with `g(x) = 0`. `g` returns as many numbers as `x` has, in its shape,
    /// and captures what it likes.
    ///
    /// # Errors
    /// If the iterations do not converge ([`ErrorKind::NoRoot`]), the Jacobian is singular
    /// ([`ErrorKind::SingularJacobian`]), or `g` fails or [reads a number](Var::value).
    ///
    /// # Panics
    /// If `g` returns another shape.
    #[track_caller]
    pub fn root<'t, T: Real>(
        &self,
        g: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
        guess: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        implicit("root", g, guess, *self, Kind::General)
    }

    /// The `x` near `guess` with `x = g(x)`. It need not attract.
    ///
    /// # Errors
    /// As [`root`](RootFinder::root).
    ///
    /// # Panics
    /// If `g` returns another shape.
    #[track_caller]
    pub fn fixed_point<'t, T: Real>(
        &self,
        g: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
        guess: Var<'t, T>,
    ) -> Result<Var<'t, T>> {
        let what = "fixed_point";
        let residual = |x: Var<'t, T>| {
            let y = g(x)?;
            let (found, expected) = (y.shape(), x.shape());
            assert!(
                found == expected,
                "{what}: the function returns shape {found} for an unknown of shape {expected}"
            );
            Ok(y - x)
        };
        implicit(what, residual, guess, *self, Kind::General)
    }
}

/// The `x` near `guess` with `g(x) = 0`, differentiable with respect to all that `g` captures:
/// [`RootFinder::root`] with the default tolerance.
///
/// ```
/// use costate_odeint::root;
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let a = tape.scalar(2.0);
/// let x = root(|x| Ok(x * x - a), tape.scalar(1.0))?;
/// let dx = x.grad(&[a])?[0];
/// let ddx = dx.grad(&[a])?[0];
/// assert!((x.item() - 2f64.sqrt()).abs() < 1e-15);
/// assert!((dx.item() - 0.5 / 2f64.sqrt()).abs() < 1e-15);
/// assert!((ddx.item() + 0.25 / 2f64.powf(1.5)).abs() < 1e-15);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// As [`RootFinder::root`].
///
/// # Panics
/// If `g` returns another shape.
#[track_caller]
pub fn root<'t, T: Real>(
    g: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    guess: Var<'t, T>,
) -> Result<Var<'t, T>> {
    RootFinder::new().root(g, guess)
}

/// The `x` near `guess` with `x = g(x)`, differentiable with respect to all that `g` captures:
/// [`RootFinder::fixed_point`] with the default tolerance.
///
/// A deep equilibrium layer (S. Bai, J. Z. Kolter, V. Koltun, *Deep equilibrium models*, NeurIPS
/// 2019), whose output is the fixed point of one layer applied again and again:
///
/// ```
/// use costate_odeint::fixed_point;
/// use costate_tape::Tape;
/// use ndarray::{arr1, arr2};
///
/// let tape = Tape::<f64>::new();
/// let w = tape.constant(&arr2(&[[0.3, -0.4], [0.2, 0.1]]));
/// let u = tape.constant(&arr2(&[[1.0, 0.5], [-0.5, 2.0]]));
/// let input = tape.constant(&arr1(&[0.7, -0.2]));
/// let z = fixed_point(|z| Ok((z.matmul(w) + input.matmul(u)).tanh()), tape.zeros([2]))?;
/// let again = (z.matmul(w) + input.matmul(u)).tanh();
/// assert!((z - again).to_vec().iter().all(|d| d.abs() < 1e-15));
/// // The gradient keeps nothing of the iterations.
/// let g = z.square().sum().grad(&[w, u, input])?;
/// assert_eq!(g[0].shape(), w.shape());
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// As [`RootFinder::root`].
///
/// # Panics
/// If `g` returns another shape.
#[track_caller]
pub fn fixed_point<'t, T: Real>(
    g: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    guess: Var<'t, T>,
) -> Result<Var<'t, T>> {
    RootFinder::new().fixed_point(g, guess)
}

/// An equation at work.
pub(crate) struct Equation<'a, T: Real> {
    pub residual: &'a Program<T>,
    /// The program of the Jacobian if `dense`, else of products with it.
    pub derivative: &'a Program<T>,
    pub dense: bool,
    pub captured: &'a [&'a [T]],
    pub gmres: Gmres<T>,
}

/// The memory of the iterations.
#[derive(Debug)]
pub(crate) struct Unknown<T: Real> {
    workspaces: [Workspace<T>; 2],
    g: Vec<T>,
    step: Vec<T>,
    trial: Vec<T>,
    matrix: Vec<T>,
    pivots: Vec<usize>,
}

impl<T: Real> Unknown<T> {
    pub fn new(n: usize, residual: &Program<T>, derivative: &Program<T>) -> Unknown<T> {
        Unknown {
            workspaces: [Workspace::new(residual), Workspace::new(derivative)],
            g: vec![T::zero(); n],
            step: vec![T::zero(); n],
            trial: vec![T::zero(); n],
            matrix: Vec::new(),
            pivots: vec![0; n],
        }
    }

    /// `g ← G(x)`, and its norm.
    fn residual(&mut self, of: &Equation<'_, T>, x: &[T]) -> Result<f64> {
        let inputs: Vec<&[T]> = [x].iter().chain(of.captured).copied().collect();
        self.g.copy_from_slice(of.residual.evaluate(&mut self.workspaces[0], &inputs)?.get(0));
        Ok(norm(&self.g))
    }

    /// `step ← -(G_x - shift I)⁻¹ g`, the derivative at `x`. Returns the part of `g` that is left,
    /// infinite if the matrix is singular.
    fn newton(
        &mut self,
        of: &mut Equation<'_, T>,
        x: &[T],
        shift: f64,
        forcing: f64,
    ) -> Result<f64> {
        let n = x.len();
        let minus_shift = T::from_f64(-shift);
        if of.dense {
            let inputs: Vec<&[T]> = [x].iter().chain(of.captured).copied().collect();
            let jacobian = of.derivative.evaluate(&mut self.workspaces[1], &inputs)?;
            self.matrix.clear();
            self.matrix.extend_from_slice(jacobian.get(0));
            (0..n).for_each(|i| self.matrix[i * n + i] += minus_shift);
            for (step, &g) in self.step.iter_mut().zip(&self.g) {
                *step = -g;
            }
            if !lu_factor(n, &mut self.matrix, &mut self.pivots) {
                return Ok(f64::INFINITY);
            }
            lu_solve(n, &self.matrix, &self.pivots, &mut self.step);
            return Ok(0.0);
        }
        let apply = |v: &[T], out: &mut [T]| -> Result<()> {
            let inputs: Vec<&[T]> = [x].iter().chain(of.captured).copied().chain([v]).collect();
            out.copy_from_slice(of.derivative.evaluate(&mut self.workspaces[1], &inputs)?.get(1));
            axpy(minus_shift, v, out);
            Ok(())
        };
        let minus: Vec<T> = self.g.iter().map(|&g| -g).collect();
        of.gmres.solve(apply, &minus, &mut self.step, forcing, PRODUCTS)
    }

    fn all_finite(&self) -> bool {
        self.step.iter().all(|x| x.is_finite())
    }
}

impl RootFinder {
    /// From a guess in `x` to the root.
    pub(crate) fn find<T: Real>(
        &self,
        of: &mut Equation<'_, T>,
        unknown: &mut Unknown<T>,
        x: &mut [T],
    ) -> std::result::Result<(), CallError> {
        let mut size = unknown.residual(of, x)?;
        let mut shift = if self.flow { 1.0 / self.dt0 } else { 0.0 };
        let mut done = 0;
        let failed = |unknown: &Unknown<T>, iterations, residual| {
            let entries = unknown.g.iter().map(|g| g.as_f64().abs()).enumerate();
            let worst = entries.max_by(|a, b| a.1.total_cmp(&b.1));
            let component = worst.map_or(0, |(i, _)| i);
            Err(Error::from(ErrorKind::NoRoot { iterations, residual, component }).into())
        };
        while size.is_finite() && done < self.max_iterations {
            done += 1;
            let left = unknown.newton(of, x, shift, FORCING)?;
            if !(left.is_finite() && unknown.all_finite()) {
                if !self.flow {
                    return Err(
                        Error::from(ErrorKind::SingularJacobian { iterations: done }).into()
                    );
                }
                // A shorter step in time has a matrix nearer to the unit matrix.
                shift *= 4.0;
                continue;
            }
            // A step in time is not a step to the root unless it is a long one.
            let is_newton = shift * norm(&unknown.step) <= 0.1 * size;
            if is_newton && self.is_small(&unknown.step, x) {
                axpy(T::one(), &unknown.step, x);
                return Ok(());
            }
            let before = size;
            if self.flow {
                unknown.trial.copy_from_slice(x);
                axpy(T::one(), &unknown.step, &mut unknown.trial);
                size = self.residual_at_trial(of, unknown)?;
                if !size.is_finite() || size > 10.0 * before {
                    shift *= 4.0;
                    size = unknown.residual(of, x)?;
                    continue;
                }
                x.copy_from_slice(&unknown.trial);
                // Steps grow as the residual falls (switched evolution relaxation).
                shift *= (size / before).clamp(0.02, 2.0);
                continue;
            }
            let mut part = 1.0;
            loop {
                unknown.trial.copy_from_slice(x);
                axpy(T::from_f64(part), &unknown.step, &mut unknown.trial);
                size = self.residual_at_trial(of, unknown)?;
                if size <= (1.0 - 1e-4 * part) * before {
                    x.copy_from_slice(&unknown.trial);
                    break;
                }
                part *= 0.5;
                if part < SHORTEST {
                    // As near as rounding allows, if the steps are short.
                    let root = T::EPSILON.as_f64().sqrt();
                    if relative(&unknown.step, x) <= root {
                        return Ok(());
                    }
                    unknown.residual(of, x)?;
                    return failed(unknown, done, before);
                }
            }
        }
        failed(unknown, done, size)
    }

    fn residual_at_trial<T: Real>(
        &self,
        of: &Equation<'_, T>,
        unknown: &mut Unknown<T>,
    ) -> Result<f64> {
        let trial = std::mem::take(&mut unknown.trial);
        let size = unknown.residual(of, &trial);
        unknown.trial = trial;
        size
    }

    fn is_small<T: Real>(&self, step: &[T], x: &[T]) -> bool {
        let epsilon = 16.0 * T::EPSILON.as_f64();
        let largest = x.iter().map(|x| x.as_f64().abs()).fold(0.0, f64::max);
        step.iter().zip(x).all(|(d, x)| {
            let allowed = self.atol + self.rtol * x.as_f64().abs();
            d.as_f64().abs() <= allowed.max(epsilon * largest)
        })
    }

    /// The root of a linear equation, from `x = 0`, to rounding.
    pub(crate) fn find_linear<T: Real>(
        &self,
        of: &mut Equation<'_, T>,
        unknown: &mut Unknown<T>,
        x: &mut [T],
    ) -> std::result::Result<(), CallError> {
        x.fill(T::zero());
        let start = unknown.residual(of, x)?;
        let mut size = start;
        // The second round is one of iterative refinement.
        for round in 0..2 {
            if size == 0.0 {
                return Ok(());
            }
            let left = unknown.newton(of, x, 0.0, T::EPSILON.as_f64())?;
            if !(left.is_finite() && unknown.all_finite() && size.is_finite()) {
                return Err(Error::from(ErrorKind::SingularJacobian { iterations: round }).into());
            }
            unknown.trial.copy_from_slice(x);
            axpy(T::one(), &unknown.step, &mut unknown.trial);
            let after = self.residual_at_trial(of, unknown)?;
            if after >= size {
                break;
            }
            x.copy_from_slice(&unknown.trial);
            size = after;
        }
        // Products alone do not show that a matrix is singular, but that they do not converge.
        if !of.dense && size > T::EPSILON.as_f64().sqrt() * start {
            return Err(Error::from(ErrorKind::SingularJacobian { iterations: PRODUCTS }).into());
        }
        Ok(())
    }
}

/// The largest entry of `step` over that of `x`.
fn relative<T: Real>(step: &[T], x: &[T]) -> f64 {
    let largest = |x: &[T]| x.iter().map(|x| x.as_f64().abs()).fold(0.0, f64::max);
    largest(step) / largest(x)
}
