//! What recording, replaying and the kernels cost, beside plain loops, the standard library and
//! `ndarray`: `cargo bench --bench tape`.

use std::hint::black_box;
use std::time::Duration;

use costate::ops::{MatMul, Unary, matmul, unary};
use costate::prelude::*;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ndarray::{Array2, ArrayD, IxDyn};

fn array<T: Real>(shape: &[usize]) -> ArrayD<T> {
    let mut i = 0.0;
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1.0;
        T::from_f64((i * 1.618f64).sin())
    })
}

/// The machine's peak in single precision.
mod peak {
    const ROUNDS: usize = 50_000;
    /// Enough sums to hide the latency, few enough for the registers.
    const LANES: usize = 192;
    /// How many multiply-adds [`run`] does.
    pub const MULTIPLY_ADDS: u64 = (ROUNDS * LANES) as u64;

    #[inline(always)]
    fn rounds(x: f32) -> f32 {
        let mut sums = [x; LANES];
        let (factor, add) = (0.999 * x, 0.001 * x);
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, add);
            }
        }
        sums.iter().sum()
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512vl,fma")]
    fn wide(x: f32) -> f32 {
        rounds(x)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn narrow(x: f32) -> f32 {
        rounds(x)
    }

    pub fn run(x: f32) -> f32 {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                // SAFETY: the features were just found.
                return unsafe { wide(x) };
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                // SAFETY: as above.
                return unsafe { narrow(x) };
            }
        }
        rounds(x)
    }
}

/// 96 element-wise operations on a few numbers: recorded, replayed, and as a plain loop.
fn chain(c: &mut Criterion) {
    const NODES: usize = 96;
    fn body<'t>(x: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
        (0..NODES / 2).fold(x, |z, _| z * y + x)
    }
    for n in [2, 8, 64, 1024] {
        let x = [array::<f64>(&[n]), array(&[n])];
        let slices: Vec<&[f64]> = x.iter().map(|x| x.as_slice().unwrap()).collect();
        let mut group = c.benchmark_group(format!("chain of {NODES} on {n}"));
        group.throughput(Throughput::Elements(NODES as u64));
        let program =
            Program::compile(&Function::trace(&x, |_, x| Ok(vec![body(x[0], x[1])])).unwrap())
                .unwrap();
        let mut workspace = Workspace::new(&program);
        group.bench_function("replay", |b| {
            b.iter(|| program.evaluate(&mut workspace, &slices).unwrap().get(0)[0])
        });
        let mut tape = Tape::new();
        group.bench_function("record", |b| {
            b.iter(|| {
                tape.clear();
                let (x, y) = (tape.leaf(slices[0], [n]), tape.leaf(slices[1], [n]));
                black_box(body(x, y));
            })
        });
        let mut z = vec![0.0; n];
        group.bench_function("plain loop", |b| {
            b.iter(|| {
                z.copy_from_slice(slices[0]);
                for _ in 0..NODES / 2 {
                    for ((z, y), x) in z.iter_mut().zip(slices[1]).zip(slices[0]) {
                        *z = *z * y + x;
                    }
                    black_box(&mut z);
                }
            })
        });
        group.finish();
    }
}

/// The same written by hand with the kernels: no tape, no program, buffers made once.
mod by_hand {
    use costate::ops::{MatMul, Unary, matmul, sum_to, unary};

    const B: usize = 32;
    const H: usize = 64;

    pub struct Field {
        z1: Vec<f32>,
        a1: Vec<f32>,
        z2: Vec<f32>,
        a2: Vec<f32>,
        y: Vec<f32>,
        g2: Vec<f32>,
        g1: Vec<f32>,
        gx: Vec<f32>,
        weights: [Vec<f32>; 3],
        biases: [Vec<f32>; 3],
    }

    fn product([m, k, n]: [usize; 3], [ta, tb]: [bool; 2], a: &[f32], b: &[f32], out: &mut [f32]) {
        matmul(MatMul { m, k, n, ta, tb, accumulate: false }, a, b, out);
    }

    fn add_row(x: &mut [f32], row: &[f32]) {
        for x in x.chunks_exact_mut(row.len()) {
            x.iter_mut().zip(row).for_each(|(x, row)| *x += row);
        }
    }

    impl Field {
        pub fn new() -> Field {
            let hidden = || vec![0.0; B * H];
            Field {
                z1: hidden(),
                a1: hidden(),
                z2: hidden(),
                a2: hidden(),
                y: vec![0.0; B * 2],
                g2: hidden(),
                g1: hidden(),
                gx: vec![0.0; B * 2],
                weights: [vec![0.0; 2 * H], vec![0.0; H * H], vec![0.0; H * 2]],
                biases: [vec![0.0; H], vec![0.0; H], vec![0.0; 2]],
            }
        }

