//! Adjoint against back-propagation: every way to the gradient of a model, in time, memory,
//! evaluations and distance to a tight reference, as a table and as a picture; and its momentum.
//!
//! The model of one's own is in `field.rs`.

mod field;
#[path = "../work_precision/log_log.rs"]
mod log_log;
mod plot;
mod problems;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use costate::odeint::{Comparison, MomentumTrajectory, compare_gradients};
use costate::prelude::*;
use log_log::choose;
use problems::{Problem, problems};

/// A variable.
pub type V<'t> = Var<'t, f64>;

/// Compare the ways to a gradient, and draw the momentum.
#[derive(Parser)]
struct Arguments {
    /// One model only: own (in field.rs), lotka_volterra, van_der_pol or lorenz
    #[arg(long)]
    problem: Option<String>,
    /// Relative tolerances
    #[arg(long, value_delimiter = ',', default_value = "1e-3,1e-5,1e-7,1e-9")]
    tolerances: Vec<f64>,
    /// The folder for the pictures
    #[arg(long, default_value = "target/adjoint_vs_backprop")]
    out: PathBuf,
}

/// Numbers that look random.
pub fn random(n: usize, seed: u64, size: f64) -> Vec<f64> {
    let mut rng = Rng::seeded(seed);
    (0..n).map(|_| size * (2.0 * rng.uniform() - 1.0)).collect()
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
    for problem in &chosen {
        let found = compare(problem, &arguments.tolerances)?;
        println!("{}: {found}", problem.name);
        let path = arguments.out.join(format!("{}.svg", problem.name));
        plot::comparison(&path, problem.name, &found)?;
        println!("{}", path.display());

        let momentum = follow(problem)?;
        println!(
            "momentum: {} rows, H drifts by {:.1e}; forward {}; backward {}",
            momentum.ts.len(),
            momentum.drift(),
            momentum.forward,
            momentum.backward
        );
        let path = arguments.out.join(format!("{}_momentum.svg", problem.name));
        plot::momentum(&path, problem.name, &momentum)?;
        println!("{}\n", path.display());
    }
    Ok(())
}

fn compare(problem: &Problem, tolerances: &[f64]) -> costate::tape::Result<Comparison> {
    let tape = Tape::new();
    let y0 = tape.constant(&problem.y0);
    let w: Vec<_> = problem.parameters.iter().map(|w| tape.constant(w)).collect();
    let field = |t, y| Ok((problem.field)(&w, t, y));
    let loss = |ys| Ok((problem.loss)(ys));
    compare_gradients(&problem.ode, field, y0, &problem.ts, loss, tolerances)
}

/// The momentum at tolerance 1e-6, with each observation at the end of a step.
fn follow(problem: &Problem) -> costate::tape::Result<MomentumTrajectory<f64>> {
    let tape = Tape::new();
    let y0 = tape.constant(&problem.y0);
    let w: Vec<_> = problem.parameters.iter().map(|w| tape.constant(w)).collect();
    let options = Options { stop_at_saves: true, ..Options::tolerance(1e-6, 1e-6) };
    let ode = problem.ode.clone().options(options);
    let field = |t, y| Ok((problem.field)(&w, t, y));
    momentum_trajectory(&ode, field, y0, &problem.ts, |ys| Ok((problem.loss)(ys)), &w)
}
