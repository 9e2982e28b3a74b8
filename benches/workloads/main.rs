//! Loss and gradient of exactly stated problems, timed: `cargo bench --bench workloads -- --help`.
//!
//! Each problem is written through the public API in a file of its own; `tests/data/README.md`
//! states it, with a reference loss and gradient.

mod cnf;
mod data;
mod lotka_volterra;
mod mlp;
mod robertson;
mod spiral;
#[path = "../comparison/timing.rs"]
mod timing;
mod wide;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use costate::prelude::Real;
use costate::prelude::*;
use costate::tape::Shape;

use data::Data;

/// Time the loss and the gradient of each workload.
#[derive(Parser)]
struct Arguments {
    /// The workloads; all if none is named
    names: Vec<String>,
    /// The way to the gradient
    #[arg(long, value_enum, default_value_t = Way::Exact)]
    gradient: Way,
    /// What the exact way keeps: stages, steps, or so many checkpoints
    #[arg(long, value_parser = memory, default_value = "stages")]
    memory: Memory,
    /// How many bytes of activations it keeps
    #[arg(long)]
    activations: Option<usize>,
    /// The number of threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// One line of JSON for each workload instead of a table
    #[arg(long)]
    json: bool,
    /// The folder that holds NAME.safetensors
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data"))]
    data: PathBuf,
    /// How long to measure each, in seconds
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Measure for so long after each line of the input, print the turn's times as a line of JSON, and
    /// report at the input's end: for measuring several programs in turns, as `benches/compare` does
    #[arg(long, requires = "json")]
    turns: bool,
    /// Another relative tolerance; the absolute one keeps its ratio
    #[arg(long)]
    rtol: Option<f64>,
    /// The type of numbers; only `mlp` has both
    #[arg(long)]
    dtype: Option<Dtype>,
    /// Time products of the Hessian with the inputs instead of gradients; the errors of gradients
    /// are then not printed
    #[arg(long)]
    hessian: bool,
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Dtype {
    F32,
    F64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Way {
    Exact,
    Continuous,
    Interpolated,
    Unrolled,
    Forward,
}

fn memory(text: &str) -> Result<Memory, String> {
    match text {
        "stages" => Ok(Memory::Stages),
        "steps" => Ok(Memory::Steps),
        n => n.parse().map(Memory::Checkpoints).map_err(|e| e.to_string()),
    }
}

impl From<Way> for Gradient {
    fn from(way: Way) -> Gradient {
        match way {
            Way::Exact => Gradient::Exact,
            Way::Continuous => Gradient::Continuous,
            Way::Interpolated => Gradient::Interpolated,
            Way::Unrolled => Gradient::Unrolled,
            Way::Forward => Gradient::Forward,
        }
    }
}

/// A loss from the inputs in the order of `wrt`.
type Loss<T> =
    for<'t> fn(&Data, &Ode, &'t Tape<T>, &[Var<'t, T>]) -> costate::Result<Solved<'t, T>>;

/// What is timed of a loss: its gradient, or the product of its Hessian with the inputs.
fn derivative<'t, T: Real>(
    loss: Var<'t, T>,
    x: &[Var<'t, T>],
    hessian: bool,
) -> costate::tape::Result<Vec<Var<'t, T>>> {
    let gradient = loss.grad(x)?;
    if !hessian {
        return Ok(gradient);
    }
    // The direction is not differentiated.
    let direction: Vec<_> = x.iter().map(|x| x.detach()).collect();
    loss.tape().vjp(&gradient, &direction, x)
}

/// A problem: what it is differentiated with respect to, and its loss from these inputs.
struct Workload<T: Real> {
    name: &'static str,
    wrt: &'static [&'static str],
    loss: Loss<T>,
    ode: Ode,
    tolerance: (f64, f64),
}

/// A loss and the solve that it came from.
struct Solved<'t, T: Real> {
    loss: Var<'t, T>,
    ys: Var<'t, T>,
}

/// What was measured.
struct Report {
    name: &'static str,
    dtype: &'static str,
    loss: f64,
    loss_error: f64,
    gradient_error: f64,
    steps: costate::odeint::Stats,
    vjp_evals: usize,
    first_call_ms: f64,
    median_ms: f64,
    least_ms: f64,
    /// The least time of the loss alone.
    loss_ms: f64,
    repeats: usize,
    bits: u64,
}

/// What the solve does, and how many vector-Jacobian products its backward pass takes.
fn count<T: Real>(
    workload: &Workload<T>,
    data: &Data,
    ode: &Ode,
    inputs: &[ndarray::ArrayD<T>],
) -> costate::Result<(costate::odeint::Stats, usize)> {
    let tape = Tape::new();
    let x: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
    let solved = (workload.loss)(data, ode, &tape, &x)?;
    let steps = Ode::stats(solved.ys).unwrap_or_default();
    let gradients = solved.loss.grad(&x)?;
    let backward = gradients.into_iter().find_map(Ode::stats).unwrap_or_default();
    Ok((steps, backward.vjp_evals))
}

