//! Error against work, as SVG.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;

use crate::Series;

/// Error against evaluations of the field, and against time.
pub fn work_precision(path: &Path, title: &str, series: &[Series]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (1200, 620)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(520);
    panel(&left, title, "evaluations of the field", series, |p| p.evaluations as f64, false)?;
    panel(&right, title, "microseconds", series, |p| p.seconds * 1e6, true)?;
    area.present()?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    work: &str,
    series: &[Series],
    x: fn(&crate::Point) -> f64,
    labels: bool,
) -> Result<(), Box<dyn Error>> {
    let points = || series.iter().flat_map(|s| &s.points);
    let range = |f: &dyn Fn(&crate::Point) -> f64| -> Range<f64> {
        let (low, high) =
            points().map(f).fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        0.7 * low..1.4 * high
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(if labels { 170 } else { 12 })
        .x_label_area_size(40)
        .y_label_area_size(60)
        .caption(title, ("sans-serif", 18))
        .build_cartesian_2d(range(&x).log_scale(), range(&|p| p.error).log_scale())?;
    chart
        .configure_mesh()
        .x_desc(work)
        .y_desc("error at the end")
        .x_label_formatter(&|x| format!("{x:.0e}"))
        .y_label_formatter(&|y| format!("{y:.0e}"))
        .draw()?;
    for (i, s) in series.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let at = |p: &crate::Point| (x(p), p.error);
        chart.draw_series(LineSeries::new(s.points.iter().map(at), colour.stroke_width(2)))?;
        chart.draw_series(s.points.iter().map(|p| Circle::new(at(p), 2, colour.filled())))?;
        if labels {
            let (width, _) = area.dim_in_pixel();
            let place = (width as i32 - 160, 50 + 20 * i as i32);
            area.draw(&PathElement::new(
                [(place.0, place.1 + 7), (place.0 + 18, place.1 + 7)],
                colour.stroke_width(2),
            ))?;
            let text = ("sans-serif", 14).into_font();
            area.draw(&Text::new(s.name, (place.0 + 24, place.1), text))?;
        }
    }
    Ok(())
}
