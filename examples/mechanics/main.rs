//! What mechanics says of deep networks, claim by claim, measured and drawn: the figures of
//! `docs/mechanics.md`.
//!
//! `cargo run --release --example mechanics` draws all of them, `-- symmetry volume` some.

mod bounds;
mod canonical;
mod density;
mod depth;
mod momentum;
#[path = "../models/picture.rs"]
mod picture;
mod splitting;
mod symmetry;
mod volume;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use costate::prelude::*;
use ndarray::ArrayD;

/// Measure and draw the claims of arXiv 1909.03767.
#[derive(Parser)]
struct Arguments {
    /// Which claims; all of them if none is given
    claims: Vec<Claim>,
    /// The folder for the pictures
    #[arg(long, default_value = "target/mechanics")]
    out: PathBuf,
    /// The seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Claim {
    /// The momentum, the energy `H = p · f` and `dL/dθ(t)` along a trained network
    Momentum,
    /// Changes of variables, and the rotation that removes the linear part
    Canonical,
    /// A symmetry conserves a quantity
    Symmetry,
    /// Phase volume, and the volume of states
    Volume,
    /// Trained networks, ever deeper, tend to their equations
    Depth,
    /// The linear part done exactly
    Splitting,
    /// The divergence in one pass, and the normalising flow that it makes
    Density,
    /// Antisymmetric weights bound gradients, through 1,000 layers
    Bounds,
}

/// What all claims return.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

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
    for claim in Claim::value_variants() {
        if !arguments.claims.is_empty() && !arguments.claims.contains(claim) {
            continue;
        }
        let name = format!("{claim:?}").to_lowercase();
        println!("{name}:");
        let measure: fn(&Path, u64) -> Outcome = match claim {
            Claim::Momentum => momentum::run,
            Claim::Canonical => canonical::run,
            Claim::Symmetry => symmetry::run,
            Claim::Volume => volume::run,
            Claim::Depth => depth::run,
            Claim::Splitting => splitting::run,
            Claim::Density => density::run,
            Claim::Bounds => bounds::run,
        };
        measure(&arguments.out.join(format!("mechanics_{name}.svg")), arguments.seed)?;
    }
    println!("wrote pictures to {}", arguments.out.display());
    Ok(())
}

/// A function of the plane that is not near the identity: 32 points and their images.
fn data(seed: u64) -> (ArrayD<f64>, ArrayD<f64>) {
    let x: ArrayD<f64> = Rng::seeded(seed).normals([32, 2]);
    let mut y = x.clone();
    for mut row in y.rows_mut() {
        let (a, b) = (row[0], row[1]);
        (row[0], row[1]) = (a + b.sin(), b - 0.5 * (2.0 * a).sin());
    }
    (x, y)
}

/// A solver whose error is far below what is measured.
fn fine() -> Ode {
    Ode::new(Tsit5).tolerance(1e-10, 1e-10)
}

/// Equidistant times from 0 to 1.
fn times(n: u32) -> Vec<f64> {
    (0..=n).map(|i| f64::from(i) / f64::from(n)).collect()
}

/// The entries of an array.
fn flat(x: &ndarray::ArrayD<f64>) -> Vec<f64> {
    x.iter().copied().collect()
}

/// The largest difference between two arrays.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}
