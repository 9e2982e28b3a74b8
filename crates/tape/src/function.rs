//! A function: a piece of a tape, cut out so that it can be differentiated, inlined or compiled.

use std::collections::HashMap;
use std::sync::Arc;

use ndarray::ArrayD;
use smallvec::SmallVec;

use crate::Real;
use crate::error::Error;
use crate::graph::{Args, Graph, Loc, NodeId};
use crate::op::{Op, Result};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

/// One operation of a [`Function`]; its arguments are positions in the function.
#[derive(Clone, Debug)]
pub(crate) struct FnNode<T: Real> {
    pub op: Op<T>,
    pub args: Args,
    pub shape: Shape,
    pub loc: Loc,
    /// The value of a `Const`.
    pub constant: Option<Arc<[T]>>,
}

/// A straight-line program from inputs to outputs, for fixed shapes.
///
/// It is made by [`Function::trace`] or [`Tape::scope`], and is independent of any tape: it can
/// be sent to other threads, [inlined](Function::inline) on a tape, turned into its derivatives,
/// and compiled to a [`Program`](crate::Program).
#[derive(Clone, Debug)]
pub struct Function<T: Real> {
    pub(crate) nodes: Vec<FnNode<T>>,
    pub(crate) inputs: Vec<NodeId>,
    pub(crate) outputs: Vec<NodeId>,
    observed: Option<Loc>,
}

impl<T: Real> Function<T> {
    /// Records `f` at example inputs and cuts it out.
    ///
    /// ```
    /// use costate_tape::{Function, Program, Workspace};
    /// use ndarray::arr1;
    ///
    /// let x = arr1(&[1.0, 2.0]).into_dyn();
    /// let f = Function::trace(&[x], |_, x| Ok(vec![x[0].tanh().sum()]))?;
    /// let program = Program::compile(&f)?;
    /// let mut workspace = Workspace::new(&program);
    /// let mut y = [0.0];
    /// program.run(&mut workspace, &[&[0.5, -0.5]], &mut [&mut y])?;
    /// assert_eq!(y, [0.0]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `f`.
    pub fn trace<F>(inputs: &[ArrayD<T>], f: F) -> Result<Function<T>>
    where
        F: for<'t> FnOnce(&'t Tape<T>, &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>>,
    {
        let tape = Tape::new();
        let vars: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
        let outputs = f(&tape, &vars)?;
        Ok(Function::cut(&tape, &vars, &outputs))
    }

    /// [`trace`](Function::trace) for inputs of the given shapes, without evaluating anything: so
    /// tracing a long solve takes no longer than tracing a short one.
    ///
    /// Second derivatives and forward mode with respect to the times of a solve need its grid, and
    /// so example inputs.
    ///
    /// ```
    /// use costate_tape::{Function, Shape};
    ///
    /// let f = Function::<f64>::trace_shapes(&[Shape::from([2, 3])], |_, x| Ok(vec![x[0].sum()]))?;
    /// assert_eq!(f.output_shapes(), [Shape::scalar()]);
    /// # Ok::<(), costate_tape::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of `f`.
    ///
    /// # Panics
    /// If `f` reads a number, such as by [`Var::value`].
    pub fn trace_shapes<F>(shapes: &[Shape], f: F) -> Result<Function<T>>
    where
        F: for<'t> FnOnce(&'t Tape<T>, &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>>,
    {
        let tape = Tape::symbolic();
        let vars: Vec<_> = shapes.iter().map(|shape| tape.untouched(shape.clone())).collect();
        let outputs = f(&tape, &vars)?;
        Ok(Function::cut(&tape, &vars, &outputs))
    }

    /// A function from its parts; it is replayable.
    pub(crate) fn from_parts(
        nodes: Vec<FnNode<T>>,
        inputs: Vec<NodeId>,
        outputs: Vec<NodeId>,
    ) -> Self {
        Function { nodes, inputs, outputs, observed: None }
    }

