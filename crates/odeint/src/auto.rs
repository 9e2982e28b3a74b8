//! The choice between a method for stiff problems and one for others, step by step.

use costate_ops::Buffer;

use crate::Real;
use crate::field::Field;
use crate::method::{Kvaerno5, Method, Tsit5, Verner7};
use crate::options::Options;
use crate::step::{Step, combine};
use crate::tableau::Tableau;

/// Finds out by itself whether a problem is stiff, and goes between an explicit and an L-stable
/// method as that changes: [`Tsit5`], or [`Verner7`] for a relative tolerance below 1e-8, and
/// [`Kvaerno5`].
///
/// After each step the spectral radius `ρ` of the Jacobian is estimated. An explicit step gives it
/// for nothing, from two stages at the end of the step (L. F. Shampine; E. Hairer, G. Wanner,
/// *Solving Ordinary Differential Equations II*, IV.2):
///
/// ```text
/// ρ ≈ ‖k_i - k_j‖ / ‖Y_i - Y_j‖
/// ```
///
/// after an implicit one a power iteration goes on by one evaluation of the field (B. P. Sommeijer,
/// L. F. Shampine, J. G. Verwer, J. Comput. Appl. Math. 88 (1998) 315, section 3). With `S` the
/// length of the explicit method's interval of stability, the method is changed when
///
/// - `h ρ > 0.9 S` in ten explicit steps, with never six in a row between them where it is not: then
///   stability holds the step down;
/// - `h ρ < 0.6 S` in five implicit steps in a row: then the explicit method would take that step.
///
/// So it does not go to and fro at the limit. [`Stats::switches`](crate::Stats::switches) counts
/// changes, and [`Integrator::method`](crate::Integrator::method) says which method is at work. With
/// equal steps there is nothing to choose, and the method is the explicit one. Its exact gradient
/// goes back through each step by the method of that step.
///
/// ```
/// use costate_odeint::{Auto, Options, solve};
///
/// // Van der Pol's oscillator, stiff but for its jumps.
/// let f = |_t: f64, y: &[f64], dy: &mut [f64]| {
///     dy[0] = y[1];
///     dy[1] = 1e3 * (1.0 - y[0] * y[0]) * y[1] - y[0];
/// };
/// let solution = solve(Auto, f, &[2.0, 0.0], &[0.0, 2000.0], &Options::default())?;
/// assert!(solution.stats.switches > 0);
/// # Ok::<(), costate_odeint::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Auto;

impl From<Auto> for Method {
    fn from(_: Auto) -> Method {
        Method::Auto
    }
}

/// A relative tolerance below which order 7 is worth its stages.
const TIGHT: f64 = 1e-8;
/// `h ρ / S` above which an explicit step counts as stiff, and below which an implicit one does not.
const ABOVE: f64 = 0.9;
const BELOW: f64 = 0.6;
/// How many steps it takes.
const STIFF_STEPS: u32 = 10;
const NONSTIFF_STEPS: u32 = 5;
/// How many explicit steps in a row that are not stiff make the others forgotten.
const FORGET: u32 = 6;

/// The methods of the steps of a solve: one, or the two that [`Auto`] goes between.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Methods {
    first: Method,
    second: Option<Method>,
}

impl Default for Methods {
    fn default() -> Self {
        Methods { first: Tsit5.into(), second: None }
    }
}

impl Methods {
    pub fn new(method: Method, options: &Options) -> Methods {
        match method {
            Method::Auto if options.rtol < TIGHT => {
                Methods { first: Verner7.into(), second: Some(Kvaerno5.into()) }
            }
            Method::Auto => Methods { first: Tsit5.into(), second: Some(Kvaerno5.into()) },
            first => Methods { first, second: None },
        }
    }

    /// The one with which a solve begins.
    pub fn first(&self) -> Method {
        self.first
    }

    pub fn are_two(&self) -> bool {
        self.second.is_some()
    }

    /// The second, or the first.
    pub fn of(&self, second: bool) -> Method {
        self.second.filter(|_| second).unwrap_or(self.first)
    }

    /// Whether a step with this tableau is by the second.
    pub fn is_second(&self, tableau: &'static Tableau) -> bool {
        self.second.is_some_and(|second| std::ptr::eq(second.tableau(), tableau))
    }

