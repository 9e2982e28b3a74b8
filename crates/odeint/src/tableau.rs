//! Runge–Kutta methods as data.

use crate::Real;
/// The coefficients of a Runge–Kutta method: explicit, diagonally implicit, or with few coupled
/// stages.
///
/// A step of size `h` from `(t, y)` computes slopes
/// `k_i = f(t + c_i h, y + h Σ_{j<i} a_ij k_j)` and the new state `y + h Σ b_i k_i`.
///
/// **One convention for all methods: the last row is the end slope**, `k = f(t + h, y₁)`, with
/// `c = 1`, `a` equal to the other rows' `b`, and weight 0 of its own. Methods with the property
/// "first same as last" (FSAL) have it by nature, others get it appended. It is the first slope of
/// the next step, so it costs nothing, and interpolants and error estimates can use it.
///
/// Diagonally implicit methods are those of [`DirkTableau`]: row `i` has an entry `a_ii` as well,
/// and the last stage is the new state, so that its slope is the end slope by nature; its weight is
/// then `a_ii`.
///
/// [`DirkTableau`]: crate::DirkTableau
#[derive(Debug)]
pub struct Tableau {
    /// The name in messages and tables.
    pub name: &'static str,
    /// The order of convergence.
    pub order: u32,
    /// The order of the embedded method that estimates the error.
    pub embedded_order: Option<u32>,
    /// Empty if it is a multistep method. Else row `i` holds `a_ij` for `j < i`, and `a_ii` of an implicit stage, which is 0 in a
    /// [Rosenbrock method](crate::RosenbrockTableau), or more if the stages are
    /// [coupled](Tableau::coupled).
    pub a: &'static [&'static [f64]],
    /// The weights of the solution.
    pub b: &'static [f64],
    /// The weights of the error estimate: those of the solution less those of the embedded method.
    pub error: Option<&'static [f64]>,
    /// The order `q` and the weights of a second error estimate, of lower order, that is mixed with
    /// the first. With `e` and `e_low` the measures of both, the error of the step is
    ///
    /// ```text
    /// e² / √(e² + 0.01 e_low²)
    /// ```
    ///
    /// which is `O(h^(2 p̂ - q + 1))` with `p̂` the [`embedded_order`](Tableau::embedded_order).
    /// Only [`Dop853`](crate::Dop853) has it (Hairer, Nørsett, Wanner, II.10).
    pub error_low: Option<(u32, &'static [f64])>,
    /// The times of the slopes within a step of size 1.
    pub c: &'static [f64],
    /// The rows whose sum goes on from that of the row before, by the differences of their
    /// coefficients. Where these are small and the coefficients large, so that they cancel, that
    /// keeps the rounding errors of both sums alike. Explicit methods only.
    pub continues: &'static [usize],
    /// Which part of the field each slope of the step is; if empty, all of it. The first slope and
    /// the end slope are always all of it.
    pub parts: &'static [Part],
    /// Whether the stages depend on each other. Then their rows of `a` go over all slopes but the
    /// end slope, no row uses the first slope, and they are found by fixed-point iteration.
    pub coupled: bool,
    /// The solution within a step.
    pub interpolant: Interpolant,
}

/// The solution within a step: `y(t + θh) = y + h Σ b_i(θ) k_i` for `0 ≤ θ ≤ 1`, with polynomials
/// `b_i`.
///
/// The sum is over the slopes of the step, and then over slopes of the interpolant's own, which are
/// evaluated only when a time lies inside a step.
#[derive(Debug)]
pub struct Interpolant {
    /// The order `p*` of the weights: `b_i(θ)` satisfies the order conditions up to it at every `θ`
    /// (E. Hairer, S. P. Nørsett, G. Wanner, *Solving Ordinary Differential Equations I*, II.6), so
    /// that the error within one step is `O(h^(p*+1))`. Over the whole interval of integration the
    /// states in between then converge with order `min(p, p* + 1)`, with `p` that of the method.
    pub order: u32,
    /// The rows `a_ij` of the interpolant's own slopes, over all slopes before: those of the step,
    /// the end slope included, and the interpolant's own.
    pub a: &'static [&'static [f64]],
    /// The times of its own slopes within a step of size 1.
    pub c: &'static [f64],
    /// Row `i` holds the coefficients of `θ, θ², …` in `b_i(θ)`; the interpolant's own slopes come
    /// last.
    pub weights: &'static [&'static [f64]],
}

