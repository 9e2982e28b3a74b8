//! The field of `cnf` with the trace by a formula: with the hidden layers `h` and `g`,
//! `tr ∂v/∂x = Σ ((1 - h²) T) (1 - g²)`, `T = W₂ ∘ (W₃ W₁)ᵀ`. Of all ways this takes the fewest products:
//! two there, four back.
//!
//! The hidden units run along the lanes; blocks of samples go through the whole field while they are in
//! the cache.

use crate::rk::Field;
use crate::simd::{
    self, F32x16, Row, TanhF32, Vector, add, add_outer, fma, fnma, mul, product, set, zero_row,
};

pub const SAMPLES: usize = 512;
/// Samples that go forward together, and back.
const THERE: usize = 16;
const BACK: usize = 32;

/// The weights, those of the last layer by output.
pub struct Weights {
    pub w1: [Row; 3],
    pub b1: Row,
    pub w2: Vec<Row>,
    pub b2: Row,
    pub w3: [Row; 2],
    pub b3: [f32; 2],
}

/// Their gradients.
pub type Bars = Weights;

impl Weights {
    pub fn zero() -> Weights {
        let zero = simd::zero_row();
        let w2 = vec![zero; 64];
        Weights { w1: [zero; 3], b1: zero, w2, b2: zero, w3: [zero; 2], b3: [0.0; 2] }
    }

    pub fn set(&mut self, inputs: &[Vec<f32>; 6]) {
        let [w1, b1, w2, b2, w3, b3] = inputs;
        let row = |x: &[f32]| simd::row(x.try_into().expect("64"));
        self.w1 = [0, 1, 2].map(|i| row(&w1[64 * i..][..64]));
        (self.b1, self.b2) = (row(b1), row(b2));
        for (to, from) in self.w2.iter_mut().zip(w2.chunks_exact(64)) {
            *to = row(from);
        }
        self.w3 = [0, 1].map(|c| simd::row(&std::array::from_fn(|j| w3[2 * j + c])));
        self.b3 = [b3[0], b3[1]];
    }
}

impl Bars {
    /// Adds what the way back through a field at the time `t` found, and what follows from it.
    pub fn add(&mut self, k_bar: &[f32], t: f32, b: [Row; 2], w1: [Row; 2], w3: [Row; 2]) {
        for c in 0..2 {
            self.b3[c] += k_bar[SAMPLES * c..][..SAMPLES].iter().sum::<f32>();
        }
        let time = set(t);
        for v in 0..4 {
            let add = |to: &mut Row, x| to[v] = add(to[v], x);
            add(&mut self.b1, b[0][v]);
            add(&mut self.b2, b[1][v]);
            add(&mut self.w1[2], mul(time, b[0][v]));
            for c in 0..2 {
                add(&mut self.w1[c], w1[c][v]);
                add(&mut self.w3[c], w3[c][v]);
            }
        }
    }
}

/// What an evaluation leaves: the hidden layers, and the first one's derivative times `T`.
struct Kept {
    t: f32,
    x: [[f32; SAMPLES]; 2],
    h: Vec<Row>,
    g: Vec<Row>,
    u: Vec<Row>,
}

pub struct Network {
    weights: Weights,
    /// `w1 w3` of each pair of hidden units, and `T`.
    outer: Vec<Row>,
    trace: Vec<Row>,
    w2_transposed: Vec<Row>,
    trace_transposed: Vec<Row>,
    tanh: TanhF32,
    kept: Vec<Kept>,
    bars: Bars,
    trace_bar: Vec<Row>,
}

impl Network {
    pub fn new() -> Network {
        let zero = zero_row();
        let square = || vec![zero; 64];
        Network {
            weights: Weights::zero(),
            outer: square(),
            trace: square(),
            w2_transposed: square(),
            trace_transposed: square(),
            tanh: TanhF32::new(),
            kept: Vec::new(),
            bars: Bars::zero(),
            trace_bar: square(),
        }
    }

