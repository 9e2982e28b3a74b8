//! `x' = -k1 x + k3 y z`, `y' = k1 x - k2 y² - k3 y z`, `z' = k2 y²`, by Kvaerno5, whose steps end at
//! the times that are asked for. The stages by simplified Newton iterations to rounding, with the
//! inverse of the matrix of three rows.
//!
//! On the way back each stage is a product with a matrix that the way there alone decides: those of
//! the six stages of a step are found in six lanes before, and the gradient of `k` after.

use crate::Floor;
use crate::control::{Control, Steps, clip};
use crate::data::Data;
use crate::simd::{F64x8, Vector, add, fma, fnma, mul, set, sub};
use crate::tableau::kvaerno5::{A, ERROR, G, GUESS};

/// The error of an iteration that is rounding, and one that may be.
const LIMIT: f64 = 32.0 * f64::EPSILON;
const FLOOR: f64 = 1e4 * f64::EPSILON;
const SCALE: [f64; 3] = [1.0, 1e4, 1.0];

/// What a step leaves: its stages in lanes, the last one the end, and the cotangent of the end by itself.
#[derive(Clone, Copy)]
struct Kept {
    states: [[f64; 8]; 3],
    h: f64,
    bar: [f64; 3],
}

/// What the way back takes of a step: in lanes the stages.
#[derive(Clone, Copy)]
struct Back {
    /// `(I - hγ Jᵀ)⁻¹`, and `Jᵀ` times that.
    inverse: [[F64x8; 3]; 3],
    matrix: [[[f64; 8]; 3]; 3],
    /// The cotangents of the slopes.
    k_bars: [[f64; 8]; 3],
}

struct Robertson {
    k: [f64; 3],
    y0: [f64; 3],
    ts: Vec<f64>,
    target: Vec<[f64; 3]>,
    control: Control,
    kept: Vec<Kept>,
    backs: Vec<Back>,
    steps: Steps,
    k_bar: [f64; 3],
}

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    let three = |name| data.f64s(name).try_into().expect("three");
    Box::new(Robertson {
        k: three("k"),
        y0: three("y0"),
        ts: data.f64s("ts"),
        target: data.f64s("target").as_chunks().0.to_vec(),
        control: Control { safety: 0.7, ..Control::new(1e-8, 1e-10).with_rtol(rtol) },
        kept: Vec::new(),
        backs: Vec::new(),
        steps: Steps::default(),
        k_bar: [0.0; 3],
    })
}

impl Floor for Robertson {
    fn forward(&mut self) -> f64 {
        self.there()
    }

    fn backward(&mut self) {
        self.back()
    }

    fn gradients(&self) -> Vec<Vec<f64>> {
        vec![self.k_bar.to_vec()]
    }

    fn steps(&self) -> Steps {
        self.steps
    }
}

/// The end of a step of about `h`: it meets the next time, or makes two equal steps of the rest.
#[inline]
fn until(t: f64, h: f64, stop: f64, end: f64) -> f64 {
    let left = stop - t;
    if stop == end {
        clip(t, h, end)
    } else if 1.01 * h >= left {
        stop
    } else if 2.0 * h > left {
        t + 0.5 * left
    } else {
        t + h
    }
}

type Matrix = [[f64; 3]; 3];

/// The iterations of the stages of a step.
struct Newton {
    k: [f64; 3],
    hg: f64,
    /// `(I - hγ J)⁻¹`.
    inverse: Matrix,
    /// How updates are measured.
    weights: [f64; 3],
    evaluations: usize,
}

