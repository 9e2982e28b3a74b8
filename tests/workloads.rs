//! Six problems with reference losses and gradients, computed elsewhere in double precision and
//! confirmed by a second method: `tests/data/README.md` says what they are.

use costate::prelude::*;
use costate::tape::Slice;
use safetensors::{Dtype, SafeTensors};

/// The tensors of a file.
struct Data(Vec<u8>);

impl Data {
    fn open(name: &str) -> Data {
        let path = format!("{}/tests/data/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        Data(std::fs::read(path).unwrap())
    }

    fn get(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let tensor = file.tensor(name).unwrap();
        let bytes = tensor.data();
        let entries = match tensor.dtype() {
            Dtype::F64 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::F32 => {
                bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b).into()).collect()
            }
            Dtype::BF16 => {
                let wide = |b: &[u8; 2]| f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
                bytes.as_chunks().0.iter().map(|b| wide(b).into()).collect()
            }
            other => panic!("{name}: numbers of type {other:?}"),
        };
        (tensor.shape().to_vec(), entries)
    }

    fn leaf<'t, T: Real>(&self, tape: &'t Tape<T>, name: &str) -> Var<'t, T> {
        let (shape, entries) = self.get(name);
        let entries: Vec<T> = entries.into_iter().map(T::from_f64).collect();
        tape.leaf(&entries, shape)
    }
}

/// What a workload computes: its loss, from its inputs in the order of `wrt`.
type Loss<T> =
    for<'t> fn(&Data, &Ode, &'t Tape<T>, &[Var<'t, T>]) -> Result<Var<'t, T>, costate::Error>;

/// The relative errors of loss and gradient; that of the gradient in the Euclidean norm.
fn errors<T: Real>(name: &str, wrt: &[&str], loss: Loss<T>, ode: &Ode) -> (f64, f64) {
    let data = Data::open(name);
    let tape = Tape::new();
    let x: Vec<_> = wrt.iter().map(|name| data.leaf(&tape, name)).collect();
    let loss = loss(&data, ode, &tape, &x).unwrap();
    let gradient = loss.grad(&x).unwrap();
    let expected = data.get("ref.loss").1[0];
    let (mut distance, mut size) = (0.0, 0.0);
    for (name, g) in wrt.iter().zip(gradient) {
        for (g, r) in g.to_vec().iter().zip(data.get(&format!("ref.grad.{name}")).1) {
            distance += (g.as_f64() - r).powi(2);
            size += r * r;
        }
    }
    ((loss.item().as_f64() - expected).abs() / expected, (distance / size).sqrt())
}

#[track_caller]
fn within((loss, gradient): (f64, f64), loss_bound: f64, gradient_bound: f64) {
    assert!(loss < loss_bound, "loss {loss:e}");
    assert!(gradient < gradient_bound, "gradient {gradient:e}");
}

fn spiral<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f64>,
    x: &[Var<'t, f64>],
) -> Result<Var<'t, f64>, costate::Error> {
    let &[w1, b1, w2, b2, y0] = x else { panic!("five inputs") };
    let f = |_, y: Var<'t, f64>| (y.powi(3).matmul(w1) + b1).tanh().matmul(w2) + b2;
    let ys = ode.solve(f, y0, data.get("ts").1)?;
    Ok((ys - data.leaf(tape, "target")).abs().mean())
}

fn mlp<'t, T: Real>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<T>,
    x: &[Var<'t, T>],
) -> Result<Var<'t, T>, costate::Error> {
    let &[w1, b1, w2, b2, w3, b3] = x else { panic!("six inputs") };
    let f = |_, y: Var<'t, T>| {
        let h = (y.matmul(w1) + b1).softplus();
        (h.matmul(w2) + b2).softplus().matmul(w3) + b3
    };
    let ys = ode.solve(f, data.leaf(tape, "y0"), data.get("ts").1)?;
    Ok((ys - data.leaf(tape, "target")).square().mean())
}

fn lotka_volterra<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f64>,
    x: &[Var<'t, f64>],
) -> Result<Var<'t, f64>, costate::Error> {
    let &[p, y0] = x else { panic!("two inputs") };
    let [a, b, c, d] = [0, 1, 2, 3].map(|i| p.index_axis(0, i));
    let f = |_, z: Var<'t, f64>| {
        let (x, y) = (z.index_axis(0, 0), z.index_axis(0, 1));
        Var::stack(0, &[a * x - b * x * y, -c * y + d * x * y])
    };
    let ys = ode.solve(f, y0, data.get("ts").1)?;
    Ok((ys - data.leaf(tape, "target")).square().sum())
}

