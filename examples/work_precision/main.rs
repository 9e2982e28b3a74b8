//! Work against precision: what an error costs with each method, in evaluations of the field and
//! in time, as a table and as pictures.

mod log_log;
mod plot;
mod problems;
mod stiff;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use costate_odeint::{
    Auto, Bdf, Dopri5, KenCarp4Imex, Method, Options, Rodas5P, Scheme, Solution, Verner9, solve,
    with_jacobian,
};
use log_log::choose;
use problems::{Problem, problems};

/// Measure error against work for every method, and on stiff problems for those that suit them.
#[derive(Parser)]
struct Arguments {
    /// One problem only: lotka_volterra, brusselator, lorenz, kepler, pleiades, robertson,
    /// van_der_pol, hires or oregonator
    #[arg(long)]
    problem: Option<String>,
    /// The folder for the pictures
    #[arg(long, default_value = "target/work_precision")]
    out: PathBuf,
}

/// One solve.
struct Point {
    error: f64,
    evaluations: usize,
    seconds: f64,
}

/// The solves with one method.
struct Series {
    name: &'static str,
    points: Vec<Point>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(&arguments.out)
        .map_err(|e| format!("{}: {e}", arguments.out.display()))?;
    let chosen = choose(problems(), |p| p.name, arguments.problem.as_deref())?;
    for problem in chosen {
        let series = measure(&problem)?;
        table(&problem, &series);
        let path = arguments.out.join(format!("{}.svg", problem.name));
        plot::work_precision(&path, problem.name, &series)?;
        println!("{}\n", path.display());
    }
    Ok(())
}

/// The methods that suit a problem, each with options from loose to tight.
fn ways(problem: &Problem) -> Vec<(Method, Vec<Options>)> {
    let mut all = Vec::new();
    if problem.stiff.is_none() {
        all.extend(Method::all());
        all.extend([Scheme::ReversibleHeun, Scheme::AsynchronousLeapfrog].map(Method::from));
        all.push(Scheme::coupled(Dopri5, 0.999).into());
    }
    if problem.separable {
        all.extend(Method::symplectic());
    }
    all.extend(Method::implicit());
    all.extend([Method::from(KenCarp4Imex), Rodas5P.into(), Bdf.into(), Auto.into()]);
    all.into_iter().map(|method| (method, options(method, problem))).collect()
}

/// Tolerances, down to those at which a method is of use, or numbers of steps.
fn options(method: Method, problem: &Problem) -> Vec<Options> {
    let tableau = method.tableau();
    let explicit = matches!(method, Method::Explicit(_) | Method::Reversible(_));
    if tableau.embedded_order.is_none() || (explicit && tableau.embedded_order == Some(1)) {
        return (0..9).map(|i| Options::steps(50 << i)).collect();
    }
    let atol = problem.stiff.as_ref().map_or(1.0, |stiff| stiff.atol);
    let tightest = match tableau.order {
        1 => 4,
        2 => 6,
        3 => 9,
        _ if method.needs_jacobian() => 11,
        _ => 13,
    };
    let tolerance = |tol: f64| Options::tolerance(tol, atol * tol);
    (3..=tightest).map(|i| tolerance(10f64.powi(-i))).collect()
}

/// The name in table and picture.
fn name(method: Method) -> &'static str {
    match method {
        Method::Auto => "Auto",
        Method::Reversible(Scheme::Coupled { .. }) => "coupled Dopri5",
        _ => method.tableau().name,
    }
}

/// The states at the start and the end.
fn ends(
    method: Method,
    problem: &Problem,
    options: &Options,
) -> Result<Solution<f64>, costate_odeint::Error> {
    let ts = [0.0, problem.end];
    match &problem.stiff {
        Some(stiff) => {
            let field = with_jacobian(problem.field, stiff.jacobian);
            solve(method, field, &problem.y0, &ts, options)
        }
        None => solve(method, problem.field, &problem.y0, &ts, options),
    }
}

/// The largest error: relative for stiff problems, whose components differ in size.
fn distance(problem: &Problem, found: &[f64], reference: &[f64]) -> f64 {
    let error = |(a, b): (&f64, &f64)| match problem.stiff {
        Some(_) => ((a - b) / b).abs(),
        None => (a - b).abs(),
    };
    found.iter().zip(reference).map(error).fold(0.0, f64::max)
}

fn measure(problem: &Problem) -> Result<Vec<Series>, costate_odeint::Error> {
    let reference = match &problem.stiff {
        Some(stiff) => stiff.reference.to_vec(),
        None => ends(Verner9.into(), problem, &Options::tolerance(1e-14, 1e-14))?.y(1).to_vec(),
    };
    let mut all = Vec::new();
    for (method, options) in ways(problem) {
        let mut points = Vec::new();
        for options in options {
            let mut seconds = f64::INFINITY;
            let mut found = None;
            // The best of a few, for at most some milliseconds.
            let start = Instant::now();
            while found.is_none() || start.elapsed().as_secs_f64() < 0.004 {
                let start = Instant::now();
                found = Some(ends(method, problem, &options));
                seconds = seconds.min(start.elapsed().as_secs_f64());
            }
            // Steps that are far too long may overflow.
            let Some(Ok(found)) = found else { continue };
            let error = distance(problem, found.y(1), &reference);
            // Below, the reference is not better than what it is compared with.
            if error.is_finite() && error < 10.0 && error > 1e-13 {
                points.push(Point { error, evaluations: found.stats.f_evals, seconds });
            }
        }
        all.push(Series { name: name(method), points });
    }
    Ok(all)
}

/// What each error costs: evaluations, and microseconds.
fn table(problem: &Problem, series: &[Series]) {
    const ERRORS: [f64; 4] = [1e-3, 1e-6, 1e-9, 1e-12];
    print!("{:<18}", problem.name);
    for error in ERRORS {
        print!("{:>20}", format!("error {error:.0e}"));
    }
    println!();
    for s in series {
        print!("{:<18}", s.name);
        for error in ERRORS {
            // The cheapest solve that is good enough.
            let good = s.points.iter().filter(|p| p.error <= error);
            match good.min_by_key(|p| p.evaluations) {
                Some(p) => print!("{:>11} {:>6.0} µs", p.evaluations, p.seconds * 1e6),
                None => print!("{:>20}", "-"),
            }
        }
        println!();
    }
}
