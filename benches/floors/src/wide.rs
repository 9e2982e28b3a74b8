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
const H: f32 = 1.0 / STEPS as f32;
/// The weights of the slopes, and how far the next stage goes along each.
const B: [f32; 4] = [1.0 / 6.0, 1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0];
const C: [f32; 4] = [0.5, 0.5, 1.0, 0.0];
/// The samples of a product over samples that are in the cache together.
const PART: usize = 128;

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

    #[inline]
    fn set_rows<const R: usize>(&mut self, row: usize, from: &[[Pair; R]]) {
        for (panel, from) in from.iter().enumerate() {
            self.data[panel * self.rows + row..][..R].copy_from_slice(from);
        }
    }

    /// The same past the cache, for what is not read again before long.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn stream_rows<const R: usize>(&mut self, row: usize, from: &[[Pair; R]]) {
        for (panel, from) in from.iter().enumerate() {
            let to = &mut self.data[panel * self.rows + row..][..R];
            for (to, from) in to.iter_mut().zip(from) {
                for v in 0..2 {
                    // SAFETY: a vector is written where one is, aligned as it must be.
                    unsafe { _mm512_stream_ps(std::ptr::from_mut(&mut to[v]).cast(), from[v]) };
                }
            }
        }
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
type States<const R: usize> = Rows<R, { WIDTH / 32 }>;
type Units<const R: usize> = Rows<R, { HIDDEN / 32 }>;

