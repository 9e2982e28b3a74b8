//! A continuous normalising flow of 512 samples by Tsit5: `dx/dt = v(t, x)` and `dℓ/dt = -tr ∂v/∂x` with
//! `v = tanh(tanh([x, t] W₁ + b₁) W₂ + b₂) W₃ + b₃`. With the hidden layers `h` and `g`,
//! `tr ∂v/∂x = Σ ((1 - h²) T) (1 - g²)`, `T = W₂ ∘ (W₃ W₁)ᵀ`: of all ways to the trace this takes the
//! fewest products.
//!
//! The hidden units run along the lanes; blocks of samples go through the whole field while they are in
//! the cache. A state is three rows of samples.

use std::arch::x86_64::*;

use crate::Floor;
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::rk::{Field, Method, Solve};
use crate::simd::{self, Row, TanhF32, product, row_bar};
use crate::tableau::tsit5;

const SAMPLES: usize = 512;
/// Samples that go forward together, and back.
const THERE: usize = 16;
const BACK: usize = 32;

/// What an evaluation leaves: the hidden layers, and the first one's derivative times `T`.
struct Kept {
    t: f32,
    x: [[f32; SAMPLES]; 2],
    h: Vec<Row>,
    g: Vec<Row>,
    u: Vec<Row>,
}

struct Network {
    /// `w1`, `b1`, `w2`, `b2`, `w3` by output; `w1 w3` of each pair of hidden units, and `T`.
    w1: [Row; 3],
    b1: Row,
    w2: Vec<Row>,
    b2: Row,
    w3: [Row; 2],
    b3: [f32; 2],
    outer: Vec<Row>,
    trace: Vec<Row>,
    w2_transposed: Vec<Row>,
    trace_transposed: Vec<Row>,
    tanh: TanhF32,
    kept: Vec<Kept>,
    bars: Bars,
}

struct Bars {
    w1: [Row; 3],
    b1: Row,
    w2: Vec<Row>,
    b2: Row,
    w3: [Row; 2],
    b3: [f32; 2],
    trace: Vec<Row>,
}

struct Cnf {
    /// `w1`, `b1`, `w2`, `b2`, `w3`, `b3`.
    inputs: [Vec<f32>; 6],
    start: Vec<f32>,
    network: Network,
    solve: Solve<f32>,
    gradients: Vec<Vec<f64>>,
}

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    let method =
        Method { a: &tsit5::A, c: &tsit5::C, error: &tsit5::ERROR, weights: &tsit5::WEIGHTS };
    let control = Control::new(1e-5, 1e-5).with_rtol(rtol);
    let inputs = ["w1", "b1", "w2", "b2", "w3", "b3"].map(|name| data.f32s(name));
    let y0 = data.f32s("y0");
    let mut start = vec![0.0; 3 * SAMPLES];
    for (i, y) in y0.chunks_exact(2).enumerate() {
        (start[i], start[SAMPLES + i]) = (y[0], y[1]);
    }
    Box::new(Cnf {
        gradients: inputs.iter().map(|x| vec![0.0; x.len()]).collect(),
        inputs,
        start,
        // SAFETY: `main` has checked that the processor has these instructions.
        network: unsafe { Network::new() },
        solve: Solve::new(method, control, data.f64s("ts"), 3 * SAMPLES),
    })
}

impl Floor for Cnf {
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
        self.solve.steps
    }
}

