//! How accurate a gradient is: the same again with each step halved.

use costate_tape::{Result, Var};

use super::probe::Probe;
use super::recorded::{Recorded, frozen};
use crate::Real;
use crate::differences::Orders;
use crate::error::ErrorKind;
use crate::grid::{GridStep, StepEnd};
use crate::method::Method;
use crate::ode::{Gradient, Ode};
use crate::operation::solve_error;
use crate::solve::position;

/// A gradient with an estimate of its error; see [`gradient_with_error`].
#[derive(Clone, Debug)]
pub struct GradientWithError<'t, T: Real> {
    /// The loss, 0-d.
    pub loss: Var<'t, T>,
    /// The gradient of the loss of what was computed, with respect to each of the variables.
    pub gradient: Vec<Var<'t, T>>,
    /// The estimate of the error of each entry of `gradient`, with its sign: the gradient of the
    /// loss of the exact solution is about `gradient - error`.
    pub error: Vec<Vec<f64>>,
    /// The estimate of the error of the loss.
    pub loss_error: f64,
}

impl<T: Real> GradientWithError<'_, T> {
    /// The length of the error of all entries together, relative to that of the gradient.
    pub fn relative(&self) -> f64 {
        let square = |xs: &mut dyn Iterator<Item = f64>| xs.map(|x| x * x).sum::<f64>().sqrt();
        let gradient = square(&mut self.gradient.iter().flat_map(|g| g.to_vec()).map(T::as_f64));
        let error = square(&mut self.error.iter().flatten().copied());
        if error == 0.0 { 0.0 } else { error / gradient }
    }
}

