//! Tangents of a solve: how the solution on the recorded grid answers a change of what it started
//! from.
//!
//! A state `y` with its tangent `δ` follows the field
//!
//! ```text
//! F(t, (y, δ), θ, θ̇) = (f, (∂f/∂y) δ + (∂f/∂θ) θ̇)
//! ```
//!
//! and a Runge–Kutta step of `F` is the derivative of the step of `f`. So the tangent of a solve is
//! again a solve, on a grid that is there already: its backward pass is that of any solve, with the
//! field `F`, and its tangent one with the tangents of `F`. From these two follow derivatives of
//! any order. The second ones of a solve, with `A(x, g)` its backward pass and `Y(x; ẋ)` its
//! tangent, are
//!
//! ```text
//! dA(x, g)/dg · ġ = A(x, ġ),   dA(x, g)/dx · ẋ = ∂(g · Y(x; ẋ))/∂x,
//! ```
//!
//! and transposed the same with `ẋ` the cotangent of `A`. Nothing of this looks at numbers, so it
//! can be compiled and nested.

mod again;
mod field;
mod forward;
mod multistep;
mod walk;

use std::any::Any;
use std::sync::Arc;

use costate_tape::{CallError, CallOp, CallRule, Evaluation, Result, Shape, Var, Workspace};

use self::again::Retake;
use self::multistep::MultistepWalk;
use self::walk::{States, Walk};
use crate::Real;
use crate::grid::Grid;
use crate::instrument::Probe;
use crate::memory::Memory;
use crate::method::Method;
use crate::ode::Gradient;
use crate::operation::{SolveOp, SolveState};
use crate::preparation::Captured;
use crate::stats::Stats;
use crate::vector_field::{FieldMemory, FieldProgram, Replay, VectorField};

/// `value of the solve, (y0, δ0), (times,) captured…, their tangents… ↦ δ(times)`, with the
/// directions along the second axis.
#[derive(Debug)]
pub(crate) struct TangentOp<T: Real> {
    /// The solve of the state with its tangents.
    pub solve: SolveOp<T>,
    /// The field of the state alone.
    pub from: Arc<VectorField<T>>,
    /// The derivative of its field, for Rosenbrock methods.
    pub along: Option<Arc<FieldProgram<T>>>,
    /// Whether to keep the steps for a backward pass or a tangent of this tangent.
    pub keep: bool,
}

/// What a tangent keeps.
#[derive(Debug)]
pub(crate) struct TangentState<T: Real> {
    preparation: Option<Workspace<T>>,
    /// That of the field of the state alone, if it takes steps again.
    own_preparation: Option<Workspace<T>>,
    field: FieldMemory<T>,
    parts: Option<[FieldMemory<T>; 2]>,
    jacobian: Option<FieldMemory<T>>,
    along: Option<FieldMemory<T>>,
    again: Option<Retake<T>>,
    walk: Walk<T>,
    multistep: MultistepWalk<T>,
    ts: Vec<f64>,
    grid: Grid<T>,
    pub stats: Stats,
}

/// The times and the grid that a solve or a tangent recorded.
pub(crate) fn recorded<T: Real>(state: &dyn Any) -> (&[f64], &Grid<T>) {
    match state.downcast_ref::<SolveState<T>>() {
        Some(state) => (&state.ts, &state.grid),
        None => {
            let state = state.downcast_ref::<TangentState<T>>().expect("the state of a solve");
            (&state.ts, &state.grid)
        }
    }
}