impl Cnf {
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn there(&mut self) -> f64 {
        self.network.set(&self.inputs);
        let mut loss = 0.0;
        // The mean of ℓ - ln N(x; 0, I) at the end.
        self.solve.there(&mut self.network, &self.start, |i, y, bar| {
            if i == 0 {
                bar.fill(0.0);
                return;
            }
            let (x, l) = y.split_at(2 * SAMPLES);
            let half: f64 = x.iter().map(|&x| 0.5 * f64::from(x) * f64::from(x)).sum();
            let sum: f64 = l.iter().map(|&l| f64::from(l)).sum();
            loss = (half + sum) / SAMPLES as f64 + std::f64::consts::TAU.ln();
            let scale = 1.0 / SAMPLES as f32;
            let (x_bar, l_bar) = bar.split_at_mut(2 * SAMPLES);
            x_bar.iter_mut().zip(x).for_each(|(bar, x)| *bar = scale * x);
            l_bar.fill(scale);
        });
        loss
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn back(&mut self) {
        let network = &mut self.network;
        network.bars = Bars::zero();
        self.solve.back(network);
        network.trace_back();
        let Bars { w1, b1, w2, b2, w3, b3, .. } = &network.bars;
        let [g_w1, g_b1, g_w2, g_b2, g_w3, g_b3] = &mut self.gradients[..] else {
            unreachable!("six inputs")
        };
        simd::widen(w1, g_w1);
        simd::widen(&[*b1], g_b1);
        simd::widen(w2, g_w2);
        simd::widen(&[*b2], g_b2);
        for (c, row) in w3.iter().enumerate() {
            for (j, &x) in simd::floats(row).iter().enumerate() {
                g_w3[2 * j + c] = x.into();
            }
        }
        g_b3.copy_from_slice(&b3.map(f64::from));
    }
}

impl Bars {
    #[target_feature(enable = "avx512f")]
    fn zero() -> Bars {
        let zero = [_mm512_setzero_ps(); 4];
        let (w2, trace) = (vec![zero; 64], vec![zero; 64]);
        Bars { w1: [zero; 3], b1: zero, w2, b2: zero, w3: [zero; 2], b3: [0.0; 2], trace }
    }
}

impl Network {
    #[target_feature(enable = "avx512f")]
    fn new() -> Network {
        let zero = [_mm512_setzero_ps(); 4];
        let square = || vec![zero; 64];
        Network {
            w1: [zero; 3],
            b1: zero,
            w2: square(),
            b2: zero,
            w3: [zero; 2],
            b3: [0.0; 2],
            outer: square(),
            trace: square(),
            w2_transposed: square(),
            trace_transposed: square(),
            tanh: TanhF32::new(),
            kept: Vec::new(),
            bars: Bars::zero(),
        }
    }

    #[target_feature(enable = "avx512f,fma")]
    fn set(&mut self, inputs: &[Vec<f32>; 6]) {
        let [w1, b1, w2, b2, w3, b3] = inputs;
        let row = |x: &[f32]| simd::row(x.try_into().expect("64"));
        self.w1 = [0, 1, 2].map(|i| row(&w1[64 * i..][..64]));
        (self.b1, self.b2) = (row(b1), row(b2));
        self.w3 = [0, 1].map(|c| simd::row(&std::array::from_fn(|j| w3[2 * j + c])));
        self.b3 = [b3[0], b3[1]];
        for i in 0..64 {
            self.w2[i] = row(&w2[64 * i..][..64]);
            let [a, b] = [w1[i], w1[64 + i]].map(|w| _mm512_set1_ps(w));
            for v in 0..4 {
                let sum = _mm512_fmadd_ps(b, self.w3[1][v], _mm512_mul_ps(a, self.w3[0][v]));
                self.outer[i][v] = sum;
                self.trace[i][v] = _mm512_mul_ps(sum, self.w2[i][v]);
            }
        }
        simd::transpose_64(&self.w2, &mut self.w2_transposed);
        simd::transpose_64(&self.trace, &mut self.trace_transposed);
    }

