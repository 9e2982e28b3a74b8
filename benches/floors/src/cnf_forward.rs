//! The field of `cnf` with the trace by forward mode: the hidden layers go with their derivatives along
//! both components of `x`, three products there and six back.

use std::arch::x86_64::*;

use crate::Floor;
use crate::cnf::{Bars, Flow, SAMPLES, Weights, problem};
use crate::data::Data;
use crate::rk::Field;
use crate::simd::{self, Row, TanhF32, product, row_bar};

/// Samples that go through the field together.
const BLOCK: usize = 16;

/// What an evaluation leaves: the hidden layers, and the derivatives of the second one's sums.
struct Kept {
    t: f32,
    x: [[f32; SAMPLES]; 2],
    h: Vec<Row>,
    g: Vec<Row>,
    dots: [Vec<Row>; 2],
}

struct Network {
    weights: Weights,
    w2_transposed: Vec<Row>,
    tanh: TanhF32,
    kept: Vec<Kept>,
    bars: Bars,
}

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    // SAFETY: `main` has checked that the processor has these instructions.
    problem(data, rtol, unsafe { Network::new() })
}

impl Flow for Network {
    fn start(&mut self, inputs: &[Vec<f32>; 6]) {
        // SAFETY: as in `new`.
        unsafe {
            self.weights.set(inputs);
            simd::transpose_64(&self.weights.w2, &mut self.w2_transposed);
        }
    }

    fn start_back(&mut self) {
        // SAFETY: as in `new`.
        self.bars = unsafe { Bars::zero() };
    }

    fn finish_back(&mut self) -> &Bars {
        &self.bars
    }
}

