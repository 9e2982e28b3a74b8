//! Work against precision: what an error costs with each method, in evaluations of the field and
//! in time, as a table and as pictures.

mod log_log;
mod plot;
mod problems;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use costate_odeint::{Method, Options, Verner9, solve};
use log_log::choose;
use problems::{Problem, problems};

/// Measure error against work for every method on problems that are not stiff.
#[derive(Parser)]
struct Arguments {
    /// One problem only: lotka_volterra, brusselator, lorenz, kepler or pleiades
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
    let symplectic = Method::symplectic().into_iter().filter(|_| problem.separable);
    Method::all()
        .into_iter()
        .chain(symplectic)
        .map(|method| {
            let tableau = method.tableau();
            let options = if tableau.embedded_order.is_some_and(|order| order > 1) {
                (3..=13).map(|i| 10f64.powi(-i)).map(|tol| Options::tolerance(tol, tol)).collect()
            } else {
                (0..9).map(|i| Options::steps(50 << i)).collect()
            };
            (method, options)
        })
        .collect()
}

fn measure(problem: &Problem) -> Result<Vec<Series>, costate_odeint::Error> {
    let ts = [0.0, problem.end];
    let tight = Options::tolerance(1e-14, 1e-14);
    let reference = solve(Verner9, problem.field, &problem.y0, &ts, &tight)?;
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
                found = Some(solve(method, problem.field, &problem.y0, &ts, &options));
                seconds = seconds.min(start.elapsed().as_secs_f64());
            }
            // Steps that are far too long may overflow.
            let Some(Ok(found)) = found else { continue };
            let pairs = found.y(1).iter().zip(reference.y(1));
            let error = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // Below, the reference is not better than what it is compared with.
            if error.is_finite() && error < 10.0 && error > 1e-13 {
                points.push(Point { error, evaluations: found.stats.f_evals, seconds });
            }
        }
        all.push(Series { name: method.tableau().name, points });
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
