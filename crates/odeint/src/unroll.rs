//! A solve as operations on the tape, stage by stage, on a frozen grid.

use std::sync::Arc;

use costate_ops::Real;
use costate_tape::{Result, Shape, Var};

use crate::additive::{Portion, PortionRef};
use crate::auto::Methods;
use crate::grid::GridStep;
use crate::mass::Mass;
use crate::method::Method;
use crate::rosenbrock::RosenbrockTableau;
use crate::solve::position;
use crate::tableau::{Part, Tableau};
use crate::unroll_multistep::unroll_multistep;
use crate::unroll_reversible::unroll_reversible;
use crate::var_event::RecordingRef;

/// The steps to take and the times to save at.
#[derive(Clone, Debug)]
pub(crate) struct Frozen<T: Real> {
    pub methods: Methods,
    pub steps: Vec<GridStep>,
    pub ts: Vec<f64>,
    /// The number of components of a block of the state; see `Grid`.
    pub block: usize,
    /// The slopes of each step without its end slope, then the last step's end slope, if the method
    /// is implicit.
    pub slopes: Vec<T>,
    /// Where those of each step start, and the last end slope.
    pub starts: Vec<usize>,
    /// The states at the start and at the end of each step, if the method is a multistep one.
    pub states: Vec<T>,
    /// The differences of a multistep method after each step, if they were kept.
    pub differences: Vec<T>,
    /// The mass matrix, if there is one.
    pub mass: Option<Arc<Mass<T>>>,
}

impl<T: Real> Frozen<T> {
    /// The slopes of step `n` with its end slope, of `dim` components each.
    pub fn slopes(&self, n: usize, dim: usize) -> &[T] {
        &self.slopes[self.starts[n]..self.starts[n + 1] + dim]
    }
}

/// A number that is differentiated, or not.
#[derive(Clone, Copy)]
pub(crate) enum Number<'t, T: Real> {
    Fixed(f64),
    Var(Var<'t, T>),
}

