//! The solve as an operation of the tape, and its backward pass as another.

mod adjoint;

use std::any::Any;
use std::cell::RefCell;
use std::ops::Range;
use std::sync::{Arc, Mutex, Weak};

use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Var, Workspace};

use crate::Real;

pub(crate) use self::adjoint::{AdjointOp, AdjointState};
use crate::auto::Methods;
use crate::checkpoints::Checkpoints;
use crate::error::Error;
use crate::grid::Grid;
use crate::instrument::Probe;
use crate::integrator::Integrator;
use crate::memory::Memory;
use crate::method::Method;
use crate::ode::Gradient;
use crate::options::Options;
use crate::preparation::Captured;
use crate::reversible::Reversible;
use crate::row_blocks::RowBlocks;
use crate::solve::{Observe, check_times, drive_on};
use crate::stats::Stats;
use crate::tangent::recorded;
use crate::unroll::{Frozen, unroll};
use crate::vector_field::{SolverMemory, VectorField};

/// `y0, (times,) captured… ↦ y(times)`.
#[derive(Clone, Debug)]
pub(crate) struct SolveOp<T: Real> {
    pub method: Method,
    pub options: Options,
    /// An absolute tolerance for each component, or none.
    pub atol: Arc<[f64]>,
    pub gradient: Gradient,
    pub memory: Memory,
    /// How many bytes of activations to keep.
    pub activations: usize,
    /// The times, unless they are the second input.
    pub times: Option<Arc<[f64]>>,
    pub field: Arc<VectorField<T>>,
    pub probe: Probe<T>,
    /// The backward passes that are in use.
    pub passes: Passes<T>,
}

/// The backward passes of an operation that are recorded somewhere, with the inputs they are for:
/// one that is recorded in several places, as the pieces of a solve with events are, compiles its
/// backward pass once.
#[derive(Clone, Debug)]
pub(crate) struct Passes<T: Real>(Arc<Mutex<Vec<Pass<T>>>>);

type Pass<T> = (Vec<bool>, Weak<AdjointOp<T>>);

impl<T: Real> Default for Passes<T> {
    fn default() -> Self {
        Passes(Arc::default())
    }
}

/// Which of the solves of an operation is worth compiling a step for, which takes as long as some
/// of them.
const SEVERAL: usize = 3;

/// What a solve keeps.
#[derive(Debug)]
pub(crate) struct SolveState<T: Real> {
    preparation: Option<Workspace<T>>,
    field: SolverMemory<T>,
    /// The same of blocks of rows.
    rows: Vec<SolverMemory<T>>,
    integrator: Option<Integrator<T>>,
    /// How many solves there were.
    solves: usize,
    pub ts: Vec<f64>,
    pub grid: Grid<T>,
    /// The points from which steps can be taken again. A backward pass moves them.
    points: RefCell<Checkpoints<T>>,
    pub stats: Stats,
}

impl<T: Real> SolveState<T> {
    /// The end of a solve by a reversible scheme, with its companion.
    pub fn companion(&self) -> Option<&Reversible<T>> {
        self.integrator.as_ref()?.last_companion()
    }
}

impl<T: Real> SolveOp<T> {
    /// How many points are kept to take steps again from; 0 if all stages are kept, or nothing is.
    fn points(&self) -> usize {
        match self.memory {
            _ if self.gradient != Gradient::Exact => 0,
            Memory::Checkpoints(n) => n,
            // A point with its companion is all there is of a step.
            _ if self.is_reversible() => usize::MAX,
            Memory::Stages => 0,
            // A point is as much as what is kept of a step, or more.
            Memory::Steps if self.method.tableau().coupled || self.is_multistep() => 0,
            Memory::Steps => usize::MAX,
        }
    }

    /// The field in blocks of rows, if the exact gradient goes by them.
    fn rows(&self) -> Option<&RowBlocks<T>> {
        let is_exact = self.gradient == Gradient::Exact && self.probe.pass.is_none();
        self.field.rows.as_deref().filter(|_| is_exact)
    }