/// The gradient of the `loss` of the states at `ts` of a solve, with respect to `wrt`, and an
/// estimate of its error as an approximation of the gradient of the exact solution.
///
/// The solve is made as [`Ode::solve`] makes it, with [`Gradient::Exact`], and once more with each
/// of its steps halved. With the order `q` of the states that the loss reads (that of the method, or
/// at most one more than that of the interpolant where times lie within steps; for a multistep method
/// the median of those of its steps), the difference of
/// both gradients times `2^q / (2^q - 1)` is the error of the first (Richardson). Steps are not
/// chosen anew, so this is free of the noise of step size control, and it knows nothing of the
/// tolerance; it is good while halving the steps brings the solution closer, and comes within a
/// factor of 2 there. Rounding is not seen: below about `1e-14` relative the estimate means nothing.
///
/// It costs three times the gradient: the halved steps are twice as many. The memory is that of both
/// solves.
///
/// The steps of a reversible [`Scheme`](crate::Scheme) carry a companion, and where the field
/// contracts, what the state and the companion differ by grows as fast as the field contracts (of
/// coupled methods, unless the coupling damps it more): an error that halving says nothing about until
/// steps are short. So there each step is halved once more, and if the two differences do not show the
/// order, or the second one more, so far that the estimate is right to a factor of 2, that is an
/// error. It costs seven times the gradient.
///
/// ```
/// use costate_odeint::{Ode, Rk4, gradient_with_error};
/// use costate_tape::Tape;
///
/// // y(1) = exp(rate), and so is its derivative.
/// let tape = Tape::<f64>::new();
/// let (y0, rate) = (tape.leaf(&[1.0], [1]), tape.scalar(1.0));
/// let ode = Ode::new(Rk4).steps(5);
/// let found = gradient_with_error(
///     &ode,
///     |_, y| Ok(rate * y),
///     y0,
///     &[0.0, 1.0],
///     |ys| Ok(ys.index_axis(0, 1).sum()),
///     &[rate],
/// )?;
/// let error = found.gradient[0].item() - 1f64.exp();
/// assert!((found.error[0][0] / error - 1.0).abs() < 0.2);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// Those of the solve, of `f` and of the loss, if the field reads numbers, and
/// [`ErrorKind::NotConverging`] of a reversible scheme.
///
/// # Panics
/// If a shape does not fit, or the loss has more than one entry.
#[track_caller]
pub fn gradient_with_error<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    y0: Var<'t, T>,
    ts: &[f64],
    loss: impl Fn(Var<'t, T>) -> Result<Var<'t, T>>,
    wrt: &[Var<'t, T>],
) -> Result<GradientWithError<'t, T>> {
    let ode = ode.clone().gradient(Gradient::Exact);
    let field = Recorded::new(f, y0, ts)?;
    let solve = |probe: Probe<T>| {
        let (function, captured) = (field.function.clone(), &field.captured);
        let ys = T::solve_recorded(&ode, function, captured, y0, Some(ts.into()), None, probe)?;
        let loss = loss(ys)?;
        Ok::<_, costate_tape::Error>((ys, loss, loss.grad(wrt)?))
    };
    let (ys, loss, gradient) = solve(Probe::default())?;
    let steps = frozen(ys).expect("the state of a solve").steps;
    let halves = halves(&steps);
    let (_, finer_loss, finer) = solve(Probe::on(&halves))?;

    let inside =
        steps.iter().any(|s| s.saves.clone().any(|i| position(ts[i], s.t0, s.h, s.t1) < 1.0));
    let tableau = ode.method().tableau();
    let order = match inside {
        _ if tableau.is_multistep() => typical_order(&steps),
        true => tableau.order.min(tableau.interpolant.order + 1),
        false => tableau.order,
    };
    let factor = 1.0 / (1.0 - 0.5f64.powi(order as i32));
    let difference = |a: Var<'t, T>, b: Var<'t, T>| -> Vec<f64> {
        let pairs = a.to_vec().into_iter().zip(b.to_vec());
        pairs.map(|(a, b)| factor * (a.as_f64() - b.as_f64())).collect()
    };
    if let Method::Reversible(scheme) = ode.method() {
        let (_, _, finest) = solve(Probe::on(&quarters(&steps)))?;
        let [first, second] = [(&gradient, &finer), (&finer, &finest)].map(|(a, b)| {
            let square = |x: f64| x * x;
            let pairs = a.iter().zip(b).flat_map(|(a, b)| a.to_vec().into_iter().zip(b.to_vec()));
            pairs.map(|(a, b)| square(a.as_f64() - b.as_f64())).sum::<f64>().sqrt()
        });
        let size = gradient.iter().flat_map(|g| g.to_vec()).map(|g| g.as_f64().abs()).sum::<f64>();
        // If each halving goes on to make as much of the difference as the second one did of the
        // first, the error is the sum of a geometric series.
        let error = first / (1.0 - second / first);
        let sure = 0.0 < error && error < 2.0 * factor * first;
        if !sure && first > 1024.0 * T::EPSILON.as_f64() * size {
            let (method, ratio) = (scheme.tableau().name, first / second);
            return Err(solve_error(ErrorKind::NotConverging { method, ratio, order }));
        }
    }
    let error = gradient.iter().zip(&finer).map(|(&a, &b)| difference(a, b)).collect();
    let loss_error = difference(loss, finer_loss)[0];
    Ok(GradientWithError { loss, gradient, error, loss_error })
}

/// The steps, each in two halves.
pub(super) fn halves(steps: &[GridStep]) -> Vec<StepEnd> {
    let halves = |step: &GridStep| {
        let orders = step.orders();
        // After the first half there are differences of its order only.
        let second = Orders { basis: orders.order, ..orders };
        let middle = step.t0 + 0.5 * step.h;
        [StepEnd { t: middle, orders }, StepEnd { t: step.t1, orders: second }]
    };
    steps.iter().flat_map(halves).collect()
}

/// The steps, each in four parts.
fn quarters(steps: &[GridStep]) -> Vec<StepEnd> {
    let part = |step: &GridStep, i: usize| match i {
        4 => StepEnd::of(step),
        _ => StepEnd { t: step.t0 + step.h * (0.25 * i as f64), orders: step.orders() },
    };
    steps.iter().flat_map(|step| (1..=4).map(move |i| part(step, i))).collect()
}

/// The median of the orders of the steps of a multistep method.
fn typical_order(steps: &[GridStep]) -> u32 {
    let mut orders: Vec<u32> = steps.iter().map(|step| u32::from(step.order)).collect();
    orders.sort_unstable();
    orders.get(orders.len() / 2).copied().unwrap_or(1)
}
