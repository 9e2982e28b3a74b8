//! The same bits for any number of threads, and in two runs with one seed, at sizes at which
//! kernels do use several threads.

use costate::prelude::*;
use ndarray::Array2;
use proptest::prelude::*;

/// Three steps of training a wide ODE network; every bit of its weights.
fn train(threads: usize) -> Vec<u32> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut params = Params::<f32>::seeded(3);
        let net = Mlp::new(&mut params, "field", &[160, 1200, 160], Activation::Tanh);
        let x = Array2::from_shape_fn((128, 160), |(i, j)| ((7 * i + j) as f32).sin());
        let ode = Ode::new(Rk4).steps(2);
        let mut adam = Adam::new(1e-3);
        for _ in 0..3 {
            params
                .step(&mut adam, |tape, p| {
                    let ys = ode.solve(|_, y| net.forward(p, y), tape.constant(&x), [0.0, 1.0])?;
                    Ok(ys.index_axis(0, 1).square().mean())
                })
                .unwrap();
        }
        params.values().iter().map(|x| x.to_bits()).collect()
    })
}

#[test]
fn threads_and_repetition_change_no_bit() {
    let one = train(1);
    assert_eq!(one, train(1));
    for threads in [2, 3] {
        assert_eq!(one, train(threads), "{threads} threads");
    }
}

/// Loss and gradient of a solve whose field is a network.
fn gradient<T: Real>(
    rows: usize,
    widths: &[usize],
    hidden: Activation,
    threads: usize,
) -> Vec<u64> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut params = Params::<T>::seeded(4);
        let net = Mlp::new(&mut params, "field", widths, hidden);
        let x = Array2::from_shape_fn((rows, widths[0]), |(i, j)| {
            T::from_f64(((7 * i + j) as f64).sin())
        });
        let ode = Ode::new(Midpoint).steps(2);
        let loss = params.gradient(|tape, p| {
            let ys = ode.solve(|_, y| net.forward(p, y), tape.constant(&x), [0.0, 1.0])?;
            Ok(ys.index_axis(0, 1).square().mean())
        });
        let (loss, gradient) = loss.unwrap();
        [loss].iter().chain(&gradient).map(|x| x.as_f64().to_bits()).collect()
    })
}

/// Panics if the bits of a gradient depend on the number of threads.
fn compare<T: Real>(rows: usize, widths: &[usize], hidden: Activation) {
    let one = gradient::<T>(rows, widths, hidden, 1);
    for threads in [2, 3] {
        let found = gradient::<T>(rows, widths, hidden, threads);
        let differ = one.iter().zip(&found).filter(|(a, b)| a != b).count();
        let of = one.len();
        assert_eq!(differ, 0, "of {of}: {rows} rows, {widths:?}, {hidden:?}, {threads} threads");
    }
}

/// Sizes at which the way changes in which a product is computed, or its rows are split.
#[test]
fn sizes_change_no_bit() {
    // A last block with one row, large weights.
    compare::<f32>(257, &[160, 320, 160], Activation::Tanh);
    // Small weights, many rows.
    compare::<f32>(1100, &[64, 64, 64], Activation::Softplus);
    // Products with few columns beside large weights.
    compare::<f32>(6300, &[2, 320, 320, 2], Activation::Tanh);
}

fn any_size() -> impl Strategy<Value = (usize, Vec<usize>)> {
    // As many small ones as large ones.
    let size = |bits: f64| (1.0..bits).prop_map(|bits: f64| bits.exp2() as usize);
    let hidden = prop::collection::vec(size(9.0), 1..=3);
    let sizes = (size(12.0), size(8.0), hidden).prop_map(|(rows, width, mut widths)| {
        widths.insert(0, width);
        widths.push(width);
        (rows, widths)
    });
    sizes.prop_filter("work to be done in a test", |(rows, widths)| {
        rows * widths.windows(2).map(|w| w[0] * w[1]).sum::<usize>() < 50_000_000
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(12), ..ProptestConfig::default() })]

    #[test]
    fn no_size_changes_a_bit(
        (rows, widths) in any_size(),
        hidden in prop::sample::select(vec![Activation::Tanh, Activation::Softplus]),
        double in any::<bool>(),
    ) {
        if double {
            compare::<f64>(rows, &widths, hidden);
        } else {
            compare::<f32>(rows, &widths, hidden);
        }
    }
}
