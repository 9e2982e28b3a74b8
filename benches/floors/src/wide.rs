//! `dy/dt = tanh(y W₁ + b₁) W₂ + b₂` of 256 samples of width 256, by 16 equal steps of RK4.
//!
//! All is products of matrices. A matrix lies in panels of a few vectors of columns, so that each product
//! reads both sides in order; tiles of some rows and one panel are sums in registers. A weight is turned
//! once.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm_sfence};

use crate::Floor;
use crate::control::Steps;
use crate::data::Data;
use crate::simd::{self, F32x16, TanhF32, Vector, add, fma, fnma, mul, set};

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

/// The vectors of a panel, and the rows of a tile: with 32 registers two and twelve, with half as many of
/// half the width one (two registers) and six.
const VECTORS: usize = if simd::TILE == 4 { 2 } else { 1 };
const ROWS: usize = 6 * VECTORS;
/// The rows of a tile where their number has to divide that of the last samples, or of a panel's columns.
const FEWER: usize = 4 * VECTORS;
/// How many tiles of samples go through the field together: with half as large a second cache a panel of
/// the weights has to serve several.
const TILES: usize = if simd::TILE == 4 { 1 } else { 8 };
/// The columns of a panel.
const PANEL: usize = 16 * VECTORS;

type Part = [F32x16; VECTORS];

/// A matrix in panels.
#[derive(Clone)]
struct Matrix {
    rows: usize,
    data: Vec<Part>,
}

impl Matrix {
    fn zeros(rows: usize, columns: usize) -> Matrix {
        Matrix { rows, data: vec![[set(0.0); VECTORS]; rows * columns / PANEL] }
    }

    fn fill(&mut self, f: impl Fn(usize, usize) -> f32) {
        for (n, part) in self.data.iter_mut().enumerate() {
            let (panel, row) = (n / self.rows, n % self.rows);
            let vector = |v: usize| std::array::from_fn(|l| f(row, PANEL * panel + 16 * v + l));
            *part = std::array::from_fn(|v| F32x16::load(&vector(v)));
        }
    }

    #[inline]
    fn panel(&self, i: usize) -> &[Part] {
        &self.data[i * self.rows..(i + 1) * self.rows]
    }

    /// Rows from `row` on.
    #[inline]
    fn rows<const R: usize, const PANELS: usize>(&self, row: usize) -> Rows<R, PANELS> {
        let panel = |i: usize| self.panel(i)[row..row + R].try_into().expect("as many rows");
        std::array::from_fn(panel)
    }

    #[inline]
    fn set_rows<const R: usize>(&mut self, row: usize, from: &[[Part; R]]) {
        for (panel, from) in from.iter().enumerate() {
            self.data[panel * self.rows + row..][..R].copy_from_slice(from);
        }
    }

    /// The same past the cache, for what is not read again before long.
    #[inline]
    fn stream_rows<const R: usize>(&mut self, row: usize, from: &[[Part; R]]) {
        for (panel, from) in from.iter().enumerate() {
            let to = &mut self.data[panel * self.rows + row..][..R];
            for (to, from) in to.iter_mut().zip(from) {
                for v in 0..VECTORS {
                    from[v].stream(&mut to[v]);
                }
            }
        }
    }

    fn read(&self, mut to: impl FnMut(usize, usize, f32)) {
        for (n, part) in self.data.iter().enumerate() {
            let (panel, row) = (n / self.rows, n % self.rows);
            floats(part).iter().enumerate().for_each(|(l, &x)| to(row, PANEL * panel + l, x));
        }
    }
}

#[inline]
fn floats(part: &Part) -> &[f32; PANEL] {
    // SAFETY: a part is as many floats, and needs more alignment than they do.
    unsafe { &*std::ptr::from_ref(part).cast() }
}

/// Some rows of a matrix by themselves, panel by panel, so that they meet in no line of the cache.
type Rows<const R: usize, const PANELS: usize> = [[Part; R]; PANELS];
type States<const R: usize> = Rows<R, { WIDTH / PANEL }>;
type Units<const R: usize> = Rows<R, { HIDDEN / PANEL }>;

/// Has the cache get what is needed after a product.
#[inline]
fn fetch(parts: &[Part]) {
    for part in parts {
        for vector in part {
            // SAFETY: a hint, and of an address that is valid.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(vector).cast()) };
        }
    }
}

/// `R` rows of `start + a b`, in panel `panel`.
#[inline]
fn product<const R: usize>(a: &[[Part; R]], b: &Matrix, panel: usize, start: Part) -> [Part; R] {
    let mut sums = [start; R];
    for (a, b) in a.iter().zip(b.panel(panel).as_chunks::<PANEL>().0) {
        for k in 0..PANEL {
            for i in 0..R {
                let factor = set(floats(&a[i])[k]);
                for v in 0..VECTORS {
                    sums[i][v] = fma(factor, b[k][v], sums[i][v]);
                }
            }
        }
    }
    sums
}

