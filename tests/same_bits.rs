//! The same bits for any number of threads, and in two runs with one seed, at sizes at which
//! kernels do use several threads.

use costate::prelude::*;
use ndarray::Array2;

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