/// A part of a vector field whose state is positions `q` and then momenta `p`, as many of each:
/// the other components of the slope are 0.
///
/// A splitting method is a Runge–Kutta method with such slopes: a drift moves the positions, a kick
/// the momenta.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    All,
    /// The slope of the positions, `dq/dt`: a drift.
    Positions,
    /// The slope of the momenta, `dp/dt`: a kick.
    Momenta,
}

impl Part {
    /// Which components of a slope with `n` components are in this part.
    pub fn range(self, n: usize) -> std::ops::Range<usize> {
        match self {
            Part::All => 0..n,
            Part::Positions => 0..n / 2,
            Part::Momenta => n / 2..n,
        }
    }

    /// Sets the components of a slope that are not in this part to 0.
    pub fn mask<T: Real>(self, slope: &mut [T]) {
        let range = self.range(slope.len());
        slope[..range.start].fill(T::zero());
        slope[range.end..].fill(T::zero());
    }
}

impl Part {
    /// [`mask`](Part::mask) of each block of `n` components.
    pub(crate) fn mask_blocks<T: Real>(self, n: usize, slope: &mut [T]) {
        if self != Part::All {
            slope.chunks_exact_mut(n).for_each(|block| self.mask(block));
        }
    }
}

impl Tableau {
    /// How many slopes a step has, the end slope included.
    #[inline]
    pub fn rows(&self) -> usize {
        self.b.len()
    }

    /// Whether no stage is implicit.
    pub fn is_explicit(&self) -> bool {
        !self.is_multistep() && self.a.iter().enumerate().all(|(i, row)| row.len() <= i)
    }

    /// How many slopes a step has together with those of the interpolant.
    #[inline]
    pub fn slopes(&self) -> usize {
        self.rows() + self.interpolant.c.len()
    }

