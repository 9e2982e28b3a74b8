//! Prints how long kernels take: the small matrix products of vector fields beside the `gemm`
//! crate, the functions computed here beside the standard library, and the inner loops of solvers.
//!
//! `cargo run --release -p costate-ops --example kernels`

use std::hint::black_box;
use std::time::{Duration, Instant};

use costate_ops::{
    After, Isa, MatMul, Product, Real, Unary, argmax_axis, binary_in_place_right, lincomb, matmul,
};
use costate_ops::{Binary, lu_factor, lu_solve, max_axis, permute, sum_outer, sum_to};
use costate_ops::{unary, unary_on};

/// The time of one call in ns: the least of several batches, which the machine's other work
/// disturbs least.
fn time(mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    f();
    let once = start.elapsed().max(Duration::from_nanos(20));
    let calls = (2_000_000 / once.as_nanos()).clamp(1, 50_000) as u32;
    let batch = |_| {
        let start = Instant::now();
        for _ in 0..calls {
            f();
        }
        start.elapsed().as_nanos() as f64 / f64::from(calls)
    };
    (0..15).map(batch).fold(f64::INFINITY, f64::min)
}

fn numbers<T: Real>(n: usize) -> Vec<T> {
    (0..n).map(|i| T::from_f64((i as f64 * 0.618_034).fract() * 2.0 - 1.0)).collect()
}

/// The product by the `gemm` crate, on one thread.
fn by_gemm<T: Real>(spec: MatMul, a: &[T], b: &[T], c: &mut [T]) {
    let MatMul { m, k, n, ta, tb, .. } = spec;
    assert!(a.len() == m * k && b.len() == k * n && c.len() == m * n);
    let (ar, ac) = if ta { (1, m) } else { (k, 1) };
    let (br, bc) = if tb { (1, k) } else { (n, 1) };
    let (one, none) = (T::one(), gemm::Parallelism::None);
    // SAFETY: the lengths match the extents, so the strides stay inside the slices.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            ac as isize,
            ar as isize,
            b.as_ptr(),
            bc as isize,
            br as isize,
            one,
            one,
            false,
            false,
            false,
            none,
        );
    }
}

/// A product with a bias or a derivative in its pass, and the two apart.
fn then<T: Real>(shapes: &[(usize, usize, usize, bool)]) {
    for &(m, k, n, tb) in shapes {
        let spec = MatMul { m, k, n, ta: false, tb, accumulate: false };
        let (a, b, mut c) = (numbers::<T>(m * k), numbers::<T>(k * n), vec![T::zero(); m * n]);
        let (bias, slopes) = (numbers::<T>(n), numbers::<T>(m * n));
        for (op, other) in [(Binary::Add, &bias), (Binary::TanhGrad, &slopes)] {
            let after = match op {
                Binary::Add => After::Bias(&other[..]),
                _ => After::TanhGrad(other),
            };
            let product = Product::new::<T>(spec);
            let one = time(|| product.run(black_box(&a), black_box(&b), after, &mut c));
            let two = time(|| {
                matmul(spec, black_box(&a), black_box(&b), black_box(&mut c));
                binary_in_place_right(op, other, black_box(&mut c));
            });
            let (name, op, right) = (T::NAME, op.name(), if tb { "ᵀ" } else { " " });
            println!(
                "{name} [{m:4},{k:4}] [{k:4},{n:4}]{right} and {op:9} {one:9.0} ns, apart {two:9.0} ns"
            );
        }
    }
}

/// The gradients of weights and biases, added up.
fn outer<T: Real>(sizes: &[[usize; 3]]) {
    for &size in sizes {
        let [rows, m, n] = size;
        let (a, b) = (numbers::<T>(rows * m), numbers::<T>(rows * n));
        let (mut c, mut sums) = (vec![T::zero(); m * n], vec![T::zero(); n]);
        let ns = time(|| {
            sum_outer(size, true, black_box(&a), black_box(&b), &mut c, black_box(&mut sums))
        });
        println!("{} [{rows:3},{m:3}]ᵀ[{rows:3},{n:3}] and sums {ns:9.0} ns", T::NAME);
    }
}

fn products<T: Real>(shapes: &[(usize, usize, usize)]) {
    for &(m, k, n) in shapes {
        // The product itself, the gradient of its left side and that of its right side.
        let specs = [(m, k, n, false, false), (m, n, k, false, true), (k, m, n, true, false)];
        for (m, k, n, ta, tb) in specs {
            let spec = MatMul { m, k, n, ta, tb, accumulate: false };
            let (a, b, mut c) = (numbers::<T>(m * k), numbers::<T>(k * n), vec![T::zero(); m * n]);
            let own = time(|| matmul(spec, black_box(&a), black_box(&b), black_box(&mut c)));
            let gemm = time(|| by_gemm(spec, black_box(&a), black_box(&b), black_box(&mut c)));
            let (left, right) = (if ta { "ᵀ" } else { " " }, if tb { "ᵀ" } else { " " });
            let rate = (2 * m * k * n) as f64 / own;
            println!(
                "{} [{m:4},{k:4}]{left}[{k:4},{n:4}]{right} {own:9.0} ns, gemm {gemm:9.0} ns, {rate:5.1} GF/s",
                T::NAME,
            );
        }
    }
}

