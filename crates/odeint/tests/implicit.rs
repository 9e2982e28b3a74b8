//! The implicit methods: order conditions, stability, the order measured on problems, and hard
//! cases.

use costate_odeint::{
    Error, ErrorKind, Field, FieldError, Integrator, Kvaerno5, Method, Options, Rodas5P,
    RosenbrockTableau, Stepping, Tableau, solve, with_jacobian,
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

/// All methods for stiff problems.
fn methods() -> impl Iterator<Item = Method> {
    Method::implicit().into_iter().chain([Rodas5P.into()])
}

fn rodas5p() -> &'static RosenbrockTableau {
    let Method::Rosenbrock(method) = Rodas5P.into() else { panic!("a Rosenbrock method") };
    method
}

/// A Rosenbrock method in the form in which its order conditions are stated: `α`, `β = α + Γ`, and
/// `Γ`, by which weights of the other form are multiplied.
struct Classical {
    alpha: Vec<Vec<f64>>,
    beta: Vec<Vec<f64>>,
    gamma: Vec<Vec<f64>>,
}

impl Classical {
    /// `Γ⁻¹ = 1/γ - C`, `α = A Γ` (Hairer, Wanner, IV.7).
    fn of(method: &RosenbrockTableau) -> Classical {
        let n = method.stages().len();
        let mut gamma = vec![vec![0.0; n]; n];
        for i in 0..n {
            let (done, rest) = gamma.split_at_mut(i);
            for (j, entry) in rest[0][..=i].iter_mut().enumerate() {
                let right = f64::from(u8::from(i == j));
                let column: Vec<f64> = done.iter().map(|row| row[j]).collect();
                *entry = method.gamma * (right + dot(&method.coupling[i + 1][1..], &column));
            }
        }
        let a = |i: usize| &method.tableau.a[i + 1][1..=n.min(i + 1)];
        let alpha: Vec<Vec<f64>> = (0..n).map(|i| product(a(i), &gamma)).collect();
        let add = |(a, g): (&Vec<f64>, &Vec<f64>)| a.iter().zip(g).map(|(a, g)| a + g).collect();
        let beta = alpha.iter().zip(&gamma).map(add).collect();
        Classical { alpha, beta, gamma }
    }

    /// The weights of an order condition: a vertex with one child has `β`, with more `α`.
    fn weights(&self, tree: &Tree) -> Vec<f64> {
        let below: Vec<Vec<f64>> = tree.0.iter().map(|t| self.weights(t)).collect();
        let matrix = if below.len() == 1 { &self.beta } else { &self.alpha };
        let sum = |i: usize, w: &[f64]| dot(&matrix[i], w);
        (0..self.alpha.len()).map(|i| below.iter().map(|w| sum(i, w)).product()).collect()
    }

    /// The largest violation of an order condition with `n` vertices, for weights of the tableau.
    fn violation(&self, b: &[f64], n: usize, theta: f64) -> f64 {
        let b = product(&b[1..b.len() - 1], &self.gamma);
        let exact = |tree: &Tree| theta.powi(n as i32) / tree.density();
        let wrong = |tree: Tree| (dot(&b, &self.weights(&tree)) - exact(&tree)).abs();
        trees(n).into_iter().map(wrong).fold(0.0, f64::max)
    }
}

fn product(row: &[f64], matrix: &[Vec<f64>]) -> Vec<f64> {
    let n = matrix.len();
    (0..n).map(|j| row.iter().zip(matrix).map(|(x, row)| x * row[j]).sum()).collect()
}