    /// The methods of its steps.
    fn methods(&self) -> Methods {
        Methods::new(self.method, &self.options)
    }

    /// Whether the method is a reversible scheme.
    fn is_reversible(&self) -> bool {
        matches!(self.method, Method::Reversible(_))
    }

    fn is_multistep(&self) -> bool {
        matches!(self.method, Method::Multistep(_))
    }

    /// Whether the way back undoes the steps of a reversible scheme.
    fn undoes(&self) -> bool {
        let way = matches!(self.gradient, Gradient::Exact | Gradient::Reversible);
        way && self.is_reversible()
    }

    /// The number of the first captured input.
    pub fn first_captured(&self) -> usize {
        if self.times.is_some() { 1 } else { 2 }
    }

    /// [`adjoint`](Self::adjoint), made once.
    fn shared_adjoint(&self, needs: &[bool]) -> Result<Arc<AdjointOp<T>>> {
        // Operations made from this one, with another field or other options, share the list.
        let fits = |pass: &Arc<AdjointOp<T>>| {
            let of = &pass.solve;
            Arc::ptr_eq(&of.field, &self.field)
                && (of.gradient, of.options) == (self.gradient, self.options)
                && of.atol == self.atol
        };
        let mut passes = self.passes.0.lock().expect("nothing here panics");
        let same = passes.iter().filter(|pass| pass.0 == needs);
        if let Some(adjoint) = same.filter_map(|pass| pass.1.upgrade()).find(fits) {
            return Ok(adjoint);
        }
        let adjoint = Arc::new(self.adjoint(needs)?);
        passes.retain(|pass| pass.1.strong_count() > 0);
        passes.push((needs.to_vec(), Arc::downgrade(&adjoint)));
        Ok(adjoint)
    }