impl<'t, T: Real> Number<'t, T> {
    pub(crate) fn var(self, like: Var<'t, T>) -> Var<'t, T> {
        match self {
            Number::Fixed(x) => like.tape().scalar(T::from_f64(x)),
            Number::Var(x) => x,
        }
    }

    /// `self + c · other`.
    pub(crate) fn plus(self, c: f64, other: Number<'t, T>) -> Number<'t, T> {
        match (self, other) {
            (Number::Fixed(a), Number::Fixed(b)) => Number::Fixed(a + c * b),
            (Number::Var(a), Number::Fixed(b)) => Number::Var(a + T::from_f64(c * b)),
            (Number::Fixed(a), Number::Var(b)) => {
                Number::Var(b.affine(T::from_f64(c), T::from_f64(a)))
            }
            (Number::Var(a), Number::Var(b)) => Number::Var(a + b.scale(T::from_f64(c))),
        }
    }
}

/// `y + h Σ c_j k_j`.
pub(crate) fn combine<'t, T: Real>(
    y: Var<'t, T>,
    h: Number<'t, T>,
    c: &[f64],
    k: &[Var<'t, T>],
) -> Var<'t, T> {
    let used: Vec<_> = c.iter().zip(k).filter(|(c, _)| **c != 0.0).collect();
    let slopes: Vec<_> = used.iter().map(|(_, k)| **k).collect();
    match h {
        Number::Fixed(h) => {
            let c: Vec<T> = [1.0]
                .into_iter()
                .chain(used.iter().map(|(c, _)| h * **c))
                .map(T::from_f64)
                .collect();
            let terms: Vec<_> = [y].into_iter().chain(slopes).collect();
            Var::lincomb(&c, &terms).expect("y is a term")
        }
        Number::Var(h) => {
            let c: Vec<T> = used.iter().map(|(c, _)| T::from_f64(**c)).collect();
            match Var::lincomb(&c, &slopes) {
                Some(sum) => y + h * sum,
                None => y,
            }
        }
    }
}

/// Solves on a frozen grid, every stage an operation on the tape, and returns the states at the
/// times.
///
/// With `times`, the first and the last time move the ends of the first and the last step, and the
/// others move within their steps; the inner points of the grid stay.
///
/// Only additive methods ask for portions of the field.
pub(crate) fn unroll<'t, T: Real>(
    frozen: &Frozen<T>,
    y0: Var<'t, T>,
    times: Option<Var<'t, T>>,
    portion: &PortionRef<'_, 't, T>,
) -> Result<Var<'t, T>> {
    let field = |t, y| portion(Portion::All, t, y);
    if let Method::Reversible(scheme) = frozen.methods.first() {
        return unroll_reversible(scheme, frozen, y0, times, &field);
    }
    if let Method::Multistep(tableau) = frozen.methods.first() {
        return unroll_multistep(tableau, frozen, y0, times, &field, &mut |_| ());
    }
    let Frozen { steps, ts, .. } = frozen;
    let dim = y0.shape().numel();
    let time = |i: usize| match times {
        Some(times) => Number::Var(times.index_axis(0, i)),
        None => Number::Fixed(ts[i]),
    };
    let at = |t: Number<'t, T>, y| field(t.var(y0), y);
    let mut saved = vec![y0];
    let mut y = y0;
    let mut slope = None;
    for (n, step) in steps.iter().enumerate() {
        let method = frozen.methods.of(step.second);
        let (tableau, rows) = (method.tableau(), method.tableau().rows());
        let start = if n == 0 { time(0) } else { Number::Fixed(step.t0) };
        let end = if n + 1 == steps.len() { time(ts.len() - 1) } else { Number::Fixed(step.t1) };
        // The recorded size is the difference of the recorded times, to the last bit.
        let h = match (start, end) {
            (Number::Fixed(_), Number::Fixed(_)) => Number::Fixed(step.h),
            _ => end.plus(-1.0, start),
        };
        let inside: Vec<usize> = step
            .saves
            .clone()
            .filter(|&i| position(ts[i], step.t0, step.h, step.t1) < 1.0)
            .collect();
        // Stages that were solved for do not answer to rounding, and what is evaluated beside them
        // must not either: it would be multiplied by what is stiff, in every step anew.
        let known = match method {
            Method::Explicit(_) => None,
            _ if frozen.slopes.is_empty() => None,
            _ => Some(frozen.slopes(n, dim)),
        };
        let mut k = vec![match slope.take() {
            Some(slope) => pin(known, 0, slope),
            // Nothing has a weight for it; any state keeps its place.
            None if !tableau.uses_first() && inside.is_empty() => y,
            None => pin(known, 0, at(start, y)?),
        }];
        if tableau.coupled {
            // Derivatives converge like the stages do, but later.
            let rounds = 2 * step.rounds as usize + 2;
            k.extend(coupled(
                tableau,
                rounds,
                y,
                h,
                |i| stage_time(tableau.c[i], start, h, end),
                at,
            )?);
        }
        if let Method::Rosenbrock(method) = method {
            let stages = rosenbrock_stages(method, y, start, h, end, k[0], &field)?;
            k.extend(stages.into_iter().zip(1..).map(|(k, i)| pin(known, i, k)));
        }
        let stages = if method.ends_in_stage() { rows } else { rows - 1 };
        for i in k.len()..stages {
            let t = stage_time(tableau.c[i], start, h, end);
            let row = tableau.a[i];
            let base = combine(y, h, &row[..i.min(row.len())], &k);
            let at = |y| portion(method.portion(i), t.var(y0), y);
            k.push(match row.get(i) {
                None => pin(known, i, masked(at(base)?, tableau.part(i), frozen.block)),
                Some(&diagonal) => {
                    let solution = &frozen.slopes(n, dim)[i * dim..(i + 1) * dim];
                    let hg = Number::Fixed(0.0).plus(diagonal, h);
                    implicit_stage(solution, base, hg, at)?
                }
            });
        }
        if method.ends_in_stage() {
            slope = k.last().copied();
        }
        let y1 = combine(y, h, tableau.b, &k);
        if !inside.is_empty() && tableau.interpolant.needs_end() && !method.ends_in_stage() {
            k.push(at(end, y1)?);
            slope = k.last().copied();
            for (a, &c) in tableau.interpolant.a.iter().zip(tableau.interpolant.c) {
                k.push(at(stage_time(c, start, h, end), combine(y, h, a, &k))?);
            }
        }
        for i in step.saves.clone() {
            let theta = position(ts[i], step.t0, step.h, step.t1);
            saved.push(match (times, theta) {
                // A time at the end of a step moves along the solution, to first order.
                (Some(_), 1.0) if i + 1 < ts.len() => {
                    let k = match slope {
                        Some(k) => k,
                        None => at(end, y1)?,
                    };
                    slope = Some(k);
                    combine(y1, time(i).plus(-1.0, Number::Fixed(step.t1)), &[1.0], &[k])
                }
                (_, 1.0) => y1,
                (None, theta) => {
                    let b: Vec<f64> =
                        (0..k.len()).map(|i| tableau.interpolant.weight(i, theta)).collect();
                    combine(y, h, &b, &k)
                }
                (Some(_), _) => {
                    let theta = time(i).plus(-1.0, start).var(y0) / h.var(y0);
                    interpolate(tableau, y, h.var(y0), &k, theta)
                }
            });
        }
        y = y1;
    }
    Ok(stack(&saved))
}

