//! The momentum along a solve, to plot beside the state.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use costate_ops::dot;
use costate_tape::{Function, Program, Result, Var, Workspace};

use super::probe::{Pass, Probe};
use super::recorded::{Recorded, read};
use crate::Real;
use crate::error::ErrorKind;
use crate::method::Method;
use crate::ode::{Gradient, Ode};
use crate::operation::solve_error;
use crate::reversible::Scheme;
use crate::stats::Stats;

/// States, momenta and what follows from them at every end of a step; see [`momentum_trajectory`].
///
/// Row `i` belongs to the time `ts[i]`, from the first to the last. Where the loss reads the state at
/// the end of a step the momentum jumps, and there are two rows of the same time: the one before, in
/// which that observation is still to come, and the one after. After the last time there is nothing.
#[derive(Clone, Debug)]
pub struct MomentumTrajectory<T: Real> {
    /// The times of the rows.
    pub ts: Vec<f64>,
    /// The states `x(t)`, one row after another.
    pub states: Vec<T>,
    /// The momenta `p(t)`: the derivative of all of the loss that reads states at or after `t`, with
    /// respect to the state at `t`; one row after another.
    pub momenta: Vec<T>,
    /// `H(t) = p · f(t, x)`.
    pub hamiltonian: Vec<f64>,
    /// The momentum conjugate to the time, `∫_t p · ∂f/∂t dt` up to the end, by the method's own
    /// quadrature. It is 0 for an autonomous field. `H` and it together are conserved between
    /// observations, up to the error of the method.
    pub time_momentum: Vec<f64>,
    /// For each of the variables asked for, `dL/dθ(t) = ∂H/∂θ = (∂f/∂θ)ᵀ p`, one row after another.
    /// Its integral over time is the gradient, less what the loss and the initial state themselves
    /// have of the variable.
    pub rates: Vec<Vec<T>>,
    /// The times between two observations, with the drift of `H` there.
    pub segments: Vec<Segment>,
    /// The loss.
    pub loss: f64,
    /// The derivative of the loss with respect to each of the variables asked for.
    pub gradient: Vec<Vec<T>>,
    /// What the forward pass did.
    pub forward: Stats,
    /// What the backward pass did.
    pub backward: Stats,
}

/// The rows between two observations.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Which rows of the trajectory.
    pub rows: Range<usize>,
    /// The largest less the smallest value of `H` plus the momentum of the time.
    pub drift: f64,
    /// The drift relative to the largest `|p| |f|` in the segment.
    ///
    /// It rises and falls with the relative error of the gradient, of which it is mostly a part between
    /// a hundredth and all, and costs nothing, but it is no bound. No Runge–Kutta method conserves `H`
    /// exactly, so a drift is no defect; whether a gradient is *right* is what
    /// [`p_dot_delta`](crate::p_dot_delta) tells.
    pub relative: f64,
}

impl<T: Real> MomentumTrajectory<T> {
    /// How many components the state has.
    pub fn dim(&self) -> usize {
        self.states.len() / self.ts.len()
    }

    /// The state of row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn state(&self, i: usize) -> &[T] {
        &self.states[i * self.dim()..(i + 1) * self.dim()]
    }

    /// The momentum of row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn momentum(&self, i: usize) -> &[T] {
        &self.momenta[i * self.dim()..(i + 1) * self.dim()]
    }

    /// The largest [relative drift](Segment::relative) of a segment.
    pub fn drift(&self) -> f64 {
        self.segments.iter().map(|segment| segment.relative).fold(0.0, f64::max)
    }
}