    /// The solve again, as operations on the grid that this tape's evaluation of it recorded.
    fn unrolled<'t>(&self, call: Var<'t, T>, inputs: &[Var<'t, T>]) -> Result<Var<'t, T>> {
        let tape = call.tape();
        let frozen = tape.read_state(call, |state| {
            let (ts, grid) = recorded(state);
            Frozen { mass: self.field.mass.clone(), ..grid.frozen(ts) }
        });
        let Some(frozen) = frozen else {
            return Err(costate_tape::Error::from_call(
                "solve",
                "forward mode and second derivatives with respect to the times of a solve need its \
                 grid, which is not known while a function is only traced (inside the field of \
                 another solve, or in a function transformed before it is run)",
            ));
        };
        let solutions = frozen.slopes.len().max(frozen.states.len());
        if self.method.is_implicit() && solutions == 0 && !frozen.steps.is_empty() {
            return Err(costate_tape::Error::from_call(
                "solve",
                "forward mode and second derivatives with respect to the times of a solve by an \
                 implicit method need all its stages: try `Memory::Stages`",
            ));
        }
        let times = self.times.is_none().then(|| inputs[1]);
        let captured = self.field.record_captured(tape, &inputs[self.first_captured()..])?;
        unroll(&frozen, inputs[0], times, &|portion, t, y| {
            let args: Vec<_> = [t, y].iter().chain(&captured).copied().collect();
            self.field.record(portion, tape, &args)
        })
    }

    /// Whether a tangent takes unrolling: the times have one, or a cotangent of theirs has, or the
    /// method is a reversible scheme, whose steps are no sums of slopes.
    pub fn needs_unrolling(&self, dots: &[Option<Var<'_, T>>]) -> bool {
        (self.times.is_none() && dots[1].is_some()) || self.is_reversible()
    }

    /// The tangent where times move, by [`unrolling`](Self::unrolled).
    pub fn unrolled_tangent<'t>(
        &self,
        call: Var<'t, T>,
        inputs: &[Var<'t, T>],
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Var<'t, T>> {
        let inputs: Vec<_> = inputs.iter().map(|x| x.fresh()).collect();
        let ys = self.unrolled(call, &inputs)?;
        let (inputs, dots): (Vec<_>, Vec<_>) =
            inputs.iter().zip(dots).filter_map(|(&x, dot)| Some((x, (*dot)?))).unzip();
        Ok(ys.tape().jvp(&[ys], &inputs, &dots)?[0])
    }

    /// The cotangents of `inputs`, from that of the solution that `call` recorded.
    pub fn backward<'t>(
        &self,
        call: Var<'t, T>,
        inputs: &[Var<'t, T>],
        needs: &[bool],
        g: Var<'t, T>,
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let adjoint = self.shared_adjoint(needs)?;
        let (first, times, wrt) = (self.first_captured(), adjoint.times, adjoint.wrt.clone());
        let given: Vec<_> = [call].iter().chain(inputs).chain([&g]).copied().collect();
        let found = g.tape().call(adjoint, &given)?;
        let mut found = found.into_iter();
        let mut bars = vec![None; inputs.len()];
        bars[0] = found.next();
        if times {
            bars[1] = found.next();
        }
        for (i, bar) in wrt.into_iter().zip(found) {
            bars[first + i] = Some(bar);
        }
        Ok(bars)
    }
}

/// What records a solve.
struct Record<'a, T: Real> {
    grid: &'a mut Grid<T>,
    points: &'a mut Checkpoints<T>,
    /// Whether steps of few numbers need no more than their states and slopes.
    plain: bool,
    /// Whether states and slopes are kept, and differences of a multistep method.
    keep: bool,
    differences: bool,
    /// Whether the state is solved for again.
    resolves: bool,
    /// How many points are kept.
    limit: usize,
}

impl<T: Real> Observe<T> for Record<'_, T> {
    fn step(&mut self, integrator: &mut Integrator<T>, saves: Range<usize>) {
        let grid = &mut *self.grid;
        if self.plain {
            return grid.push_few(integrator.frame(), saves);
        }
        grid.push(&integrator.last_step(), saves, self.keep);
        if self.keep {
            // That of the end slope is the next step's first, but for the last step.
            let with_end = integrator.has_end() && integrator.is_done();
            grid.kept.take(integrator.kept(), with_end);
        }
        if let Some(found) = integrator.differences().filter(|_| self.differences) {
            grid.push_differences(found);
        }
        if self.resolves {
            grid.measure(integrator.y());
        }
        if self.limit > 0 && !integrator.is_done() {
            self.points.push(grid.steps.len(), integrator);
        }
    }

    #[inline]
    fn few(&mut self) -> Option<&mut Grid<T>> {
        self.plain.then_some(&mut *self.grid)
    }
}

impl<T: Real> CallOp<T> for SolveOp<T> {
    fn name(&self) -> &str {
        "solve"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        let n = self.times.as_ref().map_or_else(|| inputs[1].numel(), |ts| ts.len());
        vec![[n].iter().chain(inputs[0].iter()).copied().collect()]
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        Box::new(SolveState::<T> {
            preparation: self.field.preparation_memory(),
            field: self.field.memory(),
            rows: self.rows().map(RowBlocks::memory).unwrap_or_default(),
            integrator: None,
            solves: 0,
            ts: Vec::new(),
            grid: Grid::default(),
            points: RefCell::default(),
            stats: Stats::default(),
        })
    }

    fn state_bytes(&self, state: &dyn Any) -> usize {
        state.downcast_ref::<SolveState<T>>().map_or(0, |state| state.stats.bytes_kept)
    }