    /// From the gradient of `T` to those of what it is made of.
    #[target_feature(enable = "avx512f,fma")]
    fn trace_back(&mut self) {
        let bars = &mut self.bars;
        for i in 0..64 {
            let w1 = [0, 1].map(|c| _mm512_set1_ps(simd::floats(&self.w1[c])[i]));
            let mut w1_bars = [_mm512_setzero_ps(); 2];
            for v in 0..4 {
                let bar = bars.trace[i][v];
                bars.w2[i][v] = _mm512_fmadd_ps(bar, self.outer[i][v], bars.w2[i][v]);
                let outer = _mm512_mul_ps(bar, self.w2[i][v]);
                for c in 0..2 {
                    w1_bars[c] = _mm512_fmadd_ps(outer, self.w3[c][v], w1_bars[c]);
                    bars.w3[c][v] = _mm512_fmadd_ps(outer, w1[c], bars.w3[c][v]);
                }
            }
            for c in 0..2 {
                let add = _mm512_reduce_add_ps(w1_bars[c]);
                let lane = _mm512_maskz_mov_ps(1 << (i % 16), _mm512_set1_ps(add));
                bars.w1[c][i / 16] = _mm512_add_ps(bars.w1[c][i / 16], lane);
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn slope(&mut self, n: usize, t: f32, y: &[f32], k: &mut [f32]) {
        while n >= self.kept.len() {
            let rows = || vec![[_mm512_setzero_ps(); 4]; SAMPLES];
            let x = [[0.0; SAMPLES]; 2];
            self.kept.push(Kept { t, x, h: rows(), g: rows(), u: rows() });
        }
        let kept = &mut self.kept[n];
        kept.t = t;
        kept.x.as_flattened_mut().copy_from_slice(&y[..2 * SAMPLES]);
        let (one, zero) = (_mm512_set1_ps(1.0), _mm512_setzero_ps());
        let time = _mm512_set1_ps(t);
        let b1: Row = std::array::from_fn(|v| _mm512_fmadd_ps(time, self.w1[2][v], self.b1[v]));
        let tanh = self.tanh;
        for first in (0..SAMPLES).step_by(THERE) {
            let mut dh = [[zero; 4]; THERE];
            let h = &mut kept.h[first..first + THERE];
            for r in 0..THERE {
                let [a, b] = [0, 1].map(|c| _mm512_set1_ps(kept.x[c][first + r]));
                for v in 0..4 {
                    let sum = _mm512_fmadd_ps(b, self.w1[1][v], b1[v]);
                    h[r][v] = tanh.of(_mm512_fmadd_ps(a, self.w1[0][v], sum));
                    dh[r][v] = _mm512_fnmadd_ps(h[r][v], h[r][v], one);
                }
            }
            let (g, u) = (&mut kept.g[first..first + THERE], &mut kept.u[first..first + THERE]);
            for r in (0..THERE).step_by(4) {
                let sums = product::<4>(&h[r..r + 4], &self.w2, self.b2);
                let products = product::<4>(&dh[r..r + 4], &self.trace, [zero; 4]);
                for i in 0..4 {
                    for v in 0..4 {
                        g[r + i][v] = tanh.of(sums[i][v]);
                    }
                    u[r + i] = products[i];
                }
            }
            for c in 0..2 {
                let sums = simd::sums(|r| simd::dot(&g[r], &self.w3[c]));
                let sums = _mm512_add_ps(sums, _mm512_set1_ps(self.b3[c]));
                k[SAMPLES * c + first..][..THERE].copy_from_slice(&simd::array_f32(sums));
            }
            let trace = simd::sums(|r| {
                let mut sum = zero;
                for v in 0..4 {
                    let dg = _mm512_fnmadd_ps(g[r][v], g[r][v], one);
                    sum = _mm512_fnmadd_ps(u[r][v], dg, sum);
                }
                sum
            });
            k[2 * SAMPLES + first..][..THERE].copy_from_slice(&simd::array_f32(trace));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn back(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        let kept = &self.kept[n];
        let bars = &mut self.bars;
        let (one, zero) = (_mm512_set1_ps(1.0), [_mm512_setzero_ps(); 4]);
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
                let (a, b) = (_mm512_set1_ps(k0[r]), _mm512_set1_ps(k1[r]));
                // That of the trace, which is subtracted.
                let trace = _mm512_set1_ps(-l[r]);
                let twice = _mm512_add_ps(trace, trace);
                for v in 0..4 {
                    let (g, h) = (g[r][v], h[r][v]);
                    let dg = _mm512_fnmadd_ps(g, g, one);
                    let bar = _mm512_mul_ps(a, self.w3[0][v]);
                    let bar = _mm512_fmadd_ps(b, self.w3[1][v], bar);
                    let bar = _mm512_fnmadd_ps(_mm512_mul_ps(twice, g), u[r][v], bar);
                    g_bar[r][v] = _mm512_mul_ps(bar, dg);
                    u_bar[r][v] = _mm512_mul_ps(trace, dg);
                    dh[r][v] = _mm512_fnmadd_ps(h, h, one);
                    b2_bar[v] = _mm512_add_ps(b2_bar[v], g_bar[r][v]);
                    w3_bars[0][v] = _mm512_fmadd_ps(a, g, w3_bars[0][v]);
                    w3_bars[1][v] = _mm512_fmadd_ps(b, g, w3_bars[1][v]);
                }
            }
            for i in 0..16 {
                let four = &mut bars.w2.as_chunks_mut::<4>().0[i];
                row_bar(h, 4 * i, &g_bar, four);
                let four = &mut bars.trace.as_chunks_mut::<4>().0[i];
                row_bar(&dh, 4 * i, &u_bar, four);
            }
            for half in (0..BACK).step_by(16) {
                let mut h_bar = [zero; 16];
                for i in (0..16).step_by(4) {
                    let r = half + i;
                    let of_trace = product::<4>(&u_bar[r..r + 4], &self.trace_transposed, zero);
                    let of_sum = product::<4>(&g_bar[r..r + 4], &self.w2_transposed, zero);
                    for j in 0..4 {
                        let [a, b] = [0, 1].map(|c| _mm512_set1_ps(kept.x[c][first + r + j]));
                        for v in 0..4 {
                            let h = h[r + j][v];
                            let twice = _mm512_add_ps(h, h);
                            let bar = _mm512_fnmadd_ps(twice, of_trace[j][v], of_sum[j][v]);
                            let bar = _mm512_mul_ps(bar, dh[r + j][v]);
                            h_bar[i + j][v] = bar;
                            b1_bar[v] = _mm512_add_ps(b1_bar[v], bar);
                            w1_bars[0][v] = _mm512_fmadd_ps(a, bar, w1_bars[0][v]);
                            w1_bars[1][v] = _mm512_fmadd_ps(b, bar, w1_bars[1][v]);
                        }
                    }
                }
                for c in 0..2 {
                    let sums = simd::sums(|r| simd::dot(&h_bar[r], &self.w1[c]));
                    y_bar[SAMPLES * c + first + half..][..16]
                        .copy_from_slice(&simd::array_f32(sums));
                }
            }
        }
        for c in 0..2 {
            bars.b3[c] += k_bar[SAMPLES * c..][..SAMPLES].iter().sum::<f32>();
        }
        let time = _mm512_set1_ps(kept.t);
        for v in 0..4 {
            let add = |to: &mut Row, x: __m512| to[v] = _mm512_add_ps(to[v], x);
            add(&mut bars.b1, b1_bar[v]);
            add(&mut bars.b2, b2_bar[v]);
            add(&mut bars.w1[2], _mm512_mul_ps(time, b1_bar[v]));
            for c in 0..2 {
                add(&mut bars.w1[c], w1_bars[c][v]);
                add(&mut bars.w3[c], w3_bars[c][v]);
            }
        }
    }
}

impl Field<f32> for Network {
    fn eval(&mut self, n: usize, t: f64, y: &[f32], k: &mut [f32]) {
        // SAFETY: as in `new`.
        unsafe { self.slope(n, t as f32, y, k) }
    }

    fn vjp(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        // SAFETY: as in `new`.
        unsafe { self.back(n, k_bar, y_bar) }
    }
}
