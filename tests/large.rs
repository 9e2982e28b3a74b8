//! Solves at sizes at which programs are split into blocks of rows and products are shared by threads: all
//! ways to a gradient agree, on any number of threads.

use costate::odeint::Memory;
use costate::prelude::*;
use costate::tape::{Function, Program, Workspace};
use ndarray::{ArrayD, IxDyn};
use proptest::prelude::*;

/// A part of a field, from `[rows, m]` to `[rows, n]`.
#[derive(Clone, Debug)]
enum Layer {
    /// `activation(x W + b)`, with so many columns.
    Dense(usize, Activation),
    /// `x + t v`.
    Time,
    /// `x sigmoid(v x)`.
    Gate,
    /// Rows with mean 0 and variance 1.
    Norm,
    /// `x softmax(x)`, row by row.
    Attend,
    /// `x` and the sum of each row beside it.
    Append,
    /// What all rows share, taken off: no block of rows can do that.
    Centre,
}

#[derive(Clone, Debug)]
struct Model {
    rows: usize,
    width: usize,
    layers: Vec<Layer>,
}

fn numbers(shape: &[usize], seed: usize) -> ArrayD<f64> {
    let mut i = 31 * seed;
    let scale = 1.5 / (shape[0] as f64).sqrt();
    ArrayD::from_shape_simple_fn(IxDyn(shape), || {
        i += 1;
        2.0 * scale * ((i as f64 * 0.618_034).fract() - 0.5)
    })
}

impl Model {
    /// The initial state, and what the layers take.
    fn inputs(&self) -> Vec<ArrayD<f64>> {
        let mut inputs = vec![numbers(&[self.rows, self.width], 1)];
        inputs[0].mapv_inplace(|y| y * (self.rows as f64).sqrt());
        let mut columns = self.width;
        let mut add = |shape: &[usize]| {
            let seed = inputs.len() + 1;
            inputs.push(numbers(shape, seed));
        };
        for layer in &self.layers {
            match *layer {
                Layer::Dense(to, _) => {
                    add(&[columns, to]);
                    add(&[to]);
                    columns = to;
                }
                Layer::Time | Layer::Gate => add(&[columns]),
                Layer::Append => columns += 1,
                Layer::Norm | Layer::Attend | Layer::Centre => {}
            }
        }
        add(&[columns, self.width]);
        inputs
    }

    fn field<'t>(&self, given: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
        let mut given = given[1..].iter().copied();
        let mut next = || given.next().expect("enough inputs");
        let mut x = y;
        for layer in &self.layers {
            x = match *layer {
                Layer::Dense(_, activation) => activation.apply(x.matmul(next()) + next()),
                Layer::Time => x + t * next(),
                Layer::Gate => x * (x * next()).sigmoid(),
                Layer::Norm => {
                    let x = x - x.mean_axis(1).unsqueeze(1);
                    x / (x.square().mean_axis(1).unsqueeze(1) + 0.1).sqrt()
                }
                Layer::Attend => x * x.softmax(1),
                Layer::Append => Var::concat(1, &[x, x.sum_axis(1).unsqueeze(1).tanh()]),
                Layer::Centre => x - x.mean_axis(0),
            };
        }
        x.matmul(next()).tanh()
    }

    fn loss<'t>(&self, ode: &Ode, x: &[Var<'t, f64>]) -> costate::Result<Var<'t, f64>> {
        let ys = ode.solve(|t, y| self.field(x, t, y), x[0], [0.0, 0.3, 1.0])?;
        Ok((ys.index_axis(0, 2).square() + ys.index_axis(0, 1)).mean())
    }

    /// Loss and gradient, with the product of the Hessian with `direction` if there is one.
    fn derivatives<'t>(
        &self,
        ode: &Ode,
        x: &[Var<'t, f64>],
        direction: Option<&[ArrayD<f64>]>,
    ) -> costate::Result<Vec<Var<'t, f64>>> {
        let loss = self.loss(ode, x)?;
        let mut found = loss.grad(x)?;
        if let Some(direction) = direction {
            let tape = loss.tape();
            let direction: Vec<_> = direction.iter().map(|d| tape.constant(d)).collect();
            found = tape.vjp(&found, &direction, x)?;
        }
        found.push(loss);
        Ok(found)
    }

    fn on<R: Send>(threads: usize, f: impl FnOnce() -> R + Send) -> R {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(f)
    }

    fn recorded(
        &self,
        threads: usize,
        ode: &Ode,
        inputs: &[ArrayD<f64>],
        direction: Option<&[ArrayD<f64>]>,
    ) -> Vec<Vec<f64>> {
        Model::on(threads, || {
            let tape = Tape::new();
            let x: Vec<_> = inputs.iter().map(|x| tape.constant(x)).collect();
            let found = self.derivatives(ode, &x, direction).unwrap();
            found.iter().map(|x| x.to_vec()).collect()
        })
    }

    /// What a program gives at its third run.
    fn replayed(&self, threads: usize, ode: &Ode, inputs: &[ArrayD<f64>]) -> Vec<Vec<f64>> {
        Model::on(threads, || {
            let function = Function::trace(inputs, |_, x| {
                let found = self.derivatives(ode, x, None);
                found.map_err(|e| costate::tape::Error::from_call("model", Box::new(e)))
            });
            let program = Program::compile(&function.unwrap()).unwrap();
            let mut workspace = Workspace::new(&program);
            let slices: Vec<&[f64]> = inputs.iter().map(|x| x.as_slice().unwrap()).collect();
            for _ in 0..2 {
                program.evaluate(&mut workspace, &slices).unwrap();
            }
            let found = program.evaluate(&mut workspace, &slices).unwrap();
            (0..=inputs.len()).map(|i| found.get(i).to_vec()).collect()
        })
    }
}

