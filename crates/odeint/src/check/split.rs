//! Checks of a solve in parts, and of its ends.

use costate_tape::{Result, Tape, Var};

use super::setup::{Checked, Setup};
use crate::Real;
use crate::grid::{GridStep, StepEnd};
use crate::method::Method;
use crate::operation::SolveState;
use crate::reversible::Scheme;
use crate::solve::position;

/// How much of a step the short steps at the ends are.
const SHORT: f64 = 1e-4;

/// The states of which the last step of a solve, to `y`, goes along the slopes, on average. Those of
/// reversible schemes differ from `y` as the scheme does from the solution.
fn along<'t, T: Real>(ys: Var<'t, T>, y: Var<'t, T>) -> Vec<Var<'t, T>> {
    let read = |state: &dyn std::any::Any| {
        let end = state.downcast_ref::<SolveState<T>>()?.companion()?;
        Some((end.scheme(), end.companion().to_vec()))
    };
    let Some((scheme, companion)) = ys.tape().read_state(ys, read).flatten() else {
        return vec![y];
    };
    let companion = y.tape().leaf(&companion, y.shape());
    match scheme {
        // It goes to the other side of the state with each step.
        Scheme::ReversibleHeun => vec![companion, y + y - companion],
        Scheme::AsynchronousLeapfrog => vec![y],
        Scheme::Coupled { .. } => vec![companion],
    }
}

impl<T, F> Setup<'_, T, F>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    pub fn split(&self) -> Checked {
        if self.is_multistep() {
            return Ok(());
        }
        let steps = self.grid()?.steps;
        // The second part of a reversible solve would start with a companion of its own.
        if steps.len() < 2 || matches!(self.ode.method(), Method::Reversible(_)) {
            return Ok(());
        }
        let (first, second) = steps.split_at(steps.len() / 2);
        let ends = |steps: &[GridStep]| steps.iter().map(StepEnd::of).collect::<Vec<_>>();
        let cut = &first[first.len() - 1];
        // Times up to the cut, and whether the cut is one of them.
        let before = cut.saves.end;
        let last = self.ts[before - 1];
        let saved = before > 1 && position(last, cut.t0, cut.h, cut.t1) == 1.0;
        let mut ts: Vec<f64> = self.ts[..before].to_vec();
        if saved {
            ts[before - 1] = cut.t1;
        } else {
            ts.push(cut.t1);
        }
        let rest: Vec<f64> = [cut.t1].iter().chain(&self.ts[before..]).copied().collect();

        let tape = Tape::new();
        let x = self.leaves(&tape);
        let whole = self.solve_on(&x, self.ts, None, &ends(&steps))?;
        let one = self.solve_on(&x, &ts, None, &ends(first))?;
        let middle = one.index_axis(0, ts.len() - 1);
        let from: Vec<_> = [middle].iter().chain(&x[1..]).copied().collect();
        let two = self.solve_on(&from, &rest, None, &ends(second))?;
        let parts =
            Var::concat(0, &[one.slice_axis(0, 0..before), two.slice_axis(0, 1..rest.len())]);
        self.close("states", &parts.to_vec(), &whole.to_vec(), self.rounding())?;
        let g = self.numbers().like(whole);
        let (found, expected) = (tape.vjp(&[parts], &[g], &x)?, tape.vjp(&[whole], &[g], &x)?);
        self.all_close("gradient", &found, &expected, 10.0 * self.rounding())
    }

    pub fn end_times(&self) -> Checked {
        if self.is_multistep() {
            return Ok(());
        }
        let steps = self.grid()?.steps;
        let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Ok(()) };
        let mut grid: Vec<StepEnd> = steps.iter().map(StepEnd::of).collect();
        grid.insert(grid.len() - 1, StepEnd { t: last.t1 - SHORT * last.h, ..StepEnd::of(last) });
        grid.insert(0, StepEnd { t: first.t0 + SHORT * first.h, ..StepEnd::of(first) });
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let n = self.ts.len();
        let entries: Vec<T> = self.ts.iter().map(|&t| T::from_f64(t)).collect();
        let ts = tape.leaf(&entries, [n]);
        let ys = self.solve_on(&x, self.ts, Some(ts), &grid)?;
        let g = self.numbers().like(ys);
        let wrt = [x[0], ts];
        let bars = tape.vjp(&[ys], &[g], &wrt)?;
        let times = bars[1].to_vec();
        // A step of a method of order 1 goes along the slope at its start; a splitting has that order
        // for a field that does not split, and the companion of a reversible scheme one less.
        let tableau = self.ode.method().tableau();
        let first_order = tableau.order == 1 || tableau.is_partitioned();
        let reversible = matches!(self.ode.method(), Method::Reversible(_));
        let relative = if first_order || reversible { 1e-2 } else { 1e-5 };
        let relative = f64::max(relative, 1e5 * T::EPSILON.as_f64());
        // The momentum at the start is without what is observed there.
        let ends = [
            (n - 1, ys.index_axis(0, n - 1), g.index_axis(0, n - 1), 1.0, "dL/dt at the last time"),
            (0, x[0], bars[0] - g.index_axis(0, 0), -1.0, "dL/dt at the first time"),
        ];
        for (i, y, p, sign, what) in ends {
            let states = if i > 0 { along(ys, y) } else { vec![y] };
            let mut slope = vec![T::zero(); y.shape().numel()];
            for &y in &states {
                let found = (self.field)(&x[1..], ts.index_axis(0, i), y)?.to_vec();
                slope.iter_mut().zip(found).for_each(|(sum, f)| *sum += f);
            }
            let count = T::from_f64(states.len() as f64);
            slope.iter_mut().for_each(|f| *f /= count);
            let products: Vec<f64> = p
                .to_vec()
                .iter()
                .zip(&slope)
                .map(|(p, f)| sign * p.as_f64() * f.as_f64())
                .collect();
            let norm = |x: &[T]| x.iter().map(|x| x.as_f64().powi(2)).sum::<f64>().sqrt();
            let size = norm(&p.to_vec()) * norm(&slope);
            let expected = products.iter().sum();
            self.is(what, times[i].as_f64(), expected, relative * size)?;
        }
        Ok(())
    }
}
