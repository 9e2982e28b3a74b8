//! Checks of a gradient as a derivative.

use costate_tape::{Result, Tape, Var};

use super::setup::{Checked, Setup};
use crate::Real;
use crate::grid::StepEnd;
use crate::instrument::{frozen, p_dot_delta};
use crate::ode::Gradient;
use crate::solve::position;

impl<T, F> Setup<'_, T, F>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    pub fn zero_seed(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let ys = self.solve(&self.ode, &x)?;
        for (i, g) in tape.vjp(&[ys], &[tape.zeros(ys.shape())], &x)?.iter().enumerate() {
            for (j, g) in g.to_vec().iter().enumerate() {
                self.is(&format!("gradient, input {i}, entry {j}"), g.as_f64(), 0.0, 0.0)?;
            }
        }
        Ok(())
    }

    pub fn linearity(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let ys = self.solve(&self.ode, &x)?;
        let mut numbers = self.numbers();
        let (a, b) = (numbers.like(ys), numbers.like(ys));
        // Their sum is not 1: a constant would not be seen.
        let (c, d) = (T::from_f64(2.5), T::from_f64(-0.75));
        let both = tape.vjp(&[ys], &[a.scale(c) + b.scale(d)], &x)?;
        let (of_a, of_b) = (tape.vjp(&[ys], &[a], &x)?, tape.vjp(&[ys], &[b], &x)?);
        for (i, both) in both.iter().enumerate() {
            let (of_a, of_b) = (of_a[i].to_vec(), of_b[i].to_vec());
            let sum: Vec<T> = of_a.iter().zip(&of_b).map(|(&a, &b)| c * a + d * b).collect();
            // Terms may cancel.
            let largest = |x: &[T]| x.iter().map(|x| x.as_f64().abs()).fold(0.0, f64::max);
            let size = largest(&of_a).max(largest(&of_b)).max(f64::MIN_POSITIVE);
            let relative = self.rounding() * 4.0 * size / largest(&sum).max(size);
            self.close(&format!("gradient, input {i}"), &both.to_vec(), &sum, relative)?;
        }
        Ok(())
    }

    pub fn invariant(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let ys = self.solve(&self.ode, &x)?;
        let mut numbers = self.numbers();
        let g = numbers.like(ys);
        let tangents: Vec<_> = x.iter().map(|&x| numbers.like(x)).collect();
        let weights = &x[1..];
        let field = |t, y| (self.field)(weights, t, y);
        let found = p_dot_delta(&self.ode, field, x[0], self.ts, g, &x, &tangents)?;
        if found.holds() {
            return Ok(());
        }
        let worst = found.worst();
        let (t, value) = (found.ts[worst], found.values[worst]);
        let last = found.values[found.values.len() - 1];
        Err(self.violation(format!("at t = {t}"), value, last, found.rounding * found.size))
    }

    pub fn back_propagation(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let g = self.numbers().like(self.solve(&self.ode, &x)?);
        let gradient = |gradient: Gradient| {
            let ys = self.solve(&self.ode.clone().gradient(gradient), &x)?;
            tape.vjp(&[ys], &[g], &x)
        };
        let (exact, unrolled) = (gradient(Gradient::Exact)?, gradient(Gradient::Unrolled)?);
        self.all_close("gradient", &exact, &unrolled, 10.0 * self.rounding())
    }

    /// The directional derivative against differences of the weighted sum of the states.
    pub fn differences(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let ys = self.solve(&self.ode, &x)?;
        let steps = frozen(ys).expect("the state of a solve").steps;
        let grid: Vec<StepEnd> = steps.iter().map(StepEnd::of).collect();
        let mut numbers = self.numbers();
        let weights = numbers.like(ys);
        let directions: Vec<_> = x.iter().map(|&x| numbers.like(x)).collect();

        // Times inside of steps move, and those of the ends: others would leave their step.
        let shortest = steps.iter().map(|step| step.h.abs()).fold(f64::INFINITY, f64::min);
        let last = self.ts.len() - 1;
        let mut moves = vec![0.0; self.ts.len()];
        for step in &steps {
            for i in step.saves.clone() {
                let theta = position(self.ts[i], step.t0, step.h, step.t1);
                if (0.1..0.9).contains(&theta) || i == last {
                    moves[i] = shortest * numbers.next();
                }
            }
        }
        if !steps.is_empty() {
            moves[0] = shortest * numbers.next();
        }
        let moved =
            |s: f64| -> Vec<f64> { self.ts.iter().zip(&moves).map(|(t, d)| t + s * d).collect() };
        let rounded = |ts: &[f64]| ts.iter().map(|&t| T::from_f64(t)).collect::<Vec<T>>();
        let entries = rounded(self.ts);
        let ts = tape.leaf(&entries, [entries.len()]);
        let moving = self.solve_on(&x, self.ts, Some(ts), &grid)?;
        let time_bars = tape.vjp(&[moving], &[weights], &[ts])?[0].to_vec();
        // The way back is another one where times do not move.
        let bars = tape.vjp(&[ys], &[weights], &x)?;
        let mut terms: Vec<f64> = Vec::new();
        for (g, d) in bars.iter().zip(&directions) {
            let pairs = g.to_vec().into_iter().zip(d.to_vec());
            terms.extend(pairs.map(|(g, d)| g.as_f64() * d.as_f64()));
        }
        terms.extend(time_bars.iter().zip(&moves).map(|(g, d)| g.as_f64() * d));
        let (found, size) = (terms.iter().sum(), terms.iter().map(|x| x.abs()).sum::<f64>());

        let (values, weights): (Vec<Vec<T>>, _) =
            (directions.iter().map(|d| d.to_vec()).collect(), weights.to_vec());
        let loss = |s: f64| -> Result<(f64, f64)> {
            let tape = Tape::new();
            let one = |(x, d): (&ndarray::ArrayD<T>, &Vec<T>)| {
                let entries: Vec<T> =
                    x.iter().zip(d).map(|(&x, &d)| x + T::from_f64(s) * d).collect();
                tape.leaf(&entries, x.shape())
            };
            let x: Vec<_> = self.inputs.iter().zip(&values).map(one).collect();
            let ts = moved(s);
            let entries = rounded(&ts);
            let var = tape.leaf(&entries, [entries.len()]);
            let ys = self.solve_on(&x, &ts, Some(var), &grid)?.to_vec();
            Ok((ys.iter().zip(&weights).map(|(y, w)| y.as_f64() * w.as_f64()).sum(), s))
        };
        let (expected, error) = costate_tape::check::difference(loss, 0.02)?;
        let relative = if T::EPSILON.as_f64() < 1e-10 { 1e-7 } else { 2e-2 };
        let allowed = relative * size.max(expected.abs()) + 4.0 * error;
        self.is("derivative in a random direction", found, expected, allowed)
    }

    pub fn symmetry(&self) -> Checked {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let ys = self.solve(&self.ode, &x)?;
        let mut numbers = self.numbers();
        let loss = (ys.square() * numbers.like(ys)).sum();
        let gradient = loss.grad(&x)?;
        let mut direction = || x.iter().map(|&x| numbers.like(x)).collect::<Vec<_>>();
        let (u, v) = (direction(), direction());
        let product = |u: &[Var<'_, T>], h: &[Var<'_, T>]| -> (f64, f64) {
            let terms: Vec<f64> = u
                .iter()
                .zip(h)
                .flat_map(|(u, h)| u.to_vec().into_iter().zip(h.to_vec()))
                .map(|(u, h)| u.as_f64() * h.as_f64())
                .collect();
            (terms.iter().sum(), terms.iter().map(|x| x.abs()).sum())
        };
        let (hu, hv) = (tape.vjp(&gradient, &u, &x)?, tape.vjp(&gradient, &v, &x)?);
        let ((a, a_size), (b, b_size)) = (product(&v, &hu), product(&u, &hv));
        self.is("v · (H u) against u · (H v)", a, b, self.rounding() * a_size.max(b_size))
    }
}
