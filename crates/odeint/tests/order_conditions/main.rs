//! The order conditions of every tableau, of the method, its embedded ones and its interpolant, by
//! rooted trees; stated orders are also not exceeded.
//!
//! Two things are shown. The published coefficients, rational numbers or decimals with 30 to 100
//! digits, satisfy the conditions in arithmetic with 120 digits, to as many digits as they have.
//! And every constant of the code is the `f64` nearest to its published coefficient. Those of
//! Kværnø's methods and Yoshida's are published with fewer digits, but determined by the conditions,
//! and were found from the published ones to 100 digits. Only Rodas5P and the interpolant of Tsit5
//! have no more digits than an `f64`: the residuals are then what rounding makes of them
//! (`rosenbrock`), or below 1e-14. The constants of Hermite interpolants are computed, and good to
//! 1e-15.

mod additive;
mod coefficients;
mod fixed;
mod rosenbrock;
mod splitting;
mod stability;
mod trees;

use coefficients::Coefficients;
use costate_odeint::{Method, Tableau};
use fixed::{Fixed, dot};
use trees::{Tree, trees, weights};

/// Those of all Runge–Kutta methods for any field.
fn tableaus() -> Vec<&'static Tableau> {
    Method::all().into_iter().chain(Method::implicit()).map(Method::tableau).collect()
}

/// The largest violation of `Σ b_i Φ_i(t) = θ^|t| / γ(t)` over the trees with `n` vertices.
fn violation(trees: &[Tree], phi: &[Vec<Fixed>], b: &[Fixed], n: usize, theta: &Fixed) -> f64 {
    let power = (0..n).fold(Fixed::one(), |power, _| &power * theta);
    trees
        .iter()
        .zip(phi)
        .filter(|(tree, _)| tree.vertices == n)
        .map(|(tree, phi)| {
            let expected = &power * &Fixed::ratio(1, tree.density);
            (&dot(b, phi) - &expected).abs().as_f64()
        })
        .fold(0.0, f64::max)
}

/// Asserts that weights have an order, and no higher one.
struct Order<'a> {
    name: &'a str,
    trees: &'a [Tree],
    phi: Vec<Vec<Fixed>>,
}

impl Order<'_> {
    fn violation(&self, b: &[Fixed], n: u32, theta: &Fixed) -> f64 {
        violation(self.trees, &self.phi, b, n as usize, theta)
    }

    fn at_least(&self, what: &str, b: &[Fixed], order: u32, theta: &Fixed, tolerance: f64) {
        for n in 1..=order {
            let (v, name) = (self.violation(b, n, theta), self.name);
            assert!(v <= tolerance, "{name}: order {n} of {what} is violated by {v:e}");
        }
    }

    fn check(&self, what: &str, b: &[Fixed], order: u32, theta: &Fixed, tolerance: f64) {
        self.at_least(what, b, order, theta, tolerance);
        let (v, name) = (self.violation(b, order + 1, theta), self.name);
        assert!(v > 1e-8, "{name}: {what} is of higher order than {order}: {v:e}");
    }
}

#[test]
fn methods_have_their_orders() {
    let trees = trees(10);
    for tableau in tableaus() {
        let c = Coefficients::read(tableau);
        let needed = tableau.order.max(tableau.interpolant.order) as usize + 1;
        let used = trees.iter().take_while(|tree| tree.vertices <= needed).count();
        let trees = &trees[..used];
        let order = Order { name: tableau.name, trees, phi: weights(trees, &c.a) };
        let one = Fixed::one();
        order.check("the method", &c.b, tableau.order, &one, c.tolerance);
        let minus = |e: &[Fixed]| c.b.iter().zip(e).map(|(b, e)| b - e).collect::<Vec<_>>();
        if let Some(error) = &c.error {
            let embedded = tableau.embedded_order.expect("an error estimate has an order");
            let b = minus(error);
            order.at_least("the embedded method", &b, embedded, &one, c.tolerance);
            // The estimate vanishes to this order and no higher one, also where it is the embedded
            // method that is more accurate.
            let v = order.violation(&b, embedded + 1, &one);
            let v = v.max(order.violation(&c.b, embedded + 1, &one));
            assert!(v > 1e-8, "{}: the estimate is of higher order: {v:e}", tableau.name);
        }
        if let (Some(error), Some((low, _))) = (&c.error_low, tableau.error_low) {
            order.check("the low embedded method", &minus(error), low, &one, c.tolerance);
        }
        for (p, q) in [(1, 10), (3, 10), (1, 2), (2, 3), (9, 10)] {
            let theta = Fixed::ratio(p, q);
            let b = c.weights_at(&theta);
            let stated = tableau.interpolant.order;
            order.check("the interpolant", &b, stated, &theta, c.weights_tolerance);
        }
    }
}

