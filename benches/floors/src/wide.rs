//! `dy/dt = tanh(y W₁ + b₁) W₂ + b₂` of 256 samples of width 256, by 16 equal steps of RK4.
//!
//! All is products of matrices. A matrix lies in panels of 32 columns, two vectors a row, so that each
//! product reads both sides in order; tiles of twelve rows and one panel are 24 sums in registers. A
//! weight is turned once.

use std::arch::x86_64::*;

use crate::Floor;
use crate::control::Steps;
use crate::data::Data;
use crate::simd::{self, TanhF32};

const SAMPLES: usize = 256;
const WIDTH: usize = 256;
const HIDDEN: usize = 512;
const STEPS: usize = 16;
/// The samples of a product over samples that are in the cache together.
const PART: usize = 256;

type Pair = [__m512; 2];

/// A matrix in panels of 32 columns.
#[derive(Clone)]
struct Matrix {
    rows: usize,
    data: Vec<Pair>,
}

impl Matrix {
    #[target_feature(enable = "avx512f")]
    fn zeros(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, data: vec![[_mm512_setzero_ps(); 2]; rows * columns / 32] }
    }

    #[target_feature(enable = "avx512f")]
    fn fill(&mut self, f: impl Fn(usize, usize) -> f32) {
        for (n, pair) in self.data.iter_mut().enumerate() {
            let (panel, row) = (n / self.rows, n % self.rows);
            *pair = [0, 1]
                .map(|v| simd::load_f32(&std::array::from_fn(|l| f(row, 32 * panel + 16 * v + l))));
        }
    }

    #[inline]
    fn panel(&self, i: usize) -> &[Pair] {
        &self.data[i * self.rows..(i + 1) * self.rows]
    }

    /// Rows from `row` on.
    #[inline]
    fn rows<const R: usize, const PANELS: usize>(&self, row: usize) -> Rows<R, PANELS> {
        let panel = |i: usize| self.panel(i)[row..row + R].try_into().expect("as many rows");
        std::array::from_fn(panel)
    }

    fn read(&self, mut to: impl FnMut(usize, usize, f32)) {
        for (n, pair) in self.data.iter().enumerate() {
            let (panel, row) = (n / self.rows, n % self.rows);
            floats(pair).iter().enumerate().for_each(|(l, &x)| to(row, 32 * panel + l, x));
        }
    }
}

#[inline]
fn floats(pair: &Pair) -> &[f32; 32] {
    // SAFETY: a pair is 32 floats, and needs more alignment than they do.
    unsafe { &*std::ptr::from_ref(pair).cast() }
}

/// Some rows of a matrix by themselves, panel by panel, so that they meet in no line of the cache.
type Rows<const R: usize, const PANELS: usize> = [[Pair; R]; PANELS];

/// `R` rows of `start + a b`, in panel `panel`.
#[inline]
#[target_feature(enable = "avx512f,fma")]
fn product<const R: usize>(a: &[[Pair; R]], b: &Matrix, panel: usize, start: Pair) -> [Pair; R] {
    let mut sums = [start; R];
    for (a, b) in a.iter().zip(b.panel(panel).as_chunks::<32>().0) {
        for k in 0..32 {
            for i in 0..R {
                let factor = _mm512_set1_ps(floats(&a[i])[k]);
                for v in 0..2 {
                    sums[i][v] = _mm512_fmadd_ps(factor, b[k][v], sums[i][v]);
                }
            }
        }
    }
    sums
}

