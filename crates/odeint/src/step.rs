//! One step of a Runge–Kutta method, and the solution within it.

use smallvec::SmallVec;

use crate::Real;
use crate::differences::Orders;
use crate::error::FieldError;
use crate::field::Field;
use crate::kept::Kept;
use crate::tableau::Tableau;

/// `out = y + h Σ c_j k_j`; without `y`, `h Σ c_j k_j`. `k` holds the slopes one after another;
/// those with coefficient 0 are left out.
///
/// The state is added last: each sum with it is rounded to as many digits as it has, and over the steps
/// of a solve these errors add up. Up to four numbers it comes first, since there a step waits for
/// its newest slope, and then for each sum that comes after.
pub(crate) fn combine<T: Real>(y: Option<&[T]>, h: f64, c: &[f64], k: &[T], out: &mut [T]) {
    match out.len() {
        1 => return combine_few::<T, 1>(y, h, c, k, out),
        2 => return combine_few::<T, 2>(y, h, c, k, out),
        3 => return combine_few::<T, 3>(y, h, c, k, out),
        4 => return combine_few::<T, 4>(y, h, c, k, out),
        _ => {}
    }
    costate_ops::combine(h, c, k, y, out);
}

/// [`combine`] of slopes that lie anywhere.
pub(crate) fn combine_rows<T: Real>(y: Option<&[T]>, h: f64, c: &[f64], k: &[&[T]], out: &mut [T]) {
    if out.len() > 4 {
        return costate_ops::combine_rows(h, c, k, y, out);
    }
    let mut few: SmallVec<[T; 64]> = SmallVec::new();
    k.iter().take(c.len()).for_each(|k| few.extend_from_slice(k));
    combine(y, h, c, &few, out);
}

/// Slopes that follow each other.
pub(crate) fn slopes_of<T>(k: &[T], n: usize) -> SmallVec<[&[T]; 32]> {
    k.chunks_exact(n).collect()
}

/// The state `y0 + h Σ a_ij k_j` of stage `i` of an explicit method; `a_ii` does not count.
pub(crate) fn stage_state<T: Real>(
    tableau: &Tableau,
    i: usize,
    y0: &[T],
    h: f64,
    k: &[&[T]],
    out: &mut [T],
) {
    let row = tableau.row(i);
    if !tableau.starts_before(i) {
        return combine_rows(Some(y0), h, &row[..i.min(row.len())], k, out);
    }
    stage_state(tableau, i - 1, y0, h, k, out);
    for (c, k) in tableau.increments(i).zip(k) {
        costate_ops::axpy(T::from_f64(h * c), k, out);
    }
}

/// [`combine`] for a state so small that it stays in registers.
#[inline(always)]
fn combine_few<T: Real, const D: usize>(
    y: Option<&[T]>,
    h: f64,
    c: &[f64],
    k: &[T],
    out: &mut [T],
) {
    let mut sum = [T::zero(); D];
    if let Some(y) = y {
        sum.copy_from_slice(&y[..D]);
    }
    out.copy_from_slice(&sum_few(sum, h, c, k.as_chunks().0));
}

/// `y + h Σ c_j k_j`, without the slopes with coefficient 0.
#[inline(always)]
pub(crate) fn sum_few<T: Real, const D: usize>(
    mut y: [T; D],
    h: f64,
    c: &[f64],
    k: &[[T; D]],
) -> [T; D] {
    for (&c, k) in c.iter().zip(k).filter(|(c, _)| **c != 0.0) {
        let c = T::from_f64(h * c);
        for i in 0..D {
            y[i] += c * k[i];
        }
    }
    y
}

/// A step that was taken.
#[derive(Debug)]
pub struct Step<'a, T: Real> {
    /// Its start.
    pub t0: f64,
    /// Its size; negative backward in time.
    pub h: f64,
    /// Its end.
    pub t1: f64,
    /// The state at its start.
    pub y0: &'a [T],
    /// The state at its end.
    pub y1: &'a [T],
    /// The slopes, one after another. The first one is there if the method
    /// [uses it](Tableau::uses_first) or the interpolant needed it. The end slope is there only if the error estimate or
    /// [`Integrator::end_slope`](crate::Integrator::end_slope) needed it, and the interpolant's own
    /// follow only after [`Integrator::dense_slopes`](crate::Integrator::dense_slopes).
    pub k: &'a [T],
    /// How often coupled stages were iterated; 1 if the method is explicit.
    pub rounds: usize,
    /// Those of the step of a multistep method.
    pub(crate) orders: Orders,
    /// The method.
    pub tableau: &'static Tableau,
}

