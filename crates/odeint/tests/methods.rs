//! Every method: its order conditions, the order measured on problems, and its interpolant.

use costate_odeint::{Method, Options, Stepping, Tableau, solve};

/// A rooted tree, as the list of the subtrees at its root.
#[derive(Clone)]
struct Tree(Vec<Tree>);

impl Tree {
    fn vertices(&self) -> usize {
        1 + self.0.iter().map(Tree::vertices).sum::<usize>()
    }

    /// The density: the product over all vertices of the size of the tree below.
    fn density(&self) -> f64 {
        self.vertices() as f64 * self.0.iter().map(Tree::density).product::<f64>()
    }

    /// The elementary weight of each stage: `Π_subtrees Σ_j a_ij Φ_j`.
    fn weights(&self, tableau: &Tableau) -> Vec<f64> {
        let below: Vec<Vec<f64>> = self.0.iter().map(|t| t.weights(tableau)).collect();
        (0..tableau.rows())
            .map(|i| {
                let sum =
                    |w: &Vec<f64>| tableau.a[i].iter().zip(w).map(|(a, w)| a * w).sum::<f64>();
                below.iter().map(sum).product()
            })
            .collect()
    }
}

/// All rooted trees with up to `n` vertices, made by hanging one on the root of another; some come
/// twice, which does no harm.
fn trees(n: usize) -> Vec<Tree> {
    let mut all = vec![Tree(vec![])];
    for size in 2..=n {
        let known = all.clone();
        for root in &known {
            for child in &known {
                if root.vertices() + child.vertices() == size {
                    let mut tree = root.clone();
                    tree.0.push(child.clone());
                    all.push(tree);
                }
            }
        }
    }
    all
}

/// The largest violation of an order condition with exactly `vertices` vertices.
fn violation(tableau: &Tableau, b: &[f64], vertices: usize) -> f64 {
    violation_at(tableau, b, vertices, 1.0)
}

/// The same for weights `b` of the state at `theta` within a step.
fn violation_at(tableau: &Tableau, b: &[f64], vertices: usize, theta: f64) -> f64 {
    let same_size = trees(vertices).into_iter().filter(|t| t.vertices() == vertices);
    same_size
        .map(|tree| {
            let sum: f64 = b.iter().zip(tree.weights(tableau)).map(|(b, w)| b * w).sum();
            (sum - theta.powi(vertices as i32) / tree.density()).abs()
        })
        .fold(0.0, f64::max)
}

/// What rounding may do to an order condition. Tsit5 is published as decimals with 16 digits, some
/// of them of size 10; the others are rational.
fn rounding(tableau: &Tableau) -> f64 {
    if tableau.name == "Tsit5" { 2e-14 } else { 2e-15 }
}

#[test]
fn order_conditions() {
    for method in Method::all() {
        let tableau = method.tableau();
        for order in 1..=tableau.order as usize {
            let v = violation(tableau, tableau.b, order);
            assert!(v < rounding(tableau), "{}: order {order} violated by {v:e}", tableau.name);
        }
        let above = violation(tableau, tableau.b, tableau.order as usize + 1);
        assert!(above > 1e-5, "{}: of higher order than stated", tableau.name);
        if let (Some(error), Some(embedded)) = (tableau.error, tableau.embedded_order) {
            let b: Vec<f64> = tableau.b.iter().zip(error).map(|(b, e)| b - e).collect();
            for order in 1..=embedded as usize {
                let v = violation(tableau, &b, order);
                assert!(v < rounding(tableau), "{}: embedded order {order}, {v:e}", tableau.name);
            }
            assert!(violation(tableau, &b, embedded as usize + 1) > 1e-5, "{}", tableau.name);
        }
    }
}

#[test]
fn tableaus_are_consistent() {
    for method in Method::all() {
        let tableau = method.tableau();
        let rows = tableau.rows();
        assert_eq!(tableau.a.len(), rows);
        assert_eq!(tableau.c.len(), rows);
        for (a, c) in tableau.a.iter().zip(tableau.c) {
            assert!((a.iter().sum::<f64>() - c).abs() < 1e-14, "{}: c = A 1", tableau.name);
        }
        assert_eq!(tableau.a[rows - 1], &tableau.b[..rows - 1], "{}: end row", tableau.name);
        assert_eq!(tableau.b[rows - 1], 0.0);
        assert_eq!(tableau.c[rows - 1], 1.0);
    }
}

#[test]
fn interpolants_meet_the_ends() {
    for method in Method::all() {
        let tableau = method.tableau();
        let interpolant = &tableau.interpolant;
        assert_eq!(interpolant.weights.len(), tableau.rows());
        for i in 0..tableau.rows() {
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-13, "{}: {i}", tableau.name);
            close(interpolant.weight(i, 0.0), 0.0);
            close(interpolant.weight(i, 1.0), tableau.b[i]);
            if tableau.order > 1 {
                let last = tableau.rows() - 1;
                close(interpolant.weight_derivative(i, 0.0), if i == 0 { 1.0 } else { 0.0 });
                close(interpolant.weight_derivative(i, 1.0), if i == last { 1.0 } else { 0.0 });
            }
            let numeric =
                (interpolant.weight(i, 0.5 + 1e-5) - interpolant.weight(i, 0.5 - 1e-5)) / 2e-5;
            assert!((numeric - interpolant.weight_derivative(i, 0.5)).abs() < 1e-8);
        }
    }
}