fn robertson<'t>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<f64>,
    x: &[Var<'t, f64>],
) -> Result<Var<'t, f64>, costate::Error> {
    let [k1, k2, k3] = [0, 1, 2].map(|i| x[0].index_axis(0, i));
    let f = |_, u: Var<'t, f64>| {
        let [x, y, z] = [0, 1, 2].map(|i| u.index_axis(0, i));
        let (a, b, c) = (k1 * x, k2 * y * y, k3 * y * z);
        Var::stack(0, &[c - a, a - b - c, b])
    };
    let ys = ode.solve(f, data.leaf(tape, "y0"), data.get("ts").1)?;
    let scale = tape.constant(&ndarray::arr1(&[1.0, 1e4, 1.0]));
    Ok(((ys - data.leaf(tape, "target")) * scale).square().sum())
}

/// The state is `[x, ℓ]`, a row a sample; the trace of the Jacobian is by forward mode.
fn cnf<'t, T: Real>(
    data: &Data,
    ode: &Ode,
    tape: &'t Tape<T>,
    x: &[Var<'t, T>],
) -> Result<Var<'t, T>, costate::Error> {
    let &[w1, b1, w2, b2, w3, b3] = x else { panic!("six inputs") };
    let columns =
        |y: Var<'t, T>, range: std::ops::Range<isize>| y.slice(&[Slice::all(), Slice::new(range)]);
    let v = |t: Var<'t, T>, x: Var<'t, T>| {
        let h = x.matmul(w1.slice(&[Slice::new(0..2)])) + t * w1.index_axis(0, 2) + b1;
        (h.tanh().matmul(w2) + b2).tanh().matmul(w3) + b3
    };
    let f = |t: Var<'t, T>, y: Var<'t, T>| {
        let x = columns(y, 0..2);
        let v = v(t, x);
        let e = |i: usize| tape.eye(2).index_axis(0, i).broadcast_to(x.shape());
        let d = |i: isize| Ok(columns(tape.jvp(&[v], &[x], &[e(i as usize)])?[0], i..i + 1));
        Ok(Var::concat(1, &[v, -(d(0)? + d(1)?)]))
    };
    let x0 = data.leaf(tape, "y0");
    let y0 = Var::concat(1, &[x0, tape.zeros([x0.shape()[0], 1])]);
    let end = ode.try_solve(f, y0, data.get("ts").1)?.index_axis(0, 1);
    let (x, l) = (columns(end, 0..2), end.index_axis(1, 2));
    let log_tau = T::from_f64(std::f64::consts::TAU.ln());
    let log_normal = x.square().sum_axis(1).affine(T::from_f64(-0.5), -log_tau);
    Ok((l - log_normal).mean())
}

fn wide<'t>(
    data: &Data,
    ode: &Ode,
    _: &'t Tape<f32>,
    x: &[Var<'t, f32>],
) -> Result<Var<'t, f32>, costate::Error> {
    let &[w1, b1, w2, b2, y0] = x else { panic!("five inputs") };
    let f = |_, y: Var<'t, f32>| (y.matmul(w1) + b1).tanh().matmul(w2) + b2;
    let ys = ode.solve(f, y0, data.get("ts").1)?;
    Ok(ys.index_axis(0, 1).square().mean())
}

const SPIRAL: [&str; 5] = ["w1", "b1", "w2", "b2", "y0"];
const MLP: [&str; 6] = ["w1", "b1", "w2", "b2", "w3", "b3"];
const LOTKA_VOLTERRA: [&str; 2] = ["p", "y0"];
const WIDE: [&str; 5] = ["w1", "b1", "w2", "b2", "y0"];

#[test]
fn spiral_meets_its_reference() {
    let ode = Ode::new(Dopri5).tolerance(1e-7, 1e-9);
    within(errors("spiral", &SPIRAL, spiral, &ode), 1e-6, 1e-6);
    let tight = Ode::new(Tsit5).tolerance(1e-11, 1e-12);
    within(errors("spiral", &SPIRAL, spiral, &tight), 1e-9, 1e-9);
}

