//! Whether a gradient is right: `p · δ` along its backward pass.

use std::sync::{Arc, Mutex};

use costate_tape::{Result, Tape, Var};

use super::probe::{Pass, Probe};
use super::recorded::{Recorded, frozen, one_step, read};
use crate::Real;
use crate::additive::Portion;
use crate::differences::ROWS;
use crate::memory::Memory;
use crate::method::Method;
use crate::ode::{Gradient, Ode};
use crate::reversible::Scheme;
use crate::solve::position;
use crate::tableau::Tableau;
use crate::unroll::{Frozen, unroll};
use crate::unroll_multistep::unroll_multistep;
use crate::unroll_reversible::unroll_from;

/// What [`p_dot_delta`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Invariant {
    /// The ends of the steps from the first to the last, the start of the first before them, and
    /// before that the start once more, for the gradient that is returned.
    pub ts: Vec<f64>,
    /// The invariant at each of them.
    pub values: Vec<f64>,
    /// The largest sum of the absolute values of the terms that make up one of the values: what
    /// rounding errors are to be compared with.
    pub size: f64,
    /// What rounding may do to the invariant, relative to the size: for 64-bit numbers `1e-12`, and
    /// more for a method of one's own whose coefficients cancel: [`Tableau::amplification`].
    pub rounding: f64,
}

impl Invariant {
    /// Whether the invariant is constant to rounding: whether the gradient is right.
    pub fn holds(&self) -> bool {
        self.deviation() <= self.rounding
    }

    /// The largest difference between a value and the last one, which the tangents alone make,
    /// relative to [`size`](Invariant::size): some units in the last place if the gradient is right.
    /// Infinite if a value is not a number.
    pub fn deviation(&self) -> f64 {
        self.deviation_at(self.worst())
    }

    /// The time at which the difference is largest.
    pub fn worst_at(&self) -> f64 {
        self.ts[self.worst()]
    }

    /// The place of the value that differs most; the last of them if all are the same.
    pub(crate) fn worst(&self) -> usize {
        let last = self.values.len() - 1;
        let later = |best: usize, i: usize| {
            if self.deviation_at(i) > self.deviation_at(best) { i } else { best }
        };
        (0..last).rev().fold(last, later)
    }

    fn deviation_at(&self, i: usize) -> f64 {
        match (self.values[i] - self.values[self.values.len() - 1]).abs() {
            0.0 => 0.0,
            x if x.is_nan() => f64::INFINITY,
            x => x / self.size,
        }
    }
}

