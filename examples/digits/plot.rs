//! The learning curves, and hidden states with their momenta in a plane, as SVG.

use std::error::Error;
use std::path::Path;

use costate::prelude::*;
use plotters::prelude::*;

use crate::data::Set;
use crate::model::{Body, WIDTH};
use crate::train::Trained;

type Plot<T> = std::result::Result<T, Box<dyn Error>>;

const COLOURS: [RGBColor; 10] = [
    RGBColor(31, 119, 180),
    RGBColor(255, 127, 14),
    RGBColor(44, 160, 44),
    RGBColor(214, 39, 40),
    RGBColor(148, 103, 189),
    RGBColor(140, 86, 75),
    RGBColor(227, 119, 194),
    RGBColor(127, 127, 127),
    RGBColor(188, 189, 34),
    RGBColor(23, 190, 207),
];

/// Loss and accuracy of each network after each epoch.
pub fn learning_curves(path: &Path, trained: &[Trained]) -> Plot<()> {
    let area = SVGBackend::new(path, (900, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(450);
    let epochs = trained[0].epochs.len();
    let losses = trained.iter().flat_map(|t| &t.epochs).map(|e| e.loss);
    let highest = losses.fold(0.0, f64::max);
    let mut loss = ChartBuilder::on(&left)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(50)
        .caption("training loss", ("sans-serif", 18))
        .build_cartesian_2d(1..epochs.max(2), (1e-4..highest).log_scale())?;
    loss.configure_mesh().x_desc("epoch").y_desc("cross-entropy").draw()?;
    let mut accuracy = ChartBuilder::on(&right)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(50)
        .caption("accuracy on held-out digits", ("sans-serif", 18))
        .build_cartesian_2d(1..epochs.max(2), 0.9..1.0)?;
    accuracy.configure_mesh().x_desc("epoch").draw()?;
    for (t, colour) in trained.iter().zip(COLOURS) {
        let points = |f: fn(&crate::train::Epoch) -> f64| {
            t.epochs.iter().enumerate().map(move |(i, e)| (i + 1, f(e)))
        };
        loss.draw_series(LineSeries::new(points(|e| e.loss.max(1e-4)), colour.stroke_width(2)))?;
        accuracy
            .draw_series(LineSeries::new(points(|e| e.accuracy.max(0.9)), colour.stroke_width(2)))?
            .label(t.kind.name())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    accuracy
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

/// Points along the depth at which a trajectory is drawn.
const POINTS: usize = 24;

/// States `[POINTS + 1][image][WIDTH]` along the depth, and the momenta conjugate to them.
type Paths = Vec<Vec<Vec<f64>>>;

/// The hidden states of images along the depth, and the gradients of the loss with respect to
/// them.
fn trajectories(trained: &Trained, ode: &Ode, set: &Set) -> costate::Result<(Paths, Paths)> {
    let Body::Ode(body) = trained.classifier.body else {
        panic!("trajectories are those of the ODE network")
    };
    let tape = Tape::new();
    let p = trained.params.bind(&tape);
    let mut xs = vec![trained.classifier.encode(&p, tape.constant(&set.images))];
    for i in 0..POINTS {
        let ts = [i, i + 1].map(|i| i as f64 / POINTS as f64);
        let x = ode.solve(|t, x| body.field(&p, t, x), xs[i], ts)?;
        xs.push(x.index_axis(0, 1));
    }
    let loss = cross_entropy(trained.classifier.decode(&p, xs[POINTS]), &set.labels);
    let ps = loss.grad(&xs)?;
    let rows = |vars: &[Var<'_, f32>]| {
        let row = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect();
        vars.iter().map(|x| x.to_vec().chunks(WIDTH).map(row).collect()).collect()
    };
    Ok((rows(&xs), rows(&ps)))
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The mean and the two directions in which points vary most, by power iteration.
fn principal_plane(points: &[Vec<f64>]) -> (Vec<f64>, [Vec<f64>; 2]) {
    let n = points.len() as f64;
    let mean: Vec<f64> = (0..WIDTH).map(|j| points.iter().map(|x| x[j]).sum::<f64>() / n).collect();
    let centred: Vec<Vec<f64>> =
        points.iter().map(|x| x.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let mut found: Vec<Vec<f64>> = Vec::new();
    for k in 0..2 {
        let mut v: Vec<f64> = (0..WIDTH).map(|j| ((j + 3 * k + 1) as f64).sin()).collect();
        for _ in 0..500 {
            let mut next = vec![0.0; WIDTH];
            for x in &centred {
                let c = dot(x, &v);
                next.iter_mut().zip(x).for_each(|(n, x)| *n += c * x);
            }
            for other in &found {
                let c = dot(&next, other);
                next.iter_mut().zip(other).for_each(|(n, o)| *n -= c * o);
            }
            let size = dot(&next, &next).sqrt().max(f64::MIN_POSITIVE);
            v = next.iter().map(|x| x / size).collect();
        }
        found.push(v);
    }
    let second = found.pop().expect("two directions");
    (mean, [found.pop().expect("two directions"), second])
}

/// Hidden states on their way through the network, with arrows along `-p`, the direction in which
/// the loss falls.
pub fn hidden_states(path: &Path, trained: &Trained, ode: &Ode, set: &Set) -> Plot<()> {
    let (xs, ps) = trajectories(trained, ode, set)?;
    let (mean, plane) = principal_plane(&xs.concat());
    let project = |x: &[f64], from: &[f64]| {
        let moved: Vec<f64> = x.iter().zip(from).map(|(x, m)| x - m).collect();
        (dot(&moved, &plane[0]), dot(&moved, &plane[1]))
    };
    let zero = vec![0.0; WIDTH];
    let points: Vec<(f64, f64)> = xs.concat().iter().map(|x| project(x, &mean)).collect();
    let range = |f: fn(&(f64, f64)) -> f64| {
        let values = points.iter().map(f);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), x| (l.min(x), h.max(x)));
        let margin = 0.08 * (high - low).max(1e-9);
        low - margin..high + margin
    };
    let area = SVGBackend::new(path, (760, 640)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(50)
        .caption("hidden states x(t), and -p(t), their momenta reversed", ("sans-serif", 18))
        .build_cartesian_2d(range(|p| p.0), range(|p| p.1))?;
    chart
        .configure_mesh()
        .x_desc("first principal direction")
        .y_desc("second principal direction")
        .draw()?;
    let momenta: Vec<(f64, f64)> = ps.concat().iter().map(|p| project(p, &zero)).collect();
    let mut sizes: Vec<f64> = momenta.iter().map(|p| p.0.hypot(p.1)).collect();
    sizes.sort_by(f64::total_cmp);
    let span = range(|p| p.0);
    // Most arrows are at most a twentieth of the picture long.
    let scale = 0.05 * (span.end - span.start) / sizes[sizes.len() * 9 / 10].max(f64::MIN_POSITIVE);
    for (image, &label) in set.labels.iter().enumerate() {
        let colour = COLOURS[label];
        let way: Vec<_> = xs.iter().map(|x| project(&x[image], &mean)).collect();
        chart.draw_series(LineSeries::new(way.iter().copied(), colour.stroke_width(2)))?;
        for i in (0..=POINTS).step_by(4) {
            let (x, p) = (way[i], project(&ps[i][image], &zero));
            let factor = scale / (1.0 + p.0.hypot(p.1) * scale / (0.1 * (span.end - span.start)));
            let tip = (x.0 - p.0 * factor, x.1 - p.1 * factor);
            chart.draw_series([PathElement::new([x, tip], BLACK.mix(0.45))])?;
        }
        let end = way[POINTS];
        chart.draw_series([EmptyElement::at(end)
            + Circle::new((0, 0), 4, colour.filled())
            + Text::new(label.to_string(), (6, -6), ("sans-serif", 14))])?;
    }
    area.present()?;
    Ok(())
}
