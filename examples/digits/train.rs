//! Training, with a progress bar.

use costate::prelude::*;
use indicatif::{ProgressBar, ProgressStyle};

use crate::data::{Set, shuffled};
use crate::model::{Classifier, Kind};

const BATCH: usize = 64;
const NOISE: f64 = 0.3;

/// What one epoch came to.
pub struct Epoch {
    /// The mean loss of the epoch's batches.
    pub loss: f64,
    /// The accuracy on the held-out images after it.
    pub accuracy: f64,
}

/// A trained network and how it got there.
pub struct Trained {
    pub kind: Kind,
    pub params: Params<f32>,
    pub classifier: Classifier,
    pub epochs: Vec<Epoch>,
}

/// Trains one network; everything random follows from the seed.
pub fn train(
    kind: Kind,
    ode: Ode,
    seed: u64,
    epochs: usize,
    (train, test): (&Set, &Set),
) -> costate::Result<Trained> {
    let mut params = Params::<f32>::seeded(seed);
    let classifier = Classifier::new(&mut params, kind, ode);
    let mut random = Params::seeded(seed.wrapping_add(1));
    let batches = train.labels.len() / BATCH;
    let bar = ProgressBar::new((epochs * batches) as u64).with_prefix(kind.name());
    let style = "{prefix:20} {bar:30} {percent:>3} %  {msg}  {elapsed}";
    bar.set_style(ProgressStyle::with_template(style).expect("a valid template"));
    let mut adam = Adam::new(0.0);
    let mut history: Vec<Epoch> = Vec::new();
    for epoch in 0..epochs {
        let mut sum = 0.0;
        let order = shuffled(train.labels.len(), &mut random);
        for (i, rows) in order.chunks_exact(BATCH).enumerate() {
            // The rate falls along a cosine from its start to zero.
            let progress = (epoch * batches + i) as f64 / (epochs * batches) as f64;
            adam.set_rate(4e-3 * (1.0 + (std::f64::consts::PI * progress).cos()) / 2.0);
            let batch = train.rows(rows).with_noise(NOISE, &mut random);
            let loss = params.step(&mut adam, |tape, p| {
                let logits = classifier.forward(p, tape.constant(&batch.images))?;
                Ok(cross_entropy(logits, &batch.labels))
            })?;
            sum += f64::from(loss);
            bar.inc(1);
        }
        let loss = sum / batches as f64;
        let accuracy = evaluate(&classifier, &params, test)?;
        bar.set_message(format!("loss {loss:.4}, accuracy {:.2} %", 100.0 * accuracy));
        history.push(Epoch { loss, accuracy });
    }
    bar.finish();
    Ok(Trained { kind, params, classifier, epochs: history })
}

/// The accuracy on a set.
pub fn evaluate(classifier: &Classifier, params: &Params<f32>, set: &Set) -> costate::Result<f64> {
    let tape = Tape::new();
    let logits = classifier.forward(&params.bind(&tape), tape.constant(&set.images))?;
    Ok(accuracy(logits, &set.labels))
}
