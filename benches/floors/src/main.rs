//! Loss and gradient of the problems of `benches/workloads`, each by code written by hand for it: no
//! framework and no tape, all buffers made once, the gradient of the discrete solution with what the way
//! back needs kept on the way there. So it says how fast the same solver could be.
//!
//! `cargo run --release -- [NAME...] [--json] [--seconds S] [--turns] [--rtol R] [--data DIR]`
//!
//! `--turns` measures for so many seconds after each line of the input (`benches/comparison/timing.rs`).

#[cfg(not(target_arch = "x86_64"))]
compile_error!("the floors are written with intrinsics for x86-64 alone");

mod cnf;
mod cnf_field;
mod control;
mod data;
mod lotka_volterra;
mod mlp;
mod rk;
mod robertson;
mod simd;
mod spiral;
mod tableau;
#[path = "../../comparison/timing.rs"]
mod timing;
mod wide;

use std::hint::black_box;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use control::Steps;
use data::Data;

/// The code of a problem.
trait Floor {
    /// Solves, keeps what the way back needs, and returns the loss.
    fn forward(&mut self) -> f64;
    /// The gradient, after `forward`.
    fn backward(&mut self);
    /// The gradient with respect to each input, as flat entries in the order of the reference.
    fn gradients(&self) -> Vec<Vec<f64>>;
    fn steps(&self) -> Steps;
}

/// A problem: its name, the type of its numbers, its differentiated inputs, and its code.
type Problem = (&'static str, &'static str, &'static [&'static str], Make);
type Make = fn(&Data, Option<f64>) -> Box<dyn Floor>;

const PROBLEMS: [Problem; 6] = [
    ("spiral", "f64", &["w1", "b1", "w2", "b2", "y0"], spiral::new),
    ("mlp", "f32", &["w1", "b1", "w2", "b2", "w3", "b3"], mlp::new),
    ("lotka_volterra", "f64", &["p", "y0"], lotka_volterra::new),
    ("robertson", "f64", &["k"], robertson::new),
    ("cnf", "f32", &["w1", "b1", "w2", "b2", "w3", "b3"], cnf::new),
    ("wide", "f32", &["w1", "b1", "w2", "b2", "y0"], wide::new),
];

struct Arguments {
    names: Vec<String>,
    json: bool,
    seconds: f64,
    turns: bool,
    rtol: Option<f64>,
    data: PathBuf,
}

fn arguments() -> Result<Arguments, String> {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data").into();
    let mut found =
        Arguments { names: Vec::new(), json: false, seconds: 1.0, turns: false, rtol: None, data };
    let mut rest = std::env::args().skip(1);
    while let Some(word) = rest.next() {
        let mut value = || rest.next().ok_or_else(|| format!("{word} needs a value"));
        let number = |text: String| text.parse::<f64>().map_err(|e| format!("{text}: {e}"));
        match word.as_str() {
            "--json" => found.json = true,
            "--turns" => found.turns = true,
            "--seconds" => found.seconds = number(value()?)?,
            "--rtol" => found.rtol = Some(number(value()?)?),
            "--data" => found.data = value()?.into(),
            name if PROBLEMS.iter().any(|p| p.0 == name) => found.names.push(word),
            _ => {
                let names = PROBLEMS.map(|p| p.0).join(", ");
                return Err(format!(
                    "{word:?} is none of --json, --seconds S, --turns, --rtol R, --data DIR, {names}"
                ));
            }
        }
    }
    Ok(found)
}

fn measure((name, dtype, wrt, make): Problem, arguments: &Arguments) -> Result<(), String> {
    let data = Data::open(&arguments.data, name)?;
    let start = Instant::now();
    let mut floor = make(&data, arguments.rtol);
    floor.forward();
    floor.backward();
    let first = start.elapsed().as_secs_f64() * 1e3;

    let (mut loss, mut there, mut back) = (0.0, f64::INFINITY, f64::INFINITY);
    let whole = timing::times(arguments.seconds, arguments.turns, || {
        let start = Instant::now();
        loss = black_box(&mut floor).forward();
        let middle = Instant::now();
        black_box(&mut floor).backward();
        let end = Instant::now();
        let ms = |a: Instant, b: Instant| (b - a).as_secs_f64() * 1e3;
        there = there.min(ms(start, middle));
        back = back.min(ms(middle, end));
    });
    let (median, least) = (timing::median(&whole), whole[0]);

    let reference = data.f64s("ref.loss")[0];
    let loss_error = (loss - reference).abs() / reference.abs();
    let (mut distance, mut size) = (0.0, 0.0);
    for (name, found) in wrt.iter().zip(floor.gradients()) {
        let reference = data.f64s(&format!("ref.grad.{name}"));
        assert_eq!(found.len(), reference.len(), "{name}");
        for (g, r) in found.iter().zip(reference) {
            distance += (g - r).powi(2);
            size += r * r;
        }
    }
    let error = (distance / size).sqrt();
    let Steps { accepted, rejected, f_evals } = floor.steps();
    if arguments.json {
        println!(
            "{{\"name\":\"{name}\",\"gradient\":\"by hand\",\"dtype\":\"{dtype}\",\"threads\":1,\
             \"loss\":{loss:e},\"loss_rel_err\":{loss_error:e},\"grad_rel_err\":{error:e},\
             \"steps\":{{\"accepted\":{accepted},\"rejected\":{rejected},\"f_evals\":{f_evals}}},\
             \"first_call_ms\":{first:.3},\"ms_median\":{median:.5},\"ms_min\":{least:.5},\
             \"ms_forward\":{there:.5},\"ms_backward\":{back:.5},\"repeats\":{},\
             \"peak_rss_mb\":{:.1}}}",
            whole.len(),
            timing::peak_megabytes().unwrap_or(0.0),
        );
    } else {
        println!(
            "{name:15} {dtype} {median:>10.4} {least:>10.4} {there:>10.4} {back:>10.4} \
             {accepted:>5}+{rejected:<3} {f_evals:>6} {loss_error:>9.1e} {error:>9.1e}"
        );
    }
    Ok(())
}

fn run() -> Result<(), String> {
    let arguments = arguments()?;
    if !arguments.json {
        println!(
            "{:15} {:3} {:>10} {:>10} {:>10} {:>10} {:>9} {:>6} {:>9} {:>9}",
            "",
            "",
            "median ms",
            "least ms",
            "forward",
            "backward",
            "steps",
            "f",
            "loss err",
            "grad err",
        );
    }
    for problem in PROBLEMS {
        if arguments.names.is_empty() || arguments.names.iter().any(|n| n == problem.0) {
            measure(problem, &arguments)?;
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
