//! A solve by a multistep method as operations on the tape, on a frozen grid.

use costate_tape::{Result, Var};

use crate::Real;
use crate::differences::{KAPPA, ROWS, alpha, factor, gamma, rescaling};
use crate::mass::Mass;
use crate::solve::position;
use crate::tableau::Tableau;
use crate::unroll::{Frozen, Number, interpolate, stack, within};
use crate::var_event::RecordingRef;

/// As [`unroll`](crate::unroll::unroll): the table of differences is one of variables. `visit` is
/// shown it at the start and after each step.
pub(crate) fn unroll_multistep<'t, T: Real>(
    tableau: &Tableau,
    frozen: &Frozen<T>,
    y0: Var<'t, T>,
    times: Option<Var<'t, T>>,
    field: &RecordingRef<'_, 't, T>,
    visit: &mut dyn FnMut(&[Var<'t, T>]),
) -> Result<Var<'t, T>> {
    let Frozen { steps, ts, .. } = frozen;
    let (tape, dim, mass) = (y0.tape(), y0.shape().numel(), frozen.mass.as_deref());
    let time = |i: usize| Number::time(ts, times, i);
    let mut saved = vec![y0];
    let mut y = y0;
    let mut table = vec![y0];
    if !steps.is_empty() {
        table.push(rough_slope(mass, field(time(0).var(y0), y0)?));
    }
    visit(&table);
    let mut before = Number::fixed(1.0);
    for (n, step) in steps.iter().enumerate() {
        let order = step.orders().order;
        let start = if n == 0 { time(0) } else { Number::fixed(step.t0) };
        let end = if n + 1 == steps.len() { time(ts.len() - 1) } else { Number::fixed(step.t1) };
        let h = Number::size(step.h, start, end);
        let basis = step.orders().basis;
        match (h.change, before.change) {
            (None, None) => {
                if let Some(factor) = factor(h.value, before.value, step.t1) {
                    table = rescaled(&table, basis, &rescaling(basis, factor));
                }
            }
            _ => table = rescaled_by(&table, basis, h.var(y0) / before.var(y0)),
        }
        table.truncate(order + 1);
        let history: Vec<T> = (1..=order).map(|j| T::from_f64(gamma(j) / alpha(order))).collect();
        let history = Var::lincomb(&history, &table[1..]).expect("an order is at least 1");
        let predicted = Var::lincomb(&vec![T::one(); order + 1], &table).expect("of the state");
        let solution = tape.leaf(&frozen.states[(n + 1) * dim..(n + 2) * dim], y0.shape());
        let c = Number::fixed(0.0).plus(1.0 / alpha(order), h).var(y0);
        let t = end.var(y0);
        let before_step = y;
        y = solved(mass, solution, c, history - predicted, |y| field(t, y))?;
        let mut above = y - predicted;
        table.push(above);
        for row in table[..=order].iter_mut().rev() {
            above = above + *row;
            *row = above;
        }
        // The recorded values, which are free of the rounding errors of large states.
        if let Some(known) = frozen.differences.chunks_exact((ROWS + 1) * dim).nth(n) {
            for (row, known) in table.iter_mut().zip(known.chunks_exact(dim)) {
                *row = tape.leaf(known, row.shape()) + (*row - row.detach());
            }
        }
        visit(&table);
        for i in step.saves.clone() {
            let theta = position(ts[i], step.t0, step.h, step.t1);
            let differences = &table[..=order];
            saved.push(match (times, theta) {
                // A time at the end of a step moves along the solution, to first order.
                (Some(_), 1.0) if i + 1 < ts.len() => {
                    let late = time(i).plus(-1.0, Number::fixed(step.t1)).var(y0);
                    let weight = |j: usize| match j > order {
                        true => -KAPPA[order] * gamma(order),
                        false => 1.0 / j as f64,
                    };
                    let weights: Vec<T> = (1..=order + 1).map(|j| T::from_f64(weight(j))).collect();
                    let sum = Var::lincomb(&weights, &table[1..]).expect("an order is at least 1");
                    y + late * (sum / h.var(y0))
                }
                (_, 1.0) => y,
                (_, theta) => {
                    let theta = within(theta, time(i), start, h, y0);
                    interpolate(tableau, before_step, Number::fixed(1.0), differences, theta)
                }
            });
        }
        before = h;
    }
    Ok(stack(&saved))
}