#[test]
fn mlp_meets_its_reference() {
    // In single precision at the tolerance of the timing, the error is a matter of luck.
    let loose = Ode::new(Tsit5).tolerance(1e-3, 1e-6);
    within(errors("mlp", &MLP, mlp::<f32>, &loose), 0.2, 0.7);
    let single = Ode::new(Tsit5).tolerance(1e-5, 1e-6);
    within(errors("mlp", &MLP, mlp::<f32>, &single), 1e-3, 2e-3);
    let double = Ode::new(Tsit5).tolerance(1e-6, 1e-9);
    within(errors("mlp", &MLP, mlp::<f64>, &double), 1e-4, 1e-4);
    let tight = Ode::new(Dopri5).tolerance(1e-10, 1e-12);
    within(errors("mlp", &MLP, mlp::<f64>, &tight), 1e-8, 1e-8);
}

#[test]
fn lotka_volterra_meets_its_reference() {
    let ode = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    within(errors("lotka_volterra", &LOTKA_VOLTERRA, lotka_volterra, &ode), 2e-7, 2e-7);
    let tight = Ode::new(Tsit5).tolerance(1e-12, 1e-12);
    within(errors("lotka_volterra", &LOTKA_VOLTERRA, lotka_volterra, &tight), 1e-9, 1e-9);
    let continuous = ode.gradient(Gradient::Continuous);
    within(errors("lotka_volterra", &LOTKA_VOLTERRA, lotka_volterra, &continuous), 1e-6, 1e-6);
}

#[test]
fn robertson_meets_its_reference() {
    for (method, rtol, bound) in [
        (costate::odeint::Method::from(Kvaerno5), 1e-8, 2e-5),
        (Kvaerno5.into(), 1e-11, 1e-7),
        (Kvaerno4.into(), 1e-8, 1e-4),
        (KenCarp4.into(), 1e-8, 1e-4),
        (Kvaerno3.into(), 1e-7, 1e-3),
        (Bdf.into(), 1e-8, 1e-3),
        (Bdf.into(), 1e-10, 1e-5),
    ] {
        // The interpolants are of lower order than the methods.
        let options = Options { stop_at_saves: true, ..Options::default() };
        let ode = Ode::new(method).options(options).tolerance(rtol, 1e-2 * rtol);
        within(errors("robertson", &["k"], robertson, &ode), bound, bound);
    }
}

#[test]
fn cnf_meets_its_reference() {
    let single = Ode::new(Tsit5).tolerance(1e-5, 1e-5);
    within(errors("cnf", &MLP, cnf::<f32>, &single), 1e-5, 3e-4);
    let double = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    within(errors("cnf", &MLP, cnf::<f64>, &double), 3e-9, 6e-8);
}

/// The reference is the gradient of these sixteen steps: what is left is the rounding.
#[test]
fn wide_meets_its_reference() {
    let ode = Ode::new(Rk4).steps(16);
    within(errors("wide", &WIDE, wide, &ode), 1e-7, 1e-6);
}

/// The gradient, each input's entries after another.
fn gradient(name: &str, wrt: &[&str], loss: Loss<f64>, ode: &Ode) -> Vec<f64> {
    let data = Data::open(name);
    let tape = Tape::new();
    let x: Vec<_> = wrt.iter().map(|name| data.leaf(&tape, name)).collect();
    let gradient = loss(&data, ode, &tape, &x).unwrap().grad(&x).unwrap();
    gradient.iter().flat_map(|g| g.to_vec()).collect()
}

/// Sensitivities beside the solve give the exact gradient, in every entry.
#[test]
fn forward_sensitivities_are_the_exact_gradient() {
    let non_stiff = Ode::new(Tsit5).tolerance(1e-8, 1e-8);
    let stiff = Ode::new(Kvaerno5).tolerance(1e-8, 1e-10);
    let problems: [(&str, &[&str], Loss<f64>, Ode); 2] = [
        ("lotka_volterra", &LOTKA_VOLTERRA, lotka_volterra, non_stiff),
        ("robertson", &["k"], robertson, stiff),
    ];
    for (name, wrt, loss, ode) in problems {
        let exact = gradient(name, wrt, loss, &ode);
        let forward = gradient(name, wrt, loss, &ode.gradient(Gradient::Forward));
        for (a, b) in exact.iter().zip(&forward) {
            assert!((a - b).abs() <= 1e-11 * a.abs(), "{name}: {a:e} {b:e}");
        }
    }
}
