//! The solve of a field that is recorded already.

use std::sync::Arc;

use costate_tape::{Function, Result, Var};

use super::{Gradient, Ode};
use crate::Real;
use crate::additive::Portion;
use crate::instrument::Probe;
use crate::operation::{Passes, SolveOp};
use crate::vector_field::VectorField;

impl Ode {
    /// The solve of a recorded field, whose inputs are the time, the state and what it captures.
    #[track_caller]
    pub(crate) fn solve_recorded<'t, T: Real>(
        &self,
        field: Function<T>,
        captured: &[Var<'t, T>],
        y0: Var<'t, T>,
        fixed: Option<Arc<[f64]>>,
        times: Option<Var<'t, T>>,
        probe: Probe<T>,
    ) -> Result<Var<'t, T>> {
        let tape = y0.tape();
        self.check(y0.shape().numel())?;
        if self.gradient == Gradient::Unrolled {
            let parts = field.output_shapes().len() > 1;
            let at = |portion: Portion, t: Var<'t, T>, y: Var<'t, T>| {
                let inputs: Vec<_> = [t, y].iter().chain(captured).copied().collect();
                let all = field.inline(tape, &inputs)?;
                Ok(match portion {
                    Portion::Stiff if parts => all[1],
                    Portion::Rest if parts => all[2],
                    Portion::Rest => y.zeros_like(),
                    _ => all[0],
                })
            };
            return self.unrolled(tape, &at, None, y0, fixed, times, probe.grid.as_deref());
        }
        let op = SolveOp { probe, ..self.operation(field, fixed)? };
        let captured = captured.iter().copied();
        let inputs: Vec<_> = [y0].into_iter().chain(times).chain(captured).collect();
        Ok(tape.call(Arc::new(op), &inputs)?[0])
    }

    /// The operation of a solve at these times, or at those of its second input.
    pub(crate) fn operation<T: Real>(
        &self,
        field: Function<T>,
        times: Option<Arc<[f64]>>,
    ) -> Result<SolveOp<T>> {
        let tableau = self.method.tableau();
        let mut field = match field.output_shapes().len() {
            1 => VectorField::new(field)?,
            _ => VectorField::new(field.with_outputs(&[0]))?
                .with_parts(field.with_outputs(&[1]), field.with_outputs(&[2]))?,
        };
        field = field.for_method(self.method)?;
        if self.gradient == Gradient::Exact && !self.method.needs_jacobian() && !tableau.coupled {
            field = field.by_rows(self.method, times.is_none())?;
        }
        Ok(SolveOp {
            method: self.method,
            options: self.options,
            atol: self.atol.clone(),
            gradient: self.gradient,
            memory: self.memory,
            activations: self.activations,
            times,
            field: Arc::new(field),
            probe: Probe::default(),
            passes: Passes::default(),
        })
    }
}
