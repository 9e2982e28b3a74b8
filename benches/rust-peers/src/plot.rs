//! Pictures of time against error.

use std::path::Path;

use plotters::prelude::*;

use crate::{Measured, Series};

/// One colour for each library.
fn colour(library: &str) -> RGBColor {
    match library {
        "costate" => RGBColor(200, 30, 30),
        "diffsol" => RGBColor(30, 90, 200),
        "ode_solvers" => RGBColor(20, 140, 60),
        _ => RGBColor(150, 110, 20),
    }
}

/// Time against error, one line for each method.
pub fn plot(measured: &Measured, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let points = || measured.series.iter().flat_map(|series| &series.points);
    let range = |value: &dyn Fn(&crate::Point) -> f64| {
        let low = points().map(value).filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
        let high = points().map(value).fold(0.0, f64::max);
        (0.7 * low)..(1.5 * high)
    };
    let (errors, times) = (range(&|p| p.error.max(1e-16)), range(&|p| p.seconds));
    let area = SVGBackend::new(file, (860, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(measured.problem, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(errors.log_scale(), times.log_scale())?;
    chart
        .configure_mesh()
        .x_desc("error")
        .y_desc("seconds")
        .x_label_formatter(&|x| format!("{x:.0e}"))
        .y_label_formatter(&|y| format!("{y:.0e}"))
        .light_line_style(WHITE)
        .draw()?;
    let mut before: (&str, usize) = ("", 0);
    for Series { library, method, points } in &measured.series {
        before = if before.0 == *library { (*library, before.1 + 1) } else { (*library, 0) };
        let style = colour(library).mix(1.0 - 0.13 * before.1 as f64).stroke_width(2);
        let places: Vec<(f64, f64)> =
            points.iter().map(|p| (p.error.max(1e-16), p.seconds)).collect();
        chart
            .draw_series(LineSeries::new(places.iter().copied(), style))?
            .label(format!("{library} {method}"))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        let size = 2 + before.1 as i32;
        chart.draw_series(places.iter().map(|&p| Circle::new(p, size.min(5), style)))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.8))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}