/// Follows `p · δ` along the backward pass of a solve: the sharp test that a gradient is right.
///
/// `δ` is the tangent of the solution, `p` the momentum conjugate to it, the cotangent of the state.
/// With tangents `δ₀` of the initial state and `δθ` of what the field captures, and cotangents `g_i`
/// of the states at `ts`,
///
/// ```text
/// p(t) · δ(t) + δθ · ∫_t (∂f/∂θ)ᵀ p dt + Σ_{t_i ≤ t} g_i · δ(t_i)
/// ```
///
/// is the same at the end of every step, to rounding, for any field, tolerance and number of steps,
/// if [`Gradient::Exact`] and the derivatives of the field are right. No step size of a finite
/// difference has to be chosen. At the end it is made of tangents alone, at the start of the
/// gradient alone. Tangents are taken through each step by operations on the tape, by forward
/// rules; the momentum is that of the backward pass itself, by reverse rules.
///
/// `cotangent` is that of the states at `ts`, of shape `[ts.len(), …shape of y0]`, and `tangents` are
/// those of the variables `wrt`, on which `y0` and what the field captures may depend: as in
/// [`Tape::vjp`] and [`Tape::jvp`]. It takes a recording of every step, so about as long as
/// [`Gradient::Unrolled`], but the memory of one step.
///
/// ```
/// use costate_odeint::{Ode, Tsit5, p_dot_delta};
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let (y0, rate) = (tape.leaf(&[1.0, 0.0], [2]), tape.scalar(0.5));
/// let ts = [0.0, 0.3, 2.0];
/// let cotangent = tape.leaf(&[0.0, 0.0, 1.0, -0.5, 2.0, 1.0], [3, 2]);
/// let tangents = [tape.leaf(&[0.3, -0.7], [2]), tape.scalar(1.0)];
/// let ode = Ode::new(Tsit5).tolerance(1e-3, 1e-3);
/// let found = p_dot_delta(
///     &ode,
///     |_, y| Ok((rate * y).sin() - y),
///     y0,
///     &ts,
///     cotangent,
///     &[y0, rate],
///     &tangents,
/// )?;
/// assert!(found.holds() && found.deviation() < 1e-14);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// Those of the solve and of `f`, if the field reads numbers, and if the method's backward pass does
/// not go step by step.
///
/// # Panics
/// If a shape does not fit, or there are not as many tangents as variables.
#[track_caller]
pub fn p_dot_delta<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    y0: Var<'t, T>,
    ts: &[f64],
    cotangent: Var<'t, T>,
    wrt: &[Var<'t, T>],
    tangents: &[Var<'t, T>],
) -> Result<Invariant> {
    let ode = ode.clone().gradient(Gradient::Exact);
    let field = Recorded::new(f, y0, ts)?;
    let inputs: Vec<_> = [y0].iter().chain(&field.captured).copied().collect();
    let dots: Vec<Vec<T>> =
        y0.tape().jvp(&inputs, wrt, tangents)?.iter().map(|dot| dot.to_vec()).collect();

    // The pass itself, on a tape of its own.
    let tape = Tape::new();
    let leaves: Vec<_> = inputs.iter().map(|x| tape.leaf(&x.to_vec(), x.shape())).collect();
    let pass = Arc::new(Mutex::new(Pass { tangent: dots[1..].concat(), ..Pass::default() }));
    let solve = |ode: &Ode, probe: Probe<T>| {
        let function = field.function.clone();
        T::solve_recorded(ode, function, &leaves[1..], leaves[0], Some(ts.into()), None, probe)
    };
    let g = cotangent.to_vec();
    let seed = tape.leaf(&g, cotangent.shape());
    let ys = solve(&ode, Probe { grid: None, pass: Some(pass.clone()) })?;
    tape.vjp(&[ys], &[seed], &leaves)?;
    // What is returned may have come another, faster way than a pass that is written down.
    let plain = solve(&ode, Probe::default())?;
    let bars = tape.vjp(&[plain], &[seed], &leaves)?;
    // Implicit stages start from their solutions, which not every policy keeps.
    let all = match ode.method().is_implicit() {
        true => solve(&ode.clone().memory(Memory::Stages), Probe::default())?,
        false => ys,
    };
    let frozen = frozen(all).expect("the state of a solve");
    let pass = read(&pass, &ode)?;

    let dim = dots[0].len();
    let scheme = match ode.method() {
        Method::Reversible(scheme) => Some(scheme),
        _ => None,
    };
    // Along the way the invariant is that of a table of differences, if the method is a multistep one.
    let tables = match ode.method() {
        Method::Multistep(tableau) => Some(Tables::new(tableau, &field, &leaves, &dots, &frozen)?),
        _ => None,
    };
    let mut sum = Sum::default();
    for (bar, dot) in bars.iter().zip(&dots) {
        sum.add(&bar.to_vec(), dot);
    }
    let mut found = Invariant {
        ts: vec![ts[0]],
        values: vec![sum.value],
        size: sum.size,
        rounding: rounding::<T>(ode.method()),
    };
    // What has been observed so far.
    let mut observed = Sum::default();
    observed.add(&g[..dim], &dots[0]);
    let mut delta = dots[0].clone();
    // That of the companion, if there is one.
    let mut beside: Vec<T> = Vec::new();
    let steps = frozen.steps.len();
    if let Some(tables) = tables.filter(|_| steps > 0) {
        for n in 0..=steps {
            let mut sum = observed;
            sum.add(&pass.p[(steps - n) * tables.len..], &tables.tangents[n]);
            if let Some([value, size]) = pass.captured.get(steps - n) {
                sum.value += value;
                sum.size += size;
            }
            found.ts.push(pass.ts[steps - n]);
            found.values.push(sum.value);
            found.size = found.size.max(sum.size);
            if let Some(step) = frozen.steps.get(n) {
                let saved = step.saves.start * dim..step.saves.end * dim;
                observed.add(&g[saved.clone()], &tables.saved[saved]);
            }
        }
        return Ok(found);
    }
    for n in 0..=steps {
        let t = pass.ts[steps - n];
        let place = (steps - n) * dim..(steps - n + 1) * dim;
        let y = &pass.ys[place.clone()];
        let at = |y, delta| Tangents { field: &field, leaves: &leaves, dots: &dots, y, delta };
        let mut sum = observed;
        sum.add(&pass.p[place.clone()], &delta);
        let companion = pass.companions.get(place.clone());
        if let (Some(scheme), Some(companion)) = (scheme, companion) {
            if n == 0 {
                beside = match scheme {
                    Scheme::AsynchronousLeapfrog => at(y, &delta).slope(t)?,
                    _ => delta.clone(),
                };
            }
            sum.add(&pass.companion_p[place.clone()], &beside);
            sum.add(&pass.slope[place.clone()], &at(companion, &beside).slope(t)?);
        } else {
            sum.add(&pass.slope[place.clone()], &at(y, &delta).slope(t)?);
        }
        if let Some([value, size]) = pass.captured.get(steps - n) {
            sum.value += value;
            sum.size += size;
        }
        found.ts.push(t);
        found.values.push(sum.value);
        found.size = found.size.max(sum.size);
        if n == steps {
            break;
        }
        let grid = &frozen.steps[n];
        let inside = |i: &usize| position(ts[*i], grid.t0, grid.h, grid.t1) < 1.0;
        let times: Vec<f64> = grid.saves.clone().filter(inside).map(|i| ts[i]).collect();
        let slopes = match ode.method().is_implicit() {
            true => frozen.slopes(n, dim).to_vec(),
            false => Vec::new(),
        };
        let step = one_step(&frozen, n, &times, slopes);
        let mut all = match (scheme, companion) {
            (Some(scheme), Some(companion)) => {
                at(y, &delta).through_pair(scheme, &step, companion, &beside)?
            }
            _ => at(y, &delta).through(&step)?,
        };
        if scheme.is_some() {
            beside = all.split_off(all.len() - dim);
        }
        delta.copy_from_slice(&all[all.len() - dim..]);
        for (i, save) in grid.saves.clone().enumerate() {
            // States at the end of the step are its last one.
            let row = if inside(&save) { (i + 1) * dim } else { all.len() - dim };
            observed.add(&g[save * dim..(save + 1) * dim], &all[row..row + dim]);
        }
    }
    Ok(found)
}

/// What rounding may do to a gradient, relative to the size of its terms: that of thousands of
/// operations, or what a step makes of the rounding errors of its stages, if that is more.
pub(crate) fn rounding<T: Real>(method: Method) -> f64 {
    T::EPSILON.as_f64() * (0.5 * method.tableau().amplification()).max(4096.0)
}

/// A sum of products, and of their absolute values.
#[derive(Clone, Copy, Default)]
struct Sum {
    value: f64,
    size: f64,
}

impl Sum {
    fn add<T: Real>(&mut self, a: &[T], b: &[T]) {
        for (a, b) in a.iter().zip(b) {
            let product = a.as_f64() * b.as_f64();
            self.value += product;
            self.size += product.abs();
        }
    }
}

/// The tangents of a solve by a multistep method.
struct Tables<T> {
    /// Those of the table at the start and after each step, its rows one after another.
    tangents: Vec<Vec<T>>,
    /// How many numbers a table of cotangents is; rows that a table of tangents lacks are 0.
    len: usize,
    /// Those of the states at the times.
    saved: Vec<T>,
}

impl<T: Real> Tables<T> {
    fn new(
        tableau: &Tableau,
        field: &Recorded<'_, T>,
        leaves: &[Var<'_, T>],
        dots: &[Vec<T>],
        frozen: &Frozen<T>,
    ) -> Result<Tables<T>> {
        let tape = Tape::new();
        let leaf = |x: &[T], like: &Var<'_, T>| tape.leaf(x, like.shape());
        let inputs: Vec<_> = leaves.iter().map(|x| leaf(&x.to_vec(), x)).collect();
        let dots: Vec<_> = dots.iter().zip(leaves).map(|(dot, x)| leaf(dot, x)).collect();
        let slope = |t, y| {
            let inputs: Vec<_> = [t, y].iter().chain(&inputs[1..]).copied().collect();
            Ok(field.function.inline(&tape, &inputs)?[0])
        };
        let mut tables = Vec::new();
        let ys = unroll_multistep(tableau, frozen, inputs[0], None, &slope, &mut |table| {
            tables.push(table.to_vec());
        })?;
        let outputs: Vec<_> = tables.iter().flatten().chain([&ys]).copied().collect();
        let mut found = tape.jvp(&outputs, &inputs, &dots)?.into_iter().map(|dot| dot.to_vec());
        let mut rows = |table: Vec<_>| found.by_ref().take(table.len()).flatten().collect();
        let tangents = tables.into_iter().map(&mut rows).collect();
        let len = (ROWS + 1) * leaves[0].shape().numel();
        Ok(Tables { tangents, len, saved: found.next().expect("the states come last") })
    }
}

/// The tangents at the start of a step.
struct Tangents<'a, 't, T: Real> {
    field: &'a Recorded<'t, T>,
    /// The initial state and what is captured, with their tangents.
    leaves: &'a [Var<'a, T>],
    dots: &'a [Vec<T>],
    y: &'a [T],
    delta: &'a [T],
}

impl<T: Real> Tangents<'_, '_, T> {
    /// That of what `f` makes of the state and of what is captured.
    fn of(
        &self,
        f: impl for<'t> Fn(&'t Tape<T>, Var<'t, T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
    ) -> Result<Vec<T>> {
        self.of_pair(&[], |tape, y, _, captured| f(tape, y, captured))
    }

    /// [`of`](Self::of), where `f` takes a companion of the state too, with its tangent.
    fn of_pair(
        &self,
        companion: &[[&[T]; 2]],
        f: impl for<'t> Fn(
            &'t Tape<T>,
            Var<'t, T>,
            Option<Var<'t, T>>,
            &[Var<'t, T>],
        ) -> Result<Var<'t, T>>,
    ) -> Result<Vec<T>> {
        let tape = Tape::new();
        let shapes = self.leaves.iter().map(|leaf| leaf.shape());
        let values = self.leaves[1..].iter().map(|leaf| leaf.to_vec());
        let values = [self.y.to_vec()].into_iter().chain(values);
        let deltas = [self.delta].into_iter().chain(self.dots[1..].iter().map(|dot| &dot[..]));
        let (mut inputs, mut tangents) = (Vec::new(), Vec::new());
        for ((shape, value), delta) in shapes.zip(values).zip(deltas) {
            inputs.push(tape.leaf(&value, shape.clone()));
            tangents.push(tape.leaf(delta, shape));
        }
        let captured = inputs.len();
        for [value, delta] in companion {
            inputs.push(tape.leaf(value, inputs[0].shape()));
            tangents.push(tape.leaf(delta, inputs[0].shape()));
        }
        let out = f(&tape, inputs[0], inputs.get(captured).copied(), &inputs[1..captured])?;
        Ok(tape.jvp(&[out], &inputs, &tangents)?[0].to_vec())
    }

    /// That of the slope at the time `t`.
    fn slope(&self, t: f64) -> Result<Vec<T>> {
        self.of(|tape, y, captured| {
            let inputs: Vec<_> =
                [tape.scalar(T::from_f64(t)), y].iter().chain(captured).copied().collect();
            Ok(self.field.function.inline(tape, &inputs)?[0])
        })
    }

    /// Those of the states at the times of a step, its start first, its end last.
    fn through(&self, step: &crate::unroll::Frozen<T>) -> Result<Vec<T>> {
        self.of(|tape, y, captured| {
            unroll(step, y, None, &|portion, t, y| {
                if portion == Portion::Rest {
                    return Ok(y.zeros_like());
                }
                let inputs: Vec<_> = [t, y].iter().chain(captured).copied().collect();
                Ok(self.field.function.inline(tape, &inputs)?[0])
            })
        })
    }

    /// Those of the states at the times of a step by a reversible scheme, and of the companion at its
    /// end.
    fn through_pair(
        &self,
        scheme: Scheme,
        step: &crate::unroll::Frozen<T>,
        companion: &[T],
        beside: &[T],
    ) -> Result<Vec<T>> {
        self.of_pair(&[[companion, beside]], |tape, y, companion, captured| {
            let pair = [y, companion.expect("a companion was given")];
            let field = |t, y| {
                let inputs: Vec<_> = [t, y].iter().chain(captured).copied().collect();
                Ok(self.field.function.inline(tape, &inputs)?[0])
            };
            let (states, end) = unroll_from(scheme, step, pair, true, None, &field)?;
            Ok(Var::concat(0, &[states, end.unsqueeze(0)]))
        })
    }
}
