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
    let program = Program::compile(&f.vjp(&[0, 1, 2, 3, 4, 5, 6]).unwrap()).unwrap();
    let mut workspace = Workspace::new(&program);
    let cotangent = array::<f32>(&[32, 2]);
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
    group.bench_function("ndarray", |bench| bench.iter(|| a2.dot(&b2)));
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
