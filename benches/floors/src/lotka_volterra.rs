//! `x' = a x - b x y`, `y' = -c y + d x y`, by Tsit5.
//!
//! On the way there each step waits for the one before: the state is a pair in a register, and all that
//! does not need the newest slope is added before it is there. The way back is linear, so eight steps at a
//! time find in eight lanes how they take a cotangent of their end to one of their start and to one of
//! the parameters; what each step then waits for is a product with a matrix of two rows.

use std::arch::x86_64::*;

use crate::Floor;
use crate::control::{Control, Steps};
use crate::data::Data;
use crate::simd::{self, F64x8, Vector, add, fma, fnma, mul, set, sub};
use crate::tableau::tsit5::{A, ERROR, WEIGHTS};

/// What eight steps left: a row for each stage, in lanes the steps, but for `from_saves`.
#[derive(Clone, Copy)]
struct Eight {
    /// The stages, with the end of the step as the seventh.
    x: [[f64; 8]; 7],
    y: [[f64; 8]; 7],
    h: [f64; 8],
    /// For each step the cotangents of its seven slopes and of its start, from the states that were
    /// interpolated in it.
    x_from_saves: [F64x8; 8],
    y_from_saves: [F64x8; 8],
}

struct LotkaVolterra {
    p: [f64; 4],
    y0: [f64; 2],
    ts: Vec<f64>,
    target: Vec<f64>,
    control: Control,
    power: Power,
    eights: Vec<Eight>,
    steps: Steps,
    p_bar: [f64; 4],
    y0_bar: [f64; 2],
    /// The cotangent of the first state by itself.
    first: [f64; 2],
}

pub fn new(data: &Data, rtol: Option<f64>) -> Box<dyn Floor> {
    let control = Control::new(1e-8, 1e-8).with_rtol(rtol);
    Box::new(LotkaVolterra {
        p: data.f64s("p").try_into().expect("four"),
        y0: data.f64s("y0").try_into().expect("two"),
        ts: data.f64s("ts"),
        target: data.f64s("target"),
        control,
        power: Power::new(control.safety),
        eights: Vec::new(),
        steps: Steps::default(),
        p_bar: [0.0; 4],
        y0_bar: [0.0; 2],
        first: [0.0; 2],
    })
}

impl Floor for LotkaVolterra {
    fn forward(&mut self) -> f64 {
        // SAFETY: `simd` is compiled for processors with this instruction alone.
        unsafe { self.there() }
    }

    fn backward(&mut self) {
        self.back()
    }

    fn gradients(&self) -> Vec<Vec<f64>> {
        vec![self.p_bar.to_vec(), self.y0_bar.to_vec()]
    }

    fn steps(&self) -> Steps {
        self.steps
    }
}

/// `safety · (x / 2)^(-1/10)` from tables of the power of the exponent and of the first eight bits of the
/// mantissa, and a series in the rest, to nine digits: a quarter of the time of logarithm and exponential,
/// and each step waits for it.
struct Power {
    of_exponent: [f64; 2048],
    /// The middle of an interval of mantissas, inverted, and its power.
    of_mantissa: [(f64, f64); 256],
}

impl Power {
    fn new(safety: f64) -> Power {
        let exponent = |e: usize| safety * (-0.1 * (e as f64 - 1024.0)).exp2();
        let mantissa = |i: usize| {
            let middle = 1.0 + (i as f64 + 0.5) / 256.0;
            (1.0 / middle, middle.powf(-0.1))
        };
        Power {
            of_exponent: std::array::from_fn(exponent),
            of_mantissa: std::array::from_fn(mantissa),
        }
    }

    /// For positive normal numbers.
    #[inline]
    #[target_feature(enable = "fma")]
    fn of(&self, x: f64) -> f64 {
        let bits = x.to_bits();
        let (inverse, power) = self.of_mantissa[(bits >> 44) as usize & 255];
        let mantissa = f64::from_bits(bits & ((1 << 52) - 1) | 1.0f64.to_bits());
        let r = mantissa.mul_add(inverse, -1.0);
        // The binomial series; |r| < 1/512.
        let series = r.mul_add(r.mul_add(0.055, -0.1), 1.0);
        self.of_exponent[(bits >> 52) as usize & 2047] * power * series
    }
}