impl Newton {
    #[inline]
    fn prepare(&mut self, y: &[f64; 3]) {
        let [k1, k2, k3] = self.k.map(|k| self.hg * k);
        let (b, c, d) = (k3 * y[1], k3 * y[2], 2.0 * k2 * y[1]);
        // I - hγ J, whose columns add up to 1.
        let m = [[1.0 + k1, -c, -b], [-k1, 1.0 + d + c, b], [0.0, -d, 1.0]];
        let cofactor = |r: usize, s: usize| {
            let (r1, r2, s1, s2) = ((r + 1) % 3, (r + 2) % 3, (s + 1) % 3, (s + 2) % 3);
            m[r1][s1].mul_add(m[r2][s2], -(m[r1][s2] * m[r2][s1]))
        };
        let cofactors: Matrix = std::array::from_fn(|r| std::array::from_fn(|s| cofactor(r, s)));
        let determinant = m[0][1].mul_add(cofactors[0][1], m[0][0] * cofactors[0][0]);
        let over = 1.0 / m[0][2].mul_add(cofactors[0][2], determinant);
        self.inverse = std::array::from_fn(|r| std::array::from_fn(|s| cofactors[s][r] * over));
    }

    /// The stage with the state `base + hγ f`, from a guess. Returns whether it was found.
    #[inline]
    fn stage(&mut self, base: [f64; 3], y: &mut [f64; 3]) -> bool {
        let [k1, k2, k3] = self.k.map(|k| self.hg * k);
        for refreshes in 0..=3 {
            let mut last = f64::INFINITY;
            for iteration in 0..12 {
                self.evaluations += 1;
                let [x, y1, z] = *y;
                let (yz, yy) = (y1 * z, y1 * y1);
                // base + hγ f - y
                let a = k1.mul_add(-x, base[0] - x);
                let b = k1.mul_add(x, base[1] - y1);
                let r = [
                    k3.mul_add(yz, a),
                    k3.mul_add(-yz, k2.mul_add(-yy, b)),
                    k2.mul_add(yy, base[2] - z),
                ];
                let mut sum = 0.0;
                for i in 0..3 {
                    let m = &self.inverse[i];
                    // The second residual is there last.
                    let update = m[1].mul_add(r[1], m[0].mul_add(r[0], m[2] * r[2]));
                    y[i] += update;
                    let scaled = update * self.weights[i];
                    sum = scaled.mul_add(scaled, sum);
                }
                let size = (sum * (1.0 / 3.0)).sqrt();
                if iteration == 0 {
                    if size <= LIMIT {
                        return true;
                    }
                } else {
                    // The error after this update is rate / (1 - rate) times it.
                    if size * size <= LIMIT * (last - size) || size > 0.3 * last && size <= FLOOR {
                        return true;
                    }
                    let rate = size / last;
                    if size.is_nan() || rate >= 1.0 || size * rate.powi(5) > LIMIT {
                        break;
                    }
                }
                last = size;
            }
            if refreshes < 3 {
                let at = *y;
                self.prepare(&at);
            }
        }
        false
    }
}

