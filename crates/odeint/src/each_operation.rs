//! Many solves as one operation: each sample of a batch with steps of its own, spread over threads.
//!
//! The operation is [`SolveOp`] for each sample, and its backward pass [`AdjointOp`] for each, on
//! that sample's inputs alone. So a sample has the bits that it has by itself. Cotangents of what
//! the samples share are added up in the order of the samples.

use std::any::Any;
use std::sync::{Arc, Mutex};

use costate_ops::axpy;
use costate_tape::{Arg, CallError, CallOp, CallRule, Evaluation, Result, Shape, Var};
use rayon::prelude::*;
use smallvec::SmallVec;

use crate::Real;
use crate::error::{Error, ErrorKind};
use crate::ode::Gradient;
use crate::operation::{AdjointOp, AdjointState, SolveOp, SolveState};
use crate::stats::Stats;

/// How many samples' backward passes run before their cotangents are added up.
const CHUNK: usize = 32;

/// `y0, (times,) captured… ↦ y(times)` of each sample.
#[derive(Clone, Debug)]
pub(crate) struct EachOp<T: Real> {
    /// One for each sample.
    pub samples: Arc<[SolveOp<T>]>,
    /// For each input whether it has the samples along its first axis, or is shared.
    pub mapped: Arc<[bool]>,
    /// Whether the samples have as many times, so that they make one output.
    pub stacked: bool,
}

/// The inputs and the result of one solve.
type One<'t, T> = (Vec<Var<'t, T>>, Var<'t, T>);

/// The states of the solves.
#[derive(Debug)]
pub(crate) struct EachState {
    /// Locked by nothing but the backward pass of the sample.
    samples: Vec<Mutex<Box<dyn Any + Send>>>,
}

impl EachState {
    /// What each solve did.
    pub fn stats<T: Real>(&self) -> Vec<Stats> {
        let stats = |state: &Mutex<Box<dyn Any + Send>>| {
            let state = state.lock().expect("no evaluation has panicked");
            state.downcast_ref::<SolveState<T>>().expect("the state of a solve").stats
        };
        self.samples.iter().map(stats).collect()
    }
}

impl<T: Real> EachOp<T> {
    fn len(&self) -> usize {
        self.samples.len()
    }

    /// The shapes of one sample's inputs.
    fn sample_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        let of = |(shape, &mapped): (&Shape, &bool)| {
            if mapped { shape[1..].iter().copied().collect() } else { shape.clone() }
        };
        inputs.iter().zip(&*self.mapped).map(of).collect()
    }

    /// The shape of the result of each sample.
    fn results(&self, inputs: &[Shape]) -> Vec<Shape> {
        let inputs = self.sample_shapes(inputs);
        self.samples.iter().map(|op| op.output_shapes(&inputs)[0].clone()).collect()
    }

    /// One sample's inputs.
    fn sample<'a>(&self, inputs: &[Arg<'a, T>], i: usize) -> SmallVec<[Arg<'a, T>; 16]> {
        let of = |(arg, &mapped): (&Arg<'a, T>, &bool)| {
            if !mapped {
                return *arg;
            }
            let n = arg.data.len() / arg.shape[0];
            Arg { data: &arg.data[i * n..(i + 1) * n], shape: &arg.shape[1..] }
        };
        inputs.iter().zip(&*self.mapped).map(of).collect()
    }

    fn sample_vars<'t>(&self, inputs: &[Var<'t, T>], i: usize) -> Vec<Var<'t, T>> {
        let of = |(x, &mapped): (&Var<'t, T>, &bool)| if mapped { x.index_axis(0, i) } else { *x };
        inputs.iter().zip(&*self.mapped).map(of).collect()
    }

    /// The solves one by one, as operations of the tape.
    fn one_by_one<'t>(&self, inputs: &[Var<'t, T>]) -> Result<Vec<One<'t, T>>> {
        let one = |i: usize| {
            let inputs = self.sample_vars(inputs, i);
            let op: Arc<dyn CallOp<T>> = Arc::new(self.samples[i].clone());
            let ys = inputs[0].tape().call(op, &inputs)?[0];
            Ok((inputs, ys))
        };
        (0..self.len()).map(one).collect()
    }

    /// The outputs from the results of the samples.
    fn outputs<'t>(&self, results: &[Var<'t, T>]) -> Vec<Var<'t, T>> {
        if self.stacked { vec![Var::stack(0, results)] } else { results.to_vec() }
    }
}

