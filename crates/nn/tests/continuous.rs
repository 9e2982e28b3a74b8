//! Continuous models: gradients, and what their equations promise.

use crate::common::{check_layer, random, scatter};
use costate_nn::{
    Activation, Along, Augmented, Basis, Flow, Grid1d, HamiltonianNet, Integrand, JacobianNorm,
    KineticEnergy, LagrangianNet, LatentOde, NeuralCde, OdeBlock, Params, Path, PathKind, Rng,
    SecondOrder, TaylorNorm, Trace, Universal, normal_log_density, solve_with_integrals, steer,
};
use costate_odeint::{Ode, Rk4, Tsit5};
use costate_tape::{Tape, Var};
use proptest::prelude::*;

const BASES: [Basis; 4] =
    [Basis::Constant, Basis::Piecewise(3), Basis::Linear(3), Basis::Fourier(2)];

fn coarse() -> Ode {
    Ode::new(Rk4).steps(3)
}

fn fine() -> Ode {
    Ode::new(Tsit5).tolerance(1e-10, 1e-10)
}

proptest! {
    // Each of these takes a second: what is drawn is another seed in every run.
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn gradients(seed: u64, rows in 1usize..3) {
        let tanh = Activation::Tanh;
        let x = random(seed, &[rows, 2]);
        for basis in BASES {
            let mut params = Params::seeded(seed);
            let block = OdeBlock::new(&mut params, "b", 2, &[3], basis, tanh);
            scatter(&mut params, seed);
            check_layer(&params, std::slice::from_ref(&x), &|p, x| block.forward(p, &coarse(), x[0]))?;
        }
        let mut params = Params::seeded(seed);
        let augmented = Augmented::new(&mut params, "a", [2, 1], &[3], Basis::Linear(2), tanh);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| augmented.forward(p, &coarse(), x[0]))?;
        let mut params = Params::seeded(seed);
        let second = SecondOrder::new(&mut params, "s", 1, &[3], tanh);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| {
            second.forward(p, &coarse(), x[0], [0.0, 0.5, 1.0])
        })?;
        let mut params = Params::seeded(seed);
        let hamiltonian = HamiltonianNet::new(&mut params, "h", 1, &[3], tanh);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| {
            hamiltonian.forward(p, &coarse(), x[0], [0.0, 1.0])
        })?;
        let mut params = Params::seeded(seed);
        let lagrangian = LagrangianNet::new(&mut params, "l", 1, &[3], Activation::Softplus);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| {
            lagrangian.forward(p, &coarse(), x[0], [0.0, 0.5])
        })?;
        let mut params = Params::seeded(seed);
        let universal = Universal::new(&mut params, "u", 2, &[3], tanh);
        check_layer(&params, std::slice::from_ref(&x), &|p, x| {
            universal.forward(p, &coarse(), |t, x| x.sin() * t, x[0], [0.0, 1.0])
        })?;
    }

    #[test]
    fn gradients_of_flows(seed: u64, rows in 1usize..3) {
        let mut params = Params::seeded(seed);
        let flow = Flow::new(&mut params, "f", 2, &[3], Basis::Linear(2), Activation::Tanh);
        let (x, probe) = (random(seed, &[rows, 2]), random(seed ^ 1, &[rows, 2]));
        check_layer(&params, std::slice::from_ref(&x), &|p, x| {
            Ok(flow.log_density(p, &coarse(), x[0], &Trace::Exact, &[])?.0)
        })?;
        check_layer(&params, &[x, probe], &|p, x| {
            let (trace, norm) = (Trace::Hutchinson(x[1]), JacobianNorm(x[1]));
            let all: [&dyn Integrand<'_, f64>; 2] = [&norm, &TaylorNorm(2)];
            let (density, integrals) = flow.log_density(p, &coarse(), x[0], &trace, &all)?;
            Ok(density + integrals[0] + integrals[1])
        })?;
    }

    #[test]
    fn gradients_of_sequence_models(seed: u64, rows in 1usize..3) {
        let ts = [0.0, 0.4, 1.0, 1.1];
        let xs = random(seed, &[4, rows, 2]);
        for kind in [PathKind::Linear, PathKind::CubicHermite, PathKind::Natural] {
            let mut params = Params::seeded(seed);
            let cde = NeuralCde::new(&mut params, "c", [2, 3], &[3], Activation::Tanh);
            check_layer(&params, std::slice::from_ref(&xs), &|p, x| {
                cde.forward(p, &coarse(), &Path::new(kind, &ts, x[0]))
            })?;
        }
        let mut params = Params::seeded(seed);
        let latent = LatentOde::new(&mut params, "l", 2, 2, 3);
        let mask = random(seed ^ 1, &[4, rows, 2]).mapv(|x| f64::from(u8::from(x > 0.0)));
        check_layer(&params, &[xs, random(seed ^ 2, &[rows, 2])], &|p, x| {
            let mask = x[0].tape().constant(&mask);
            Ok(latent.elbo(p, &coarse(), &ts, [x[0], mask], x[1], 0.3)?.bound)
        })?;
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    /// Bases against their formulas, at any time.
    #[test]
    fn bases(t in -0.5..1.5f64) {
        let tape = Tape::<f64>::new();
        let at = |basis: Basis| basis.at(tape.scalar(t)).to_vec();
        prop_assert_eq!(at(Basis::Constant), [1.0]);
        let piece = ((3.0 * t).floor().clamp(0.0, 2.0)) as usize;
        for (j, phi) in at(Basis::Piecewise(3)).into_iter().enumerate() {
            prop_assert_eq!(phi, f64::from(u8::from(j == piece)));
        }
        let linear = at(Basis::Linear(4));
        prop_assert!((linear.iter().sum::<f64>() - 1.0).abs() < 1e-14);
        let mean: f64 = linear.iter().enumerate().map(|(j, phi)| j as f64 / 3.0 * phi).sum();
        prop_assert!((mean - t.clamp(0.0, 1.0)).abs() < 1e-14);
        let turn = std::f64::consts::TAU * t;
        let expected = [1.0, turn.cos(), (2.0 * turn).cos(), turn.sin(), (2.0 * turn).sin()];
        for (a, b) in at(Basis::Fourier(2)).into_iter().zip(expected) {
            prop_assert!((a - b).abs() < 1e-13);
        }
    }

    /// What is conserved by construction is conserved, whatever the weights.
    #[test]
    fn energies_are_conserved(seed: u64) {
        let tape = Tape::new();
        let z = tape.constant(&random(seed, &[3, 4]));
        let ts = [0.0, 1.0, 2.0];
        let mut params = Params::<f64>::seeded(seed);
        let net = HamiltonianNet::new(&mut params, "h", 2, &[8], Activation::Tanh);
        let p = params.bind(&tape);
        let zs = net.forward(&p, &fine(), z, ts).unwrap();
        let energies = net.energy(&p, zs.reshape([9, 4])).to_vec();
        for i in 3..9 {
            prop_assert!((energies[i] - energies[i % 3]).abs() < 1e-7);
        }
        let mut params = Params::<f64>::seeded(seed);
        let net = LagrangianNet::new(&mut params, "l", 2, &[8], Activation::Tanh);
        params.values_mut().iter_mut().for_each(|w| *w *= 0.5);
        let p = params.bind(&tape);
        let zs = net.forward(&p, &fine(), z.scale(0.5), ts).unwrap();
        let energies = net.energy(&p, zs.reshape([9, 4])).unwrap().to_vec();
        for i in 3..9 {
            prop_assert!((energies[i] - energies[i % 3]).abs() < 1e-6, "{:?}", energies);
        }
    }

    /// Integrands of `f = t A x` against their formulas.
    #[test]
    fn integrands_are_their_formulas(seed: u64) {
        let tape = Tape::new();
        let (a, x) = (tape.constant(&random(seed, &[3, 3])), tape.constant(&random(seed ^ 1, &[2, 3])));
        let probe = tape.constant(&random(seed ^ 2, &[2, 3]));
        let t = tape.scalar(0.7);
        let place = Along { t, x, slope: x.matmul(a) * t };
        let norm = |v: Var<'_, f64>| v.square().sum_axis(1).to_vec();
        let close = |x: Vec<f64>, y: Vec<f64>| x.iter().zip(&y).all(|(x, y)| (x - y).abs() < 1e-10 * (1.0 + y.abs()));
        let slope = x.matmul(a).scale(0.7);
        prop_assert!(close(KineticEnergy.at(&place).unwrap().to_vec(), norm(slope)));
        prop_assert!(close(TaylorNorm(1).at(&place).unwrap().to_vec(), norm(slope)));
        // x'' = A x + t A x'.
        let second = x.matmul(a) + slope.matmul(a).scale(0.7);
        prop_assert!(close(TaylorNorm(2).at(&place).unwrap().to_vec(), norm(second)));
        // x''' = 2 A x' + t A x''.
        let third = slope.matmul(a).scale(2.0) + second.matmul(a).scale(0.7);
        prop_assert!(close(TaylorNorm(3).at(&place).unwrap().to_vec(), norm(third)));
        let product = probe.matmul(a.t()).scale(0.7);
        prop_assert!(close(JacobianNorm(probe).at(&place).unwrap().to_vec(), norm(product)));
        let trace = 0.7 * a.trace().item();
        prop_assert!(close(Trace::Exact.at(&place).unwrap().to_vec(), vec![trace; 2]));
        let hutchinson = (product * probe).sum_axis(1).to_vec();
        prop_assert!(close(Trace::Hutchinson(probe).at(&place).unwrap().to_vec(), hutchinson));
    }

    /// The trace by probes has the exact trace as its mean: over all probes of signs, exactly.
    #[test]
    fn probes_have_the_trace_as_mean(seed: u64) {
        let mut params = Params::<f64>::seeded(seed);
        let flow = Flow::new(&mut params, "f", 2, &[4], Basis::Linear(2), Activation::Tanh);
        scatter(&mut params, seed);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[1, 2])));
        let density = |trace: &Trace<'_, f64>| {
            // The same steps for all, so that the integrals are comparable to rounding.
            flow.log_density(&p, &Ode::new(Rk4).steps(8), x, trace, &[]).unwrap().0.item()
        };
        let signs = [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]];
        let mean = signs.map(|s| density(&Trace::Hutchinson(tape.leaf(&s, [1, 2])))).iter().sum::<f64>() / 4.0;
        let exact = density(&Trace::Exact);
        prop_assert!((mean - exact).abs() < 1e-10 * (1.0 + exact.abs()));
    }

    /// A flow's density is that of its samples: with `x = g(z)`, `p(x) = N(z)/|det ∂g/∂z|`.
    #[test]
    fn densities_are_those_of_samples(seed: u64) {
        let mut params = Params::<f64>::seeded(seed);
        let flow = Flow::new(&mut params, "f", 2, &[4], Basis::Fourier(1), Activation::Tanh);
        scatter(&mut params, seed);
        let tape = Tape::new();
        let (p, z) = (params.bind(&tape), tape.constant(&random(seed, &[1, 2])));
        let x = flow.sample(&p, &fine(), z).unwrap();
        let volume = x.reshape([2]).jacobian(z).unwrap().reshape([2, 2]).logdet().item();
        let expected = normal_log_density(z).item() - volume;
        let (found, _) = flow.log_density(&p, &fine(), x, &Trace::Exact, &[]).unwrap();
        prop_assert!((found.item() - expected).abs() < 1e-6, "{} {}", found.item(), expected);
    }

    /// Paths go through the observations, with the derivatives that they promise.
    #[test]
    fn paths(seed: u64, gaps in prop::collection::vec(0.1..2.0f64, 1..6)) {
        let mut ts = vec![0.3];
        gaps.iter().for_each(|gap| ts.push(ts[ts.len() - 1] + gap));
        let n = ts.len();
        let tape = Tape::new();
        let xs = random(seed, &[n, 1, 1]);
        for kind in [PathKind::Linear, PathKind::CubicHermite, PathKind::Natural] {
            let path = Path::new(kind, &ts, tape.constant(&xs));
            let (value, slope) = (|t| path.value(t).item(), |t| path.slope(t).item());
            for i in 0..n {
                prop_assert!((value(ts[i]) - xs[[i, 0, 0]]).abs() < 1e-12);
                let before = ts[i] - 1e-7;
                if i > 0 {
                    prop_assert!((value(before) - xs[[i, 0, 0]]).abs() < 1e-4);
                }
                if i > 0 && i < n - 1 && kind != PathKind::Linear {
                    prop_assert!((slope(before) - slope(ts[i])).abs() < 1e-3);
                }
                if i > 0 && i < n - 1 && kind == PathKind::Natural {
                    let bend = |t: f64| (slope(t + 1e-6) - slope(t)) / 1e-6;
                    prop_assert!((bend(ts[i] - 2e-6) - bend(ts[i])).abs() < 2e-2 * (1.0 + bend(ts[i]).abs()));
                }
            }
            if kind == PathKind::Natural {
                let bend = (slope(ts[0] + 1e-6) - slope(ts[0])) / 1e-6;
                prop_assert!(bend.abs() < 1e-2, "{}", bend);
            }
            if kind == PathKind::CubicHermite && n > 2 {
                // Nothing before an observation depends on it.
                let mut changed = xs.clone();
                changed[[n - 1, 0, 0]] += 5.0;
                let other = Path::new(kind, &ts, tape.constant(&changed));
                let t = 0.5 * (ts[n - 3] + ts[n - 2]);
                prop_assert_eq!(other.value(t).item(), value(t));
            }
        }
    }

    #[test]
    fn random_ends_are_in_range(seed: u64, spread in 0.0..0.99f64) {
        let mut rng = Rng::seeded(seed);
        for _ in 0..20 {
            prop_assert!((steer(&mut rng, 0.0, 1.0, spread) - 1.0).abs() <= spread);
        }
    }
}

