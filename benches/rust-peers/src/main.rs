//! Work against precision of costate and of the crates that a Rust user would take otherwise, in one
//! run, with the libraries taking turns: `cargo run --release` in this folder writes
//! `docs/rust_peers.md` and its pictures.

mod plot;
mod problems;
mod report;
mod solvers;

use std::path::Path;
use std::time::{Duration, Instant};

use costate_odeint::{Verner9, solve};
use problems::{Brusselator, Lorenz, LotkaVolterra, Pleiades, Problem, Robertson};
use solvers::{Contender, contenders};

/// How often each solve takes its turn, and how long a turn is at least.
const TURNS: usize = 7;
const TURN: Duration = Duration::from_millis(2);

/// One method of one library at one tolerance.
pub struct Point {
    /// The largest error of a component at the end, relative to its size, or to 1 if that is more
    /// and the problem is not stiff.
    pub error: f64,
    /// The shortest time of a turn.
    pub seconds: f64,
}

/// One method of one library.
pub struct Series {
    pub library: &'static str,
    pub method: &'static str,
    /// From loose tolerances to tight ones.
    pub points: Vec<Point>,
}

/// What was measured on a problem.
pub struct Measured {
    pub problem: &'static str,
    pub components: usize,
    pub series: Vec<Series>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let measured = [
        measure::<2, LotkaVolterra>(),
        measure::<3, Lorenz>(),
        measure::<28, Pleiades>(),
        measure::<512, Brusselator>(),
        measure::<3, Robertson>(),
    ];
    std::fs::create_dir_all(docs.join("images"))?;
    for one in &measured {
        let file = docs.join("images").join(report::picture(one.problem));
        plot::plot(one, &file)?;
    }
    let text = report::report(&measured);
    std::fs::write(docs.join("rust_peers.md"), &text)?;
    println!("{text}");
    Ok(())
}

/// Where a problem ends: as published, or by the most accurate method at a tight tolerance.
fn end<const N: usize, P: Problem<N>>() -> Vec<f64> {
    if let Some(end) = P::end() {
        return end.to_vec();
    }
    let field = |_: f64, y: &[f64], dy: &mut [f64]| P::field(y, dy);
    let options = solvers::options(1e-14, 1e-14);
    let found = solve(Verner9, field, &P::y0(), &[0.0, P::END], &options);
    found.expect("the reference").y(1).to_vec()
}

fn measure<const N: usize, P: Problem<N>>() -> Measured {
    eprintln!("{}", P::NAME);
    let end = end::<N, P>();
    let error = |found: &[f64]| {
        let ratio = |(y, e): (&f64, &f64)| {
            let size = if P::STIFF { e.abs() } else { e.abs().max(1.0) };
            (y - e).abs() / size
        };
        let worst = found.iter().zip(&end).map(ratio).fold(0.0, f64::max);
        if found.iter().all(|y| y.is_finite()) { worst } else { f64::INFINITY }
    };
    let all: Vec<Contender> = contenders::<N, P>();
    // A first solve finds the error and how many make a turn.
    struct Entry<'a> {
        solver: &'a Contender,
        rtol: f64,
        error: f64,
        solves: u32,
        best: Duration,
    }
    let mut entries = Vec::new();
    for solver in &all {
        for exponent in solver.exponents.clone() {
            let rtol = 10f64.powi(-exponent);
            let started = Instant::now();
            let Some(found) = (solver.solve)(rtol) else {
                eprintln!("  {} {} fails at {rtol:e}", solver.library, solver.method);
                continue;
            };
            let took = started.elapsed().max(Duration::from_nanos(100));
            let solves = (TURN.as_secs_f64() / took.as_secs_f64()).ceil() as u32;
            let error = error(&found);
            if error > 1.0 {
                eprintln!("  {} {} is wrong at {rtol:e}", solver.library, solver.method);
                continue;
            }
            entries.push(Entry { solver, rtol, error, solves, best: Duration::MAX });
        }
    }
    for _ in 0..TURNS {
        for entry in &mut entries {
            let started = Instant::now();
            for _ in 0..entry.solves {
                std::hint::black_box((entry.solver.solve)(std::hint::black_box(entry.rtol)));
            }
            entry.best = entry.best.min(started.elapsed() / entry.solves);
        }
    }
    let mut series: Vec<Series> = Vec::new();
    for entry in entries {
        let (library, method) = (entry.solver.library, entry.solver.method);
        let point = Point { error: entry.error, seconds: entry.best.as_secs_f64() };
        match series.last_mut() {
            Some(last) if (last.library, last.method) == (library, method) => {
                last.points.push(point);
            }
            _ => series.push(Series { library, method, points: vec![point] }),
        }
    }
    Measured { problem: P::NAME, components: N, series }
}
