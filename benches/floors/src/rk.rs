//! A solve by an explicit method of order 5(4) that is first same as last, and the way back through it.
//! What is done here to states and slopes takes little of the time of the problems that use it.

use std::ops::{Add, Mul};

use crate::control::{Control, Steps, clip, mean_square};

/// A float.
pub trait Real:
    Copy + Default + PartialEq + Into<f64> + Add<Output = Self> + Mul<Output = Self>
{
    fn of(x: f64) -> Self;
    fn mul_add(self, a: Self, b: Self) -> Self;
}

impl Real for f64 {
    fn of(x: f64) -> f64 {
        x
    }
    fn mul_add(self, a: f64, b: f64) -> f64 {
        self.mul_add(a, b)
    }
}

impl Real for f32 {
    fn of(x: f64) -> f32 {
        x as f32
    }
    fn mul_add(self, a: f32, b: f32) -> f32 {
        self.mul_add(a, b)
    }
}

/// A vector field, written by hand.
pub trait Field<T> {
    /// The slope `k` at `y`. What the way back needs is kept as number `n`.
    fn eval(&mut self, n: usize, t: f64, y: &[T], k: &mut [T]);
    /// `y_bar = Jᵀ k_bar` at number `n`; adds to the gradients of the parameters.
    fn vjp(&mut self, n: usize, k_bar: &[T], y_bar: &mut [T]);
}

/// The coefficients of a method: see `tableau`.
pub struct Method {
    pub a: &'static [[f64; 6]; 7],
    pub c: &'static [f64; 7],
    pub error: &'static [f64; 7],
    pub weights: &'static [[f64; 8]; 4],
}

/// A state that was asked for.
struct Save<T> {
    step: usize,
    /// The weights of the slopes, times the step; none at the end of a step.
    weights: Option<[f64; 7]>,
    bar: Vec<T>,
}

pub struct Solve<T> {
    method: Method,
    control: Control,
    ts: Vec<f64>,
    pub steps: Steps,
    /// The sizes of the steps.
    sizes: Vec<f64>,
    saves: Vec<Save<T>>,
    y: Vec<T>,
    next: Vec<T>,
    k: [Vec<T>; 7],
    /// The cotangents of the stages.
    bars: [Vec<T>; 7],
    scratch: Vec<T>,
    /// The cotangent of the first state, after the way back.
    pub start_bar: Vec<T>,
}

impl<T: Real> Solve<T> {
    pub fn new(method: Method, control: Control, ts: Vec<f64>, n: usize) -> Solve<T> {
        let zeros = || vec![T::default(); n];
        Solve {
            method,
            control,
            saves: ts.iter().map(|_| Save { step: 0, weights: None, bar: zeros() }).collect(),
            ts,
            steps: Steps::default(),
            sizes: Vec::new(),
            y: zeros(),
            next: zeros(),
            k: std::array::from_fn(|_| zeros()),
            bars: std::array::from_fn(|_| zeros()),
            scratch: zeros(),
            start_bar: zeros(),
        }
    }

    /// Solves from `start`; `save` gets the number of a time, the state there, and room for the cotangent
    /// of that state. The slope at the start is number 0 of the field, the stages of step `s` have the
    /// numbers from `6 s + 1` on.
    #[inline]
    pub fn there<F: Field<T>>(
        &mut self,
        field: &mut F,
        start: &[T],
        mut save: impl FnMut(usize, &[T], &mut [T]),
    ) {
        let control = self.control;
        self.steps = Steps { accepted: 0, rejected: 0, f_evals: 2 };
        self.sizes.clear();
        self.y.copy_from_slice(start);
        save(0, &self.y, &mut self.saves[0].bar);
        let (mut t, end) = (self.ts[0], self.ts[self.ts.len() - 1]);
        field.eval(0, t, &self.y, &mut self.k[0]);
        let mut h = {
            let span = end - t;
            let norm = |x: &[T], y: &[T]| mean_square(&control, x, y, y).sqrt();
            let (d0, d1) = (norm(&self.y, &self.y), norm(&self.k[0], &self.y));
            let guess = Control::first_guess(d0, d1, span);
            combine(From::Of(&self.y), &[guess], &self.k, &mut self.next);
            field.eval(1, t + guess, &self.next, &mut self.k[1]);
            combine(From::Zero, &[-1.0, 1.0], &self.k, &mut self.scratch);
            Control::first_step(guess, d1, norm(&self.scratch, &self.y) / guess, span)
        };
        let (mut at, mut rejected) = (1, false);
        while t < end {
            let until = clip(t, h, end);
            let size = until - t;
            for i in 1..7 {
                let weights = self.method.a[i].map(|a| size * a);
                combine(From::Of(&self.y), &weights[..i], &self.k, &mut self.next);
                let n = 6 * self.steps.accepted + i;
                let time =
                    if self.method.c[i] == 1.0 { until } else { t + self.method.c[i] * size };
                field.eval(n, time, &self.next, &mut self.k[i]);
            }
            self.steps.f_evals += 6;
            combine(From::Zero, &self.method.error.map(|e| size * e), &self.k, &mut self.scratch);
            let square = mean_square(&control, &self.scratch, &self.y, &self.next);
            if square.is_nan() || square > 1.0 {
                self.steps.rejected += 1;
                rejected = true;
                h = size * control.shorter(square);
                continue;
            }
            h = size * control.factor(square, rejected);
            rejected = false;
            while at < self.ts.len() && self.ts[at] <= until {
                let kept = &mut self.saves[at];
                kept.step = self.steps.accepted;
                if self.ts[at] == until {
                    kept.weights = None;
                    save(at, &self.next, &mut kept.bar);
                } else {
                    let theta = (self.ts[at] - t) / size;
                    let w = self.method.weights;
                    let weight = |i: usize| {
                        let sum = theta.mul_add(theta.mul_add(w[3][i], w[2][i]), w[1][i]);
                        size * theta * theta.mul_add(sum, w[0][i])
                    };
                    let weights = std::array::from_fn(weight);
                    kept.weights = Some(weights);
                    combine(From::Of(&self.y), &weights, &self.k, &mut self.scratch);
                    save(at, &self.scratch, &mut kept.bar);
                }
                at += 1;
            }
            self.sizes.push(size);
            self.steps.accepted += 1;
            t = until;
            std::mem::swap(&mut self.y, &mut self.next);
            self.k.swap(0, 6);
        }
    }