impl<T: Real> SolveOp<T> {
    /// The tangent of the solution that `call` recorded from `inputs`. The directions are along the
    /// first axis of the tangents `dots`, and the second of the result; `None` if there are none.
    ///
    /// The times must not have tangents.
    pub fn tangent<'t>(
        &self,
        call: Var<'t, T>,
        inputs: &[Var<'t, T>],
        dots: &[Option<Var<'t, T>>],
        keep: bool,
    ) -> Result<Option<Var<'t, T>>> {
        let Some(dot) = dots.iter().flatten().next() else { return Ok(None) };
        let directions = dot.shape()[0];
        let first = self.first_captured();
        let captured = &dots[first..];
        let dotted: Vec<usize> = (0..captured.len()).filter(|&i| captured[i].is_some()).collect();
        let y0 = inputs[0].unsqueeze(0);
        let zeros = || {
            let shape = inputs[0].shape();
            let shape: Shape = [directions].iter().chain(shape.iter()).copied().collect();
            call.tape().zeros(shape)
        };
        let z0 = Var::concat(0, &[y0, dots[0].unwrap_or_else(zeros)]);
        let field = Arc::new(self.field.with_tangents(&dotted, directions)?);
        let solve = SolveOp {
            field,
            gradient: Gradient::Exact,
            memory: Memory::Stages,
            probe: Probe::default(),
            ..self.clone()
        };
        let mut given = vec![call, z0];
        given.extend(&inputs[1..]);
        given.extend(captured.iter().flatten());
        let along = match self.method {
            Method::Rosenbrock(_) => Some(Arc::new(solve.field.along()?)),
            _ => None,
        };
        let from = self.field.clone();
        let op = TangentOp { solve, from, along, keep };
        Ok(Some(call.tape().call(Arc::new(op), &given)?[0]))
    }

    /// The [`tangent`](SolveOp::tangent) in one direction.
    pub fn tangent_along<'t>(
        &self,
        call: Var<'t, T>,
        inputs: &[Var<'t, T>],
        dots: &[Option<Var<'t, T>>],
        keep: bool,
    ) -> Result<Option<Var<'t, T>>> {
        let dots: Vec<_> = dots.iter().map(|dot| dot.map(|dot| dot.unsqueeze(0))).collect();
        Ok(self.tangent(call, inputs, &dots, keep)?.map(|found| found.index_axis(1, 0)))
    }
}

impl<T: Real> TangentOp<T> {
    /// This call, or one that keeps its steps.
    fn kept<'t>(&self, rule: &CallRule<'_, 't, T>) -> Result<Var<'t, T>> {
        if self.keep {
            return Ok(rule.call);
        }
        let tape = rule.call.tape();
        let (solve, from, along) = (self.solve.clone(), self.from.clone(), self.along.clone());
        let twin = TangentOp { solve, from, along, keep: true };
        let found = tape.call(Arc::new(twin), rule.inputs)?[0];
        Ok(tape.producer(found).expect("the output of a call"))
    }
}

impl<T: Real> CallOp<T> for TangentOp<T> {
    fn name(&self) -> &str {
        "tangent"
    }

    fn reads_state(&self) -> bool {
        true
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        let times = self.solve.times.as_ref().map_or_else(|| inputs[2].numel(), |ts| ts.len());
        let state = &inputs[1];
        vec![[times, state[0] - 1].iter().chain(&state[1..]).copied().collect()]
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        let field = &self.solve.field;
        Box::new(TangentState::<T> {
            preparation: field.preparation_memory(),
            own_preparation: None,
            field: FieldMemory::new(&field.program),
            parts: field.parts.as_ref().map(|parts| parts.memory(|part| &part.program)),
            jacobian: field.any_jacobian().map(|(program, _)| FieldMemory::new(program)),
            along: self.along.as_deref().map(FieldMemory::new),
            again: None,
            walk: Walk::default(),
            multistep: MultistepWalk::default(),
            ts: Vec::new(),
            grid: Grid::default(),
            stats: Stats::default(),
        })
    }

