//! The implicit methods: stability, stiffness, and hard cases.

use costate_odeint::{
    Error, ErrorKind, Field, FieldError, Integrator, Kvaerno5, Method, Options, Rodas5P,
    RosenbrockTableau, Stepping, solve, with_jacobian,
};
use proptest::prelude::*;

/// All methods for stiff problems.
fn methods() -> impl Iterator<Item = Method> {
    Method::implicit().into_iter().chain([Rodas5P.into()])
}

fn rodas5p() -> &'static RosenbrockTableau {
    let Method::Rosenbrock(method) = Rodas5P.into() else { panic!("a Rosenbrock method") };
    method
}

/// A field as a closure.
type Plain = dyn Fn(f64, &[f64], &mut [f64]);

/// First guesses are right for constant slopes. The other constants are looked at in
/// `order_conditions`.
#[test]
fn first_guesses() {
    for method in Method::implicit() {
        let Method::Implicit(dirk) = method else { panic!("an implicit method") };
        assert!(!dirk.tableau.is_explicit() && dirk.tableau.error_needs_end());
        for (i, row) in dirk.predictor.iter().enumerate() {
            assert_eq!(row.len(), i);
            let sum: f64 = row.iter().sum();
            assert!(i == 0 || (sum - 1.0).abs() < 1e-4, "{}: {i}", dirk.tableau.name);
        }
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