    /// The way back, from the cotangents that `save` left: the field's parameters get their gradients, and
    /// `start_bar` that of the start.
    #[inline]
    pub fn back<F: Field<T>>(&mut self, field: &mut F) {
        let a = self.method.a;
        // The cotangents of the state after a step, and of the slopes.
        self.y.fill(T::default());
        self.k[0].fill(T::default());
        let mut at = self.ts.len();
        for (s, &size) in self.sizes.iter().enumerate().rev() {
            // The first slope of the next step is the last of this one.
            self.k.swap(0, 6);
            self.k[..6].iter_mut().for_each(|k| k.fill(T::default()));
            self.next.fill(T::default());
            while at > 1 && self.saves[at - 1].step == s {
                at -= 1;
                let Save { weights, bar, .. } = &self.saves[at];
                match weights {
                    None => add(T::of(1.0), bar, &mut self.y),
                    Some(weights) => {
                        add(T::of(1.0), bar, &mut self.next);
                        for (k, &w) in self.k.iter_mut().zip(weights) {
                            if w != 0.0 {
                                add(T::of(w), bar, k);
                            }
                        }
                    }
                }
            }
            field.vjp(6 * s + 6, &self.k[6], &mut self.bars[6]);
            // From here on that of the end itself, which is a stage as well.
            add(T::of(1.0), &self.y, &mut self.bars[6]);
            add(T::of(1.0), &self.bars[6], &mut self.next);
            for i in (0..6).rev() {
                let k = &mut self.k[i];
                let weights: [f64; 6] = std::array::from_fn(|j| size * a[j + 1][i]);
                combine(From::Itself, &weights[i..], &self.bars[i + 1..], k);
                if i > 0 {
                    field.vjp(6 * s + i, k, &mut self.bars[i]);
                    add(T::of(1.0), &self.bars[i], &mut self.next);
                }
            }
            std::mem::swap(&mut self.y, &mut self.next);
        }
        field.vjp(0, &self.k[0], &mut self.start_bar);
        add(T::of(1.0), &self.y, &mut self.start_bar);
        add(T::of(1.0), &self.saves[0].bar, &mut self.start_bar);
    }
}

/// What a sum starts from.
enum From<'a, T> {
    Zero,
    Itself,
    Of(&'a [T]),
}

/// `out = start + Σ wᵢ xᵢ`; the length is a multiple of eight.
#[inline]
fn combine<T: Real>(start: From<T>, weights: &[f64], x: &[Vec<T>], out: &mut [T]) {
    let w: [T; 7] = std::array::from_fn(|i| T::of(weights.get(i).copied().unwrap_or(0.0)));
    for (n, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let mut sum = match start {
            From::Zero => [T::default(); 8],
            From::Itself => *out,
            From::Of(y) => y.as_chunks::<8>().0[n],
        };
        for (&w, x) in w[..weights.len()].iter().zip(x) {
            let x = &x.as_chunks::<8>().0[n];
            for (sum, &x) in sum.iter_mut().zip(x) {
                *sum = x.mul_add(w, *sum);
            }
        }
        *out = sum;
    }
}

/// `out += w x`.
#[inline]
fn add<T: Real>(w: T, x: &[T], out: &mut [T]) {
    for (o, &x) in out.iter_mut().zip(x) {
        *o = x.mul_add(w, *o);
    }
}
