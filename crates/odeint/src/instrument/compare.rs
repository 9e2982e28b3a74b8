//! Ways to a gradient side by side, on a user's own model.

use std::cell::Cell;
use std::fmt;
use std::time::Instant;

use costate_tape::{Function, Result, Tape, Var};
use smallvec::SmallVec;

use super::probe::Probe;
use super::recorded::{Recorded, frozen};
use super::refine::halves;
use super::way::Way;
use crate::Real;
use crate::grid::StepEnd;
use crate::ode::{Gradient, Ode};
use crate::options::Stepping;

/// How long a measurement is repeated, in seconds, and how often at most.
const REPEAT: (f64, usize) = (0.05, 20);

/// What [`compare_gradients`] found.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// One row for each way and tolerance, ways first.
    pub rows: Vec<ComparisonRow>,
    /// The loss of the reference.
    pub loss: f64,
    /// The length of the reference gradient: with respect to the initial state and everything that
    /// the field captures, together.
    pub gradient: f64,
    /// How far the reference gradient moves if its steps are halved, relative to its length:
    /// distances below that mean nothing.
    pub uncertainty: f64,
}

/// One way at one tolerance.
#[derive(Clone, Debug)]
pub struct ComparisonRow {
    /// The [name](Way::name) of the way.
    pub way: String,
    /// The relative tolerance, or `None` if steps are equal.
    pub tolerance: Option<f64>,
    /// What was measured, or the message of the error that the way returned.
    pub outcome: std::result::Result<Measured, String>,
}

/// A loss and its gradient, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Seconds that the forward pass took, the best of a few: what [`Ode::solve`] does, its
    /// preparation included, and the loss.
    pub forward: f64,
    /// Seconds that the gradient then took, its preparation included.
    pub backward: f64,
    /// Bytes on the tape at the end, where they are most: what both passes keep.
    pub bytes: usize,
    /// Steps that the forward pass took.
    pub accepted: usize,
    /// Steps that it gave up.
    pub rejected: usize,
    /// Evaluations of the field, of both passes. Those of its tangents, by [`Gradient::Forward`], are
    /// not counted.
    pub f_evals: usize,
    /// Evaluations of its vector-Jacobian product.
    pub vjp_evals: usize,
    /// The distance of the gradient to the reference, relative to the latter's length.
    pub distance: f64,
}

/// Compares every way to the gradient of a loss of a solve over a range of tolerances: what
/// each costs in time, memory and evaluations, and how far it is from a tight reference.
///
/// `f`, `y0` and `ts` are as in [`Ode::try_solve`], and `loss` is a number made of the states at
/// `ts`. The gradient is that with respect to `y0` and to everything that the field captures. The
/// [ways](Way::all) differ in nothing but how they get there; the tolerances are relative ones, and
/// the absolute one keeps its ratio to them. If `ode` takes equal steps, its steps are taken and
/// `tolerances` have no meaning.
///
/// Each measurement is on a tape of its own, and times are the best of a few. The result prints
/// as a table. A way that fails says why in its row.
///
/// ```
/// use costate_odeint::{Ode, Tsit5, compare_gradients};
/// use costate_tape::Tape;
///
/// let tape = Tape::<f64>::new();
/// let (y0, rate) = (tape.leaf(&[1.0, 0.5], [2]), tape.scalar(0.7));
/// let found = compare_gradients(
///     &Ode::new(Tsit5),
///     |_, y| Ok((rate * y).sin() - y),
///     y0,
///     &[0.0, 2.0],
///     |ys| Ok(ys.square().sum()),
///     &[1e-3, 1e-6],
/// )?;
/// println!("{found}");
/// let exact = found.rows.iter().find(|row| row.way == "exact" && row.tolerance == Some(1e-6));
/// assert!(exact.unwrap().outcome.as_ref().unwrap().distance < 1e-4);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// If the field or the loss cannot be recorded or reads numbers, or the reference fails.
///
/// # Panics
/// If a shape does not fit, or the loss has more than one entry.
#[track_caller]
pub fn compare_gradients<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    y0: Var<'t, T>,
    ts: &[f64],
    loss: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    tolerances: &[f64],
) -> Result<Comparison> {
    let reference = Way::reference(ode, T::EPSILON.as_f64());
    compare_ways(&Way::all(ode), &reference, f, y0, ts, loss, tolerances)
}

