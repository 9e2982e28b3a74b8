//! The backward pass of a solve as an operation of the tape.

use std::any::Any;
use std::sync::Arc;

use costate_ops::Buffer;
use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Tape, Var, Workspace};

use super::{SEVERAL, SolveOp, SolveState};
use crate::Real;
use crate::adjoint::{
    Again, Backward, Continuous, Cotangents, Equations, Exact, Few, FewPrograms, Multistep, OfFew,
    Programs, Retake, Reverse, RowMemory, RowPrograms, SideBySide, SumMemory, Sums, Undo,
    WithPrograms,
};
use crate::checkpoints::Checkpoints;
use crate::method::Method;
use crate::ode::Gradient;
use crate::preparation::{Back, BackMemory, Captured};
use crate::row_blocks::RowBlocks;
use crate::stats::Stats;
use crate::tangent::recorded;
use crate::vector_field::{
    AnyJacobian, FieldMemory, FieldProgram, Replay, SolverMemory, VjpPrograms,
};
use crate::whole_step::StepsBack;

impl<T: Real> SolveOp<T> {
    /// The backward pass: to the cotangents of `y0` and of those inputs that are needed.
    pub fn adjoint(&self, needs: &[bool]) -> Result<AdjointOp<T>> {
        let first = self.first_captured();
        let times = self.times.is_none() && needs[1];
        let wrt: Vec<usize> =
            (first..needs.len()).filter(|&i| needs[i]).map(|i| i - first).collect();
        let back = match &self.field.preparation {
            Some(preparation) if !wrt.is_empty() => Some(preparation.back(&wrt)?),
            _ => None,
        };
        // The same of what the field captures.
        let own = back.as_ref().map_or(&wrt, |back| &back.wanted);
        let components = self.field.function.input_shapes()[1].numel();
        let records = self.probe.pass.is_some();
        let suits = matches!(self.gradient, Gradient::Exact | Gradient::Forward)
            && !(times || records)
            && FewPrograms::<T>::suit(self.method, components);
        let rows = self.rows().map(|rows| RowPrograms::new(rows, times, own)).transpose()?;
        let programs = match rows {
            Some(_) => None,
            None => {
                let apart = matches!(self.method, Method::Explicit(_))
                    && matches!(self.gradient, Gradient::Exact | Gradient::Forward)
                    && !self.field.program.is_small();
                Some(self.field.vjp_programs(times, own, apart)?)
            }
        };
        let steps_back = match &programs {
            Some(VjpPrograms { vjp, sums: None, .. }) if suits => {
                StepsBack::new(vjp, self.method.tableau())
            }
            _ => None,
        };
        let few = if suits && steps_back.is_none() { self.field.few(own)? } else { None };
        Ok(AdjointOp {
            few,
            steps_back: steps_back.map(Arc::new),
            hamiltonian: match self.gradient {
                Gradient::Continuous | Gradient::Interpolated => Some(self.field.hamiltonian()?),
                _ => None,
            },
            programs,
            rows,
            parts: match &self.field.parts {
                Some(parts) => Some([parts.stiff.vjp(times, own)?, parts.rest.vjp(times, own)?]),
                None => None,
            },
            whole_jacobian: match (&self.field.parts, self.gradient) {
                (Some(_), Gradient::Interpolated) => Some(self.field.whole_jacobian()?),
                _ => None,
            },
            second: match (self.method, self.gradient) {
                (Method::Rosenbrock(_), Gradient::Continuous | Gradient::Interpolated) => None,
                (Method::Rosenbrock(_), _) => Some(self.field.second(times, own)?),
                _ => None,
            },
            solve: self.clone(),
            times,
            wrt,
            back,
        })
    }
}

