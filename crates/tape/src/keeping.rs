//! Reverse mode in two halves: what the backward half needs of the forward one is kept.
//!
//! [`Function::vjp`] computes everything anew from the inputs. Where the function has just been
//! evaluated, its activations need not be: they are the values of the joint computation that do not
//! depend on the cotangents, but are read by what does. Which of them to keep is a choice. Entries
//! that cost a product or a transcendental function are; those that follow from kept ones, or from
//! the inputs, by plain arithmetic are computed again, since reading them costs as much.

use std::ops::Range;

use costate_ops::Unary;

use crate::Real;
use crate::function::{FnNode, Function};
use crate::graph::{Args, NodeId};
use crate::hoist::follows;
use crate::op::{Op, Result};
use crate::shape::Shape;

/// A function and its reverse-mode derivative, which reads what the function kept.
#[derive(Clone, Debug)]
pub struct Keeping<T: Real> {
    /// From the inputs to the outputs, and then to what is kept.
    pub forward: Function<T>,
    /// From the inputs, then what was kept, then a cotangent of each output, to the cotangents of
    /// the inputs.
    pub backward: Function<T>,
    /// The shapes of what is kept.
    pub kept: Vec<Shape>,
}

impl<T: Real> Function<T> {
    /// [`vjp`](Function::vjp) in two halves, for the inputs numbered `wrt`; `None` if nothing is
    /// worth keeping, or if a call inside the function stands in the way: its state lies in one
    /// program. What follows from the inputs numbered `fixed` alone is not kept: it can be
    /// [computed once](Function::hoist).
    ///
    /// ```
    /// use costate_tape::Function;
    /// use ndarray::Array1;
    ///
    /// let x = Array1::zeros(100).into_dyn();
    /// let f = Function::<f64>::trace(&[x], |_, x| Ok(vec![x[0].square().tanh()]))?;
    /// // The derivative of y = tanh(x²) is 2 x (1 - y²): y is kept, x² and 1 - y² are not.
    /// let halves = f.vjp_keeping(&[0], 0..0)?.expect("a hyperbolic tangent");
    /// assert_eq!(halves.kept.len(), 1);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    pub fn vjp_keeping(&self, wrt: &[usize], fixed: Range<usize>) -> Result<Option<Keeping<T>>> {
        let count = self.outputs.len();
        let joint =
            self.transform(&self.output_shapes(), |tape, inputs, outputs, cotangents| {
                let wrt: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
                let bars = tape.vjp(outputs, cotangents, &wrt)?;
                Ok(outputs.iter().copied().chain(bars).collect())
            })?;
        let joint = T::simplify(&joint);
        if joint.nodes.iter().any(|node| matches!(node.op, Op::Call(_))) {
            return Ok(None);
        }
        let (inputs, cotangents) = joint.inputs.split_at(self.inputs.len());
        let fixed = follows(&joint, fixed);
        let kept = choose(&joint, &fixed, cotangents, &joint.outputs[count..]);
        if kept.is_empty() {
            return Ok(None);
        }
        let forward: Vec<NodeId> = joint.outputs[..count].iter().chain(&kept).copied().collect();
        let given: Vec<NodeId> = inputs.iter().chain(&kept).chain(cotangents).copied().collect();
        Ok(Some(Keeping {
            forward: between(&joint, inputs, &forward),
            backward: between(&joint, &given, &joint.outputs[count..]),
            kept: kept.iter().map(|&id| joint.nodes[id as usize].shape.clone()).collect(),
        }))
    }

    /// This function with only the given outputs, in that order.
    ///
    /// # Panics
    /// If there is no such output.
    pub fn with_outputs(&self, outputs: &[usize]) -> Function<T> {
        let outputs: Vec<NodeId> = outputs.iter().map(|&i| self.outputs[i]).collect();
        between(self, &self.inputs, &outputs)
    }
}

