//! Which operation is to blame for a wrong gradient.

use std::panic::Location;

use ndarray::{ArrayD, IxDyn};

use super::{Weights, differ, difference};
use crate::Real;
use crate::op::{Op, Result};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

/// An operation whose rule is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Culprit {
    /// Its name.
    pub operation: String,
    /// The line that recorded it.
    pub line: &'static Location<'static>,
}

/// The first of the operations that `f` records at `inputs` whose own two rules disagree with each
/// other or with finite differences, each checked by itself; `None` if there is none.
pub(super) fn culprit<T, F>(f: F, inputs: &[ArrayD<T>]) -> Option<Culprit>
where
    T: Real,
    F: for<'t> Fn(&'t Tape<T>, &[Var<'t, T>]) -> Result<Var<'t, T>>,
{
    let tape = Tape::new();
    let vars: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
    f(&tape, &vars).ok()?;
    for id in 0..tape.len() {
        let (op, args, shape, line) = {
            let graph = tape.graph().borrow();
            let node = graph.node(id as u32);
            // What belongs to a function that has been cut out is gone; its call is checked.
            if graph.scopes[node.scope as usize].closed {
                continue;
            }
            let array = |&a: &u32| {
                ArrayD::from_shape_vec(IxDyn(graph.shape(a)), graph.value(a).to_vec())
                    .expect("a value has as many entries as its shape")
            };
            let args: Vec<ArrayD<T>> = node.args.iter().map(array).collect();
            (node.op.clone(), args, graph.shape(id as u32).clone(), node.loc)
        };
        match &op {
            Op::Input | Op::Const | Op::Detach | Op::Project { .. } => continue,
            // Not without the call that it belongs to.
            Op::Call(call) if call.reads_state() => continue,
            _ => {}
        }
        if matches!(agrees(&op, &args, &shape), Ok(false)) {
            return Some(Culprit { operation: op.name().to_owned(), line });
        }
    }
    None
}

/// The operation by itself; the outputs of a call one after another.
fn apply<'t, T: Real>(
    tape: &'t Tape<T>,
    op: &Op<T>,
    args: &[Var<'t, T>],
    shape: &Shape,
) -> Result<Var<'t, T>> {
    match op {
        Op::Call(call) => {
            let outputs = tape.call(call.clone(), args)?;
            let flat: Vec<_> = outputs.iter().map(|y| y.reshape([y.shape().numel()])).collect();
            Ok(Var::concat(0, &flat))
        }
        _ => tape.record(op.clone(), args, shape.clone()),
    }
}

/// Whether both rules agree with finite differences along one direction.
fn agrees<T: Real>(op: &Op<T>, args: &[ArrayD<T>], shape: &Shape) -> Result<bool> {
    let mut weights = Weights(3);
    let directions: Vec<ArrayD<T>> = args.iter().map(|x| weights.like(x)).collect();
    let dot =
        |a: &[T], b: &[T]| -> f64 { a.iter().zip(b).map(|(a, b)| a.as_f64() * b.as_f64()).sum() };
    let tape = Tape::new();
    let x: Vec<_> = args.iter().map(|x| tape.constant(x)).collect();
    let y = apply(&tape, op, &x, shape)?;
    let w = tape.constant(&Weights(4).like(&y.value()));
    let dots: Vec<_> = directions.iter().map(|d| tape.constant(d)).collect();
    let w_entries = w.to_vec();
    let forward = dot(&tape.jvp(&[y], &x, &dots)?[0].to_vec(), &w_entries);
    let bars = tape.vjp(&[y], &[w], &x)?;
    let reverse: f64 = bars.iter().zip(&dots).map(|(g, d)| dot(&g.to_vec(), &d.to_vec())).sum();
    let single = T::EPSILON.as_f64() > 1e-10;
    let at = |h: f64| -> Result<(f64, f64)> {
        let tape = Tape::new();
        let moved: Vec<_> = args
            .iter()
            .zip(&directions)
            .map(|(x, d)| tape.constant(&(x + &d.map(|d| T::from_f64(d.as_f64() * h)))))
            .collect();
        Ok((dot(&apply(&tape, op, &moved, shape)?.to_vec(), &w_entries), h))
    };
    let (slope, error) = difference(at, 0.02)?;
    let size = forward.abs().max(reverse.abs()).max(slope.abs()).max(1e-3);
    let rounding = if single { 1e-3 } else { 1e-9 };
    let allowed = if single { 3e-2 } else { 1e-6 } * size + 4.0 * error;
    Ok(!differ(forward, reverse, rounding * size) && !differ(reverse, slope, allowed))
}
