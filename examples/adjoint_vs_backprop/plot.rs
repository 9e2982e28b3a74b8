//! Comparisons and momenta, as SVG.

use std::error::Error;
use std::path::Path;

use costate::odeint::{Comparison, Measured, MomentumTrajectory};
use plotters::prelude::*;

use crate::log_log::{Area, Curve, legend, panel};

/// Distance to the reference against time, memory and evaluations.
pub fn comparison(path: &Path, title: &str, found: &Comparison) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (1500, 460)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(1290);
    let panels = left.split_evenly((1, 3));
    let ways = ways(found);
    let draw = |area: &Area<'_>, title: &str, work: &str, x: fn(&Measured) -> f64| {
        // Below the uncertainty of the reference a distance means nothing.
        let y = |m: &Measured| m.distance.max(found.uncertainty).max(1e-16);
        let curve = |way: &&str| measured(found, way).map(|m| (x(m), y(m))).collect();
        let curves: Vec<Curve> = ways.iter().map(curve).collect();
        panel(area, title, [work, "distance to the reference gradient"], &curves)
    };
    draw(&panels[0], title, "ms, forward and backward", |m| (m.forward + m.backward) * 1e3)?;
    draw(&panels[1], "", "KiB kept", |m| m.bytes as f64 / 1024.0)?;
    draw(&panels[2], "", "evaluations of the field and its vjp", |m| {
        (m.f_evals + m.vjp_evals) as f64
    })?;
    let fails = |way| if measured(found, way).next().is_none() { " (fails)" } else { "" };
    legend(&right, ways.iter().map(|way| format!("{way}{}", fails(way))))?;
    area.present()?;
    Ok(())
}

/// The rows of a way that did not fail.
fn measured<'a>(found: &'a Comparison, way: &'a str) -> impl Iterator<Item = &'a Measured> {
    let rows = found.rows.iter().filter(move |row| row.way == way);
    rows.filter_map(|row| row.outcome.as_ref().ok())
}

/// The ways, in the order of their rows.
fn ways(found: &Comparison) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in &found.rows {
        if !names.contains(&&row.way[..]) {
            names.push(&row.way);
        }
    }
    names
}

/// The state and the momentum, `H`, and the length of the gradient as a function of time.
pub fn momentum(
    path: &Path,
    title: &str,
    found: &MomentumTrajectory<f64>,
) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (1000, 720)).into_drawing_area();
    area.fill(&WHITE)?;
    let panels = area.split_evenly((2, 2));
    let rows = found.ts.len();
    let few = found.dim().min(6);
    let components = |values: &[f64]| -> Vec<Vec<f64>> {
        let component = |c| (0..rows).map(|i| values[i * found.dim() + c]).collect();
        (0..few).map(component).collect()
    };
    let lengths = |values: &Vec<f64>| -> Vec<f64> {
        let each = values.len() / rows;
        let row = |i: usize| values[i * each..(i + 1) * each].iter().map(|x| x * x).sum::<f64>();
        (0..rows).map(|i| row(i).sqrt()).collect()
    };
    let rates: Vec<Vec<f64>> = found.rates.iter().map(lengths).collect();
    lines(&panels[0], &format!("{title}: x(t)"), &found.ts, &components(&found.states))?;
    lines(&panels[1], "p(t)", &found.ts, &components(&found.momenta))?;
    // Its changes, which may be small beside it.
    let end = found.hamiltonian[rows - 1];
    let changes = found.hamiltonian.iter().map(|h| h - end).collect();
    lines(&panels[2], &format!("H(t) = p · f, less {end:.4e}"), &found.ts, &[changes])?;
    lines(&panels[3], "|dL/dθ(t)|, for each θ", &found.ts, &rates)?;
    area.present()?;
    Ok(())
}

fn lines(
    area: &Area<'_>,
    title: &str,
    ts: &[f64],
    series: &[Vec<f64>],
) -> Result<(), Box<dyn Error>> {
    let values = series.iter().flatten().copied().filter(|x| x.is_finite());
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
    let room = 0.05 * (high - low).max(1e-3 * high.abs()).max(f64::MIN_POSITIVE);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(24)
        .y_label_area_size(64)
        .caption(title, ("sans-serif", 16))
        .build_cartesian_2d(ts[0]..ts[ts.len() - 1], low - room..high + room)?;
    chart.configure_mesh().max_light_lines(0).y_label_formatter(&|y| format!("{y:.1e}")).draw()?;
    for (i, values) in series.iter().enumerate() {
        let points = ts.iter().copied().zip(values.iter().copied());
        chart.draw_series(LineSeries::new(points, Palette99::pick(i).stroke_width(1)))?;
    }
    Ok(())
}
