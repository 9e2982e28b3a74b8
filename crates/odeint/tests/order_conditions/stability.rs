//! The stability functions of the implicit methods, as quotients of polynomials in exact arithmetic
//! (E. Hairer, G. Wanner, *Solving Ordinary Differential Equations II*, IV.3).

use costate_odeint::{AdditiveTableau, GaussLegendre4, GaussLegendre6, KenCarp4Imex, Method};

use crate::coefficients::Coefficients;
use crate::fixed::{Fixed, dot};
use crate::rosenbrock::{Classical, rodas5p};

/// A polynomial, the constant term first.
type Polynomial = Vec<Fixed>;

/// `R(z) = above(z) / below(z)` for `A` and `b`: `below = det(I - z A)`, and `above` is its product
/// with the series `1 + Σ z^k bᵀ A^(k-1) 1`, which ends with the power `n`.
struct Stability {
    above: Polynomial,
    below: Polynomial,
}

impl Stability {
    fn of(a: &[Vec<Fixed>], b: &[Fixed]) -> Stability {
        let n = a.len();
        // The coefficients of det(I - z A), by the method of Faddeev and Le Verrier.
        let mut below = vec![Fixed::one()];
        let mut m: Vec<Vec<Fixed>> = vec![vec![Fixed::zero(); n]; n];
        for k in 1..=n {
            for (i, row) in m.iter_mut().enumerate() {
                row[i] = &row[i] + &below[k - 1];
            }
            m = a
                .iter()
                .map(|row| {
                    (0..n).map(|j| row.iter().zip(&m).map(|(x, r)| x * &r[j]).sum()).collect()
                })
                .collect();
            let trace: Fixed = (0..n).map(|i| m[i][i].clone()).sum();
            below.push(&Fixed::ratio(-1, k as i64) * &trace);
        }
        let mut series = vec![Fixed::one()];
        let mut v = vec![Fixed::one(); n];
        for _ in 0..n {
            series.push(dot(b, &v));
            v = a.iter().map(|row| dot(row, &v)).collect();
        }
        let above = (0..=n).map(|k| (0..=k).map(|j| &series[j] * &below[k - j]).sum()).collect();
        Stability { above, below }
    }

    /// The highest power with a coefficient above rounding.
    fn degree(polynomial: &Polynomial, rounding: f64) -> usize {
        polynomial.iter().rposition(|c| c.abs().as_f64() > rounding).expect("a polynomial")
    }

    /// `|below(iy)|² - |above(iy)|²` as a polynomial in `y²`. Where it is nowhere negative,
    /// `|R| ≤ 1` on the imaginary axis, and so in the left half plane if the poles are in the right.
    fn excess(&self) -> Polynomial {
        let square = |p: &Polynomial| {
            let mut square = vec![Fixed::zero(); p.len()];
            for (i, a) in p.iter().enumerate() {
                for (j, b) in p.iter().enumerate().filter(|(j, _)| (i + j) % 2 == 0) {
                    // i^i · (-i)^j.
                    let sign = if (3 * j + i) % 4 == 0 { 1 } else { -1 };
                    let k = (i + j) / 2;
                    square[k] = &square[k] + &(&Fixed::ratio(sign, 1) * &(a * b));
                }
            }
            square
        };
        square(&self.below).iter().zip(&square(&self.above)).map(|(b, a)| b - a).collect()
    }
}

/// The value of a polynomial.
fn value(polynomial: &Polynomial, x: &Fixed) -> Fixed {
    polynomial.iter().rev().fold(Fixed::zero(), |sum, c| &(&sum * x) + c)
}

/// Asserts that a polynomial is nowhere negative for `x ≥ 0`: at many places, and at the ends by its
/// first and its last coefficient.
fn nowhere_negative(name: &str, polynomial: &Polynomial, rounding: f64) {
    let large = |c: &&Fixed| c.abs().as_f64() > rounding;
    for end in [polynomial.iter().find(large), polynomial.iter().rfind(large)].into_iter().flatten()
    {
        assert!(
            end.as_f64() > 0.0,
            "{name}: {:?}",
            polynomial.iter().map(Fixed::as_f64).collect::<Vec<_>>()
        );
    }
    for i in -300..=200 {
        let x = Fixed::from_f64(2f64.powf(f64::from(i) / 20.0));
        let v = value(polynomial, &x).as_f64();
        let size: f64 =
            polynomial.iter().zip(0..).map(|(c, k)| c.abs().as_f64() * x.as_f64().powi(k)).sum();
        assert!(v >= -rounding * (1.0 + size), "{name}: {v:e} at {:e}", x.as_f64());
    }
}