/// States along a new first axis.
pub(crate) fn stack<'t, T: Real>(states: &[Var<'t, T>]) -> Var<'t, T> {
    let shape: Shape = states[0].shape();
    let rows: Shape = [1].iter().chain(shape.iter()).copied().collect();
    let states: Vec<_> = states.iter().map(|y| y.reshape(rows.clone())).collect();
    Var::concat(0, &states)
}

/// The slopes of coupled stages, by a number of rounds of fixed-point iteration.
fn coupled<'t, T: Real>(
    tableau: &Tableau,
    rounds: usize,
    y: Var<'t, T>,
    h: Number<'t, T>,
    time: impl Fn(usize) -> Number<'t, T>,
    at: impl Fn(Number<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
) -> Result<Vec<Var<'t, T>>> {
    let stages = 1..tableau.rows() - 1;
    // In the place of the first slope, which no stage uses, there is the state.
    let mut k = vec![y];
    for i in stages.clone() {
        k.push(at(time(i), y)?);
    }
    for _ in 0..rounds {
        for i in stages.clone() {
            k[i] = at(time(i), combine(y, h, tableau.a[i], &k))?;
        }
    }
    k.remove(0);
    Ok(k)
}

/// With the value of slope `i` that is known, if any is, and its own derivative.
fn pin<'t, T: Real>(known: Option<&[T]>, i: usize, k: Var<'t, T>) -> Var<'t, T> {
    let Some(known) = known else { return k };
    let (shape, dim) = (k.shape(), k.shape().numel());
    k.tape().leaf(&known[i * dim..(i + 1) * dim], shape) + (k - k.detach())
}

/// The slope with 0 for the components that are not in a part.
fn masked<'t, T: Real>(slope: Var<'t, T>, part: Part, block: usize) -> Var<'t, T> {
    if part == Part::All {
        return slope;
    }
    let shape = slope.shape();
    let mut mask = vec![T::one(); shape.numel()];
    part.mask_blocks(block, &mut mask);
    slope * slope.tape().leaf(&mask, shape)
}

/// The time `c` of a step's size after its start, or its very end.
pub(crate) fn stage_time<'t, T: Real>(
    c: f64,
    start: Number<'t, T>,
    h: Number<'t, T>,
    end: Number<'t, T>,
) -> Number<'t, T> {
    if c == 1.0 { end } else { start.plus(c, h) }
}