fn measure<T: Real>(workload: &Workload<T>, arguments: &Arguments) -> costate::Result<Report> {
    let file = workload.name.trim_end_matches("_formula");
    let data = Data::open(&arguments.data, file);
    let (rtol, atol) = workload.tolerance;
    let ratio = arguments.rtol.map_or(1.0, |r| r / rtol);
    let mut ode = workload
        .ode
        .clone()
        .tolerance(rtol * ratio, atol * ratio)
        .gradient(arguments.gradient.into())
        .memory(arguments.memory);
    if let Some(bytes) = arguments.activations {
        ode = ode.activations(bytes);
    }
    let inputs: Vec<_> = workload.wrt.iter().map(|name| data.array::<T>(name)).collect();

    let (steps, vjp_evals) = count(workload, &data, &ode, &inputs)?;

    // The first call: recording, compiling, solving and the gradient.
    let start = Instant::now();
    let slices: Vec<&[T]> = inputs.iter().map(|x| x.as_slice().expect("row-major")).collect();
    let program = match arguments.gradient {
        // The grid is found while recording, so this is recorded anew each time.
        Way::Unrolled => None,
        _ => {
            let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape().into()).collect();
            let function = Function::trace_shapes(&shapes, |tape, x| {
                let solved = (workload.loss)(&data, &ode, tape, x)
                    .map_err(|e| costate::tape::Error::from_call(workload.name, Box::new(e)))?;
                let mut outputs = derivative(solved.loss, x, arguments.hessian)?;
                outputs.push(solved.loss);
                Ok(outputs)
            })?;
            Some(Program::compile(&function)?)
        }
    };
    let mut replay: Box<dyn FnMut() -> costate::Result<Vec<Vec<T>>>> = match &program {
        Some(program) => {
            let mut workspace = Workspace::new(program);
            let slices = &slices;
            let n = inputs.len();
            Box::new(move || {
                let outputs = program.evaluate(&mut workspace, slices)?;
                Ok((0..=n).map(|i| outputs.get(i).to_vec()).collect())
            })
        }
        None => Box::new(|| {
            let tape = Tape::new();
            let x: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
            let solved = (workload.loss)(&data, &ode, &tape, &x)?;
            let mut outputs = derivative(solved.loss, &x, arguments.hessian)?;
            outputs.push(solved.loss);
            Ok(outputs.iter().map(|g| g.to_vec()).collect())
        }),
    };
    let mut results = replay()?;
    let first_call_ms = start.elapsed().as_secs_f64() * 1e3;

    let mut failure = None;
    let times = timing::times(arguments.seconds, arguments.turns, || match replay() {
        Ok(found) => results = found,
        Err(e) => failure = Some(e),
    });
    if let Some(e) = failure {
        return Err(e);
    }
    let loss_ms = measure_loss(workload, &data, &ode, &inputs, arguments)?;

    let loss = results.pop().expect("a loss")[0].as_f64();
    let reference = data.numbers("ref.loss").1[0];
    let (mut distance, mut size) = (0.0, 0.0);
    for (name, g) in workload.wrt.iter().zip(&results) {
        for (g, r) in g.iter().zip(data.numbers(&format!("ref.grad.{name}")).1) {
            distance += (g.as_f64() - r).powi(2);
            size += r * r;
        }
    }
    let numbers = results.iter().flatten().map(|x| x.as_f64().to_bits()).chain([loss.to_bits()]);
    let bits = numbers.fold(0xcbf2_9ce4_8422_2325u64, |hash, x| {
        (hash ^ x).wrapping_mul(0x0100_0000_01b3).rotate_left(17)
    });
    Ok(Report {
        name: workload.name,
        dtype: T::NAME,
        loss,
        loss_error: (loss - reference).abs() / reference.abs(),
        gradient_error: if arguments.hessian { f64::NAN } else { (distance / size).sqrt() },
        steps,
        vjp_evals,
        first_call_ms,
        median_ms: timing::median(&times),
        least_ms: times[0],
        loss_ms,
        repeats: times.len(),
        bits,
    })
}