    fn shares_work(&self) -> bool {
        self.rows().is_some() || self.field.program.each().shares_work()
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let state: &mut SolveState<T> = e.state.downcast_mut().expect("made by `new_state`");
        state.ts.clear();
        match &self.times {
            Some(ts) => state.ts.extend_from_slice(ts),
            None => state.ts.extend(e.inputs[1].data.iter().map(|t| t.as_f64())),
        }
        check_times(&state.ts)?;
        let (y0, start, end) = (e.inputs[0].data, state.ts[0], state.ts[state.ts.len() - 1]);
        let integrator = match &mut state.integrator {
            Some(integrator) => {
                integrator.restart(y0, start, end)?;
                integrator
            }
            none => {
                let made = Integrator::new(self.method, y0, start, end, self.options)?;
                none.insert(made.with_atol(&self.atol)?)
            }
        };
        let given: Captured<'_, T> =
            e.inputs[self.first_captured()..].iter().map(|a| a.data).collect();
        let captured = self.field.captured(&mut state.preparation, &given)?;
        state.solves += 1;
        if state.solves == SEVERAL {
            self.field.make_native(&mut state.field, self.method);
        }
        let limit = self.points();
        let keeps = limit == 0 && self.activations > 0;
        let of_rows = self.rows().map(|rows| (rows, rows.captured(&captured)));
        let rows = of_rows
            .as_ref()
            .map(|(rows, captured)| rows.at_work(&mut state.rows, captured, keeps))
            .transpose()?;
        let mut field = self
            .field
            .at_work(&mut state.field, &captured)?
            .keeping(self.field.places().filter(|_| keeps))
            .by_rows(rows);
        integrator.keep(&field);
        let dense = self.gradient == Gradient::Interpolated;
        if !dense {
            integrator.stand_alone();
        }
        let grid = &mut state.grid;
        grid.start(y0, self.methods());
        grid.kept.limit(self.activations);
        // Where times move, an implicit stage is unrolled from its solution, and the sensitivities to
        // them take a backward pass.
        let moves = self.gradient == Gradient::Forward || self.method.is_implicit();
        let keep = limit == 0
            && match self.gradient {
                Gradient::Exact | Gradient::Interpolated => true,
                // Tangents need no more than the states.
                Gradient::Forward if self.is_multistep() => true,
                _ => self.times.is_none() && moves,
            };
        let resolves = matches!(self.gradient, Gradient::Continuous | Gradient::Reversible);
        if !keep {
            grid.without_states();
        }
        if self.is_multistep() && !dense {
            grid.without_slopes();
        }
        let differences = keep && self.times.is_none();
        let points = state.points.get_mut();
        points.start(integrator, limit);
        let ends = self.probe.grid.as_deref();
        let plain = keep && limit == 0 && !resolves && integrator.takes_few(&mut field);
        let record = Record { grid, points, plain, keep, differences, resolves, limit };
        let (ts, ys) = (&state.ts, &mut *e.output);
        let mut stats = drive_on(integrator, &mut field, ts, ys, ends, dense, record)?;
        stats.grid_bytes = grid.step_bytes();
        stats.bytes_kept = grid.bytes() + points.bytes();
        stats.states_kept = grid.states() + points.peak();
        if self.gradient == Gradient::Reversible {
            // The last state with its companion stays where it is.
            stats.states_kept += 1;
            stats.bytes_kept += integrator.point_len() * size_of::<T>();
        }
        state.stats = stats;
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let Some(g) = cts[0] else { return Ok(vec![None; rule.inputs.len()]) };
        let (call, inputs) = (rule.call, rule.inputs);
        if self.gradient != Gradient::Forward {
            return self.backward(call, inputs, rule.needs, g);
        }
        let mut bars = self.forward(call, inputs, rule.needs, g)?;
        if self.times.is_none() && rule.needs[1] {
            // Those of the times take one backward pass.
            let mut needs = vec![false; inputs.len()];
            needs[1] = true;
            bars[1] = self.backward(call, inputs, &needs, g)?[1];
        }
        Ok(bars)
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        if self.needs_unrolling(dots) {
            return Ok(vec![Some(self.unrolled_tangent(rule.call, rule.inputs, dots)?)]);
        }
        Ok(vec![self.tangent_along(rule.call, rule.inputs, dots, false)?])
    }
}

/// The error of a solve as one of the tape.
#[track_caller]
pub(crate) fn solve_error(e: impl Into<Error>) -> costate_tape::Error {
    costate_tape::Error::from_call("solve", e.into())
}
