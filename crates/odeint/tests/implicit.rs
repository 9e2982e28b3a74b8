//! The implicit methods: order conditions, stability, the order measured on problems, and hard
//! cases.

use costate_odeint::{
    Error, ErrorKind, Integrator, Kvaerno5, Method, Options, Stepping, Tableau, solve,
    with_jacobian,
};
use proptest::prelude::*;

/// A rooted tree, as the list of the subtrees at its root.
#[derive(Clone)]
struct Tree(Vec<Tree>);

impl Tree {
    fn vertices(&self) -> usize {
        1 + self.0.iter().map(Tree::vertices).sum::<usize>()
    }

    fn density(&self) -> f64 {
        self.vertices() as f64 * self.0.iter().map(Tree::density).product::<f64>()
    }

    /// The elementary weight of each stage: `Π_subtrees Σ_j a_ij Φ_j`.
    fn weights(&self, tableau: &Tableau) -> Vec<f64> {
        let below: Vec<Vec<f64>> = self.0.iter().map(|t| t.weights(tableau)).collect();
        let sum = |i: usize, w: &[f64]| dot(tableau.a[i], w);
        (0..tableau.rows()).map(|i| below.iter().map(|w| sum(i, w)).product()).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// All rooted trees with exactly `n` vertices; some come twice, which does no harm.
fn trees(n: usize) -> Vec<Tree> {
    if n == 1 {
        return vec![Tree(vec![])];
    }
    let mut all = Vec::new();
    for size in 1..n {
        for root in trees(n - size) {
            for child in trees(size) {
                let mut tree = root.clone();
                tree.0.push(child);
                all.push(tree);
            }
        }
    }
    all
}

/// The largest violation of an order condition with `n` vertices, for weights of the state at
/// `theta` within a step.
fn violation(tableau: &Tableau, b: &[f64], n: usize, theta: f64) -> f64 {
    let exact = |tree: &Tree| theta.powi(n as i32) / tree.density();
    let wrong = |tree: Tree| (dot(b, &tree.weights(tableau)) - exact(&tree)).abs();
    trees(n).into_iter().map(wrong).fold(0.0, f64::max)
}

fn tableaus() -> impl Iterator<Item = &'static Tableau> {
    Method::implicit().into_iter().map(Method::tableau)
}

/// A field as a closure.
type Plain = dyn Fn(f64, &[f64], &mut [f64]);

#[test]
fn order_conditions() {
    for tableau in tableaus() {
        let (name, order) = (tableau.name, tableau.order as usize);
        for n in 1..=order {
            let v = violation(tableau, tableau.b, n, 1.0);
            assert!(v < 2e-15, "{name}: order {n} violated by {v:e}");
        }
        assert!(violation(tableau, tableau.b, order + 1, 1.0) > 1e-4, "{name}: of higher order");
        let b: Vec<f64> =
            tableau.b.iter().zip(tableau.error.unwrap()).map(|(b, e)| b - e).collect();
        let embedded = tableau.embedded_order.unwrap() as usize;
        for n in 1..=embedded {
            let v = violation(tableau, &b, n, 1.0);
            assert!(v < 2e-15, "{name}: embedded order {n}, {v:e}");
        }
        // One of the two methods has no higher order, or the estimate would be too small.
        let lower = violation(tableau, &b, embedded + 1, 1.0);
        assert!(lower.max(violation(tableau, tableau.b, embedded + 1, 1.0)) > 1e-4, "{name}");
    }
}

#[test]
fn order_conditions_of_interpolants() {
    for tableau in tableaus() {
        let order = tableau.interpolant.order as usize;
        for theta in [0.1, 0.3, 0.5, 0.8] {
            let weight = |i| tableau.interpolant.weight(i, theta);
            let b: Vec<f64> = (0..tableau.rows()).map(weight).collect();
            for n in 1..=order {
                let v = violation(tableau, &b, n, theta);
                assert!(v < 1e-14, "{}: order {n} at {theta}: {v:e}", tableau.name);
            }
            assert!(violation(tableau, &b, order + 1, theta) > 1e-5, "{}", tableau.name);
        }
        for i in 0..tableau.rows() {
            let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-14, "{}: {i}", tableau.name);
            close(tableau.interpolant.weight(i, 0.0), 0.0);
            close(tableau.interpolant.weight(i, 1.0), tableau.b[i]);
            if tableau.order > 1 {
                let last = tableau.rows() - 1;
                let one = |yes: bool| f64::from(u8::from(yes));
                close(tableau.interpolant.weight_derivative(i, 0.0), one(i == 0));
                close(tableau.interpolant.weight_derivative(i, 1.0), one(i == last));
            }
        }
    }
}