/// The slope `k = f(base + hγ k)` of an implicit stage, given as a number.
///
/// From the solution, which is not differentiated, three simplified Newton iterations with the
/// Jacobian there, which is not differentiated either. The error of iteration `m` in a displacement
/// `δ` of the inputs is of order `δ^(m+1)`, so derivatives up to the third are those of the
/// solution. The value is the given one to the last bit: the difference between this solution and
/// the one that was recorded would grow where solutions run apart.
fn implicit_stage<'t, T: Real>(
    solution: &[T],
    base: Var<'t, T>,
    hg: Number<'t, T>,
    field: impl Fn(Var<'t, T>) -> Result<Var<'t, T>>,
) -> Result<Var<'t, T>> {
    let (tape, shape) = (base.tape(), base.shape());
    let n = shape.numel();
    let hg = hg.var(base);
    let solution = tape.leaf(solution, shape.clone());
    let mut k = solution;
    let at = (base + hg * k).detach();
    let jacobian = field(at)?.jacobian(at)?.detach().reshape([n, n]);
    let matrix = tape.eye(n) - hg.detach() * jacobian;
    for _ in 0..3 {
        let residual = field(base + hg * k)? - k;
        k = k + matrix.solve(residual.reshape([n])).reshape(shape.clone());
    }
    Ok(solution + (k - k.detach()))
}

/// The stages of a Rosenbrock step from `y`, where the slope is `first`.
fn rosenbrock_stages<'t, T: Real>(
    method: &RosenbrockTableau,
    y: Var<'t, T>,
    start: Number<'t, T>,
    h: Number<'t, T>,
    end: Number<'t, T>,
    first: Var<'t, T>,
    field: &RecordingRef<'_, 't, T>,
) -> Result<Vec<Var<'t, T>>> {
    let (tape, shape, tableau) = (y.tape(), y.shape(), &method.tableau);
    let n = shape.numel();
    // Apart from whatever else depends on the time and the state.
    let (t, at) = (start.var(y).fresh(), y.fresh());
    let slope = field(t, at)?;
    let jacobian = slope.jacobian(at)?.reshape([n, n]);
    let rate = tape.jvp(&[slope], &[t], &[tape.scalar(T::one())])?[0];
    let gamma = T::from_f64(method.gamma);
    let size = h.var(y);
    let matrix = tape.eye(n) - size.scale(gamma) * jacobian;
    let mut k = vec![first];
    for i in method.stages() {
        let f = match i {
            1 => first,
            _ => {
                let t = stage_time(tableau.c[i], start, h, end).var(y);
                field(t, combine(y, h, &tableau.a[i][..i], &k))?
            }
        };
        let right = f + size.scale(T::from_f64(method.time[i])) * rate;
        let right = combine(right, Number::Fixed(1.0), method.coupling[i], &k);
        let right = right.reshape([n]).scale(gamma);
        k.push(matrix.solve(right).reshape(shape.clone()));
    }
    k.remove(0);
    Ok(k)
}

/// `y + h Σ b_i(θ) k_i` with a `θ` that is differentiated.
pub(crate) fn interpolate<'t, T: Real>(
    tableau: &Tableau,
    y: Var<'t, T>,
    h: Var<'t, T>,
    k: &[Var<'t, T>],
    theta: Var<'t, T>,
) -> Var<'t, T> {
    let degree = tableau.interpolant.degree() as i32;
    let powers: Vec<_> = (1..=degree).map(|n| theta.powi(n)).collect();
    let mut sum = y;
    for (weights, k) in tableau.interpolant.weights.iter().zip(k) {
        let (c, xs): (Vec<T>, Vec<_>) = weights
            .iter()
            .zip(&powers)
            .filter(|(c, _)| **c != 0.0)
            .map(|(c, x)| (T::from_f64(*c), *x))
            .unzip();
        if let Some(b) = Var::lincomb(&c, &xs) {
            sum = sum + h * b * *k;
        }
    }
    sum
}
