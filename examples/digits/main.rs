//! Trains an ODE network on handwritten digits, beside its two discrete counterparts, and compares
//! the ways to its gradient.

mod compare;
mod data;
mod model;
mod plot;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use costate::prelude::*;

use model::Kind;

/// Train an ODE network, a residual network and a feed-forward network of equal size on the UCI
/// handwritten digits, and compare the ways to the gradient of the first.
#[derive(Parser)]
struct Arguments {
    /// Everything random follows from this: initial weights and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How often each network sees each training image
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    epochs: u32,
    /// The way to the gradient of the ODE network
    #[arg(long, value_enum, default_value_t = Way::Exact)]
    gradient: Way,
    /// The folder for the pictures and the trained network
    #[arg(long, default_value = "target/digits")]
    out: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    /// The discrete adjoint of the steps that were taken
    Exact,
    /// Hamilton's equations solved backward with their own error control
    Continuous,
    /// Back-propagation through every operation of the solver
    Unrolled,
}

impl From<Way> for Gradient {
    fn from(way: Way) -> Gradient {
        match way {
            Way::Exact => Gradient::Exact,
            Way::Continuous => Gradient::Continuous,
            Way::Unrolled => Gradient::Unrolled,
        }
    }
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
        .map_err(|e| format!("cannot make the folder {}: {e}", arguments.out.display()))?;
    let (train, test) = data::load();
    let ode = Ode::new(Tsit5).tolerance(1e-3, 1e-4);
    println!("{} images to train on, {} held out", train.labels.len(), test.labels.len());

    let mut trained = Vec::new();
    for kind in Kind::ALL {
        let way = ode.clone().gradient(arguments.gradient.into());
        let epochs = arguments.epochs as usize;
        trained.push(train::train(kind, way, arguments.seed, epochs, (&train, &test))?);
    }

    println!("\n{:22} {:>10} {:>10} {:>10}", "", "parameters", "loss", "accuracy");
    for t in &trained {
        let last = t.epochs.last().expect("at least one epoch");
        let accuracy = 100.0 * last.accuracy;
        println!(
            "{:22} {:>10} {:>10.5} {accuracy:>8.2} %",
            t.kind.name(),
            t.params.len(),
            last.loss
        );
    }
    println!("bits of the weights: {:016x}", fingerprint(&trained));

    println!("\nThe gradient of the ODE network on 64 images, single precision, tolerance 1e-3:");
    println!(
        "{:12} {:>9} {:>12} {:>14} {:>18}",
        "", "ms", "bytes kept", "from Exact", "from a tight solve"
    );
    let rows: Vec<usize> = (0..64).collect();
    for row in compare::compare(ode.clone(), trained[0].params.values(), &train.rows(&rows))? {
        println!(
            "{:12} {:>9.3} {:>12} {:>14.1e} {:>18.1e}",
            row.name, row.milliseconds, row.kept, row.to_exact, row.to_reference
        );
    }

    let file = |name: &str| arguments.out.join(name);
    plot::learning_curves(&file("learning.svg"), &trained)?;
    let rows: Vec<usize> = (0..30).collect();
    plot::hidden_states(&file("hidden_states.svg"), &trained[0], &ode, &test.rows(&rows))?;
    trained[0].params.save(file("ode_network.safetensors"))?;
    println!(
        "\nwrote learning.svg, hidden_states.svg and ode_network.safetensors to {}",
        arguments.out.display()
    );
    Ok(())
}

/// A number that changes if any bit of the weights does (FNV-1a).
fn fingerprint(trained: &[train::Trained]) -> u64 {
    let weights = trained.iter().flat_map(|t| t.params.values());
    weights.flat_map(|w| w.to_bits().to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