    fn state_bytes(&self, state: &dyn Any) -> usize {
        state.downcast_ref::<TangentState<T>>().map_or(0, |state| state.stats.bytes_kept)
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let (ts, from) = recorded(e.producer.expect("the tape passes the state of the solve"));
        let state: &mut TangentState<T> = e.state.downcast_mut().expect("made by `new_state`");
        let given: Captured<'_, T> =
            e.inputs[1 + self.solve.first_captured()..].iter().map(|a| a.data).collect();
        let field = &self.solve.field;
        let captured = field.captured(&mut state.preparation, &given)?;
        let mut programs = walk::Programs {
            field: Replay::new(&field.program, &mut state.field, &captured)?,
            parts: match (&field.parts, &mut state.parts) {
                (Some(parts), Some([stiff, rest])) => Some([
                    Replay::new(&parts.stiff.program, stiff, &captured)?,
                    Replay::new(&parts.rest.program, rest, &captured)?,
                ]),
                _ => None,
            },
            jacobian: Replay::of_jacobian(field.any_jacobian(), &mut state.jacobian, &captured)?,
            along: Replay::of(self.along.as_deref(), &mut state.along, &captured)?,
        };
        let (z0, method) = (e.inputs[1].data, self.solve.method);
        let grid = &mut state.grid;
        state.ts.clear();
        state.ts.extend_from_slice(ts);
        grid.start(z0, from.methods);
        (grid.block, grid.order) = (from.block, from.order + 1);
        let y0 = &z0[..from.dim];
        let own = match from.is_whole() || !method.needs_jacobian() {
            true => None,
            false => {
                let memory = &mut state.own_preparation;
                if memory.is_none() {
                    *memory = self.from.preparation_memory();
                }
                let given = &given[..self.from.given_shapes().len() - 2];
                Some(self.from.captured(memory, given)?)
            }
        };
        let states = match &own {
            None if from.is_whole() => States::Kept,
            None => States::Computed,
            Some(own) => {
                let memory = state.again.get_or_insert_with(|| Retake::new(&self.from));
                let options = self.solve.options;
                States::Again(memory.start(&self.from, method, options, y0, ts, own)?)
            }
        };
        let way = walk::Way { ts, grid: from };
        if let Method::Multistep(_) = method {
            grid.without_slopes();
            let differences = self.keep && self.solve.times.is_none();
            let walk = &mut state.multistep;
            walk.stages.set_mass(self.from.mass.clone());
            walk.run(&way, states, z0, &mut programs, e.output, |step, saves, table| {
                grid.push(step, saves, self.keep);
                if differences {
                    grid.push_differences(table);
                }
            })?;
        } else {
            state.walk.run(&way, states, z0, &mut programs, e.output, |step, saves| {
                grid.push(step, saves, self.keep);
            })?;
        }
        state.stats = Stats {
            accepted: from.steps.len(),
            f_evals: programs.field.evaluations,
            jacobian_evals: programs.jacobian.as_ref().map_or(0, |j| j.evaluations),
            factorisations: programs.jacobian.as_ref().map_or(0, |j| j.evaluations),
            bytes_kept: grid.bytes(),
            ..Stats::default()
        };
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let Some(g) = cts[0] else { return Ok(vec![None; rule.inputs.len()]) };
        let call = self.kept(rule)?;
        let zeros = g.slice_axis(1, 0..1).zeros_like();
        let g = Var::concat(1, &[zeros, g]);
        let bars = self.solve.backward(call, &rule.inputs[1..], &rule.needs[1..], g)?;
        Ok([None].into_iter().chain(bars).collect())
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let (inputs, dots) = (&rule.inputs[1..], &dots[1..]);
        let tangent = |dot: Option<Var<'t, T>>| {
            // Those of the tangents; that of the state is known to others.
            dot.map(|dot| dot.slice_axis(1, 1..dot.shape()[1]))
        };
        if self.solve.needs_unrolling(dots) {
            let found = self.solve.unrolled_tangent(self.kept(rule)?, inputs, dots)?;
            return Ok(vec![tangent(Some(found))]);
        }
        let call = self.kept(rule)?;
        Ok(vec![tangent(self.solve.tangent_along(call, inputs, dots, false)?)])
    }
}
