//! Fits the Lotka–Volterra equations to the pelts of lynx and hare that the Hudson's Bay Company
//! collected, by gradient descent through the solve.
//!
//! ```text
//! du/dt = α u - β u v     (hare)
//! dv/dt = -γ v + δ u v    (lynx)
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use costate::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};
use ndarray::Array2;
use plotters::prelude::*;

/// Fit the Lotka–Volterra equations to the Hudson's Bay Company's pelts of lynx and hare, 1900 to
/// 1920.
#[derive(Parser)]
struct Arguments {
    /// Steps of gradient descent
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// The folder for the picture
    #[arg(long, default_value = "target/lynx_hare")]
    out: PathBuf,
}

/// Parameters, all positive, so what is fitted is their logarithm.
const NAMES: [&str; 6] = ["α", "β", "γ", "δ", "u(1900)", "v(1900)"];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

/// Hare and lynx in each year, `[21, 2]`.
fn pelts() -> Array2<f64> {
    let rows = include_str!("pelts.csv").lines().skip(1).map(|line| {
        let mut fields = line.split(',').skip(1).map(|x| x.parse().expect("a number"));
        let lynx: f64 = fields.next().expect("a count of lynx");
        let hare: f64 = fields.next().expect("a count of hare");
        [hare, lynx]
    });
    Array2::from(rows.collect::<Vec<_>>())
}

/// Where the fit starts: small cycles of the model have the period `2π/√(αγ)`, about ten years
/// here, around `u = γ/δ` and `v = α/β`, here the means.
fn start(data: &Array2<f64>) -> [f64; 6] {
    let rate = std::f64::consts::TAU / 10.0;
    let mean = |column| data.column(column).mean().expect("there are counts");
    [rate, rate / mean(1), rate, rate / mean(0), data[[0, 0]], data[[0, 1]]]
}

/// Hare and lynx at the given years after 1900, `[years, 2]`, from the parameters.
fn model<'t>(theta: Var<'t, f64>, years: &[f64]) -> costate::Result<Var<'t, f64>> {
    let [alpha, beta, gamma, delta] = [0, 1, 2, 3].map(|i| theta.index_axis(0, i));
    let ode = Ode::new(Tsit5).tolerance(1e-6, 1e-6);
    let field = |_t, z: Var<'t, f64>| {
        let (u, v) = (z.index_axis(0, 0), z.index_axis(0, 1));
        Var::stack(0, &[alpha * u - beta * u * v, -gamma * v + delta * u * v])
    };
    Ok(ode.solve(field, theta.slice_axis(0, 4..6), years)?)
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    std::fs::create_dir_all(&arguments.out)
        .map_err(|e| format!("cannot make the folder {}: {e}", arguments.out.display()))?;
    let data = pelts();
    let years: Vec<f64> = (0..data.nrows()).map(|i| i as f64).collect();
    let logs = data.ln();

    let mut params = Params::<f64>::seeded(0);
    let mut start = start(&data).into_iter();
    let log_theta = params.add("log_theta", [6], |_| start.next().expect("six").ln());
    let mut adam = Adam::new(0.0);
    let steps = u64::from(arguments.steps);
    let bar = ProgressBar::new(steps);
    bar.set_style(ProgressStyle::with_template("fit {bar:30} {percent:>3} %  {msg}  {elapsed}")?);
    for step in 0..steps {
        // The rate falls along a cosine from its start to zero.
        let progress = step as f64 / steps as f64;
        adam.set_rate(0.03 * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0);
        let loss = params.step(&mut adam, |_, p| {
            // Errors of counts are relative.
            Ok((model(p[log_theta].exp(), &years)?.ln() - &logs).square().mean())
        })?;
        bar.set_message(format!("mean squared error of logarithms {loss:.5}"));
        bar.inc(1);
    }
    bar.finish();

    let theta: Vec<f64> = params.values().iter().map(|x| x.exp()).collect();
    for (name, x) in NAMES.iter().zip(&theta) {
        println!("{name:8} = {x:.4}");
    }
    let tape = Tape::new();
    let fitted = model(tape.leaf(&theta, [6]), &years)?.to_vec();
    let squares = fitted.iter().zip(&logs).map(|(y, log)| (y.ln() - log).powi(2));
    println!("typical error of a count: {:.0} %", 100.0 * (squares.sum::<f64>() / 42.0).sqrt());
    let path = arguments.out.join("lynx_hare.svg");
    plot(&path, &data, &theta)?;
    println!("wrote {}", path.display());
    Ok(())
}

/// Counts as dots and the fit as lines.
fn plot(path: &Path, data: &Array2<f64>, theta: &[f64]) -> Result<(), Box<dyn std::error::Error>> {
    let years: Vec<f64> = (0..=400).map(|i| f64::from(i) / 20.0).collect();
    let tape = Tape::new();
    let fitted = model(tape.leaf(theta, [6]), &years)?.to_vec();
    let area = SVGBackend::new(path, (820, 440)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(50)
        .caption("Lotka–Volterra through the Hudson Bay counts", ("sans-serif", 18))
        .build_cartesian_2d(1899.5..1920.5, 0.0..90.0)?;
    chart
        .configure_mesh()
        .x_desc("year")
        .y_desc("pelts, thousands")
        .x_label_formatter(&|year| format!("{year:.0}"))
        .draw()?;
    for (i, (name, colour)) in
        [("hare", RGBColor(31, 119, 180)), ("lynx", RGBColor(214, 39, 40))].into_iter().enumerate()
    {
        let line = years.iter().enumerate().map(|(j, t)| (1900.0 + t, fitted[2 * j + i]));
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        let dots = data.column(i).to_vec().into_iter().enumerate();
        chart.draw_series(
            dots.map(|(year, count)| {
                Circle::new((1900.0 + year as f64, count), 4, colour.filled())
            }),
        )?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    area.present()?;
    Ok(())
}