/// Solves `dx/dt = f(t, x)`, `x(ts[0]) = y0`, and follows the momentum `p = ∂L/∂x` of the `loss` of
/// the states at `ts` back along the steps of the solve: Hamilton's equations for `H = p · f`
/// (J. Ruseckas, arXiv 1909.03767).
///
/// One forward and one backward pass, [`Gradient::Exact`] whatever was chosen, and then one
/// evaluation of `f` with its vjp for each row. With `wrt` it also gives the gradient with respect to
/// these variables, and how it comes about over time.
///
/// The steps of a reversible [`Scheme`](crate::Scheme) have a momentum of the companion of the state
/// too. There `p(t)` is what a solve from `x(t)` would send back to its start, where the companion is
/// made from the state: it takes in that of the companion.
///
/// States between steps belong to the loss by the interpolant, so that the momentum jumps within a
/// step there; with [`Options::stop_at_saves`](crate::Options::stop_at_saves) each observation is at
/// the end of a step, and its jump can be seen.
///
/// ```
/// use costate_odeint::{Ode, Tsit5, momentum_trajectory};
/// use costate_tape::Tape;
///
/// // dx/dt = -k x, so p grows as exp(k t), and H = -k x p stays.
/// let tape = Tape::<f64>::new();
/// let (x, k) = (tape.leaf(&[2.0], [1]), tape.scalar(1.5));
/// let ode = Ode::new(Tsit5).tolerance(1e-9, 1e-9);
/// let path = momentum_trajectory(
///     &ode,
///     |_, x| Ok(-(k * x)),
///     x,
///     &[0.0, 1.0],
///     |xs| Ok(xs.index_axis(0, 1).sum()),
///     &[k],
/// )?;
/// for (i, t) in path.ts.iter().enumerate() {
///     assert!((path.momentum(i)[0] - (1.5 * (t - 1.0)).exp()).abs() < 1e-8);
///     assert!((path.rates[0][i] + 2.0 * (-1.5f64).exp()).abs() < 1e-8);
/// }
/// assert!(path.drift() < 1e-8);
/// # Ok::<(), costate_tape::Error>(())
/// ```
///
/// # Errors
/// Those of the solve, of `f` and of the loss, if the field reads numbers, and if the method's
/// backward pass does not go step by step.
///
/// # Panics
/// If a shape does not fit, or the loss has more than one entry.
#[track_caller]
pub fn momentum_trajectory<'t, T: Real>(
    ode: &Ode,
    f: impl Fn(Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
    y0: Var<'t, T>,
    ts: &[f64],
    loss: impl FnOnce(Var<'t, T>) -> Result<Var<'t, T>>,
    wrt: &[Var<'t, T>],
) -> Result<MomentumTrajectory<T>> {
    let ode = ode.clone().gradient(Gradient::Exact);
    if let Method::Multistep(tableau) = ode.method() {
        return Err(solve_error(ErrorKind::NoRecord { method: tableau.name }));
    }
    let tape = y0.tape();
    let field = Recorded::new(f, y0, ts)?;
    let inputs: Vec<_> = [y0].iter().chain(&field.captured).copied().collect();

    // The solve of variables of its own: what is found for them is passed on below.
    let own: Vec<_> = inputs.iter().map(|x| x.fresh()).collect();
    let entries: Vec<T> = ts.iter().map(|&t| T::from_f64(t)).collect();
    let times = tape.leaf(&entries, [ts.len()]);
    let pass = Arc::new(Mutex::new(Pass::default()));
    let probe = Probe { grid: None, pass: Some(pass.clone()) };
    let ys = T::solve_recorded(
        &ode,
        field.function.clone(),
        &own[1..],
        own[0],
        None,
        Some(times),
        probe,
    )?;
    let end = ys.detach();
    let loss = loss(end)?;
    let seen: Vec<_> = [end].iter().chain(wrt).copied().collect();
    let direct = loss.grad(&seen)?;
    let with_times: Vec<_> = own.iter().chain([&times]).copied().collect();
    let bars = tape.vjp(&[ys], &[direct[0]], &with_times)?;
    let through = tape.vjp(&inputs, &bars[..inputs.len()], wrt)?;
    let gradient =
        direct[1..].iter().zip(&through).map(|(a, b)| (*a + *b).to_vec()).collect::<Vec<_>>();

    let hamilton = Hamilton::new(&field, y0, wrt)?;
    let mut path = MomentumTrajectory {
        ts: Vec::new(),
        states: Vec::new(),
        momenta: Vec::new(),
        hamiltonian: Vec::new(),
        time_momentum: Vec::new(),
        rates: vec![Vec::new(); wrt.len()],
        segments: Vec::new(),
        loss: loss.item().as_f64(),
        gradient,
        forward: Ode::stats(ys).expect("the state of a solve"),
        backward: Ode::stats(bars[0]).expect("the state of a backward pass"),
    };
    let pass = read(&pass, &ode)?;
    follow(&ode, &pass, ts, &direct[0].to_vec(), hamilton, &mut path)?;
    Ok(path)
}

/// Fills in the rows and segments of a trajectory.
fn follow<T: Real>(
    ode: &Ode,
    pass: &Pass<T>,
    ts: &[f64],
    g: &[T],
    mut hamilton: Hamilton<T>,
    path: &mut MomentumTrajectory<T>,
) -> Result<()> {
    let dim = g.len() / ts.len();
    let steps = pass.ts.len() - 1;
    let observed = |i: &usize| g[i * dim..(i + 1) * dim].iter().any(|g| *g != T::zero());
    let mut observations = (0..ts.len()).filter(observed).peekable();
    // The rows since the last observation, and the largest |p| |f| of each.
    let mut first = 0;
    let mut sizes: Vec<f64> = Vec::new();
    let forward = ts[ts.len() - 1] >= ts[0];
    for n in 0..=steps {
        let place = (steps - n) * dim..(steps - n + 1) * dim;
        let (t, y) = (pass.ts[steps - n], &pass.ys[place.clone()]);
        let mut p = pass.p[place.clone()].to_vec();
        let mut time_momentum = pass.times[steps - n];
        let mut slope = &pass.slope[place.clone()];
        match (ode.method(), pass.companion_p.get(place)) {
            (Method::Reversible(Scheme::AsynchronousLeapfrog), Some(of_slope)) => slope = of_slope,
            (Method::Reversible(_), Some(of_state)) => {
                costate_ops::axpy(T::one(), of_state, &mut p)
            }
            _ => {}
        }
        if slope.iter().any(|k| *k != T::zero()) {
            time_momentum += hamilton.run(t, y, slope, |found| {
                costate_ops::axpy(T::one(), found.get(1), &mut p);
                found.get(2)[0].as_f64()
            })?;
        }
        let at_end = |i: &usize| {
            (n == 0 && *i == 0)
                || (n == steps && *i + 1 == ts.len())
                || (ts[*i] - t).abs() <= 4.0 * f64::EPSILON * t.abs()
        };
        // An observation inside the step that ends here ends a segment.
        while observations.next_if(|i| !at_end(i) && (ts[*i] < t) == forward).is_some() {
            path.close(first..path.ts.len(), &mut sizes);
            first = path.ts.len();
        }
        if let Some(i) = observations.next_if(at_end) {
            let mut before = p.clone();
            costate_ops::axpy(T::one(), &g[i * dim..(i + 1) * dim], &mut before);
            sizes.push(hamilton.row(t, y, &before, time_momentum, path)?);
            path.close(first..path.ts.len(), &mut sizes);
            first = path.ts.len();
            if n == steps {
                break;
            }
        }
        sizes.push(hamilton.row(t, y, &p, time_momentum, path)?);
    }
    path.close(first..path.ts.len(), &mut sizes);
    Ok(())
}

impl<T: Real> MomentumTrajectory<T> {
    /// Makes rows a segment, if they are more than one.
    fn close(&mut self, rows: Range<usize>, sizes: &mut Vec<f64>) {
        let size = sizes.drain(..).fold(0.0, f64::max);
        if rows.len() < 2 {
            return;
        }
        let energies = rows.clone().map(|i| self.hamiltonian[i] + self.time_momentum[i]);
        let (low, high) =
            energies.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        let drift = high - low;
        let relative = if drift == 0.0 { 0.0 } else { drift / size };
        self.segments.push(Segment { rows, drift, relative });
    }
}

/// The field's slope and the derivatives of `H = p · f`, compiled.
struct Hamilton<T: Real> {
    program: Program<T>,
    workspace: Workspace<T>,
    captured: Vec<Vec<T>>,
}

impl<T: Real> Hamilton<T> {
    fn new<'t>(field: &Recorded<'t, T>, y0: Var<'t, T>, wrt: &[Var<'t, T>]) -> Result<Self> {
        let tape = y0.tape();
        let given = [tape.scalar(T::zero()), y0, y0];
        let scope = tape.scope(&given, |x| {
            let inputs: Vec<_> = x[..2].iter().chain(&field.captured).copied().collect();
            let slope = field.function.inline(tape, &inputs)?[0];
            let all: Vec<_> = [x[1], x[0]].iter().chain(wrt).copied().collect();
            let bars = tape.vjp(&[slope], &[x[2]], &all)?;
            Ok::<_, costate_tape::Error>([slope].into_iter().chain(bars).collect())
        })?;
        let function: Function<T> = scope.function;
        let program = Program::compile(&function)?;
        let workspace = Workspace::new(&program);
        let captured = scope.captured.iter().map(|x| x.to_vec()).collect();
        Ok(Hamilton { program, workspace, captured })
    }

    /// Runs it: the slope, `∂H/∂x`, `∂H/∂t`, and `∂H/∂θ` for each of the variables.
    fn run<R>(
        &mut self,
        t: f64,
        y: &[T],
        p: &[T],
        read: impl FnOnce(costate_tape::Outputs<'_, T>) -> R,
    ) -> Result<R> {
        let t = [T::from_f64(t)];
        let captured = self.captured.iter().map(|x| &x[..]);
        let inputs: Vec<&[T]> = [&t[..], y, p].into_iter().chain(captured).collect();
        Ok(read(self.program.evaluate(&mut self.workspace, &inputs)?))
    }

    /// Adds a row to a trajectory, and returns `|p| |f|`.
    fn row(
        &mut self,
        t: f64,
        y: &[T],
        p: &[T],
        time_momentum: f64,
        path: &mut MomentumTrajectory<T>,
    ) -> Result<f64> {
        path.ts.push(t);
        path.states.extend_from_slice(y);
        path.momenta.extend_from_slice(p);
        path.time_momentum.push(time_momentum);
        self.run(t, y, p, |found| {
            let slope = found.get(0);
            path.hamiltonian.push(dot(p, slope).as_f64());
            for (i, rates) in path.rates.iter_mut().enumerate() {
                rates.extend_from_slice(found.get(3 + i));
            }
            let norm = |x: &[T]| x.iter().map(|x| x.as_f64().powi(2)).sum::<f64>().sqrt();
            norm(p) * norm(slope)
        })
    }
}
