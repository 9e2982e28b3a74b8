//! A continuous normalising flow of 512 samples by Tsit5: `dx/dt = v(t, x)` and `dℓ/dt = -tr ∂v/∂x` with
//! `v = tanh(tanh([x, t] W₁ + b₁) W₂ + b₂) W₃ + b₃`; the loss is the mean of `ℓ(1) - ln N(x(1); 0, I)`. The
//! field has two ways to the trace: `cnf_formula` and `cnf_forward`.
//!
//! The hidden units run along the lanes; blocks of samples go through the whole field while they are in
//! the cache. A state is three rows of samples.

use std::arch::x86_64::*;

use crate::Floor;
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::rk::{Field, Method, Solve};
use crate::simd::{self, Row};
use crate::tableau::tsit5;

pub const SAMPLES: usize = 512;

/// The field, and what is done before and after a solve.
pub trait Flow: Field<f32> {
    /// Takes `w1`, `b1`, `w2`, `b2`, `w3`, `b3`.
    fn start(&mut self, inputs: &[Vec<f32>; 6]);
    fn start_back(&mut self);
    fn finish_back(&mut self) -> &Bars;
}

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
    #[target_feature(enable = "avx512f")]
    pub fn zero() -> Weights {
        let zero = [_mm512_setzero_ps(); 4];
        let w2 = vec![zero; 64];
        Weights { w1: [zero; 3], b1: zero, w2, b2: zero, w3: [zero; 2], b3: [0.0; 2] }
    }

    #[target_feature(enable = "avx512f")]
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
    #[target_feature(enable = "avx512f")]
    pub fn add(&mut self, k_bar: &[f32], t: f32, b: [Row; 2], w1: [Row; 2], w3: [Row; 2]) {
        for c in 0..2 {
            self.b3[c] += k_bar[SAMPLES * c..][..SAMPLES].iter().sum::<f32>();
        }
        let time = _mm512_set1_ps(t);
        for v in 0..4 {
            let add = |to: &mut Row, x: __m512| to[v] = _mm512_add_ps(to[v], x);
            add(&mut self.b1, b[0][v]);
            add(&mut self.b2, b[1][v]);
            add(&mut self.w1[2], _mm512_mul_ps(time, b[0][v]));
            for c in 0..2 {
                add(&mut self.w1[c], w1[c][v]);
                add(&mut self.w3[c], w3[c][v]);
            }
        }
    }
}

struct Cnf<F> {
    inputs: [Vec<f32>; 6],
    start: Vec<f32>,
    field: F,
    solve: Solve<f32>,
    gradients: Vec<Vec<f64>>,
}

pub fn problem(data: &Data, rtol: Option<f64>, field: impl Flow + 'static) -> Box<dyn Floor> {
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
        field,
        solve: Solve::new(method, control, data.f64s("ts"), 3 * SAMPLES),
    })
}

impl<F: Flow> Floor for Cnf<F> {
    fn forward(&mut self) -> f64 {
        // SAFETY: `main` has checked that the processor has these instructions.
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

impl<F: Flow> Cnf<F> {
    #[target_feature(enable = "avx512f,avx512dq,avx512vl,fma")]
    fn there(&mut self) -> f64 {
        self.field.start(&self.inputs);
        let mut loss = 0.0;
        // The mean of ℓ - ln N(x; 0, I) at the end.
        self.solve.there(&mut self.field, &self.start, |i, y, bar| {
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
        self.field.start_back();
        self.solve.back(&mut self.field);
        let Bars { w1, b1, w2, b2, w3, b3 } = self.field.finish_back();
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