    /// Cuts out of a whole tape what leads from leaves to outputs.
    pub(crate) fn cut(tape: &Tape<T>, inputs: &[Var<'_, T>], outputs: &[Var<'_, T>]) -> Self {
        let ids = |vars: &[Var<'_, T>]| vars.iter().map(|v| v.id()).collect::<Vec<_>>();
        let graph = tape.graph().borrow();
        T::extract(&graph, 0, &ids(inputs), &ids(outputs), graph.scopes[0].observed).0
    }

    /// Cuts out of a whole tape the operations that depend on `inputs` and lead to outputs. What else
    /// they read is constant: its value on the tape.
    pub(crate) fn cut_dependent(
        tape: &Tape<T>,
        inputs: &[Var<'_, T>],
        outputs: &[Var<'_, T>],
    ) -> Self {
        let last = tape.len() as NodeId - 1;
        let mut depends = tape.active(inputs, 0, last);
        let graph = tape.graph().borrow();
        // An operation that reads the state of a call needs the call, and not only its value.
        for id in (0..=last).rev().filter(|&id| depends[id as usize]).collect::<Vec<_>>() {
            let mut reader = id;
            while let Op::Call(call) = &graph.node(reader).op
                && call.reads_state()
            {
                reader = graph.node(reader).args[0];
                depends[reader as usize] = true;
            }
        }
        let mut needed = vec![false; graph.nodes.len()];
        outputs.iter().for_each(|y| needed[y.id() as usize] = true);
        for id in (0..=last).rev().filter(|&id| depends[id as usize]) {
            if needed[id as usize] {
                graph.node(id).args.iter().for_each(|&a| needed[a as usize] = true);
            }
        }
        let mut place = vec![NodeId::MAX; graph.nodes.len()];
        let mut nodes = Vec::new();
        let mut add = |id: NodeId, op: Op<T>, args: Args, constant: Option<Arc<[T]>>| {
            let (shape, loc) = (graph.shape(id).clone(), graph.node(id).loc);
            nodes.push(FnNode { op, args, shape, loc, constant });
            nodes.len() as NodeId - 1
        };
        let given = |x: &Var<'_, T>| {
            place[x.id() as usize] = add(x.id(), Op::Input, Args::new(), None);
            place[x.id() as usize]
        };
        let function_inputs = inputs.iter().map(given).collect();
        for id in (0..=last).filter(|&id| needed[id as usize]) {
            if place[id as usize] != NodeId::MAX {
                continue;
            }
            place[id as usize] = if depends[id as usize] {
                let node = graph.node(id);
                let args = node.args.iter().map(|&a| place[a as usize]).collect();
                add(id, node.op.clone(), args, None)
            } else {
                add(id, Op::Const, Args::new(), Some(graph.value(id).into()))
            };
        }
        let outputs = outputs.iter().map(|y| place[y.id() as usize]).collect();
        Function { nodes, inputs: function_inputs, outputs, observed: None }
    }

    /// Cuts out the nodes from `start` on that `outputs` need. What they read from before `start`
    /// becomes a further input; those are returned.
    pub(crate) fn extract(
        graph: &Graph<T>,
        start: NodeId,
        inputs: &[NodeId],
        outputs: &[NodeId],
        observed: Option<Loc>,
    ) -> (Function<T>, SmallVec<[NodeId; 8]>) {
        let mut needed = vec![false; graph.nodes.len() - start as usize];
        let mut captured: SmallVec<[NodeId; 8]> = SmallVec::new();
        let need =
            |id: NodeId, needed: &mut Vec<bool>, captured: &mut SmallVec<[NodeId; 8]>| match id
                .checked_sub(start)
            {
                Some(i) => needed[i as usize] = true,
                None if captured.contains(&id) => {}
                None => captured.push(id),
            };
        for &id in outputs {
            need(id, &mut needed, &mut captured);
        }
        for id in (start..graph.nodes.len() as NodeId).rev() {
            if needed[(id - start) as usize] && !inputs.contains(&id) {
                for &arg in &graph.node(id).args {
                    need(arg, &mut needed, &mut captured);
                }
            }
        }
        captured.sort_unstable();

        let mut nodes = Vec::new();
        let mut place: HashMap<NodeId, NodeId> = HashMap::new();
        for &id in inputs.iter().chain(&captured) {
            let node = graph.node(id);
            place.insert(id, nodes.len() as NodeId);
            nodes.push(FnNode {
                op: Op::Input,
                args: Args::new(),
                shape: graph.shape(id).clone(),
                loc: node.loc,
                constant: None,
            });
        }
        let function_inputs = (0..nodes.len() as NodeId).collect();
        for id in start..graph.nodes.len() as NodeId {
            if !needed[(id - start) as usize] || place.contains_key(&id) {
                continue;
            }
            let node = graph.node(id);
            if let Op::Call(call) = &node.op {
                assert!(
                    !call.reads_state() || node.args[0] >= start,
                    "{} at {}: inside a scope, a gradient through a solve that was recorded \
                     outside of it; record the solve inside",
                    call.name(),
                    node.loc
                );
            }
            let leaf = matches!(node.op, Op::Input | Op::Const);
            place.insert(id, nodes.len() as NodeId);
            nodes.push(FnNode {
                op: if leaf { Op::Const } else { node.op.clone() },
                args: node.args.iter().map(|a| place[a]).collect(),
                shape: graph.shape(id).clone(),
                loc: node.loc,
                constant: leaf.then(|| graph.value(id).into()),
            });
        }
        let outputs = outputs.iter().map(|id| place[id]).collect();
        (Function { nodes, inputs: function_inputs, outputs, observed }, captured)
    }

    /// The shape of each input.
    pub fn input_shapes(&self) -> Vec<Shape> {
        self.shapes(&self.inputs)
    }

    /// The shape of each output.
    pub fn output_shapes(&self) -> Vec<Shape> {
        self.shapes(&self.outputs)
    }

    fn shapes(&self, ids: &[NodeId]) -> Vec<Shape> {
        ids.iter().map(|&id| self.nodes[id as usize].shape.clone()).collect()
    }

    /// Whether recording it read a number, so that it holds for the recorded inputs only.
    pub fn is_value_dependent(&self) -> bool {
        self.observed.is_some()
    }

    /// The error to return where a value-dependent function cannot be used.
    pub(crate) fn require_replayable(&self) -> Result<()> {
        self.observed.map_or(Ok(()), |at| Err(Error::value_dependent(at)))
    }

    /// For each input, whether an output depends on it.
    pub fn depends_on(&self) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        for &id in &self.outputs {
            needed[id as usize] = true;
        }
        for (id, node) in self.nodes.iter().enumerate().rev() {
            if needed[id] {
                node.args.iter().for_each(|&a| needed[a as usize] = true);
            }
        }
        self.inputs.iter().map(|&id| needed[id as usize]).collect()
    }

    /// Records the function on a tape, applied to `args`.
    ///
    /// # Errors
    /// Those of calls inside it.
    ///
    /// # Panics
    /// If the number or the shapes of the arguments are not those of the inputs.
    #[track_caller]
    pub fn inline<'t>(&self, tape: &'t Tape<T>, args: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        T::inline(self, tape, args)
    }