#[test]
fn order_conditions_of_rosenbrock_methods() {
    let method = rodas5p();
    let (tableau, classical) = (&method.tableau, Classical::of(method));
    for i in method.stages() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-13, "stage {i}: {a} {b}");
        close(classical.alpha[i - 1].iter().sum(), tableau.c[i]);
        close(classical.gamma[i - 1].iter().sum(), method.time[i]);
    }
    for n in 1..=5 {
        let v = classical.violation(tableau.b, n, 1.0);
        assert!(v < 1e-12, "order {n} violated by {v:e}");
    }
    assert!(classical.violation(tableau.b, 6, 1.0) > 1e-5);
    let embedded: Vec<f64> =
        tableau.b.iter().zip(tableau.error.unwrap()).map(|(b, e)| b - e).collect();
    for n in 1..=4 {
        let v = classical.violation(&embedded, n, 1.0);
        assert!(v < 1e-12, "embedded order {n} violated by {v:e}");
    }
    assert!(classical.violation(&embedded, 5, 1.0) > 1e-5);
    for theta in [0.1, 0.3, 0.5, 0.8] {
        let weights: Vec<f64> =
            (0..tableau.rows()).map(|i| tableau.interpolant.weight(i, theta)).collect();
        for n in 1..=4 {
            let v = classical.violation(&weights, n, theta);
            assert!(v < 1e-12, "order {n} at {theta} violated by {v:e}");
        }
    }
    // R(∞) = 1 - bᵀ B⁻¹ 1, by substitution.
    let b = product(&tableau.b[1..9], &classical.gamma);
    let mut x: Vec<f64> = Vec::new();
    for (i, row) in classical.beta.iter().enumerate() {
        x.push((1.0 - dot(&row[..i], &x)) / row[i]);
    }
    assert!((1.0 - dot(&b, &x)).abs() < 1e-12);
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
    for method in methods() {
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
    for method in methods() {
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
    for method in methods() {
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
    for method in methods().filter(|m| m.tableau().order > 1) {
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
    for method in methods() {
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
        let diagonal = match method {
            Method::Implicit(dirk) => dirk.diagonal(),
            _ => rodas5p().gamma,
        };
        let pole = 1.0 / (h * diagonal);
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
    for method in methods() {
        let solution =
            solve(method, f, &[0.0f32], &[0.0, 2.0], &Options::tolerance(1e-3, 1e-4)).unwrap();
        assert!((solution.y(1)[0] - 2f32.cos()).abs() < 3e-3, "{}", method.tableau().name);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever a field returns, a solve ends after the steps it may try.
    #[test]
    fn nothing_hangs(seed in any::<u64>(), which in 0..methods().count()) {
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
        let method = methods().nth(which).unwrap();
        let options = Options { max_steps: 200, ..Options::default() };
        let result = solve(method, f, &[1.0, -0.5], &[0.0, 1.0], &options);
        if let Err(e) = result
            && let ErrorKind::MaxSteps { steps, .. } = e.kind()
        {
            prop_assert_eq!(*steps, 200);
        }
    }
}

/// `y' = -rate (y - sin t) + cos t` (Prothero and Robinson) with its derivatives.
struct Relaxation {
    rate: f64,
}

impl Field<f64> for Relaxation {
    fn eval(&mut self, t: f64, y: &[f64], dy: &mut [f64]) -> Result<(), FieldError> {
        dy[0] = -self.rate * (y[0] - t.sin()) + t.cos();
        Ok(())
    }

    fn jacobian(
        &mut self,
        _: f64,
        _: &[f64],
        _: &[f64],
        out: &mut [f64],
    ) -> Result<(), FieldError> {
        out[0] = -self.rate;
        Ok(())
    }

    fn time_derivative(
        &mut self,
        t: f64,
        _: &[f64],
        _: &[f64],
        out: &mut [f64],
    ) -> Result<(), FieldError> {
        out[0] = self.rate * t.cos() - t.sin();
        Ok(())
    }
}

/// At any stiffness the error falls with order 3 at least, and does not grow with it; with many steps
/// for the time scale the order is 5.
#[test]
fn rosenbrock_methods_keep_their_order_on_stiff_problems() {
    let solve = |n: usize, rate: f64| {
        let ts = [0.0, 0.37, 2.0];
        let solution = solve(Rodas5P, Relaxation { rate }, &[0.0], &ts, &Options::steps(n));
        let solution = solution.unwrap();
        [1, 2].map(|i| (solution.y(i)[0] - solution.ts[i].sin()).abs())
    };
    for rate in [1e0, 1e2, 1e3, 1e4, 1e6, 1e8] {
        let ([_, coarse], [between, fine]) = (solve(16, rate), solve(128, rate));
        let slope = (coarse / fine).log2() / 3.0;
        assert!(slope > 2.9 || fine < 1e-13, "rate {rate:e}: {slope} at {fine:e}");
        assert!(fine < 1e-11 && between < 1e-11, "rate {rate:e}: {fine:e} {between:e}");
    }
}
