//! Learning curves: the mean over seeds, and a band from the least to the largest.

use std::path::Path;

use plotters::prelude::*;

use crate::Outcome;
use crate::data::Data;
use crate::model::{Kind, Regulariser};
use crate::report::of;
use crate::train::{Epoch, Run, name};

const COLOURS: [RGBColor; 5] = [
    RGBColor(214, 39, 40),
    RGBColor(255, 127, 14),
    RGBColor(31, 119, 180),
    RGBColor(44, 160, 44),
    RGBColor(110, 110, 110),
];

/// A network's curve.
struct Curve {
    name: String,
    /// Mean, least and largest over seeds, for each epoch.
    points: Vec<[f64; 3]>,
}

fn curve(
    runs: &[Run],
    (kind, regulariser): (Kind, Regulariser),
    name: String,
    number: fn(&Epoch) -> f64,
) -> Curve {
    let runs: Vec<&Run> = of(runs, kind, regulariser).collect();
    let at = |i: usize| {
        let values = || runs.iter().map(|r| number(&r.epochs[i]));
        let mean = values().sum::<f64>() / runs.len() as f64;
        [mean, values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max)]
    };
    Curve { name, points: (0..runs[0].epochs.len()).map(at).collect() }
}

/// Accuracy and loss of all networks, and of the equations with their regularisers.
pub fn draw(path: &Path, data: &Data, runs: &[Run], plans: &[(Kind, Regulariser)]) -> Outcome {
    let accuracy: fn(&Epoch) -> f64 = |e| 100.0 * e.accuracy;
    // The loss over two decades and more is read from its logarithm.
    let loss: fn(&Epoch) -> f64 = |e| e.loss.max(1e-6).log10();
    let plain: Vec<_> = plans.iter().filter(|p| p.1 == Regulariser::None).collect();
    let curves = |number| -> Vec<Curve> {
        plain.iter().map(|p| curve(runs, **p, name(p.0, p.1), number)).collect()
    };
    let title = |what: &str| format!("{}: {what}", data.name);
    let mut panels = vec![
        (title("accuracy on held-out samples, %"), curves(accuracy), true),
        (title("log₁₀ of the training loss"), curves(loss), false),
    ];
    for kind in [Kind::FeedForwardOde, Kind::ResidualOde] {
        let all: Vec<_> = plans.iter().filter(|p| p.0 == kind).collect();
        if all.len() > 1 {
            let label = |p: &(Kind, Regulariser)| match p.1 {
                Regulariser::None => "no regulariser".to_owned(),
                regulariser => regulariser.name().to_owned(),
            };
            let curves = all.iter().map(|p| curve(runs, **p, label(p), accuracy)).collect();
            panels.push((format!("{}: accuracy, %", kind.name()), curves, true));
        }
    }
    let rows = panels.len().div_ceil(2);
    let area = SVGBackend::new(path, (960, 380 * rows as u32)).into_drawing_area();
    area.fill(&WHITE)?;
    for ((title, curves, rises), area) in panels.iter().zip(area.split_evenly((rows, 2))) {
        panel(&area, title, curves, *rises)?;
    }
    area.present().map_err(|e| format!("cannot write {}: {e}", path.display()).into())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    curves: &[Curve],
    rises: bool,
) -> Outcome {
    let ends = curves.iter().flat_map(|c| c.points.iter().flat_map(|p| [p[1], p[2]]));
    let (low, high) =
        ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    // The first epochs are far below; what differs is near the top.
    let low = if rises { low.max(high - 0.25 * high) } else { low };
    let margin = 0.04 * (high - low).max(1e-6);
    let epochs = curves[0].points.len();
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(48)
        .caption(title, ("sans-serif", 16))
        .build_cartesian_2d(1.0..(epochs as f64).max(1.5), low - margin..high + margin)?;
    chart.configure_mesh().x_desc("epoch").light_line_style(WHITE).draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let floor = |y: f64| y.max(low - margin);
        let at = |k: usize| {
            curve.points.iter().enumerate().map(move |(i, p)| ((i + 1) as f64, floor(p[k])))
        };
        let band: Vec<_> = at(1).chain(at(2).collect::<Vec<_>>().into_iter().rev()).collect();
        chart.draw_series([Polygon::new(band, colour.mix(0.15))])?;
        chart
            .draw_series(LineSeries::new(at(0), colour.stroke_width(2)))?
            .label(curve.name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(3)));
    }
    let place =
        if rises { SeriesLabelPosition::LowerRight } else { SeriesLabelPosition::LowerLeft };
    let mut labels = chart.configure_series_labels();
    labels.position(place).background_style(WHITE.mix(0.8)).border_style(BLACK.mix(0.3)).draw()?;
    Ok(())
}
