//! Steps by programs beside steps stage by stage.

use costate_tape::{Function, Shape, Var};

use crate::integrator::Integrator;
use crate::method::Method;
use crate::options::{Options, Stepping};
use crate::stats::Stats;
use crate::vector_field::VectorField;

type Record = for<'t> fn(Var<'t, f64>, Var<'t, f64>, Var<'t, f64>) -> Var<'t, f64>;

/// A field, where it starts, and for how long.
type Problem = (Record, &'static [f64], f64);

/// One to four numbers; with the time, with Jacobians that change fast, with functions that are called.
const PROBLEMS: [Problem; 5] = [
    (|t, y, p| (t - y) * p.index_axis(0, 0) - y.square(), &[2.0], 3.0),
    (
        |_, y, p| {
            let [x, v] = [0, 1].map(|i| y.index_axis(0, i));
            let mu = p.index_axis(0, 0);
            Var::stack(0, &[v, mu * ((1.0 - x * x) * v - x)])
        },
        &[2.0, 0.0],
        5.0,
    ),
    (
        |_, y, p| {
            let [x, y, z] = [0, 1, 2].map(|i| y.index_axis(0, i));
            let (a, b, c) = (0.04 * x, p.index_axis(0, 1) * y * y, 1e4 * y * z);
            Var::stack(0, &[c - a, a - b - c, b])
        },
        &[1.0, 0.0, 0.0],
        300.0,
    ),
    (
        |t, y, p| {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| y.index_axis(0, i));
            let fast = p.index_axis(0, 0) * (b - a * c);
            Var::stack(0, &[fast + t, c * d - fast, d.sin() - c, a - d * d * d])
        },
        &[0.5, -1.0, 2.0, 0.1],
        1.0,
    ),
    // Where a try leaves its domain, it is not a number.
    (|_, y, p| -y.sqrt() * p.index_axis(0, 0) * y.ln().abs(), &[1.5, 3.0], 0.2),
];

/// The end of a solve by steps as programs, or stage by stage, what was done, and whether it failed.
fn solve(
    method: Method,
    (record, y0, end): Problem,
    options: Options,
    each: bool,
    at_once: bool,
) -> (Vec<f64>, Stats, bool) {
    let shapes = [Shape::scalar(), [y0.len()].into(), [2].into()];
    let function =
        Function::trace_shapes(&shapes, |_, x| Ok(vec![record(x[0], x[1], x[2])])).unwrap();
    let field = VectorField::new(function).unwrap().for_method(method).unwrap();
    let mut memory = field.memory();
    if at_once {
        field.make_native(&mut memory, method);
    }
    let captured: [&[f64]; 1] = [&[30.0, 3e7]];
    let mut f = field.at_work(&mut memory, &captured).unwrap();
    #[cfg(target_arch = "x86_64")]
    if at_once && std::arch::is_x86_feature_detected!("avx") {
        assert!(f.takes_stages());
    }
    let mut integrator = Integrator::new(method, y0, 0.0, end, options).unwrap();
    if each {
        let atol: Vec<f64> = (0..y0.len()).map(|i| 1e-9 * (i + 1) as f64).collect();
        integrator.set_atol(&atol).unwrap();
    }
    let mut fails = false;
    while !integrator.is_done() && !fails {
        fails = integrator.step(&mut f).is_err();
    }
    (integrator.y().to_vec(), integrator.stats(), fails)
}

#[test]
fn steps_are_those_taken_stage_by_stage() {
    let loose = Options::tolerance(1e-3, 1e-5);
    let tight = Options::tolerance(1e-7, 1e-9);
    let fixed = Options { stepping: Stepping::Steps(400), ..Options::default() };
    for method in Method::implicit() {
        let name = method.tableau().name;
        let compare = |number: usize, options: Options, each: bool| {
            let run = |at_once| solve(method, PROBLEMS[number], options, each, at_once);
            let ((found, stats, fails), (right, expected, fails_as_well)) = (run(true), run(false));
            assert_eq!(fails, fails_as_well, "{name}, problem {number}");
            // Equal steps may be too long.
            let adaptive = options.stepping == Stepping::Adaptive;
            assert!(!fails || !adaptive, "{name}, problem {number}, {options:?}");
            // What iterations may leave that get no closer.
            let bound = 1e-3 * options.rtol;
            for (a, b) in found.iter().zip(&right) {
                let what = format!("{name}, problem {number}: {a} and {b}");
                assert!((a - b).abs() <= bound * (1.0 + b.abs()), "{what}");
            }
            let steps = |stats: Stats| (stats.accepted, stats.rejected);
            assert_eq!(steps(stats), steps(expected), "{name}, problem {number}");
            // Rounding may decide whether one more iteration is made. A recorded Jacobian does not ask
            // for the slope at its place.
            let counts = |stats: Stats| [stats.f_evals, stats.jacobian_evals].map(|n| n as f64);
            let ([a, new], [b, all]) = (counts(stats), counts(expected));
            assert!(
                (new - all).abs() < 1.0 + 0.05 * all,
                "{name}, problem {number}: {new} and {all}"
            );
            assert!(a <= 1.05 * b && a + new >= 0.95 * b, "{name}, problem {number}: {a} and {b}");
        };
        for number in 0..PROBLEMS.len() {
            compare(number, fixed, false);
            compare(number, loose, false);
            // Euler's method would take too many steps.
            if method.tableau().order > 1 {
                compare(number, tight, false);
                compare(number, tight, true);
            }
        }
    }
}