impl LotkaVolterra {
    #[target_feature(enable = "fma")]
    fn there(&mut self) -> f64 {
        let [a, b, c, d] = self.p;
        let (rates, cross) = (_mm_setr_pd(a, -c), _mm_setr_pd(-b, d));
        let field = |v| {
            let swapped = _mm_shuffle_pd::<1>(v, v);
            _mm_mul_pd(v, _mm_fmadd_pd(swapped, cross, rates))
        };
        let set = |x: f64| _mm_set1_pd(x);
        let absolute = |x| _mm_andnot_pd(_mm_set1_pd(-0.0), x);
        let control = self.control;
        let (rtol, atol) = (set(control.rtol), set(control.atol));
        let square = |e, size| {
            let ratio = _mm_div_pd(e, _mm_fmadd_pd(rtol, size, atol));
            let square = _mm_mul_pd(ratio, ratio);
            0.5 * _mm_cvtsd_f64(_mm_add_sd(square, _mm_shuffle_pd::<1>(square, square)))
        };
        self.steps = Steps { accepted: 0, rejected: 0, f_evals: 2 };

        let mut v = _mm_setr_pd(self.y0[0], self.y0[1]);
        let mut k1 = field(v);
        let (mut t, end) = (self.ts[0], self.ts[self.ts.len() - 1]);
        let mut h = {
            let span = end - t;
            let (d0, d1) = (square(v, absolute(v)).sqrt(), square(k1, absolute(v)).sqrt());
            let guess = Control::first_guess(d0, d1, span);
            let probed = field(_mm_fmadd_pd(set(guess), k1, v));
            let d2 = square(_mm_sub_pd(probed, k1), absolute(v)).sqrt() / guess;
            Control::first_step(guess, d1, d2, span)
        };
        let residual = |v, i: usize| {
            let [x, y] = [0, 1].map(|j| self.target[2 * i + j]);
            _mm_sub_pd(v, _mm_setr_pd(x, y))
        };
        let error = residual(v, 0);
        let mut loss = _mm_mul_pd(error, error);
        self.first = simd::pair(_mm_add_pd(error, error));
        let (mut save, mut rejected) = (1, false);

        while t < end {
            // What `clip` does, without waiting for the rounding of the time.
            let last = 1.01 * h >= end - t;
            let (size, next) = if last { (end - t, end) } else { (h, t + h) };
            let step = set(size);
            // The newest slope last: the rest waits for nothing.
            let stage = |i: usize, k: &[__m128d]| {
                let (newest, rest) = k.split_last().expect("a slope");
                if rest.is_empty() {
                    return _mm_fmadd_pd(step, _mm_mul_pd(set(A[i][0]), *newest), v);
                }
                let mut sum = None;
                for (k, &a) in rest.iter().zip(&A[i]) {
                    sum = Some(match sum {
                        None => _mm_mul_pd(set(a), *k),
                        Some(sum) => _mm_fmadd_pd(set(a), *k, sum),
                    });
                }
                let base = sum.map_or(v, |sum| _mm_fmadd_pd(step, sum, v));
                _mm_fmadd_pd(_mm_mul_pd(step, set(A[i][rest.len()])), *newest, base)
            };
            let v2 = stage(1, &[k1]);
            let k2 = field(v2);
            let v3 = stage(2, &[k1, k2]);
            let k3 = field(v3);
            let v4 = stage(3, &[k1, k2, k3]);
            let k4 = field(v4);
            let v5 = stage(4, &[k1, k2, k3, k4]);
            let k5 = field(v5);
            let v6 = stage(5, &[k1, k2, k3, k4, k5]);
            let k6 = field(v6);
            let v7 = stage(6, &[k1, k2, k3, k4, k5, k6]);
            let k7 = field(v7);
            self.steps.f_evals += 6;

            let k = [k1, k2, k3, k4, k5, k6];
            let mut e = _mm_mul_pd(set(ERROR[0]), k1);
            for i in 1..6 {
                e = _mm_fmadd_pd(set(ERROR[i]), k[i], e);
            }
            let sizes = _mm_max_pd(absolute(v), absolute(v7));
            let weight = _mm_div_pd(step, _mm_fmadd_pd(rtol, sizes, atol));
            let e = _mm_mul_pd(_mm_fmadd_pd(set(ERROR[6]), k7, e), weight);
            let squares = _mm_mul_pd(e, e);
            let twice = _mm_cvtsd_f64(_mm_add_sd(squares, _mm_shuffle_pd::<1>(squares, squares)));
            let factor = self.power.of(twice);
            if twice.is_nan() || twice > 2.0 {
                self.steps.rejected += 1;
                h = size * if twice.is_finite() { factor.clamp(0.2, 0.9) } else { 0.2 };
                rejected = true;
                continue;
            }
            // A branch that is foreseen takes no time.
            let most = if rejected { 1.0 } else { 10.0 };
            h = if (0.2..=most).contains(&factor) {
                size * factor
            } else {
                size * factor.clamp(0.2, most)
            };
            rejected = false;

            let (eight, lane) = (self.steps.accepted / 8, self.steps.accepted % 8);
            if eight == self.eights.len() {
                let zero = simd::set(0.0);
                self.eights.push(Eight {
                    x: [[0.0; 8]; 7],
                    y: [[0.0; 8]; 7],
                    h: [0.0; 8],
                    x_from_saves: [zero; 8],
                    y_from_saves: [zero; 8],
                });
            }
            let kept = &mut self.eights[eight];
            for (i, v) in [v, v2, v3, v4, v5, v6, v7].into_iter().enumerate() {
                kept.x[i][lane] = _mm_cvtsd_f64(v);
                kept.y[i][lane] = _mm_cvtsd_f64(_mm_unpackhi_pd(v, v));
            }
            kept.h[lane] = size;
            let (mut x_bar, mut y_bar) = (simd::set(0.0), simd::set(0.0));
            while save < self.ts.len() && self.ts[save] <= next {
                let theta = (self.ts[save] - t) / size;
                let weights = simd::weights(&WEIGHTS, theta);
                let sum = simd::sum_of_pairs(weights, [k1, k2, k3, k4, k5, k6, k7]);
                let error = residual(_mm_fmadd_pd(step, sum, v), save);
                loss = _mm_fmadd_pd(error, error, loss);
                let bar = _mm_add_pd(error, error);
                // The eighth lane is the start of the step itself.
                let weights = mul(weights, simd::set(size)).with_eighth(1.0);
                let [x, y] = simd::pair(bar).map(simd::set);
                x_bar = fma(weights, x, x_bar);
                y_bar = fma(weights, y, y_bar);
                save += 1;
            }
            kept.x_from_saves[lane] = x_bar;
            kept.y_from_saves[lane] = y_bar;
            self.steps.accepted += 1;
            (v, k1, t) = (v7, k7, next);
        }
        let [x, y] = simd::pair(loss);
        x + y
    }

