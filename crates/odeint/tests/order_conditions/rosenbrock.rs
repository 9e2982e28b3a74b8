//! The order conditions of Rosenbrock methods (E. Hairer, G. Wanner, *Solving Ordinary Differential
//! Equations II*, IV.7).
//!
//! The coefficients of Rodas5P are known as `f64` only. In arithmetic with 120 digits every condition
//! is violated by no more than half a unit in the last place of every constant makes, to first order.

use costate_odeint::{Method, Rodas5P, RosenbrockTableau};

use crate::fixed::{Fixed, dot};
use crate::trees::{Tree, trees};

type Matrix = Vec<Vec<Fixed>>;

/// The constants of a method, stages alone: `γ`, `A` and `C` below the diagonal, `b`, the times
/// `c` and `d`, and the interpolant's weights.
fn constants(method: &RosenbrockTableau) -> Vec<f64> {
    let (tableau, stages) = (&method.tableau, method.stages());
    let mut all = vec![method.gamma];
    for i in stages.clone() {
        all.extend(&tableau.a[i][1..i]);
    }
    for i in stages.clone() {
        all.extend(&method.coupling[i][method.coupling[i].len().min(1)..]);
    }
    all.extend(&tableau.b[stages.clone()]);
    all.extend(&tableau.c[stages.clone()]);
    all.extend(&method.time[stages.clone()]);
    for i in stages {
        all.extend(tableau.interpolant.weights[i]);
    }
    all
}

/// The form in which the conditions are stated: `α`, `β = α + Γ`, and weights of the slopes.
pub struct Classical {
    pub alpha: Matrix,
    pub beta: Matrix,
    pub gamma: Matrix,
    pub b: Vec<Fixed>,
    /// The embedded method's: it is the method without its last stage.
    embedded: Vec<Fixed>,
    c: Vec<Fixed>,
    d: Vec<Fixed>,
    /// Of the interpolant, by the power of `θ`.
    powers: Matrix,
}

impl Classical {
    /// `Γ⁻¹ = 1/γ - C`, `α = A Γ`.
    fn of(n: usize, constants: &[Fixed]) -> Classical {
        let mut rest = constants.iter().cloned();
        let mut next = || rest.next().expect("a constant");
        let diagonal = next();
        let mut row = |length: usize| (0..length).map(|_| next()).collect::<Vec<_>>();
        let a: Matrix = (0..n).map(&mut row).collect();
        let c: Matrix = (0..n).map(&mut row).collect();
        let [b, times, rates] = [row(n), row(n), row(n)];
        let interpolant: Matrix = (0..n).map(|_| row(4)).collect();
        let mut gamma: Matrix = Vec::new();
        for i in 0..n {
            let column = |j: usize| {
                let below: Fixed = c[i].iter().zip(&gamma).map(|(c, row)| c * &row[j]).sum();
                let unit = if i == j { Fixed::one() } else { Fixed::zero() };
                &diagonal * &(&unit + &below)
            };
            gamma.push((0..n).map(column).collect());
        }
        let weights = |row: &[Fixed]| product(row, &gamma);
        let alpha: Matrix = a.iter().map(|row| weights(row)).collect();
        let add =
            |(a, g): (&Vec<Fixed>, &Vec<Fixed>)| a.iter().zip(g).map(|(a, g)| a + g).collect();
        let beta = alpha.iter().zip(&gamma).map(add).collect();
        let power = |k: usize| interpolant.iter().map(|row| row[k].clone()).collect::<Vec<_>>();
        Classical {
            beta,
            b: weights(&b),
            embedded: weights(&b[..n - 1]),
            c: times,
            d: rates,
            powers: (0..4).map(|k| weights(&power(k))).collect(),
            alpha,
            gamma,
        }
    }

    pub fn exactly(method: &RosenbrockTableau) -> Classical {
        let constants: Vec<Fixed> = constants(method).into_iter().map(Fixed::from_f64).collect();
        Classical::of(method.stages().len(), &constants)
    }

    /// The elementary weights: a vertex with one child has `β`, with more `α`.
    fn elementary(&self, trees: &[Tree]) -> Matrix {
        let mut all: Matrix = Vec::new();
        for tree in trees {
            let matrix = if tree.children.len() == 1 { &self.beta } else { &self.alpha };
            let phi = |row: &Vec<Fixed>| {
                let below = tree.children.iter().map(|&child| dot(row, &all[child]));
                below.fold(Fixed::one(), |phi, below| &phi * &below)
            };
            let phi = matrix.iter().map(phi).collect();
            all.push(phi);
        }
        all
    }