/// [`compare_gradients`] of ways of one's own choice, which may differ in their methods too, and with
/// a given reference.
///
/// # Errors
/// As [`compare_gradients`].
///
/// # Panics
/// As [`compare_gradients`].
#[track_caller]
pub fn compare_ways<'t, T: Real>(
    ways: &[Way],
    reference: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    y0: Var<'t, T>,
    ts: &[f64],
    loss: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    tolerances: &[f64],
) -> Result<Comparison> {
    let model = Model::new(f, y0, ts, loss)?;
    let tight = model.gradient(reference, Probe::default())?;
    let finer = model.gradient(reference, Probe::on(&tight.halves))?;
    let length = |x: &mut dyn Iterator<Item = f64>| x.map(|x| x * x).sum::<f64>().sqrt();
    let gradient = length(&mut tight.gradient.iter().copied());
    let distance = |g: &[f64]| {
        let difference = length(&mut g.iter().zip(&tight.gradient).map(|(a, b)| a - b));
        if difference == 0.0 { 0.0 } else { difference / gradient }
    };
    let mut rows = Vec::new();
    for way in ways {
        let options = *way.ode.chosen_options();
        let adaptive = options.stepping == Stepping::Adaptive;
        let ratio = options.atol / options.rtol;
        let at = |&rtol: &f64| {
            let each: Vec<f64> = way.ode.atol.iter().map(|a| a * (rtol / options.rtol)).collect();
            (Some(rtol), way.ode.clone().tolerance(rtol, rtol * ratio).atol_each(each))
        };
        let odes: Vec<_> = match adaptive {
            true => tolerances.iter().map(at).collect(),
            false => vec![(None, way.ode.clone())],
        };
        for (tolerance, ode) in odes {
            let outcome = model
                .measure(&ode)
                .map(|(measured, g)| Measured { distance: distance(&g), ..measured })
                .map_err(|e| match e.call_error() {
                    // Where it was recorded is here.
                    Some(e) => e.to_string(),
                    None => e.to_string(),
                });
            rows.push(ComparisonRow { way: way.name.clone(), tolerance, outcome });
        }
    }
    Ok(Comparison { rows, loss: tight.loss, gradient, uncertainty: distance(&finer.gradient) })
}

/// A user's model, off the user's tape.
struct Model<'t, 's, T: Real> {
    field: Recorded<'t, T>,
    y0: Var<'t, T>,
    ts: &'s [f64],
    /// The states and what the loss captures, to the loss.
    loss: Function<T>,
    read: SmallVec<[Var<'t, T>; 8]>,
}

/// A gradient by some solver, and its grid with each step halved.
struct Found {
    loss: f64,
    gradient: Vec<f64>,
    halves: Vec<StepEnd>,
}

impl<'t, 's, T: Real> Model<'t, 's, T> {
    #[track_caller]
    fn new(
        f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
        y0: Var<'t, T>,
        ts: &'s [f64],
        loss: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    ) -> Result<Self> {
        let field = Recorded::new(f, y0, ts)?;
        // Any numbers will do to record the loss: only the shape matters.
        let shape: Vec<usize> = [ts.len()].iter().chain(y0.shape().iter()).copied().collect();
        let scope =
            y0.tape().scope(&[y0.broadcast_to(shape)], |ys| loss(ys[0]).map(|loss| vec![loss]))?;
        let entries = scope.function.output_shapes()[0].numel();
        assert!(entries == 1, "the loss has {entries} entries, not 1");
        scope.function.transform(&[], |_, _, outputs, _| Ok(outputs.to_vec()))?;
        Ok(Model { field, y0, ts, loss: scope.function, read: scope.captured })
    }

