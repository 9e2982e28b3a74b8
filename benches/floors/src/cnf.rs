//! A continuous normalising flow of 512 samples by Tsit5: `dx/dt = v(t, x)` and `dℓ/dt = -tr ∂v/∂x` with
//! `v = tanh(tanh([x, t] W₁ + b₁) W₂ + b₂) W₃ + b₃`; the loss is the mean of `ℓ(1) - ln N(x(1); 0, I)`. A
//! state is three rows of samples. The field is `cnf_field`.

use crate::Floor;
use crate::cnf_field::{Bars, Network, SAMPLES};
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::rk::{Method, Solve};
use crate::simd;
use crate::tableau::tsit5;

struct Cnf {
    inputs: [Vec<f32>; 6],
    start: Vec<f32>,
    field: Network,
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
        field: Network::new(),
        solve: Solve::new(method, control, data.f64s("ts"), 3 * SAMPLES),
    })
}

impl Floor for Cnf {
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

impl Cnf {
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
