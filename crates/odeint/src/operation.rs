//! The solve as an operation of the tape, and its backward pass as another.

use std::any::Any;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, Weak};

use costate_ops::Real;
use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Tape, Var};
use smallvec::SmallVec;

use crate::adjoint::{
    Again, Backward, Continuous, Cotangents, Equations, Exact, ExactPass, Few, FewPrograms,
    Multistep, MultistepPass, Programs, Retake, Reverse, Undo,
};
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
use crate::reversible::Reversible;
use crate::solve::{check_times, drive_on};
use crate::stats::Stats;
use crate::tangent::recorded;
use crate::unroll::{Frozen, unroll};
use crate::vector_field::{FieldMemory, FieldProgram, Replay, SolverMemory, VectorField};
use crate::whole_step::WholeStepBack;

/// `y0, (times,) captured… ↦ y(times)`.
#[derive(Clone, Debug)]
pub(crate) struct SolveOp<T: Real> {
    pub method: Method,
    pub options: Options,
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
    field: SolverMemory<T>,
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

    /// The backward pass: to the cotangents of `y0` and of those inputs that are needed.
    pub fn adjoint(&self, needs: &[bool]) -> Result<AdjointOp<T>> {
        let first = self.first_captured();
        let times = self.times.is_none() && needs[1];
        let wrt: Vec<usize> =
            (first..needs.len()).filter(|&i| needs[i]).map(|i| i - first).collect();
        let components = self.field.function.input_shapes()[1].numel();
        let records = self.probe.pass.is_some();
        let suits = matches!(self.gradient, Gradient::Exact | Gradient::Forward)
            && !(times || records)
            && FewPrograms::<T>::suit(self.method, components);
        let vjp = self.field.vjp(times, &wrt)?;
        let few = if suits { self.field.few(&wrt)? } else { None };
        let back = || WholeStepBack::new(&vjp, self.method.tableau()).map(Arc::new);
        Ok(AdjointOp {
            few: few.map(|few| FewPrograms { back: back(), ..few }),
            hamiltonian: match self.gradient {
                Gradient::Continuous | Gradient::Interpolated => Some(self.field.hamiltonian()?),
                _ => None,
            },
            vjp,
            parts: match &self.field.parts {
                Some(parts) => Some([parts.stiff.vjp(times, &wrt)?, parts.rest.vjp(times, &wrt)?]),
                None => None,
            },
            whole_jacobian: match (&self.field.parts, self.gradient) {
                (Some(_), Gradient::Interpolated) => Some(self.field.whole_jacobian()?),
                _ => None,
            },
            backward: self.field.backward(times, &wrt)?,
            second: match (self.method, self.gradient) {
                (Method::Rosenbrock(_), Gradient::Continuous | Gradient::Interpolated) => None,
                (Method::Rosenbrock(_), _) => Some(self.field.second(times, &wrt)?),
                _ => None,
            },
            solve: self.clone(),
            times,
            wrt,
        })
    }

