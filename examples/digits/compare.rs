//! The three ways to the gradient, for the trained network.

use std::time::Instant;

use costate::prelude::*;

use crate::data::Set;
use crate::model::{Classifier, Kind};

/// One way: what it costs, and how far it is from the others.
pub struct Row {
    pub name: &'static str,
    /// Milliseconds for the loss and its gradient, the median of several.
    pub milliseconds: f64,
    /// Bytes kept between the forward and the backward pass.
    pub kept: usize,
    /// The distance to the exact gradient, and to that of a solve at tolerance 1e-10 in double
    /// precision, each divided by the latter's size.
    pub to_exact: f64,
    pub to_reference: f64,
}

/// The gradient of the loss on a batch, and the bytes that the solve keeps for it.
fn gradient<T: Real>(ode: Ode, values: &[f32], batch: &Set) -> costate::Result<(Vec<f64>, usize)> {
    let mut params = Params::<T>::seeded(0);
    let classifier = Classifier::new(&mut params, Kind::Ode, ode);
    for (to, from) in params.values_mut().iter_mut().zip(values) {
        *to = T::from_f64(f64::from(*from));
    }
    let mut kept = 0;
    let (_, gradient) = params.gradient(|tape, p| {
        let images = tape.constant(&batch.images.map(|&x| T::from_f64(f64::from(x))));
        let before = tape.bytes();
        let logits = classifier.forward(p, images)?;
        kept = tape.bytes() - before;
        Ok(cross_entropy(logits, &batch.labels))
    })?;
    Ok((gradient.iter().map(|g| g.as_f64()).collect(), kept))
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
}

/// Measures each way on one batch.
pub fn compare(ode: Ode, values: &[f32], batch: &Set) -> costate::Result<Vec<Row>> {
    let (reference, _) = gradient::<f64>(ode.clone().tolerance(1e-10, 1e-10), values, batch)?;
    let size = distance(&reference, &vec![0.0; reference.len()]);
    let exact = gradient::<f32>(ode.clone().gradient(Gradient::Exact), values, batch)?.0;
    let ways = [
        ("Exact", Gradient::Exact),
        ("Continuous", Gradient::Continuous),
        ("Unrolled", Gradient::Unrolled),
    ];
    ways.into_iter()
        .map(|(name, way)| {
            let mut times = Vec::new();
            let (mut found, mut kept) = (Vec::new(), 0);
            for _ in 0..15 {
                let start = Instant::now();
                (found, kept) = gradient::<f32>(ode.clone().gradient(way), values, batch)?;
                times.push(start.elapsed().as_secs_f64() * 1e3);
            }
            times.sort_by(f64::total_cmp);
            Ok(Row {
                name,
                milliseconds: times[times.len() / 2],
                kept,
                to_exact: distance(&found, &exact) / size,
                to_reference: distance(&found, &reference) / size,
            })
        })
        .collect()
}
