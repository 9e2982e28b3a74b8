//! The backward differences of a multistep method, and what each part of a step makes of them.
//!
//! A step of size `h` and order `k` takes the table `D_0, D_1, …` of the differences of the last
//! states to the next one in three parts, each linear in the table and in the correction `δ`:
//!
//! ```text
//! D_j ← Σ_m W_jm(h / h_before) D_m               other distances, if the size is another one
//! y = Σ_{j≤k} D_j + δ,   M (Σ_{1≤j≤k} γ_j D_j + α_k δ) = h f(t, y)
//! D_{k+1} ← δ,   D_j ← D_j + D_{j+1} for j = k, …, 0
//! ```
//!
//! So the table has a tangent and a cotangent, and both go through a step by the same coefficients:
//! here are these, and the table of a solve or of its tangents.

use costate_ops::Buffer;

use crate::Real;

/// The highest order.
pub(crate) const HIGHEST: usize = 5;
/// How many differences a step may start from.
pub(crate) const ROWS: usize = HIGHEST + 1;
/// The numbers by which the formulas differ from backward differentiation formulas.
pub(crate) const KAPPA: [f64; ROWS] = [0.0, -0.185, -1.0 / 9.0, -0.0823, -0.0415, 0.0];

/// `γ_k`.
pub(crate) fn gamma(k: usize) -> f64 {
    (1..=k).map(|j| 1.0 / j as f64).sum()
}

/// `α_k`.
pub(crate) fn alpha(k: usize) -> f64 {
    (1.0 - KAPPA[k]) * gamma(k)
}

/// How a step follows from the table before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Orders {
    /// That of its formula.
    pub order: usize,
    /// That of the polynomial whose differences are taken at other distances. It is higher where the
    /// order was lowered because a try failed.
    pub basis: usize,
}

impl Default for Orders {
    fn default() -> Self {
        Orders { order: 1, basis: 1 }
    }
}

/// By which factor the distances change for a step of size `h` that ends at `t`, after one of size
/// `before`. What is left when times are rounded is no other size.
pub(crate) fn factor(h: f64, before: f64, t: f64) -> Option<f64> {
    let same = (h - before).abs() <= 1e-12 * before.abs() + 2.0 * f64::EPSILON * t.abs();
    (!same).then(|| h / before)
}

/// `W`: the differences of the polynomial through values at unit distances, at distances `factor`,
/// from those at unit distances. Row and column 0 are those of the unit matrix.
pub(crate) fn rescaling(basis: usize, factor: f64) -> [[f64; ROWS]; ROWS] {
    // Value `i` of polynomial `m` is at the new distance `i` before the end.
    let term = |l: usize, i: usize| (l as f64 - i as f64 * factor) / (l + 1) as f64;
    differences(basis, |i, m| (0..m).map(|l| term(l, i)).product::<f64>())
}

/// `dW/dfactor`.
pub(crate) fn rescaling_rate(basis: usize, factor: f64) -> [[f64; ROWS]; ROWS] {
    let term = |l: usize, i: usize| (l as f64 - i as f64 * factor) / (l + 1) as f64;
    let rate = |l: usize, i: usize| -(i as f64) / (l + 1) as f64;
    let mut rates = differences(basis, |i, m| {
        let others = |n| (0..m).filter(|&l| l != n).map(|l| term(l, i)).product::<f64>();
        (0..m).map(|n| rate(n, i) * others(n)).sum()
    });
    rates[0][0] = 0.0;
    rates
}

/// The differences of values `i = 0, 1, …` of polynomials `m`.
fn differences(basis: usize, value: impl Fn(usize, usize) -> f64) -> [[f64; ROWS]; ROWS] {
    let mut weights = [[0.0; ROWS]; ROWS];
    weights[0][0] = 1.0;
    for (j, weights) in weights.iter_mut().enumerate().take(basis + 1).skip(1) {
        let mut binomial = 1.0;
        for i in 0..=j {
            for (m, weight) in weights.iter_mut().enumerate().take(basis + 1).skip(j) {
                *weight += binomial * value(i, m);
            }
            binomial *= -((j - i) as f64) / (i + 1) as f64;
        }
    }
    weights
}

/// A table of differences, of a solve or of its tangents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Differences<T: Real> {
    n: usize,
    /// `D_0` to `D_7` after the last step.
    rows: Buffer<T>,
    /// Those that the step at hand starts from.
    start: Buffer<T>,
}

impl<T: Real> Differences<T> {
    pub fn new(n: usize) -> Differences<T> {
        let mut differences = Differences::default();
        differences.resize(n);
        differences
    }

    /// For states of `n` components; all zeros.
    pub fn resize(&mut self, n: usize) {
        self.n = n;
        self.rows.resize(n * (ROWS + 2));
        self.start.resize(n * ROWS);
        self.rows.fill(T::zero());
    }

