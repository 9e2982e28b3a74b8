//! The reverse sweep: cotangents from outputs to inputs, recorded on the same tape.

use std::collections::HashMap;

use smallvec::SmallVec;

use crate::Real;
use crate::call::CallRule;
use crate::graph::NodeId;
use crate::op::{self, Cotangents, Op, Result, Rule, add_options};
use crate::shape::Shape;
use crate::tape::Tape;
use crate::var::Var;

/// A node as a sweep needs it, copied out so that no borrow is held while a rule records.
pub(crate) struct Visit<'t, T: Real> {
    pub op: Op<T>,
    pub args: SmallVec<[Var<'t, T>; 4]>,
    pub out: Var<'t, T>,
    pub loc: crate::graph::Loc,
}

impl<T: Real> Tape<T> {
    pub(crate) fn visit(&self, id: NodeId) -> Visit<'_, T> {
        let graph = self.graph().borrow();
        let node = graph.node(id);
        Visit {
            op: node.op.clone(),
            args: node.args.iter().map(|&a| Var::new(self, a)).collect(),
            out: Var::new(self, id),
            loc: node.loc,
        }
    }

    /// For each node from the first of `wrt` to `last`: whether it depends on `wrt`.
    pub(crate) fn active(&self, wrt: &[Var<'_, T>], first: NodeId, last: NodeId) -> Vec<bool> {
        let graph = self.graph().borrow();
        let mut active = vec![false; (last - first + 1) as usize];
        for x in wrt.iter().filter(|x| x.id() <= last) {
            active[(x.id() - first) as usize] = true;
        }
        for id in first..=last {
            let node = graph.node(id);
            let depends = node.args.iter().any(|&a| a >= first && active[(a - first) as usize]);
            active[(id - first) as usize] |= depends && !matches!(node.op, Op::Detach);
        }
        active
    }

    /// `x̄ = Σ (∂y/∂x)ᵀ ȳ` for each `x` of `wrt`, summed over the outputs `y` with cotangents `ȳ`.
    ///
    /// The result is recorded on the tape and can be differentiated again. An `x` on which no
    /// output depends gets zeros.
    ///
    /// # Errors
    /// Those of calls in the backward pass, such as the backward pass of an ODE solve.
    ///
    /// # Panics
    /// If a cotangent does not have the shape of its output.
    #[track_caller]
    pub fn vjp<'t>(
        &'t self,
        outputs: &[Var<'t, T>],
        cotangents: &[Var<'t, T>],
        wrt: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        T::vjp(self, outputs, cotangents, wrt)
    }

    #[track_caller]
    pub(crate) fn vjp_of<'t>(
        &'t self,
        outputs: &[Var<'t, T>],
        cotangents: &[Var<'t, T>],
        wrt: &[Var<'t, T>],
    ) -> Result<Vec<Var<'t, T>>> {
        assert_eq!(outputs.len(), cotangents.len(), "vjp: as many cotangents as outputs");
        for (y, g) in outputs.iter().zip(cotangents) {
            assert!(
                y.shape() == g.shape(),
                "vjp: a cotangent of shape {} for an output of shape {}",
                g.shape(),
                y.shape()
            );
        }
        let (Some(first), Some(last)) =
            (wrt.iter().map(|x| x.id()).min(), outputs.iter().map(|y| y.id()).max())
        else {
            return Ok(wrt.iter().map(|x| x.zeros_like()).collect());
        };
        if last < first {
            return Ok(wrt.iter().map(|x| x.zeros_like()).collect());
        }
        let active = self.active(wrt, first, last);
        let mut sweep =
            Sweep { first, pending: vec![SmallVec::new(); active.len()], calls: HashMap::new() };
        for (&y, &g) in outputs.iter().zip(cotangents) {
            sweep.add(y, g);
        }
        let mut found = vec![None; wrt.len()];
        for id in (first..=last).rev().filter(|id| active[(id - first) as usize]) {
            let Some(g) = sweep.take(id) else {
                if let Some(cts) = sweep.calls.remove(&id) {
                    self.vjp_call(id, &cts, &active, &mut sweep)?;
                }
                continue;
            };
            for (found, _) in found.iter_mut().zip(wrt).filter(|(_, x)| x.id() == id) {
                *found = Some(g);
            }
            let visit = self.visit(id);
            self.blaming(visit.loc, || sweep.backward(&visit, g, &active));
        }
        Ok(wrt.iter().zip(found).map(|(x, g)| g.unwrap_or_else(|| x.zeros_like())).collect())
    }

    fn vjp_call<'t>(
        &'t self,
        id: NodeId,
        cts: &[Option<Var<'t, T>>],
        active: &[bool],
        sweep: &mut Sweep<'t, T>,
    ) -> Result<()> {
        let visit = self.visit(id);
        let Op::Call(call) = &visit.op else { unreachable!("only calls have several outputs") };
        let shapes: Vec<Shape> = visit.args.iter().map(|a| a.shape()).collect();
        let needs = sweep.needs(&visit.args, active);
        self.blaming(visit.loc, || {
            let outputs = self.project(visit.out, call.output_shapes(&shapes));
            let rule =
                CallRule { call: visit.out, inputs: &visit.args, outputs: &outputs, needs: &needs };
            // Those of the last outputs may be missing.
            let mut cts = cts.to_vec();
            cts.resize(outputs.len(), None);
            let bars = call.vjp(&rule, &cts)?;
            assert_eq!(bars.len(), visit.args.len(), "{}: a cotangent for each input", call.name());
            for ((&arg, bar), need) in visit.args.iter().zip(bars).zip(&needs) {
                if let (Some(bar), true) = (bar, need) {
                    sweep.add(arg, bar);
                }
            }
            Ok(())
        })
    }
}

struct Sweep<'t, T: Real> {
    first: NodeId,
    /// The cotangents that have arrived at each node, not yet summed.
    pending: Vec<SmallVec<[Var<'t, T>; 2]>>,
    /// Those of the outputs of calls.
    calls: HashMap<NodeId, Vec<Option<Var<'t, T>>>>,
}

impl<'t, T: Real> Sweep<'t, T> {
    fn add(&mut self, x: Var<'t, T>, g: Var<'t, T>) {
        if let Some(i) = x.id().checked_sub(self.first) {
            self.pending[i as usize].push(g);
        }
    }

    /// The sum of the cotangents that have arrived, in one pass.
    fn take(&mut self, id: NodeId) -> Option<Var<'t, T>> {
        let all = std::mem::take(&mut self.pending[(id - self.first) as usize]);
        match all.as_slice() {
            [a, b] => Some(*a + *b),
            all => Var::lincomb(&vec![T::one(); all.len()], all),
        }
    }

    fn needs(&self, args: &[Var<'t, T>], active: &[bool]) -> SmallVec<[bool; 4]> {
        args.iter()
            .map(|a| a.id() >= self.first && active[(a.id() - self.first) as usize])
            .collect()
    }

    fn backward(&mut self, visit: &Visit<'t, T>, g: Var<'t, T>, active: &[bool]) {
        match &visit.op {
            Op::Input | Op::Const | Op::Detach => {}
            Op::Project { output, .. } => {
                let call = visit.args[0].id();
                let slots = self.calls.entry(call).or_default();
                if slots.len() <= *output {
                    slots.resize(output + 1, None);
                }
                slots[*output] = add_options(slots[*output], Some(g));
            }
            op => {
                let needs = self.needs(&visit.args, active);
                let rule = Rule { args: &visit.args, out: visit.out, needs: &needs };
                let bars: Cotangents<'t, T> = op::vjp(op, &rule, g);
                for ((&arg, bar), need) in visit.args.iter().zip(bars).zip(needs) {
                    if let (Some(bar), true) = (bar, need) {
                        self.add(arg, bar);
                    }
                }
            }
        }
    }
}

impl<'t, T: Real> Var<'t, T> {
    /// The gradient of a number with respect to each of `wrt`, recorded on the tape.
    ///
    /// # Errors
    /// Those of calls in the backward pass, such as the backward pass of an ODE solve.
    ///
    /// # Panics
    /// If this has more than one entry.
    #[track_caller]
    pub fn grad(self, wrt: &[Var<'t, T>]) -> Result<Vec<Var<'t, T>>> {
        let shape = self.shape();
        assert!(
            shape.numel() == 1,
            "grad: shape {shape} has {} entries; sum them, or give cotangents to `vjp`",
            shape.numel()
        );
        self.tape().vjp(&[self], &[self.ones_like()], wrt)
    }
}