    fn back(&mut self) {
        let [a, b, c, d] = self.p;
        let set = |x: f64| set(x);
        let zero = set(0.0);
        let mut p_bar = [zero; 4];
        let (mut x_bar, mut y_bar) = (0.0, 0.0);
        let count = self.steps.accepted.div_ceil(8);
        for (n, eight) in self.eights[..count].iter_mut().enumerate().rev() {
            let used = (self.steps.accepted - 8 * n).min(8);
            for lane in used..8 {
                // Steps that were not taken change nothing.
                eight.h[lane] = 0.0;
                (eight.x_from_saves[lane], eight.y_from_saves[lane]) = (zero, zero);
            }
            let (xs, ys) = (eight.x.map(|x| F64x8::load(&x)), eight.y.map(|y| F64x8::load(&y)));
            let h = F64x8::load(&eight.h);
            let given_x = simd::transpose(eight.x_from_saves);
            let given_y = simd::transpose(eight.y_from_saves);
            // The cotangent of a stage from that of its slope, and what it adds to the parameters.
            let field = |i: usize, kx, ky, p: &mut [F64x8; 4]| {
                let (x, y) = (xs[i], ys[i]);
                let (tx, ty) = (mul(kx, x), mul(ky, y));
                p[0] = add(p[0], tx);
                p[1] = fnma(tx, y, p[1]);
                p[2] = sub(p[2], ty);
                p[3] = fma(ty, x, p[3]);
                let gx = fnma(set(b), y, set(a));
                let gy = sub(mul(set(d), x), set(c));
                let vx = fma(set(d), ty, mul(kx, gx));
                let vy = fnma(set(b), tx, mul(ky, gy));
                (vx, vy)
            };
            // From the cotangent of the end to that of the start.
            let step = |lx, ly, own: bool, p: &mut [F64x8; 4]| {
                let (mut lx, mut ly) = (lx, ly);
                if own {
                    let (vx, vy) = field(6, given_x[6], given_y[6], p);
                    lx = add(lx, vx);
                    ly = add(ly, vy);
                }
                let (mut vx, mut vy) = ([zero; 6], [zero; 6]);
                let (mut sum_x, mut sum_y) = (lx, ly);
                for i in (0..6).rev() {
                    let (mut kx, mut ky) = (mul(set(A[6][i]), lx), mul(set(A[6][i]), ly));
                    for j in (i + 1..6).rev() {
                        kx = fma(set(A[j][i]), vx[j], kx);
                        ky = fma(set(A[j][i]), vy[j], ky);
                    }
                    (kx, ky) = if own {
                        (fma(h, kx, given_x[i]), fma(h, ky, given_y[i]))
                    } else {
                        (mul(h, kx), mul(h, ky))
                    };
                    (vx[i], vy[i]) = field(i, kx, ky, p);
                    sum_x = add(sum_x, vx[i]);
                    sum_y = add(sum_y, vy[i]);
                }
                if own { (add(sum_x, given_x[7]), add(sum_y, given_y[7])) } else { (sum_x, sum_y) }
            };
            let (mut p_x, mut p_y) = ([zero; 4], [zero; 4]);
            let of_x = step(set(1.0), zero, false, &mut p_x);
            let of_y = step(zero, set(1.0), false, &mut p_y);
            let own = step(zero, zero, true, &mut p_bar);
            let [xx, xy] = [of_x.0, of_x.1].map(|v| v.array());
            let [yx, yy] = [of_y.0, of_y.1].map(|v| v.array());
            let [cx, cy] = [own.0, own.1].map(|v| v.array());
            let (mut at_x, mut at_y) = ([0.0; 8], [0.0; 8]);
            for i in (0..used).rev() {
                (at_x[i], at_y[i]) = (x_bar, y_bar);
                let x = yx[i].mul_add(y_bar, xx[i].mul_add(x_bar, cx[i]));
                y_bar = xy[i].mul_add(x_bar, yy[i].mul_add(y_bar, cy[i]));
                x_bar = x;
            }
            let (at_x, at_y) = (F64x8::load(&at_x), F64x8::load(&at_y));
            for i in 0..4 {
                p_bar[i] = fma(p_x[i], at_x, p_bar[i]);
                p_bar[i] = fma(p_y[i], at_y, p_bar[i]);
            }
        }
        self.p_bar = p_bar.map(F64x8::sum);
        self.y0_bar = [x_bar + self.first[0], y_bar + self.first[1]];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_have_nine_digits() {
        if !is_x86_feature_detected!("fma") {
            return;
        }
        let power = Power::new(0.9);
        for i in 0..100_000 {
            let x = (f64::from(i) * 1e-3 - 60.0).exp();
            // SAFETY: the processor has this instruction.
            let found = unsafe { power.of(x) };
            assert!((found / (0.9 * (0.5 * x).powf(-0.1)) - 1.0).abs() < 1e-9, "{x:e}: {found}");
        }
    }
}
