//! Each continuous model learns what it is made for: seeded, small, and to a stated level.

use costate_nn::{
    Activation, Adam, Augmented, Basis, Flow, Grid1d, HamiltonianNet, KineticEnergy, LagrangianNet,
    LatentOde, Lbfgs, Linear, NeuralCde, OdeBlock, Params, Path, PathKind, Rng, SecondOrder, Trace,
    Universal, accuracy, cross_entropy,
};
use costate_odeint::{Ode, Rk4, Tsit5};
use costate_tape::{Tape, Var};
use ndarray::{Array1, Array2, Array3, ArrayD, Axis};

fn fine() -> Ode {
    Ode::new(Tsit5).tolerance(1e-9, 1e-9)
}

/// A function that needs weights which vary: first a turn, then back and a shear.
#[test]
fn blocks_with_each_basis() {
    let x: ArrayD<f64> = Rng::seeded(0).normals([24, 2]);
    let mut y = x.clone();
    for mut row in y.rows_mut() {
        let (a, b) = (row[0], row[1]);
        (row[0], row[1]) = (-b + 0.3 * a.sin(), a);
    }
    for basis in [Basis::Constant, Basis::Piecewise(2), Basis::Linear(3), Basis::Fourier(1)] {
        let mut params = Params::<f64>::seeded(1);
        let block = OdeBlock::new(&mut params, "b", 2, &[16], basis, Activation::Tanh);
        let (ode, mut adam) = (Ode::new(Rk4).steps(4), Adam::new(0.03));
        let mut loss = f64::INFINITY;
        for _ in 0..200 {
            loss = params
                .step(&mut adam, |tape, p| {
                    Ok((block.forward(p, &ode, tape.constant(&x))? - &y).square().mean())
                })
                .unwrap();
        }
        assert!(loss < 3e-3, "{basis:?}: {loss}");
    }
}

/// `x → -x` on a line: paths would have to cross, so a plain block cannot, and an augmented one can.
#[test]
fn augmentation_lets_paths_pass() {
    let x = Array2::from_shape_fn((9, 1), |(i, _)| (i as f64 - 4.0) / 4.0);
    let ode = Ode::new(Rk4).steps(6);
    let mut params = Params::<f64>::seeded(0);
    let plain = OdeBlock::new(&mut params, "b", 1, &[16], Basis::Constant, Activation::Tanh);
    let mut adam = Adam::new(0.02);
    let mut stuck = 0.0;
    for _ in 0..200 {
        stuck = params
            .step(&mut adam, |tape, p| {
                Ok((plain.forward(p, &ode, tape.constant(&x))? + &x).square().mean())
            })
            .unwrap();
    }
    let mut params = Params::<f64>::seeded(0);
    let block = Augmented::new(&mut params, "a", [1, 1], &[16], Basis::Constant, Activation::Tanh);
    let mut adam = Adam::new(0.02);
    let mut loss = f64::INFINITY;
    for _ in 0..200 {
        loss = params
            .step(&mut adam, |tape, p| {
                let y = block.forward(p, &ode, tape.constant(&x))?.slice_axis(1, 0..1);
                Ok((y + &x).square().mean())
            })
            .unwrap();
    }
    // The best that keeps the order is the constant 0, with a loss of the mean of x².
    assert!(stuck > 0.4, "{stuck}");
    assert!(loss < 5e-3, "{loss}");
}

/// A pendulum's positions and velocities, `[times, rows, 2]`.
fn pendulum(ts: &[f64]) -> ArrayD<f64> {
    let tape = Tape::new();
    let z = tape.constant(&ndarray::arr2(&[[1.0, 0.0], [0.3, 0.8], [-0.8, 0.5], [1.5, -0.3]]));
    fine().solve(|_, z| turning(z), z, ts).unwrap().value()
}

fn turning<'t>(z: Var<'t, f64>) -> Var<'t, f64> {
    Var::concat(1, &[z.slice_axis(1, 1..2), -z.slice_axis(1, 0..1).sin()])
}