/// The error of the first of the samples from number `first` on that has one.
fn first_error(
    first: usize,
    results: Vec<std::result::Result<(), CallError>>,
) -> std::result::Result<(), CallError> {
    match results.into_iter().enumerate().find_map(|(i, result)| Some((first + i, result.err()?))) {
        Some((sample, source)) => Err(Error::from(ErrorKind::Sample { sample, source }).into()),
        None => Ok(()),
    }
}

/// Cuts into pieces of the given lengths.
fn pieces<T>(mut all: &mut [T], lens: impl Iterator<Item = usize>) -> Vec<&mut [T]> {
    let mut found = Vec::new();
    for len in lens {
        let (piece, rest) = all.split_at_mut(len);
        found.push(piece);
        all = rest;
    }
    found
}

impl<T: Real> CallOp<T> for EachOp<T> {
    fn name(&self) -> &str {
        "solve_each"
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        let results = self.results(inputs);
        if !self.stacked {
            return results;
        }
        vec![[self.len()].iter().chain(results[0].iter()).copied().collect()]
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        let samples = self.samples.iter().map(|op| Mutex::new(op.new_state())).collect();
        Box::new(EachState { samples })
    }

    fn state_bytes(&self, state: &dyn Any) -> usize {
        let Some(state) = state.downcast_ref::<EachState>() else { return 0 };
        let bytes = |(op, state): (&SolveOp<T>, &Mutex<Box<dyn Any + Send>>)| {
            state.lock().map_or(0, |state| op.state_bytes(&**state))
        };
        self.samples.iter().zip(&state.samples).map(bytes).sum()
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let state: &mut EachState = e.state.downcast_mut().expect("made by `new_state`");
        let shapes: Vec<Shape> = e.inputs.iter().map(|a| a.shape.into()).collect();
        let outputs = pieces(e.output, self.results(&shapes).iter().map(Shape::numel));
        let inputs = e.inputs;
        let results = state
            .samples
            .par_iter_mut()
            .zip(outputs)
            .zip(self.samples.par_iter())
            .enumerate()
            .with_max_len(1)
            .map(|(i, ((state, output), op))| {
                let state = state.get_mut().expect("no evaluation has panicked");
                let inputs = self.sample(inputs, i);
                let state = &mut **state;
                op.eval(&mut Evaluation { inputs: &inputs, output, state, producer: None })
            })
            .collect();
        first_error(0, results)
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let tape = rule.call.tape();
        if self.samples[0].gradient == Gradient::Forward {
            let inputs: Vec<_> = rule.inputs.iter().map(|x| x.fresh()).collect();
            let results: Vec<_> = self.one_by_one(&inputs)?.iter().map(|(_, ys)| *ys).collect();
            let outputs = self.outputs(&results);
            let (outputs, cts): (Vec<_>, Vec<_>) =
                outputs.iter().zip(cts).filter_map(|(&y, ct)| Some((y, (*ct)?))).unzip();
            let wanted: Vec<usize> = (0..inputs.len()).filter(|&i| rule.needs[i]).collect();
            let wrt: Vec<_> = wanted.iter().map(|&i| inputs[i]).collect();
            let mut bars = vec![None; inputs.len()];
            for (i, bar) in wanted.into_iter().zip(tape.vjp(&outputs, &cts, &wrt)?) {
                bars[i] = Some(bar);
            }
            return Ok(bars);
        }
        let flat: Vec<_> = rule
            .outputs
            .iter()
            .enumerate()
            .map(|(i, y)| {
                let ct = cts.get(i).copied().flatten().unwrap_or_else(|| y.zeros_like());
                ct.reshape([y.shape().numel()])
            })
            .collect();
        let adjoint = EachAdjointOp::new(self, rule.needs)?;
        let wanted = adjoint.wanted.clone();
        let inputs: Vec<_> =
            [rule.call].iter().chain(rule.inputs).copied().chain([Var::concat(0, &flat)]).collect();
        let mut bars = vec![None; rule.inputs.len()];
        for (i, bar) in wanted.into_iter().zip(tape.call(Arc::new(adjoint), &inputs)?) {
            bars[i] = Some(bar);
        }
        Ok(bars)
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let inputs: Vec<_> = rule.inputs.iter().map(|x| x.fresh()).collect();
        let results: Vec<_> = self.one_by_one(&inputs)?.iter().map(|(_, ys)| *ys).collect();
        let outputs = self.outputs(&results);
        let (inputs, dots): (Vec<_>, Vec<_>) =
            inputs.iter().zip(dots).filter_map(|(&x, dot)| Some((x, (*dot)?))).unzip();
        let found = rule.call.tape().jvp(&outputs, &inputs, &dots)?;
        Ok(found.into_iter().map(Some).collect())
    }
}

