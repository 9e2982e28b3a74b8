//! The discrete adjoint of a solve of which less than all stages is kept: steps are taken again, to
//! the same bits, from the points that are kept, and each goes back at once.

use super::{Backward, Cotangents, Reverse};
use crate::Real;
use crate::checkpoints::Checkpoints;
use crate::error::FieldError;
use crate::field::Field;
use crate::grid::Grid;
use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::Options;
use crate::solve::position;
use crate::stats::Stats;
use crate::vector_field::Replay;

/// The memory of steps that are taken again.
#[derive(Debug)]
pub(crate) struct Retake<T: Real> {
    integrator: Option<Integrator<T>>,
    /// One step with its stages.
    window: Grid<T>,
}

impl<T: Real> Default for Retake<T> {
    fn default() -> Self {
        Retake { integrator: None, window: Grid::default() }
    }
}

/// What steps are taken again with.
pub(crate) struct Again<'a, T: Real> {
    pub options: Options,
    /// How many bytes of activations to keep.
    pub activations: usize,
    pub field: Replay<'a, T>,
    pub points: &'a mut Checkpoints<T>,
    pub y0: &'a [T],
}

impl<T: Real> Retake<T> {
    /// The pass. The grid of `whole` is that of all steps, without states.
    pub fn run(
        &mut self,
        pass: &mut dyn Reverse<T>,
        whole: &Backward<'_, T>,
        again: Again<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<Stats, FieldError> {
        let Again { options, activations, mut field, points, y0 } = again;
        let (start, end) = (whole.ts[0], whole.ts[whole.ts.len() - 1]);
        let integrator = match &mut self.integrator {
            Some(integrator) => {
                integrator.restart(y0, start, end)?;
                integrator
            }
            none => none.insert(Integrator::new(whole.method, y0, start, end, options)?),
        };
        integrator.keep(&field);
        integrator.stand_alone();
        let (window, steps) = (&mut self.window, &whole.grid.steps);
        window.start(y0, whole.grid.methods);
        window.kept.limit(activations);
        pass.start(whole);
        points.start_backward();
        let mut most = 0;
        for n in (1..=steps.len()).rev() {
            points.advance(integrator, &mut field, steps, n - 1)?;
            window.start(integrator.y(), whole.grid.methods);
            window.first = n - 1;
            retake(integrator, &mut field, whole, to.times.is_some(), window)?;
            most = most.max(window.bytes());
            pass.steps(&Backward { grid: window, ..*whole }, to)?;
        }
        pass.finish(&Backward { grid: window, ..*whole }, to)?;
        let taken = integrator.stats();
        let stats = pass.stats(steps.len());
        let is_explicit = matches!(whole.method, Method::Explicit(_));
        Ok(Stats {
            f_evals: taken.f_evals,
            jacobian_evals: stats.jacobian_evals + if is_explicit { 0 } else { taken.accepted },
            factorisations: stats.factorisations + taken.factorisations,
            bytes_kept: whole.grid.bytes() + points.bytes() + most,
            grid_bytes: whole.grid.step_bytes(),
            states_kept: points.peak(),
            retaken: taken.accepted,
            ..stats
        })
    }
}

/// Takes the step of a window, with all slopes that its way back needs.
fn retake<T: Real>(
    integrator: &mut Integrator<T>,
    field: &mut impl Field<T>,
    whole: &Backward<'_, T>,
    times: bool,
    window: &mut Grid<T>,
) -> Result<(), FieldError> {
    let n = window.first;
    let step = &whole.grid.steps[n];
    integrator.retake(field, step)?;
    let at_end = |i: usize| position(whole.ts[i], step.t0, step.h, step.t1) == 1.0;
    if step.saves.clone().any(|i| !at_end(i)) {
        integrator.dense_slopes(field)?;
    }
    // The step after it goes back through the evaluation at its end, and reads what that keeps.
    if n + 1 < whole.steps
        && !integrator.kept().is_empty()
        && whole.grid.method(step).tableau().uses_first()
    {
        integrator.end_slope(field)?;
    }
    // A time at the end of the step moves along the slope there.
    let is_multistep = matches!(whole.method, Method::Multistep(_));
    if times && !is_multistep && n + 1 < whole.steps && step.saves.clone().any(at_end) {
        integrator.end_slope(field)?;
    }
    window.push(&integrator.last_step(), step.saves.clone(), true);
    if let Some(differences) = integrator.differences() {
        window.push_differences(differences);
    }
    let has_end = integrator.has_end();
    window.kept.take(integrator.kept(), has_end);
    Ok(())
}
