//! The report: what each library needs for an error.

use std::fmt::Write;

use crate::solvers::COSTATE;
use crate::{Measured, Series};

/// The errors at which libraries are compared.
const ERRORS: [f64; 4] = [1e-4, 1e-6, 1e-8, 1e-10];

/// The name of the file with the picture of a problem.
pub fn picture(problem: &str) -> String {
    let name = problem.to_lowercase().replace([' ', '-'], "_");
    format!("rust_peers_{name}.svg")
}

/// The time in which a method comes to an error: between two tolerances as if the logarithms of
/// time and error were on a line; `None` outside those that were measured.
fn time(series: &Series, error: f64) -> Option<f64> {
    let points = &series.points;
    if points.first()?.error < error {
        // Looser than it was asked for.
        return Some(points[0].seconds);
    }
    let between = points.windows(2).find(|w| w[0].error >= error && error >= w[1].error)?;
    let (a, b) = (&between[0], &between[1]);
    let part =
        if a.error > b.error { (a.error / error).ln() / (a.error / b.error).ln() } else { 0.0 };
    Some((a.seconds.ln() + part * (b.seconds / a.seconds).ln()).exp())
}

/// The fastest method of those of a library, or of all other libraries.
fn fastest<'m>(
    measured: &'m Measured,
    error: f64,
    belongs: impl Fn(&Series) -> bool,
) -> Option<(&'m Series, f64)> {
    measured
        .series
        .iter()
        .filter(|series| belongs(series))
        .filter_map(|series| Some((series, time(series, error)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
}

fn duration(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.1} µs", 1e6 * seconds)
    } else {
        format!("{:.2} ms", 1e3 * seconds)
    }
}

/// The text of `docs/rust_peers.md`.
pub fn report(all: &[Measured]) -> String {
    let mut text = String::from(
        "# costate beside other Rust crates\n\n\
         Written by `cargo run --release` in `benches/rust-peers`: work against precision of costate, \
         `diffsol` 0.18.0,\n`ode_solvers` 0.6.2 and `differential-equations` 0.7.0. All solve to the \
         end of the span and are asked for the last\nstate; the error is that state's largest one, \
         relative to `max(1, |y|)`, and to `|y|` for Robertson. Each solve\ntakes its turn 7 times, \
         and the shortest time counts. The time for an error is read between two tolerances, on\na \
         line in logarithms. Fields and Jacobians are the same code, compiled for each library.\n\n\
         ## At equal error\n\n\
         The fastest method of each library; the last column is the time of the fastest other \
         library over that of\ncostate.\n\n\
         | problem | error | costate | fastest other | other / costate |\n\
         | --- | --- | --- | --- | --- |\n",
    );
    for measured in all {
        for error in ERRORS {
            let own = fastest(measured, error, |s| s.library == COSTATE);
            let other = fastest(measured, error, |s| s.library != COSTATE);
            let cell = |found: Option<(&Series, f64)>| match found {
                Some((series, seconds)) if series.library == COSTATE => {
                    format!("{}, {}", duration(seconds), series.method)
                }
                Some((series, seconds)) => {
                    format!("{}, {} {}", duration(seconds), series.library, series.method)
                }
                None => "not reached".into(),
            };
            let ratio = match (own, other) {
                (Some((_, own)), Some((_, other))) => format!("{:.2}", other / own),
                _ => String::new(),
            };
            let (own, other) = (cell(own), cell(other));
            let problem = measured.problem;
            writeln!(text, "| {problem} | {error:.0e} | {own} | {other} | {ratio} |")
                .expect("a string");
        }
    }
    for measured in all {
        let (problem, n) = (measured.problem, measured.components);
        write!(
            text,
            "\n## {problem}\n\n{n} components.\n\n![{problem}](images/{})\n\n| library | method |",
            picture(problem)
        )
        .expect("a string");
        for error in ERRORS {
            write!(text, " {error:.0e} |").expect("a string");
        }
        text.push_str("\n| --- | --- | --- | --- | --- | --- |\n");
        for series in &measured.series {
            write!(text, "| {} | {} |", series.library, series.method).expect("a string");
            for error in ERRORS {
                let cell = time(series, error).map_or("".into(), duration);
                write!(text, " {cell} |").expect("a string");
            }
            text.push('\n');
        }
    }
    text
}