    /// [`adjoint`](Self::adjoint), made once.
    fn shared_adjoint(&self, needs: &[bool]) -> Result<Arc<AdjointOp<T>>> {
        // Operations made from this one, with another field or other options, share the list.
        let fits = |pass: &Arc<AdjointOp<T>>| {
            let of = &pass.solve;
            Arc::ptr_eq(&of.field, &self.field)
                && (of.gradient, of.options) == (self.gradient, self.options)
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
        let captured = &inputs[self.first_captured()..];
        unroll(&frozen, inputs[0], times, &|portion, t, y| {
            let args: Vec<_> = [t, y].iter().chain(captured).copied().collect();
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
            field: self.field.memory(),
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
        self.field.program.each().shares_work()
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
            none => none.insert(Integrator::new(self.method, y0, start, end, self.options)?),
        };
        let captured: SmallVec<[&[T]; 32]> =
            e.inputs[self.first_captured()..].iter().map(|a| a.data).collect();
        state.solves += 1;
        if state.solves == SEVERAL {
            self.field.make_native(&mut state.field, self.method);
        }
        let limit = self.points();
        let keeps = limit == 0 && self.activations > 0;
        let mut field = self
            .field
            .at_work(&mut state.field, &captured)?
            .keeping(self.field.places().filter(|_| keeps));
        integrator.keep(&field);
        let dense = self.gradient == Gradient::Interpolated;
        if !dense {
            integrator.stand_alone();
        }
        let grid = &mut state.grid;
        grid.start(y0, self.methods());
        grid.keep(self.activations);
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
        let record = |integrator: &mut Integrator<T>, saves| {
            grid.push(&integrator.last_step(), saves, keep);
            if keep {
                let has_end = integrator.has_end();
                grid.take_kept(integrator.kept(), has_end);
            }
            if let Some(found) = integrator.differences().filter(|_| differences) {
                grid.push_differences(found);
            }
            if resolves {
                grid.measure(integrator.y());
            }
            if limit > 0 && !integrator.is_done() {
                points.push(grid.steps.len(), integrator);
            }
        };
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

/// The backward pass: `value of the solve, its inputs…, cotangent ↦ cotangents of its inputs`, in
/// the order `y0`, times, captured, for those that are wanted.
#[derive(Debug)]
pub(crate) struct AdjointOp<T: Real> {
    solve: SolveOp<T>,
    /// Whether the times' cotangents are wanted.
    times: bool,
    /// Which captured inputs' cotangents are wanted.
    wrt: Vec<usize>,
    vjp: FieldProgram<T>,
    /// The same of the stiff part and of the rest, if the field is in parts.
    parts: Option<[FieldProgram<T>; 2]>,
    /// The Jacobian of both, for the continuous adjoint.
    whole_jacobian: Option<FieldProgram<T>>,
    /// The same from what evaluations kept.
    backward: Option<FieldProgram<T>>,
    hamiltonian: Option<FieldProgram<T>>,
    /// The vjp of the field's derivatives, for Rosenbrock methods.
    second: Option<FieldProgram<T>>,
    /// The programs for a system of a few numbers, which the exact pass has its own way with.
    few: Option<FewPrograms<T>>,
}

/// The memory of a backward pass.
#[derive(Debug)]
pub(crate) struct AdjointState<T: Real> {
    vjp: FieldMemory<T>,
    parts: Option<[FieldMemory<T>; 2]>,
    backward: Option<FieldMemory<T>>,
    jacobian: Option<FieldMemory<T>>,
    hamiltonian: Option<FieldMemory<T>>,
    second: Option<FieldMemory<T>>,
    /// Those of steps that are taken again.
    field: Option<SolverMemory<T>>,
    retake: Retake<T>,
    undo: Undo<T>,
    few: Option<Few<T>>,
    exact: Exact<T>,
    multistep: Multistep<T>,
    continuous: Continuous<T>,
    pub stats: Stats,
}

impl<T: Real> AdjointOp<T> {
    /// The inputs of the solve, and the cotangent of its result.
    fn parts<'a, V>(&self, inputs: &'a [V]) -> (&'a [V], &'a V) {
        let (cotangent, inputs) = inputs[1..].split_last().expect("a cotangent comes last");
        (inputs, cotangent)
    }

    /// The program of the Jacobian that the pass needs.
    fn jacobian(&self) -> Option<&FieldProgram<T>> {
        self.whole_jacobian.as_ref().or(self.solve.field.jacobian.as_ref())
    }

    /// This operation again, as operations on the frozen grid.
    ///
    /// `inputs` are those without the value of the solve, from which the operations do not start.
    fn unrolled<'t>(&self, call: Var<'t, T>, inputs: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        let (&g, solve_inputs) = inputs.split_last().expect("a cotangent comes last");
        let ys = self.solve.unrolled(call, solve_inputs)?;
        let first = self.solve.first_captured();
        let times = self.times.then(|| solve_inputs[1]);
        let wrt: Vec<_> = [solve_inputs[0]]
            .into_iter()
            .chain(times)
            .chain(self.wrt.iter().map(|i| solve_inputs[first + i]))
            .collect();
        ys.tape().vjp(&[ys], &[g], &wrt)
    }
}

impl<T: Real> CallOp<T> for AdjointOp<T> {
    fn name(&self) -> &str {
        "adjoint"
    }

    fn reads_state(&self) -> bool {
        true
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        let (inputs, _) = self.parts(inputs);
        let first = self.solve.first_captured();
        let times = self.times.then(|| inputs[1].clone());
        let captured = self.wrt.iter().map(|i| inputs[first + i].clone());
        [inputs[0].clone()].into_iter().chain(times).chain(captured).collect()
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        let (field, again) = (&self.solve.field, self.solve.points() > 0 || self.solve.undoes());
        let jacobian = self.jacobian();
        Box::new(AdjointState::<T> {
            vjp: FieldMemory::new(&self.vjp),
            parts: self.parts.as_ref().map(|parts| parts.each_ref().map(FieldMemory::new)),
            backward: self.backward.as_ref().map(FieldMemory::new),
            jacobian: jacobian.map(FieldMemory::new),
            hamiltonian: self.hamiltonian.as_ref().map(FieldMemory::new),
            second: self.second.as_ref().map(FieldMemory::new),
            field: again.then(|| field.memory()),
            retake: Retake::default(),
            undo: Undo::default(),
            few: self.few.as_ref().map(Few::new),
            exact: Exact::default(),
            multistep: Multistep::default(),
            continuous: Continuous::default(),
            stats: Stats::default(),
        })
    }

    fn shares_work(&self) -> bool {
        self.solve.shares_work()
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let forward = e.producer.expect("the tape passes the state of the solve");
        let (ts, grid) = recorded(forward);
        if forward.downcast_ref::<SolveState<T>>().is_some_and(|solve| solve.solves >= SEVERAL) {
            // Those of the steps of few numbers are code already, or not needed.
            let programs = [Some(&self.vjp), self.second.as_ref()];
            programs.into_iter().flatten().for_each(FieldProgram::make_native);
        }
        let state: &mut AdjointState<T> = e.state.downcast_mut().expect("made by `new_state`");
        let (inputs, cotangent) = self.parts(e.inputs);
        let captured: SmallVec<[&[T]; 32]> =
            inputs[self.solve.first_captured()..].iter().map(|a| a.data).collect();
        e.output.fill(T::zero());
        let (y0, rest) = e.output.split_at_mut(inputs[0].data.len());
        let (times, captured_bar) = rest.split_at_mut(if self.times { ts.len() } else { 0 });
        let mut bars =
            Cotangents { y0, times: self.times.then_some(times), captured: captured_bar };
        let backward = Backward {
            method: self.solve.method,
            ts,
            grid,
            steps: grid.steps.len(),
            ys: e.inputs[0].data,
            cotangent: cotangent.data,
        };
        let mut pass = self.solve.probe.start();
        let vjp = Replay::new(&self.vjp, &mut state.vjp, &captured)?;
        let programs = self.jacobian().zip(state.jacobian.as_mut());
        let jacobian = programs
            .map(|(program, memory)| Replay::new(program, memory, &captured))
            .transpose()?;
        state.stats = match (&self.hamiltonian, &mut state.hamiltonian) {
            (Some(program), Some(workspace)) => {
                let interpolated = self.solve.gradient == Gradient::Interpolated;
                let equations = Equations {
                    options: self.solve.options,
                    hamiltonian: Replay::new(program, workspace, &captured)?,
                    vjp,
                    jacobian: jacobian.filter(|_| interpolated),
                    interpolated,
                };
                state.continuous.run(&backward, equations, &mut bars)?
            }
            _ => {
                let programs = self.backward.as_ref().zip(state.backward.as_mut());
                let places = self.solve.field.places();
                let kept = programs
                    .map(|(program, memory)| {
                        Ok::<_, CallError>(Replay::new(program, memory, &captured)?.keeping(places))
                    })
                    .transpose()?;
                let second = self
                    .second
                    .as_ref()
                    .zip(state.second.as_mut())
                    .map(|(program, memory)| Replay::new(program, memory, &captured))
                    .transpose()?
                    .map(|replay| (replay, 1 + usize::from(self.times) + self.wrt.len()));
                let pass = pass.as_deref_mut();
                let parts = match (&self.parts, &mut state.parts) {
                    (Some([stiff, rest]), Some([stiff_memory, rest_memory])) => Some([
                        Replay::new(stiff, stiff_memory, &captured)?,
                        Replay::new(rest, rest_memory, &captured)?,
                    ]),
                    _ => None,
                };
                let mut programs = Programs { vjp, parts, kept, jacobian, second, pass };
                let mut exact;
                let mut multistep;
                let pass: &mut dyn Reverse<T> = match (&self.few, &mut state.few) {
                    (Some(programs), Some(few)) => {
                        few.begin(programs, &captured)?;
                        few
                    }
                    _ if self.solve.is_multistep() => {
                        let memory = &mut state.multistep;
                        memory.stages.set_mass(self.solve.field.mass.clone());
                        multistep = MultistepPass { multistep: memory, programs: &mut programs };
                        &mut multistep
                    }
                    _ => {
                        exact = ExactPass { exact: &mut state.exact, programs: &mut programs };
                        &mut exact
                    }
                };
                match &mut state.field {
                    None => pass.run(&backward, &mut bars)?,
                    Some(memory) => {
                        let solved = forward.downcast_ref::<SolveState<T>>();
                        let solved = solved.expect("tangents keep all stages");
                        let solve = &self.solve;
                        let field = solve
                            .field
                            .at_work(memory, &captured)?
                            .keeping(places.filter(|_| solve.activations > 0));
                        let again = Again {
                            options: solve.options,
                            activations: solve.activations,
                            field,
                            points: &mut solved.points.borrow_mut(),
                            y0: inputs[0].data,
                        };
                        if solve.undoes() {
                            let end = solved.companion();
                            let Programs { vjp, pass, .. } = &mut programs;
                            let pass = pass.as_deref_mut();
                            state.undo.run(&backward, end, again, vjp, pass, &mut bars)?
                        } else {
                            state.retake.run(pass, &backward, again, &mut bars)?
                        }
                    }
                }
            }
        };
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let call = rule.inputs[0];
        let inputs: Vec<_> = rule.inputs[1..].iter().map(|x| x.fresh()).collect();
        if (self.times && cts[1].is_some()) || self.solve.is_reversible() {
            let bars = self.unrolled(call, &inputs)?;
            let (bars, cts): (Vec<_>, Vec<_>) =
                bars.iter().zip(cts).filter_map(|(&bar, ct)| Some((bar, (*ct)?))).unzip();
            let found = call.tape().vjp(&bars, &cts, &inputs)?;
            return Ok([None].into_iter().chain(found.into_iter().map(Some)).collect());
        }
        let (&g, inputs) = inputs.split_last().expect("a cotangent comes last");
        let needs = &rule.needs[1..=inputs.len()];
        let first = self.solve.first_captured();
        let mut dots = vec![None; inputs.len()];
        dots[0] = cts[0];
        for (i, ct) in self.wrt.iter().zip(&cts[1 + usize::from(self.times)..]) {
            dots[first + i] = *ct;
        }
        let mut bars = vec![None; rule.inputs.len()];
        let keep = needs.contains(&true);
        let Some(tangent) = self.solve.tangent_along(call, inputs, &dots, keep)? else {
            return Ok(bars);
        };
        for (bar, found) in bars[1..].iter_mut().zip(second(tangent, g, inputs, needs)?) {
            *bar = found;
        }
        bars[1 + inputs.len()] = Some(tangent);
        Ok(bars)
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let (call, dots) = (rule.inputs[0], &dots[1..]);
        let tape: &Tape<T> = call.tape();
        let inputs: Vec<_> = rule.inputs[1..].iter().map(|x| x.fresh()).collect();
        if self.solve.needs_unrolling(dots) {
            let bars = self.unrolled(call, &inputs)?;
            let (inputs, dots): (Vec<_>, Vec<_>) =
                inputs.iter().zip(dots).filter_map(|(&x, dot)| Some((x, (*dot)?))).unzip();
            return Ok(tape.jvp(&bars, &inputs, &dots)?.into_iter().map(Some).collect());
        }
        let (&g, inputs) = inputs.split_last().expect("a cotangent comes last");
        let (&g_dot, dots) = dots.split_last().expect("a cotangent comes last");
        let first = self.solve.first_captured();
        let mut needs = vec![false; inputs.len()];
        needs[0] = true;
        if self.times {
            needs[1] = true;
        }
        self.wrt.iter().for_each(|i| needs[first + i] = true);
        let wanted = |bars: Vec<Option<Var<'t, T>>>| {
            bars.into_iter().zip(&needs).filter(|(_, need)| **need).map(|(bar, _)| bar).collect()
        };
        // The backward pass is linear in the cotangent.
        let with_g: Option<Vec<_>> = match g_dot {
            Some(g_dot) => Some(wanted(self.solve.backward(call, inputs, &needs, g_dot)?)),
            None => None,
        };
        let with_inputs: Option<Vec<_>> =
            match self.solve.tangent_along(call, inputs, dots, true)? {
                Some(tangent) => Some(wanted(second(tangent, g, inputs, &needs)?)),
                None => None,
            };
        Ok(match (with_g, with_inputs) {
            (Some(a), Some(b)) => a
                .into_iter()
                .zip(b)
                .map(|(a, b)| match (a, b) {
                    (Some(a), Some(b)) => Some(a + b),
                    (a, b) => a.or(b),
                })
                .collect(),
            (a, b) => a.or(b).unwrap_or_else(|| vec![None; rule.outputs.len()]),
        })
    }
}

/// `∂(g · tangent)/∂x` for each of `inputs` that needs it.
fn second<'t, T: Real>(
    tangent: Var<'t, T>,
    g: Var<'t, T>,
    inputs: &[Var<'t, T>],
    needs: &[bool],
) -> Result<Vec<Option<Var<'t, T>>>> {
    let wrt: Vec<_> =
        inputs.iter().zip(needs).filter(|(_, need)| **need).map(|(x, _)| *x).collect();
    if wrt.is_empty() {
        return Ok(vec![None; inputs.len()]);
    }
    let mut found = tangent.tape().vjp(&[tangent], &[g], &wrt)?.into_iter();
    Ok(needs.iter().map(|need| need.then(|| found.next()).flatten()).collect())
}

/// The error of a solve as one of the tape.
#[track_caller]
pub(crate) fn solve_error(e: impl Into<Error>) -> costate_tape::Error {
    costate_tape::Error::from_call("solve", e.into())
}
