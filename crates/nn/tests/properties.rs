//! Layers as properties: gradients for random shapes and values, and what their formulas promise.

use crate::common::{check_layer, panic_of, random, scatter};
use costate_nn::{
    Activation, Attention, Augmented, Basis, BatchNorm, Bilinear, Conv1d, Conv2d, Dropout,
    Embedding, FeedForwardOde, Flow, GroupNorm, Gru, HamiltonianNet, Init, LagrangianNet,
    LatentOde, LayerNorm, Linear, Lstm, Mlp, Module, NearIdentityNet, NeuralCde, OdeBlock, Params,
    Path, PathKind, Pool1d, Pool2d, Residual, ResidualNet, Rng, SecondOrder, Sequential, Trace,
    Universal,
};
use costate_odeint::{Ode, Rk4};
use costate_tape::Tape;
use ndarray::{Array2, ArrayD, Axis};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn affine_layers(seed: u64, rows in 1usize..4, inputs in 1usize..4, outputs in 1usize..4,
                     which in 0usize..7) {
        let x = random(seed, &[rows, inputs]);
        let x = std::slice::from_ref(&x);
        let mut params = Params::seeded(seed);
        let linear = Linear::with_init(&mut params, "l", inputs, outputs, Init::XavierNormal);
        scatter(&mut params, seed);
        check_layer(&params, x, &|p, x| Ok(linear.forward(p, x[0])))?;
        let mut params = Params::seeded(seed);
        // Without those that have a kink, which differences may straddle.
        let smooth = [Activation::Identity, Activation::Tanh, Activation::Sigmoid,
                      Activation::Softplus, Activation::Gelu, Activation::Silu, Activation::Sin];
        let phi = smooth[which];
        let mlp = Mlp::new(&mut params, "m", &[inputs, 3, outputs], phi);
        check_layer(&params, x, &|p, x| Ok(mlp.forward(p, x[0])))?;
    }

    #[test]
    fn deep_networks(seed: u64, rows in 1usize..3, width in 1usize..4, depth in 1usize..4,
                     antisymmetric: bool) {
        let (x, tanh) = (random(seed, &[rows, width]), Activation::Tanh);
        let x = std::slice::from_ref(&x);
        let mut params = Params::seeded(seed);
        let net = ResidualNet::new(&mut params, "r", width, depth, tanh);
        scatter(&mut params, seed);
        check_layer(&params, x, &|p, x| Ok(net.forward(p, x[0])))?;
        let mut params = Params::seeded(seed);
        let net = NearIdentityNet::new(&mut params, "n", width, depth, tanh);
        let net = if antisymmetric { net.antisymmetric() } else { net };
        scatter(&mut params, seed);
        check_layer(&params, x, &|p, x| Ok(net.forward(p, x[0])))?;
        let mut params = Params::seeded(seed);
        let limit = FeedForwardOde::new(&mut params, "f", width, depth, tanh);
        let limit = if antisymmetric { limit.antisymmetric() } else { limit };
        scatter(&mut params, seed);
        let ode = Ode::new(Rk4).steps(3);
        check_layer(&params, x, &|p, x| limit.forward(p, &ode, x[0]))?;
        check_layer(&params, x, &|p, x| limit.log_density(p, &ode, x[0]))?;
    }

    #[test]
    fn bilinear(seed: u64, rows in 1usize..4, a in 1usize..4, b in 1usize..4, out in 1usize..3) {
        let mut params = Params::seeded(seed);
        let layer = Bilinear::new(&mut params, "b", a, b, out);
        let inputs = [random(seed, &[rows, a]), random(seed ^ 1, &[rows, b])];
        check_layer(&params, &inputs, &|p, x| Ok(layer.forward(p, x[0], x[1])))?;
        // Against the triple sum.
        let tape = Tape::new();
        let p = params.bind(&tape);
        let y = layer.forward(&p, tape.constant(&inputs[0]), tape.constant(&inputs[1])).value();
        let (w, c) = (params.get(layer.weight), params.get(layer.bias));
        for r in 0..rows {
            for k in 0..out {
                let mut sum = c[k];
                for i in 0..a {
                    for j in 0..b {
                        sum += inputs[0][[r, i]] * w[[i, j, k]] * inputs[1][[r, j]];
                    }
                }
                prop_assert!((y[[r, k]] - sum).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn convolutions(seed: u64, channels in 1usize..3, outputs in 1usize..3,
                    [h, w] in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3],
                    padding in [0usize..2, 0usize..2]) {
        let mut params = Params::seeded(seed);
        let layer = Conv2d::new(&mut params, "c", channels, outputs, [h, w]);
        let layer = layer.stride(stride).padding(padding);
        let x = random(seed, &[2, channels, 4, 5]);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| Ok(layer.forward(p, x[0])))?;
        // Against the sum.
        let tape = Tape::new();
        let y = layer.forward(&params.bind(&tape), tape.constant(&x)).value();
        let (kernel, bias) = (params.get(layer.kernel), params.get(layer.bias));
        for (place, &found) in y.indexed_iter() {
            let (n, o, i, j) = (place[0], place[1], place[2], place[3]);
            let mut sum = bias[o];
            for (k, &weight) in kernel.index_axis(Axis(0), o).indexed_iter() {
                let row = (i * stride[0] + k[1]).wrapping_sub(padding[0]);
                let column = (j * stride[1] + k[2]).wrapping_sub(padding[1]);
                sum += weight * x.get([n, k[0], row, column]).unwrap_or(&0.0);
            }
            prop_assert!((found - sum).abs() < 1e-12);
        }
        prop_assert_eq!(Module::<f64>::output_shape(&layer, &[2, channels, 4, 5].into()),
                        Ok(Some(y.shape().into())));
        // A series is an image of height 1.
        let mut params = Params::seeded(seed);
        let line = Conv1d::new(&mut params, "c", channels, outputs, w);
        let line = line.stride(stride[1]).padding(padding[1]);
        let x = random(seed, &[2, channels, 5]);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| Ok(line.forward(p, x[0])))?;
        let mut flat = Params::seeded(seed);
        let image = Conv2d::new(&mut flat, "c", channels, outputs, [1, w]);
        let image = image.stride([1, stride[1]]).padding([0, padding[1]]);
        let a = line.forward(&params.bind(&tape), tape.constant(&x));
        let wide = tape.constant(&x).unsqueeze(2);
        prop_assert_eq!(a.to_vec(), image.forward(&flat.bind(&tape), wide).to_vec());
        prop_assert_eq!(Module::<f64>::output_shape(&line, &x.shape().into()),
                        Ok(Some((*a.shape()).into())));
    }

    #[test]
    fn pooling(seed: u64, [h, w] in [1usize..4, 1usize..4], stride in [1usize..3, 1usize..3],
               padded: bool, largest: bool) {
        let pool = if largest { Pool2d::max([h, w]) } else { Pool2d::mean([h, w]) };
        let padding = if padded { [h / 2, w / 2] } else { [0, 0] };
        let pool = pool.stride(stride).padding(padding);
        // In the same order, and so far apart that no difference quotient changes it.
        let apart = |x: ArrayD<f64>| match largest {
            true => x.mapv(|a| -1.1f64.powi(x.iter().filter(|b| **b > a).count() as i32)),
            false => x,
        };
        let x = apart(random(seed, &[2, 2, 4, 5]));
        check_layer(&Params::seeded(0), std::slice::from_ref(&x), &|_, x| Ok(pool.forward(x[0])))?;
        let tape = Tape::new();
        let y = pool.forward(tape.constant(&x)).value();
        for (place, &found) in y.indexed_iter() {
            let (mut most, mut sum) = (f64::NEG_INFINITY, 0.0);
            for (a, b) in (0..h).flat_map(|a| (0..w).map(move |b| (a, b))) {
                let row = (place[2] * stride[0] + a).wrapping_sub(padding[0]);
                let column = (place[3] * stride[1] + b).wrapping_sub(padding[1]);
                if let Some(&x) = x.get([place[0], place[1], row, column]) {
                    (most, sum) = (most.max(x), sum + x);
                }
            }
            let expected = if largest { most } else { sum / (h * w) as f64 };
            prop_assert!((found - expected).abs() < 1e-12);
        }
        prop_assert_eq!(Module::<f64>::output_shape(&pool, &[2, 2, 4, 5].into()),
                        Ok(Some(y.shape().into())));
        let line = if largest { Pool1d::max(w) } else { Pool1d::mean(w) };
        let line = line.stride(stride[1]).padding(padding[1]);
        let x = apart(random(seed, &[2, 2, 5]));
        check_layer(&Params::seeded(0), std::slice::from_ref(&x), &|_, x| Ok(line.forward(x[0])))?;
        let y = line.forward(tape.constant(&x));
        prop_assert_eq!(Module::<f64>::output_shape(&line, &x.shape().into()),
                        Ok(Some((*y.shape()).into())));
    }

    #[test]
    fn embedding(seed: u64, things in prop::collection::vec(0usize..5, 1..6)) {
        let mut params = Params::seeded(seed);
        let layer = Embedding::new(&mut params, "e", 5, 3);
        check_layer(&params, &[], &|p, _| Ok(layer.forward(p, &things).tanh()))?;
        let tape = Tape::new();
        let rows = layer.forward(&params.bind(&tape), &things).value();
        prop_assert_eq!(rows, params.get(layer.table).select(Axis(0), &things));
    }

    #[test]
    fn layer_norm(seed: u64, rows in 1usize..4, width in 2usize..5) {
        let mut params = Params::seeded(seed);
        let layer = LayerNorm::new(&mut params, "n", width);
        let x = random(seed, &[rows, width]);
        let tape = Tape::new();
        let y = layer.forward(&params.bind(&tape), tape.constant(&x)).value();
        for row in y.rows() {
            prop_assert!(row.sum().abs() < 1e-10);
        }
        scatter(&mut params, seed);
        check_layer(&params, &[x], &|p, x| Ok(layer.forward(p, x[0])))?;
    }

    #[test]
    fn group_norm(seed: u64, n in 1usize..3, groups in 1usize..3, each in 1usize..3) {
        let mut params = Params::seeded(seed);
        let channels = groups * each;
        let layer = GroupNorm::new(&mut params, "n", groups, channels);
        let x = random(seed, &[n, channels, 2, 2]);
        let tape = Tape::new();
        let y = layer.forward(&params.bind(&tape), tape.constant(&x)).value();
        let grouped = y.into_shape_with_order((n * groups, each * 4)).unwrap();
        for group in grouped.rows() {
            prop_assert!(group.sum().abs() < 1e-9);
        }
        scatter(&mut params, seed);
        check_layer(&params, &[x], &|p, x| Ok(layer.forward(p, x[0])))?;
    }

    #[test]
    fn batch_norm(seed: u64, n in 2usize..4, channels in 1usize..3, deep: bool) {
        let mut params = Params::seeded(seed);
        let layer = BatchNorm::new(&mut params, "n", channels);
        let shape: Vec<usize> = if deep { vec![n, channels, 2] } else { vec![n, channels] };
        let x = random(seed, &shape);
        let tape = Tape::new();
        let (y, moments) = layer.train(&params.bind(&tape), tape.constant(&x));
        let y = y.value();
        for c in 0..channels {
            prop_assert!(y.index_axis(Axis(1), c).sum().abs() < 1e-9);
            let entries = x.index_axis(Axis(1), c).iter().copied().collect::<ndarray::Array1<f64>>();
            let found = moments.values();
            prop_assert!((found.mean[c] - entries.mean().unwrap()).abs() < 1e-12);
            prop_assert!((found.variance[c] - entries.var(1.0)).abs() < 1e-12);
        }
        // After many updates, what is used is what was seen.
        let batch = moments.values();
        for _ in 0..400 {
            layer.update(&mut params, &batch);
        }
        let mean = params.values()[2 * channels..3 * channels].to_vec();
        for (a, b) in mean.iter().zip(&batch.mean) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        params.freeze("n.scale");
        prop_assert_eq!(params.trainable(), channels);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| Ok(layer.train(p, x[0]).0))?;
        params.values_mut()[3 * channels..].iter_mut().for_each(|v| *v = v.abs() + 0.5);
        check_layer(&params, &[x], &|p, x| Ok(layer.forward(p, x[0])))?;
    }

    #[test]
    fn recurrent(seed: u64, times in 1usize..4, rows in 1usize..3, inputs in 1usize..3,
                 width in 1usize..3) {
        let xs = random(seed, &[times, rows, inputs]);
        let h = random(seed ^ 1, &[rows, width]);
        let mut params = Params::seeded(seed);
        let gru = Gru::new(&mut params, "g", inputs, width);
        check_layer(&params, &[xs.clone(), h.clone()], &|p, x| Ok(gru.forward(p, x[0], x[1])))?;
        let mut params = Params::seeded(seed);
        let lstm = Lstm::new(&mut params, "l", inputs, width);
        let c = random(seed ^ 2, &[rows, width]);
        check_layer(&params, &[xs, h, c], &|p, x| {
            let (hs, [h, c]) = lstm.forward(p, x[0], [x[1], x[2]]);
            Ok(hs.sum_axis(0) + h + c)
        })?;
    }

    #[test]
    fn attention(seed: u64, batch in 1usize..3, places in 1usize..4, heads in 1usize..3) {
        let width = 2 * heads;
        let mut params = Params::seeded(seed);
        let layer = Attention::new(&mut params, "a", width, heads);
        scatter(&mut params, seed);
        let x = random(seed, &[batch, places, width]);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| {
            let mask = Attention::causal(x[0].tape(), places);
            Ok(layer.forward(p, x[0], x[0], Some(mask)))
        })?;
        let y = random(seed ^ 1, &[batch, 2, width]);
        check_layer(&params, &[x.clone(), y], &|p, x| Ok(layer.forward(p, x[0], x[1], None)))?;
        // With a causal mask, what comes later changes nothing.
        let run = |x: &ArrayD<f64>| {
            let tape = Tape::new();
            let mask = Attention::causal(&tape, places);
            let x = tape.constant(x);
            layer.forward(&params.bind(&tape), x, x, Some(mask)).value()
        };
        let mut changed = x.clone();
        changed.slice_axis_mut(Axis(1), ((places - 1)..).into()).fill(3.0);
        let (a, b) = (run(&x), run(&changed));
        let early = ndarray::Slice::from(..places - 1);
        prop_assert_eq!(a.slice_axis(Axis(1), early), b.slice_axis(Axis(1), early));
    }

    #[test]
    fn activations(seed: u64) {
        // Away from the kinks at 0.
        let x = random(seed, &[5]).mapv(|x: f64| x + 0.3 * x.signum());
        for activation in Activation::ALL {
            check_layer(&Params::seeded(0), std::slice::from_ref(&x), &|_, x| {
                Ok(activation.apply(x[0]))
            })?;
            check_layer(&Params::seeded(0), std::slice::from_ref(&x), &|_, x| {
                Ok(activation.derivative(x[0])? + x[0])
            })?;
            let tape = Tape::new();
            let x = tape.constant(&x);
            let by_grad = activation.apply(x).sum().grad(&[x])?[0].to_vec();
            for (a, b) in activation.derivative(x)?.to_vec().iter().zip(by_grad) {
                prop_assert!((a - b).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn combinators(seed: u64, rows in 1usize..4) {
        let mut params = Params::seeded(seed);
        let inner = Sequential::new()
            .then(Linear::new(&mut params, "a", 3, 4))
            .then(Activation::Tanh)
            .then(Linear::new(&mut params, "b", 4, 3));
        let net = Sequential::new().then(LayerNorm::new(&mut params, "n", 3)).then(Residual(inner));
        let x = random(seed, &[rows, 3]);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| net.forward(p, x[0]))?;
        prop_assert_eq!(net.output_shape(&[rows, 3].into()), Ok(Some([rows, 3].into())));
        // A closure has the bits of the module it calls.
        let norm = LayerNorm::new(&mut params, "m", 3);
        let other = Sequential::new().then_fn(move |p, x| Ok(norm.forward(p, x).tanh()));
        let plain = Sequential::new().then(norm).then(Activation::Tanh);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&x));
        prop_assert_eq!(other.forward(&p, x).unwrap().to_vec(), plain.forward(&p, x).unwrap().to_vec());
        prop_assert_eq!(other.output_shape(&[rows, 3].into()), Ok(None));
    }

    #[test]
    fn dropout_keeps_the_mean(seed: u64, rate in 0.0..0.9f64) {
        let dropout = Dropout::new(rate);
        let mut rng = Rng::seeded(seed);
        let mask: ArrayD<f64> = dropout.mask(&mut rng, [100, 100]);
        let deviation = (rate / (1.0 - rate) / 10_000.0).sqrt();
        prop_assert!((mask.mean().unwrap() - 1.0).abs() < 6.0 * deviation + 1e-12);
        let x = random(seed, &[3, 2]);
        let mask = dropout.mask(&mut rng, [3, 2]);
        check_layer(&Params::seeded(0), &[x, mask], &|_, x| Ok(dropout.forward(x[0], x[1])))?;
    }

    #[test]
    fn initial_matrices(seed: u64, rows in 1usize..6, columns in 1usize..6) {
        let mut rng = Rng::seeded(seed);
        let q: Vec<f64> = Init::Orthogonal(2.0).draw(&mut rng, [2, rows, columns]);
        for q in q.chunks(rows * columns) {
            let q = Array2::from_shape_vec((rows, columns), q.to_vec()).unwrap();
            let product = if rows <= columns { q.dot(&q.t()) } else { q.t().dot(&q) };
            let n = rows.min(columns);
            let difference: Array2<f64> = product - Array2::<f64>::eye(n) * 4.0;
            prop_assert!(difference.iter().all(|x| x.abs() < 1e-13));
        }
        let a: Vec<f64> = Init::Antisymmetric(0.5).draw(&mut rng, [rows, rows]);
        let a = Array2::from_shape_vec((rows, rows), a).unwrap();
        prop_assert_eq!(&a + &a.t(), Array2::<f64>::zeros((rows, rows)));
    }
}

