//! Curves and dots in panels, as SVG.

use std::path::Path;

use plotters::prelude::*;

use crate::Outcome;

pub const BLUE: RGBColor = RGBColor(31, 119, 180);
pub const RED: RGBColor = RGBColor(214, 39, 40);
pub const GREEN: RGBColor = RGBColor(44, 160, 44);
pub const GREY: RGBColor = RGBColor(150, 150, 150);
pub const ORANGE: RGBColor = RGBColor(255, 127, 14);

/// Points that belong together.
pub struct Series {
    pub name: String,
    pub colour: RGBColor,
    pub points: Vec<(f64, f64)>,
    pub dots: bool,
}

impl Series {
    pub fn line(name: &str, colour: RGBColor, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.to_owned(), colour, points, dots: false }
    }

    pub fn dots(name: &str, colour: RGBColor, points: Vec<(f64, f64)>) -> Series {
        Series { name: name.to_owned(), colour, points, dots: true }
    }
}

/// One plot of a picture. Series without a name are not in its legend.
pub struct Panel {
    pub title: String,
    pub x: String,
    pub y: String,
    pub series: Vec<Series>,
}

impl Panel {
    pub fn new(title: &str, x: &str, y: &str, series: Vec<Series>) -> Panel {
        Panel { title: title.to_owned(), x: x.to_owned(), y: y.to_owned(), series }
    }
}

/// The range of numbers with a margin.
fn range(numbers: impl Iterator<Item = f64>) -> std::ops::Range<f64> {
    let (low, high) = numbers
        .filter(|x| x.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
    if low > high {
        return 0.0..1.0;
    }
    let margin = 0.05 * (high - low).max(1e-9 + 1e-6 * high.abs());
    low - margin..high + margin
}

/// Draws panels side by side.
pub fn draw(path: &Path, panels: &[Panel]) -> Outcome {
    let width = 400 * panels.len() as u32;
    let area = SVGBackend::new(path, (width, 360)).into_drawing_area();
    area.fill(&WHITE)?;
    for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
        let points = || panel.series.iter().flat_map(|s| s.points.iter());
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(56)
            .caption(&panel.title, ("sans-serif", 16))
            .build_cartesian_2d(range(points().map(|p| p.0)), range(points().map(|p| p.1)))?;
        chart.configure_mesh().x_desc(&panel.x).y_desc(&panel.y).light_line_style(WHITE).draw()?;
        for series in &panel.series {
            let colour = series.colour;
            let drawn = if series.dots {
                let dots = series.points.iter().map(|&p| Circle::new(p, 2, colour.filled()));
                chart.draw_series(dots)?
            } else {
                let line = LineSeries::new(series.points.iter().copied(), colour.stroke_width(2));
                chart.draw_series(line)?
            };
            if !series.name.is_empty() {
                drawn.label(&series.name).legend(move |(x, y)| {
                    PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3))
                });
            }
        }
        if panel.series.iter().any(|s| !s.name.is_empty()) {
            let mut labels = chart.configure_series_labels();
            labels.background_style(WHITE.mix(0.8)).border_style(GREY).draw()?;
        }
    }
    area.present()?;
    Ok(())
}
