//! `dy/dt = softplus(softplus(y W₁ + b₁) W₂ + b₂) W₃ + b₃` of 32 samples, by Tsit5.
//!
//! The hidden units run along the lanes, four vectors a sample. Products take tiles of four samples and all
//! 64 units, sixteen sums in registers.

use std::arch::x86_64::*;

use crate::Floor;
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::rk::{Field, Method, Solve};
use crate::simd::{self, Row, product, row_bar};
use crate::tableau::tsit5;

const SAMPLES: usize = 32;
type Rows = [Row; SAMPLES];

/// What an evaluation leaves: both hidden layers and their derivatives.
#[derive(Clone)]
struct Kept {
    y: [f32; 2 * SAMPLES],
    h: Rows,
    dh: Rows,
    g: Rows,
    dg: Rows,
}

struct Network {
    w1: [Row; 2],
    b1: Row,
    w2: Vec<Row>,
    w2_transposed: Vec<Row>,
    b2: Row,
    /// By output.
    w3: [Row; 2],
    b3: __m512,
    softplus: Softplus,
    kept: Vec<Kept>,
    /// The numbers whose part of the gradient of `w2` is still to be added, with the cotangents of the
    /// sums of the second layer.
    pending: Vec<usize>,
    g_bars: Vec<Rows>,
    bars: Bars,
}

struct Bars {
    w1: [Row; 2],
    b1: Row,
    w2: Vec<Row>,
    b2: Row,
    w3: [Row; 2],
    b3: [f32; 2],
}

struct Mlp {
    /// `w1`, `b1`, `w2`, `b2`, `w3`, `b3`.
    inputs: [Vec<f32>; 6],
    y0: Vec<f32>,
    targets: Vec<f32>,
    network: Network,
    solve: Solve<f32>,
    gradients: Vec<Vec<f64>>,
}

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    let method =
        Method { a: &tsit5::A, c: &tsit5::C, error: &tsit5::ERROR, weights: &tsit5::WEIGHTS };
    let control = Control::new(1e-3, 1e-6).with_rtol(rtol);
    let inputs = ["w1", "b1", "w2", "b2", "w3", "b3"].map(|name| data.f32s(name));
    Box::new(Mlp {
        gradients: inputs.iter().map(|x| vec![0.0; x.len()]).collect(),
        inputs,
        y0: data.f32s("y0"),
        targets: data.f32s("target"),
        // SAFETY: `main` has checked that the processor has these instructions.
        network: unsafe { Network::new() },
        solve: Solve::new(method, control, data.f64s("ts"), 2 * SAMPLES),
    })
}

impl Floor for Mlp {
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

impl Mlp {
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn there(&mut self) -> f64 {
        self.network.set(&self.inputs);
        let scale = 1.0 / self.targets.len() as f32;
        let mut loss = 0.0;
        let targets = &self.targets;
        self.solve.there(&mut self.network, &self.y0, |i, y, bar| {
            let target = &targets[2 * SAMPLES * i..][..2 * SAMPLES];
            let mut sums = [0.0f32; 16];
            let all = bar.as_chunks_mut::<16>().0.iter_mut().zip(y.as_chunks::<16>().0);
            for ((bar, y), target) in all.zip(target.as_chunks::<16>().0) {
                for l in 0..16 {
                    let e = y[l] - target[l];
                    sums[l] += e * e;
                    bar[l] = 2.0 * scale * e;
                }
            }
            loss += f64::from(sums.iter().sum::<f32>());
        });
        loss * f64::from(scale)
    }

    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn back(&mut self) {
        let network = &mut self.network;
        network.bars = Bars::zero();
        self.solve.back(network);
        network.flush();
        let Bars { w1, b1, w2, b2, w3, b3 } = &network.bars;
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
        let w2 = vec![zero; 64];
        Bars { w1: [zero; 2], b1: zero, w2, b2: zero, w3: [zero; 2], b3: [0.0; 2] }
    }
}

impl Network {
    #[target_feature(enable = "avx512f")]
    fn new() -> Network {
        let zero = [_mm512_setzero_ps(); 4];
        Network {
            w1: [zero; 2],
            b1: zero,
            w2: vec![zero; 64],
            w2_transposed: vec![zero; 64],
            b2: zero,
            w3: [zero; 2],
            b3: zero[0],
            softplus: Softplus::new(),
            kept: Vec::new(),
            pending: Vec::new(),
            g_bars: vec![[zero; SAMPLES]; 6],
            bars: Bars::zero(),
        }
    }