/// Has the cache get what is needed after a product.
#[inline]
fn fetch(pairs: &[Pair]) {
    for pair in pairs {
        for vector in pair {
            // SAFETY: a hint, and of an address that is valid.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(vector).cast()) };
        }
    }
}

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
                let to = &mut sums.data[panel * rows + row..][..8];
                fetch(to);
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
    /// The state at the end, and on the way back its cotangent.
    end: Matrix,
    /// The cotangents of the slopes of a step.
    k_bars: [Matrix; 4],
    /// The cotangents of the sums of the first layer, for the four stages of a step.
    hidden_bars: [Matrix; 4],
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
            k_bars: [state(), state(), state(), state()],
            hidden_bars: [hidden(), hidden(), hidden(), hidden()],
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
        self.end.fill(|i, j| y0[i * WIDTH + j]);
        for row in (0..SAMPLES - 16).step_by(12) {
            self.rows_there::<12>(row);
        }
        self.rows_there::<8>(SAMPLES - 16);
        self.rows_there::<8>(SAMPLES - 8);
        let square = |row: &Pair| floats(row).iter().map(|&y| f64::from(y * y)).sum::<f64>();
        self.end.data.iter().map(square).sum::<f64>() / (SAMPLES * WIDTH) as f64
    }

    /// All steps of `R` samples: nothing couples them, and the weights stay in the second cache.
    #[target_feature(enable = "avx512f,fma")]
    fn rows_there<const R: usize>(&mut self, row: usize) {
        let bias = |b: &[f32], panel: usize| {
            [0, 1].map(|v| simd::load_f32(&b.as_chunks().0[2 * panel + v]))
        };
        let mut y: States<R> = self.end.rows(row);
        let mut units: Units<R> = [[[_mm512_setzero_ps(); 2]; R]; HIDDEN / 32];
        for step in 0..STEPS {
            let (mut at, mut end) = (y, y);
            for i in 0..4 {
                let kept = &mut self.kept[4 * step + i];
                kept.y.stream_rows(row, &at);
                for (panel, units) in units.iter_mut().enumerate() {
                    let sums = product(&at, &self.w[0], panel, bias(&self.b1, panel));
                    for (to, sum) in units.iter_mut().zip(sums) {
                        *to = sum.map(|sum| self.tanh.of(sum));
                    }
                }
                kept.u.stream_rows(row, &units);
                let (whole, part) = (_mm512_set1_ps(H * B[i]), _mm512_set1_ps(H * C[i]));
                for panel in 0..WIDTH / 32 {
                    let k = product(&units, &self.w[1], panel, bias(&self.b2, panel));
                    for r in 0..R {
                        for v in 0..2 {
                            let end = &mut end[panel][r][v];
                            *end = _mm512_fmadd_ps(whole, k[r][v], *end);
                            at[panel][r][v] = _mm512_fmadd_ps(part, k[r][v], y[panel][r][v]);
                        }
                    }
                }
            }
            y = end;
        }
        self.end.set_rows(row, &y);
        _mm_sfence();
    }

    #[target_feature(enable = "avx512f,avx512dq,fma")]
    fn back(&mut self) {
        let zero = [_mm512_setzero_ps(); 2];
        self.w_bars.iter_mut().for_each(|w| w.data.fill(zero));
        self.b_bars.iter_mut().for_each(|b| b.fill(zero));
        let scale = _mm512_set1_ps(2.0 / (SAMPLES * WIDTH) as f32);
        for pair in &mut self.end.data {
            *pair = pair.map(|y| _mm512_mul_ps(scale, y));
        }
        for step in (0..STEPS).rev() {
            for row in (0..SAMPLES - 16).step_by(12) {
                self.rows_back::<12>(step, row);
            }
            self.rows_back::<8>(step, SAMPLES - 16);
            self.rows_back::<8>(step, SAMPLES - 8);
            for i in 0..4 {
                let Kept { y, u } = &self.kept[4 * step + i];
                product_over_samples(y, &self.hidden_bars[i], &mut self.w_bars[0]);
                product_over_samples(u, &self.k_bars[i], &mut self.w_bars[1]);
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

    /// A step of `R` samples back, but for the gradients of the weights.
    #[target_feature(enable = "avx512f,fma")]
    fn rows_back<const R: usize>(&mut self, step: usize, row: usize) {
        let zero = [_mm512_setzero_ps(); 2];
        let end: States<R> = self.end.rows(row);
        let mut start = end;
        // The cotangents of a slope, of the hidden units' sums, and of the state there.
        let mut k_bar: States<R> = [[zero; R]; WIDTH / 32];
        let mut bars: Units<R> = [[zero; R]; HIDDEN / 32];
        let mut y_bar = k_bar;
        for i in (0..4).rev() {
            let u = &self.kept[4 * step + i].u;
            let (whole, part) = (_mm512_set1_ps(H * B[i]), _mm512_set1_ps(H * C[i]));
            for panel in 0..WIDTH / 32 {
                let mut total = self.b_bars[1][panel];
                for r in 0..R {
                    for v in 0..2 {
                        let bar = _mm512_mul_ps(whole, end[panel][r][v]);
                        let bar = _mm512_fmadd_ps(part, y_bar[panel][r][v], bar);
                        k_bar[panel][r][v] = bar;
                        total[v] = _mm512_add_ps(total[v], bar);
                    }
                }
                self.b_bars[1][panel] = total;
            }
            self.k_bars[i].set_rows(row, &k_bar);
            for (panel, to) in bars.iter_mut().enumerate() {
                let u = &u.panel(panel)[row..row + R];
                fetch(u);
                let sums = product(&k_bar, &self.turned[1], panel, zero);
                let mut total = self.b_bars[0][panel];
                for r in 0..R {
                    for v in 0..2 {
                        let du = _mm512_fnmadd_ps(u[r][v], u[r][v], _mm512_set1_ps(1.0));
                        to[r][v] = _mm512_mul_ps(sums[r][v], du);
                        total[v] = _mm512_add_ps(total[v], to[r][v]);
                    }
                }
                self.b_bars[0][panel] = total;
            }
            self.hidden_bars[i].set_rows(row, &bars);
            for panel in 0..WIDTH / 32 {
                y_bar[panel] = product(&bars, &self.turned[0], panel, zero);
                for r in 0..R {
                    for v in 0..2 {
                        let start = &mut start[panel][r][v];
                        *start = _mm512_add_ps(*start, y_bar[panel][r][v]);
                    }
                }
            }
        }
        self.end.set_rows(row, &start);
    }
}
