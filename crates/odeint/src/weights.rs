//! The weights of an interpolant, of all slopes side by side.

use crate::tableau::Interpolant;

/// How many are computed together.
pub(crate) const WEIGHTS: usize = 8;

/// The weights `b_i(θ)` of an interpolant as polynomials, to the bits of
/// [`Interpolant::weight`](crate::Interpolant::weight), which takes one after another.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// The coefficients of each power of `θ`, from the highest down to 1, of [`WEIGHTS`] slopes after another.
    coefficients: Vec<[f64; WEIGHTS]>,
    degree: usize,
}

impl Weights {
    /// Those of an interpolant.
    pub fn new(interpolant: &Interpolant) -> Weights {
        let (rows, degree) = (interpolant.weights, interpolant.degree().max(1));
        let of = |row: &&[f64], power: usize| row.get(power).copied().unwrap_or(0.0);
        let mut coefficients = Vec::new();
        for rows in rows.chunks(WEIGHTS) {
            for power in (0..degree).rev() {
                let lane = |i: usize| rows.get(i).map_or(0.0, |row| of(row, power));
                coefficients.push(std::array::from_fn(lane));
            }
        }
        Weights { coefficients, degree }
    }

    /// The coefficients of slope `i`, from the highest power of `θ` down to 1.
    pub fn coefficients(&self, i: usize) -> impl Iterator<Item = f64> {
        let powers = &self.coefficients[i / WEIGHTS * self.degree..][..self.degree];
        powers.iter().map(move |power| power[i % WEIGHTS])
    }

    /// Those at `theta`, some at a time; there may be more of them than slopes, which are 0.
    #[inline(always)]
    pub fn at(&self, theta: f64) -> impl Iterator<Item = [f64; WEIGHTS]> {
        self.coefficients.chunks_exact(self.degree).map(move |powers| {
            let mut sum = [0.0; WEIGHTS];
            for coefficients in powers {
                for (sum, &c) in sum.iter_mut().zip(coefficients) {
                    *sum = (*sum + c) * theta;
                }
            }
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::Method;
    use crate::{Bosh3, Dop853, Dopri5, Kvaerno5, Tsit5, Verner7};

    #[test]
    fn they_are_those_of_the_interpolant() {
        let methods: [Method; 6] = [
            Tsit5.into(),
            Dopri5.into(),
            Bosh3.into(),
            Dop853.into(),
            Verner7.into(),
            Kvaerno5.into(),
        ];
        for method in methods {
            let interpolant = &method.tableau().interpolant;
            let weights = Weights::new(interpolant);
            for theta in [0.0, 0.3, 0.77, 1.0] {
                let found: Vec<f64> = weights.at(theta).flatten().collect();
                for (i, found) in found.iter().enumerate().take(interpolant.weights.len()) {
                    assert_eq!(*found, interpolant.weight(i, theta), "{method:?}, slope {i}");
                }
            }
        }
    }
}