/// The least time of the loss alone, in milliseconds.
fn measure_loss<T: Real>(
    workload: &Workload<T>,
    data: &Data,
    ode: &Ode,
    inputs: &[ndarray::ArrayD<T>],
    arguments: &Arguments,
) -> costate::Result<f64> {
    let slices: Vec<&[T]> = inputs.iter().map(|x| x.as_slice().expect("row-major")).collect();
    let shapes: Vec<Shape> = inputs.iter().map(|x| x.shape().into()).collect();
    // Nothing is kept of a loss that is not to be differentiated.
    let ode = ode.clone().gradient(Gradient::Continuous);
    let function = Function::trace_shapes(&shapes, |tape, x| {
        let solved = (workload.loss)(data, &ode, tape, x)
            .map_err(|e| costate::tape::Error::from_call(workload.name, Box::new(e)))?;
        Ok(vec![solved.loss])
    })?;
    let program = Program::compile(&function)?;
    let mut workspace = Workspace::new(&program);
    let mut failure = None;
    let times = timing::times(arguments.seconds, false, || {
        failure = program.evaluate(&mut workspace, &slices).err();
    });
    match failure {
        Some(e) => Err(e.into()),
        None => Ok(times[0]),
    }
}

fn print(report: &Report, arguments: &Arguments) {
    let Report { name, dtype, loss, loss_error, gradient_error, steps, .. } = report;
    if arguments.json {
        println!(
            "{{\"name\":\"{name}\",\"gradient\":\"{:?}\",\"dtype\":\"{dtype}\",\"threads\":{},\
             \"loss\":{loss:e},\"loss_rel_err\":{loss_error:e},\"grad_rel_err\":{},\
             \"steps\":{{\"accepted\":{},\"rejected\":{},\"f_evals\":{},\"vjp_evals\":{}}},\
             \"first_call_ms\":{:.3},\"ms_median\":{:.4},\"ms_min\":{:.4},\"ms_loss\":{:.4},\"repeats\":{},\
             \"peak_kept_bytes\":{},\"peak_rss_mb\":{:.1},\"bits\":\"{:016x}\"}}",
            arguments.gradient,
            arguments.threads,
            if arguments.hessian { "null".into() } else { format!("{gradient_error:e}") },
            steps.accepted,
            steps.rejected,
            steps.f_evals,
            report.vjp_evals,
            report.first_call_ms,
            report.median_ms,
            report.least_ms,
            report.loss_ms,
            report.repeats,
            steps.bytes_kept,
            timing::peak_megabytes().unwrap_or(0.0),
            report.bits,
        );
    } else {
        println!(
            "{name:15} {dtype} {:>10.4} {:>10.4} {:>10.4} {:>10.2} {:>5}+{:<3} {:>6} {loss_error:>9.1e} \
             {gradient_error:>9.1e} {:>10} {:016x}",
            report.median_ms,
            report.least_ms,
            report.loss_ms,
            report.first_call_ms,
            steps.accepted,
            steps.rejected,
            steps.f_evals,
            steps.bytes_kept,
            report.bits,
        );
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    const NAMES: [&str; 7] =
        ["spiral", "mlp", "lotka_volterra", "robertson", "cnf", "cnf_formula", "wide"];
    if let Some(name) = arguments.names.iter().find(|n| !NAMES.contains(&n.as_str())) {
        return Err(format!("there is no workload {name:?}; there are {}", NAMES.join(", ")).into());
    }
    if arguments.dtype == Some(Dtype::F64) && arguments.names != ["mlp"] {
        return Err("only mlp can be run in both types: name it alone".into());
    }
    let wanted =
        |name: &str| arguments.names.is_empty() || arguments.names.iter().any(|n| n == name);
    if !arguments.json {
        println!(
            "{:15} {:3} {:>10} {:>10} {:>10} {:>10} {:>9} {:>6} {:>9} {:>9} {:>10} bits",
            "",
            "",
            "median ms",
            "least ms",
            "loss ms",
            "first ms",
            "steps",
            "f",
            "loss err",
            "grad err",
            "kept",
        );
    }
    if wanted("spiral") {
        print(&measure(&spiral::workload(), arguments)?, arguments);
    }
    if wanted("mlp") {
        let report = match arguments.dtype {
            Some(Dtype::F64) => measure(&mlp::workload::<f64>(), arguments)?,
            _ => measure(&mlp::workload::<f32>(), arguments)?,
        };
        print(&report, arguments);
    }
    if wanted("lotka_volterra") {
        print(&measure(&lotka_volterra::workload(), arguments)?, arguments);
    }
    if wanted("robertson") {
        print(&measure(&robertson::workload(), arguments)?, arguments);
    }
    if wanted("cnf") {
        print(&measure(&cnf::workload(), arguments)?, arguments);
    }
    if wanted("cnf_formula") {
        print(&measure(&cnf::workload_by_formula(), arguments)?, arguments);
    }
    if wanted("wide") {
        print(&measure(&wide::workload(), arguments)?, arguments);
    }
    Ok(())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(arguments.threads).build();
    let result = pool
        .map_err(|e| e.to_string())
        .and_then(|pool| pool.install(|| run(&arguments).map_err(|e| e.to_string())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}
