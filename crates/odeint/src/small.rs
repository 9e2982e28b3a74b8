//! Steps of small states: the whole step in one function for each size, so that a state stays in
//! registers, and without the coefficients that are 0.

use std::ops::Range;

use crate::Real;
use crate::control;
use crate::error::FieldError;
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::options::{Options, Stepping};
use crate::tableau::{Part, Tableau};

/// The largest state that is small.
pub(crate) const LARGEST: usize = 4;

/// An explicit method by the coefficients that are not 0.
#[derive(Clone, Debug)]
pub(crate) struct Small {
    /// The stages after the first slope.
    stages: Vec<Row>,
    /// Slope and coefficient of all rows.
    terms: Vec<(usize, f64)>,
    /// The error estimates.
    errors: Vec<Range<usize>>,
    /// Whether the end slope is evaluated.
    with_end: bool,
}

/// One stage.
#[derive(Clone, Debug)]
struct Row {
    /// Where its terms are, without that of the slope just before it.
    terms: Range<usize>,
    /// The coefficient of that slope, which is still in registers, or 0.
    latest: f64,
    /// Its time within a step of size 1.
    time: f64,
    part: Part,
}

impl Small {
    /// That of a method whose steps are explicit; `None` if states of `n` components are not small.
    pub fn new(tableau: &Tableau, n: usize) -> Option<Small> {
        if n > LARGEST || tableau.coupled || !tableau.is_explicit() {
            return None;
        }
        let mut terms = Vec::new();
        let mut push = |row: &mut dyn Iterator<Item = f64>| {
            let start = terms.len();
            terms.extend(row.enumerate().filter(|(_, c)| *c != 0.0));
            start..terms.len()
        };
        let mut stages: Vec<Row> = Vec::new();
        for i in 1..tableau.rows() {
            // The terms of the row before come first, where its sum goes on.
            let start = match tableau.starts_before(i) {
                true => push(&mut tableau.row(i - 1).iter().copied()).start,
                false => usize::MAX,
            };
            let own = push(&mut tableau.increments(i).take(i - 1));
            stages.push(Row {
                terms: start.min(own.start)..own.end,
                latest: tableau.increments(i).last().unwrap_or(0.0),
                time: tableau.c[i],
                part: tableau.part(i),
            });
        }
        let low = tableau.error_low.map(|(_, weights)| weights);
        let errors = tableau.error.into_iter().chain(low);
        let errors = errors.map(|row| push(&mut row.iter().copied())).collect();
        Some(Small { stages, terms, errors, with_end: tableau.error_needs_end() })
    }

    /// The times of the slopes after the first one within a step of size 1.
    pub fn times(&self) -> Vec<f64> {
        let evaluated = self.stages.len() - usize::from(!self.with_end);
        self.stages[..evaluated].iter().map(|row| row.time).collect()
    }

    /// How many of the [rows](Self::rows) are stages.
    pub fn stages(&self) -> usize {
        self.stages.len()
    }

    /// Slope and coefficient of the terms of each stage after the first one, and of each error
    /// estimate.
    pub fn rows(&self) -> Vec<Vec<(usize, f64)>> {
        let stages = self.stages.iter().enumerate().map(|(i, row)| {
            let latest = (row.latest != 0.0).then_some((i, row.latest));
            self.terms[row.terms.clone()].iter().copied().chain(latest).collect()
        });
        let errors = self.errors.iter().map(|terms| self.terms[terms.clone()].to_vec());
        stages.chain(errors).collect()
    }

    /// [`rk_step`](crate::rk_step) of the method with these coefficients, to the same bits, from
    /// `y0` at `t1` to `next`. Returns the square of the error measure if steps are adaptive.
    pub fn step<T: Real>(
        &self,
        frame: &mut Frame<T>,
        f: &mut (impl Field<T> + ?Sized),
        next: f64,
    ) -> Result<Option<f64>, FieldError> {
        match frame.y0.len() {
            1 => self.step_of::<T, 1>(frame, f, next),
            2 => self.step_of::<T, 2>(frame, f, next),
            3 => self.step_of::<T, 3>(frame, f, next),
            4 => self.step_of::<T, 4>(frame, f, next),
            n => unreachable!("a state of {n} components is not small"),
        }
    }

