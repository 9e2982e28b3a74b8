//! The time of an event on the tape, and the state there.

use costate_tape::{Result, Shape, Var};

use super::run::Run;
use crate::Real;
use crate::error::ErrorKind;
use crate::operation::solve_error;
use crate::options::Stepping;

/// How often Newton's method for the time of an event is iterated at most.
const ITERATIONS: usize = 12;

/// A point of the solution on the tape, and the slope there.
pub(super) struct Point<'t, T: Real> {
    pub t: Var<'t, T>,
    pub y: Var<'t, T>,
    pub slope: Var<'t, T>,
}

/// A zero of the function of an event: the function with its time and state, the slope and the rate
/// there, and the time since the piece has started.
#[derive(Clone, Copy)]
struct Zero<'t, T: Real> {
    g: Var<'t, T>,
    t: Var<'t, T>,
    y: Var<'t, T>,
    slope: Var<'t, T>,
    rate: f64,
    length: f64,
}

impl<'t, T: Real> Run<'_, '_, 't, T> {
    /// The state at the time `t`, which is near that of a point of the solution.
    pub fn flow(&self, from: &Point<'t, T>, t: Var<'t, T>) -> Result<Var<'t, T>> {
        let h = t - from.t;
        let (two, half) = (T::from_f64(2.0), T::from_f64(0.5));
        let k1 = from.slope;
        let k2 = (self.field)(from.t + h.scale(half), from.y + h.scale(half) * k1)?;
        let k3 = (self.field)(t, from.y + h * (k2.scale(two) - k1))?;
        let slope =
            Var::lincomb(&[1.0 / 6.0, 4.0 / 6.0, 1.0 / 6.0].map(T::from_f64), &[k1, k2, k3]);
        Ok(from.y + h * slope.expect("three terms"))
    }

    /// The time of an event near a point of the solution, and the state then.
    pub fn passage(
        &self,
        near: &Point<'t, T>,
        number: usize,
        length: f64,
    ) -> Result<(Var<'t, T>, Var<'t, T>)> {
        let tape = near.y.tape();
        let found = near.t.item().as_f64();
        let grazing = || Err(solve_error(ErrorKind::Grazing { event: number, t: found }));
        let (mut t, mut y, mut slope) = (near.t, near.y, near.slope);
        let mut converged = 0;
        for _ in 0..ITERATIONS {
            let (at, state) = (t.fresh(), y.fresh());
            let g = (self.of.events[number].root)(at, state)?.reshape(Shape::scalar());
            let rate = tape.jvp(&[g], &[at, state], &[at.ones_like(), slope])?[0];
            let step = g / rate;
            let size = step.item().as_f64().abs();
            if !size.is_finite() || rate.item() == T::zero() {
                return grazing();
            }
            t = t - step;
            let moved = t.item().as_f64();
            if (moved - found).abs() > 0.5 * length.abs() {
                return grazing();
            }
            y = self.flow(near, t)?;
            if size <= 8.0 * T::EPSILON.as_f64() * moved.abs().max(length.abs()) {
                converged += 1;
            }
            if converged == 2 {
                let zero = Zero { g, t: at, y: state, slope, rate: rate.item().as_f64(), length };
                return if self.is_simple(number, &zero)? { Ok((t, y)) } else { grazing() };
            }
            slope = (self.field)(t, y)?;
        }
        grazing()
    }

    /// Whether a zero is one by itself: whether the rate is almost the same at a time that is as far
    /// away as the tolerance, or rounding, may have moved the zero. If it is not, another zero may be
    /// the same one, and the derivative of the time, which is `1 / rate`, may be anything.
    fn is_simple(&self, number: usize, zero: &Zero<'t, T>) -> Result<bool> {
        let Zero { g, t, y, slope, rate, length } = *zero;
        let (tape, options) = (y.tape(), &self.ode.options);
        let rounding = 64.0 * T::EPSILON.as_f64();
        let rtol = match options.stepping {
            Stepping::Adaptive => options.rtol.max(rounding),
            _ => rounding,
        };
        let atol = |i: usize| match options.stepping {
            Stepping::Adaptive => self.ode.atol.get(i).copied().unwrap_or(options.atol),
            _ => 0.0,
        };
        let bars = tape.vjp(&[g], &[g.ones_like()], &[t, y])?;
        let of_time = bars[0].item().as_f64() * rounding * t.item().as_f64();
        let of_state = bars[1].to_vec().into_iter().zip(y.to_vec()).enumerate();
        let of_state =
            of_state.map(|(i, (g, y))| g.as_f64().abs() * (atol(i) + rtol * y.as_f64().abs()));
        let unsure = of_time.abs() + of_state.sum::<f64>();
        // Towards the start, where the solution is known to go.
        let back = f64::min(4.0 * unsure / rate.abs(), 0.5 * length.abs()).copysign(length);
        let from = Point { t, y, slope };
        let at = t - T::from_f64(back);
        let state = self.flow(&from, at)?;
        let slope = (self.field)(at, state)?;
        let (at, state) = (at.fresh(), state.fresh());
        let g = (self.of.events[number].root)(at, state)?.reshape(Shape::scalar());
        let other = tape.jvp(&[g], &[at, state], &[at.ones_like(), slope])?[0].item().as_f64();
        // NaN is not.
        Ok((other - rate).abs() < rate.abs())
    }
}