#[test]
fn tableaus_are_consistent() {
    for method in Method::implicit() {
        let Method::Implicit(dirk) = method else { panic!("an implicit method") };
        let tableau = &dirk.tableau;
        let last = tableau.rows() - 1;
        assert!(!tableau.is_explicit());
        assert_eq!((tableau.a.len(), tableau.c.len()), (last + 1, last + 1));
        assert!(tableau.a[0].is_empty() && tableau.c[0] == 0.0);
        for i in 1..=last {
            let name = tableau.name;
            let sum: f64 = tableau.a[i].iter().sum();
            assert!((sum - tableau.c[i]).abs() < 1e-15, "{name}: c = A 1");
            assert_eq!(tableau.a[i].len(), i + 1);
            assert_eq!(tableau.a[i][i], dirk.diagonal(), "{name}: one diagonal");
            assert_eq!(dirk.predictor[i].len(), i);
            let sum: f64 = dirk.predictor[i].iter().sum();
            assert!((sum - 1.0).abs() < 1e-4, "{name}: the first guess of constant slopes");
        }
        assert_eq!(tableau.a[last], tableau.b, "stiffly accurate");
        assert_eq!(tableau.c[last], 1.0);
        assert!(tableau.error_needs_end());
    }
}

/// `|R(i x)|` and `R(-x)` of the stability function `R(z)`, by a step of `y' = λ y` as a real
/// system.
fn amplification(method: Method, re: f64, im: f64) -> f64 {
    let f = move |_: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = re * y[0] - im * y[1];
        dy[1] = im * y[0] + re * y[1];
    };
    let jacobian = move |_: f64, _: &[f64], j: &mut [f64]| j.copy_from_slice(&[re, -im, im, re]);
    let field = with_jacobian(f, jacobian);
    let y = solve(method, field, &[1.0, 0.0], &[0.0, 1.0], &Options::steps(1)).unwrap();
    y.y(1)[0].hypot(y.y(1)[1])
}

