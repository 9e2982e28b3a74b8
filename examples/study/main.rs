//! Do differential equations help? Networks of equal size on three data sets, several seeds, with
//! and without regularisers.
//!
//! `cargo run --release --example study` takes a few minutes; `README.md` says how to get
//! Fashion-MNIST, without which it goes on with the others.

mod clock;
mod data;
mod idx;
mod mnist1d;
mod model;
mod plot;
mod report;
mod train;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};

use data::Data;
use model::{Kind, Regulariser};
use train::{Plan, Run};

/// Train networks of continuous depth and their discrete counterparts, of equal size, and compare
/// what they learn and what that costs.
#[derive(Parser)]
struct Arguments {
    /// The data sets; all that are there if none is given
    data: Vec<Name>,
    /// How many seeds: initial weights, order of batches, probes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// How often each network sees each sample; by default 20, for MNIST-1D 40, for Fashion-MNIST 8
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    epochs: Option<u64>,
    /// The learning rate at the start, the same for all networks; it falls along a cosine to 0.
    /// With several, a table of accuracies by rate
    #[arg(long, value_delimiter = ',', default_value = "3e-3")]
    rates: Vec<f64>,
    /// All of Fashion-MNIST, not a tenth of it
    #[arg(long)]
    full: bool,
    /// Leave out the runs with regularisers
    #[arg(long)]
    plain: bool,
    /// Regularisers on all data sets, not on the digits alone
    #[arg(long)]
    everywhere: bool,
    /// The folder that holds the four files of Fashion-MNIST
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    fashion: PathBuf,
    /// The folder for tables and pictures
    #[arg(long, default_value = "target/study")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Handwritten digits of 8 by 8 pixels, UCI
    Digits,
    /// MNIST-1D, made by its generator
    Mnist1d,
    /// Fashion-MNIST
    Fashion,
}

/// What most functions return.
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
    let out = &arguments.out;
    std::fs::create_dir_all(out)
        .map_err(|e| format!("cannot make the folder {}: {e}", out.display()))?;
    for name in [Name::Digits, Name::Mnist1d, Name::Fashion] {
        if !arguments.data.is_empty() && !arguments.data.contains(&name) {
            continue;
        }
        let data = match data::load(name, &arguments.fashion, arguments.full) {
            Ok(data) => data,
            // Only if it was asked for by name is it an error that it is not there.
            Err(e) if name == Name::Fashion && arguments.data.is_empty() => {
                println!("## Fashion-MNIST is left out\n\n{e}\n");
                continue;
            }
            Err(e) => return Err(e),
        };
        study(arguments, name, &data)?;
    }
    println!("Pictures and numbers of each epoch are in {}.", out.display());
    Ok(())
}

/// All networks on one data set.
fn study(arguments: &Arguments, name: Name, data: &Data) -> Outcome {
    let start = Instant::now();
    let epochs = arguments.epochs.unwrap_or(data.epochs);
    let regularised = !arguments.plain && (name == Name::Digits || arguments.everywhere);
    let mut plans: Vec<(Kind, Regulariser)> =
        Kind::ALL.into_iter().map(|kind| (kind, Regulariser::None)).collect();
    if regularised {
        for kind in [Kind::FeedForwardOde, Kind::ResidualOde] {
            plans.extend(Regulariser::ALL.into_iter().map(|regulariser| (kind, regulariser)));
        }
    }
    println!("## {}\n\n{}\n", data.name, report::heading(data, epochs, arguments));
    let mut runs: Vec<Run> = Vec::new();
    // Seed after seed, so that a change in how busy the machine is touches all networks.
    for seed in 0..arguments.seeds {
        for &rate in &arguments.rates {
            for &(kind, regulariser) in &plans {
                let plan = Plan { kind, regulariser, seed, epochs, rate };
                let run = train::train(plan, data)?;
                let last = run.last();
                eprintln!(
                    "{}, seed {seed}, rate {rate}, {}: loss {:.4}, accuracy {:.2} %, {:.1} s",
                    data.name,
                    plan.name(),
                    last.loss,
                    100.0 * last.accuracy,
                    last.seconds
                );
                runs.push(run);
            }
        }
    }
    let file = |end: &str| arguments.out.join(format!("{}{end}", name_of(name)));
    report::epochs(&file(".csv"), &runs)?;
    if arguments.rates.len() == 1 {
        println!("{}", report::table(data, &runs, &plans));
        plot::draw(&file(".svg"), data, &runs, &plans)?;
    } else {
        println!("{}", report::by_rate(&runs, &plans, &arguments.rates));
    }
    println!("{:.0} s in all\n", start.elapsed().as_secs_f64());
    Ok(())
}

fn name_of(name: Name) -> &'static str {
    match name {
        Name::Digits => "digits",
        Name::Mnist1d => "mnist1d",
        Name::Fashion => "fashion",
    }
}
