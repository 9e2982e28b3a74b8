//! Initial values of weights.

use costate_odeint::Real;
use costate_tape::Shape;

use crate::rng::Rng;

/// How the entries of a new parameter are chosen.
///
/// Some ask for the number of inputs and outputs, and for a matrix:
///
/// | weight | shape | inputs | outputs | matrix |
/// | --- | --- | --- | --- | --- |
/// | of a dense layer, [`draw`](Init::draw) | `[…, m, n]` | `m` | `n` | `m × n` |
/// | kernel of `Conv1d`, [`draw_kernel`](Init::draw_kernel) | `[n, m, size]` | `m · size` | `n · size` | `n × (m · size)` |
/// | kernel of `Conv2d`, [`draw_kernel`](Init::draw_kernel) | `[n, m, height, width]` | `m · height · width` | `n · height · width` | `n × (m · height · width)` |
///
/// Axes in front of a dense weight number matrices, each drawn by itself.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Init {
    /// All 0.
    Zeros,
    /// All the same.
    Constant(f64),
    /// Uniform in `[-bound, bound)`.
    Uniform(f64),
    /// Normal with mean 0 and the given standard deviation.
    Normal(f64),
    /// Uniform in `±√(6/(inputs + outputs))` (X. Glorot, Y. Bengio, AISTATS 2010): keeps the
    /// variance of values and of gradients, for activations like `tanh`.
    XavierUniform,
    /// Normal with variance `2/(inputs + outputs)`.
    XavierNormal,
    /// Uniform in `±√(6/inputs)` (K. He et al., arXiv 1502.01852): keeps the variance of values,
    /// for `relu`.
    KaimingUniform,
    /// Normal with variance `2/inputs`.
    KaimingNormal,
    /// Orthonormal rows or columns, whichever are fewer, times a gain (A. M. Saxe et al.,
    /// arXiv 1312.6120).
    Orthogonal(f64),
    /// A square matrix `(B - Bᵀ)/√2` with `B` normal: `A = -Aᵀ`, entries of the given standard
    /// deviation. Its flow is a rotation.
    Antisymmetric(f64),
}

impl Init {
    /// Entries for an array of the given shape, row-major.
    ///
    /// # Panics
    /// If it needs a matrix and the shape has fewer than two axes, or is `Antisymmetric` and the
    /// matrix is not square.
    #[track_caller]
    pub fn draw<T: Real>(self, rng: &mut Rng, shape: impl Into<Shape>) -> Vec<T> {
        let shape = shape.into();
        let sizes = match *shape {
            [.., rows, columns] => Some(Sizes { rows, columns, inputs: rows, outputs: columns }),
            _ => None,
        };
        self.fill(rng, &shape, sizes)
    }

    /// Entries for the kernel of a convolution, `[outputs, channels, …size]`, row-major.
    ///
    /// # Panics
    /// If it needs a matrix and the shape has fewer than two axes, or is `Antisymmetric` and the
    /// matrix is not square.
    #[track_caller]
    pub fn draw_kernel<T: Real>(self, rng: &mut Rng, shape: impl Into<Shape>) -> Vec<T> {
        let shape = shape.into();
        let sizes = match *shape {
            [outputs, channels, ref size @ ..] => {
                let places = size.iter().product::<usize>();
                let (inputs, outputs_of_each) = (channels * places, outputs * places);
                Some(Sizes { rows: outputs, columns: inputs, inputs, outputs: outputs_of_each })
            }
            _ => None,
        };
        self.fill(rng, &shape, sizes)
    }

    #[track_caller]
    fn fill<T: Real>(self, rng: &mut Rng, shape: &Shape, sizes: Option<Sizes>) -> Vec<T> {
        let len = shape.numel();
        let sizes = || sizes.unwrap_or_else(|| panic!("{self:?}: shape {shape} has no matrix"));
        match self {
            Init::Zeros => vec![T::zero(); len],
            Init::Constant(c) => vec![T::from_f64(c); len],
            Init::Uniform(bound) => several(len, || bound * (2.0 * rng.uniform() - 1.0)),
            Init::Normal(deviation) => several(len, || deviation * rng.normal()),
            Init::XavierUniform => {
                let Sizes { inputs, outputs, .. } = sizes();
                Init::Uniform((6.0 / (inputs + outputs).max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::XavierNormal => {
                let Sizes { inputs, outputs, .. } = sizes();
                Init::Normal((2.0 / (inputs + outputs).max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::KaimingUniform => {
                let inputs = sizes().inputs;
                Init::Uniform((6.0 / inputs.max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::KaimingNormal => {
                let inputs = sizes().inputs;
                Init::Normal((2.0 / inputs.max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::Orthogonal(gain) => {
                let Sizes { rows, columns, .. } = sizes();
                let mut entries = Vec::with_capacity(len);
                while entries.len() < len {
                    let q = orthonormal(rng, rows.min(columns), rows.max(columns));
                    let at = |i: usize, j: usize| if rows <= columns { q[i][j] } else { q[j][i] };
                    let places = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
                    entries.extend(places.map(|(i, j)| T::from_f64(gain * at(i, j))));
                }
                entries
            }
            Init::Antisymmetric(deviation) => {
                let Sizes { rows: n, columns, .. } = sizes();
                assert!(n == columns, "Antisymmetric: shape {shape} is not one of square matrices");
                let mut entries = Vec::with_capacity(len);
                while entries.len() < len {
                    let b: Vec<f64> = (0..n * n).map(|_| deviation * rng.normal()).collect();
                    let places = (0..n).flat_map(|i| (0..n).map(move |j| (i, j)));
                    entries.extend(places.map(|(i, j)| {
                        let difference = b[i * n + j] - b[j * n + i];
                        T::from_f64(difference * std::f64::consts::FRAC_1_SQRT_2)
                    }));
                }
                entries
            }
        }
    }
}

fn several<T: Real>(len: usize, mut f: impl FnMut() -> f64) -> Vec<T> {
    (0..len).map(|_| T::from_f64(f())).collect()
}

/// The matrix that a weight is, or a stack of, and how many numbers each output is a sum of, and
/// each input goes into.
#[derive(Clone, Copy)]
struct Sizes {
    rows: usize,
    columns: usize,
    inputs: usize,
    outputs: usize,
}

/// As many orthonormal vectors of the given length: normal ones, made orthogonal one after another,
/// each twice, since once leaves an error that grows with how nearly parallel they were.
fn orthonormal(rng: &mut Rng, count: usize, len: usize) -> Vec<Vec<f64>> {
    let mut found: Vec<Vec<f64>> = Vec::with_capacity(count);
    while found.len() < count {
        let mut v: Vec<f64> = (0..len).map(|_| rng.normal()).collect();
        for _ in 0..2 {
            for other in &found {
                let c: f64 = v.iter().zip(other).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(other).for_each(|(a, b)| *a -= c * b);
            }
        }
        let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A vector within rounding of the others' span has no direction of its own.
        if norm > 1e-8 {
            v.iter_mut().for_each(|a| *a /= norm);
            found.push(v);
        }
    }
    found
}
