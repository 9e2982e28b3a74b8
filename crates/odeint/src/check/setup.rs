//! What all checks share: a solve on a tape, random numbers, comparisons.

use costate_tape::{Result, Tape, Var};
use ndarray::ArrayD;

use super::{CheckError, Property, Violation};
use crate::Real;
use crate::grid::StepEnd;
use crate::instrument::{Probe, Recorded, frozen, rounding};
use crate::method::Method;
use crate::ode::Ode;
use crate::unroll::Frozen;
use crate::var_event::VarEvent;

/// What makes the events of a solve.
pub(super) type EventsRef<'e, T> =
    dyn for<'a, 't> Fn(&'a [Var<'t, T>]) -> Vec<VarEvent<'a, 't, T>> + 'e;

/// A property of a solve to check.
pub(super) struct Setup<'a, T: Real, F> {
    pub ode: Ode,
    pub field: &'a F,
    pub events: Option<&'a EventsRef<'a, T>>,
    /// The initial state, and what the field makes use of.
    pub inputs: &'a [ArrayD<T>],
    pub ts: &'a [f64],
    pub seed: u64,
    pub property: Property,
}

/// Numbers in (-1, 1) that look random (splitmix64).
pub(super) struct Numbers(u64);

impl Numbers {
    pub fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    /// A leaf like `x` with random entries.
    pub fn like<'t, T: Real>(&mut self, x: Var<'t, T>) -> Var<'t, T> {
        let shape = x.shape();
        let entries: Vec<T> = (0..shape.numel()).map(|_| T::from_f64(self.next())).collect();
        x.tape().leaf(&entries, shape)
    }
}

impl<T, F> Setup<'_, T, F>
where
    T: Real,
    F: for<'t> Fn(&[Var<'t, T>], Var<'t, T>, Var<'t, T>) -> Result<Var<'t, T>>,
{
    pub fn numbers(&self) -> Numbers {
        Numbers(self.seed)
    }

    /// The inputs on a tape.
    pub fn leaves<'t>(&self, tape: &'t Tape<T>) -> Vec<Var<'t, T>> {
        self.inputs.iter().map(|x| tape.constant(x)).collect()
    }

    /// Whether the property holds, and what is to blame if not.
    pub fn check(&self) -> Checked {
        let result = match self.property {
            Property::Invariant => self.invariant(),
            Property::Differences if self.events.is_some() => self.differences_with_events(),
            Property::Differences => self.differences(),
            Property::BackPropagation => self.back_propagation(),
            Property::Linearity => self.linearity(),
            Property::ZeroSeed => self.zero_seed(),
            Property::Symmetry => self.symmetry(),
            Property::Split => self.split(),
            Property::EndTimes => self.end_times(),
            Property::Batch => self.batch(),
            Property::Permutation => self.permutation(),
            Property::Memory => self.memory(),
            Property::Again => self.again(),
        };
        result.map_err(|e| match e.downcast::<Violation>() {
            Ok(mut violation) => {
                violation.field = self.blame();
                violation
            }
            Err(e) => e,
        })
    }

    /// The states of a solve, or, in one axis, all that one with events finds.
    pub fn solve<'t>(&self, ode: &Ode, x: &[Var<'t, T>]) -> Result<Var<'t, T>> {
        if let Some(events) = self.events {
            let times = x[0].tape().leaf(&self.times(), [self.ts.len()]);
            return self.solve_events(ode, events, x, times);
        }
        ode.try_solve(|t, y| (self.field)(&x[1..], t, y), x[0], self.ts)
    }

    /// A solve by steps with given ends, and through times that may be variables.
    pub fn solve_on<'t>(
        &self,
        x: &[Var<'t, T>],
        ts: &[f64],
        times: Option<Var<'t, T>>,
        grid: &[StepEnd],
    ) -> Result<Var<'t, T>> {
        let field = Recorded::new(|t, y| (self.field)(&x[1..], t, y), x[0], ts)?;
        let fixed = times.is_none().then(|| ts.into());
        let probe = Probe::on(grid);
        T::solve_recorded(&self.ode, field.function, &field.captured, x[0], fixed, times, probe)
    }

    /// The times as entries of an array.
    pub fn times(&self) -> Vec<T> {
        self.ts.iter().map(|&t| T::from_f64(t)).collect()
    }

    /// Whether steps follow from those before them, not from their start alone.
    pub fn is_multistep(&self) -> bool {
        matches!(self.ode.method(), Method::Multistep(_))
    }

    /// The steps of the solve.
    pub fn grid(&self) -> Result<Frozen<T>> {
        let tape = Tape::new();
        let ys = self.solve(&self.ode, &self.leaves(&tape))?;
        Ok(frozen(ys).expect("the state of a solve"))
    }

    /// What rounding may do to a gradient, relative to its size. States differ by rounding where
    /// they are computed in another way, and solutions may run apart.
    pub fn rounding(&self) -> f64 {
        100.0 * rounding::<T>(self.ode.method())
    }

    pub fn violation(&self, at: String, found: f64, expected: f64, allowed: f64) -> CheckError {
        let property = self.property;
        Box::new(Violation { property, at, found, expected, allowed, field: None })
    }

    /// Whether two arrays agree up to `relative` of the largest entry of either.
    pub fn close(&self, what: &str, found: &[T], expected: &[T], relative: f64) -> Checked {
        let entries = found.iter().chain(expected).map(|x| x.as_f64().abs());
        let allowed = relative * entries.fold(0.0, f64::max);
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            let (a, b) = (a.as_f64(), b.as_f64());
            // Written so that NaN differs.
            let close = (a - b).abs() <= allowed;
            if !close {
                return Err(self.violation(format!("{what}, entry {i}"), a, b, allowed));
            }
        }
        Ok(())
    }

    /// [`close`](Self::close) for gradients with respect to the inputs.
    pub fn all_close(
        &self,
        what: &str,
        found: &[Var<'_, T>],
        expected: &[Var<'_, T>],
        relative: f64,
    ) -> Checked {
        for (i, (a, b)) in found.iter().zip(expected).enumerate() {
            self.close(&format!("{what}, input {i}"), &a.to_vec(), &b.to_vec(), relative)?;
        }
        Ok(())
    }

    /// Whether a number is another.
    pub fn is(&self, at: &str, found: f64, expected: f64, allowed: f64) -> Checked {
        let close = (found - expected).abs() <= allowed;
        if close { Ok(()) } else { Err(self.violation(at.to_owned(), found, expected, allowed)) }
    }

    /// What is wrong with the derivatives of the field by itself, at the start.
    pub fn blame(&self) -> Option<String> {
        let start = ArrayD::from_elem(vec![], T::from_f64(self.ts[0]));
        let inputs: Vec<_> = [start].iter().chain(self.inputs).cloned().collect();
        costate_tape::check::gradient(|_, x| (self.field)(&x[2..], x[0], x[1]), &inputs)
            .err()
            .map(|e| e.to_string())
    }
}

/// What a check finds.
pub(super) type Checked = std::result::Result<(), CheckError>;