/// `sums += aᵀ b`, where both have a row for each sample.
#[target_feature(enable = "avx512f,fma")]
fn product_over_samples(a: &Matrix, b: &Matrix, sums: &mut Matrix) {
    let (rows, panels) = (sums.rows, sums.data.len() / sums.rows);
    for part in 0..SAMPLES / PART {
        let samples = part * PART..(part + 1) * PART;
        for panel in 0..panels {
            let b = &b.panel(panel)[samples.clone()];
            for row in (0..rows).step_by(8) {
                let a = &a.panel(row / 32)[samples.clone()];
                let to: &mut [Pair; 8] =
                    (&mut sums.data[panel * rows + row..][..8]).try_into().expect("eight rows");
                // From nothing, so that rounding does not pile up.
                let mut found = [[_mm512_setzero_ps(); 2]; 8];
                for (a, b) in a.iter().zip(b) {
                    let a: &[f32; 8] = &floats(a).as_chunks().0[row % 32 / 8];
                    for i in 0..8 {
                        let factor = _mm512_set1_ps(a[i]);
                        for v in 0..2 {
                            found[i][v] = _mm512_fmadd_ps(factor, b[v], found[i][v]);
                        }
                    }
                }
                for i in 0..8 {
                    for v in 0..2 {
                        to[i][v] = _mm512_add_ps(to[i][v], found[i][v]);
                    }
                }
            }
        }
    }
}

/// What an evaluation leaves: where it was, and the hidden units there.
struct Kept {
    y: Matrix,
    u: Matrix,
}

struct Wide {
    w1: Vec<f32>,
    b1: Vec<f32>,
    w2: Vec<f32>,
    b2: Vec<f32>,
    y0: Vec<f32>,
    /// The weights, and turned.
    w: [Matrix; 2],
    turned: [Matrix; 2],
    tanh: TanhF32,
    kept: Vec<Kept>,
    end: Matrix,
    k: [Matrix; 4],
    hidden_bar: Matrix,
    w_bars: [Matrix; 2],
    /// Sums of the cotangents of both layers over the samples.
    b_bars: [Vec<Pair>; 2],
    gradients: Vec<Vec<f64>>,
}

/// A method of equal steps: there is no tolerance to change.
pub fn new(data: &Data, _: Option<f64>) -> Box<dyn Floor> {
    // SAFETY: `main` has checked that the processor has these instructions.
    unsafe { Box::new(Wide::new(data)) }
}

impl Floor for Wide {
    fn forward(&mut self) -> f64 {
        // SAFETY: as above.
        unsafe { self.there() }
    }

    fn backward(&mut self) {
        // SAFETY: as above.
        unsafe { self.back() }
    }

    fn gradients(&self) -> Vec<Vec<f64>> {
        self.gradients.clone()
    }

    fn steps(&self) -> Steps {
        Steps { accepted: STEPS, rejected: 0, f_evals: 4 * STEPS }
    }
}

/// `out = y + Σ wᵢ kᵢ`, pair by pair.
#[inline]
#[target_feature(enable = "avx512f,fma")]
fn combine<const N: usize>(y: &Matrix, weights: [f32; N], k: [&Matrix; N], out: &mut Matrix) {
    for (n, out) in out.data.iter_mut().enumerate() {
        *out = y.data[n];
        for (w, k) in weights.iter().zip(k) {
            for v in 0..2 {
                out[v] = _mm512_fmadd_ps(_mm512_set1_ps(*w), k.data[n][v], out[v]);
            }
        }
    }
}