    #[track_caller]
    pub(crate) fn inline_of<'t>(
        &self,
        tape: &'t Tape<T>,
        args: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        assert_eq!(args.len(), self.inputs.len(), "inline: an argument for each input");
        self.inline_with(tape, args, |_, _| None)
    }

    /// [`inline`](Function::inline) with other values for some nodes: `instead` gets the place of each and what was
    /// recorded before it.
    #[track_caller]
    pub(crate) fn inline_with<'t>(
        &self,
        tape: &'t Tape<T>,
        args: &[Var<'t, T>],
        instead: impl Fn(usize, &[Var<'t, T>]) -> Option<Var<'t, T>>,
    ) -> Result<Vec<Var<'t, T>>> {
        let mut vars: Vec<Var<'t, T>> = Vec::with_capacity(self.nodes.len());
        let mut given = args.iter();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Some(var) = tape.blaming(node.loc, || instead(id, &vars)) {
                vars.push(var);
                continue;
            }
            let var = match (&node.op, &node.constant) {
                (Op::Input, _) => {
                    let arg = *given.next().expect("counted above");
                    assert!(
                        arg.shape() == node.shape,
                        "inline: an argument of shape {} for an input of shape {}",
                        arg.shape(),
                        node.shape
                    );
                    arg
                }
                (Op::Const, Some(value)) => {
                    tape.blaming(node.loc, || tape.leaf(value, node.shape.clone()))
                }
                (op, _) => {
                    let args: SmallVec<[Var<'t, T>; 4]> =
                        node.args.iter().map(|&a| vars[a as usize]).collect();
                    tape.blaming(node.loc, || tape.record(op.clone(), &args, node.shape.clone()))?
                }
            };
            vars.push(var);
        }
        Ok(self.outputs.iter().map(|&id| vars[id as usize]).collect())
    }

    /// A new function made from this one: `f` gets this function's inputs and outputs, recorded
    /// without values, and further inputs of the given shapes; it returns the new outputs.
    ///
    /// The new function's inputs are this one's, then the further ones.
    ///
    /// # Errors
    /// Those of `f`, or if this function is value-dependent.
    pub fn transform<F>(&self, further: &[Shape], f: F) -> Result<Function<T>>
    where
        F: for<'t> FnOnce(
            &'t Tape<T>,
            &[Var<'t, T>],
            &[Var<'t, T>],
            &[Var<'t, T>],
        ) -> Result<Vec<Var<'t, T>>>,
    {
        self.require_replayable()?;
        let tape = Tape::symbolic();
        let leaf = |shape: Shape| tape.untouched(shape);
        let mut inputs: Vec<_> = self.input_shapes().into_iter().map(leaf).collect();
        let further: Vec<_> = further.iter().cloned().map(leaf).collect();
        let outputs = self.inline(&tape, &inputs)?;
        let results = f(&tape, &inputs, &outputs, &further)?;
        inputs.extend_from_slice(&further);
        Ok(Function::cut(&tape, &inputs, &results))
    }

    /// The same function with another value for the node `id`: `value` gets what is recorded before it.
    pub(crate) fn with_value<F>(&self, id: usize, value: F) -> Result<Function<T>>
    where
        F: for<'t> Fn(&'t Tape<T>, &[Var<'t, T>]) -> Var<'t, T>,
    {
        let tape = Tape::symbolic();
        let shapes = self.input_shapes().into_iter();
        let inputs: Vec<_> = shapes.map(|shape| tape.untouched(shape)).collect();
        let instead = |node: usize, before: &[_]| (node == id).then(|| value(&tape, before));
        let outputs = self.inline_with(&tape, &inputs, instead)?;
        Ok(Function::cut(&tape, &inputs, &outputs))
    }

    /// The reverse-mode derivative: from the inputs, then a cotangent of each output, to the
    /// cotangents of the inputs numbered `wrt`.
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    pub fn vjp(&self, wrt: &[usize]) -> Result<Function<T>> {
        self.transform(&self.output_shapes(), |tape, inputs, outputs, cotangents| {
            let wrt: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
            tape.vjp(outputs, cotangents, &wrt)
        })
    }

    /// The forward-mode derivative: from the inputs, then a tangent of each input numbered `wrt`,
    /// to the outputs and then their tangents.
    ///
    /// # Errors
    /// If this function is value-dependent, or a call inside it fails to record its rule.
    pub fn jvp(&self, wrt: &[usize]) -> Result<Function<T>> {
        let shapes = self.input_shapes();
        let tangents: Vec<Shape> = wrt.iter().map(|&i| shapes[i].clone()).collect();
        self.transform(&tangents, |tape, inputs, outputs, tangents| {
            let wrt: Vec<_> = wrt.iter().map(|&i| inputs[i]).collect();
            let dots = tape.jvp(outputs, &wrt, tangents)?;
            Ok(outputs.iter().copied().chain(dots).collect())
        })
    }
}

impl<T: Real> Tape<T> {
    /// A leaf of a symbolic tape that is not a constant.
    #[track_caller]
    fn untouched(&self, shape: Shape) -> Var<'_, T> {
        let loc = std::panic::Location::caller();
        Var::new(self, self.graph().borrow_mut().push_leaf(Op::Input, &shape, &[], loc))
    }
}