    /// The initial state and what the field captures, on another tape.
    fn leaves<'u>(&self, tape: &'u Tape<T>) -> Vec<Var<'u, T>> {
        let inputs = [self.y0].into_iter().chain(self.field.captured.iter().copied());
        inputs.map(|x| tape.leaf(&x.to_vec(), x.shape())).collect()
    }

    fn loss<'u>(&self, ys: Var<'u, T>) -> Result<Var<'u, T>> {
        let tape = ys.tape();
        let read = self.read.iter().map(|x| tape.leaf(&x.to_vec(), x.shape()));
        let inputs: Vec<_> = [ys].into_iter().chain(read).collect();
        Ok(self.loss.inline(tape, &inputs)?[0])
    }

    fn gradient(&self, ode: &Ode, probe: Probe<T>) -> Result<Found> {
        let tape = Tape::new();
        let x = self.leaves(&tape);
        let function = self.field.function.clone();
        let ys =
            T::solve_recorded(ode, function, &x[1..], x[0], Some(self.ts.into()), None, probe)?;
        let loss = self.loss(ys)?;
        let gradient = numbers(&loss.grad(&x)?);
        let steps = frozen(ys).map_or_else(Vec::new, |frozen| frozen.steps);
        let halves = halves(&steps);
        Ok(Found { loss: loss.item().as_f64(), gradient, halves })
    }

    /// Runs forward and backward a few times; the distance is left for the caller.
    fn measure(&self, ode: &Ode) -> Result<(Measured, Vec<f64>)> {
        // What the steps are, where operations on the tape do not say.
        let steps = {
            let tape = Tape::new();
            let (x, function) = (self.leaves(&tape), self.field.function.clone());
            let plain = ode.clone().gradient(Gradient::Exact);
            let times = Some(self.ts.into());
            let ys =
                T::solve_recorded(&plain, function, &x[1..], x[0], times, None, Probe::default())?;
            Ode::stats(ys).expect("the state of a solve")
        };
        let begin = Instant::now();
        let mut best: Option<(Measured, Vec<f64>)> = None;
        for run in 0..REPEAT.1 {
            if run > 0 && begin.elapsed().as_secs_f64() > REPEAT.0 {
                break;
            }
            let tape = Tape::new();
            let x = self.leaves(&tape);
            let before = tape.bytes();
            let evaluations = Cell::new(0);
            let start = Instant::now();
            let ys = ode.try_solve(
                |t, y| {
                    evaluations.set(evaluations.get() + 1);
                    let inputs: Vec<_> = [t, y].iter().chain(&x[1..]).copied().collect();
                    Ok(self.field.function.inline(&tape, &inputs)?[0])
                },
                x[0],
                self.ts,
            )?;
            let loss = self.loss(ys)?;
            let forward = start.elapsed().as_secs_f64();
            let g = loss.grad(&x)?;
            let backward = start.elapsed().as_secs_f64() - forward;
            let (f_evals, vjp_evals) = match Ode::stats(ys) {
                Some(stats) => {
                    let back = Ode::stats(g[0]).unwrap_or_default();
                    (stats.f_evals + back.f_evals, back.vjp_evals)
                }
                // Once to see what the field captures; then for the grid, and then on the tape.
                None => (evaluations.get() - 1, evaluations.get() - 1 - steps.f_evals),
            };
            let measured = Measured {
                forward: best.as_ref().map_or(forward, |(best, _)| best.forward.min(forward)),
                backward: best.as_ref().map_or(backward, |(best, _)| best.backward.min(backward)),
                bytes: tape.bytes() - before,
                accepted: steps.accepted,
                rejected: steps.rejected,
                f_evals,
                vjp_evals,
                distance: f64::NAN,
            };
            best = Some((measured, numbers(&g)));
        }
        Ok(best.expect("it ran once"))
    }
}

/// The entries of arrays, one after another.
fn numbers<T: Real>(x: &[Var<'_, T>]) -> Vec<f64> {
    x.iter().flat_map(|x| x.to_vec()).map(T::as_f64).collect()
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "loss {:.6e}, gradient of length {:.6e}, known to {:.0e}",
            self.loss, self.gradient, self.uncertainty
        )?;
        let width = self.rows.iter().map(|row| row.way.chars().count()).max().unwrap_or(0).max(3);
        writeln!(
            f,
            "{:<width$}  {:>9}  {:>10}  {:>10}  {:>9}  {:>13}  {:>8}  {:>8}  {:>9}",
            "way", "tolerance", "forward", "backward", "kept", "steps", "f", "vjp", "distance"
        )?;
        for row in &self.rows {
            let tolerance = row.tolerance.map_or("-".to_owned(), |t| format!("{t:.0e}"));
            write!(f, "{:<width$}  {tolerance:>9}  ", row.way)?;
            match &row.outcome {
                Ok(m) => writeln!(
                    f,
                    "{:>10}  {:>10}  {:>9}  {:>13}  {:>8}  {:>8}  {:>9.1e}",
                    time(m.forward),
                    time(m.backward),
                    size(m.bytes),
                    format!("{} + {}", m.accepted, m.rejected),
                    m.f_evals,
                    m.vjp_evals,
                    m.distance
                ),
                Err(e) => writeln!(f, "{e}"),
            }?;
        }
        Ok(())
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.1} µs", s * 1e6),
        s if s < 1.0 => format!("{:.2} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn size(bytes: usize) -> String {
    match bytes as f64 {
        b if b < 1024.0 => format!("{bytes} B"),
        b if b < 1048576.0 => format!("{:.1} KiB", b / 1024.0),
        b if b < 1073741824.0 => format!("{:.1} MiB", b / 1048576.0),
        b => format!("{:.2} GiB", b / 1073741824.0),
    }
}
