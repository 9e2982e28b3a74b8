//! `dy/dt = tanh(y³ W₁ + b₁) W₂ + b₂` of 20 samples, by Dopri5 with the peers' error weights.
//!
//! The samples run along the lanes. Two hidden units have 40 numbers, which are five vectors: samples 0 to
//! 7, 8 to 15, 16 to 19 of the first and 0 to 3 of the second, 4 to 11, 12 to 19. A state is two rows of
//! samples, so five vectors as well.

use crate::Floor;
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::rk::{Field, Method, Solve};
use crate::simd::{F64x8, Tanh, Vector, add, fma, fnma, mul, set};
use crate::tableau::dopri5;

const SAMPLES: usize = 20;
const PAIRS: usize = 25;

/// What belongs to two hidden units: a number for each of the lanes of the five vectors.
#[derive(Clone, Copy)]
struct Weights {
    /// Of the first unit, of the middle vector, and of the second unit.
    w1: [[F64x8; 3]; 2],
    b1: [F64x8; 3],
    w2: [[F64x8; 3]; 2],
}

struct Network {
    weights: Vec<Weights>,
    b2: [f64; 2],
    tanh: Tanh,
    /// The state and the hidden units of each evaluation.
    states: Vec<[f64; 2 * SAMPLES]>,
    hidden: Vec<[F64x8; 5 * PAIRS]>,
    /// For each unit the sums over the samples of b1, both of w1 and both of w2, still in lanes.
    bars: Vec<[[F64x8; 5]; 2]>,
    b2_bars: [f64; 2 * SAMPLES],
}

struct Spiral {
    w1: Vec<f64>,
    b1: Vec<f64>,
    w2: Vec<f64>,
    y0: [f64; 2 * SAMPLES],
    targets: Vec<[f64; 2 * SAMPLES]>,
    network: Network,
    solve: Solve<f64>,
    gradients: Vec<Vec<f64>>,
}

/// Samples in rows to components in rows.
fn by_component(y: &[f64]) -> [f64; 2 * SAMPLES] {
    std::array::from_fn(|i| y[2 * (i % SAMPLES) + i / SAMPLES])
}

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    let ts = data.f64s("ts");
    let target = data.f64s("target");
    let method =
        Method { a: &dopri5::A, c: &dopri5::C, error: &dopri5::ERROR, weights: &dopri5::WEIGHTS };
    let control = Control::new(1e-7, 1e-9).with_rtol(rtol);
    let network = Network::new(data.f64s("b2").try_into().expect("two"));
    Box::new(Spiral {
        w1: data.f64s("w1"),
        b1: data.f64s("b1"),
        w2: data.f64s("w2"),
        y0: by_component(&data.f64s("y0")),
        targets: target.chunks_exact(2 * SAMPLES).map(by_component).collect(),
        network,
        solve: Solve::new(method, control, ts, 2 * SAMPLES),
        gradients: Vec::new(),
    })
}

impl Floor for Spiral {
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

impl Spiral {
    fn there(&mut self) -> f64 {
        let Spiral { w1, b1, w2, .. } = self;
        for (pair, weights) in self.network.weights.iter_mut().enumerate() {
            let lanes = |first: f64, second: f64| {
                let (a, b): (F64x8, F64x8) = (set(first), set(second));
                [a, a.middle(b), b]
            };
            let (j, units) = (2 * pair, 2 * PAIRS);
            weights.b1 = lanes(b1[j], b1[j + 1]);
            for c in 0..2 {
                weights.w1[c] = lanes(w1[c * units + j], w1[c * units + j + 1]);
                weights.w2[c] = lanes(w2[2 * j + c], w2[2 * j + 2 + c]);
            }
        }
        let scale = 1.0 / (self.targets.len() * 2 * SAMPLES) as f64;
        let mut loss = 0.0;
        let targets = &self.targets;
        self.solve.there(&mut self.network, &self.y0, |i, y, bar| {
            let mut sums = [0.0; 8];
            let all = bar.as_chunks_mut::<8>().0.iter_mut().zip(y.as_chunks::<8>().0);
            for ((bar, y), target) in all.zip(targets[i].as_chunks::<8>().0) {
                for l in 0..8 {
                    let e = y[l] - target[l];
                    sums[l] += e.abs();
                    bar[l] = if e == 0.0 { 0.0 } else { scale.copysign(e) };
                }
            }
            loss += sums.iter().sum::<f64>();
        });
        loss * scale
    }

    fn back(&mut self) {
        let network = &mut self.network;
        network.bars.fill([[set(0.0); 5]; 2]);
        network.b2_bars.fill(0.0);
        self.solve.back(network);
        let units = 2 * PAIRS;
        let sizes = [2 * units, units, 2 * units, 2, 2 * SAMPLES];
        if self.gradients.is_empty() {
            self.gradients = sizes.map(|n| vec![0.0; n]).to_vec();
        }
        let [w1, b1, w2, b2, y0] = &mut self.gradients[..] else { unreachable!("five inputs") };
        for (j, bars) in network.bars.iter().flatten().enumerate() {
            let [b, w1x, w1y, w2x, w2y] = bars.map(F64x8::sum);
            b1[j] = b;
            (w1[j], w1[units + j]) = (w1x, w1y);
            (w2[2 * j], w2[2 * j + 1]) = (w2x, w2y);
        }
        for (c, bars) in network.b2_bars.chunks_exact(SAMPLES).enumerate() {
            b2[c] = bars.iter().sum();
        }
        for (i, bar) in self.solve.start_bar.iter().enumerate() {
            y0[2 * (i % SAMPLES) + i / SAMPLES] = *bar;
        }
    }
}

/// The five vectors of two rows that are the same.
#[inline]
fn spread(row: &[f64]) -> [F64x8; 5] {
    let at = |i: usize| F64x8::load(row[i..i + 8].try_into().expect("eight"));
    let (first, last) = (at(0), at(12));
    [first, at(8), last.middle(first), at(4), last]
}

/// The sum of both rows of five vectors.
#[inline]
fn fold(v: [F64x8; 5], row: &mut [f64]) {
    let low = add(v[0], v[2].middle(v[3]));
    let middle = add(v[1], v[3].middle(v[4]));
    let high = add(v[2].middle(v[2]), v[4]);
    row[..8].copy_from_slice(&low.array());
    row[8..16].copy_from_slice(&middle.array());
    row[16..].copy_from_slice(&high.array()[4..]);
}

impl Network {
    fn new(b2: [f64; 2]) -> Network {
        let zero = set(0.0);
        let none = Weights { w1: [[zero; 3]; 2], b1: [zero; 3], w2: [[zero; 3]; 2] };
        Network {
            weights: vec![none; PAIRS],
            b2,
            tanh: Tanh::new(),
            states: Vec::new(),
            hidden: Vec::new(),
            bars: vec![[[zero; 5]; 2]; PAIRS],
            b2_bars: [0.0; 2 * SAMPLES],
        }
    }

