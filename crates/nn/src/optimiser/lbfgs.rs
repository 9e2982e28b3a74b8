//! The quasi-Newton method of limited memory.

use std::collections::VecDeque;

use costate_odeint::Real;
use costate_tape::{Tape, Var};

use super::line_search::{Point, Wolfe};
use crate::error::{Error, Result};
use crate::params::{Bound, Params};
use crate::state::{Persist, State};

/// L-BFGS (D. C. Liu, J. Nocedal, Math. Program. 45 (1989) 503) with steps that satisfy the strong
/// Wolfe conditions: for losses that are the same at every evaluation, such as a fit to all data.
///
/// It needs the loss at several places for each step, so it is not an
/// [`Optimiser`](crate::Optimiser); see [`Params::minimise`].
#[derive(Clone, Debug)]
pub struct Lbfgs {
    memory: usize,
    tolerance: f64,
    evaluations: usize,
    pairs: VecDeque<Pair>,
}

/// A step, the change of the gradient along it, and `1/(s · y)`.
#[derive(Clone, Debug)]
struct Pair {
    s: Vec<f64>,
    y: Vec<f64>,
    rho: f64,
}

/// Why a minimisation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The largest entry of the gradient is within the tolerance.
    Converged,
    /// All iterations were made.
    Iterations,
    /// No step along the direction decreases the loss further: it is minimal to rounding.
    NoDecrease,
}

/// Where a minimisation ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minimum {
    /// The loss there.
    pub loss: f64,
    /// The largest entry of its gradient.
    pub gradient: f64,
    /// How many steps were taken.
    pub iterations: usize,
    /// How often loss and gradient were computed.
    pub evaluations: usize,
    /// Why it ended.
    pub stopped: Stopped,
}

impl Default for Lbfgs {
    fn default() -> Lbfgs {
        Lbfgs::new(10)
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn largest(x: &[f64]) -> f64 {
    x.iter().map(|x| x.abs()).fold(0.0, f64::max)
}

impl Lbfgs {
    /// That remembers as many steps; 5 to 20 are usual.
    ///
    /// # Panics
    /// If that is none.
    #[track_caller]
    pub fn new(memory: usize) -> Lbfgs {
        assert!(memory > 0, "Lbfgs: a memory of at least one step");
        Lbfgs { memory, tolerance: 1e-8, evaluations: 25, pairs: VecDeque::new() }
    }

    /// That ends where the largest entry of the gradient is at most this; by default 1e-8.
    pub fn tolerance(mut self, tolerance: f64) -> Lbfgs {
        self.tolerance = tolerance;
        self
    }

    /// Minimises `f`, which returns a value and its gradient, from `x` on, and leaves `x` at the
    /// best place found. What it learned about curvature stays for the next call.
    ///
    /// ```
    /// use costate_nn::Lbfgs;
    ///
    /// // Rosenbrock's valley.
    /// let mut x = [-1.2, 1.0];
    /// let minimum = Lbfgs::new(5).minimise(&mut x, 100, |x: &[f64]| {
    ///     let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
    ///     Ok((a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b]))
    /// })?;
    /// assert!((x[0] - 1.0).abs() < 1e-8 && minimum.loss < 1e-15);
    /// # Ok::<(), costate_nn::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `f`, or if it is not finite at the start; `x` is then the best place so far. Where,
    /// after that, `f` is not finite or an ODE solve in it fails, the step is made shorter.
    ///
    /// # Panics
    /// If a gradient has not as many entries as `x`, or `x` another number than in earlier calls.
    #[track_caller]
    pub fn minimise<T: Real>(
        &mut self,
        x: &mut [T],
        iterations: usize,
        mut f: impl FnMut(&[T]) -> Result<(T, Vec<T>)>,
    ) -> Result<Minimum> {
        let n = x.len();
        if let Some(pair) = self.pairs.front() {
            let had = pair.s.len();
            assert!(had == n, "Lbfgs: {n} parameters; at its first step there were {had}");
        }
        let mut evaluations = 0;
        let mut evaluate = |x: &[T]| -> Result<(f64, Vec<f64>)> {
            evaluations += 1;
            let (value, gradient) = f(x)?;
            let found = gradient.len();
            assert!(found == n, "Lbfgs: a gradient of {found} entries for {n} parameters");
            Ok((value.as_f64(), gradient.iter().map(|g| g.as_f64()).collect()))
        };
        let (mut loss, mut gradient) = evaluate(x)?;
        if !loss.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            return Err(Error::non_finite("the loss at the start, or its gradient,"));
        }
        let wolfe = Wolfe { c1: 1e-4, c2: 0.9, evaluations: self.evaluations };
        let mut taken = 0;
        let stopped = loop {
            if largest(&gradient) <= self.tolerance {
                break Stopped::Converged;
            }
            if taken == iterations {
                break Stopped::Iterations;
            }
            let mut direction = self.direction(&gradient);
            let mut slope = dot(&direction, &gradient);
            if slope.is_nan() || slope >= 0.0 {
                // Rounding has spoiled what was learned.
                self.pairs.clear();
                direction = gradient.iter().map(|g| -g).collect();
                slope = -dot(&gradient, &gradient);
            }
            // Without curvature the first step is one of length at most 1.
            let first = if self.pairs.is_empty() { 1f64.min(1.0 / (-slope).sqrt()) } else { 1.0 };
            let zero = Point { at: 0.0, value: loss, slope };
            let mut tried: Vec<(f64, Vec<T>, f64, Vec<f64>)> = Vec::new();
            let found = wolfe.search(zero, first, |at| {
                let there: Vec<T> = x
                    .iter()
                    .zip(&direction)
                    .map(|(x, d)| T::from_f64(x.as_f64() + at * d))
                    .collect();
                let (value, g) = match evaluate(&there) {
                    Ok(result) => result,
                    // Too far for the loss to exist; the search comes back.
                    Err(e) if e.is_non_finite() || e.solve_error().is_some() => {
                        (f64::INFINITY, vec![f64::NAN; n])
                    }
                    Err(e) => return Err(e),
                };
                let slope = dot(&g, &direction);
                tried.push((at, there, value, g));
                Ok(Point { at, value, slope })
            })?;
            let step = found.and_then(|p| tried.into_iter().find(|(at, ..)| *at == p.at));
            let Some((_, there, value, g)) = step else {
                if self.pairs.is_empty() {
                    break Stopped::NoDecrease;
                }
                self.pairs.clear();
                continue;
            };
            let s: Vec<f64> = there.iter().zip(&*x).map(|(a, b)| a.as_f64() - b.as_f64()).collect();
            let y: Vec<f64> = g.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            let (sy, ss, yy) = (dot(&s, &y), dot(&s, &s), dot(&y, &y));
            // Only a positive curvature keeps the directions downhill.
            if sy > f64::EPSILON * (ss * yy).sqrt() {
                if self.pairs.len() == self.memory {
                    self.pairs.pop_front();
                }
                self.pairs.push_back(Pair { s, y, rho: 1.0 / sy });
            }
            x.copy_from_slice(&there);
            (loss, gradient) = (value, g);
            taken += 1;
        };
        let gradient = largest(&gradient);
        Ok(Minimum { loss, gradient, iterations: taken, evaluations, stopped })
    }

    /// `-H g` with the inverse Hessian `H` that the remembered steps suggest (two-loop recursion).
    fn direction(&self, gradient: &[f64]) -> Vec<f64> {
        let mut q = gradient.to_vec();
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.s, &q);
            q.iter_mut().zip(&pair.y).for_each(|(q, y)| *q -= alpha * y);
            alphas.push(alpha);
        }
        if let Some(last) = self.pairs.back() {
            let scale = 1.0 / (last.rho * dot(&last.y, &last.y));
            q.iter_mut().for_each(|q| *q *= scale);
        }
        for (pair, alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = pair.rho * dot(&pair.y, &q);
            q.iter_mut().zip(&pair.s).for_each(|(q, s)| *q += (alpha - beta) * s);
        }
        q.iter_mut().for_each(|q| *q = -*q);
        q
    }
}

