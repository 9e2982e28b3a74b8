//! Models of continuous depth and time, each trained on a small problem, with a picture.
//!
//! `cargo run --release --example models` runs all of them, `-- flow pde` some; `docs/models` says
//! what each is.

mod blocks;
mod cde;
mod flow;
mod latent;
mod mechanical;
mod pde;
mod picture;
mod regularisers;
mod universal;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

/// Train models of continuous depth and time on small problems, and draw what they learned.
#[derive(Parser)]
struct Arguments {
    /// Which models; all of them if none is given
    models: Vec<Model>,
    /// The folder for the pictures
    #[arg(long, default_value = "target/models")]
    out: PathBuf,
    /// The seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Model {
    /// ODE blocks with weights that vary along depth, and an augmented one
    Blocks,
    /// Second-order, Hamiltonian and Lagrangian networks on a pendulum
    Mechanical,
    /// A continuous normalising flow
    Flow,
    /// A latent ODE on irregular series
    Latent,
    /// A neural controlled differential equation
    Cde,
    /// A universal differential equation
    Universal,
    /// A partial differential equation by the method of lines
    Pde,
    /// An augmented block with each of the regularisers
    Regularisers,
}

/// What all models return.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome {
    std::fs::create_dir_all(&arguments.out)
        .map_err(|e| format!("cannot make the folder {}: {e}", arguments.out.display()))?;
    for model in Model::value_variants() {
        if !arguments.models.is_empty() && !arguments.models.contains(model) {
            continue;
        }
        let name = format!("{model:?}").to_lowercase();
        let path = arguments.out.join(format!("{name}.svg"));
        let start = Instant::now();
        println!("{name}:");
        let train: fn(&Path, u64) -> Outcome = match model {
            Model::Blocks => blocks::run,
            Model::Mechanical => mechanical::run,
            Model::Flow => flow::run,
            Model::Latent => latent::run,
            Model::Cde => cde::run,
            Model::Universal => universal::run,
            Model::Pde => pde::run,
            Model::Regularisers => regularisers::run,
        };
        train(&path, arguments.seed)?;
        println!("  {:.1} s, wrote {}", start.elapsed().as_secs_f64(), path.display());
    }
    Ok(())
}

/// An error if a model is not as good as it is said to be.
fn level(what: &str, found: f64, at_most: f64) -> Outcome {
    if found <= at_most {
        return Ok(());
    }
    Err(format!("{what} is {found:.3e}, not {at_most:.0e} or less; was it another seed?").into())
}