/// A linear function has no error, and waves lose it at fourth order.
#[test]
fn differences_are_of_fourth_order() {
    let error = |n: usize| {
        let grid = Grid1d::new(n, 2.0);
        let tape = Tape::<f64>::new();
        let k = std::f64::consts::PI;
        let at = |f: fn(f64) -> f64| {
            let values: Vec<f64> = grid.points().iter().map(|x| f(k * x)).collect();
            tape.leaf(&values, [1, n])
        };
        let largest =
            |v: Var<'_, f64>| v.to_vec().into_iter().fold(0.0, |a: f64, b| a.max(b.abs()));
        let u = at(f64::sin);
        let first = largest(grid.first(u) - at(f64::cos).scale(k));
        [first, largest(grid.second(u) + u.scale(k * k))]
    };
    let (coarse, fine) = (error(24), error(48));
    for i in 0..2 {
        assert!((coarse[i] / fine[i]).log2() > 3.9, "{coarse:?} {fine:?}");
    }
}

/// With weights constant on pieces, a block is its pieces one after another, whatever the steps.
#[test]
fn pieces_are_solved_one_by_one() {
    let mut params = Params::<f64>::seeded(3);
    let block = OdeBlock::new(&mut params, "b", 2, &[4], Basis::Piecewise(2), Activation::Tanh);
    scatter(&mut params, 4);
    let tape = Tape::new();
    let (p, x) = (params.bind(&tape), tape.constant(&random(0, &[1, 2])));
    let coarse = block.forward(&p, &Ode::new(Rk4).steps(20), x).unwrap().to_vec();
    let fine = block.forward(&p, &fine(), x).unwrap().to_vec();
    // A step across the jump would leave an error of first order, about 1e-2.
    assert!(coarse.iter().zip(&fine).all(|(a, b)| (a - b).abs() < 1e-7), "{coarse:?} {fine:?}");
}

fn solve<'t>(
    ts: [f64; 2],
    x: Var<'t, f64>,
    all: &[&dyn Integrand<'t, f64>],
) -> (Var<'t, f64>, Vec<Var<'t, f64>>) {
    solve_with_integrals(&fine(), |_, x| Ok(x.sin()), x, ts, all).unwrap()
}

/// Integrals of several integrands are those of each by itself, and change sign with time.
#[test]
fn integrals_compose() {
    let tape = Tape::<f64>::new();
    let x = tape.constant(&random(1, &[2, 3]));
    let (xs, both) = solve([0.0, 1.0], x, &[&KineticEnergy, &Trace::Exact]);
    let (_, one) = solve([0.0, 1.0], x, &[&Trace::Exact]);
    let (_, back) = solve([1.0, 0.0], xs.index_axis(0, 1), &[&KineticEnergy]);
    for i in 0..2 {
        assert!((both[1].to_vec()[i] - one[0].to_vec()[i]).abs() < 1e-8);
        assert!((both[0].to_vec()[i] + back[0].to_vec()[i]).abs() < 1e-8);
    }
    assert_eq!(xs.index_axis(0, 0).to_vec(), x.to_vec());
}
