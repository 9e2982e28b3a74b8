//! `dy/dt = softplus(softplus(y W₁ + b₁) W₂ + b₂) W₃ + b₃` of 32 samples, by Tsit5.
//!
//! The hidden units run along the lanes, four vectors a sample. Products take tiles of four samples and all
//! 64 units, sixteen sums in registers.

use crate::Floor;
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::rk::{Field, Method, Solve};
use crate::simd::{
    self, F32x16, Row, Softplus, Vector, add, add_outer, fma, mul, product, set, zero_row,
};
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
    b3: F32x16,
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
        network: Network::new(),
        solve: Solve::new(method, control, data.f64s("ts"), 2 * SAMPLES),
    })
}

impl Floor for Mlp {
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
        self.solve.steps
    }
}

impl Mlp {
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
    fn zero() -> Bars {
        let zero = zero_row();
        let w2 = vec![zero; 64];
        Bars { w1: [zero; 2], b1: zero, w2, b2: zero, w3: [zero; 2], b3: [0.0; 2] }
    }
}

impl Network {
    fn new() -> Network {
        let zero = zero_row();
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
        self.b3 = F32x16::load(&std::array::from_fn(|i| b3[i % 2]));
    }

    #[inline]
    fn slope(&mut self, n: usize, y: &[f32; 2 * SAMPLES], k: &mut [f32]) {
        if n >= self.kept.len() {
            let zero = [zero_row(); SAMPLES];
            let [h, dh, g, dg] = [zero; 4];
            self.kept.resize(n + 1, Kept { y: [0.0; 2 * SAMPLES], h, dh, g, dg });
        }
        let kept = &mut self.kept[n];
        kept.y = *y;
        let softplus = self.softplus;
        for r in 0..SAMPLES {
            let [a, b] = [y[2 * r], y[2 * r + 1]].map(set);
            for v in 0..4 {
                let sum = fma(b, self.w1[1][v], self.b1[v]);
                let sum = fma(a, self.w1[0][v], sum);
                (kept.h[r][v], kept.dh[r][v]) = softplus.of(sum);
            }
        }
        for first in (0..SAMPLES).step_by(16) {
            product(&kept.h[first..first + 16], &self.w2, self.b2, |r, sums| {
                for v in 0..4 {
                    (kept.g[first + r][v], kept.dg[first + r][v]) = softplus.of(sums[v]);
                }
            });
        }
        for (rows, k) in kept.g.as_chunks::<8>().0.iter().zip(k.as_chunks_mut::<16>().0) {
            *k = add(simd::sums(|i| simd::dot(&rows[i / 2], &self.w3[i % 2])), self.b3).array();
        }
    }

    #[inline]
    fn back(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        let Kept { y, h: _, dh, g, dg } = &self.kept[n];
        let g_bar = &mut self.g_bars[self.pending.len()];
        let bars = &mut self.bars;
        for r in 0..SAMPLES {
            let k = [k_bar[2 * r], k_bar[2 * r + 1]];
            bars.b3[0] += k[0];
            bars.b3[1] += k[1];
            let k = k.map(set);
            for v in 0..4 {
                let bar = mul(k[0], self.w3[0][v]);
                let bar = fma(k[1], self.w3[1][v], bar);
                g_bar[r][v] = mul(bar, dg[r][v]);
                bars.b2[v] = add(bars.b2[v], g_bar[r][v]);
                for c in 0..2 {
                    bars.w3[c][v] = fma(k[c], g[r][v], bars.w3[c][v]);
                }
            }
        }
        let zero = zero_row();
        for first in (0..SAMPLES).step_by(16) {
            let mut h_bar = [zero; 16];
            product(&g_bar[first..first + 16], &self.w2_transposed, zero, |r, sums| {
                for v in 0..4 {
                    h_bar[r][v] = mul(sums[v], dh[first + r][v]);
                }
            });
            let y_bar = y_bar[2 * first..].as_chunks_mut::<16>().0;
            for (rows, y_bar) in h_bar.as_chunks::<8>().0.iter().zip(y_bar) {
                *y_bar = simd::sums(|i| simd::dot(&rows[i / 2], &self.w1[i % 2])).array();
            }
            for (i, bar) in h_bar.iter().enumerate() {
                let r = first + i;
                let y = [y[2 * r], y[2 * r + 1]].map(set);
                for v in 0..4 {
                    bars.b1[v] = add(bars.b1[v], bar[v]);
                    for c in 0..2 {
                        bars.w1[c][v] = fma(y[c], bar[v], bars.w1[c][v]);
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
    fn flush(&mut self) {
        for (&n, g_bar) in self.pending.iter().zip(&self.g_bars) {
            add_outer(&self.kept[n].h, g_bar, &mut self.bars.w2);
        }
        self.pending.clear();
    }
}

impl Field<f32> for Network {
    fn eval(&mut self, n: usize, _: f64, y: &[f32], k: &mut [f32]) {
        self.slope(n, y.try_into().expect("all samples"), k)
    }

    fn vjp(&mut self, n: usize, k_bar: &[f32], y_bar: &mut [f32]) {
        self.back(n, k_bar, y_bar)
    }
}