#[test]
fn constants_are_the_nearest_to_the_published_coefficients() {
    for tableau in tableaus() {
        let c = Coefficients::read(tableau);
        let same = |what: &str, i: usize, j: usize, exact: &Fixed, x: f64| {
            let name = tableau.name;
            assert!(exact.rounds_to(x), "{name}: {what} {i} {j}: {x:e} for {:e}", exact.as_f64());
        };
        let slices = |what: &str, exact: &[Fixed], x: &[f64]| {
            assert_eq!(exact.len(), x.len(), "{}: {what}", tableau.name);
            for (i, (exact, &x)) in exact.iter().zip(x).enumerate() {
                same(what, i, 0, exact, x);
            }
        };
        for i in 0..tableau.slopes() {
            let row = tableau.row(i);
            let stage = (1..tableau.rows()).contains(&i);
            let length = match tableau.coupled {
                true if stage => tableau.rows() - 1,
                false if stage && !tableau.is_explicit() => i + 1,
                _ => i,
            };
            assert_eq!(row.len(), length, "{}: row {i}", tableau.name);
            for (j, (exact, &x)) in c.a[i].iter().zip(row).enumerate() {
                same("a", i, j, exact, x);
            }
            // c = A 1.
            let sum: Fixed = c.a[i].iter().cloned().sum();
            same("c", i, 0, &sum, tableau.node(i));
            for (j, exact) in c.weights[i].iter().enumerate() {
                let x = tableau.interpolant.weights[i].get(j).copied().unwrap_or(0.0);
                if c.hermite {
                    let distance = (exact - &Fixed::from_f64(x)).abs().as_f64();
                    assert!(distance < 1e-15, "{}: w {i} {j}: {x:e}", tableau.name);
                } else {
                    same("w", i, j, exact, x);
                }
            }
        }
        slices("b", &c.b, tableau.b);
        assert_eq!(c.error.is_some(), tableau.error.is_some());
        if let (Some(exact), Some(x)) = (&c.error, tableau.error) {
            slices("error", exact, x);
        }
        if let (Some(exact), Some((_, x))) = (&c.error_low, tableau.error_low) {
            slices("error_low", exact, x);
        }
    }
}

#[test]
fn the_last_row_is_the_end_slope() {
    for tableau in tableaus() {
        let (rows, name) = (tableau.rows(), tableau.name);
        assert_eq!((tableau.a.len(), tableau.c.len()), (rows, rows), "{name}");
        assert_eq!(tableau.interpolant.a.len(), tableau.interpolant.c.len(), "{name}");
        assert_eq!(tableau.interpolant.weights.len(), tableau.slopes(), "{name}");
        assert_eq!(tableau.a[rows - 1], &tableau.b[..tableau.a[rows - 1].len()], "{name}");
        assert_eq!((tableau.c[0], tableau.c[rows - 1]), (0.0, 1.0), "{name}");
        if tableau.is_explicit() || tableau.coupled {
            assert_eq!(tableau.b[rows - 1], 0.0, "{name}");
        } else {
            // One factorisation serves all stages.
            let diagonal = (1..rows).map(|i| tableau.a[i][i]);
            assert!(tableau.a[0].is_empty() && diagonal.min_by(f64::total_cmp).unwrap() > 0.0);
            assert!((1..rows).all(|i| tableau.a[i][i] == tableau.b[rows - 1]), "{name}");
        }
    }
}

/// The value and the slope of the interpolant at the ends of the step are those of the solution.
#[test]
fn interpolants_meet_the_ends() {
    for tableau in tableaus() {
        let c = Coefficients::read(tableau);
        let close = |what: &str, x: &[Fixed], expected: &dyn Fn(usize) -> Fixed| {
            for (i, x) in x.iter().enumerate() {
                let distance = (x - &expected(i)).abs().as_f64();
                let tolerance = 10.0 * c.weights_tolerance;
                assert!(
                    distance <= tolerance,
                    "{}: {what}, weight {i}: {distance:e}",
                    tableau.name
                );
            }
        };
        let unit =
            |place: usize| move |i: usize| if i == place { Fixed::one() } else { Fixed::zero() };
        let (zero, one) = (Fixed::zero(), Fixed::one());
        close("start", &c.weights_at(&zero), &|_| Fixed::zero());
        close("end", &c.weights_at(&one), &|i| c.b.get(i).cloned().unwrap_or(Fixed::zero()));
        if tableau.order > 1 {
            close("slope at the start", &c.rates_at(&zero), &unit(0));
            close("slope at the end", &c.rates_at(&one), &unit(tableau.rows() - 1));
        }
    }
}

/// The polynomials of the code are those of the constants, and their derivatives too.
#[test]
fn weights_are_polynomials() {
    for tableau in tableaus() {
        let interpolant = &tableau.interpolant;
        for (i, row) in interpolant.weights.iter().enumerate() {
            for theta in [0.0, 0.25, 0.7, 1.0] {
                let value: f64 = row.iter().zip(1..).map(|(c, j)| c * f64::powi(theta, j)).sum();
                let rate: f64 = row
                    .iter()
                    .zip(1..)
                    .map(|(c, j)| c * f64::from(j) * f64::powi(theta, j - 1))
                    .sum();
                let size = 1.0 + row.iter().map(|c| 10.0 * c.abs()).sum::<f64>();
                assert!((interpolant.weight(i, theta) - value).abs() < 1e-15 * size);
                assert!((interpolant.weight_derivative(i, theta) - rate).abs() < 1e-15 * size);
            }
        }
    }
}
