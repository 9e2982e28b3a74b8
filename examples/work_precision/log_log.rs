//! Curves over logarithmic axes, as SVG; and which problems to draw them for.

use std::error::Error;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::prelude::*;

pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Points that belong together. The colour of a curve is that of its place in a panel.
pub type Curve = Vec<(f64, f64)>;

/// The positive numbers between, with room to both sides.
fn range(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) = numbers.fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
    0.6 * low..1.6 * high
}

/// Draws curves, with what the axes show.
pub fn panel(
    area: &Area<'_>,
    title: &str,
    [x, y]: [&str; 2],
    curves: &[Curve],
) -> Result<(), Box<dyn Error>> {
    let points = || curves.iter().flatten();
    let (across, up) = (range(points().map(|p| p.0)), range(points().map(|p| p.1)));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .caption(title, ("sans-serif", 18))
        .build_cartesian_2d(across.log_scale(), up.log_scale())?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|x| format!("{x:.0e}"))
        .y_label_formatter(&|y| format!("{y:.0e}"))
        .draw()?;
    for (i, curve) in curves.iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let points = curve.iter().copied();
        chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?;
        chart.draw_series(points.map(|p| Circle::new(p, 2, colour.filled())))?;
    }
    Ok(())
}

/// The names of curves beside their colours, one under another.
pub fn legend<S: AsRef<str>>(
    area: &Area<'_>,
    names: impl IntoIterator<Item = S>,
) -> Result<(), Box<dyn Error>> {
    for (i, name) in names.into_iter().enumerate() {
        let colour = Palette99::pick(i).to_rgba();
        let (x, y) = (4, 50 + 20 * i as i32);
        area.draw(&PathElement::new([(x, y + 7), (x + 18, y + 7)], colour.stroke_width(2)))?;
        let text = ("sans-serif", 14).into_font();
        area.draw(&Text::new(name.as_ref().to_owned(), (x + 26, y), text))?;
    }
    Ok(())
}

/// The problem of a name, or all.
pub fn choose<P>(
    problems: Vec<P>,
    name: impl Fn(&P) -> &'static str,
    wanted: Option<&str>,
) -> Result<Vec<P>, Box<dyn Error>> {
    let names: Vec<&str> = problems.iter().map(&name).collect();
    let is_wanted = |p: &P| wanted.is_none_or(|wanted| wanted == name(p));
    let chosen: Vec<P> = problems.into_iter().filter(is_wanted).collect();
    if chosen.is_empty() {
        return Err(format!("there is no such problem; there are {}", names.join(", ")).into());
    }
    Ok(chosen)
}
