//! Layers: their gradients by `check`, their shapes, and what their formulas promise.

use costate_nn::{
    Activation, Adam, Bound, FeedForwardOde, Linear, Mlp, NearIdentityNet, Params, ResidualNet,
    Sgd, accuracy, cross_entropy,
};
use costate_odeint::{Gradient, Ode, Rk4, Tsit5};
use costate_tape::{Tape, Var, check};
use ndarray::{Array2, ArrayD, arr2};

type Forward<'a> = &'a dyn for<'t> Fn(&Bound<'t, f64>, Var<'t, f64>) -> Var<'t, f64>;

/// Checks the gradient of a layer with respect to its input and every parameter.
fn check_layer(params: &Params<f64>, width: usize, forward: Forward<'_>) {
    let x = Array2::from_shape_fn((3, width), |(i, j)| ((i * width + j) as f64 * 1.7).sin());
    check::gradient(|tape, x| Ok(forward(&params.bind(tape), x[0])), &[x.clone().into_dyn()])
        .unwrap();
    for i in 0..params.len() {
        let at = |h: f64| {
            let mut moved = params.clone();
            moved.values_mut()[i] += h;
            let tape = Tape::new();
            let y = forward(&moved.bind(&tape), tape.constant(&x)).to_vec();
            y.iter().enumerate().map(|(i, y)| y * (i as f64 + 0.5).cos()).sum::<f64>()
        };
        let (_, gradient) = params
            .gradient(|tape, p| {
                let y = forward(p, tape.constant(&x));
                let w: Vec<f64> = (0..y.shape().numel()).map(|i| (i as f64 + 0.5).cos()).collect();
                Ok((y * tape.leaf(&w, y.shape())).sum())
            })
            .unwrap();
        let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
        assert!((gradient[i] - difference).abs() < 1e-7, "{i}: {} {difference}", gradient[i]);
    }
}

#[test]
fn gradients_of_layers() {
    let mut params = Params::seeded(1);
    let linear = Linear::new(&mut params, "linear", 2, 3);
    check_layer(&params, 2, &|p, x| linear.forward(p, x));
    for activation in [Activation::Tanh, Activation::Softplus, Activation::Sigmoid] {
        let mut params = Params::seeded(2);
        let mlp = Mlp::new(&mut params, "mlp", &[2, 4, 3, 2], activation);
        check_layer(&params, 2, &|p, x| mlp.forward(p, x));
    }
    let mut params = Params::seeded(3);
    let residual = ResidualNet::new(&mut params, "r", 2, 3, Activation::Tanh);
    check_layer(&params, 2, &|p, x| residual.forward(p, x));
    let mut params = Params::seeded(4);
    let near = NearIdentityNet::new(&mut params, "n", 2, 3, Activation::Tanh);
    check_layer(&params, 2, &|p, x| near.forward(p, x));
    for knots in [1, 3] {
        let mut params = Params::seeded(5);
        let ffode = FeedForwardOde::new(&mut params, "f", 2, knots, Activation::Tanh);
        let ode = Ode::new(Rk4).steps(4);
        check_layer(&params, 2, &|p, x| ffode.forward(p, &ode, x).unwrap());
    }
}

/// The weights of the feed-forward ODE are linear between knots.
#[test]
fn weights_vary_with_depth() {
    let mut params = Params::<f64>::seeded(0);
    let ffode = FeedForwardOde::new(&mut params, "f", 1, 3, Activation::Identity);
    params.values_mut().copy_from_slice(&[0.0, 0.0, 0.0, 1.0, 3.0, -1.0]);
    for (t, beta) in [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.75, 1.0), (1.0, -1.0), (1.3, -1.0)] {
        let tape = Tape::new();
        let p = params.bind(&tape);
        let slope = ffode.field(&p, tape.scalar(t), tape.leaf(&[0.0], [1, 1]));
        assert!((slope.item() - beta).abs() < 1e-15);
    }
}

