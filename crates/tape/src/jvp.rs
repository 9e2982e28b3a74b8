//! The forward sweep: tangents from inputs to outputs, recorded on the same tape.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::Real;
use crate::call::CallRule;
use crate::graph::NodeId;
use crate::op::{self, Op, Result, Rule};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

impl<T: Real> Tape<T> {
    /// `ẏ = Σ (∂y/∂x) ẋ` for each output `y`, summed over the inputs `x` with tangents `ẋ`.
    ///
    /// The result is recorded on the tape and can be differentiated again. A `y` that depends on
    /// no input gets zeros.
    ///
    /// # Errors
    /// Those of calls, such as the tangent of an ODE solve.
    ///
    /// # Panics
    /// If a tangent does not have the shape of its input.
    #[track_caller]
    pub fn jvp<'t>(
        &'t self,
        outputs: &[Var<'t, T>],
        inputs: &[Var<'t, T>],
        tangents: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        T::jvp(self, outputs, inputs, tangents)
    }

    #[track_caller]
    pub(crate) fn jvp_of<'t>(
        &'t self,
        outputs: &[Var<'t, T>],
        inputs: &[Var<'t, T>],
        tangents: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        assert_eq!(inputs.len(), tangents.len(), "jvp: as many tangents as inputs");
        for (x, dot) in inputs.iter().zip(tangents) {
            assert!(
                x.shape() == dot.shape(),
                "jvp: a tangent of shape {} for an input of shape {}",
                dot.shape(),
                x.shape()
            );
        }
        let zeros = || outputs.iter().map(|y| y.zeros_like()).collect();
        let (Some(first), Some(last)) =
            (inputs.iter().map(|x| x.id()).min(), outputs.iter().map(|y| y.id()).max())
        else {
            return Ok(zeros());
        };
        if last < first {
            return Ok(zeros());
        }
        let active = self.active(inputs, first, last);
        let wanted = self.wanted(outputs, first, last);
        let mut dots: HashMap<NodeId, Var<'t, T>> = HashMap::new();
        for (x, &dot) in inputs.iter().zip(tangents) {
            dots.entry(x.id()).and_modify(|sum| *sum = *sum + dot).or_insert(dot);
        }
        let mut calls: HashMap<NodeId, Vec<Option<Var<'t, T>>>> = HashMap::new();
        for id in (first..=last).filter(|id| {
            let i = (id - first) as usize;
            active[i] && wanted[i]
        }) {
            if dots.contains_key(&id) {
                continue;
            }
            let visit = self.visit(id);
            let args: SmallVec<[Option<Var<'t, T>>; 4]> =
                visit.args.iter().map(|a| dots.get(&a.id()).copied()).collect();
            let needs: SmallVec<[bool; 4]> = args.iter().map(Option::is_some).collect();
            let dot = self.blaming(visit.loc, || match &visit.op {
                Op::Input | Op::Const | Op::Detach => Ok(None),
                Op::Project { output, .. } => {
                    Ok(calls.get(&visit.args[0].id()).and_then(|dots| dots[*output]))
                }
                Op::Call(call) => {
                    if !needs.contains(&true) {
                        return Ok(None);
                    }
                    let shapes: Vec<Shape> = visit.args.iter().map(|a| a.shape()).collect();
                    let outputs = self.project(visit.out, call.output_shapes(&shapes));
                    let rule = CallRule {
                        call: visit.out,
                        inputs: &visit.args,
                        outputs: &outputs,
                        needs: &needs,
                    };
                    let found = call.jvp(&rule, &args)?;
                    assert_eq!(
                        found.len(),
                        outputs.len(),
                        "{}: a tangent for each output",
                        call.name()
                    );
                    calls.insert(id, found);
                    Ok(None)
                }
                op if needs.contains(&true) => {
                    let rule = Rule { args: &visit.args, out: visit.out, needs: &needs };
                    Ok(op::jvp(op, &rule, &args))
                }
                _ => Ok(None),
            })?;
            if let Some(dot) = dot {
                dots.insert(id, dot);
            }
        }
        Ok(outputs
            .iter()
            .map(|y| dots.get(&y.id()).copied().unwrap_or_else(|| y.zeros_like()))
            .collect())
    }

    /// Whether `y` depends on `x` through a call.
    pub(crate) fn has_call_between(&self, x: Var<'_, T>, y: Var<'_, T>) -> bool {
        let (first, last) = (x.id(), y.id());
        if last < first {
            return false;
        }
        let (active, wanted) = (self.active(&[x], first, last), self.wanted(&[y], first, last));
        let graph = self.graph().borrow();
        (first..=last).any(|id| {
            let i = (id - first) as usize;
            active[i] && wanted[i] && matches!(graph.node(id).op, Op::Call(_))
        })
    }

    /// For each node from `first` to `last`: whether an output depends on it.
    fn wanted(&self, outputs: &[Var<'_, T>], first: NodeId, last: NodeId) -> Vec<bool> {
        let graph = self.graph().borrow();
        let mut wanted = vec![false; (last - first + 1) as usize];
        for y in outputs.iter().filter(|y| y.id() >= first) {
            wanted[(y.id() - first) as usize] = true;
        }
        for id in (first..=last).rev() {
            if wanted[(id - first) as usize] {
                for &arg in graph.node(id).args.iter().filter(|&&arg| arg >= first) {
                    wanted[(arg - first) as usize] = true;
                }
            }
        }
        wanted
    }
}