    /// Takes `w1`, `b1`, `w2`, `b2`, `w3`, `b3`.
    pub fn start(&mut self, inputs: &[Vec<f32>; 6]) {
        self.weights.set(inputs);
        let Weights { w1, w2, w3, .. } = &self.weights;
        for i in 0..64 {
            let [a, b] = [0, 1].map(|c| set(simd::floats(&w1[c])[i]));
            for v in 0..4 {
                let sum = fma(b, w3[1][v], mul(a, w3[0][v]));
                self.outer[i][v] = sum;
                self.trace[i][v] = mul(sum, w2[i][v]);
            }
        }
        simd::transpose_64(w2, &mut self.w2_transposed);
        simd::transpose_64(&self.trace, &mut self.trace_transposed);
    }

    pub fn start_back(&mut self) {
        self.bars = Bars::zero();
        self.trace_bar.fill(zero_row());
    }

    /// From the gradient of `T` to those of what it is made of.
    pub fn finish_back(&mut self) -> &Bars {
        let bars = &mut self.bars;
        for i in 0..64 {
            let w1 = [0, 1].map(|c| set(simd::floats(&self.weights.w1[c])[i]));
            let mut w1_bars = [set(0.0); 2];
            for v in 0..4 {
                let bar = self.trace_bar[i][v];
                bars.w2[i][v] = fma(bar, self.outer[i][v], bars.w2[i][v]);
                let outer = mul(bar, self.weights.w2[i][v]);
                for c in 0..2 {
                    w1_bars[c] = fma(outer, self.weights.w3[c][v], w1_bars[c]);
                    bars.w3[c][v] = fma(outer, w1[c], bars.w3[c][v]);
                }
            }
            for c in 0..2 {
                let mut lane = [0.0; 16];
                lane[i % 16] = w1_bars[c].sum();
                bars.w1[c][i / 16] = add(bars.w1[c][i / 16], F32x16::load(&lane));
            }
        }
        bars
    }

    #[inline]
    fn slope(&mut self, n: usize, t: f32, y: &[f32], k: &mut [f32]) {
        while n >= self.kept.len() {
            let rows = || vec![zero_row(); SAMPLES];
            let x = [[0.0; SAMPLES]; 2];
            self.kept.push(Kept { t, x, h: rows(), g: rows(), u: rows() });
        }
        let kept = &mut self.kept[n];
        kept.t = t;
        kept.x.as_flattened_mut().copy_from_slice(&y[..2 * SAMPLES]);
        let (one, zero) = (set(1.0), set(0.0));
        let time = set(t);
        let b1: Row = std::array::from_fn(|v| fma(time, self.weights.w1[2][v], self.weights.b1[v]));
        let tanh = self.tanh;
        for first in (0..SAMPLES).step_by(THERE) {
            let mut dh = [[zero; 4]; THERE];
            let h = &mut kept.h[first..first + THERE];
            for r in 0..THERE {
                let [a, b] = [0, 1].map(|c| set(kept.x[c][first + r]));
                for v in 0..4 {
                    let sum = fma(b, self.weights.w1[1][v], b1[v]);
                    h[r][v] = tanh.of(fma(a, self.weights.w1[0][v], sum));
                    dh[r][v] = fnma(h[r][v], h[r][v], one);
                }
            }
            let (g, u) = (&mut kept.g[first..first + THERE], &mut kept.u[first..first + THERE]);
            product(h, &self.weights.w2, self.weights.b2, |r, sums| {
                g[r] = sums.map(|sum| tanh.of(sum));
            });
            product(&dh, &self.trace, zero_row(), |r, sums| u[r] = sums);
            for c in 0..2 {
                let sums = simd::sums(|r| simd::dot(&g[r], &self.weights.w3[c]));
                let sums = add(sums, set(self.weights.b3[c]));
                k[SAMPLES * c + first..][..THERE].copy_from_slice(&sums.array());
            }
            let trace = simd::sums(|r| {
                let mut sum = zero;
                for v in 0..4 {
                    let dg = fnma(g[r][v], g[r][v], one);
                    sum = fnma(u[r][v], dg, sum);
                }
                sum
            });
            k[2 * SAMPLES + first..][..THERE].copy_from_slice(&trace.array());
        }
    }