/// `sums += aᵀ b`, where both have a row for each sample.
fn product_over_samples(a: &Matrix, b: &Matrix, sums: &mut Matrix) {
    let (rows, panels) = (sums.rows, sums.data.len() / sums.rows);
    for part in 0..SAMPLES / PART {
        let samples = part * PART..(part + 1) * PART;
        for panel in 0..panels {
            let b = &b.panel(panel)[samples.clone()];
            for row in (0..rows).step_by(FEWER) {
                let a = &a.panel(row / PANEL)[samples.clone()];
                let to = &mut sums.data[panel * rows + row..][..FEWER];
                fetch(to);
                // From nothing, so that rounding does not pile up.
                let mut found = [[set(0.0); VECTORS]; FEWER];
                for (a, b) in a.iter().zip(b) {
                    let a: &[f32; FEWER] = &floats(a).as_chunks().0[row % PANEL / FEWER];
                    for i in 0..FEWER {
                        let factor = set(a[i]);
                        for v in 0..VECTORS {
                            found[i][v] = fma(factor, b[v], found[i][v]);
                        }
                    }
                }
                for i in 0..FEWER {
                    for v in 0..VECTORS {
                        to[i][v] = add(to[i][v], found[i][v]);
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
    b_bars: [Vec<Part>; 2],
    gradients: Vec<Vec<f64>>,
}

/// A method of equal steps: there is no tolerance to change.
pub fn new(data: &Data, _: Option<f64>) -> Box<dyn Floor> {
    Box::new(Wide::new(data))
}

impl Floor for Wide {
    fn forward(&mut self) -> f64 {
        self.there()
    }

    fn backward(&mut self) {
        self.back()
    }

    fn gradients(&self) -> Vec<Vec<f64>> {
        self.gradients.clone()
    }

    fn steps(&self) -> Steps {
        Steps { accepted: STEPS, rejected: 0, f_evals: 4 * STEPS }
    }
}

impl Wide {
    fn new(data: &Data) -> Wide {
        let state = || Matrix::zeros(SAMPLES, WIDTH);
        let hidden = || Matrix::zeros(SAMPLES, HIDDEN);
        let weights = || [Matrix::zeros(WIDTH, HIDDEN), Matrix::zeros(HIDDEN, WIDTH)];
        let [first, second] = weights();
        let inputs = ["w1", "b1", "w2", "b2", "y0"].map(|name| data.f32s(name));
        let gradients = inputs.iter().map(|x| vec![0.0; x.len()]).collect();
        let [w1, b1, w2, b2, y0] = inputs;
        let zero = [set(0.0); VECTORS];
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
            b_bars: [vec![zero; HIDDEN / PANEL], vec![zero; WIDTH / PANEL]],
            gradients,
        }
    }

    fn there(&mut self) -> f64 {
        let (w1, w2) = (&self.w1, &self.w2);
        self.w[0].fill(|i, j| w1[i * HIDDEN + j]);
        self.w[1].fill(|i, j| w2[i * WIDTH + j]);
        self.turned[0].fill(|i, j| w1[j * HIDDEN + i]);
        self.turned[1].fill(|i, j| w2[j * WIDTH + i]);
        let y0 = &self.y0;
        self.end.fill(|i, j| y0[i * WIDTH + j]);
        for row in (0..SAMPLES - 16).step_by(TILES * ROWS) {
            self.rows_there::<ROWS, TILES>(row);
        }
        self.rows_there::<FEWER, { 16 / FEWER }>(SAMPLES - 16);
        let square = |row: &Part| floats(row).iter().map(|&y| f64::from(y * y)).sum::<f64>();
        self.end.data.iter().map(square).sum::<f64>() / (SAMPLES * WIDTH) as f64
    }

    /// All steps of `T` tiles of `R` samples: nothing couples them.
    fn rows_there<const R: usize, const T: usize>(&mut self, row: usize) {
        let bias = |b: &[f32], panel: usize| {
            std::array::from_fn(|v| F32x16::load(&b.as_chunks().0[VECTORS * panel + v]))
        };
        let mut y: [States<R>; T] = std::array::from_fn(|t| self.end.rows(row + t * R));
        let mut units: [Units<R>; T] = [[[[set(0.0); VECTORS]; R]; HIDDEN / PANEL]; T];
        for step in 0..STEPS {
            let (mut at, mut end) = (y, y);
            for i in 0..4 {
                let kept = &mut self.kept[4 * step + i];
                for (t, at) in at.iter().enumerate() {
                    kept.y.stream_rows(row + t * R, at);
                }
                for panel in 0..HIDDEN / PANEL {
                    let bias = bias(&self.b1, panel);
                    for (at, units) in at.iter().zip(&mut units) {
                        let sums = product(at, &self.w[0], panel, bias);
                        for (to, sum) in units[panel].iter_mut().zip(sums) {
                            *to = sum.map(|sum| self.tanh.of(sum));
                        }
                    }
                }
                for (t, units) in units.iter().enumerate() {
                    kept.u.stream_rows(row + t * R, units);
                }
                let (whole, part) = (set(H * B[i]), set(H * C[i]));
                for panel in 0..WIDTH / PANEL {
                    let bias = bias(&self.b2, panel);
                    for (t, units) in units.iter().enumerate() {
                        let k = product(units, &self.w[1], panel, bias);
                        for r in 0..R {
                            for v in 0..VECTORS {
                                let end = &mut end[t][panel][r][v];
                                *end = fma(whole, k[r][v], *end);
                                at[t][panel][r][v] = fma(part, k[r][v], y[t][panel][r][v]);
                            }
                        }
                    }
                }
            }
            y = end;
        }
        for (t, y) in y.iter().enumerate() {
            self.end.set_rows(row + t * R, y);
        }
        // SAFETY: every processor of this architecture has this instruction.
        unsafe { _mm_sfence() };
    }

    fn back(&mut self) {
        let zero = [set(0.0); VECTORS];
        self.w_bars.iter_mut().for_each(|w| w.data.fill(zero));
        self.b_bars.iter_mut().for_each(|b| b.fill(zero));
        let scale = set(2.0 / (SAMPLES * WIDTH) as f32);
        for part in &mut self.end.data {
            *part = part.map(|y| mul(scale, y));
        }
        for step in (0..STEPS).rev() {
            for row in (0..SAMPLES - 16).step_by(TILES * ROWS) {
                self.rows_back::<ROWS, TILES>(step, row);
            }
            self.rows_back::<FEWER, { 16 / FEWER }>(step, SAMPLES - 16);
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

    /// A step of `T` tiles of `R` samples back, but for the gradients of the weights.
    fn rows_back<const R: usize, const T: usize>(&mut self, step: usize, row: usize) {
        let zero = [set(0.0); VECTORS];
        let end: [States<R>; T] = std::array::from_fn(|t| self.end.rows(row + t * R));
        let mut start = end;
        // The cotangents of a slope, of the hidden units' sums, and of the state there.
        let mut k_bar: [States<R>; T] = [[[zero; R]; WIDTH / PANEL]; T];
        let mut bars: [Units<R>; T] = [[[zero; R]; HIDDEN / PANEL]; T];
        let mut y_bar = k_bar;
        for i in (0..4).rev() {
            let u = &self.kept[4 * step + i].u;
            let (whole, part) = (set(H * B[i]), set(H * C[i]));
            for panel in 0..WIDTH / PANEL {
                let mut total = self.b_bars[1][panel];
                for t in 0..T {
                    for r in 0..R {
                        for v in 0..VECTORS {
                            let bar = mul(whole, end[t][panel][r][v]);
                            let bar = fma(part, y_bar[t][panel][r][v], bar);
                            k_bar[t][panel][r][v] = bar;
                            total[v] = add(total[v], bar);
                        }
                    }
                }
                self.b_bars[1][panel] = total;
            }
            for (t, k_bar) in k_bar.iter().enumerate() {
                self.k_bars[i].set_rows(row + t * R, k_bar);
            }
            for panel in 0..HIDDEN / PANEL {
                let u = u.panel(panel)[row..row + T * R].as_chunks::<R>().0;
                let mut total = self.b_bars[0][panel];
                for t in 0..T {
                    let u = &u[t];
                    fetch(u);
                    let sums = product(&k_bar[t], &self.turned[1], panel, zero);
                    let to = &mut bars[t][panel];
                    for r in 0..R {
                        for v in 0..VECTORS {
                            let du = fnma(u[r][v], u[r][v], set(1.0));
                            to[r][v] = mul(sums[r][v], du);
                            total[v] = add(total[v], to[r][v]);
                        }
                    }
                }
                self.b_bars[0][panel] = total;
            }
            for (t, bars) in bars.iter().enumerate() {
                self.hidden_bars[i].set_rows(row + t * R, bars);
            }
            for panel in 0..WIDTH / PANEL {
                for t in 0..T {
                    let y_bar = &mut y_bar[t][panel];
                    *y_bar = product(&bars[t], &self.turned[0], panel, zero);
                    for r in 0..R {
                        for v in 0..VECTORS {
                            let start = &mut start[t][panel][r][v];
                            *start = add(*start, y_bar[r][v]);
                        }
                    }
                }
            }
        }
        for (t, start) in start.iter().enumerate() {
            self.end.set_rows(row + t * R, start);
        }
    }
}