    #[target_feature(enable = "avx512f")]
    fn set(&mut self, inputs: &[Vec<f32>; 6]) {
        let [w1, b1, w2, b2, w3, b3] = inputs;
        let row = |x: &[f32]| simd::row(x.try_into().expect("64"));
        self.w1 = [row(&w1[..64]), row(&w1[64..])];
        (self.b1, self.b2) = (row(b1), row(b2));
        for (i, to) in self.w2.iter_mut().enumerate() {
            *to = row(&w2[64 * i..][..64]);
        }
        simd::transpose_64(&self.w2, &mut self.w2_transposed);
        self.w3 = [0, 1].map(|c| simd::row(&std::array::from_fn(|j| w3[2 * j + c])));
        self.b3 = simd::load_f32(&std::array::from_fn(|i| b3[i % 2]));
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn slope(&mut self, n: usize, y: &[f32; 2 * SAMPLES], k: &mut [f32]) {
        if n >= self.kept.len() {
            let zero = [[_mm512_setzero_ps(); 4]; SAMPLES];
            let [h, dh, g, dg] = [zero; 4];
            self.kept.resize(n + 1, Kept { y: [0.0; 2 * SAMPLES], h, dh, g, dg });
        }
        let kept = &mut self.kept[n];
        kept.y = *y;
        let softplus = self.softplus;
        for r in 0..SAMPLES {
            let [a, b] = [y[2 * r], y[2 * r + 1]].map(|y| _mm512_set1_ps(y));
            for v in 0..4 {
                let sum = _mm512_fmadd_ps(b, self.w1[1][v], self.b1[v]);
                let sum = _mm512_fmadd_ps(a, self.w1[0][v], sum);
                (kept.h[r][v], kept.dh[r][v]) = softplus.of(sum);
            }
        }
        for r in (0..SAMPLES).step_by(4) {
            let sums = product::<4>(&kept.h[r..r + 4], &self.w2, self.b2);
            for i in 0..4 {
                for v in 0..4 {
                    (kept.g[r + i][v], kept.dg[r + i][v]) = softplus.of(sums[i][v]);
                }
            }
        }
        for (rows, k) in kept.g.as_chunks::<8>().0.iter().zip(k.as_chunks_mut::<16>().0) {
            *k = simd::array_f32(_mm512_add_ps(
                simd::sums(|i| simd::dot(&rows[i / 2], &self.w3[i % 2])),
                self.b3,
            ));
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn back(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        let Kept { y, h: _, dh, g, dg } = &self.kept[n];
        let g_bar = &mut self.g_bars[self.pending.len()];
        let bars = &mut self.bars;
        for r in 0..SAMPLES {
            let k = [k_bar[2 * r], k_bar[2 * r + 1]];
            bars.b3[0] += k[0];
            bars.b3[1] += k[1];
            let k = k.map(|k| _mm512_set1_ps(k));
            for v in 0..4 {
                let bar = _mm512_mul_ps(k[0], self.w3[0][v]);
                let bar = _mm512_fmadd_ps(k[1], self.w3[1][v], bar);
                g_bar[r][v] = _mm512_mul_ps(bar, dg[r][v]);
                bars.b2[v] = _mm512_add_ps(bars.b2[v], g_bar[r][v]);
                for c in 0..2 {
                    bars.w3[c][v] = _mm512_fmadd_ps(k[c], g[r][v], bars.w3[c][v]);
                }
            }
        }
        let zero = [_mm512_setzero_ps(); 4];
        for (eight, y_bar) in y_bar.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let mut h_bar = [zero; 8];
            for i in [0, 4] {
                let r = 8 * eight + i;
                let sums = product::<4>(&g_bar[r..r + 4], &self.w2_transposed, zero);
                for j in 0..4 {
                    for v in 0..4 {
                        h_bar[i + j][v] = _mm512_mul_ps(sums[j][v], dh[r + j][v]);
                    }
                }
            }
            *y_bar = simd::array_f32(simd::sums(|i| simd::dot(&h_bar[i / 2], &self.w1[i % 2])));
            for (i, bar) in h_bar.iter().enumerate() {
                let r = 8 * eight + i;
                let y = [y[2 * r], y[2 * r + 1]].map(|y| _mm512_set1_ps(y));
                for v in 0..4 {
                    bars.b1[v] = _mm512_add_ps(bars.b1[v], bar[v]);
                    for c in 0..2 {
                        bars.w1[c][v] = _mm512_fmadd_ps(y[c], bar[v], bars.w1[c][v]);
                    }
                }
            }
        }
        self.pending.push(n);
        if self.pending.len() == 6 {
            self.flush();
        }
    }

    /// Adds what is pending to the gradient of `w2`: one outer product for all stages of a step.
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn flush(&mut self) {
        for (i, four) in self.bars.w2.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            for (&n, g_bar) in self.pending.iter().zip(&self.g_bars) {
                row_bar(&self.kept[n].h, 4 * i, g_bar, four);
            }
        }
        self.pending.clear();
    }
}

impl Field<f32> for Network {
    fn eval(&mut self, n: usize, _: f64, y: &[f32], k: &mut [f32]) {
        // SAFETY: as in `new`.
        unsafe { self.slope(n, y.try_into().expect("all samples"), k) }
    }

