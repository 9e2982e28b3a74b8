//! Error against work.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;

use crate::log_log::{Area, Curve, legend, panel};
use crate::{Point, Series};

/// Error against evaluations of the field, and against time.
pub fn work_precision(path: &Path, title: &str, series: &[Series]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (1200, 780)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, rest) = area.split_horizontally(520);
    let (middle, right) = rest.split_horizontally(520);
    let draw = |area: &Area<'_>, work: &str, x: fn(&Point) -> f64| {
        let curve = |s: &Series| s.points.iter().map(|p| (x(p), p.error)).collect();
        let curves: Vec<Curve> = series.iter().map(curve).collect();
        panel(area, title, [work, "error at the end"], &curves)
    };
    draw(&left, "evaluations of the field", |p| p.evaluations as f64)?;
    draw(&middle, "microseconds", |p| p.seconds * 1e6)?;
    legend(&right, series.iter().map(|s| s.name))?;
    area.present()?;
    Ok(())
}