/// The backward passes: `value of the solves, their inputs…, cotangents ↦ cotangents of the wanted
/// inputs`. The value and the cotangents are those of all samples, one after another.
#[derive(Debug)]
struct EachAdjointOp<T: Real> {
    each: EachOp<T>,
    /// The inputs whose cotangents are found, the state's first.
    wanted: Vec<usize>,
    /// The different backward passes, and the number of that of each sample.
    passes: Vec<AdjointOp<T>>,
    pass: Vec<usize>,
}

/// The memory of the backward passes: as many as run at once, for each of the different ones.
#[derive(Debug)]
pub(crate) struct EachAdjointState<T: Real> {
    slots: Vec<Slot<T>>,
    pub stats: Vec<Stats>,
}

#[derive(Debug)]
struct Slot<T> {
    states: Vec<Option<Box<dyn Any + Send>>>,
    found: Vec<T>,
}

impl<T: Real> EachAdjointOp<T> {
    fn new(each: &EachOp<T>, needs: &[bool]) -> Result<EachAdjointOp<T>> {
        // Samples that differ in their times alone have the same backward pass.
        let mut first: Vec<usize> = Vec::new();
        let mut pass = Vec::new();
        for (i, op) in each.samples.iter().enumerate() {
            let known = first.iter().position(|&j| each.samples[j].options == op.options);
            pass.push(known.unwrap_or(first.len()));
            if known.is_none() {
                first.push(i);
            }
        }
        let passes: Vec<_> =
            first.iter().map(|&i| each.samples[i].adjoint(needs)).collect::<Result<_>>()?;
        // Its outputs are that of the state, and those that are needed.
        let wanted: Vec<usize> = (0..needs.len()).filter(|&i| i == 0 || needs[i]).collect();
        Ok(EachAdjointOp { each: each.clone(), wanted, passes, pass })
    }

    /// The backward passes one by one, as operations of the tape.
    fn one_by_one<'t>(&self, inputs: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        let (&g, solve_inputs) = inputs.split_last().expect("cotangents come last");
        let tape = g.tape();
        let mut found: Vec<Vec<Var<'t, T>>> = vec![Vec::new(); self.wanted.len()];
        let mut start = 0;
        for (inputs, ys) in self.each.one_by_one(solve_inputs)? {
            let shape = ys.shape();
            let end = start + shape.numel();
            let g = g.slice_axis(0, start..end).reshape(shape);
            let wrt: Vec<_> = self.wanted.iter().map(|&i| inputs[i]).collect();
            for (found, bar) in found.iter_mut().zip(tape.vjp(&[ys], &[g], &wrt)?) {
                found.push(bar);
            }
            start = end;
        }
        let join = |(&i, bars): (&usize, &Vec<Var<'t, T>>)| {
            if self.each.mapped[i] {
                return Var::stack(0, bars);
            }
            Var::lincomb(&vec![T::one(); bars.len()], bars).expect("a batch has a sample")
        };
        Ok(self.wanted.iter().zip(&found).map(join).collect())
    }
}

impl<T: Real> CallOp<T> for EachAdjointOp<T> {
    fn name(&self) -> &str {
        "adjoint_each"
    }

    fn reads_state(&self) -> bool {
        true
    }

    fn output_shapes(&self, inputs: &[Shape]) -> Vec<Shape> {
        self.wanted.iter().map(|&i| inputs[1 + i].clone()).collect()
    }

    fn new_state(&self) -> Box<dyn Any + Send> {
        let slot =
            || Slot { states: self.passes.iter().map(|_| None).collect(), found: Vec::new() };
        let slots = (0..CHUNK.min(self.each.len())).map(|_| slot()).collect();
        Box::new(EachAdjointState::<T> { slots, stats: Vec::new() })
    }