    /// The row of `a` for slope `i`, of the step or of the interpolant.
    ///
    /// # Panics
    /// If there is no such slope.
    #[inline]
    pub fn row(&self, i: usize) -> &'static [f64] {
        match i.checked_sub(self.rows()) {
            Some(own) => self.interpolant.a[own],
            None => self.a[i],
        }
    }

    /// The coefficients by which the state of stage `i` differs from what its sum starts from: the state
    /// at the start of the step, or stage `i - 1` if the row [continues](Tableau::continues) from it.
    pub(crate) fn increments(&self, i: usize) -> impl Iterator<Item = f64> + use<> {
        let (row, before) =
            (self.row(i), if self.starts_before(i) { self.row(i - 1) } else { &[] });
        (0..row.len()).map(move |j| row[j] - before.get(j).copied().unwrap_or(0.0))
    }

    /// Whether the sum of row `i` goes on from that of the row before.
    #[inline]
    pub(crate) fn starts_before(&self, i: usize) -> bool {
        self.continues.contains(&i)
    }

    /// The time `c` of slope `i`, of the step or of the interpolant, within a step of size 1.
    ///
    /// # Panics
    /// If there is no such slope.
    #[inline]
    pub fn node(&self, i: usize) -> f64 {
        match i.checked_sub(self.rows()) {
            Some(own) => self.interpolant.c[own],
            None => self.c[i],
        }
    }

    /// The time of slope `i` in a step from `t0` to `t1`.
    ///
    /// # Panics
    /// If there is no such slope.
    #[inline]
    pub fn time(&self, i: usize, t0: f64, t1: f64) -> f64 {
        let c = self.node(i);
        if c == 1.0 { t1 } else { t0 + c * (t1 - t0) }
    }

    /// Which part of the field slope `i` is.
    #[inline]
    pub fn part(&self, i: usize) -> Part {
        self.parts.get(i).copied().unwrap_or(Part::All)
    }

    /// Whether it is for a state of positions and momenta.
    #[inline]
    pub fn is_partitioned(&self) -> bool {
        !self.parts.is_empty()
    }

    /// Whether it is no Runge–Kutta method, and has the weights of an interpolant only.
    pub fn is_multistep(&self) -> bool {
        self.a.is_empty()
    }

    /// Whether a step uses its first slope. Splitting methods and coupled stages do not: only an
    /// interpolant may.
    #[inline]
    pub fn uses_first(&self) -> bool {
        !self.is_partitioned() && !self.coupled && !self.is_multistep()
    }

    /// The power of the step size that the error of one step follows, less one: the order that step
    /// size control goes by.
    #[inline]
    pub fn control_order(&self) -> Option<u32> {
        let embedded = self.embedded_order?;
        Some(match self.error_low {
            Some((low, _)) => 2 * embedded - low,
            None => embedded,
        })
    }

    /// How many times the rounding errors of the sums of its stages may come out of a step, or of the
    /// solution within it: the largest of
    ///
    /// ```text
    /// Σ_i |b_i| Σ_j |a_ij|
    /// ```
    ///
    /// over the weights `b` of the step, those of the interpolant at many `θ`, and the rows of `a`. The
    /// sum of a row that [continues](Tableau::continues) has the errors of the one before, and those of
    /// its own differences; 0 for multistep methods.
    pub fn amplification(&self) -> f64 {
        if self.is_multistep() {
            return 0.0;
        }
        let sums: Vec<f64> =
            (0..self.slopes()).map(|i| self.increments(i).map(f64::abs).sum()).collect();
        let through = |weights: &mut dyn Iterator<Item = f64>| {
            let mut weights: Vec<f64> = weights.collect();
            for &i in self.continues.iter().rev() {
                if i < weights.len() {
                    weights[i - 1] += weights[i];
                }
            }
            weights.iter().zip(&sums).map(|(b, sum)| b.abs() * sum).sum::<f64>()
        };
        let rows = (0..self.slopes()).map(|i| through(&mut self.row(i).iter().copied()));
        let between = (0..=32).map(|i| {
            let theta = f64::from(i) / 32.0;
            through(&mut (0..self.slopes()).map(|i| self.interpolant.weight(i, theta)))
        });
        rows.chain(between).fold(through(&mut self.b.iter().copied()), f64::max)
    }

    /// Whether the error estimate uses the end slope.
    #[inline]
    pub fn error_needs_end(&self) -> bool {
        let needs = |e: &[f64]| e[e.len() - 1] != 0.0;
        self.error.is_some_and(needs) || self.error_low.is_some_and(|(_, e)| needs(e))
    }
}

impl Interpolant {
    /// `b_i(θ)`.
    #[inline]
    pub fn weight(&self, i: usize, theta: f64) -> f64 {
        self.weights[i].iter().rev().fold(0.0, |sum, &c| (sum + c) * theta)
    }

    /// `db_i/dθ`.
    #[inline]
    pub fn weight_derivative(&self, i: usize, theta: f64) -> f64 {
        let terms = self.weights[i].iter().enumerate().rev();
        terms.fold(0.0, |sum, (j, &c)| sum * theta + (j + 1) as f64 * c)
    }

    /// `b_i^(m)(θ) / m!`, the coefficient of `δ^m` in `b_i(θ + δ)`, for `m ≥ 1`.
    pub(crate) fn taylor(&self, i: usize, m: usize, theta: f64) -> f64 {
        // C(j, m) for the j-th power.
        let binomial = |j: usize| (0..m).fold(1.0, |c, l| c * (j - l) as f64 / (l + 1) as f64);
        let terms = self.weights[i].iter().enumerate().skip(m - 1).rev();
        terms.fold(0.0, |sum, (j, &c)| sum * theta + binomial(j + 1) * c)
    }

    /// Whether it uses the first slope.
    pub fn needs_first(&self) -> bool {
        !self.c.is_empty() || self.weights[0].iter().any(|&c| c != 0.0)
    }

    /// The highest power of `θ` in the weights.
    pub fn degree(&self) -> usize {
        self.weights.iter().map(|row| row.len()).max().unwrap_or(0)
    }

    /// Whether it uses the end slope.
    #[inline]
    pub fn needs_end(&self) -> bool {
        let end = self.weights.len() - 1 - self.c.len();
        !self.c.is_empty() || self.weights[end].iter().any(|&c| c != 0.0)
    }
}