/// As its depth grows, the near-identity network tends to the feed-forward ODE at first order, and
/// a residual network to its own equation: claims 4 and 5 of the paper.
#[test]
fn deep_networks_tend_to_differential_equations() {
    let a = [0.3, -0.8, 0.5, 0.1];
    let beta = [0.2, -0.4];
    let x = arr2(&[[0.7, -0.3], [0.1, 1.2]]);
    let repeat = |depth: usize| -> Vec<f64> {
        let weights = (0..depth).flat_map(|_| a);
        weights.chain((0..depth).flat_map(|_| beta)).collect()
    };
    let mut params = Params::<f64>::seeded(0);
    let limit = FeedForwardOde::new(&mut params, "f", 2, 1, Activation::Tanh);
    params.values_mut().copy_from_slice(&repeat(1));
    let tape = Tape::new();
    let p = params.bind(&tape);
    let ode = Ode::new(Tsit5).tolerance(1e-12, 1e-12);
    let near = limit.forward(&p, &ode, tape.constant(&x)).unwrap();
    let residual = ode
        .solve(
            |_, x| (x.matmul(tape.leaf(&a, [2, 2])) + tape.leaf(&beta, [2])).tanh(),
            tape.constant(&x),
            [0.0, 1.0],
        )
        .unwrap()
        .index_axis(0, 1);
    let error = |depth: usize| -> [f64; 2] {
        let mut params = Params::<f64>::seeded(0);
        let net = NearIdentityNet::new(&mut params, "n", 2, depth, Activation::Tanh);
        params.values_mut().copy_from_slice(&repeat(depth));
        let mut other = Params::<f64>::seeded(0);
        let res = ResidualNet::new(&mut other, "r", 2, depth, Activation::Tanh);
        other.values_mut().copy_from_slice(&repeat(depth));
        let distance = |a: Var<'_, f64>, b: Vec<f64>| {
            a.to_vec().iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
        };
        let n = net.forward(&params.bind(&tape), tape.constant(&x));
        let r = res.forward(&other.bind(&tape), tape.constant(&x));
        [distance(n, near.to_vec()), distance(r, residual.to_vec())]
    };
    let (coarse, fine) = (error(64), error(128));
    for i in 0..2 {
        assert!((coarse[i] / fine[i]).log2() > 0.95, "{coarse:?} {fine:?}");
        assert!((coarse[i] / fine[i]).log2() < 1.05, "{coarse:?} {fine:?}");
    }
}

#[test]
fn cross_entropy_is_the_formula() {
    let logits = arr2(&[[1.0, 2.0, -0.5], [1000.0, 0.0, -1000.0]]);
    let tape = Tape::new();
    let loss = cross_entropy(tape.constant(&logits), &[2, 0]).item();
    let z = 1f64.exp() + 2f64.exp() + (-0.5f64).exp();
    assert!((loss - 0.5 * (z.ln() + 0.5)).abs() < 1e-14);
    assert_eq!(accuracy(tape.constant(&logits), &[1, 2]), 0.5);
    check::gradient(
        |_, x| Ok(cross_entropy(x[0], &[2, 0])),
        &[arr2(&[[1.0, 2.0, -0.5], [0.3, 0.0, -1.0]]).into_dyn()],
    )
    .unwrap();
}

#[test]
#[should_panic(expected = "matmul: shapes [2, 3] and [4, 5]")]
fn a_wrong_width_panics_with_both_shapes() {
    let mut params = Params::<f64>::seeded(0);
    let linear = Linear::new(&mut params, "linear", 4, 5);
    let tape = Tape::new();
    linear.forward(&params.bind(&tape), tape.constant(&Array2::zeros((2, 3))));
}

#[test]
#[should_panic(expected = "there is a parameter \"a.weight\" already")]
fn names_are_unique() {
    let mut params = Params::<f64>::seeded(0);
    Linear::new(&mut params, "a", 1, 1);
    Linear::new(&mut params, "a", 1, 1);
}