    #[inline]
    fn slope(&mut self, n: usize, y: &[f64; 2 * SAMPLES], k: &mut [f64]) {
        if n >= self.hidden.len() {
            self.hidden.resize(n + 1, [set(0.0); 5 * PAIRS]);
            self.states.resize(n + 1, [0.0; 2 * SAMPLES]);
        }
        self.states[n] = *y;
        let cubes = y.map(|y| y * y * y);
        let (rows, _) = cubes.as_chunks::<SAMPLES>();
        let (a, b) = (spread(&rows[0]), spread(&rows[1]));
        let hidden = &mut self.hidden[n];
        let units = hidden.as_chunks_mut::<5>().0;
        // Which of the weights a vector takes.
        const OF: [usize; 5] = [0, 0, 1, 2, 2];
        for (units, w) in units.iter_mut().zip(&self.weights) {
            for i in 0..5 {
                let sum = fma(b[i], w.w1[1][OF[i]], w.b1[OF[i]]);
                units[i] = self.tanh.of(fma(a[i], w.w1[0][OF[i]], sum));
            }
        }
        let mut sums = [[set(0.0); 5]; 2];
        for c in 0..2 {
            // The bias counts once.
            let (b2, none): (F64x8, F64x8) = (set(self.b2[c]), set(0.0));
            sums[c] = [b2, b2, b2.middle(none), none, none];
        }
        for (units, w) in units.iter().zip(&self.weights) {
            for c in 0..2 {
                for i in 0..5 {
                    sums[c][i] = fma(units[i], w.w2[c][OF[i]], sums[c][i]);
                }
            }
        }
        fold(sums[0], &mut k[..SAMPLES]);
        fold(sums[1], &mut k[SAMPLES..]);
    }

    #[inline]
    fn back(&mut self, n: usize, k_bar: &[f64], y_bar: &mut [f64]) {
        let y = &self.states[n];
        let cubes = y.map(|y| y * y * y);
        let (rows, _) = cubes.as_chunks::<SAMPLES>();
        let y3 = [spread(&rows[0]), spread(&rows[1])];
        let k = [spread(&k_bar[..SAMPLES]), spread(&k_bar[SAMPLES..])];
        let (zero, one) = (set(0.0), set(1.0));
        let mut y3_bars = [[zero; 5]; 2];
        let units = self.hidden[n].as_chunks::<5>().0;
        for ((u, w), bars) in units.iter().zip(&self.weights).zip(&mut self.bars) {
            const OF: [usize; 5] = [0, 0, 1, 2, 2];
            let mut z = [zero; 5];
            for i in 0..5 {
                let u_bar = mul(w.w2[0][OF[i]], k[0][i]);
                let u_bar = fma(w.w2[1][OF[i]], k[1][i], u_bar);
                z[i] = mul(u_bar, fnma(u[i], u[i], one));
                for c in 0..2 {
                    y3_bars[c][i] = fma(w.w1[c][OF[i]], z[i], y3_bars[c][i]);
                }
            }
            let [first, second] = bars;
            first[0] = add(first[0], add(z[0], z[1]));
            first[0] = z[2].fma_first(one, first[0]);
            second[0] = add(second[0], add(z[3], z[4]));
            second[0] = z[2].fma_last(one, second[0]);
            let mut product = |to: usize, a: &[F64x8; 5], b: &[F64x8; 5]| {
                let sum = fma(a[0], b[0], fma(a[1], b[1], first[to]));
                first[to] = a[2].fma_first(b[2], sum);
                let sum = fma(a[4], b[4], fma(a[3], b[3], second[to]));
                second[to] = a[2].fma_last(b[2], sum);
            };
            product(1, &z, &y3[0]);
            product(2, &z, &y3[1]);
            product(3, u, &k[0]);
            product(4, u, &k[1]);
        }
        fold(y3_bars[0], &mut y_bar[..SAMPLES]);
        fold(y3_bars[1], &mut y_bar[SAMPLES..]);
        for (y_bar, y) in y_bar.iter_mut().zip(y) {
            *y_bar *= 3.0 * y * y;
        }
        for (sum, k) in self.b2_bars.iter_mut().zip(k_bar) {
            *sum += k;
        }
    }
}

impl Field<f64> for Network {
    fn eval(&mut self, n: usize, _: f64, y: &[f64], k: &mut [f64]) {
        self.slope(n, y.try_into().expect("all samples"), k)
    }

    fn vjp(&mut self, n: usize, k_bar: &[f64], y_bar: &mut [f64]) {
        self.back(n, k_bar, y_bar)
    }
}