/// The backward pass: `value of the solve, its inputs…, cotangent ↦ cotangents of its inputs`, in
/// the order `y0`, times, captured, for those that are wanted.
#[derive(Debug)]
pub(crate) struct AdjointOp<T: Real> {
    pub(super) solve: SolveOp<T>,
    /// Whether the times' cotangents are wanted.
    pub(super) times: bool,
    /// Which captured inputs' cotangents are wanted.
    pub(super) wrt: Vec<usize>,
    /// From those of what the field captures, if that is something else.
    back: Option<Back<T>>,
    /// The vjp of the field, or of its blocks of rows.
    programs: Option<VjpPrograms<T>>,
    rows: Option<RowPrograms<T>>,
    /// That of the stiff part and of the rest, if the field is in parts.
    parts: Option<[FieldProgram<T>; 2]>,
    /// The Jacobian of both, for the continuous adjoint.
    whole_jacobian: Option<FieldProgram<T>>,
    hamiltonian: Option<FieldProgram<T>>,
    /// The vjp of the field's derivatives, for Rosenbrock methods.
    second: Option<FieldProgram<T>>,
    /// The programs for a system of a few numbers, which the exact pass has its own way with.
    few: Option<FewPrograms<T>>,
    /// Those of steps side by side, instead.
    steps_back: Option<Arc<StepsBack<T>>>,
}

/// The memory of a backward pass.
#[derive(Debug)]
pub(crate) struct AdjointState<T: Real> {
    preparation: Option<Workspace<T>>,
    back: Option<BackMemory<T>>,
    pass: PassMemory<T>,
    pub stats: Stats,
}

/// That of the pass to what the field captures.
#[derive(Debug)]
struct PassMemory<T: Real> {
    vjp: Option<FieldMemory<T>>,
    rows: Option<RowMemory<T>>,
    parts: Option<[FieldMemory<T>; 2]>,
    backward: Option<FieldMemory<T>>,
    jacobian: Option<FieldMemory<T>>,
    hamiltonian: Option<FieldMemory<T>>,
    second: Option<FieldMemory<T>>,
    /// Those of steps that are taken again, and of their blocks of rows.
    field: Option<SolverMemory<T>>,
    field_rows: Vec<SolverMemory<T>>,
    retake: Retake<T>,
    undo: Undo<T>,
    few: Option<Few<T>>,
    steps_back: Option<SideBySide<T>>,
    sums: SumMemory<T>,
    exact: Exact<T>,
    multistep: Multistep<T>,
    continuous: Continuous<T>,
    /// What rounding took from the cotangents of what is captured.
    rest: Buffer<T>,
}

/// What a pass starts from.
struct Start<'a, T: Real> {
    /// The state of the solve.
    forward: &'a dyn Any,
    ys: &'a [T],
    y0: &'a [T],
    cotangent: &'a [T],
    /// What the field captures.
    captured: &'a [&'a [T]],
}