#[test]
fn mechanical_models_learn_a_pendulum() {
    let ts: Vec<f64> = (0..9).map(|i| 0.25 * f64::from(i)).collect();
    let data = pendulum(&ts);
    let start = data.index_axis(Axis(0), 0).to_owned();
    let ode = Ode::new(Rk4).steps(8);

    let mut params = Params::<f64>::seeded(0);
    let second = SecondOrder::new(&mut params, "s", 1, &[12], Activation::Tanh);
    let found = params
        .minimise(&mut Lbfgs::new(10), 60, |tape, p| {
            let zs = second.forward(p, &ode, tape.constant(&start), &ts)?;
            Ok((zs - &data).square().mean())
        })
        .unwrap();
    assert!(found.loss < 1e-4, "second order: {found:?}");

    let mut params = Params::<f64>::seeded(0);
    let hamiltonian = HamiltonianNet::new(&mut params, "h", 1, &[12], Activation::Tanh);
    let found = params
        .minimise(&mut Lbfgs::new(10), 60, |tape, p| {
            let zs = hamiltonian.forward(p, &ode, tape.constant(&start), &ts)?;
            Ok((zs - &data).square().mean())
        })
        .unwrap();
    assert!(found.loss < 1e-4, "Hamiltonian: {found:?}");
    // Beyond the data the energy of the pendulum stays within a few per cent.
    let tape = Tape::new();
    let zs = hamiltonian
        .forward(&params.bind(&tape), &ode, tape.constant(&start), [0.0, 8.0])
        .unwrap()
        .value();
    let energy = |z: ndarray::ArrayViewD<'_, f64>| 0.5 * z[1] * z[1] - z[0].cos();
    for row in 0..4 {
        let [a, b] = [0, 1].map(|i| energy(zs.index_axis(Axis(0), i).index_axis(Axis(0), row)));
        assert!((a - b).abs() < 0.1, "row {row}: {a} {b}");
    }

    let mut params = Params::<f64>::seeded(0);
    let lagrangian = LagrangianNet::new(&mut params, "l", 1, &[12], Activation::Softplus);
    let found = params
        .minimise(&mut Lbfgs::new(10), 60, |tape, p| {
            let zs = lagrangian.forward(p, &ode, tape.constant(&start), &ts)?;
            Ok((zs - &data).square().mean())
        })
        .unwrap();
    assert!(found.loss < 1e-4, "Lagrangian: {found:?}");
}

/// Two bumps: their density is found to a fraction of a nat, and integrates to 1.
#[test]
fn a_flow_learns_two_bumps() {
    let mut rng = Rng::seeded(0);
    let bump = |rng: &mut Rng, sign: f64| 1.5 * sign + 0.4 * rng.normal();
    let x = Array2::from_shape_fn((128, 1), |(i, _)| bump(&mut rng, [-1.0, 1.0][i % 2]));
    let mut params = Params::<f64>::seeded(0);
    let flow = Flow::new(&mut params, "f", 1, &[16], Basis::Linear(2), Activation::Tanh);
    let (ode, mut adam) = (Ode::new(Rk4).steps(8), Adam::new(0.03));
    let mut loss = f64::INFINITY;
    for _ in 0..150 {
        let probe = rng.signs([128, 1]);
        loss = params
            .step(&mut adam, |tape, p| {
                let trace = Trace::Hutchinson(tape.constant(&probe));
                let x = tape.constant(&x);
                let (density, energy) = flow.log_density(p, &ode, x, &trace, &[&KineticEnergy])?;
                Ok(energy[0].mean() * 1e-3 - density.mean())
            })
            .unwrap();
    }
    // The entropy of the two bumps is about 1.19 nats, that of one normal with their variance 1.86.
    assert!(loss < 1.35, "{loss}");
    let grid = Array2::from_shape_fn((400, 1), |(i, _)| 0.025 * (i as f64 - 200.0));
    let tape = Tape::new();
    let p = params.bind(&tape);
    let x = tape.constant(&grid);
    let (density, _) = flow.log_density(&p, &ode, x, &Trace::Exact, &[]).unwrap();
    let total: f64 = density.to_vec().iter().map(|d| 0.025 * d.exp()).sum();
    assert!((total - 1.0).abs() < 0.01, "{total}");
    // Samples lie in the bumps.
    let z = tape.constant(&rng.normals([400, 1]));
    let samples = flow.sample(&p, &ode, z).unwrap().to_vec();
    let inside = samples.iter().filter(|x| (0.4..2.6).contains(&x.abs())).count();
    assert!(inside > 360, "{inside}");
}