        /// The field at `x` and the cotangents of all its inputs.
        pub fn run(&mut self, inputs: &[&[f32]], g: &[f32]) -> f32 {
            let &[x, w1, b1, w2, b2, w3, b3] = inputs else { panic!("seven inputs") };
            product([B, 2, H], [false, false], x, w1, &mut self.z1);
            add_row(&mut self.z1, b1);
            unary(Unary::Softplus, &self.z1, &mut self.a1);
            product([B, H, H], [false, false], &self.a1, w2, &mut self.z2);
            add_row(&mut self.z2, b2);
            unary(Unary::Softplus, &self.z2, &mut self.a2);
            product([B, H, 2], [false, false], &self.a2, w3, &mut self.y);
            add_row(&mut self.y, b3);

            let [gw1, gw2, gw3] = &mut self.weights;
            let [gb1, gb2, gb3] = &mut self.biases;
            product([H, B, 2], [true, false], &self.a2, g, gw3);
            sum_to(g, &[B, 2], gb3, &[2]);
            product([B, 2, H], [false, true], g, w3, &mut self.g2);
            unary(Unary::Sigmoid, &self.z2, &mut self.a2);
            self.g2.iter_mut().zip(&self.a2).for_each(|(g, s)| *g *= s);
            product([H, B, H], [true, false], &self.a1, &self.g2, gw2);
            sum_to(&self.g2, &[B, H], gb2, &[H]);
            product([B, H, H], [false, true], &self.g2, w2, &mut self.g1);
            unary(Unary::Sigmoid, &self.z1, &mut self.a1);
            self.g1.iter_mut().zip(&self.a1).for_each(|(g, s)| *g *= s);
            product([2, B, H], [true, false], x, &self.g1, gw1);
            sum_to(&self.g1, &[B, H], gb1, &[H]);
            product([B, H, 2], [false, true], &self.g1, w1, &mut self.gx);
            self.gx[0] + self.y[0]
        }
    }
}

/// The field of the `mlp` workload, and its vector-Jacobian product.
fn field(c: &mut Criterion) {
    let x: Vec<ArrayD<f32>> = [&[32, 2][..], &[2, 64], &[64], &[64, 64], &[64], &[64, 2], &[2]]
        .into_iter()
        .map(array)
        .collect();
    let f = Function::trace(&x, |_, x| {
        let h = (x[0].matmul(x[1]) + x[2]).softplus();
        Ok(vec![(h.matmul(x[3]) + x[4]).softplus().matmul(x[5]) + x[6]])
    })
    .unwrap();
    let mut inputs: Vec<&[f32]> = x.iter().map(|x| x.as_slice().unwrap()).collect();
    let mut group = c.benchmark_group("mlp field");
    let program = Program::compile(&f).unwrap();
    let mut workspace = Workspace::new(&program);
    group.bench_function("forward", |b| {
        b.iter(|| program.evaluate(&mut workspace, &inputs).unwrap().get(0)[0])
    });
    let mut by_hand = by_hand::Field::new();
    let cotangent = array::<f32>(&[32, 2]);
    group.bench_function("forward and vjp, by hand", |b| {
        b.iter(|| by_hand.run(&inputs, cotangent.as_slice().unwrap()))
    });
    let program = Program::compile(&f.vjp(&[0, 1, 2, 3, 4, 5, 6]).unwrap()).unwrap();
    let mut workspace = Workspace::new(&program);
    inputs.push(cotangent.as_slice().unwrap());
    group.bench_function("forward and vjp", |b| {
        b.iter(|| program.evaluate(&mut workspace, &inputs).unwrap().get(0)[0])
    });
    group.finish();
}

/// The vector-Jacobian product of the Lotka–Volterra field.
fn lotka_volterra(c: &mut Criterion) {
    let x: Vec<ArrayD<f64>> = [&[2][..], &[], &[], &[], &[]].into_iter().map(array).collect();
    let f = Function::trace(&x, |_, x| {
        let (u, v) = (x[0].index_axis(0, 0), x[0].index_axis(0, 1));
        Ok(vec![Var::stack(0, &[x[1] * u - x[2] * u * v, -x[3] * v + x[4] * u * v])])
    })
    .unwrap();
    let program = Program::compile(&f.vjp(&[0, 1, 2, 3, 4]).unwrap()).unwrap();
    let mut workspace = Workspace::new(&program);
    let cotangent = [0.3, -0.7];
    let mut inputs: Vec<&[f64]> = x.iter().map(|x| x.as_slice().unwrap()).collect();
    inputs.push(&cotangent);
    c.bench_function("Lotka-Volterra vjp", |b| {
        b.iter(|| program.evaluate(&mut workspace, &inputs).unwrap().get(0)[0])
    });
}