    fn eval(&self, e: &mut Evaluation<'_, T>) -> std::result::Result<(), CallError> {
        let forward = e.producer.expect("the tape passes the state of the solves");
        let forward: &EachState = forward.downcast_ref().expect("the state of the solves");
        let state: &mut EachAdjointState<T> = e.state.downcast_mut().expect("made by `new_state`");
        let (cotangent, rest) = e.inputs.split_last().expect("cotangents come last");
        let (value, inputs) = rest.split_first().expect("the value comes first");
        let shapes: Vec<Shape> = inputs.iter().map(|a| a.shape.into()).collect();
        let sample_shapes = self.each.sample_shapes(&shapes);
        let results = self.each.results(&shapes);
        let mut starts = vec![0];
        for shape in &results {
            starts.push(starts.last().expect("there is one") + shape.numel());
        }
        let lens: Vec<usize> = self.wanted.iter().map(|&i| sample_shapes[i].numel()).collect();
        let total = lens.iter().sum();
        let mut outputs = pieces(e.output, self.wanted.iter().map(|&i| shapes[i].numel()));
        outputs.iter_mut().for_each(|output| output.fill(T::zero()));
        state.stats.clear();

        for first in (0..self.each.len()).step_by(CHUNK) {
            let last = (first + CHUNK).min(self.each.len());
            let done = (first..last)
                .into_par_iter()
                .with_max_len(1)
                .zip(&mut state.slots)
                .map(|(i, slot)| {
                    let op = &self.passes[self.pass[i]];
                    let state = slot.states[self.pass[i]].get_or_insert_with(|| op.new_state());
                    slot.found.resize(total, T::zero());
                    let piece = starts[i]..starts[i + 1];
                    let (ys, g) = (&value.data[piece.clone()], &cotangent.data[piece]);
                    let shape = &results[i];
                    let mut args: SmallVec<[Arg<'_, T>; 16]> = SmallVec::new();
                    args.push(Arg { data: ys, shape });
                    args.extend(self.each.sample(inputs, i));
                    args.push(Arg { data: g, shape });
                    let producer = forward.samples[i].lock().expect("no evaluation has panicked");
                    op.eval(&mut Evaluation {
                        inputs: &args,
                        output: &mut slot.found,
                        state: &mut **state,
                        producer: Some(&**producer),
                    })
                })
                .collect::<Vec<_>>();
            first_error(first, done)?;
            for (i, slot) in (first..last).zip(&state.slots) {
                let done = slot.states[self.pass[i]].as_ref().expect("it has run");
                let done: &AdjointState<T> = done.downcast_ref().expect("that of a backward pass");
                state.stats.push(done.stats);
                let mut found = &slot.found[..];
                for ((&input, output), &len) in self.wanted.iter().zip(&mut outputs).zip(&lens) {
                    let (bar, rest) = found.split_at(len);
                    match self.each.mapped[input] {
                        true => output[i * len..(i + 1) * len].copy_from_slice(bar),
                        false => axpy(T::one(), bar, output),
                    }
                    found = rest;
                }
            }
        }
        Ok(())
    }

    fn vjp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        cts: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let inputs: Vec<_> = rule.inputs[1..].iter().map(|x| x.fresh()).collect();
        let bars = self.one_by_one(&inputs)?;
        let (bars, cts): (Vec<_>, Vec<_>) =
            bars.iter().zip(cts).filter_map(|(&bar, ct)| Some((bar, (*ct)?))).unzip();
        let found = rule.call.tape().vjp(&bars, &cts, &inputs)?;
        Ok([None].into_iter().chain(found.into_iter().map(Some)).collect())
    }

    fn jvp<'t>(
        &self,
        rule: &CallRule<'_, 't, T>,
        dots: &[Option<Var<'t, T>>],
    ) -> Result<Vec<Option<Var<'t, T>>>> {
        let inputs: Vec<_> = rule.inputs[1..].iter().map(|x| x.fresh()).collect();
        let bars = self.one_by_one(&inputs)?;
        let (inputs, dots): (Vec<_>, Vec<_>) =
            inputs.iter().zip(&dots[1..]).filter_map(|(&x, dot)| Some((x, (*dot)?))).unzip();
        let found = rule.call.tape().jvp(&bars, &inputs, &dots)?;
        Ok(found.into_iter().map(Some).collect())
    }
}
