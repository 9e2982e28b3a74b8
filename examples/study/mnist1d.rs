//! MNIST-1D: ten shapes on a line, stretched, moved, tilted and noisy (S. Greydanus, D. Kobak,
//! arXiv 2011.14439). The steps, their numbers and the shapes are those of the package `mnist1d`
//! (Apache-2.0); random numbers are our own, so the samples are others of the same distribution.

use costate::nn::Rng;
use ndarray::Array2;

use crate::data::Set;

const SAMPLES: usize = 5000;
const TRAIN: usize = 4000;
/// Points of a shape, of a padded signal, and of a finished one.
const SHAPE: usize = 12;
const PADDED: usize = 72;
const FINAL: usize = 40;

#[rustfmt::skip]
const SHAPES: [[f64; SHAPE]; 10] = [
    [5.0, 6.0, 6.5, 6.75, 7.0, 7.0, 7.0, 7.0, 6.75, 6.5, 6.0, 5.0],
    [5.0, 3.0, 3.0, 3.4, 3.8, 4.2, 4.6, 5.0, 5.4, 5.8, 5.0, 5.0],
    [5.0, 6.0, 6.5, 6.5, 6.0, 5.25, 4.75, 4.0, 3.5, 3.5, 4.0, 5.0],
    [5.0, 6.0, 6.5, 6.5, 6.0, 5.0, 5.0, 6.0, 6.5, 6.5, 6.0, 5.0],
    [5.0, 4.4, 3.8, 3.2, 2.6, 2.6, 5.0, 5.0, 5.0, 5.0, 5.0, 5.0],
    [5.0, 3.0, 3.0, 3.0, 3.0, 5.0, 6.0, 6.5, 6.5, 6.0, 4.5, 5.0],
    [5.0, 4.0, 3.5, 3.25, 3.0, 3.0, 3.0, 3.0, 3.25, 3.5, 4.0, 5.0],
    [5.0, 7.0, 7.0, 6.6, 6.2, 5.8, 5.4, 5.0, 4.6, 4.2, 5.0, 5.0],
    [5.0, 4.0, 3.5, 3.5, 4.0, 5.0, 5.0, 4.0, 3.5, 3.5, 4.0, 5.0],
    [5.0, 4.0, 3.5, 3.5, 4.0, 5.0, 5.0, 5.0, 5.0, 4.7, 4.3, 5.0],
];

/// As many samples of each class, 4,000 to train on and 1,000 held out.
pub fn make(seed: u64) -> (Set, Set) {
    let mut rng = Rng::seeded(seed);
    let shapes = SHAPES.map(whiten);
    let mut samples: Vec<(Vec<f64>, usize)> = (0..SAMPLES)
        .map(|i| {
            let label = i / (SAMPLES / shapes.len());
            (signal(&shapes[label], &mut rng), label)
        })
        .collect();
    rng.shuffle(&mut samples);
    let all = || samples.iter().flat_map(|(x, _)| x);
    let n = (SAMPLES * FINAL) as f64;
    let mean = all().sum::<f64>() / n;
    let deviation = (all().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    let set = |samples: &[(Vec<f64>, usize)]| Set {
        x: Array2::from_shape_fn((samples.len(), FINAL), |(i, j)| {
            ((samples[i].0[j] - mean) / deviation) as f32
        }),
        labels: samples.iter().map(|(_, label)| *label).collect(),
    };
    (set(&samples[..TRAIN]), set(&samples[TRAIN..]))
}

/// To mean 0 and deviation 1, then moved so that it starts at 0, and made smaller.
fn whiten(shape: [f64; SHAPE]) -> [f64; SHAPE] {
    let n = SHAPE as f64;
    let mean = shape.iter().sum::<f64>() / n;
    let deviation = (shape.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
    shape.map(|x| (x - shape[0]) / deviation / 6.0)
}

fn signal(shape: &[f64; SHAPE], rng: &mut Rng) -> Vec<f64> {
    // Zeros behind it, 36 to 60 of them; what is signal is told from them by not being 0.
    let mut x: Vec<f64> = shape.iter().map(|x| x + 1e-8).collect();
    x.resize(SHAPE + 36 + rng.below(25), 0.0);
    let mut x = interpolate(&x, PADDED);
    let size = 1.0 + 0.4 * (rng.uniform() - 0.5);
    x.iter_mut().for_each(|x| *x *= size);
    x.rotate_right(rng.below(48));
    // Smooth noise where there is no signal, and a little everywhere.
    let noise: Vec<f64> = (0..PADDED).map(|_| 0.25 * rng.normal()).collect();
    for (x, noise) in x.iter_mut().zip(smooth(&noise, 2.0)) {
        *x = if *x == 0.0 { noise } else { *x } + 0.02 * rng.normal();
    }
    let tilt = 0.75 * (rng.uniform() - 0.5);
    for (i, x) in x.iter_mut().enumerate() {
        *x -= tilt * (i as f64 / (PADDED - 1) as f64 - 0.5);
    }
    interpolate(&x, FINAL)
}

/// Read at `n` equidistant places, linear between points.
fn interpolate(x: &[f64], n: usize) -> Vec<f64> {
    let last = x.len() - 1;
    let at = |i: usize| {
        let place = i as f64 * last as f64 / (n - 1) as f64;
        let below = (place as usize).min(last - 1);
        x[below] + (place - below as f64) * (x[below + 1] - x[below])
    };
    (0..n).map(at).collect()
}

/// The weighted mean of neighbours up to four deviations away, by a normal density; what lies
/// beyond the ends is mirrored.
fn smooth(x: &[f64], deviation: f64) -> Vec<f64> {
    let (n, reach) = (x.len() as i64, (4.0 * deviation + 0.5) as i64);
    let weight = |k: i64| (-0.5 * (k as f64 / deviation).powi(2)).exp();
    let total: f64 = (-reach..=reach).map(weight).sum();
    let mirrored = |i: i64| {
        let i = i.rem_euclid(2 * n);
        x[i.min(2 * n - 1 - i) as usize]
    };
    let at = |i: i64| (-reach..=reach).map(|k| weight(k) * mirrored(i + k)).sum::<f64>() / total;
    (0..n).map(at).collect()
}
