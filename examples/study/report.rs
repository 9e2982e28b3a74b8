//! Tables in Markdown, and the numbers of each epoch as comma-separated values.

use std::fmt::Write;
use std::path::Path;

use crate::data::Data;
use crate::model::{Kind, Regulariser};
use crate::train::{Run, name};
use crate::{Arguments, Outcome};

pub fn heading(data: &Data, epochs: u64, arguments: &Arguments) -> String {
    let rates: Vec<String> = arguments.rates.iter().map(f64::to_string).collect();
    format!(
        "{} samples of {} numbers to train on, {} held out; width {}, {} layers or knots; batches of \
         {}, {epochs} epochs, Adam with a rate of {}; {} seeds.",
        grouped(data.train.len()),
        data.train.x.ncols(),
        grouped(data.test.len()),
        data.width,
        data.depth,
        data.batch,
        rates.join(", "),
        arguments.seeds
    )
}

/// A number below a million with its thousands set off.
fn grouped(n: usize) -> String {
    if n < 1000 { n.to_string() } else { format!("{},{:03}", n / 1000, n % 1000) }
}

/// Mean and standard deviation.
pub fn spread(numbers: impl Iterator<Item = f64>) -> (f64, f64) {
    let numbers: Vec<f64> = numbers.collect();
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    (mean, variance.sqrt())
}

pub fn table(data: &Data, runs: &[Run], plans: &[(Kind, Regulariser)]) -> String {
    let mut text = format!(
        "| network | parameters | accuracy, % | training loss | epochs to {target} % | CPU seconds to \
         {target} % | CPU seconds an epoch | evaluations of f |\n|---|---|---|---|---|---|---|---|\n",
        target = (100.0 * data.target).round()
    );
    for &(kind, regulariser) in plans {
        let of: Vec<&Run> = of(runs, kind, regulariser).collect();
        let (accuracy, around) = spread(of.iter().map(|r| 100.0 * r.last().accuracy));
        let (loss, loss_around) = spread(of.iter().map(|r| r.last().loss));
        let reached: Vec<(usize, f64)> = of.iter().filter_map(|r| r.reaches(data.target)).collect();
        let [epochs, seconds] = if reached.len() < of.len() {
            let some = format!("{} of {} seeds", reached.len(), of.len());
            [some, "–".to_owned()]
        } else {
            let (epochs, a) = spread(reached.iter().map(|r| r.0 as f64));
            let (seconds, b) = spread(reached.iter().map(|r| r.1));
            [format!("{epochs:.1} ± {a:.1}"), format!("{seconds:.3} ± {b:.3}")]
        };
        let each = of.iter().map(|r| r.last().seconds / r.epochs.len() as f64);
        let evaluations = match spread(of.iter().map(|r| r.last().evaluations as f64)) {
            (0.0, _) => "–".to_owned(),
            (mean, _) => format!("{mean:.0}"),
        };
        writeln!(
            text,
            "| {} | {} | {accuracy:.2} ± {around:.2} | {loss:.4} ± {loss_around:.4} | {epochs} | \
             {seconds} | {:.3} | {evaluations} |",
            name(kind, regulariser),
            of[0].parameters,
            spread(each).0,
        )
        .expect("a string takes all");
    }
    text
}

/// The accuracy at each learning rate.
pub fn by_rate(runs: &[Run], plans: &[(Kind, Regulariser)], rates: &[f64]) -> String {
    let titles: Vec<String> = rates.iter().map(|rate| format!("rate {rate}")).collect();
    let mut text = format!("| accuracy, % | {} |\n|---", titles.join(" | "));
    text += &"|---".repeat(rates.len());
    text += "|\n";
    for &(kind, regulariser) in plans {
        write!(text, "| {} |", name(kind, regulariser)).expect("a string takes all");
        for &rate in rates {
            let at = of(runs, kind, regulariser).filter(|r| r.plan.rate == rate);
            let (accuracy, around) = spread(at.map(|r| 100.0 * r.last().accuracy));
            write!(text, " {accuracy:.2} ± {around:.2} |").expect("a string takes all");
        }
        text += "\n";
    }
    text
}

/// The runs of one network.
pub fn of(runs: &[Run], kind: Kind, regulariser: Regulariser) -> impl Iterator<Item = &Run> {
    runs.iter().filter(move |r| (r.plan.kind, r.plan.regulariser) == (kind, regulariser))
}

pub fn epochs(path: &Path, runs: &[Run]) -> Outcome {
    let mut text =
        "network,regulariser,rate,seed,epoch,loss,accuracy,seconds,evaluations\n".to_owned();
    for run in runs {
        let (kind, regulariser) = (run.plan.kind.name(), run.plan.regulariser.name());
        for (i, e) in run.epochs.iter().enumerate() {
            writeln!(
                text,
                "{kind},{regulariser},{},{},{},{},{},{:.3},{}",
                run.plan.rate,
                run.plan.seed,
                i + 1,
                e.loss,
                e.accuracy,
                e.seconds,
                e.evaluations
            )?;
        }
    }
    std::fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}