fn functions<T: Real>() {
    let x = numbers::<T>(1 << 16);
    let mut out = vec![T::zero(); x.len()];
    use Unary::*;
    for op in [Exp, Ln, Tanh, Sigmoid, Softplus, SoftplusSlope, Sin] {
        print!("{} {:14} ", T::NAME, op.name());
        let each = x.len() as f64;
        for isa in Isa::available() {
            let t = time(|| unary_on(isa, op, black_box(&x), black_box(&mut out))) / each;
            print!(" {isa:?} {t:5.2}");
        }
        let std = time(|| {
            for (out, &x) in black_box(&mut out).iter_mut().zip(black_box(&x)) {
                *out = op.eval(x);
            }
        });
        println!("  std {:5.2} ns an entry", std / each);
    }
    for n in [1000, 1 << 16, 1 << 17, 1 << 18, 1 << 20] {
        let (x, mut out) = (numbers::<T>(n), vec![T::zero(); n]);
        let one = time(|| unary_on(Isa::detect(), Unary::Tanh, black_box(&x), &mut out));
        let pool = time(|| unary(Unary::Tanh, black_box(&x), &mut out));
        println!("{} tanh of {n:7}: {one:9.0} ns on one thread, {pool:9.0} ns", T::NAME);
    }
}

fn combinations<T: Real>() {
    for n in [2, 8, 40, 1000, 10_000] {
        print!("{} lincomb of {n:5}:", T::NAME);
        let terms: Vec<Vec<T>> = (0..10).map(|_| numbers(n)).collect();
        let c = numbers::<T>(10);
        let mut out = vec![T::zero(); n];
        for count in [1, 2, 4, 7, 10] {
            let xs: Vec<&[T]> = terms[..count].iter().map(|t| &t[..]).collect();
            let t = time(|| lincomb(black_box(&c[..count]), black_box(&xs), black_box(&mut out)));
            print!("  {count} terms {t:7.1} ns");
        }
        println!();
    }
}

/// Factors of a full matrix, and of one with blocks of ten rows on its diagonal, and a solution.
fn factors<T: Real>() {
    for n in [24, 100, 400] {
        let full = numbers::<T>(n * n);
        let entry = |ij: usize| if ij / n / 10 == ij % n / 10 { full[ij] } else { T::zero() };
        let blocks: Vec<T> = (0..n * n).map(entry).collect();
        let (mut lu, mut pivots, mut x) = (full.clone(), vec![0; n], vec![T::one(); n]);
        let [full, blocks] = [full, blocks].map(|a| {
            time(|| {
                lu.copy_from_slice(black_box(&a));
                black_box(lu_factor(n, &mut lu, &mut pivots));
            })
        });
        let solution = time(|| lu_solve(n, black_box(&lu), &pivots, black_box(&mut x)));
        println!(
            "{} factors of {n:3} rows {full:9.0} ns, of blocks {blocks:9.0} ns, solution {solution:7.0} ns",
            T::NAME
        );
    }
}

fn the_rest<T: Real>() {
    let (m, n) = (256, 10);
    let x = numbers::<T>(m * n);
    let mut row = vec![T::zero(); n];
    let mut column = vec![T::zero(); m];
    let mut place = vec![0; m];
    let name = T::NAME;
    let t = time(|| sum_to(black_box(&x), &[m, n], black_box(&mut row), &[n]));
    println!("{name} sum of [{m}, {n}] over rows: {t:.0} ns");
    let t = time(|| sum_to(black_box(&x), &[m, n], black_box(&mut column), &[m, 1]));
    println!("{name} sum of [{m}, {n}] over columns: {t:.0} ns");
    let t = time(|| max_axis(black_box(&x), m, n, 1, black_box(&mut column)));
    println!("{name} max of [{m}, {n}] over columns: {t:.0} ns");
    let t = time(|| argmax_axis(black_box(&x), m, n, 1, black_box(&mut place)));
    println!("{name} argmax of [{m}, {n}] over columns: {t:.0} ns");
    let x = numbers::<T>(256 * 784);
    let mut out = x.clone();
    let t = time(|| permute(black_box(&x), &[256, 784], &[1, 0], black_box(&mut out)));
    println!("{name} transpose of [256, 784]: {t:.0} ns");
    let t = time(|| permute(black_box(&x), &[16, 16, 784], &[1, 0, 2], black_box(&mut out)));
    println!("{name} [16, 16, 784] with the first two axes exchanged: {t:.0} ns");
}

fn main() {
    // With an argument, only the products.
    let all = std::env::args().nth(1).is_none();
    products::<f64>(&[(20, 2, 50), (20, 50, 2), (64, 64, 64)]);
    products::<f32>(&[(32, 2, 64), (32, 64, 64), (32, 64, 2), (256, 64, 64), (128, 784, 128)]);
    then::<f64>(&[(20, 2, 50, false), (20, 50, 2, true)]);
    then::<f32>(&[(32, 2, 64, false), (32, 3, 64, false), (32, 64, 2, true)]);
    outer::<f64>(&[[20, 2, 50], [20, 0, 2]]);
    outer::<f32>(&[[32, 2, 64], [32, 64, 64], [32, 0, 2]]);
    if !all {
        return;
    }
    functions::<f32>();
    functions::<f64>();
    combinations::<f32>();
    combinations::<f64>();
    factors::<f32>();
    factors::<f64>();
    the_rest::<f32>();
    the_rest::<f64>();
}