impl<T: Real> AdjointOp<T> {
    /// The inputs of the solve, and the cotangent of its result.
    fn parts<'a, V>(&self, inputs: &'a [V]) -> (&'a [V], &'a V) {
        let (cotangent, inputs) = inputs[1..].split_last().expect("a cotangent comes last");
        (inputs, cotangent)
    }

    /// Which cotangents of what the field captures are wanted.
    fn own(&self) -> &[usize] {
        self.back.as_ref().map_or(&self.wrt, |back| &back.wanted)
    }

    /// The program of the Jacobian that the pass needs.
    fn jacobian(&self) -> Option<AnyJacobian<'_, T>> {
        let field = &self.solve.field;
        match &self.whole_jacobian {
            Some(program) => Some((program, None)),
            None => field.any_jacobian(),
        }
    }

    /// What steps are taken again with.
    fn again<'a>(
        &self,
        field: Replay<'a, T>,
        points: &'a mut Checkpoints<T>,
        y0: &'a [T],
    ) -> Again<'a, T> {
        let SolveOp { options, activations, .. } = self.solve;
        Again { options, activations, field, points, y0 }
    }

    /// The pass to the cotangents of what the field captures, which are all zeros at first, as those of `y0` and
    /// of the times are.
    fn pass(
        &self,
        state: &mut PassMemory<T>,
        start: &Start<'_, T>,
        y0: &mut [T],
        times: Option<&mut [T]>,
        captured_bar: &mut [T],
    ) -> std::result::Result<Stats, CallError> {
        let &Start { forward, ys, y0: y0_given, cotangent, captured } = start;
        let (ts, grid) = recorded(forward);
        // Those of a few numbers are not worth the trouble, and blocks of rows have their own.
        let is_small = self.programs.as_ref().is_none_or(|programs| programs.vjp.is_small());
        state.rest.resize(if is_small { 0 } else { captured_bar.len() });
        state.rest.fill(T::zero());
        let mut bars = Cotangents { y0, times, captured: captured_bar, rest: &mut state.rest };
        let backward = Backward {
            method: self.solve.method,
            ts,
            grid,
            steps: grid.steps.len(),
            ys,
            cotangent,
            block: None,
        };
        let of_rows = self.solve.rows().map(|rows| (rows, rows.captured(captured)));
        if let (Some((rows, given)), Some(programs), Some(memory)) =
            (&of_rows, &self.rows, &mut state.rows)
        {
            let mut pass = memory.at_work(rows, programs, captured, given, ts.len())?;
            return Ok(match &mut state.field {
                None => pass.run(&backward, &mut bars)?,
                Some(memory) => {
                    let keep = self.solve.activations > 0;
                    let rows = rows.at_work(&mut state.field_rows, given, keep)?;
                    let field = self.solve.field.at_work(memory, captured)?.by_rows(Some(rows));
                    let mut points = solved(forward).points.borrow_mut();
                    let again = self.again(field, &mut points, y0_given);
                    state.retake.run(&mut pass, &backward, again, &mut bars)?
                }
            });
        }
        let (Some(of_field), Some(vjp_memory)) = (&self.programs, &mut state.vjp) else {
            unreachable!("programs of all rows, or of blocks of them");
        };
        if let (Some(pass), None) = (&mut state.steps_back, &state.field) {
            // It needs none of the others.
            pass.begin(captured)?;
            let stats = OfFew(pass).run(&backward, &mut bars)?;
            bars.finish();
            return Ok(stats);
        }
        if forward.downcast_ref::<SolveState<T>>().is_some_and(|solve| solve.solves >= SEVERAL) {
            // Worth it from the same solve on as the forward pass's.
            let programs = [Some(&of_field.vjp), self.second.as_ref()];
            programs.into_iter().flatten().for_each(FieldProgram::make_native);
        }
        let mut pass = self.solve.probe.start();
        let vjp = Replay::new(&of_field.vjp, vjp_memory, captured)?;
        let jacobian = Replay::of_jacobian(self.jacobian(), &mut state.jacobian, captured)?;
        let stats = match (&self.hamiltonian, &mut state.hamiltonian) {
            (Some(program), Some(workspace)) => {
                let interpolated = self.solve.gradient == Gradient::Interpolated;
                let equations = Equations {
                    options: self.solve.options,
                    atol: &self.solve.atol,
                    hamiltonian: Replay::new(program, workspace, captured)?,
                    vjp,
                    jacobian: jacobian.filter(|_| interpolated),
                    interpolated,
                };
                state.continuous.run(&backward, equations, &mut bars)?
            }
            _ => {
                let places = self.solve.field.places();
                let kept = Replay::of(of_field.backward.as_ref(), &mut state.backward, captured)?
                    .map(|kept| kept.keeping(places));
                let second = self
                    .second
                    .as_ref()
                    .zip(state.second.as_mut())
                    .map(|(program, memory)| Replay::new(program, memory, captured))
                    .transpose()?
                    .map(|replay| (replay, 1 + usize::from(self.times) + self.own().len()));
                let pass = pass.as_deref_mut();
                let parts = match (&self.parts, &mut state.parts) {
                    (Some([stiff, rest]), Some([stiff_memory, rest_memory])) => Some([
                        Replay::new(stiff, stiff_memory, captured)?,
                        Replay::new(rest, rest_memory, captured)?,
                    ]),
                    _ => None,
                };
                let sums = of_field.sums.as_ref().map(|plans| Sums::new(plans, &mut state.sums));
                let mut programs = Programs { vjp, parts, kept, sums, jacobian, second, pass };
                let mut exact;
                let mut multistep;
                let (mut side_by_side, mut of_few);
                let few = self.few.as_ref().zip(state.few.as_mut());
                let pass: &mut dyn Reverse<T> = match (&mut state.steps_back, few) {
                    (Some(back), _) => {
                        back.begin(captured)?;
                        side_by_side = OfFew(back);
                        &mut side_by_side
                    }
                    (_, Some((programs, few))) => {
                        few.begin(programs, captured)?;
                        of_few = OfFew(few);
                        &mut of_few
                    }
                    _ if self.solve.is_multistep() => {
                        let memory = &mut state.multistep;
                        memory.stages.set_mass(self.solve.field.mass.clone());
                        multistep = WithPrograms { pass: memory, programs: &mut programs };
                        &mut multistep
                    }
                    _ => {
                        exact = WithPrograms { pass: &mut state.exact, programs: &mut programs };
                        &mut exact
                    }
                };
                match &mut state.field {
                    None => pass.run(&backward, &mut bars)?,
                    Some(memory) => {
                        let (solve, solved) = (&self.solve, solved(forward));
                        let field = solve
                            .field
                            .at_work(memory, captured)?
                            .keeping(places.filter(|_| solve.activations > 0));
                        let points = &mut solved.points.borrow_mut();
                        let again = self.again(field, points, y0_given);
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
        bars.finish();
        Ok(stats)
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

/// The state of the solve of which steps are taken again.
fn solved<T: Real>(forward: &dyn Any) -> &SolveState<T> {
    forward.downcast_ref().expect("tangents keep all stages")
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
        let (jacobian, programs, rows) =
            (self.jacobian(), self.programs.as_ref(), self.solve.rows());
        let pass = PassMemory {
            vjp: programs.map(|programs| FieldMemory::new(&programs.vjp)),
            rows: rows.zip(self.rows.as_ref()).map(|(rows, p)| RowMemory::new(rows, p)),
            parts: self.parts.as_ref().map(|parts| parts.each_ref().map(FieldMemory::new)),
            backward: programs.and_then(|p| p.backward.as_ref()).map(FieldMemory::new),
            jacobian: jacobian.map(|(program, _)| FieldMemory::new(program)),
            hamiltonian: self.hamiltonian.as_ref().map(FieldMemory::new),
            second: self.second.as_ref().map(FieldMemory::new),
            field: again.then(|| field.memory()),
            field_rows: rows.filter(|_| again).map(RowBlocks::memory).unwrap_or_default(),
            retake: Retake::default(),
            undo: Undo::default(),
            few: self.few.as_ref().map(Few::new),
            steps_back: self.steps_back.as_ref().map(SideBySide::new),
            sums: SumMemory::default(),
            exact: Exact::default(),
            multistep: Multistep::default(),
            continuous: Continuous::default(),
            rest: Buffer::default(),
        };
        Box::new(AdjointState {
            preparation: field.preparation_memory(),
            back: self.back.as_ref().map(Back::memory),
            pass,
            stats: Stats::default(),
        })
    }

    fn shares_work(&self) -> bool {
        self.solve.shares_work()
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let forward = e.producer.expect("the tape passes the state of the solve");
        let state: &mut AdjointState<T> = e.state.downcast_mut().expect("made by `new_state`");
        let (inputs, cotangent) = self.parts(e.inputs);
        let given: Captured<'_, T> =
            inputs[self.solve.first_captured()..].iter().map(|a| a.data).collect();
        let captured = self.solve.field.captured(&mut state.preparation, &given)?;
        e.output.fill(T::zero());
        let (y0, rest) = e.output.split_at_mut(inputs[0].data.len());
        let times = if self.times { recorded::<T>(forward).0.len() } else { 0 };
        let (times, given_bar) = rest.split_at_mut(times);
        let times = self.times.then_some(times);
        let start = Start {
            forward,
            ys: e.inputs[0].data,
            y0: inputs[0].data,
            cotangent: cotangent.data,
            captured: &captured,
        };
        let Some((back, memory)) = self.back.as_ref().zip(state.back.as_mut()) else {
            state.stats = self.pass(&mut state.pass, &start, y0, times, given_bar)?;
            return Ok(());
        };
        memory.bars.fill(T::zero());
        state.stats = self.pass(&mut state.pass, &start, y0, times, &mut memory.bars)?;
        Ok(back.run(memory, &given, given_bar)?)
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