impl Robertson {
    fn there(&mut self) -> f64 {
        let control = self.control;
        let [k1, k2, k3] = self.k;
        let field = |y: &[f64; 3]| {
            let (a, b, c) = (k1 * y[0], k2 * y[1] * y[1], k3 * y[1] * y[2]);
            [c - a, a - b - c, b]
        };
        let square = |e: &[f64; 3], a: &[f64; 3], b: &[f64; 3]| {
            let mut sum = 0.0;
            for i in 0..3 {
                let ratio = e[i] / (control.atol + control.rtol * a[i].abs().max(b[i].abs()));
                sum += ratio * ratio;
            }
            sum * (1.0 / 3.0)
        };
        let mut loss = 0.0;
        let mut observe = |y: &[f64; 3], target: &[f64; 3]| {
            let mut bar = [0.0; 3];
            for i in 0..3 {
                let e = SCALE[i] * (y[i] - target[i]);
                loss += e * e;
                bar[i] = 2.0 * SCALE[i] * e;
            }
            bar
        };
        let (mut t, end) = (self.ts[0], self.ts[self.ts.len() - 1]);
        let mut y = self.y0;
        observe(&y, &self.target[0]);
        let mut slope = field(&y);
        let mut h = {
            let span = end - t;
            let (d0, d1) = (square(&y, &y, &y).sqrt(), square(&slope, &y, &y).sqrt());
            let guess = Control::first_guess(d0, d1, span);
            let probed = field(&std::array::from_fn(|i| guess.mul_add(slope[i], y[i])));
            let difference = std::array::from_fn(|i| probed[i] - slope[i]);
            Control::first_step(guess, d1, square(&difference, &y, &y).sqrt() / guess, span)
        };
        let mut newton = Newton {
            k: self.k,
            hg: 0.0,
            inverse: [[0.0; 3]; 3],
            weights: [0.0; 3],
            evaluations: 2,
        };
        self.steps = Steps::default();
        self.kept.clear();
        let (mut at, mut rejected) = (1, false);
        while t < end {
            let next = until(t, h, self.ts[at], end);
            let size = next - t;
            newton.hg = size * G;
            newton.prepare(&y);
            newton.weights = y.map(|y| 1.0 / (y.abs() + control.atol / control.rtol));
            // The slopes times the step.
            let mut z = [[0.0; 3]; 7];
            z[0] = slope.map(|k| size * k);
            let mut states = [[0.0; 8]; 3];
            let mut state = y;
            let mut found = true;
            for i in 1..7 {
                let (mut base, mut guess) = (y, y);
                for j in 0..i {
                    for c in 0..3 {
                        base[c] = A[i][j].mul_add(z[j][c], base[c]);
                        guess[c] = (A[i][j] + G * GUESS[i][j]).mul_add(z[j][c], guess[c]);
                    }
                }
                state = guess;
                found = found && newton.stage(base, &mut state);
                for c in 0..3 {
                    z[i][c] = (state[c] - base[c]) * (1.0 / G);
                    states[c][i - 1] = state[c];
                }
            }
            let mut e = [0.0; 3];
            for i in 0..7 {
                for c in 0..3 {
                    e[c] = ERROR[i].mul_add(z[i][c], e[c]);
                }
            }
            let square = if found { square(&e, &y, &state) } else { f64::NAN };
            if square.is_nan() || square > 1.0 {
                self.steps.rejected += 1;
                rejected = true;
                // A quarter where the iteration failed.
                h = size * if found { control.shorter(square) } else { 0.25 };
                continue;
            }
            h = size * control.factor(square, rejected);
            rejected = false;
            let mut bar = [0.0; 3];
            if next == self.ts[at] {
                bar = observe(&state, &self.target[at]);
                at += 1;
            }
            self.kept.push(Kept { states, h: size, bar });
            self.steps.accepted += 1;
            slope = z[6].map(|z| z / size);
            (y, t) = (state, next);
        }
        self.steps.f_evals = newton.evaluations;
        loss
    }