/// Sine waves with gaps: what is unseen between and after the observations is predicted.
#[test]
fn a_latent_ode_fills_gaps() {
    let ts: Vec<f64> = (0..12).map(|i| 0.35 * f64::from(i) + 0.1 * f64::from(i % 3)).collect();
    let (rows, seen) = (16, 9);
    let mut rng = Rng::seeded(0);
    let phases: Vec<f64> = (0..rows).map(|_| std::f64::consts::TAU * rng.uniform()).collect();
    let data = Array3::from_shape_fn((12, rows, 1), |(i, j, _)| (1.5 * ts[i] + phases[j]).sin());
    let mask =
        Array3::from_shape_simple_fn((12, rows, 1), || f64::from(u8::from(rng.uniform() < 0.7)));
    // The last times are never seen in training.
    let (head, mask) = (
        data.slice_axis(Axis(0), (0..seen).into()).to_owned(),
        mask.slice_axis(Axis(0), (0..seen).into()).to_owned(),
    );
    let mut params = Params::<f64>::seeded(0);
    let model = LatentOde::new(&mut params, "m", 1, 3, 16);
    let (ode, mut adam) = (Ode::new(Rk4).steps(12), Adam::new(0.01));
    for _ in 0..500 {
        let epsilon = rng.normals::<f64>([rows, 3]);
        params
            .step(&mut adam, |tape, p| {
                let both = [tape.constant(&head), tape.constant(&mask)];
                let elbo = model.elbo(p, &ode, &ts[..seen], both, tape.constant(&epsilon), 0.1)?;
                Ok(-elbo.bound)
            })
            .unwrap();
    }
    let tape = Tape::new();
    let p = params.bind(&tape);
    let [mean, _] = model.encode(&p, &ts[..seen], tape.constant(&head), tape.constant(&mask));
    let error = (model.decode(&p, &ode, mean, &ts).unwrap() - &data).square();
    let [all, unseen] = [0..seen, seen..12].map(|range| error.slice_axis(0, range).mean().item());
    assert!(all < 0.02, "seen {all}, unseen {unseen}");
    assert!(unseen < 0.15, "seen {all}, unseen {unseen}");
}

/// Spirals that turn left or right, told apart from irregular observations, by each kind of path.
#[test]
fn a_cde_tells_spirals_apart() {
    let mut rng = Rng::seeded(0);
    let (times, rows) = (8, 24);
    let mut ts = vec![0.0];
    for _ in 1..times {
        ts.push(ts[ts.len() - 1] + 0.1 + 0.2 * rng.uniform());
    }
    let labels: Vec<usize> = (0..rows).map(|j| j % 2).collect();
    let phases: Vec<f64> = (0..rows).map(|_| std::f64::consts::TAU * rng.uniform()).collect();
    let xs = Array3::from_shape_fn((times, rows, 3), |(i, j, k)| {
        let angle = phases[j] + [3.0, -3.0][labels[j]] * ts[i];
        [ts[i], angle.cos(), angle.sin()][k]
    });
    for kind in [PathKind::Linear, PathKind::CubicHermite, PathKind::Natural] {
        let mut params = Params::<f64>::seeded(1);
        let cde = NeuralCde::new(&mut params, "c", [3, 6], &[12], Activation::Tanh);
        let out = Linear::new(&mut params, "out", 6, 2);
        let (ode, mut adam) = (Ode::new(Rk4).steps(1), Adam::new(0.03));
        let mut right = 0.0;
        for _ in 0..80 {
            params
                .step(&mut adam, |tape, p| {
                    let path = Path::new(kind, &ts, tape.constant(&xs));
                    let zs = cde.forward(p, &ode, &path)?;
                    let logits = out.forward(p, zs.index_axis(0, times - 1));
                    right = accuracy(logits, &labels);
                    Ok(cross_entropy(logits, &labels))
                })
                .unwrap();
        }
        assert!(right > 0.95, "{kind:?}: {right}");
    }
}