#[test]
fn stability() {
    for method in Method::implicit() {
        let name = method.tableau().name;
        for exponent in -20..=24 {
            let x = 2f64.powf(f64::from(exponent) / 2.0);
            for angle in [0.5, 0.55, 0.7, 0.9, 1.0] {
                let (im, re) = (std::f64::consts::PI * angle).sin_cos();
                let re = if angle == 0.5 { 0.0 } else { re };
                let r = amplification(method, x * re, x * im);
                assert!(r <= 1.0 + 1e-12, "{name}: |R| = 1 + {:e} at {x} {angle}", r - 1.0);
            }
        }
        // L-stable: R(∞) = 0.
        for decay in [1e6, 1e10] {
            assert!(amplification(method, -decay, 0.0) < 30.0 / decay, "{name} {decay}");
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

/// The error at given times with `n` equal steps.
fn error(method: Method, n: usize, ts: &[f64]) -> f64 {
    let options = Options { stepping: Stepping::Steps(n), ..Options::default() };
    let solution = solve(method, field, &exact(ts[0]), ts, &options).unwrap();
    let errors = ts.iter().enumerate().flat_map(|(i, &t)| {
        solution.y(i).iter().zip(exact(t)).map(|(y, e)| (y - e).abs()).collect::<Vec<_>>()
    });
    errors.fold(0.0, f64::max)
}

#[test]
fn order_of_convergence() {
    let between: Vec<f64> = (0..=271).map(|i| 2.0 * f64::from(i) / 271.0).collect();
    for method in Method::implicit() {
        let order = method.tableau().order;
        let n = [0, 1000, 60, 60, 40, 16][order as usize];
        for ts in [&[0.0, 2.0], &[2.0, 0.0], &between[..]] {
            let slope = (error(method, n, ts) / error(method, 4 * n, ts)).log2() / 2.0;
            let name = method.tableau().name;
            assert!((slope - f64::from(order)).abs() < 0.3, "{name}: {slope} for {order}");
        }
    }
}

/// A stiff linear equation with a slow solution (A. Prothero, A. Robinson, Math. Comp. 28 (1974)
/// 145): the error does not grow with stiffness, and order 2 is left of the method's.
#[test]
fn stiffness_costs_no_stability() {
    for method in Method::implicit() {
        let solve = |n: usize, rate: f64| {
            let f = |t: f64, y: &[f64], dy: &mut [f64]| {
                dy[0] = -rate * (y[0] - t.sin()) + t.cos();
            };
            let solution = solve(method, f, &[0.0], &[0.0, 1.0], &Options::steps(n)).unwrap();
            (solution.y(1)[0] - 1f64.sin()).abs()
        };
        for rate in [1e4, 1e8] {
            let e = solve(20, rate);
            assert!(e < 1e-3, "{}: {e:e} at rate {rate:e}", method.tableau().name);
        }
    }
}

/// A grid taken again by `step_to` gives the same bits, though the first time steps were rejected.
#[test]
fn a_grid_taken_again_gives_the_same_bits() {
    let mut f = |_: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = y[1];
        dy[1] = 30.0 * (1.0 - y[0] * y[0]) * y[1] - y[0];
    };
    for method in Method::implicit().into_iter().filter(|m| m.tableau().order > 1) {
        let options = Options::tolerance(1e-5, 1e-7);
        let start = || Integrator::new(method, &[2.0, 0.0], 0.0, 60.0, options).unwrap();
        let (mut first, mut again) = (start(), start());
        while !first.is_done() {
            first.step(&mut f).unwrap();
            again.step_to(&mut f, first.t()).unwrap();
            assert_eq!(first.y(), again.y());
            assert_eq!(first.last_step().k, again.last_step().k);
        }
        assert!(first.stats().rejected >= 10, "{}: {}", method.tableau().name, first.stats());
        assert!(first.stats().jacobian_evals > 0 && first.stats().factorisations > 0);
    }
}

fn kind(e: Result<impl Sized, Error>) -> String {
    match e {
        Ok(_) => "solved".into(),
        Err(e) => format!("{:?}", e.kind()),
    }
}

#[test]
fn hard_cases() {
    let options = Options::default();
    for method in Method::implicit() {
        let run =
            |f: &Plain, options: &Options| kind(solve(method, f, &[1.0], &[0.0, 2.0], options));
        let nan = |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = if t > 1.0 { f64::NAN } else { 1.0 };
        assert!(run(&nan, &options).contains("NonFinite"), "{}", run(&nan, &options));
        assert!(run(&nan, &Options::steps(7)).contains("NonFinite"));
        // y' = y² goes to infinity at t = 1.
        let blow_up = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = y[0] * y[0];
        let found = run(&blow_up, &options);
        let expected = ["NonFinite", "StepTooSmall", "Diverged"];
        assert!(expected.iter().any(|e| found.contains(e)), "{found}");
        // The field jumps where the solution gets stuck: no implicit stage has a solution there.
        let jump = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = if y[0] > 0.5 { -1.0 } else { 1.0 };
        let found = run(&jump, &Options { max_steps: 10_000, ..options });
        assert_ne!(found, "solved");
        // A Jacobian for which the matrix of the first try is singular.
        let h = 0.25;
        let Method::Implicit(dirk) = method else { panic!("an implicit method") };
        let pole = 1.0 / (h * dirk.diagonal());
        let f = with_jacobian(
            |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = pole * y[0],
            |_: f64, _: &[f64], j: &mut [f64]| j[0] = pole,
        );
        let fixed = Options { stepping: Stepping::Fixed(h), ..options };
        let found = kind(solve(method, f, &[1.0], &[0.0, 1.0], &fixed));
        assert!(found.contains("NonFinite") || found.contains("Diverged"), "{found}");
        let adaptive = Options { dt0: Some(h), ..options };
        let solution = solve(method, f, &[1.0], &[0.0, 1.0], &adaptive).unwrap();
        assert!((solution.y(1)[0].ln() - pole).abs() < 1e-2 * pole);
    }
    // A wrong Jacobian costs iterations, not the solution.
    let wrong = with_jacobian(
        |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0],
        |_: f64, _: &[f64], j: &mut [f64]| j[0] = 1.0,
    );
    let solution = solve(Kvaerno5, wrong, &[1.0], &[0.0, 1.0], &options).unwrap();
    assert!((solution.y(1)[0] - (-1f64).exp()).abs() < 1e-5);
}

#[test]
fn single_precision() {
    let f = |t: f64, y: &[f32], dy: &mut [f32]| dy[0] = -1e3 * (y[0] - (t as f32).cos());
    for method in Method::implicit() {
        let solution =
            solve(method, f, &[0.0f32], &[0.0, 2.0], &Options::tolerance(1e-3, 1e-4)).unwrap();
        assert!((solution.y(1)[0] - 2f32.cos()).abs() < 3e-3, "{}", method.tableau().name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever a field returns, a solve ends after the steps it may try.
    #[test]
    fn nothing_hangs(seed in any::<u64>(), which in 0..Method::implicit().len()) {
        let mut state = seed;
        let f = |_: f64, y: &[f64], dy: &mut [f64]| {
            for (dy, y) in dy.iter_mut().zip(y) {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *dy = match state >> 60 {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => 1e300 * y,
                    n => n as f64 - 8.0 - y,
                };
            }
        };
        let method = Method::implicit()[which];
        let options = Options { max_steps: 200, ..Options::default() };
        let result = solve(method, f, &[1.0, -0.5], &[0.0, 1.0], &options);
        if let Err(e) = result
            && let ErrorKind::MaxSteps { steps, .. } = e.kind()
        {
            prop_assert_eq!(*steps, 200);
        }
    }
}
