//! Cotangents of captured inputs that are sums over the rows of a batch, added as they are made.
//!
//! Those of weights and biases are `Xᵀ G` and the sums of the rows of `G`. The vjp gives the factors, and
//! one product for each adds to the sums of the step at hand. These are added to the cotangents when the
//! step is done, which is the only time that those are read and written.

use std::ops::Range;

use costate_ops::{Buffer, axpy, axpy_compensated, sum_outer, transpose};
use costate_tape::{Outputs, Part, Result, Shape};

use super::Cotangents;
use crate::Real;
use crate::vector_field::{VectorField, VjpPrograms};

/// Up to how many columns a matrix has its rows along the vectors.
const NARROW: usize = 4;

/// What an evaluation adds to the cotangents of a captured input.
#[derive(Clone, Debug, PartialEq)]
enum Term {
    Whole,
    /// `Xᵀ G`, or its transpose, and perhaps the sums of the rows of `G` to another input's.
    Outer {
        size: [usize; 3],
        transposed: bool,
        rows: Option<usize>,
    },
    /// The sums of rows.
    Rows([usize; 2]),
    /// It comes with another one.
    Done,
}

/// The same for all inputs that are wanted, and which outputs of a vjp the terms are made of.
#[derive(Debug)]
struct Plan {
    terms: Vec<Term>,
    outputs: Vec<[usize; 2]>,
}

impl Plan {
    fn new(parts: &[Part]) -> Plan {
        let mut terms = vec![Term::Whole; parts.len()];
        let mut outputs = vec![[0; 2]; parts.len()];
        for (i, part) in parts.iter().enumerate() {
            match *part {
                _ if terms[i] == Term::Done => {}
                Part::Whole(of) => outputs[i][0] = of,
                Part::Rows { size, of } => {
                    (terms[i], outputs[i][0]) = (Term::Rows(size), of);
                }
                Part::Outer { size: [rows, m, n], left, right } => {
                    let transposed = n <= NARROW && n < m;
                    // A bias that comes after has the same factor.
                    let bias = Part::Rows { size: [rows, n], of: right };
                    let bias = (i + 1..parts.len())
                        .find(|&j| !transposed && parts[j] == bias && terms[j] == Term::Whole);
                    bias.inspect(|&j| terms[j] = Term::Done);
                    let size = if transposed { [rows, n, m] } else { [rows, m, n] };
                    terms[i] = Term::Outer { size, transposed, rows: bias };
                    outputs[i] = if transposed { [right, left] } else { [left, right] };
                }
            }
        }
        Plan { terms, outputs }
    }
}

/// What is to be done with what a vjp without its sums gives.
#[derive(Debug)]
pub(crate) struct SumPlans {
    vjp: Plan,
    /// The same of the vjp that reads what evaluations kept.
    kept: Option<Plan>,
    /// Where the cotangents of each captured input that is wanted lie.
    to: Vec<Range<usize>>,
    /// Whether the time's cotangent is the output after the state's.
    time: bool,
}

impl<T: Real> VectorField<T> {
    /// The vjp and the same from what evaluations kept, without their sums over rows; `None` if there
    /// are none.
    pub fn vjp_without_sums(
        &self,
        time: bool,
        captured: &[usize],
    ) -> Result<Option<VjpPrograms<T>>> {
        let Some(vjp) = self.split_vjp(time, captured)? else { return Ok(None) };
        let backward = self.split_backward(time, captured)?;
        if backward.is_none() && self.places().is_some() {
            return Ok(None);
        }
        let (shapes, mut len) = (&self.function.input_shapes()[2..], 0);
        let to = captured.iter().map(|&i| {
            len += Shape::numel(&shapes[i]);
            len - shapes[i].numel()..len
        });
        let to = to.collect();
        let kept = backward.as_ref().map(|split| Plan::new(&split.parts));
        let plans = SumPlans { vjp: Plan::new(&vjp.parts), kept, to, time };
        // The evaluations of a step may be of either kind.
        if plans.kept.as_ref().is_some_and(|kept| kept.terms != plans.vjp.terms) {
            return Ok(None);
        }
        let (vjp, backward) = (vjp.program, backward.map(|split| split.program));
        Ok(Some(VjpPrograms { vjp, backward, sums: Some(plans) }))
    }
}