/// Variances of random initial values are those of their formulas.
#[test]
fn initial_variances() {
    let mut rng = Rng::seeded(5);
    let (inputs, outputs) = (80, 240);
    for (init, expected) in [
        (Init::Uniform(0.5), 0.25 / 3.0),
        (Init::Normal(0.3), 0.09),
        (Init::XavierUniform, 2.0 / 320.0),
        (Init::XavierNormal, 2.0 / 320.0),
        (Init::KaimingUniform, 2.0 / 80.0),
        (Init::KaimingNormal, 2.0 / 80.0),
        (Init::Antisymmetric(0.7), 0.49 * 239.0 / 240.0),
    ] {
        let rows = if matches!(init, Init::Antisymmetric(_)) { outputs } else { inputs };
        let x: Vec<f64> = init.draw(&mut rng, [rows, outputs]);
        let n = x.len() as f64;
        let mean = x.iter().sum::<f64>() / n;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        assert!(mean.abs() < 6.0 * (expected / n).sqrt(), "{init:?}: {mean}");
        assert!((variance / expected - 1.0).abs() < 0.05, "{init:?}: {variance} {expected}");
    }
    // A kernel's outputs are sums over its places too: 8 channels of 3 by 5, 60 outputs.
    let (inputs, outputs) = (8.0 * 15.0, 60.0 * 15.0);
    for (init, expected) in [
        (Init::XavierUniform, 2.0 / (inputs + outputs)),
        (Init::XavierNormal, 2.0 / (inputs + outputs)),
        (Init::KaimingUniform, 2.0 / inputs),
        (Init::KaimingNormal, 2.0 / inputs),
    ] {
        let mut params = Params::<f64>::seeded(1);
        let two = Conv2d::with_init(&mut params, "2", 8, 60, [3, 5], init);
        let one = Conv1d::with_init(&mut params, "1", 8, 60, 15, init);
        for kernel in [params.get(two.kernel), params.get(one.kernel)] {
            let variance = kernel.iter().map(|x| x * x).sum::<f64>() / kernel.len() as f64;
            assert!((variance / expected - 1.0).abs() < 0.06, "{init:?}: {variance} {expected}");
        }
        assert!(params.get(two.bias).iter().all(|b| *b == 0.0));
    }
    let q: Vec<f64> = Init::Orthogonal(1.0).draw_kernel(&mut rng, [6, 2, 2, 3]);
    let q = Array2::from_shape_vec((6, 12), q).unwrap();
    assert!((q.dot(&q.t()) - Array2::<f64>::eye(6)).iter().all(|x| x.abs() < 1e-13));
    assert_eq!(Init::Constant(2.0).draw::<f32>(&mut rng, [3]), [2.0; 3]);
    assert_eq!(Init::Zeros.draw::<f32>(&mut rng, [2]), [0.0; 2]);
}