impl<T: Real> Params<T> {
    /// Minimises a loss by [`Lbfgs`]. What is frozen stays.
    ///
    /// # Errors
    /// Those of `loss` and of its gradient; after the start, other than that it is not finite or
    /// that a solve fails: those make the step shorter.
    ///
    /// # Panics
    /// If the loss has more than one entry.
    pub fn minimise<F>(&mut self, lbfgs: &mut Lbfgs, iterations: usize, loss: F) -> Result<Minimum>
    where
        F: for<'t> Fn(&'t Tape<T>, &Bound<'t, T>) -> Result<Var<'t, T>>,
    {
        let mut x = self.values().to_vec();
        let result = lbfgs.minimise(&mut x, iterations, |x| {
            self.values_mut().copy_from_slice(x);
            self.gradient(&loss)
        });
        self.values_mut().copy_from_slice(&x);
        result
    }
}

impl Persist for Lbfgs {
    fn store(&self, state: &mut State) {
        let all = |part: fn(&Pair) -> &[f64]| -> Vec<f64> {
            self.pairs.iter().flat_map(|pair| part(pair).iter().copied()).collect()
        };
        state.put("steps", &all(|pair| &pair.s));
        state.put("changes", &all(|pair| &pair.y));
        state.put("rhos", &all(|pair| std::slice::from_ref(&pair.rho)));
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        let rhos: Vec<f64> = state.get("rhos", None)?;
        let steps: Vec<f64> = state.get("steps", None)?;
        let changes: Vec<f64> = state.get("changes", Some(steps.len()))?;
        let n = steps.len() / rhos.len().max(1);
        if n * rhos.len() != steps.len() || (n == 0 && !rhos.is_empty()) {
            let message = format!("{} numbers for {} steps", steps.len(), rhos.len());
            return Err(Error::state(message));
        }
        let pair = |(i, &rho): (usize, &f64)| {
            let range = i * n..(i + 1) * n;
            Pair { s: steps[range.clone()].to_vec(), y: changes[range].to_vec(), rho }
        };
        self.pairs = rhos.iter().enumerate().map(pair).collect();
        Ok(())
    }
}
