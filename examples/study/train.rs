//! One run: one network, one seed.

use costate::prelude::*;

use crate::clock::Clock;
use crate::data::{Data, Set};
use crate::model::{Classifier, Kind, Regulariser};

/// What a run is.
#[derive(Clone, Copy)]
pub struct Plan {
    pub kind: Kind,
    pub regulariser: Regulariser,
    pub seed: u64,
    pub epochs: u64,
    pub rate: f64,
}

impl Plan {
    pub fn name(&self) -> String {
        name(self.kind, self.regulariser)
    }
}

pub fn name(kind: Kind, regulariser: Regulariser) -> String {
    match regulariser {
        Regulariser::None => kind.name().to_owned(),
        _ => format!("{}, {}", kind.name(), regulariser.name()),
    }
}

/// What there is to say after an epoch.
#[derive(Clone, Copy)]
pub struct Epoch {
    /// The mean cross-entropy of the epoch's batches, without the regulariser.
    pub loss: f64,
    /// On held-out samples.
    pub accuracy: f64,
    /// Of processor time, from the start; looking at held-out samples is not counted.
    pub seconds: f64,
    /// Evaluations of the field for a batch of held-out samples, 0 for a network.
    pub evaluations: usize,
}

pub struct Run {
    pub plan: Plan,
    pub parameters: usize,
    pub epochs: Vec<Epoch>,
}

impl Run {
    pub fn last(&self) -> Epoch {
        *self.epochs.last().expect("at least one epoch")
    }

    /// The first epoch that reaches an accuracy, counted from 1, and the seconds until its end.
    pub fn reaches(&self, target: f64) -> Option<(usize, f64)> {
        let i = self.epochs.iter().position(|e| e.accuracy >= target)?;
        Some((i + 1, self.epochs[i].seconds))
    }
}

/// Trains; everything random follows from the seed.
pub fn train(plan: Plan, data: &Data) -> costate::Result<Run> {
    let mut params = Params::<f32>::seeded(plan.seed);
    let classifier = Classifier::new(&mut params, plan.kind, data);
    let mut rng = Rng::seeded(plan.seed + 1000);
    let mut batches = Batches::new(data.train.len(), data.batch, plan.seed + 2000).whole();
    let per_epoch = batches.per_epoch() as u64;
    let schedule = Cosine::new(plan.rate, 0.0, plan.epochs * per_epoch);
    let mut adam = Adam::new(0.0);
    let (mut epochs, mut seconds) = (Vec::new(), 0.0);
    for epoch in 0..plan.epochs {
        let clock = Clock::start();
        let mut sum = 0.0;
        for i in 0..per_epoch {
            let batch = data.train.rows(batches.next_batch());
            adam.set_rate(schedule.rate(epoch * per_epoch + i));
            let mut loss = 0.0;
            params.step(&mut adam, |tape, p| {
                let training = Some((plan.regulariser, &mut rng));
                let output = classifier.forward(p, tape.constant(&batch.x), training)?;
                let fit = cross_entropy(output.logits, &batch.labels);
                loss = fit.item();
                Ok(output.penalty.map_or(fit, |penalty| fit + penalty))
            })?;
            sum += f64::from(loss);
        }
        seconds += clock.seconds();
        let (accuracy, evaluations) = evaluate(&classifier, &params, &data.test)?;
        epochs.push(Epoch { loss: sum / per_epoch as f64, accuracy, seconds, evaluations });
    }
    Ok(Run { plan, parameters: params.len(), epochs })
}

/// Accuracy, and evaluations of the field for a batch of 500, the mean over batches.
fn evaluate(
    classifier: &Classifier,
    params: &Params<f32>,
    set: &Set,
) -> costate::Result<(f64, usize)> {
    let all: Vec<usize> = (0..set.len()).collect();
    let (mut right, mut evaluations, mut count) = (0.0, 0, 0);
    for rows in all.chunks(500) {
        let batch = set.rows(rows);
        let tape = Tape::new();
        let output = classifier.forward(&params.bind(&tape), tape.constant(&batch.x), None)?;
        right += accuracy(output.logits, &batch.labels) * rows.len() as f64;
        evaluations += output.evaluations;
        count += 1;
    }
    Ok((right / set.len() as f64, evaluations / count))
}
