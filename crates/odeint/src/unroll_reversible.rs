//! A solve by a reversible scheme as operations on the tape, on a frozen grid.

use costate_tape::{Result, Var};

use crate::Real;
use crate::reversible::Scheme;
use crate::solve::position;
use crate::tableau::Tableau;
use crate::unroll::{Frozen, Number, combine, interpolate, stack, stage_time, within};
use crate::var_event::RecordingRef;

/// As [`unroll`](crate::unroll::unroll).
pub(crate) fn unroll_reversible<'t, T: Real>(
    scheme: Scheme,
    frozen: &Frozen<T>,
    y0: Var<'t, T>,
    times: Option<Var<'t, T>>,
    field: &RecordingRef<'_, 't, T>,
) -> Result<Var<'t, T>> {
    Ok(unroll_from(scheme, frozen, [y0, y0], false, times, field)?.0)
}

/// [`unroll_reversible`] from a state, with a companion if it has `started`. Returns the last companion
/// too.
pub(crate) fn unroll_from<'t, T: Real>(
    scheme: Scheme,
    frozen: &Frozen<T>,
    [y0, companion]: [Var<'t, T>; 2],
    started: bool,
    times: Option<Var<'t, T>>,
    field: &RecordingRef<'_, 't, T>,
) -> Result<(Var<'t, T>, Var<'t, T>)> {
    let Frozen { steps, ts, .. } = frozen;
    let tableau = scheme.tableau();
    let time = |i: usize| Number::time(ts, times, i);
    let at = |t: Number<'t, T>, y| field(t.var(y0), y);
    let mut saved = vec![y0];
    let mut y = y0;
    let mut companion = match scheme {
        _ if started => companion,
        Scheme::AsynchronousLeapfrog if !steps.is_empty() => at(time(0), y0)?,
        _ => y0,
    };
    let mut slope = None;
    for (n, step) in steps.iter().enumerate() {
        let start = if n == 0 { time(0) } else { Number::fixed(step.t0) };
        let end = if n + 1 == steps.len() { time(ts.len() - 1) } else { Number::fixed(step.t1) };
        let h = Number::size(step.h, start, end);
        let before = y;
        match scheme {
            Scheme::ReversibleHeun => {
                let k = match slope {
                    Some(k) => k,
                    None => at(start, companion)?,
                };
                companion = combine(y + y - companion, h, &[1.0], &[k]);
                let next = at(end, companion)?;
                y = combine(y, h, &[0.5, 0.5], &[k, next]);
                slope = Some(next);
            }
            Scheme::AsynchronousLeapfrog => {
                let middle = combine(y, h, &[0.5], &[companion]);
                let t = Number::fixed(0.0).plus(0.5, start).plus(0.5, end);
                companion = at(t, middle)? * T::from_f64(2.0) - companion;
                y = combine(middle, h, &[0.5], &[companion]);
            }
            Scheme::Coupled { method, coupling } => {
                let k = stages(method, companion, start, h, end, at)?;
                let (near, far) = (T::from_f64(coupling), T::from_f64(1.0 - coupling));
                y = combine(y * near + companion * far, h, method.b, &k);
                let back = Number::fixed(0.0).plus(-1.0, h);
                let k = stages(method, y, end, back, start, at)?;
                companion = combine(companion, h, method.b, &k);
            }
        }
        let inside = |i: usize| position(ts[i], step.t0, step.h, step.t1);
        let k = match step.saves.clone().any(|i| inside(i) < 1.0) {
            false => Vec::new(),
            true => vec![at(start, before)?, (y - before) / h.var(y0), at(end, y)?],
        };
        for i in step.saves.clone() {
            saved.push(match (times, inside(i)) {
                // A time at the end of a step moves along the solution, to first order.
                (Some(_), 1.0) if i + 1 < ts.len() => {
                    let late = time(i).plus(-1.0, Number::fixed(step.t1));
                    combine(y, late, &[1.0], &[at(end, y)?])
                }
                (_, 1.0) => y,
                (_, theta) => {
                    let theta = within(theta, time(i), start, h, y0);
                    interpolate(tableau, before, h, &k, theta)
                }
            });
        }
    }
    Ok((stack(&saved), companion))
}

/// The slopes of a step of an explicit method.
fn stages<'t, T: Real>(
    tableau: &Tableau,
    y: Var<'t, T>,
    start: Number<'t, T>,
    h: Number<'t, T>,
    end: Number<'t, T>,
    at: impl Fn(Number<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
) -> Result<Vec<Var<'t, T>>> {
    let mut k = Vec::new();
    for i in 0..tableau.rows() - 1 {
        let t = stage_time(tableau.c[i], start, h, end);
        k.push(at(t, combine(y, h, &tableau.a[i][..i], &k))?);
    }
    Ok(k)
}