impl<T: Real> Step<'_, T> {
    /// The order: that of the method, or the one that a method of variable order has chosen.
    pub fn order(&self) -> usize {
        match self.tableau.is_multistep() {
            true => self.orders.order,
            false => self.tableau.order as usize,
        }
    }

    /// The state at `t0 + theta h`, for `0 ≤ theta ≤ 1`.
    ///
    /// The slopes that the interpolant needs must be there:
    /// [`Integrator::dense_slopes`](crate::Integrator::dense_slopes).
    ///
    /// # Panics
    /// If `out` is not as long as the state, or the interpolant's own slopes are not there.
    pub fn interpolate(&self, theta: f64, out: &mut [T]) {
        match self.y0.len() {
            1 => return self.interpolate_few::<1>(theta, out),
            2 => return self.interpolate_few::<2>(theta, out),
            3 => return self.interpolate_few::<3>(theta, out),
            4 => return self.interpolate_few::<4>(theta, out),
            _ => {}
        }
        let weights = self.weights(|i| self.tableau.interpolant.weight(i, theta));
        combine(Some(self.y0), self.h, &weights, self.k, out);
    }

    /// The derivative of the state with respect to time at `t0 + theta h`.
    ///
    /// # Panics
    /// As [`interpolate`](Step::interpolate).
    pub fn interpolate_derivative(&self, theta: f64, out: &mut [T]) {
        let weights = self.weights(|i| self.tableau.interpolant.weight_derivative(i, theta));
        combine(None, 1.0, &weights, self.k, out);
    }

    /// [`interpolate`](Self::interpolate) for a state so small that it stays in registers.
    #[inline(always)]
    fn interpolate_few<const D: usize>(&self, theta: f64, out: &mut [T]) {
        self.check_slopes();
        let (k, rows) = (self.k.as_chunks::<D>().0, self.tableau.interpolant.weights);
        let mut y: [T; D] = std::array::from_fn(|d| self.y0[d]);
        for (row, k) in rows.iter().zip(k) {
            let weight = row.iter().rev().fold(0.0, |sum, &c| (sum + c) * theta);
            if weight != 0.0 {
                let weight = T::from_f64(self.h * weight);
                for d in 0..D {
                    y[d] += weight * k[d];
                }
            }
        }
        out.copy_from_slice(&y);
    }

    fn weights(&self, weight: impl Fn(usize) -> f64) -> SmallVec<[f64; 32]> {
        self.check_slopes();
        (0..self.tableau.slopes()).map(weight).collect()
    }

    /// Panics unless the slopes that the interpolant needs are there.
    #[inline(always)]
    fn check_slopes(&self) {
        let (found, needed) = (self.k.len() / self.y0.len(), self.tableau.slopes());
        assert!(
            found == needed,
            "interpolate: {} needs {needed} slopes, but the step has {found}; see \
             `Integrator::dense_slopes`",
            self.tableau.name
        );
    }
}

/// One step of an explicit method from `y0` at `t0` to `t1`, without error control: writes the state at `t1` to `y1`, and
/// the slopes to `k`, one after another.
///
/// The first slope, `f(t0, y0)`, must be in `k` already, if the method
/// [uses it](Tableau::uses_first). The end slope is evaluated only if the
/// [error estimate needs it](Tableau::error_needs_end); otherwise the last row of `k` is left as it
/// was. Nothing is checked to be finite, and nothing is allocated.
///
/// # Errors
/// Those of the field; `k` and `y1` then hold nothing of use.
///
/// # Panics
/// If the stages are implicit or [coupled](Tableau::coupled), `y0` is empty, `y1` is not as long as
/// `y0`, or `k` is not [`Tableau::rows`] times as long.
pub fn rk_step<T: Real>(
    tableau: &Tableau,
    f: &mut impl Field<T>,
    t0: f64,
    t1: f64,
    y0: &[T],
    k: &mut [T],
    y1: &mut [T],
) -> Result<(), FieldError> {
    keeping_step(tableau, f, t0, t1, y0, k, y1, &mut Kept::default())
}

/// [`rk_step`] that keeps what evaluations leave for a backward pass, unless `kept` is empty.
#[expect(clippy::too_many_arguments, reason = "those of `rk_step`, and what is kept")]
pub(crate) fn keeping_step<T: Real>(
    tableau: &Tableau,
    f: &mut impl Field<T>,
    t0: f64,
    t1: f64,
    y0: &[T],
    k: &mut [T],
    y1: &mut [T],
    kept: &mut Kept<T>,
) -> Result<(), FieldError> {
    let (n, rows) = (y0.len(), tableau.rows());
    assert!(!tableau.coupled, "rk_step: the stages of {} are coupled", tableau.name);
    assert!(tableau.is_explicit(), "rk_step: {} is not explicit", tableau.name);
    assert!(n > 0, "rk_step: a state without components");
    assert!(y1.len() == n, "rk_step: y0 has length {n}, but y1 has length {}", y1.len());
    assert!(
        k.len() == rows * n,
        "rk_step: {rows} slopes of length {n} need length {}, but k has length {}",
        rows * n,
        k.len()
    );
    let h = t1 - t0;
    for i in 1..rows {
        let (done, rest) = k.split_at_mut(i * n);
        // Every stage goes through `y1`; the last row's is the new state.
        stage_state(tableau, i, y0, h, &slopes_of(done, n), y1);
        if i == rows - 1 && !tableau.error_needs_end() {
            break;
        }
        let time = if tableau.c[i] == 1.0 { t1 } else { t0 + tableau.c[i] * h };
        let (dy, part) = (&mut rest[..n], tableau.part(i));
        if kept.is_empty() {
            f.eval_part(time, y1, dy, part)?;
        } else {
            f.eval_keeping(time, y1, dy, part, kept.of(i))?;
        }
    }
    Ok(())
}

/// The interpolant's own slopes of the step from `y0` at `t0` to `t1`, written to `k` after those of
/// the step, which must all be there, the end slope included. `stage` is scratch.
pub(crate) fn interpolant_slopes<T: Real>(
    tableau: &Tableau,
    f: &mut impl Field<T>,
    t0: f64,
    t1: f64,
    y0: &[T],
    k: &mut [T],
    stage: &mut [T],
) -> Result<(), FieldError> {
    let n = y0.len();
    for i in tableau.rows()..tableau.slopes() {
        let (done, rest) = k.split_at_mut(i * n);
        combine(Some(y0), t1 - t0, tableau.row(i), done, stage);
        f.eval(tableau.time(i, t0, t1), stage, &mut rest[..n])?;
    }
    Ok(())
}
