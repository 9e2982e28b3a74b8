//! The solution as a function of time.

use crate::Real;
use crate::differences::Orders;
use crate::error::{Error, ErrorKind};
use crate::solve::{Solution, position};
use crate::stats::Stats;
use crate::step::Step;
use crate::tableau::Tableau;

/// A step as it is kept.
#[derive(Clone, Copy, Debug)]
struct Piece {
    t0: f64,
    h: f64,
    /// Where it ends: at `t0 + h`, or at an event before.
    end: f64,
    /// Whether the next one starts from another state than the one at its end.
    changed: bool,
    /// Where its slopes start.
    slopes: usize,
    /// The method, which may not be the same throughout.
    tableau: &'static Tableau,
}

/// A solution that can be evaluated at any time of its span: the steps with their interpolants.
///
/// It keeps the state, and all slopes, of each step: for [`Tsit5`](crate::Tsit5) 8 times the length
/// of the state. Where an event has changed the state, the value at its time is the one before.
///
/// ```
/// use costate_odeint::{Solver, Tsit5};
///
/// let f = |_t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0];
/// let solution = Solver::new(Tsit5).dense(f, &[1.0], 0.0, 3.0)?;
/// let (mut y, mut dy) = ([0.0], [0.0]);
/// solution.evaluate(1.7, &mut y)?;
/// solution.derivative(1.7, &mut dy)?;
/// assert!((y[0] - (-1.7f64).exp()).abs() < 1e-5 && (dy[0] + y[0]).abs() < 1e-4);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DenseSolution<T: Real> {
    dim: usize,
    pieces: Vec<Piece>,
    /// The state at the start of each piece, then the last one.
    y: Vec<T>,
    k: Vec<T>,
    start: f64,
    end: f64,
    /// What was done.
    pub stats: Stats,
}

impl<T: Real> DenseSolution<T> {
    pub(crate) fn new(y0: &[T], start: f64) -> DenseSolution<T> {
        DenseSolution {
            dim: y0.len(),
            pieces: Vec::new(),
            y: y0.to_vec(),
            k: Vec::new(),
            start,
            end: start,
            stats: Stats::default(),
        }
    }

    /// Adds a step up to the time `end`, where the state is `y1`.
    pub(crate) fn push(&mut self, step: &Step<'_, T>, end: f64, y1: &[T]) {
        // The start may not be the end of the last step: an event may have changed the state.
        let last = self.y.len() - self.dim;
        if let Some(piece) = self.pieces.last_mut() {
            piece.changed = self.y[last..] != *step.y0;
        }
        self.y[last..].copy_from_slice(step.y0);
        self.pieces.push(Piece {
            t0: step.t0,
            h: step.h,
            end,
            changed: false,
            slopes: self.k.len(),
            tableau: step.tableau,
        });
        self.k.extend_from_slice(step.k);
        self.y.extend_from_slice(y1);
        self.end = end;
    }

    /// The span: the time at which it starts, and the one up to which it goes.
    pub fn span(&self) -> (f64, f64) {
        (self.start, self.end)
    }

    /// The number of components of a state.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The times at which steps end, the start first.
    pub fn times(&self) -> impl ExactSizeIterator<Item = f64> {
        (0..self.pieces.len() + 1).map(|i| match i {
            0 => self.start,
            _ => self.pieces[i - 1].end,
        })
    }

    /// Writes the state at time `t` to `out`, from the interpolant of the step in which it lies.
    ///
    /// # Errors
    /// If `t` is outside the span.
    ///
    /// # Panics
    /// If `out` is not as long as the state.
    pub fn evaluate(&self, t: f64, out: &mut [T]) -> Result<(), Error> {
        self.check_len(out);
        let Some(i) = self.find(t)? else {
            out.copy_from_slice(&self.y);
            return Ok(());
        };
        // As for times that are saved: what cannot be told from the end of a step is its end.
        let is_end = |piece: &Piece| position(t, piece.t0, piece.h, piece.end) == 1.0;
        let i = if i > 0 && is_end(&self.pieces[i - 1]) { i - 1 } else { i };
        let Piece { t0, h, changed, .. } = self.pieces[i];
        let state = |i: usize| &self.y[i * self.dim..(i + 1) * self.dim];
        if t == t0 && i == 0 {
            out.copy_from_slice(state(0));
        } else if is_end(&self.pieces[i]) && !changed {
            out.copy_from_slice(state(i + 1));
        } else {
            self.step(i).interpolate((t - t0) / h, out);
        }
        Ok(())
    }

    /// Writes the derivative of the state with respect to time at `t` to `out`: that of the
    /// interpolant, which is one order less accurate than its value.
    ///
    /// # Errors
    /// If `t` is outside the span.
    ///
    /// # Panics
    /// If `out` is not as long as the state.
    pub fn derivative(&self, t: f64, out: &mut [T]) -> Result<(), Error> {
        self.check_len(out);
        let Some(i) = self.find(t)? else {
            // Without a step there is no slope.
            return Err(self.outside(t));
        };
        let Piece { t0, h, .. } = self.pieces[i];
        self.step(i).interpolate_derivative((t - t0) / h, out);
        Ok(())
    }

    /// The states at several times.
    ///
    /// # Errors
    /// If one of them is outside the span.
    pub fn at(&self, ts: &[f64]) -> Result<Solution<T>, Error> {
        let mut ys = vec![T::zero(); ts.len() * self.dim];
        for (&t, y) in ts.iter().zip(ys.chunks_exact_mut(self.dim)) {
            self.evaluate(t, y)?;
        }
        Ok(Solution { ts: ts.to_vec(), ys, dim: self.dim, stats: self.stats })
    }

    #[track_caller]
    fn check_len(&self, out: &[T]) {
        let (found, dim) = (out.len(), self.dim);
        assert!(found == dim, "the state has {dim} components, but there is room for {found}");
    }

    fn outside(&self, t: f64) -> Error {
        ErrorKind::OutsideSpan { t, start: self.start, end: self.end }.into()
    }

    /// The piece in which a time lies, the earlier one at its end; `None` if there are no pieces.
    fn find(&self, t: f64) -> Result<Option<usize>, Error> {
        let forward = self.end >= self.start;
        let before = |a: f64, b: f64| if forward { a < b } else { a > b };
        if t.is_nan() || before(t, self.start) || before(self.end, t) {
            return Err(self.outside(t));
        }
        let i = self.pieces.partition_point(|piece| before(piece.end, t));
        Ok((i < self.pieces.len()).then_some(i))
    }

    fn step(&self, i: usize) -> Step<'_, T> {
        let Piece { t0, h, end, slopes, tableau, .. } = self.pieces[i];
        Step {
            t0,
            h,
            t1: end,
            y0: &self.y[i * self.dim..(i + 1) * self.dim],
            y1: &self.y[(i + 1) * self.dim..(i + 2) * self.dim],
            k: &self.k[slopes..slopes + tableau.slopes() * self.dim],
            rounds: 1,
            orders: Orders::default(),
            tableau,
        }
    }
}