    fn vjp(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        // SAFETY: as in `new`.
        unsafe { self.back(n, k_bar, y_bar) }
    }
}

/// The constants of `ln(1 + e^x)`.
#[derive(Clone, Copy)]
struct Softplus {
    /// `2^(i/32)`.
    power: [__m512; 2],
    /// `1 / (1 + i/31)` and the logarithm of its inverse.
    inverse: [__m512; 2],
    logarithm: [__m512; 2],
}

impl Softplus {
    #[target_feature(enable = "avx512f")]
    fn new() -> Softplus {
        let table = |f: &dyn Fn(f64) -> f64| {
            let at = |half: usize| std::array::from_fn(|i| f((16 * half + i) as f64) as f32);
            [simd::load_f32(&at(0)), simd::load_f32(&at(1))]
        };
        // The logarithm is that of the rounded inverse.
        let inverse = |i: f64| (1.0 / (1.0 + i / 31.0)) as f32;
        Softplus {
            power: table(&|i| (i / 32.0).exp2()),
            inverse: table(&|i| inverse(i).into()),
            logarithm: table(&|i| -f64::from(inverse(i)).ln()),
        }
    }

    /// `max(x, 0) + ln(1 + e)` with `e = e^-|x|`, and the derivative, `1 / (1 + e)` or `e / (1 + e)`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512dq,fma")]
    fn of(&self, x: __m512) -> (__m512, __m512) {
        let set = |x: f32| _mm512_set1_ps(x);
        let look = |table: [__m512; 2], index: __m512| {
            _mm512_permutex2var_ps(table[0], _mm512_castps_si512(index), table[1])
        };
        // e^-|x|: -|x| = n ln 2 + r, n a multiple of 1/32.
        let minus = _mm512_or_ps(x, set(-0.0));
        let magic = set(1.5 * (1 << 18) as f32);
        let shifted = _mm512_fmadd_ps(minus, set(std::f32::consts::LOG2_E), magic);
        let n = _mm512_sub_ps(shifted, magic);
        let r = _mm512_fnmadd_ps(n, set(std::f32::consts::LN_2), minus);
        let power = _mm512_scalef_ps(look(self.power, shifted), n);
        // |r| < ln 2 / 64
        let series = _mm512_fmadd_ps(r, _mm512_fmadd_ps(r, set(0.5), set(1.0)), set(1.0));
        let e = _mm512_mul_ps(power, series);
        // 1 + e = (1 + s) / inverse, |s| < 1/62.
        let index = _mm512_fmadd_ps(e, set(31.0), set(1.5 * (1 << 23) as f32));
        let inverse = look(self.inverse, index);
        let sum = _mm512_add_ps(e, set(1.0));
        let s = _mm512_fmsub_ps(sum, inverse, set(1.0));
        let series = _mm512_fmadd_ps(s, set(1.0 / 3.0), set(-0.5));
        let series = _mm512_fmadd_ps(_mm512_mul_ps(s, s), series, s);
        let logarithm = _mm512_add_ps(look(self.logarithm, index), series);
        let value = _mm512_add_ps(_mm512_max_ps(x, set(0.0)), logarithm);
        // inverse (1 - s + s² - s³)
        let series = _mm512_fnmadd_ps(s, set(1.0), set(1.0));
        let series = _mm512_fmadd_ps(_mm512_mul_ps(s, s), series, series);
        let quotient = _mm512_mul_ps(inverse, series);
        let negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
        (value, _mm512_mask_mul_ps(quotient, negative, quotient, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softplus_is_exact_to_a_few_units_of_rounding() {
        if !is_x86_feature_detected!("avx512dq") {
            return;
        }
        let (mut value_error, mut slope_error) = (0.0f64, 0.0f64);
        for i in -300_000..300_000 {
            let x = i as f32 * 1e-4;
            // SAFETY: the processor has these instructions.
            let (value, slope) = unsafe {
                let (value, slope) = Softplus::new().of(_mm512_set1_ps(x));
                (simd::array_f32(value)[3], simd::array_f32(slope)[3])
            };
            let x = f64::from(x);
            let right = x.max(0.0) + (-x.abs()).exp().ln_1p();
            value_error = value_error.max((f64::from(value) - right).abs() / right.max(1.0));
            let right = 1.0 / (1.0 + (-x).exp());
            slope_error = slope_error.max((f64::from(slope) / right - 1.0).abs());
        }
        assert!(value_error < 2.0 * f64::from(f32::EPSILON), "{value_error:e}");
        assert!(slope_error < 8.0 * f64::from(f32::EPSILON), "{slope_error:e}");
    }
}