    /// How many slopes there must be room for.
    pub fn slopes(&self) -> usize {
        self.of(false).tableau().slopes().max(self.of(true).tableau().slopes())
    }
}

/// What has been seen, and what follows.
#[derive(Clone, Debug)]
pub(crate) struct Switch<T: Real> {
    methods: Methods,
    /// Whether the choice is made by somebody else.
    told: bool,
    /// Two stages at the end of an explicit step.
    stages: (usize, usize),
    /// The length of the explicit method's interval of stability.
    stability: f64,
    is_stiff: bool,
    /// Steps that ask for the other method, and those since that do not.
    asking: u32,
    others: u32,
    /// The direction of the power iteration, in which the field changes most.
    direction: Buffer<T>,
    moved: Buffer<T>,
    slope: Buffer<T>,
}

impl<T: Real> Switch<T> {
    pub fn new(options: &Options, n: usize) -> Switch<T> {
        let methods = Methods::new(Method::Auto, options);
        let tableau = methods.first().tableau();
        Switch {
            methods,
            told: false,
            stages: stages_at_end(tableau).expect("two stages at the end"),
            stability: stability_interval(tableau),
            is_stiff: false,
            asking: 0,
            others: 0,
            direction: Buffer::zeros(n),
            moved: Buffer::zeros(n),
            slope: Buffer::zeros(n),
        }
    }

    /// The method for the next step.
    pub fn method(&self) -> Method {
        self.methods.of(self.is_stiff)
    }

    /// Tells it the method of the next step, and that from now on it is told. It forgets that when it
    /// restarts.
    pub fn tell(&mut self, second: bool) {
        (self.told, self.is_stiff) = (true, second);
    }

    /// How many slopes there must be room for.
    pub fn slopes(&self) -> usize {
        self.methods.slopes()
    }

    /// Begins with a problem that is not known to be stiff.
    pub fn restart(&mut self) {
        (self.told, self.is_stiff, self.asking, self.others) = (false, false, 0, 0);
    }

    /// Takes note of a step that was taken, with its end slope if it is implicit. Returns how often
    /// the field was evaluated.
    pub fn watch(&mut self, f: &mut dyn Field<T>, step: &Step<'_, T>) -> usize {
        if self.told {
            return 0;
        }
        if self.is_stiff {
            let radius = self.by_iteration(f, step);
            // What is not a number says nothing.
            let asks = radius * step.h.abs() < BELOW * self.stability;
            self.asking = if asks { self.asking + 1 } else { 0 };
            if self.asking == NONSTIFF_STEPS {
                self.restart();
            }
            return 1;
        }
        let radius = self.by_stages(step);
        if radius * step.h.abs() > ABOVE * self.stability {
            (self.asking, self.others) = (self.asking + 1, 0);
        } else {
            self.others += 1;
            if self.others == FORGET {
                self.asking = 0;
            }
        }
        if self.asking == STIFF_STEPS {
            (self.is_stiff, self.asking, self.others) = (true, 0, 0);
        }
        0
    }

    /// The spectral radius by two stages; their difference becomes the direction.
    fn by_stages(&mut self, step: &Step<'_, T>) -> f64 {
        let (n, (i, j)) = (step.y0.len(), self.stages);
        let (a, b) = (step.tableau.a[i], step.tableau.a[j]);
        combine(None, step.h, a, step.k, &mut self.direction);
        combine(None, step.h, b, step.k, &mut self.moved);
        for (x, &other) in self.direction.iter_mut().zip(&*self.moved) {
            *x -= other;
        }
        let between = step.k[i * n..(i + 1) * n].iter().zip(&step.k[j * n..(j + 1) * n]);
        let change = between.map(|(a, b)| (a.as_f64() - b.as_f64()).powi(2)).sum::<f64>().sqrt();
        change / norm(&self.direction)
    }