    #[inline]
    fn back(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        let kept = &self.kept[n];
        let bars = &mut self.bars;
        let (one, zero) = (set(1.0), zero_row());
        let (mut b1_bar, mut b2_bar) = (zero, zero);
        let (mut w1_bars, mut w3_bars) = ([zero; 2], [zero; 2]);
        // The state's ℓ is not an argument of the field.
        y_bar[2 * SAMPLES..].fill(0.0);
        for first in (0..SAMPLES).step_by(BACK) {
            let range = first..first + BACK;
            let (h, g, u) =
                (&kept.h[range.clone()], &kept.g[range.clone()], &kept.u[range.clone()]);
            let k = |c: usize| &k_bar[SAMPLES * c + first..][..BACK];
            let (k0, k1, l) = (k(0), k(1), k(2));
            // The cotangents of the sums of the second layer, and of u.
            let (mut g_bar, mut u_bar) = ([zero; BACK], [zero; BACK]);
            let mut dh = [zero; BACK];
            for r in 0..BACK {
                let (a, b) = (set(k0[r]), set(k1[r]));
                // That of the trace, which is subtracted.
                let trace = set(-l[r]);
                let twice = add(trace, trace);
                for v in 0..4 {
                    let (g, h) = (g[r][v], h[r][v]);
                    let dg = fnma(g, g, one);
                    let bar = mul(a, self.weights.w3[0][v]);
                    let bar = fma(b, self.weights.w3[1][v], bar);
                    let bar = fnma(mul(twice, g), u[r][v], bar);
                    g_bar[r][v] = mul(bar, dg);
                    u_bar[r][v] = mul(trace, dg);
                    dh[r][v] = fnma(h, h, one);
                    b2_bar[v] = add(b2_bar[v], g_bar[r][v]);
                    w3_bars[0][v] = fma(a, g, w3_bars[0][v]);
                    w3_bars[1][v] = fma(b, g, w3_bars[1][v]);
                }
            }
            add_outer(h, &g_bar, &mut bars.w2);
            add_outer(&dh, &u_bar, &mut self.trace_bar);
            for half in (0..BACK).step_by(16) {
                let mut h_bar = [zero; 16];
                let rows = half..half + 16;
                let mut of_trace = h_bar;
                product(&u_bar[rows.clone()], &self.trace_transposed, zero, |r, sums| {
                    of_trace[r] = sums;
                });
                product(&g_bar[rows], &self.w2_transposed, zero, |i, sums| {
                    let r = half + i;
                    let [a, b] = [0, 1].map(|c| set(kept.x[c][first + r]));
                    for v in 0..4 {
                        let h = h[r][v];
                        let bar = fnma(add(h, h), of_trace[i][v], sums[v]);
                        let bar = mul(bar, dh[r][v]);
                        h_bar[i][v] = bar;
                        b1_bar[v] = add(b1_bar[v], bar);
                        w1_bars[0][v] = fma(a, bar, w1_bars[0][v]);
                        w1_bars[1][v] = fma(b, bar, w1_bars[1][v]);
                    }
                });
                for c in 0..2 {
                    let sums = simd::sums(|r| simd::dot(&h_bar[r], &self.weights.w1[c]));
                    y_bar[SAMPLES * c + first + half..][..16].copy_from_slice(&sums.array());
                }
            }
        }
        bars.add(k_bar, kept.t, [b1_bar, b2_bar], w1_bars, w3_bars);
    }
}

impl Field<f32> for Network {
    fn eval(&mut self, n: usize, t: f64, y: &[f32], k: &mut [f32]) {
        self.slope(n, t as f32, y, k)
    }

    fn vjp(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        self.back(n, k_bar, y_bar)
    }
}
