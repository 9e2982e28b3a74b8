//! Steps of small states: the whole step in one function for each size, so that a state stays in
//! registers, and without the coefficients that are 0.

use std::ops::Range;

use costate_ops::Real;

use crate::control;
use crate::error::FieldError;
use crate::field::{Counted, Field};
use crate::integrator::Frame;
use crate::options::{Options, Stepping};
use crate::tableau::{Part, Tableau};

/// The largest state that is small.
const LARGEST: usize = 4;

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
        let mut push = |row: &[f64]| {
            let start = terms.len();
            terms.extend(row.iter().copied().enumerate().filter(|(_, c)| *c != 0.0));
            start..terms.len()
        };
        let stages = (1..tableau.rows())
            .map(|i| Row {
                terms: push(&tableau.a[i][..i - 1]),
                latest: tableau.a[i][i - 1],
                time: tableau.c[i],
                part: tableau.part(i),
            })
            .collect();
        let low = tableau.error_low.map(|(_, weights)| weights);
        let errors = tableau.error.into_iter().chain(low).map(&mut push).collect();
        Some(Small { stages, terms, errors, with_end: tableau.error_needs_end() })
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
        let mut f = Counted { field: f, stats: &mut frame.stats };
        let (t0, h) = (frame.t1, next - frame.t1);
        let k = frame.k.as_chunks_mut::<D>().0;
        let y0: [T; D] = std::array::from_fn(|d| frame.y0[d]);
        let mut y1 = y0;
        let mut slope: [T; D] = std::array::from_fn(|d| k[0][d]);
        for (i, row) in self.stages.iter().enumerate() {
            let y = self.sum(&row.terms, y0, h, k);
            y1 = if row.latest == 0.0 {
                y
            } else {
                let c = T::from_f64(h * row.latest);
                std::array::from_fn(|d| y[d] + c * slope[d])
            };
            if i + 1 == self.stages.len() && !self.with_end {
                break;
            }
            let time = if row.time == 1.0 { next } else { t0 + row.time * h };
            let mut dy = [T::zero(); D];
            f.eval_part(time, &y1, &mut dy, row.part)?;
            slope = std::array::from_fn(|d| dy[d]);
            #[expect(clippy::manual_memcpy, reason = "a block copy takes the slope from registers")]
            for d in 0..D {
                k[i + 1][d] = slope[d];
            }
        }
        frame.y1.copy_from_slice(&y1);
        if frame.options.stepping != Stepping::Adaptive {
            return Ok(None);
        }
        Ok(self.square(h, k, &y0, &y1, &frame.options, &frame.atol))
    }

    /// The square of the error measure of a step.
    fn square<T: Real, const D: usize>(
        &self,
        h: f64,
        k: &[[T; D]],
        y0: &[T; D],
        y1: &[T; D],
        options: &Options,
        atol: &[f64],
    ) -> Option<f64> {
        let square = |terms: &Range<usize>| {
            let e = self.sum(terms, [T::zero(); D], h, k);
            control::mean_square(&e, y0, y1, options, atol)
        };
        match &self.errors[..] {
            [] => None,
            [error] => Some(square(error)),
            [error, low, ..] => Some(control::mixed(square(error), square(low))),
        }
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
