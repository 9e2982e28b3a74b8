//! Three data sets, each split once and for all.

use std::io::Read;
use std::path::Path;

use costate::nn::Rng;
use ndarray::{Array2, Axis};

use crate::{Name, Outcome, idx, mnist1d};

/// Samples as rows, and their classes.
pub struct Set {
    pub x: Array2<f32>,
    pub labels: Vec<usize>,
}

impl Set {
    pub fn rows(&self, rows: &[usize]) -> Set {
        Set {
            x: self.x.select(Axis(0), rows),
            labels: rows.iter().map(|&i| self.labels[i]).collect(),
        }
    }

    pub fn len(&self) -> usize {
        self.labels.len()
    }
}

/// Ten classes to learn, and how.
pub struct Data {
    pub name: &'static str,
    pub train: Set,
    pub test: Set,
    /// Hidden units of the networks, and layers, or knots of an equation's weights.
    pub width: usize,
    pub depth: usize,
    pub batch: usize,
    pub epochs: u64,
    /// The accuracy on held-out samples whose time is taken.
    pub target: f64,
}

pub fn load(name: Name, fashion: &Path, full: bool) -> Outcome<Data> {
    Ok(match name {
        Name::Digits => {
            let (train, test) = digits()?;
            let name = "UCI digits";
            Data { name, train, test, width: 32, depth: 4, batch: 32, epochs: 20, target: 0.95 }
        }
        Name::Mnist1d => {
            let (train, test) = mnist1d::make(42);
            let name = "MNIST-1D";
            Data { name, train, test, width: 48, depth: 4, batch: 32, epochs: 40, target: 0.5 }
        }
        Name::Fashion => {
            let (train, test) = fashion_mnist(fashion)?;
            let first = |set: Set, n: usize| set.rows(&(0..n.min(set.len())).collect::<Vec<_>>());
            let (train, test) =
                if full { (train, test) } else { (first(train, 6000), first(test, 2000)) };
            let name = if full { "Fashion-MNIST" } else { "a tenth of Fashion-MNIST" };
            let target = if full { 0.84 } else { 0.82 };
            Data { name, train, test, width: 48, depth: 4, batch: 64, epochs: 8, target }
        }
    })
}

/// Handwritten digits of 8 by 8 pixels: see `../digits/README.md`. A fifth is held out.
fn digits() -> Outcome<(Set, Set)> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(&include_bytes!("../digits/digits.csv.gz")[..])
        .read_to_string(&mut text)?;
    let mut rows: Vec<Vec<f32>> = Vec::new();
    for line in text.lines() {
        rows.push(line.split(',').map(str::parse).collect::<Result<_, _>>()?);
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    Rng::seeded(1797).shuffle(&mut order);
    let (test, train) = order.split_at(rows.len() / 5);
    let set = |rows_of: &[usize]| Set {
        x: Array2::from_shape_fn((rows_of.len(), 64), |(i, j)| rows[rows_of[i]][j] / 16.0),
        labels: rows_of.iter().map(|&i| rows[i][64] as usize).collect(),
    };
    Ok((set(train), set(test)))
}

/// Pictures of clothes, 28 by 28 pixels, in the split of its authors, to mean 0 and variance 1.
fn fashion_mnist(folder: &Path) -> Outcome<(Set, Set)> {
    let set = |prefix: &str| -> Outcome<Set> {
        let images = idx::read(&folder.join(format!("{prefix}-images-idx3-ubyte.gz")))?;
        let labels = idx::read(&folder.join(format!("{prefix}-labels-idx1-ubyte.gz")))?;
        let [n, height, width] = images.shape[..] else {
            return Err(format!("{prefix}: images of shape {:?}", images.shape).into());
        };
        if labels.shape != [n] || labels.bytes.iter().any(|&label| label > 9) {
            return Err(format!("{prefix}: {n} images, labels that do not fit").into());
        }
        // Mean and deviation of all pixels of the training set.
        let pixels = images.bytes.iter().map(|&b| (f32::from(b) / 255.0 - 0.286) / 0.353).collect();
        Ok(Set {
            x: Array2::from_shape_vec((n, height * width), pixels)?,
            labels: labels.bytes.iter().map(|&b| usize::from(b)).collect(),
        })
    };
    Ok((set("train")?, set("t10k")?))
}
