//! Steps of small states: the whole step in one function for each size, so that a state stays in
//! registers, and without the coefficients that are 0.

use costate_ops::Real;

use crate::error::FieldError;
use crate::field::Field;
use crate::tableau::Tableau;

/// The largest state that is small.
const LARGEST: usize = 4;

/// The coefficients of an explicit method that are not 0, row by row.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Where each row ends; the first one is empty.
    ends: Vec<usize>,
    /// Slope and coefficient.
    terms: Vec<(usize, f64)>,
}

impl Terms {
    /// Those of a method whose steps are explicit; `None` if states of `n` components are not small.
    pub fn new(tableau: &Tableau, n: usize) -> Option<Terms> {
        if n > LARGEST || tableau.coupled || !tableau.is_explicit() {
            return None;
        }
        let (mut ends, mut terms) = (Vec::new(), Vec::new());
        for row in tableau.a {
            terms.extend(row.iter().copied().enumerate().filter(|(_, c)| *c != 0.0));
            ends.push(terms.len());
        }
        Some(Terms { ends, terms })
    }

    /// [`rk_step`](crate::rk_step) of the method with these coefficients, to the same bits.
    #[expect(clippy::too_many_arguments, reason = "those of `rk_step`")]
    pub fn step<T: Real>(
        &self,
        tableau: &Tableau,
        f: &mut impl Field<T>,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
    ) -> Result<(), FieldError> {
        match y0.len() {
            1 => self.step_of::<T, 1>(tableau, f, t0, t1, y0, k, y1),
            2 => self.step_of::<T, 2>(tableau, f, t0, t1, y0, k, y1),
            3 => self.step_of::<T, 3>(tableau, f, t0, t1, y0, k, y1),
            4 => self.step_of::<T, 4>(tableau, f, t0, t1, y0, k, y1),
            n => unreachable!("a state of {n} components is not small"),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "those of `rk_step`")]
    fn step_of<T: Real, const D: usize>(
        &self,
        tableau: &Tableau,
        f: &mut impl Field<T>,
        t0: f64,
        t1: f64,
        y0: &[T],
        k: &mut [T],
        y1: &mut [T],
    ) -> Result<(), FieldError> {
        let h = t1 - t0;
        let k = k.as_chunks_mut::<D>().0;
        let mut start = [T::zero(); D];
        start.copy_from_slice(y0);
        let last = self.ends.len() - 1;
        for i in 1..=last {
            let mut sum = start;
            for &(j, c) in &self.terms[self.ends[i - 1]..self.ends[i]] {
                let (c, k) = (T::from_f64(h * c), &k[j]);
                for d in 0..D {
                    sum[d] += c * k[d];
                }
            }
            y1.copy_from_slice(&sum);
            if i == last && !tableau.error_needs_end() {
                break;
            }
            let time = if tableau.c[i] == 1.0 { t1 } else { t0 + tableau.c[i] * h };
            f.eval_part(time, y1, &mut k[i], tableau.part(i))?;
        }
        Ok(())
    }
}