/// Optimisers against their formulas, by hand.
#[test]
fn optimisers_are_their_formulas() {
    let loss = |p: &Params<f64>| p.values()[0];
    let mut params = Params::<f64>::seeded(0);
    let x = params.add("x", [], |_| 2.0);
    let mut sgd = Sgd::new(0.1).momentum(0.5);
    for expected in [2.0 - 0.1 * 4.0, 1.6 - 0.1 * (0.5 * 4.0 + 3.2)] {
        params.step(&mut sgd, |_, p| Ok(p[x].square())).unwrap();
        assert!((loss(&params) - expected).abs() < 1e-15);
    }
    // The first step of Adam is the rate, whatever the gradient's size.
    let mut adam = Adam::new(0.01);
    let before = loss(&params);
    params.step(&mut adam, |_, p| Ok(p[x].square() * 1e3)).unwrap();
    assert!((before - loss(&params) - 0.01).abs() < 1e-9);
    let (mut m, mut v, mut y) = (0.0, 0.0, loss(&params));
    let mut adam = Adam::new(0.01);
    for t in 1..=5 {
        let g = 2.0 * y;
        m = 0.9 * m + 0.1 * g;
        v = 0.999 * v + 0.001 * g * g;
        let (mh, vh) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.999f64.powi(t)));
        y -= 0.01 * mh / (vh.sqrt() + 1e-8);
        params.step(&mut adam, |_, p| Ok(p[x].square())).unwrap();
        assert!((loss(&params) - y).abs() < 1e-14);
    }
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    let mut params = Params::<f64>::seeded(0);
    let x = params.add("x", [], |_| 0.0);
    let mut sgd = Sgd::new(0.1);
    let e = params.step(&mut sgd, |_, p| Ok(p[x].ln())).unwrap_err();
    assert!(e.to_string().contains("the loss, -inf, is not finite"), "{e}");
    let e = params.step(&mut sgd, |_, p| Ok(p[x].sqrt())).unwrap_err();
    assert!(e.to_string().contains("the gradient of \"x\" is not finite"), "{e}");
    assert_eq!(params.values(), [0.0]);
}

/// Training is the same to the last bit in two runs with one seed, and learns.
#[test]
fn training_repeats_and_learns() {
    let run = |seed: u64, gradient: Gradient| {
        let mut params = Params::<f64>::seeded(seed);
        let field = FeedForwardOde::new(&mut params, "f", 2, 2, Activation::Tanh);
        let out = Linear::new(&mut params, "out", 2, 2);
        let x = arr2(&[[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]);
        let ode = Ode::new(Tsit5).tolerance(1e-5, 1e-6).gradient(gradient);
        let mut adam = Adam::new(0.05);
        let mut losses = vec![];
        for _ in 0..60 {
            losses.push(
                params
                    .step(&mut adam, |tape, p| {
                        let x = tape.constant(&x);
                        // Errors of a solve pass through `?`.
                        let xs = ode.solve(|t, x| field.field(p, t, x), x, [0.0, 1.0])?;
                        Ok(cross_entropy(out.forward(p, xs.index_axis(0, 1)), &[0, 1, 1, 1]))
                    })
                    .unwrap(),
            );
        }
        losses
    };
    let losses = run(7, Gradient::Exact);
    assert_eq!(losses, run(7, Gradient::Exact));
    assert_ne!(losses, run(8, Gradient::Exact));
    assert!(losses[59] < 0.5 * losses[0], "{losses:?}");
    for (a, b) in losses.iter().zip(run(7, Gradient::Unrolled)) {
        assert!((a - b).abs() < 1e-8);
    }
    for (a, b) in losses.iter().zip(run(7, Gradient::Continuous)) {
        assert!((a - b).abs() < 1e-2, "{a} {b}");
    }
}

#[test]
fn initial_values_are_in_bounds_and_of_the_shape() {
    let mut params = Params::<f64>::seeded(0);
    let x = params.uniform("x", [20, 30], 0.5);
    let array: ArrayD<f64> = params.get(x).to_owned();
    assert_eq!(array.shape(), [20, 30]);
    assert!(array.iter().all(|x| x.abs() <= 0.5));
    assert!(array.iter().any(|x| x.abs() > 0.49));
    assert!(array.sum().abs() < 0.05 * 600.0);
}