/// Every implicit method is A-stable and L-stable: the poles are at `1/γ > 0`, `|R| ≤ 1` on the
/// imaginary axis, and `R(∞) = 0`.
#[test]
fn implicit_methods_are_l_stable() {
    let mut all: Vec<(&str, Stability, f64, f64)> = Vec::new();
    for method in Method::implicit() {
        let tableau = method.tableau();
        let c = Coefficients::read(tableau);
        let stability = Stability::of(&c.a, &c.b);
        all.push((tableau.name, stability, tableau.b[tableau.rows() - 1], c.tolerance));
    }
    let imex = {
        let Method::Additive(method) = KenCarp4Imex.into() else { panic!("an additive method") };
        method
    };
    let (a, b) = implicit_part(imex);
    all.push(("KenCarp4Imex, implicit", Stability::of(&a, &b), 0.25, 1e-15));
    let classical = Classical::exactly(rodas5p());
    let stability = Stability::of(&classical.beta, &classical.b);
    all.push(("Rodas5P", stability, rodas5p().gamma, 1e-13));
    for (name, stability, gamma, tolerance) in all {
        assert!(gamma > 0.0);
        // det(I - z A) = (1 - γ z)^n.
        let poles = Stability::degree(&stability.below, 10.0 * tolerance);
        let power = (0..=poles).scan(1.0, |c, k| {
            let now = *c;
            *c *= -gamma * (poles - k) as f64 / (k + 1) as f64;
            Some(now)
        });
        for (c, expected) in stability.below.iter().zip(power) {
            assert!((c.as_f64() - expected).abs() < 1e-13, "{name}: poles");
        }
        let zeros = Stability::degree(&stability.above, 10.0 * tolerance);
        assert!(zeros < poles, "{name}: R(∞) = 0 fails: degrees {zeros} and {poles}");
        nowhere_negative(name, &stability.excess(), 10.0 * tolerance);
    }
}

/// The rows of the implicit part, as the constants are.
fn implicit_part(method: &AdditiveTableau) -> (Vec<Vec<Fixed>>, Vec<Fixed>) {
    let n = method.stages();
    let row = |i: usize| {
        let at = |j: usize| method.implicit[i].get(j).copied().unwrap_or(0.0);
        (0..n).map(|j| Fixed::from_f64(at(j))).collect::<Vec<_>>()
    };
    let a: Vec<Vec<Fixed>> = (0..n).map(row).collect();
    // It is stiffly accurate.
    let b = a[n - 1].clone();
    (a, b)
}

/// Collocation at Gauss's points has the diagonal Padé approximations of the exponential: A-stable
/// with `|R| = 1` on the whole imaginary axis.
#[test]
fn collocation_has_modulus_one_on_the_imaginary_axis() {
    for (method, pade) in [
        (Method::from(GaussLegendre4), vec![(1, 1), (-1, 2), (1, 12)]),
        (GaussLegendre6.into(), vec![(1, 1), (-1, 2), (1, 10), (-1, 120)]),
    ] {
        let tableau = method.tableau();
        let c = Coefficients::read(tableau);
        let stages = 1..tableau.rows() - 1;
        let a: Vec<Vec<Fixed>> = stages.clone().map(|i| c.a[i][stages.clone()].to_vec()).collect();
        let stability = Stability::of(&a, &c.b[stages]);
        for (k, (p, q)) in pade.into_iter().enumerate() {
            let exact = Fixed::ratio(p, q);
            let sign = Fixed::ratio(if k % 2 == 0 { 1 } else { -1 }, 1);
            for found in [&stability.below[k], &(&stability.above[k] * &sign)] {
                assert!((found - &exact).abs().as_f64() < c.tolerance, "{} {k}", tableau.name);
            }
        }
        for c in stability.excess() {
            assert!(c.abs().as_f64() < 1e-54);
        }
    }
}

/// `b_i a_ij + b_j a_ji = b_i b_j`: collocation at Gauss's points is symplectic.
#[test]
fn collocation_is_symplectic() {
    for method in [Method::from(GaussLegendre4), GaussLegendre6.into()] {
        let tableau = method.tableau();
        let c = Coefficients::read(tableau);
        for i in 1..tableau.rows() - 1 {
            for j in 1..tableau.rows() - 1 {
                let (x, y) = (&c.b[i] * &c.a[i][j], &c.b[j] * &c.a[j][i]);
                let wrong = (&(&x + &y) - &(&c.b[i] * &c.b[j])).abs().as_f64();
                assert!(wrong < c.tolerance, "{} {i} {j}: {wrong:e}", tableau.name);
            }
        }
    }
}