    /// Those of a line, at distance 1.
    pub fn line(&mut self, y: &[T], slope: &[T]) {
        self.rows.fill(T::zero());
        self.row_mut(0).copy_from_slice(y);
        self.row_mut(1).copy_from_slice(slope);
    }

    /// Difference number `j`.
    pub fn row(&self, j: usize) -> &[T] {
        &self.rows[j * self.n..(j + 1) * self.n]
    }

    pub fn row_mut(&mut self, j: usize) -> &mut [T] {
        &mut self.rows[j * self.n..(j + 1) * self.n]
    }

    /// So many differences, one after another.
    pub fn first(&self, rows: usize) -> &[T] {
        &self.rows[..rows * self.n]
    }

    pub fn first_mut(&mut self, rows: usize) -> &mut [T] {
        &mut self.rows[..rows * self.n]
    }

    /// Difference number `j` that the step at hand starts from.
    pub fn start(&self, j: usize) -> &[T] {
        &self.start[j * self.n..(j + 1) * self.n]
    }

    /// Begins a step, at other distances if there is a factor.
    pub fn begin(&mut self, orders: Orders, factor: Option<f64>) {
        let (n, Orders { order, basis }) = (self.n, orders);
        let Some(factor) = factor else {
            self.start[..(order + 1) * n].copy_from_slice(&self.rows[..(order + 1) * n]);
            return;
        };
        let weights = rescaling(basis, factor);
        for (j, row) in self.start.chunks_exact_mut(n).enumerate().take(order + 1) {
            let old = |m: usize| &self.rows[m * n..(m + 1) * n];
            costate_ops::affine(T::from_f64(weights[j][j]), T::zero(), old(j), row);
            if j > 0 {
                for (m, &weight) in weights[j].iter().enumerate().take(basis + 1).skip(j + 1) {
                    costate_ops::axpy(T::from_f64(weight), old(m), row);
                }
            }
        }
    }

    /// Writes the state that the step at hand predicts, and `Σ γ_j D_j / α_k`.
    pub fn predict(&self, order: usize, state: &mut [T], history: &mut [T]) {
        state.copy_from_slice(self.start(0));
        history.fill(T::zero());
        for j in 1..=order {
            costate_ops::axpy(T::one(), self.start(j), state);
            costate_ops::axpy(T::from_f64(gamma(j) / alpha(order)), self.start(j), history);
        }
    }

    /// Takes the step at hand, with the correction `delta`.
    pub fn advance(&mut self, order: usize, delta: &[T]) {
        let (n, rows) = (self.n, &mut self.rows);
        for (i, &delta) in delta.iter().enumerate() {
            let last = rows[(order + 1) * n + i];
            rows[(order + 2) * n + i] = delta - last;
            rows[(order + 1) * n + i] = delta;
            let mut above = delta;
            for j in (0..=order).rev() {
                above += self.start[j * n + i];
                rows[j * n + i] = above;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Differences of a polynomial at other distances are differences of the same polynomial.
    #[test]
    fn another_size() {
        for order in 1..=HIGHEST {
            let polynomial = |t: f64| (0..=order as i32).map(|n| (t - 0.3).powi(n)).sum::<f64>();
            let table = |h: f64| {
                let mut values: Vec<f64> = (0..=order).map(|i| polynomial(-h * i as f64)).collect();
                let mut table = Differences::new(1);
                for j in 0..=order {
                    table.row_mut(j)[0] = values[0];
                    values = values.windows(2).map(|w| w[0] - w[1]).collect();
                }
                table
            };
            for (from, to) in [(0.1, 0.2), (0.3, 0.07), (-0.1, -0.4)] {
                let (mut a, b) = (table(from), table(to));
                a.begin(Orders { order, basis: order }, factor(to, from, 0.0));
                for j in 0..=order {
                    let (x, y) = (a.start(j)[0], b.row(j)[0]);
                    assert!((x - y).abs() < 1e-11, "order {order}, difference {j}: {x} {y}");
                }
            }
        }
    }

    #[test]
    fn the_rate_of_rescaling() {
        let d = 1e-6;
        for basis in 1..=HIGHEST {
            for factor in [0.3, 1.0, 1.7] {
                let rates = rescaling_rate(basis, factor);
                let [above, below] = [d, -d].map(|d| rescaling(basis, factor + d));
                for j in 0..ROWS {
                    for m in 0..ROWS {
                        let difference = (above[j][m] - below[j][m]) / (2.0 * d);
                        assert!(
                            (rates[j][m] - difference).abs() < 1e-7,
                            "{basis} {factor} {j} {m}"
                        );
                    }
                }
            }
        }
    }
}