    fn back(&mut self) {
        let zero = set(0.0);
        let none =
            Back { inverse: [[zero; 3]; 3], matrix: [[[0.0; 8]; 3]; 3], k_bars: [[0.0; 8]; 3] };
        if self.backs.len() < self.kept.len() {
            self.backs.resize(self.kept.len(), none);
        }
        for (kept, back) in self.kept.iter().zip(&mut self.backs) {
            matrices(self.k, kept, back);
        }

        // The cotangents of the end, and of the slope there.
        let (mut y_bar, mut k_bar) = ([0.0; 3], [0.0; 3]);
        for (kept, back) in self.kept.iter().zip(&mut self.backs).rev() {
            let mut bars = [[0.0; 3]; 7];
            for c in 0..3 {
                y_bar[c] += kept.bar[c];
                k_bar[c] = (kept.h * G).mul_add(y_bar[c], k_bar[c]);
            }
            for i in (1..7).rev() {
                for c in 0..3 {
                    back.k_bars[c][i - 1] = k_bar[c];
                    let m = |d: usize| back.matrix[c][d][i - 1];
                    bars[i][c] = m(0).mul_add(k_bar[0], m(1).mul_add(k_bar[1], m(2) * k_bar[2]));
                    if i == 6 {
                        bars[i][c] += y_bar[c];
                    }
                }
                for c in 0..3 {
                    // The newest last.
                    let mut sum = 0.0;
                    for j in (i..7).rev() {
                        sum = A[j][i - 1].mul_add(bars[j][c], sum);
                    }
                    k_bar[c] = kept.h * sum;
                }
            }
            for c in 0..3 {
                y_bar[c] = (1..7).rev().map(|i| bars[i][c]).sum();
            }
        }

        // That of the first slope, and the rest in lanes.
        let [x, y, z] = self.y0;
        let k = k_bar;
        self.k_bar = [x * (k[1] - k[0]), y * y * (k[2] - k[1]), y * z * (k[0] - k[1])];
        let mut sums = [zero; 3];
        for (kept, back) in self.kept.iter().zip(&self.backs) {
            let [x, y, z] = [0, 1, 2].map(|c| F64x8::load(&kept.states[c]));
            let k = [0, 1, 2].map(|c| F64x8::load(&back.k_bars[c]));
            let mu = back.inverse.map(|m| {
                let sum = fma(m[1], k[1], mul(m[0], k[0]));
                fma(m[2], k[2], sum)
            });
            sums[0] = fma(x, sub(mu[1], mu[0]), sums[0]);
            let yy = mul(y, y);
            sums[1] = fma(yy, sub(mu[2], mu[1]), sums[1]);
            let yz = mul(y, z);
            sums[2] = fma(yz, sub(mu[0], mu[1]), sums[2]);
        }
        for i in 0..3 {
            self.k_bar[i] += sums[i].sum();
        }
    }
}

/// The matrices of the stages of a step.
#[inline]
fn matrices(k: [f64; 3], kept: &Kept, back: &mut Back) {
    let set = |x: f64| set(x);
    let mul = |a, b| mul(a, b);
    let [y, z] = [1, 2].map(|c| F64x8::load(&kept.states[c]));
    let hg = set(kept.h * G);
    let k1 = set(k[0]);
    let (b, c, d) = (mul(set(k[2]), y), mul(set(k[2]), z), mul(set(2.0 * k[1]), y));
    // J = [[-k1, c, b], [k1, -d - c, -b], [0, d, 0]]; the matrix is the transpose of I - hγ J.
    let (k1h, bh, ch, dh) = (mul(hg, k1), mul(hg, b), mul(hg, c), mul(hg, d));
    let (one, zero) = (set(1.0), set(0.0));
    let minus = |x| sub(zero, x);
    let m = [
        [add(one, k1h), minus(k1h), zero],
        [minus(ch), add(one, add(dh, ch)), minus(dh)],
        [minus(bh), bh, one],
    ];
    let cofactor = |r: usize, s: usize| {
        let (r1, r2, s1, s2) = ((r + 1) % 3, (r + 2) % 3, (s + 1) % 3, (s + 2) % 3);
        fnma(m[r1][s2], m[r2][s1], mul(m[r1][s1], m[r2][s2]))
    };
    let cofactors: [[F64x8; 3]; 3] =
        std::array::from_fn(|r| std::array::from_fn(|s| cofactor(r, s)));
    let determinant = fma(m[0][1], cofactors[0][1], mul(m[0][0], cofactors[0][0]));
    let over = one.over(determinant);
    for s in 0..3 {
        let column: [_; 3] = std::array::from_fn(|r| mul(cofactors[s][r], over));
        let [p, q, r] = column;
        for i in 0..3 {
            back.inverse[i][s] = column[i];
        }
        // Jᵀ times the column.
        let found = [mul(k1, sub(q, p)), fma(c, sub(p, q), mul(d, sub(r, q))), mul(b, sub(p, q))];
        for i in 0..3 {
            back.matrix[i][s] = found[i].array();
        }
    }
}