/// How far apart two lists of arrays are, relative to the largest entry of each, or to a thousandth of the
/// largest of all: some are 0 but for rounding.
fn distance(found: &[Vec<f64>], expected: &[Vec<f64>]) -> f64 {
    let largest = |x: &[f64]| x.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let least = 1e-3 * expected.iter().map(|x| largest(x)).fold(1e-8, f64::max);
    let mut worst = 0.0_f64;
    for (found, expected) in found.iter().zip(expected) {
        let size = largest(expected).max(least);
        for (a, b) in found.iter().zip(expected) {
            worst = worst.max((a - b).abs() / size);
        }
    }
    worst
}

fn compare(model: &Model) {
    let inputs = model.inputs();
    let ode = Ode::new(Bosh3).steps(3);
    let gradient = model.recorded(2, &ode, &inputs, None);
    assert!(gradient.iter().flatten().all(|x| x.is_finite()), "{model:?}");
    for (name, memory, threads) in [
        ("one thread", Memory::Stages, 1),
        ("three threads", Memory::Stages, 3),
        ("steps kept", Memory::Steps, 2),
        ("two points kept", Memory::Checkpoints(2), 1),
    ] {
        let found = model.recorded(threads, &ode.clone().memory(memory), &inputs, None);
        assert!(found == gradient, "{name}: {model:?}");
    }
    for threads in 1..=3 {
        let found = model.replayed(threads, &ode, &inputs);
        assert!(found == gradient, "replayed on {threads} threads: {model:?}");
    }
    let unrolled = model.recorded(1, &ode.clone().gradient(Gradient::Unrolled), &inputs, None);
    let error = distance(&gradient, &unrolled);
    assert!(error < 1e-10, "exact and unrolled differ by {error:e}: {model:?}");

    let direction: Vec<_> = (0..inputs.len()).map(|i| numbers(inputs[i].shape(), 50 + i)).collect();
    let product = model.recorded(2, &ode, &inputs, Some(&direction));
    let moved = |by: f64| {
        let inputs: Vec<_> = inputs.iter().zip(&direction).map(|(x, d)| x + &(d * by)).collect();
        model.recorded(2, &ode, &inputs, None)
    };
    let (up, down) = (moved(1e-5), moved(-1e-5));
    let mut difference: Vec<Vec<f64>> = Vec::new();
    for (up, down) in up.iter().zip(&down) {
        difference.push(up.iter().zip(down).map(|(up, down)| (up - down) / 2e-5).collect());
    }
    let n = inputs.len();
    let error = distance(&product[..n], &difference[..n]);
    assert!(error < 1e-5, "the Hessian's product differs by {error:e}: {model:?}");
}

fn any_model() -> impl Strategy<Value = Model> {
    let size = |bits: f64| (1.0..bits).prop_map(|bits: f64| bits.exp2() as usize);
    let activation = prop::sample::select(vec![
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
        Activation::Identity,
    ]);
    let layer = prop_oneof![
        8 => (size(9.0), activation).prop_map(|(n, activation)| Layer::Dense(n, activation)),
        2 => Just(Layer::Time),
        1 => Just(Layer::Gate),
        1 => Just(Layer::Norm),
        1 => Just(Layer::Attend),
        1 => Just(Layer::Append),
        1 => Just(Layer::Centre),
    ];
    let layers = prop::collection::vec(layer, 1..=5);
    let models = (size(11.5), size(8.0), layers);
    let models = models.prop_map(|(rows, width, layers)| Model { rows, width, layers });
    models.prop_filter("work to be done in a test", |model| {
        let inputs = model.inputs();
        model.rows * inputs[1..].iter().map(ArrayD::len).sum::<usize>() < 20_000_000
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::cases(6), ..ProptestConfig::default() })]

    #[test]
    fn all_ways_to_a_gradient_agree(model in any_model()) {
        compare(&model);
    }
}
