//! The field of `cnf` with the trace by a formula: with the hidden layers `h` and `g`,
//! `tr ∂v/∂x = Σ ((1 - h²) T) (1 - g²)`, `T = W₂ ∘ (W₃ W₁)ᵀ`. Of all ways this takes the fewest products:
//! two there, four back.

use std::arch::x86_64::*;

use crate::Floor;
use crate::cnf::{Bars, Flow, SAMPLES, Weights, problem};
use crate::data::Data;
use crate::rk::Field;
use crate::simd::{self, Row, TanhF32, product, row_bar};

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

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    // SAFETY: `main` has checked that the processor has these instructions.
    problem(data, rtol, unsafe { Network::new() })
}

impl Flow for Network {
    fn start(&mut self, inputs: &[Vec<f32>; 6]) {
        // SAFETY: as in `new`.
        unsafe { self.set(inputs) }
    }

    fn start_back(&mut self) {
        // SAFETY: as in `new`.
        unsafe {
            self.bars = Bars::zero();
            self.trace_bar.fill([_mm512_setzero_ps(); 4]);
        }
    }

    fn finish_back(&mut self) -> &Bars {
        // SAFETY: as in `new`.
        unsafe { self.trace_back() };
        &self.bars
    }
}

impl Network {
    #[target_feature(enable = "avx512f")]
    fn new() -> Network {
        let zero = [_mm512_setzero_ps(); 4];
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

    #[target_feature(enable = "avx512f,fma")]
    fn set(&mut self, inputs: &[Vec<f32>; 6]) {
        self.weights.set(inputs);
        let Weights { w1, w2, w3, .. } = &self.weights;
        for i in 0..64 {
            let [a, b] = [0, 1].map(|c| _mm512_set1_ps(simd::floats(&w1[c])[i]));
            for v in 0..4 {
                let sum = _mm512_fmadd_ps(b, w3[1][v], _mm512_mul_ps(a, w3[0][v]));
                self.outer[i][v] = sum;
                self.trace[i][v] = _mm512_mul_ps(sum, w2[i][v]);
            }
        }
        simd::transpose_64(w2, &mut self.w2_transposed);
        simd::transpose_64(&self.trace, &mut self.trace_transposed);
    }

    /// From the gradient of `T` to those of what it is made of.
    #[target_feature(enable = "avx512f,fma")]
    fn trace_back(&mut self) {
        let bars = &mut self.bars;
        for i in 0..64 {
            let w1 = [0, 1].map(|c| _mm512_set1_ps(simd::floats(&self.weights.w1[c])[i]));
            let mut w1_bars = [_mm512_setzero_ps(); 2];
            for v in 0..4 {
                let bar = self.trace_bar[i][v];
                bars.w2[i][v] = _mm512_fmadd_ps(bar, self.outer[i][v], bars.w2[i][v]);
                let outer = _mm512_mul_ps(bar, self.weights.w2[i][v]);
                for c in 0..2 {
                    w1_bars[c] = _mm512_fmadd_ps(outer, self.weights.w3[c][v], w1_bars[c]);
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
        let b1: Row = std::array::from_fn(|v| {
            _mm512_fmadd_ps(time, self.weights.w1[2][v], self.weights.b1[v])
        });
        let tanh = self.tanh;
        for first in (0..SAMPLES).step_by(THERE) {
            let mut dh = [[zero; 4]; THERE];
            let h = &mut kept.h[first..first + THERE];
            for r in 0..THERE {
                let [a, b] = [0, 1].map(|c| _mm512_set1_ps(kept.x[c][first + r]));
                for v in 0..4 {
                    let sum = _mm512_fmadd_ps(b, self.weights.w1[1][v], b1[v]);
                    h[r][v] = tanh.of(_mm512_fmadd_ps(a, self.weights.w1[0][v], sum));
                    dh[r][v] = _mm512_fnmadd_ps(h[r][v], h[r][v], one);
                }
            }
            let (g, u) = (&mut kept.g[first..first + THERE], &mut kept.u[first..first + THERE]);
            for r in (0..THERE).step_by(4) {
                let sums = product::<4>(&h[r..r + 4], &self.weights.w2, self.weights.b2);
                let products = product::<4>(&dh[r..r + 4], &self.trace, [zero; 4]);
                for i in 0..4 {
                    for v in 0..4 {
                        g[r + i][v] = tanh.of(sums[i][v]);
                    }
                    u[r + i] = products[i];
                }
            }
            for c in 0..2 {
                let sums = simd::sums(|r| simd::dot(&g[r], &self.weights.w3[c]));
                let sums = _mm512_add_ps(sums, _mm512_set1_ps(self.weights.b3[c]));
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
                    let bar = _mm512_mul_ps(a, self.weights.w3[0][v]);
                    let bar = _mm512_fmadd_ps(b, self.weights.w3[1][v], bar);
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
                let four = &mut self.trace_bar.as_chunks_mut::<4>().0[i];
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
                    let sums = simd::sums(|r| simd::dot(&h_bar[r], &self.weights.w1[c]));
                    y_bar[SAMPLES * c + first + half..][..16]
                        .copy_from_slice(&simd::array_f32(sums));
                }
            }
        }
        bars.add(k_bar, kept.t, [b1_bar, b2_bar], w1_bars, w3_bars);
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