impl Wide {
    #[target_feature(enable = "avx512f,fma")]
    fn new(data: &Data) -> Wide {
        let state = || Matrix::zeros(SAMPLES, WIDTH);
        let hidden = || Matrix::zeros(SAMPLES, HIDDEN);
        let weights = || [Matrix::zeros(WIDTH, HIDDEN), Matrix::zeros(HIDDEN, WIDTH)];
        let [first, second] = weights();
        let inputs = ["w1", "b1", "w2", "b2", "y0"].map(|name| data.f32s(name));
        let gradients = inputs.iter().map(|x| vec![0.0; x.len()]).collect();
        let [w1, b1, w2, b2, y0] = inputs;
        let zero = [_mm512_setzero_ps(); 2];
        Wide {
            w1,
            b1,
            w2,
            b2,
            y0,
            w: weights(),
            turned: [second, first],
            tanh: TanhF32::new(),
            kept: (0..4 * STEPS).map(|_| Kept { y: state(), u: hidden() }).collect(),
            end: state(),
            k: [state(), state(), state(), state()],
            hidden_bar: hidden(),
            w_bars: weights(),
            b_bars: [vec![zero; HIDDEN / 32], vec![zero; WIDTH / 32]],
            gradients,
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,fma")]
    fn there(&mut self) -> f64 {
        let (w1, w2) = (&self.w1, &self.w2);
        self.w[0].fill(|i, j| w1[i * HIDDEN + j]);
        self.w[1].fill(|i, j| w2[i * WIDTH + j]);
        self.turned[0].fill(|i, j| w1[j * HIDDEN + i]);
        self.turned[1].fill(|i, j| w2[j * WIDTH + i]);
        let y0 = &self.y0;
        self.kept[0].y.fill(|i, j| y0[i * WIDTH + j]);
        let h = 1.0 / STEPS as f32;
        for step in 0..STEPS {
            for i in 0..4 {
                let n = 4 * step + i;
                self.slope(n, i);
                let (before, after) = self.kept.split_at_mut(n + 1);
                let y = &before[4 * step].y;
                let next = after.first_mut().map_or(&mut self.end, |kept| &mut kept.y);
                let [k1, k2, k3, k4] = &self.k;
                match i {
                    0 => combine(y, [0.5 * h], [k1], next),
                    1 => combine(y, [0.5 * h], [k2], next),
                    2 => combine(y, [h], [k3], next),
                    _ => {
                        let weights = [h / 6.0, h / 3.0, h / 3.0, h / 6.0];
                        combine(y, weights, [k1, k2, k3, k4], next);
                    }
                }
            }
        }
        let square = |row: &Pair| floats(row).iter().map(|&y| f64::from(y * y)).sum::<f64>();
        self.end.data.iter().map(square).sum::<f64>() / (SAMPLES * WIDTH) as f64
    }

    /// The slope number `i` of a step, at the state number `n`.
    #[target_feature(enable = "avx512f,fma")]
    fn slope(&mut self, n: usize, i: usize) {
        for row in (0..SAMPLES - 16).step_by(12) {
            self.slope_rows::<12>(n, i, row);
        }
        self.slope_rows::<8>(n, i, SAMPLES - 16);
        self.slope_rows::<8>(n, i, SAMPLES - 8);
    }

    /// `R` rows of it.
    #[inline]
    #[target_feature(enable = "avx512f,fma")]
    fn slope_rows<const R: usize>(&mut self, n: usize, i: usize, row: usize) {
        let Kept { y, u } = &mut self.kept[n];
        let k = &mut self.k[i];
        let bias = |b: &[f32], panel: usize| {
            [0, 1].map(|v| simd::load_f32(&b.as_chunks().0[2 * panel + v]))
        };
        let y: Rows<R, { WIDTH / 32 }> = y.rows(row);
        let mut units: Rows<R, { HIDDEN / 32 }> = [[[_mm512_setzero_ps(); 2]; R]; HIDDEN / 32];
        for (panel, units) in units.iter_mut().enumerate() {
            let sums = product(&y, &self.w[0], panel, bias(&self.b1, panel));
            for (to, sum) in units.iter_mut().zip(sums) {
                *to = sum.map(|sum| self.tanh.relative(sum));
            }
            u.data[panel * SAMPLES + row..][..R].copy_from_slice(units);
        }
        for panel in 0..WIDTH / 32 {
            let sums = product(&units, &self.w[1], panel, bias(&self.b2, panel));
            k.data[panel * SAMPLES + row..][..R].copy_from_slice(&sums);
        }
    }

    #[target_feature(enable = "avx512f,avx512dq,fma")]
    fn back(&mut self) {
        let zero = [_mm512_setzero_ps(); 2];
        self.w_bars.iter_mut().for_each(|w| w.data.fill(zero));
        self.b_bars.iter_mut().for_each(|b| b.fill(zero));
        let h = 1.0 / STEPS as f32;
        // `end` becomes the cotangent of the state after a step, each of `k` that of a slope and then
        // that of its stage.
        let scale = _mm512_set1_ps(2.0 / (SAMPLES * WIDTH) as f32);
        for pair in &mut self.end.data {
            *pair = pair.map(|y| _mm512_mul_ps(scale, y));
        }
        let nothing = Matrix::zeros(SAMPLES, WIDTH);
        for step in (0..STEPS).rev() {
            for i in (0..4).rev() {
                let (before, after) = self.k.split_at_mut(i + 1);
                let k = &mut before[i];
                let end = &self.end;
                match i {
                    3 => combine(&nothing, [h / 6.0], [end], k),
                    2 => combine(&nothing, [h / 3.0, h], [end, &after[0]], k),
                    1 => combine(&nothing, [h / 3.0, 0.5 * h], [end, &after[0]], k),
                    _ => combine(&nothing, [h / 6.0, 0.5 * h], [end, &after[0]], k),
                }
                self.stage_back(4 * step + i, i);
            }
            for n in 0..self.end.data.len() {
                for k in &self.k {
                    for v in 0..2 {
                        let bar = &mut self.end.data[n][v];
                        *bar = _mm512_add_ps(*bar, k.data[n][v]);
                    }
                }
            }
        }
        let [w1, b1, w2, b2, y0] = &mut self.gradients[..] else { unreachable!("five inputs") };
        self.w_bars[0].read(|i, j, x| w1[i * HIDDEN + j] = x.into());
        self.w_bars[1].read(|i, j, x| w2[i * WIDTH + j] = x.into());
        self.end.read(|i, j, x| y0[i * WIDTH + j] = x.into());
        for (b, bars) in [b1, b2].into_iter().zip(&self.b_bars) {
            let all = bars.iter().flat_map(floats);
            b.iter_mut().zip(all).for_each(|(b, &x)| *b = x.into());
        }
    }

    /// From the cotangent of slope `i`, at the state number `n`, to that of the state, in its place.
    #[target_feature(enable = "avx512f,fma")]
    fn stage_back(&mut self, n: usize, i: usize) {
        let (u, k) = (&self.kept[n].u, &self.k[i]);
        product_over_samples(u, k, &mut self.w_bars[1]);
        for (panel, sum) in self.b_bars[1].iter_mut().enumerate() {
            for pair in k.panel(panel) {
                *sum = [0, 1].map(|v| _mm512_add_ps(sum[v], pair[v]));
            }
        }
        for row in (0..SAMPLES - 16).step_by(12) {
            self.rows_back::<12>(n, i, row);
        }
        self.rows_back::<8>(n, i, SAMPLES - 16);
        self.rows_back::<8>(n, i, SAMPLES - 8);
        product_over_samples(&self.kept[n].y, &self.hidden_bar, &mut self.w_bars[0]);
    }

    /// `R` rows of it.
    #[inline]
    #[target_feature(enable = "avx512f,fma")]
    fn rows_back<const R: usize>(&mut self, n: usize, i: usize, row: usize) {
        let (u, k) = (&self.kept[n].u, &mut self.k[i]);
        let zero = [_mm512_setzero_ps(); 2];
        let k_rows: Rows<R, { WIDTH / 32 }> = k.rows(row);
        let mut bars: Rows<R, { HIDDEN / 32 }> = [[zero; R]; HIDDEN / 32];
        for (panel, to) in bars.iter_mut().enumerate() {
            let sums = product(&k_rows, &self.turned[1], panel, zero);
            let at = panel * SAMPLES + row;
            let u = &u.data[at..][..R];
            let mut total = self.b_bars[0][panel];
            for r in 0..R {
                for v in 0..2 {
                    let du = _mm512_fnmadd_ps(u[r][v], u[r][v], _mm512_set1_ps(1.0));
                    to[r][v] = _mm512_mul_ps(sums[r][v], du);
                    total[v] = _mm512_add_ps(total[v], to[r][v]);
                }
            }
            self.b_bars[0][panel] = total;
            self.hidden_bar.data[at..][..R].copy_from_slice(to);
        }
        // These rows of the cotangent of the slope are not needed any more.
        for panel in 0..WIDTH / 32 {
            let sums = product(&bars, &self.turned[0], panel, zero);
            k.data[panel * SAMPLES + row..][..R].copy_from_slice(&sums);
        }
    }
}