    /// The spectral radius by one more step of the power iteration, from the end of a step.
    fn by_iteration(&mut self, f: &mut dyn Field<T>, step: &Step<'_, T>) -> f64 {
        let n = step.y1.len();
        let slope = &step.k[(step.tableau.rows() - 1) * n..][..n];
        let mut length = norm(&self.direction);
        if !(length > 0.0 && length.is_finite()) {
            self.direction.copy_from_slice(slope);
            length = norm(slope);
        }
        let root = T::EPSILON.as_f64().sqrt();
        let size = norm(step.y1);
        let distance = root * if size > 0.0 { size } else { 1.0 };
        let factor = T::from_f64(distance / length);
        for ((moved, &y), &d) in self.moved.iter_mut().zip(step.y1).zip(&*self.direction) {
            *moved = y + factor * d;
        }
        if f.eval(step.t1, &self.moved, &mut self.slope).is_err() {
            return f64::NAN;
        }
        for ((d, &moved), &here) in self.direction.iter_mut().zip(&*self.slope).zip(slope) {
            *d = moved - here;
        }
        norm(&self.direction) / distance
    }
}

fn norm<T: Real>(x: &[T]) -> f64 {
    x.iter().map(|x| x.as_f64() * x.as_f64()).sum::<f64>().sqrt()
}

/// The last two stages of a step that are at its end; the end slope is one if it is evaluated anyway.
fn stages_at_end(tableau: &Tableau) -> Option<(usize, usize)> {
    let rows = tableau.rows() - usize::from(!tableau.error_needs_end());
    let mut at_end = (1..rows).rev().filter(|&i| tableau.c[i] == 1.0);
    let (j, i) = (at_end.next()?, at_end.next()?);
    Some((i, j))
}

/// How far along the negative real axis `|R(z)| ≤ 1`, for the stability function `R` of an explicit
/// method.
fn stability_interval(tableau: &Tableau) -> f64 {
    let rows = tableau.rows();
    let amplification = |z: f64| {
        let mut k = [0.0; 64];
        for i in 0..rows {
            let sum: f64 = tableau.a[i].iter().zip(&k).map(|(a, k)| a * k).sum();
            k[i] = z * (1.0 + sum);
        }
        (1.0 + tableau.b.iter().zip(&k).map(|(b, k)| b * k).sum::<f64>()).abs()
    };
    let stable = |x: f64| amplification(-x) <= 1.0 + 1e-12;
    let step = 1.0 / 64.0;
    let (mut low, mut high) = (step, 2.0 * step);
    while stable(high) {
        (low, high) = (high, high + step);
    }
    for _ in 0..20 {
        let middle = 0.5 * (low + high);
        if stable(middle) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Dopri5, Rk4};

    /// The classical numbers, and stages of the two methods that `Auto` takes.
    #[test]
    fn intervals_of_stability() {
        for (method, expected) in
            [(Method::from(Rk4), 2.7853), (Dopri5.into(), 3.3066), (Tsit5.into(), 3.5068)]
        {
            let found = stability_interval(method.tableau());
            assert!((found - expected).abs() < 1e-4, "{}: {found}", method.tableau().name);
        }
        assert_eq!(stages_at_end(Method::from(Tsit5).tableau()), Some((5, 6)));
        assert_eq!(stages_at_end(Method::from(Verner7).tableau()), Some((8, 9)));
    }

    /// Both estimates find the largest eigenvalue of a linear field.
    #[test]
    fn the_spectral_radius() {
        let mut f = |_: f64, y: &[f64], dy: &mut [f64]| {
            (dy[0], dy[1]) = (-100.0 * y[0] + 3.0 * y[1], -y[1]);
        };
        let options = Options::tolerance(1e-6, 1e-9);
        let mut integrator = crate::Integrator::new(Tsit5, &[1.0, 1.0], 0.0, 9.0, options).unwrap();
        let mut switch = Switch::new(&options, 2);
        for _ in 0..5 {
            integrator.step(&mut f).unwrap();
        }
        let radius = switch.by_stages(&integrator.last_step());
        assert!((radius - 100.0).abs() < 3.0, "{radius}");
        let mut integrator =
            crate::Integrator::new(Kvaerno5, &[1.0, 1.0], 0.0, 9.0, options).unwrap();
        switch.direction.copy_from_slice(&[0.0, 1.0]);
        let mut radius = 0.0;
        for _ in 0..4 {
            integrator.step(&mut f).unwrap();
            radius = switch.by_iteration(&mut f, &integrator.last_step());
        }
        assert!((radius - 100.0).abs() < 3.0, "{radius}");
    }
}