/// Growth and decay are known, the interaction of predator and prey is not: the network finds it.
#[test]
fn a_universal_equation_finds_the_missing_terms() {
    let ts: Vec<f64> = (0..16).map(|i| 0.4 * f64::from(i)).collect();
    let start = ndarray::arr2(&[[1.0, 0.8], [1.6, 0.6], [0.7, 1.2]]);
    fn known<'t>(z: Var<'t, f64>) -> Var<'t, f64> {
        z * z.tape().leaf(&[1.0, -1.0], [2])
    }
    fn missing<'t>(z: Var<'t, f64>) -> Var<'t, f64> {
        let product = z.slice_axis(1, 0..1) * z.slice_axis(1, 1..2);
        product * z.tape().leaf(&[-0.8, 0.7], [2])
    }
    let tape = Tape::new();
    let data =
        fine().solve(|_, z| known(z) + missing(z), tape.constant(&start), &ts).unwrap().value();
    let mut params = Params::<f64>::seeded(0);
    let model = Universal::new(&mut params, "u", 2, &[12], Activation::Tanh);
    let ode = Ode::new(Rk4).steps(30);
    // First a short part of the series: from a poor start, long ones hardly have a slope.
    for n in [6, 16] {
        let head = data.slice_axis(Axis(0), (0..n).into()).to_owned();
        let found = params
            .minimise(&mut Lbfgs::new(20), 150, |tape, p| {
                let zs =
                    model.forward(p, &ode, |_, z| known(z), tape.constant(&start), &ts[..n])?;
                Ok((zs - &head).square().mean())
            })
            .unwrap();
        assert!(found.loss < 1e-3, "{n}: {found:?}");
    }
    let tape = Tape::new();
    let at = tape.constant(&data.index_axis(Axis(0), 5));
    let found = model.unknown(&params.bind(&tape), at);
    let error = (found - missing(at)).square().mean().item();
    assert!(error < 0.02, "{error}");
}

/// Viscosity and speed of a wave, from how it changes.
#[test]
fn a_pde_finds_its_coefficients() {
    let grid = Grid1d::new(24, 1.0);
    let start = Array1::from(grid.points()).mapv(|x| (std::f64::consts::TAU * x).sin().exp());
    let start = start.insert_axis(Axis(0));
    let ts = [0.0, 0.1, 0.2, 0.3];
    fn waves<'t>(
        grid: Grid1d,
        u: Var<'t, f64>,
        nu: Var<'t, f64>,
        c: Var<'t, f64>,
        ts: &[f64],
    ) -> costate_tape::Result<Var<'t, f64>> {
        let ode = Ode::new(Rk4).steps(30);
        ode.solve(|_, u| nu * grid.second(u) - c * u * grid.first(u), u, ts)
    }
    let tape = Tape::new();
    let (nu, c) = (tape.scalar(0.02), tape.scalar(0.4));
    let data = waves(grid, tape.constant(&start), nu, c, &ts).unwrap().value();
    let mut params = Params::<f64>::seeded(0);
    let nu = params.add("nu", [], |_| 0.05);
    let c = params.add("c", [], |_| 0.0);
    let found = params
        .minimise(&mut Lbfgs::new(5).tolerance(1e-9), 40, |tape, p| {
            Ok((waves(grid, tape.constant(&start), p[nu], p[c], &ts)? - &data).square().mean())
        })
        .unwrap();
    assert!((params.get(nu).sum() - 0.02).abs() < 1e-5, "{found:?}");
    assert!((params.get(c).sum() - 0.4).abs() < 1e-4, "{found:?}");
}
