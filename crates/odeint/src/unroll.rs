//! A solve as operations on the tape, stage by stage, on a frozen grid.

use std::sync::Arc;

use costate_tape::{Result, Shape, Var};

use crate::Real;
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

/// A time or a step size as it was recorded, and what it depends on, if it is differentiated.
///
/// What is computed with it has the recorded value, to the last bit, and the derivatives come by its
/// change: rounding errors of one do not enter the other.
#[derive(Clone, Copy)]
pub(crate) struct Number<'t, T: Real> {
    pub value: f64,
    /// A variable whose value is 0.
    pub change: Option<Var<'t, T>>,
}

impl<'t, T: Real> Number<'t, T> {
    pub(crate) fn fixed(value: f64) -> Number<'t, T> {
        Number { value, change: None }
    }

    /// With a recorded value, and the derivatives of `x`.
    pub(crate) fn moving(value: f64, x: Var<'t, T>) -> Number<'t, T> {
        Number { value, change: Some(x - x.detach()) }
    }

    /// Time `i`, which moves if there are `times`.
    pub(crate) fn time(ts: &[f64], times: Option<Var<'t, T>>, i: usize) -> Number<'t, T> {
        match times {
            Some(times) => Number::moving(ts[i], times.index_axis(0, i)),
            None => Number::fixed(ts[i]),
        }
    }

    pub(crate) fn var(self, like: Var<'t, T>) -> Var<'t, T> {
        let value = like.tape().scalar(T::from_f64(self.value));
        match self.change {
            Some(change) => value + change,
            None => value,
        }
    }

    /// `self + c · other`.
    pub(crate) fn plus(self, c: f64, other: Number<'t, T>) -> Number<'t, T> {
        let change = match (self.change, other.change.map(|x| x.scale(T::from_f64(c)))) {
            (Some(a), Some(b)) => Some(a + b),
            (a, b) => a.or(b),
        };
        Number { value: self.value + c * other.value, change }
    }

    /// `end - start`, as it was recorded.
    pub(crate) fn size(recorded: f64, start: Number<'t, T>, end: Number<'t, T>) -> Number<'t, T> {
        Number { value: recorded, ..end.plus(-1.0, start) }
    }
}

/// `y + h Σ c_j k_j`, added up as [`step::combine`](crate::step::combine) does it.
pub(crate) fn combine<'t, T: Real>(
    y: Var<'t, T>,
    h: Number<'t, T>,
    c: &[f64],
    k: &[Var<'t, T>],
) -> Var<'t, T> {
    add_up(y, y.shape().numel() > 4, h, c, k)
}

/// `y + h Σ c_j k_j` from the first term to the last, or with `y` as the last one.
fn add_up<'t, T: Real>(
    y: Var<'t, T>,
    y_last: bool,
    h: Number<'t, T>,
    c: &[f64],
    k: &[Var<'t, T>],
) -> Var<'t, T> {
    let used = || c.iter().zip(k).filter(|(c, _)| **c != 0.0);
    let mut all: Vec<T> = used().map(|(c, _)| T::from_f64(h.value * c)).collect();
    let mut terms: Vec<_> = used().map(|(_, k)| *k).collect();
    let place = if y_last { terms.len() } else { 0 };
    all.insert(place, T::one());
    terms.insert(place, y);
    let sum = Var::lincomb(&all, &terms).expect("y is a term");
    match h.change.zip(slope(c, k)) {
        Some((change, slope)) => sum + change * slope,
        None => sum,
    }
}