/// `y` with `c f(y) - M (y + known)` as it was recorded at the solution, which is near 0.
///
/// Three Newton iterations from there with the Jacobian there: derivatives up to the third are those
/// of the solution.
fn solved<'t, T: Real>(
    mass: Option<&Mass<T>>,
    solution: Var<'t, T>,
    c: Var<'t, T>,
    known: Var<'t, T>,
    field: impl Fn(Var<'t, T>) -> Result<Var<'t, T>>,
) -> Result<Var<'t, T>> {
    let shape = solution.shape();
    let n = shape.numel();
    let at = solution.fresh();
    let jacobian = field(at)?.jacobian(at)?.detach().reshape([n, n]);
    let matrix = mass_matrix(mass, solution) - c.detach() * jacobian;
    let residual = |y| Ok::<_, costate_tape::Error>(c * field(y)? - product(mass, y + known));
    let (mut y, mut found) = (solution, residual(solution)?);
    let recorded = found.detach();
    for i in 0..3 {
        if i > 0 {
            found = residual(y)?;
        }
        let right = (found - recorded).reshape([n]);
        y = y + matrix.solve(right).reshape(shape.clone());
    }
    Ok(y)
}

/// Differences at other distances.
fn rescaled<'t, T: Real>(
    table: &[Var<'t, T>],
    basis: usize,
    weights: &[[f64; ROWS]; ROWS],
) -> Vec<Var<'t, T>> {
    let mut rows = table.to_vec();
    for (j, row) in rows.iter_mut().enumerate().take(basis + 1).skip(1) {
        let weights: Vec<T> = weights[j][j..=basis].iter().map(|&w| T::from_f64(w)).collect();
        *row = Var::lincomb(&weights, &table[j..=basis]).expect("there are rows");
    }
    rows
}

/// Differences at distances that are differentiated.
fn rescaled_by<'t, T: Real>(
    table: &[Var<'t, T>],
    basis: usize,
    factor: Var<'t, T>,
) -> Vec<Var<'t, T>> {
    let one = factor.tape().scalar(T::one());
    // Value `i` of polynomial `m` is at the new distance `i` before the end.
    let value = |i: usize, m: usize| {
        (0..m).fold(one, |product, l| {
            let (i, l) = (i as f64, l as f64);
            product * factor.affine(T::from_f64(-i / (l + 1.0)), T::from_f64(l / (l + 1.0)))
        })
    };
    let mut rows = table.to_vec();
    for (j, row) in rows.iter_mut().enumerate().take(basis + 1).skip(1) {
        let mut binomials = vec![1.0];
        for i in 0..j {
            binomials.push(-binomials[i] * (j - i) as f64 / (i + 1) as f64);
        }
        let binomials: Vec<T> = binomials.into_iter().map(T::from_f64).collect();
        let mut sum = None;
        for (m, &old) in table.iter().enumerate().take(basis + 1).skip(j) {
            let values: Vec<_> = (0..=j).map(|i| value(i, m)).collect();
            let term = Var::lincomb(&binomials, &values).expect("there are values") * old;
            sum = Some(sum.map_or(term, |sum: Var<'t, T>| sum + term));
        }
        *row = sum.expect("there are rows");
    }
    rows
}

/// `M`, or a matrix with it as each block on the diagonal.
fn mass_matrix<'t, T: Real>(mass: Option<&Mass<T>>, like: Var<'t, T>) -> Var<'t, T> {
    let (tape, n) = (like.tape(), like.shape().numel());
    let Some(mass) = mass else { return tape.eye(n) };
    let mut entries = vec![T::zero(); n * n];
    for first in (0..n).step_by(mass.rows()) {
        mass.entries().for_each(|(i, j, m)| entries[(first + i) * n + first + j] = m);
    }
    tape.leaf(&entries, [n, n])
}

/// `M y` in each block.
fn product<'t, T: Real>(mass: Option<&Mass<T>>, y: Var<'t, T>) -> Var<'t, T> {
    let Some(mass) = mass else { return y };
    let (shape, n) = (y.shape(), mass.rows());
    let mut entries = vec![T::zero(); n * n];
    mass.entries().for_each(|(i, j, m)| entries[j * n + i] = m);
    let transposed = y.tape().leaf(&entries, [n, n]);
    y.reshape([shape.numel() / n, n]).matmul(transposed).reshape(shape)
}

/// About the slope where `M` times it is given, in each block; see [`Mass::rough_slope`].
fn rough_slope<'t, T: Real>(mass: Option<&Mass<T>>, slope: Var<'t, T>) -> Var<'t, T> {
    let Some(mass) = mass else { return slope };
    let shape = slope.shape();
    let mut scale = vec![T::one(); shape.numel()];
    scale.chunks_exact_mut(mass.rows()).for_each(|scale| mass.rough_slope(scale));
    slope * slope.tape().leaf(&scale, shape)
}