/// The sums of the step at hand.
#[derive(Debug, Default)]
pub(crate) struct SumMemory<T: Real> {
    sums: Buffer<T>,
    turned: Buffer<T>,
}

/// Sums at work.
pub(crate) struct Sums<'a, T: Real> {
    plans: &'a SumPlans,
    memory: &'a mut SumMemory<T>,
    /// Whether the step at hand has added something yet.
    begun: bool,
}

impl<'a, T: Real> Sums<'a, T> {
    pub fn new(plans: &'a SumPlans, memory: &'a mut SumMemory<T>) -> Sums<'a, T> {
        memory.sums.resize(plans.to.last().map_or(0, |range| range.end));
        Sums { plans, memory, begun: false }
    }

    /// Adds what an evaluation of the vjp found, perhaps from what another one kept. Returns the cotangent
    /// of the time.
    pub fn add(&mut self, kept: bool, found: &Outputs<'_, T>) -> f64 {
        let plan = match &self.plans.kept {
            Some(plan) if kept => plan,
            _ => &self.plans.vjp,
        };
        let (sums, begun) = (&mut self.memory.sums[..], self.begun);
        for ((term, &[a, b]), to) in plan.terms.iter().zip(&plan.outputs).zip(&self.plans.to) {
            match *term {
                Term::Whole if begun => axpy(T::one(), found.get(a), &mut sums[to.clone()]),
                Term::Whole => sums[to.clone()].copy_from_slice(found.get(a)),
                Term::Outer { size, rows, .. } => {
                    let (a, b) = (found.get(a), found.get(b));
                    let (c, rows) = match rows {
                        None => (&mut sums[to.clone()], &mut [][..]),
                        Some(rows) => {
                            let rows = &self.plans.to[rows];
                            let (c, after) = sums.split_at_mut(to.end);
                            (&mut c[to.start..], &mut after[rows.start - to.end..rows.end - to.end])
                        }
                    };
                    sum_outer(size, begun, a, b, c, rows);
                }
                Term::Rows([rows, n]) => {
                    sum_outer(
                        [rows, 0, n],
                        begun,
                        &[],
                        found.get(a),
                        &mut [],
                        &mut sums[to.clone()],
                    );
                }
                Term::Done => {}
            }
        }
        self.begun = true;
        if self.plans.time { found.get(1)[0].as_f64() } else { 0.0 }
    }

    /// Adds the sums of the step at hand to the cotangents.
    pub fn finish_step(&mut self, to: &mut Cotangents<'_, T>) {
        if !std::mem::take(&mut self.begun) {
            return;
        }
        let SumMemory { sums, turned } = &mut *self.memory;
        for (term, range) in self.plans.vjp.terms.iter().zip(&self.plans.to) {
            let Term::Outer { size: [_, n, m], transposed: true, .. } = *term else { continue };
            let sums = &mut sums[range.clone()];
            turned.resize(sums.len());
            match n {
                2 => turn::<T, 2>(sums, turned),
                3 => turn::<T, 3>(sums, turned),
                _ => transpose(sums, n, m, turned),
            }
            sums.copy_from_slice(turned);
        }
        // One by one, the steps would each leave their rounding.
        match to.rest.is_empty() {
            true => axpy(T::one(), sums, to.captured),
            false => axpy_compensated(T::one(), sums, to.captured, to.rest),
        }
    }
}

/// The transpose of a matrix of `N` rows.
fn turn<T: Real, const N: usize>(x: &[T], out: &mut [T]) {
    let m = x.len() / N;
    let rows: [&[T]; N] = std::array::from_fn(|i| &x[i * m..(i + 1) * m]);
    for (j, to) in out.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        *to = std::array::from_fn(|i| rows[i][j]);
    }
}
