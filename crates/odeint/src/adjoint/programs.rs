//! The programs of a discrete adjoint pass.

use costate_tape::Outputs;

use super::{Backward, Cotangents, Reverse, Sums};
use crate::Real;
use crate::additive::Portion;
use crate::error::FieldError;
use crate::instrument::Pass;
use crate::stats::Stats;
use crate::vector_field::Replay;

/// The programs of a pass.
pub(crate) struct Programs<'a, T: Real> {
    pub vjp: Replay<'a, T>,
    /// Those of the stiff part and of the rest, if the field is in parts.
    pub parts: Option<[Replay<'a, T>; 2]>,
    /// The vjp that reads what an evaluation kept.
    pub kept: Option<Replay<'a, T>>,
    /// The sums that the two programs before leave out, if they leave out any.
    pub sums: Option<Sums<'a, T>>,
    /// The field's Jacobian, if the method needs it.
    pub jacobian: Option<Replay<'a, T>>,
    /// The vjp of its derivatives, if the method is a Rosenbrock method, and which of the outputs
    /// is the number that is differentiated.
    pub second: Option<(Replay<'a, T>, usize)>,
    /// Where the pass is written down, if it is.
    pub pass: Option<&'a mut Pass<T>>,
}

impl<'a, T: Real> Programs<'a, T> {
    /// What a pass over so many steps did.
    pub fn stats(&self, steps: usize) -> Stats {
        let jacobians = self.jacobian.as_ref().map_or(0, |j| j.evaluations);
        Stats {
            accepted: steps,
            vjp_evals: self.vjp.evaluations
                + self.kept.as_ref().map_or(0, |kept| kept.evaluations)
                + self.parts.iter().flatten().map(|part| part.evaluations).sum::<usize>(),
            jacobian_evals: jacobians,
            factorisations: jacobians,
            ..Stats::default()
        }
    }

    /// The vjp of a portion of the field; of the rest of a field without parts there is none.
    pub fn of(&mut self, portion: Portion) -> Option<&mut Replay<'a, T>> {
        match (portion, &mut self.parts) {
            (Portion::Stiff, Some([stiff, _])) => Some(stiff),
            (Portion::Rest, Some([_, rest])) => Some(rest),
            (Portion::Rest, None) => None,
            _ => Some(&mut self.vjp),
        }
    }

    /// The field's vjp at a state, where evaluating it may have kept something: passes the cotangent of
    /// the state to `read`, adds those of captured inputs to `to`, perhaps [with the
    /// others](Self::finish_step) of the step, and returns that of the time.
    pub fn vjp(
        &mut self,
        (t, y): (f64, &[T]),
        kept: Option<&[T]>,
        cotangent: &[T],
        to: &mut Cotangents<'_, T>,
        read: impl FnOnce(&[T]),
    ) -> costate_tape::Result<f64> {
        let Programs { vjp, kept: from_kept, sums, .. } = self;
        let kept = kept.zip(from_kept.as_mut());
        let is_kept = kept.is_some();
        let read = |found: Outputs<'_, T>| {
            read(found.get(0));
            match sums {
                Some(sums) => sums.add(is_kept, &found),
                None => to.add(T::one(), &found),
            }
        };
        match kept {
            Some((kept, program)) => program.run_kept(t, y, kept, cotangent, read),
            None => vjp.run(t, y, Some(cotangent), read),
        }
    }

    /// Adds the sums of a step to the cotangents.
    pub fn finish_step(&mut self, to: &mut Cotangents<'_, T>) {
        if let Some(sums) = &mut self.sums {
            sums.finish_step(to);
        }
    }
}

/// A [`Reverse`] but for the programs of the field.
pub(crate) trait ByPrograms<T: Real> {
    /// [`Reverse::start`].
    fn start(&mut self, from: &Backward<'_, T>);

    /// [`Reverse::steps`].
    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError>;

    /// [`Reverse::finish`].
    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        programs: &mut Programs<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError>;
}

/// A pass with its programs.
pub(crate) struct WithPrograms<'a, 'b, T: Real, P> {
    pub pass: &'a mut P,
    pub programs: &'a mut Programs<'b, T>,
}

impl<T: Real, P: ByPrograms<T>> Reverse<T> for WithPrograms<'_, '_, T, P> {
    fn start(&mut self, from: &Backward<'_, T>) {
        self.pass.start(from);
    }

    fn steps(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        self.pass.steps(from, self.programs, to)
    }

    fn finish(
        &mut self,
        from: &Backward<'_, T>,
        to: &mut Cotangents<'_, T>,
    ) -> Result<(), FieldError> {
        self.pass.finish(from, self.programs, to)
    }

    fn stats(&self, steps: usize) -> Stats {
        self.programs.stats(steps)
    }
}