/// `[256, 256] · [256, 512]` in single precision, beside `ndarray`.
fn product(c: &mut Criterion) {
    let (m, k, n) = (256, 256, 512);
    let (a, b) = (array::<f32>(&[m, k]), array::<f32>(&[k, n]));
    let (a2, b2): (Array2<f32>, Array2<f32>) =
        (a.clone().into_dimensionality().unwrap(), b.clone().into_dimensionality().unwrap());
    let mut out = vec![0.0; m * n];
    let mut group = c.benchmark_group("product 256x256x512");
    group.throughput(Throughput::Elements(2 * (m * k * n) as u64));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for (name, ta, tb) in [("NN", false, false), ("NT", false, true), ("TN", true, false)] {
        let spec = MatMul { m, k, n, ta, tb, accumulate: false };
        group.bench_function(format!("{name}, one thread"), |bench| {
            one.install(|| {
                bench.iter(|| {
                    matmul(spec, a.as_slice().unwrap(), b.as_slice().unwrap(), &mut out);
                })
            })
        });
    }
    let two = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    for (name, ta, tb) in [("NN", false, false), ("NT", false, true), ("TN", true, false)] {
        let spec = MatMul { m, k, n, ta, tb, accumulate: false };
        group.bench_function(format!("{name}, two threads"), |bench| {
            two.install(|| {
                bench.iter(|| {
                    matmul(spec, a.as_slice().unwrap(), b.as_slice().unwrap(), &mut out);
                })
            })
        });
    }
    group.bench_function("ndarray", |bench| bench.iter(|| a2.dot(&b2)));
    group.finish();
    // What the machine can do at most: multiply-adds on registers alone, on one thread and on two.
    let mut group = c.benchmark_group("peak");
    group.throughput(Throughput::Elements(2 * peak::MULTIPLY_ADDS));
    group.bench_function("one thread", |bench| bench.iter(|| peak::run(black_box(1.0))));
    group.bench_function("two threads, each", |bench| {
        two.install(|| {
            bench.iter(|| rayon::join(|| peak::run(black_box(1.0)), || peak::run(black_box(1.0))))
        })
    });
    group.finish();
    // A product in the first-level cache. Where this is slow and the multiply-adds are not, something
    // else runs on the same core, such as another guest of the host on its other thread.
    let spec = MatMul { m: 24, k: 64, n: 64, ta: false, tb: false, accumulate: false };
    let near = || {
        let (a, b) = (array::<f32>(&[24, 64]), array::<f32>(&[64, 64]));
        let mut out = vec![0.0; 24 * 64];
        move || {
            for _ in 0..1000 {
                matmul(spec, a.as_slice().unwrap(), black_box(b.as_slice().unwrap()), &mut out);
            }
        }
    };
    let mut group = c.benchmark_group("product in the nearest cache");
    group.throughput(Throughput::Elements(1000 * 2 * 24 * 64 * 64));
    let (mut first, mut second) = (near(), near());
    group.bench_function("one thread", |bench| bench.iter(&mut first));
    group.bench_function("two threads, each", |bench| {
        two.install(|| bench.iter(|| rayon::join(&mut first, &mut second)))
    });
    group.finish();
}

/// Functions of 64 k numbers, beside the standard library.
fn functions(c: &mut Criterion) {
    fn both<T: Real>(c: &mut Criterion) {
        let x = array::<T>(&[1 << 16]);
        let mut out = vec![T::zero(); 1 << 16];
        for f in [Unary::Tanh, Unary::Exp, Unary::Softplus] {
            let mut group = c.benchmark_group(format!("{} of 64 k {}", f.name(), T::NAME));
            group.throughput(Throughput::Elements(1 << 16));
            group.bench_function("costate", |b| {
                b.iter(|| unary(f, x.as_slice().unwrap(), &mut out))
            });
            group.bench_function("std", |b| {
                b.iter(|| {
                    for (out, &x) in out.iter_mut().zip(&x) {
                        *out = f.eval(x);
                    }
                    black_box(&mut out);
                })
            });
            group.finish();
        }
    }
    both::<f32>(c);
    both::<f64>(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20);
    targets = chain, field, lotka_volterra, product, functions
}
criterion_main!(benches);