#[test]
fn a_known_gru_and_lstm() {
    // All weights 0: the gates are 1/2 of the biases' sigmoids.
    let mut params = Params::<f64>::seeded(0);
    let gru = Gru::new(&mut params, "g", 1, 1);
    params.values_mut().fill(0.0);
    let tape = Tape::new();
    let h = gru.step(&params.bind(&tape), tape.leaf(&[3.0], [1, 1]), tape.leaf(&[0.8], [1, 1]));
    assert!((h.item() - 0.4).abs() < 1e-15);
    let mut params = Params::<f64>::seeded(0);
    let lstm = Lstm::new(&mut params, "l", 1, 1);
    params.values_mut().fill(0.0);
    let one = |x: f64| tape.leaf(&[x], [1, 1]);
    let [h, c] = lstm.step(&params.bind(&tape), one(3.0), [one(0.8), one(2.0)]);
    assert!((c.item() - 1.0).abs() < 1e-15);
    assert!((h.item() - 0.5 * 1f64.tanh()).abs() < 1e-15);
}

/// A call that panics.
type Case<'a> = Box<dyn FnOnce() + 'a>;

/// Wrong shapes panic at the line of the caller.
#[test]
fn wrong_shapes_name_the_callers_line() {
    let mut params = Params::<f64>::seeded(0);
    let linear = Linear::new(&mut params, "linear", 3, 2);
    let mlp = Mlp::new(&mut params, "mlp", &[3, 4, 2], Activation::Tanh);
    let bilinear = Bilinear::new(&mut params, "bilinear", 3, 2, 2);
    let embedding = Embedding::new(&mut params, "embedding", 3, 2);
    let layer_norm = LayerNorm::new(&mut params, "layer_norm", 3);
    let group_norm = GroupNorm::new(&mut params, "group_norm", 2, 4);
    let batch_norm = BatchNorm::new(&mut params, "batch_norm", 3);
    let gru = Gru::new(&mut params, "gru", 3, 2);
    let lstm = Lstm::new(&mut params, "lstm", 3, 2);
    let attention = Attention::new(&mut params, "attention", 4, 2);
    let conv1 = Conv1d::new(&mut params, "conv1", 3, 2, 3);
    let conv2 = Conv2d::new(&mut params, "conv2", 3, 2, [3, 2]);
    let tanh = Activation::Tanh;
    let residual = ResidualNet::new(&mut params, "residual", 3, 2, tanh);
    let near = NearIdentityNet::new(&mut params, "near", 3, 2, tanh);
    let limit = FeedForwardOde::new(&mut params, "limit", 3, 2, tanh);
    let block = OdeBlock::new(&mut params, "block", 3, &[4], Basis::Linear(2), tanh);
    let augmented = Augmented::new(&mut params, "augmented", [3, 1], &[4], Basis::Constant, tanh);
    let second = SecondOrder::new(&mut params, "second", 1, &[4], tanh);
    let hamiltonian = HamiltonianNet::new(&mut params, "hamiltonian", 1, &[4], tanh);
    let lagrangian = LagrangianNet::new(&mut params, "lagrangian", 1, &[4], tanh);
    let flow = Flow::new(&mut params, "flow", 3, &[4], Basis::Constant, tanh);
    let latent = LatentOde::new(&mut params, "latent", 1, 2, 3);
    let cde = NeuralCde::new(&mut params, "cde", [3, 2], &[4], tanh);
    let universal = Universal::new(&mut params, "universal", 3, &[4], tanh);
    let chain = Sequential::new().then(linear).then(tanh).then(LayerNorm::new(&mut params, "n", 3));
    let skip = Residual(linear);
    let (ode, ends) = (Ode::new(Rk4).steps(1), [0.0, 1.0]);
    let tape = Tape::new();
    let p = params.bind(&tape);
    let x = |shape: &[usize]| tape.constant(&random(0, shape));
    let (bad, state) = (x(&[2, 5]), x(&[2, 2]));
    let wide = Path::new(PathKind::Linear, &ends, x(&[2, 2, 5]));
    let line = line!();
    let cases: Vec<(&str, Case<'_>)> = vec![
        ("[2, 5]", Box::new(|| _ = linear.forward(&p, bad))),
        ("[2, 5]", Box::new(|| _ = mlp.forward(&p, bad))),
        ("[2, 5] and [2, 2]", Box::new(|| _ = bilinear.forward(&p, bad, state))),
        ("place 3", Box::new(|| _ = embedding.forward(&p, &[3]))),
        ("[2, 5]", Box::new(|| _ = layer_norm.forward(&p, bad))),
        ("[2, 5]", Box::new(|| _ = group_norm.forward(&p, bad))),
        ("[2, 5]", Box::new(|| _ = batch_norm.forward(&p, bad))),
        ("[2, 5]", Box::new(|| _ = batch_norm.train(&p, bad))),
        ("[2, 5]", Box::new(|| _ = gru.step(&p, bad, state))),
        ("[2, 5]", Box::new(|| _ = gru.forward(&p, bad, state))),
        ("[2, 5]", Box::new(|| _ = lstm.step(&p, bad, [state, state]))),
        ("[2, 5]", Box::new(|| _ = lstm.forward(&p, bad, [state, state]))),
        ("[2, 5]", Box::new(|| _ = attention.forward(&p, bad, bad, None))),
        ("[2, 2] for shape [2, 5]", Box::new(|| _ = Dropout::new(0.5).forward(bad, state))),
        ("[2, 5], not [samples, 3, length]", Box::new(|| _ = conv1.forward(&p, bad))),
        ("[1, 3, 2, 9]", Box::new(|| _ = conv2.forward(&p, x(&[1, 3, 2, 9])))),
        ("[2, 5]", Box::new(|| _ = Pool1d::max(2).forward(bad))),
        ("window of 2 by 3", Box::new(|| _ = Pool2d::mean([2, 3]).forward(x(&[1, 1, 2, 2])))),
        ("[2, 5]", Box::new(|| _ = residual.forward(&p, bad))),
        ("[2, 5]", Box::new(|| _ = near.forward(&p, bad))),
        ("[2, 5]", Box::new(|| _ = limit.forward(&p, &ode, bad))),
        ("[2, 5]", Box::new(|| _ = block.forward(&p, &ode, bad))),
        ("[2, 5]", Box::new(|| _ = augmented.forward(&p, &ode, bad))),
        ("[2, 5]", Box::new(|| _ = second.forward(&p, &ode, bad, ends))),
        ("[2, 5]", Box::new(|| _ = hamiltonian.forward(&p, &ode, bad, ends))),
        ("[2, 5]", Box::new(|| _ = lagrangian.forward(&p, &ode, bad, ends))),
        ("[2, 5]", Box::new(|| _ = flow.sample(&p, &ode, bad))),
        ("[2, 5]", Box::new(|| _ = flow.log_density(&p, &ode, bad, &Trace::Exact, &[]))),
        ("[2, 5]", Box::new(|| _ = latent.encode(&p, &ends, bad, bad))),
        ("[2, 5]", Box::new(|| _ = latent.decode(&p, &ode, bad, &ends))),
        ("[2, 5]", Box::new(|| _ = universal.forward(&p, &ode, |_, x| x, bad, ends))),
        ("[2, 5] at 2 times", Box::new(|| _ = Path::new(PathKind::Natural, &ends, bad))),
        ("[2, 5]", Box::new(|| _ = cde.forward(&p, &ode, &wide))),
        ("module 0: Linear: shape [2, 5]", Box::new(|| _ = chain.forward(&p, bad))),
        ("module 2: LayerNorm: shape [2, 2]", Box::new(|| _ = chain.forward(&p, x(&[2, 3])))),
        ("Residual: [2, 2]", Box::new(|| _ = skip.forward(&p, x(&[2, 3])))),
    ];
    for (i, (shapes, case)) in cases.into_iter().enumerate() {
        let (file, at, message) = panic_of(case);
        assert!(message.contains(shapes), "{i}: {message}");
        assert!(file.ends_with("properties.rs"), "{i}: {file}:{at}: {message}");
        assert_eq!(at, line + 2 + i as u32, "{message}");
    }
}
