//! The images, split once and for all.

use std::io::Read;

use costate::nn::Params;
use ndarray::Array2;

/// Images as rows of 64 numbers from 0 to 1, and their digits.
pub struct Set {
    pub images: Array2<f32>,
    pub labels: Vec<usize>,
}

/// The embedded images: four fifths to train on, one fifth held out. Always the same split.
pub fn load() -> (Set, Set) {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&include_bytes!("digits.csv.gz")[..])
        .read_to_string(&mut text)
        .expect("the embedded data is intact");
    let rows: Vec<Vec<f32>> = text
        .lines()
        .map(|line| line.split(',').map(|x| x.parse().expect("a number")).collect())
        .collect();
    let order = shuffled(rows.len(), &mut Params::seeded(1797));
    let (test, train) = order.split_at(rows.len() / 5);
    let set = |rows_of: &[usize]| Set {
        images: Array2::from_shape_fn((rows_of.len(), 64), |(i, j)| rows[rows_of[i]][j] / 16.0),
        labels: rows_of.iter().map(|&i| rows[i][64] as usize).collect(),
    };
    (set(train), set(test))
}

/// The numbers below `n` in random order.
pub fn shuffled(n: usize, random: &mut Params<f32>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, (random.draw() * (i + 1) as f64) as usize);
    }
    order
}

impl Set {
    /// The given rows.
    pub fn rows(&self, rows: &[usize]) -> Set {
        Set {
            images: self.images.select(ndarray::Axis(0), rows),
            labels: rows.iter().map(|&i| self.labels[i]).collect(),
        }
    }

    /// With a random number from `-size` to `size` added to each pixel, against learning images by
    /// heart.
    pub fn with_noise(mut self, size: f64, random: &mut Params<f32>) -> Set {
        self.images.mapv_inplace(|x| x + (size * (2.0 * random.draw() - 1.0)) as f32);
        self
    }
}