/// What to keep: values that do not depend on the cotangents, but from which the rest follows
/// cheaply.
fn choose<T: Real>(
    joint: &Function<T>,
    fixed: &[bool],
    cotangents: &[NodeId],
    bars: &[NodeId],
) -> Vec<NodeId> {
    let n = joint.nodes.len();
    let mut backward = vec![false; n];
    cotangents.iter().for_each(|&id| backward[id as usize] = true);
    let mut read = vec![false; n];
    for (id, node) in joint.nodes.iter().enumerate() {
        backward[id] |= node.args.iter().any(|&a| backward[a as usize]);
        if backward[id] {
            node.args.iter().for_each(|&a| read[a as usize] = true);
        }
    }
    bars.iter().for_each(|&id| read[id as usize] = true);
    let given = |id: usize| fixed[id] || matches!(joint.nodes[id].op, Op::Input | Op::Const);
    let mut kept = vec![false; n];
    for id in 0..n {
        let node = &joint.nodes[id];
        kept[id] = read[id] && !backward[id] && !given(id) && !is_cheap(node);
    }
    // A cheap value is kept only if what it follows from takes more memory.
    for id in (0..n).rev() {
        let node = &joint.nodes[id];
        if !read[id] || backward[id] || given(id) || kept[id] {
            continue;
        }
        let mut missing = Vec::new();
        sources(joint, fixed, id as NodeId, &kept, &mut missing);
        let numel = |id: NodeId| joint.nodes[id as usize].shape.numel();
        if missing.iter().map(|&id| numel(id)).sum::<usize>() <= node.shape.numel() {
            missing.iter().for_each(|&id| kept[id as usize] = true);
        } else {
            kept[id] = true;
        }
    }
    (0..n as NodeId).filter(|&id| kept[id as usize]).collect()
}

/// What a value follows from by cheap operations, other than inputs, constants and what is kept.
fn sources<T: Real>(
    joint: &Function<T>,
    fixed: &[bool],
    id: NodeId,
    kept: &[bool],
    found: &mut Vec<NodeId>,
) {
    for &arg in &joint.nodes[id as usize].args {
        let node = &joint.nodes[arg as usize];
        let given = fixed[arg as usize] || matches!(node.op, Op::Input | Op::Const);
        if kept[arg as usize] || given || found.contains(&arg) {
            continue;
        }
        if is_cheap(node) {
            sources(joint, fixed, arg, kept, found);
        } else {
            found.push(arg);
        }
    }
}

/// Whether computing it again costs about as little as reading it.
fn is_cheap<T: Real>(node: &FnNode<T>) -> bool {
    use Unary::*;
    match &node.op {
        // The slope costs an exponential, but its argument, the activation, is most often kept anyway.
        Op::Unary(f) => matches!(f, Neg | Abs | Sign | Square | Relu | SoftplusSlope),
        Op::Binary(f) => !matches!(f, costate_ops::Binary::Pow),
        Op::Powi(n) => n.abs() <= 4,
        Op::Affine { .. }
        | Op::LinComb(_)
        | Op::Select
        | Op::Expand
        | Op::Reshape
        | Op::Detach
        | Op::Permute(_)
        | Op::Slice(_)
        | Op::Pad(_)
        | Op::Concat { .. } => true,
        _ => false,
    }
}

/// What leads from some values to others.
pub(crate) fn between<T: Real>(
    f: &Function<T>,
    inputs: &[NodeId],
    outputs: &[NodeId],
) -> Function<T> {
    let mut place = vec![NodeId::MAX; f.nodes.len()];
    let mut nodes = Vec::new();
    for &id in inputs {
        place[id as usize] = nodes.len() as NodeId;
        let node = &f.nodes[id as usize];
        let (op, args, constant) = (Op::Input, Args::new(), None);
        nodes.push(FnNode { op, args, constant, ..node.clone() });
    }
    let function_inputs = (0..nodes.len() as NodeId).collect();
    let mut needed = vec![false; f.nodes.len()];
    outputs.iter().for_each(|&id| needed[id as usize] = true);
    for id in (0..f.nodes.len()).rev() {
        if needed[id] && place[id] == NodeId::MAX {
            f.nodes[id].args.iter().for_each(|&a| needed[a as usize] = true);
        }
    }
    for id in (0..f.nodes.len()).filter(|&id| needed[id]) {
        if place[id] == NodeId::MAX {
            place[id] = nodes.len() as NodeId;
            let mut node = f.nodes[id].clone();
            node.args.iter_mut().for_each(|a| *a = place[*a as usize]);
            nodes.push(node);
        }
    }
    let outputs = outputs.iter().map(|&id| place[id as usize]).collect();
    Function::from_parts(nodes, function_inputs, outputs)
}