impl Network {
    #[target_feature(enable = "avx512f")]
    fn new() -> Network {
        Network {
            weights: Weights::zero(),
            w2_transposed: vec![[_mm512_setzero_ps(); 4]; 64],
            tanh: TanhF32::new(),
            kept: Vec::new(),
            bars: Bars::zero(),
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn slope(&mut self, n: usize, t: f32, y: &[f32], k: &mut [f32]) {
        while n >= self.kept.len() {
            let rows = || vec![[_mm512_setzero_ps(); 4]; SAMPLES];
            let x = [[0.0; SAMPLES]; 2];
            self.kept.push(Kept { t, x, h: rows(), g: rows(), dots: [rows(), rows()] });
        }
        let kept = &mut self.kept[n];
        kept.t = t;
        kept.x.as_flattened_mut().copy_from_slice(&y[..2 * SAMPLES]);
        let (one, zero) = (_mm512_set1_ps(1.0), [_mm512_setzero_ps(); 4]);
        let time = _mm512_set1_ps(t);
        let Weights { w1, b1, w2, b2, w3, b3 } = &self.weights;
        let b1: Row = std::array::from_fn(|v| _mm512_fmadd_ps(time, w1[2][v], b1[v]));
        let tanh = self.tanh;
        for first in (0..SAMPLES).step_by(BLOCK) {
            let mut h_dots = [[zero; BLOCK]; 2];
            let h = &mut kept.h[first..first + BLOCK];
            for r in 0..BLOCK {
                let [a, b] = [0, 1].map(|c| _mm512_set1_ps(kept.x[c][first + r]));
                for v in 0..4 {
                    let sum = _mm512_fmadd_ps(b, w1[1][v], b1[v]);
                    h[r][v] = tanh.of(_mm512_fmadd_ps(a, w1[0][v], sum));
                    let dh = _mm512_fnmadd_ps(h[r][v], h[r][v], one);
                    for c in 0..2 {
                        h_dots[c][r][v] = _mm512_mul_ps(dh, w1[c][v]);
                    }
                }
            }
            let g = &mut kept.g[first..first + BLOCK];
            let [dot_0, dot_1] = &mut kept.dots;
            let dots = [&mut dot_0[first..first + BLOCK], &mut dot_1[first..first + BLOCK]];
            for r in (0..BLOCK).step_by(4) {
                let sums = product::<4>(&h[r..r + 4], w2, *b2);
                for i in 0..4 {
                    g[r + i] = sums[i].map(|sum| tanh.of(sum));
                }
                for c in 0..2 {
                    let sums = product::<4>(&h_dots[c][r..r + 4], w2, zero);
                    dots[c][r..r + 4].copy_from_slice(&sums);
                }
            }
            for c in 0..2 {
                let sums = simd::sums(|r| simd::dot(&g[r], &w3[c]));
                let sums = _mm512_add_ps(sums, _mm512_set1_ps(b3[c]));
                k[SAMPLES * c + first..][..BLOCK].copy_from_slice(&simd::array_f32(sums));
            }
            let trace = simd::sums(|r| {
                let mut sum = zero[0];
                for v in 0..4 {
                    let dg = _mm512_fnmadd_ps(g[r][v], g[r][v], one);
                    let along = _mm512_mul_ps(dots[0][r][v], w3[0][v]);
                    let along = _mm512_fmadd_ps(dots[1][r][v], w3[1][v], along);
                    sum = _mm512_fnmadd_ps(along, dg, sum);
                }
                sum
            });
            k[2 * SAMPLES + first..][..BLOCK].copy_from_slice(&simd::array_f32(trace));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn back(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        let kept = &self.kept[n];
        let bars = &mut self.bars;
        let Weights { w1, w3, .. } = &self.weights;
        let (one, zero) = (_mm512_set1_ps(1.0), [_mm512_setzero_ps(); 4]);
        let (mut b1_bar, mut b2_bar) = (zero, zero);
        let (mut w1_bars, mut w3_bars) = ([zero; 2], [zero; 2]);
        // The state's ℓ is not an argument of the field.
        y_bar[2 * SAMPLES..].fill(0.0);
        for first in (0..SAMPLES).step_by(BLOCK) {
            let range = first..first + BLOCK;
            let (h, g) = (&kept.h[range.clone()], &kept.g[range.clone()]);
            let dots = [&kept.dots[0][range.clone()], &kept.dots[1][range]];
            let k = |c: usize| &k_bar[SAMPLES * c + first..][..BLOCK];
            let (k0, k1, l) = (k(0), k(1), k(2));
            // The cotangents of the sums of the second layer, and of their derivatives.
            let mut g_bar = [zero; BLOCK];
            let mut dot_bars = [[zero; BLOCK]; 2];
            let mut h_dots = [[zero; BLOCK]; 2];
            for r in 0..BLOCK {
                let k = [_mm512_set1_ps(k0[r]), _mm512_set1_ps(k1[r])];
                // That of the trace, which is subtracted.
                let trace = _mm512_set1_ps(-l[r]);
                let twice = _mm512_add_ps(trace, trace);
                for v in 0..4 {
                    let (g, h) = (g[r][v], h[r][v]);
                    let dg = _mm512_fnmadd_ps(g, g, one);
                    let dh = _mm512_fnmadd_ps(h, h, one);
                    let scaled = _mm512_mul_ps(trace, dg);
                    let mut bar = _mm512_setzero_ps();
                    let mut along = bar;
                    for c in 0..2 {
                        let dot = dots[c][r][v];
                        bar = _mm512_fmadd_ps(k[c], w3[c][v], bar);
                        along = _mm512_fmadd_ps(dot, w3[c][v], along);
                        dot_bars[c][r][v] = _mm512_mul_ps(scaled, w3[c][v]);
                        h_dots[c][r][v] = _mm512_mul_ps(dh, w1[c][v]);
                        let sum = _mm512_fmadd_ps(k[c], g, w3_bars[c][v]);
                        w3_bars[c][v] = _mm512_fmadd_ps(scaled, dot, sum);
                    }
                    let bar = _mm512_fnmadd_ps(_mm512_mul_ps(twice, g), along, bar);
                    g_bar[r][v] = _mm512_mul_ps(bar, dg);
                    b2_bar[v] = _mm512_add_ps(b2_bar[v], g_bar[r][v]);
                }
            }
            for (i, four) in bars.w2.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                row_bar(h, 4 * i, &g_bar, four);
                row_bar(&h_dots[0], 4 * i, &dot_bars[0], four);
                row_bar(&h_dots[1], 4 * i, &dot_bars[1], four);
            }
            let mut h_bar = [zero; BLOCK];
            for r in (0..BLOCK).step_by(4) {
                let along =
                    [0, 1].map(|c| product::<4>(&dot_bars[c][r..r + 4], &self.w2_transposed, zero));
                let sums = product::<4>(&g_bar[r..r + 4], &self.w2_transposed, zero);
                for j in 0..4 {
                    let x = [0, 1].map(|c| _mm512_set1_ps(kept.x[c][first + r + j]));
                    for v in 0..4 {
                        let h = h[r + j][v];
                        let dh = _mm512_fnmadd_ps(h, h, one);
                        let dh_bar = _mm512_mul_ps(along[0][j][v], w1[0][v]);
                        let dh_bar = _mm512_fmadd_ps(along[1][j][v], w1[1][v], dh_bar);
                        let twice = _mm512_add_ps(h, h);
                        let bar = _mm512_fnmadd_ps(twice, dh_bar, sums[j][v]);
                        let bar = _mm512_mul_ps(bar, dh);
                        h_bar[r + j][v] = bar;
                        b1_bar[v] = _mm512_add_ps(b1_bar[v], bar);
                        for c in 0..2 {
                            let sum = _mm512_fmadd_ps(x[c], bar, w1_bars[c][v]);
                            w1_bars[c][v] = _mm512_fmadd_ps(along[c][j][v], dh, sum);
                        }
                    }
                }
            }
            for c in 0..2 {
                let sums = simd::sums(|r| simd::dot(&h_bar[r], &w1[c]));
                y_bar[SAMPLES * c + first..][..BLOCK].copy_from_slice(&simd::array_f32(sums));
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