/// `Σ c_j k_j`, if there is anything to add up.
fn slope<'t, T: Real>(c: &[f64], k: &[Var<'t, T>]) -> Option<Var<'t, T>> {
    let used = || c.iter().zip(k).filter(|(c, _)| **c != 0.0);
    let c: Vec<T> = used().map(|(c, _)| T::from_f64(*c)).collect();
    Var::lincomb(&c, &used().map(|(_, k)| *k).collect::<Vec<_>>())
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
    let time = |i: usize| Number::time(ts, times, i);
    let at = |t: Number<'t, T>, y| field(t.var(y0), y);
    let mut saved = vec![y0];
    // Which of them are the state at hand.
    let mut here = vec![0];
    let mut y = y0;
    let mut slope = None;
    for (n, step) in steps.iter().enumerate() {
        let method = frozen.methods.of(step.second);
        let (tableau, rows) = (method.tableau(), method.tableau().rows());
        let start = if n == 0 { time(0) } else { Number::fixed(step.t0) };
        let end = if n + 1 == steps.len() { time(ts.len() - 1) } else { Number::fixed(step.t1) };
        let h = Number::size(step.h, start, end);
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
            None => pin(known, 0, at(start, apart(y))?),
        }];
        for i in here.drain(..) {
            saved[i] = apart(y);
        }
        let y0 = apart(y);
        if tableau.coupled {
            // Derivatives converge like the stages do, but later.
            let rounds = 2 * step.rounds as usize + 2;
            k.extend(coupled(
                tableau,
                rounds,
                y0,
                h,
                |i| stage_time(tableau.c[i], start, h, end),
                at,
            )?);
        }
        if let Method::Rosenbrock(method) = method {
            let stages = rosenbrock_stages(method, y0, start, h, end, k[0], &field)?;
            k.extend(stages.into_iter().zip(1..).map(|(k, i)| pin(known, i, k)));
        }
        let stages = if method.ends_in_stage() { rows } else { rows - 1 };
        let mut before = y0;
        for i in k.len()..stages {
            let t = stage_time(tableau.c[i], start, h, end);
            let row = tableau.a[i];
            let base = if tableau.starts_before(i) {
                add_up(before, false, h, &tableau.increments(i).collect::<Vec<_>>(), &k)
            } else {
                combine(y0, h, &row[..i.min(row.len())], &k)
            };
            before = base;
            let base = if tableau.starts_before(i + 1) { apart(base) } else { base };
            let at = |y| portion(method.portion(i), t.var(y0), y);
            k.push(match row.get(i) {
                None => pin(known, i, masked(at(base)?, tableau.part(i), frozen.block)),
                Some(&diagonal) => {
                    let solution = &frozen.slopes(n, dim)[i * dim..(i + 1) * dim];
                    let hg = Number::fixed(0.0).plus(diagonal, h);
                    implicit_stage(solution, base, hg, at)?
                }
            });
        }
        if method.ends_in_stage() {
            slope = k.last().copied();
        }
        let y1 = combine(y0, h, tableau.b, &k);
        if !inside.is_empty() && tableau.interpolant.needs_end() && !method.ends_in_stage() {
            k.push(at(end, apart(y1))?);
            slope = k.last().copied();
            for (a, &c) in tableau.interpolant.a.iter().zip(tableau.interpolant.c) {
                k.push(at(stage_time(c, start, h, end), combine(y0, h, a, &k))?);
            }
        }
        for i in step.saves.clone() {
            let theta = position(ts[i], step.t0, step.h, step.t1);
            saved.push(match (times, theta) {
                // A time at the end of a step moves along the solution, to first order.
                (Some(_), 1.0) if i + 1 < ts.len() => {
                    let k = match slope {
                        Some(k) => k,
                        None => at(end, apart(y1))?,
                    };
                    slope = Some(k);
                    combine(apart(y1), time(i).plus(-1.0, Number::fixed(step.t1)), &[1.0], &[k])
                }
                (_, 1.0) => {
                    here.push(saved.len());
                    y1
                }
                (_, theta) => interpolate(tableau, y0, h, &k, within(theta, time(i), start, h, y0)),
            });
        }
        y = y1;
    }
    Ok(stack(&saved))
}

/// `y` for one use: what that use sends back is summed apart, and joins the rest as one term.
///
/// So the cotangents of a state are added up as the exact backward pass does it. Where large
/// coefficients cancel, another order is other digits.
fn apart<'t, T: Real>(y: Var<'t, T>) -> Var<'t, T> {
    y.affine(T::one(), -T::zero())
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
        let right = combine(right, Number::fixed(1.0), method.coupling[i], &k);
        let right = right.reshape([n]).scale(gamma);
        k.push(matrix.solve(right).reshape(shape.clone()));
    }
    k.remove(0);
    Ok(k)
}

/// The place `(t - start) / h` of a time within a step, with its recorded value.
pub(crate) fn within<'t, T: Real>(
    recorded: f64,
    t: Number<'t, T>,
    start: Number<'t, T>,
    h: Number<'t, T>,
    like: Var<'t, T>,
) -> Number<'t, T> {
    let late = t.plus(-1.0, start);
    match (late.change, h.change) {
        (None, None) => Number::fixed(recorded),
        _ => Number::moving(recorded, late.var(like) / h.var(like)),
    }
}

/// `y + h Σ b_i(θ) k_i`.
///
/// With the Taylor series of the polynomials at the recorded `θ`, which ends: summing their powers
/// instead would lose the digits that their large coefficients cancel.
pub(crate) fn interpolate<'t, T: Real>(
    tableau: &Tableau,
    y: Var<'t, T>,
    h: Number<'t, T>,
    k: &[Var<'t, T>],
    theta: Number<'t, T>,
) -> Var<'t, T> {
    let interpolant = &tableau.interpolant;
    let weights = |f: &dyn Fn(usize) -> f64| (0..k.len()).map(f).collect::<Vec<_>>();
    let value = combine(y, h, &weights(&|i| interpolant.weight(i, theta.value)), k);
    let Some(change) = theta.change else { return value };
    let mut sum: Option<Var<'t, T>> = None;
    for m in (1..=interpolant.degree()).rev() {
        let term = slope(&weights(&|i| interpolant.taylor(i, m, theta.value)), k);
        sum = match (sum.map(|sum| sum * change), term) {
            (Some(sum), Some(term)) => Some(term + sum),
            (sum, term) => sum.or(term),
        };
    }
    match sum {
        Some(sum) => value + h.var(y) * change * sum,
        None => value,
    }
}