    /// What is to be 0, with a name.
    fn residuals(&self, trees: &[Tree]) -> Vec<(String, Fixed)> {
        let mut all = Vec::new();
        for (tree, phi) in trees.iter().zip(self.elementary(trees)) {
            let (n, exact) = (tree.vertices, Fixed::ratio(1, tree.density));
            all.push((format!("order {n}"), &dot(&self.b, &phi) - &exact));
            if n < 5 {
                all.push((format!("embedded order {n}"), &dot(&self.embedded, &phi) - &exact));
                for (k, weights) in self.powers.iter().enumerate() {
                    // θ^n is there once.
                    let exact = if k + 1 == n { exact.clone() } else { Fixed::zero() };
                    let what = format!("interpolant, order {n}, power {}", k + 1);
                    all.push((what, &dot(weights, &phi) - &exact));
                }
            }
        }
        for (what, matrix, times) in [("c", &self.alpha, &self.c), ("d", &self.gamma, &self.d)] {
            for (i, (row, time)) in matrix.iter().zip(times).enumerate() {
                all.push((format!("{what} {i}"), &row.iter().cloned().sum::<Fixed>() - time));
            }
        }
        all
    }
}

/// `Σ_i row_i matrix_ij`.
fn product(row: &[Fixed], matrix: &Matrix) -> Vec<Fixed> {
    let column = |j: usize| row.iter().zip(matrix).map(|(x, row)| x * &row[j]).sum();
    (0..matrix.len()).map(column).collect()
}

pub fn rodas5p() -> &'static RosenbrockTableau {
    let Method::Rosenbrock(method) = Rodas5P.into() else { panic!("a Rosenbrock method") };
    method
}

#[test]
fn rosenbrock_methods_have_their_orders() {
    let (method, trees) = (rodas5p(), trees(5));
    let n = method.stages().len();
    let residuals = |constants: &[Fixed]| Classical::of(n, constants).residuals(&trees);
    let numbers = constants(method);
    let mut exact: Vec<Fixed> = numbers.iter().copied().map(Fixed::from_f64).collect();
    let found = residuals(&exact);
    let mut rounding = vec![0.0; found.len()];
    for (i, x) in numbers.iter().enumerate() {
        // 0, 1 and 3 are not rounded.
        if x.fract() == 0.0 {
            continue;
        }
        let half = (x.abs().next_up() - x.abs()) / 2.0;
        let moved = &exact[i] + &Fixed::from_f64(half);
        let place = std::mem::replace(&mut exact[i], moved);
        for (sum, (moved, there)) in rounding.iter_mut().zip(residuals(&exact).iter().zip(&found)) {
            *sum += (&moved.1 - &there.1).abs().as_f64();
        }
        exact[i] = place;
    }
    for ((what, residual), rounding) in found.iter().zip(rounding) {
        let residual = residual.abs().as_f64();
        assert!(residual <= rounding, "{what}: violated by {residual:e}, rounding {rounding:e}");
        assert!(rounding < 1e-12, "{what}: {rounding:e}");
    }
}

/// Neither the method nor the embedded one or the interpolant is of higher order than stated.
#[test]
fn rosenbrock_methods_have_no_higher_order() {
    let (method, trees) = (rodas5p(), trees(6));
    let classical = Classical::exactly(method);
    let tableau = &method.tableau;
    let phi = classical.elementary(&trees);
    let violation = |b: &[Fixed], n: usize, theta: f64| {
        let of = |(tree, phi): (&Tree, &Vec<Fixed>)| {
            let exact = theta.powi(n as i32) / tree.density as f64;
            (dot(b, phi).as_f64() - exact).abs()
        };
        let these = trees.iter().zip(&phi).filter(|(tree, _)| tree.vertices == n);
        these.map(of).fold(0.0, f64::max)
    };
    assert_eq!((tableau.order, tableau.embedded_order), (5, Some(4)));
    assert_eq!(tableau.interpolant.order, 4);
    assert!(violation(&classical.b, 6, 1.0) > 1e-5);
    assert!(violation(&classical.embedded, 5, 1.0) > 1e-5);
    for theta in [0.1, 0.3, 0.5, 0.8] {
        let powers = classical.powers.iter().zip(1..);
        let b = powers.fold(vec![Fixed::zero(); classical.b.len()], |sum, (weights, k)| {
            let power = Fixed::from_f64(f64::powi(theta, k));
            sum.iter().zip(weights).map(|(s, w)| s + &(w * &power)).collect()
        });
        assert!(violation(&b, 5, theta) > 1e-7, "{theta}");
    }
}

/// `b` is the last row of `β`, and the embedded weights the row before, so that `R(∞) = 0`; at the
/// end the interpolant is the method.
#[test]
fn rosenbrock_methods_are_stiffly_accurate() {
    let method = rodas5p();
    let (tableau, last) = (&method.tableau, method.stages().end - 1);
    for (row, weights) in [
        (last, tableau.b.to_vec()),
        (last - 1, tableau.b.iter().zip(tableau.error.unwrap()).map(|(b, e)| b - e).collect()),
    ] {
        for j in method.stages() {
            let own = if j == row { 1.0 } else { tableau.a[row].get(j).copied().unwrap_or(0.0) };
            assert_eq!(weights[j], own, "row {row}, weight {j}");
        }
        assert_eq!(tableau.c[row], 1.0);
    }
    for i in 0..tableau.rows() {
        let end: f64 = tableau.interpolant.weights[i].iter().sum();
        assert!((end - tableau.b[i]).abs() < 1e-13, "{i}");
    }
}