    fn step_of<T: Real, const D: usize>(
        &self,
        frame: &mut Frame<T>,
        f: &mut (impl Field<T> + ?Sized),
        next: f64,
    ) -> Result<Option<f64>, FieldError> {
        let (t0, h) = (frame.t1, next - frame.t1);
        let Frame { options, atol, y0, y1, k, stats, .. } = &mut *frame;
        let measure = Measure { options, atol };
        let y1 = y1.first_chunk_mut::<D>().expect("a state of that many components");
        if let Some((evaluations, square)) =
            self.at_once::<T, D>(&measure, f, [t0, next], first(y0), k, y1)
        {
            stats.f_evals += evaluations;
            return Ok(square);
        }
        let mut errors = [[T::zero(); D]; 2];
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let k = frame.k.as_chunks_mut::<D>().0;
        let (y0, mut slope) = (*first::<T, D>(&frame.y0), k[0]);
        let mut y1 = y0;
        for (i, row) in self.stages.iter().enumerate() {
            y1 = self.sum(&row.terms, y0, h, k);
            if row.latest != 0.0 {
                let c = T::from_f64(h * row.latest);
                for d in 0..D {
                    y1[d] += c * slope[d];
                }
            }
            if i + 1 == self.stages.len() && !self.with_end {
                break;
            }
            let time = if row.time == 1.0 { next } else { t0 + row.time * h };
            let mut dy = [T::zero(); D];
            f.eval_part(time, &y1, &mut dy, row.part)?;
            slope = dy;
            #[expect(clippy::manual_memcpy, reason = "a block copy takes the slope from registers")]
            for d in 0..D {
                k[i + 1][d] = slope[d];
            }
        }
        frame.y1.copy_from_slice(&y1);
        for (e, terms) in errors.iter_mut().zip(&self.errors) {
            *e = self.sum(terms, [T::zero(); D], h, k);
        }
        let measure = Measure { options: &frame.options, atol: &frame.atol };
        Ok(measure.square(&errors[..self.errors.len()], first(&frame.y0), first(&frame.y1)))
    }

    /// [`step`](Self::step) from the first to the second of the times, if the field takes it at once.
    /// Returns how often the field was evaluated, and the square.
    #[inline(always)]
    pub fn at_once<T: Real, const D: usize>(
        &self,
        measure: &Measure<'_>,
        f: &mut (impl Field<T> + ?Sized),
        times: [f64; 2],
        y0: &[T; D],
        k: &mut [T],
        y1: &mut [T; D],
    ) -> Option<(usize, Option<f64>)> {
        let mut errors = [[T::zero(); D]; 2];
        let Measure { options, atol } = *measure;
        let adaptive = options.stepping == Stepping::Adaptive;
        let alike = adaptive && atol.is_empty();
        let tolerances = alike.then_some([options.atol, options.rtol]);
        let step = f.explicit_step(times, y0, k, y1, tolerances, errors.as_flattened_mut())?;
        let of = || measure.square(&errors[..self.errors.len()], y0, y1);
        Some((step.evaluations, step.square.or_else(of)))
    }

    /// `y` and some terms, times `h`.
    #[inline(always)]
    fn sum<T: Real, const D: usize>(
        &self,
        terms: &Range<usize>,
        mut y: [T; D],
        h: f64,
        k: &[[T; D]],
    ) -> [T; D] {
        for &(j, c) in &self.terms[terms.clone()] {
            let (c, k) = (T::from_f64(h * c), &k[j]);
            for d in 0..D {
                y[d] += c * k[d];
            }
        }
        y
    }
}

/// What errors are measured by.
#[derive(Clone, Copy)]
pub(crate) struct Measure<'a> {
    pub options: &'a Options,
    /// Absolute tolerances of each component, if they differ.
    pub atol: &'a [f64],
}

impl Measure<'_> {
    /// The square of the error measure of a step with these error estimates, if steps are adaptive.
    #[inline(always)]
    fn square<T: Real, const D: usize>(
        &self,
        errors: &[[T; D]],
        y0: &[T; D],
        y1: &[T; D],
    ) -> Option<f64> {
        if self.options.stepping != Stepping::Adaptive {
            return None;
        }
        let square = |e: &[T; D]| control::mean_square(e, y0, y1, self.options, self.atol);
        match errors {
            [] => None,
            [error] => Some(square(error)),
            [error, low, ..] => Some(control::mixed(square(error), square(low))),
        }
    }
}

/// The entries of a slice of known length.
#[inline(always)]
pub(crate) fn first<T, const D: usize>(x: &[T]) -> &[T; D] {
    x.first_chunk().expect("a state of that many components")
}
