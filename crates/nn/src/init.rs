//! Initial values of weights.

use costate_ops::Real;
use costate_tape::Shape;

use crate::rng::Rng;

/// How the entries of a new parameter are chosen.
///
/// For those that ask for the number of inputs and outputs, a parameter is a matrix
/// `[inputs, outputs]` in its last two axes, and further axes in front number matrices, each drawn
/// by itself.
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
        let len = shape.numel();
        match self {
            Init::Zeros => vec![T::zero(); len],
            Init::Constant(c) => vec![T::from_f64(c); len],
            Init::Uniform(bound) => fill(len, || bound * (2.0 * rng.uniform() - 1.0)),
            Init::Normal(deviation) => fill(len, || deviation * rng.normal()),
            Init::XavierUniform => {
                let [inputs, outputs] = matrix(self, &shape);
                Init::Uniform((6.0 / (inputs + outputs).max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::XavierNormal => {
                let [inputs, outputs] = matrix(self, &shape);
                Init::Normal((2.0 / (inputs + outputs).max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::KaimingUniform => {
                let [inputs, _] = matrix(self, &shape);
                Init::Uniform((6.0 / inputs.max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::KaimingNormal => {
                let [inputs, _] = matrix(self, &shape);
                Init::Normal((2.0 / inputs.max(1) as f64).sqrt()).draw(rng, shape)
            }
            Init::Orthogonal(gain) => {
                let [rows, columns] = matrix(self, &shape);
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
                let [n, columns] = matrix(self, &shape);
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

fn fill<T: Real>(len: usize, mut f: impl FnMut() -> f64) -> Vec<T> {
    (0..len).map(|_| T::from_f64(f())).collect()
}

/// Inputs and outputs of a weight.
#[track_caller]
fn matrix(init: Init, shape: &Shape) -> [usize; 2] {
    let n = shape.ndim();
    assert!(n >= 2, "{init:?}: shape {shape} has no matrix [inputs, outputs]");
    [shape[n - 2], shape[n - 1]]
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