/// `y' = y cos t` and a coupled nonlinear, non-autonomous pair, with known solutions.
fn field(t: f64, y: &[f64], dy: &mut [f64]) {
    dy[0] = y[0] * t.cos();
    dy[1] = -y[2] + (y[1] * y[1] + y[2] * y[2] - 1.0) * t;
    dy[2] = y[1];
}

fn exact(t: f64) -> [f64; 3] {
    [t.sin().exp(), t.cos(), t.sin()]
}

/// The error at given times with `n` equal steps over [0, 2], or backward.
fn error(method: Method, n: usize, ts: &[f64]) -> f64 {
    let options = Options { stepping: Stepping::Steps(n), ..Options::default() };
    let solution = solve(method, field, &exact(ts[0]), ts, &options).unwrap();
    let errors = ts.iter().enumerate().flat_map(|(i, &t)| {
        solution.y(i).iter().zip(exact(t)).map(|(y, e)| (y - e).abs()).collect::<Vec<_>>()
    });
    errors.fold(0.0, f64::max)
}

fn slope(method: Method, ts: &[f64]) -> f64 {
    let n = if method.tableau().order == 1 { 1000 } else { 60 };
    (error(method, n, ts) / error(method, 4 * n, ts)).log2() / 2.0
}

#[test]
fn order_of_convergence() {
    for method in Method::all() {
        let tableau = method.tableau();
        for ts in [[0.0, 2.0], [2.0, 0.0]] {
            let found = slope(method, &ts);
            let order = f64::from(tableau.order);
            assert!((found - order).abs() < 0.3, "{}: {found} for {order}", tableau.name);
        }
    }
}

/// The states between steps converge with the order of the method, or one above that of the weights.
#[test]
fn order_of_the_states_between_steps() {
    for method in Method::all() {
        let tableau = method.tableau();
        let ts: Vec<f64> = (0..=271).map(|i| 2.0 * f64::from(i) / 271.0).collect();
        let found = slope(method, &ts);
        let order = f64::from(tableau.order.min(tableau.interpolant.order + 1));
        assert!((found - order).abs() < 0.4, "{}: {found} for {order}", tableau.name);
    }
}

/// `Σ b_i(θ) Φ_i(tree) = θ^|tree| / γ(tree)` up to the order that is stated, and not beyond.
#[test]
fn order_conditions_of_interpolants() {
    for method in Method::all() {
        let tableau = method.tableau();
        let order = tableau.interpolant.order as usize;
        for tenth in 1..10 {
            let theta = f64::from(tenth) / 10.0;
            let b: Vec<f64> =
                (0..tableau.rows()).map(|i| tableau.interpolant.weight(i, theta)).collect();
            for n in 1..=order {
                let v = violation_at(tableau, &b, n, theta);
                assert!(v < 1e-13, "{}: order {n} at {theta}: {v:e}", tableau.name);
            }
            let above = violation_at(tableau, &b, order + 1, theta);
            assert!(above > 1e-5, "{}: of higher order than stated", tableau.name);
        }
    }
}

/// The two-body problem with eccentricity 0.5, whose orbit closes after 2π.
#[test]
fn error_follows_the_tolerance() {
    let kepler = |_: f64, y: &[f64], dy: &mut [f64]| {
        let r3 = (y[0] * y[0] + y[1] * y[1]).powf(1.5);
        (dy[0], dy[1], dy[2], dy[3]) = (y[2], y[3], -y[0] / r3, -y[1] / r3);
    };
    let y0 = [0.5, 0.0, 0.0, 3f64.sqrt()];
    for method in Method::all().into_iter().filter(|m| m.tableau().embedded_order >= Some(4)) {
        let mut last = f64::INFINITY;
        for exponent in [4, 6, 8, 10] {
            let tolerance = 10f64.powi(-exponent);
            let options = Options::tolerance(tolerance, tolerance);
            let ts = [0.0, std::f64::consts::TAU];
            let solution = solve(method, kepler, &y0, &ts, &options).unwrap();
            let error =
                solution.y(1).iter().zip(y0).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 3000.0 * tolerance, "{}: {error:e}", method.tableau().name);
            assert!(error < last / 5.0, "{}: {error:e} after {last:e}", method.tableau().name);
            last = error;
        }
    }
}

/// The Arenstorf orbit (Hairer, Nørsett, Wanner, II.0), which closes after the stated period.
#[test]
fn arenstorf_orbit_closes() {
    const MU: f64 = 0.012277471;
    let f = |_: f64, y: &[f64], dy: &mut [f64]| {
        let d1 = ((y[0] + MU).powi(2) + y[1].powi(2)).powf(1.5);
        let d2 = ((y[0] - 1.0 + MU).powi(2) + y[1].powi(2)).powf(1.5);
        dy[0] = y[2];
        dy[1] = y[3];
        dy[2] = y[0] + 2.0 * y[3] - (1.0 - MU) * (y[0] + MU) / d1 - MU * (y[0] - 1.0 + MU) / d2;
        dy[3] = y[1] - 2.0 * y[2] - (1.0 - MU) * y[1] / d1 - MU * y[1] / d2;
    };
    let y0 = [0.994, 0.0, 0.0, -2.001_585_106_379_082_5];
    let ts = [0.0, 17.065_216_560_157_964];
    for method in Method::all().into_iter().filter(|m| m.tableau().embedded_order >= Some(4)) {
        let solution = solve(method, f, &y0, &ts, &Options::tolerance(1e-12, 1e-12)).unwrap();
        assert!((solution.y(1)[0] - y0[0]).abs() < 1e-5);
        assert!(solution.y(1)[1].abs() < 1e-5);
    }
}
