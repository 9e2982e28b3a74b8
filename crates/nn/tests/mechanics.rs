//! The claims of arXiv 1909.03767, each as a property.

use crate::common::{random, scatter};
use costate_nn::mechanics::{
    Splitting, conserved, expm, hamiltonian_field, interpolate_depth, jacobian_bounds, lie_bracket,
    log_volume, poisson_bracket, rotated_forward, split_forward, trajectory, transform_field,
    transform_momentum,
};
use costate_nn::{
    Activation, Adam, Basis, FeedForwardOde, NearIdentityNet, OdeBlock, Params, ResidualNet, Rng,
};
use costate_odeint::{Ode, Tsit5};
use costate_tape::{Tape, Var};
use ndarray::ArrayD;
use proptest::prelude::*;

fn fine() -> Ode {
    Ode::new(Tsit5).tolerance(1e-11, 1e-11)
}

fn close(a: &[f64], b: &[f64], within: f64) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= within * (1.0 + b.abs()))
}

/// A feed-forward ODE with random weights.
fn feed_forward(seed: u64, width: usize, knots: usize) -> (Params<f64>, FeedForwardOde) {
    let mut params = Params::seeded(seed);
    let ode = FeedForwardOde::new(&mut params, "f", width, knots, Activation::Tanh);
    scatter(&mut params, seed);
    (params, ode)
}

/// A field on the plane that turns with the plane: `a(|x|²) x + b(|x|²) J x`, with random constants
/// in `a` and `b`.
fn turning<'t>(c: &[f64], x: Var<'t, f64>) -> Var<'t, f64> {
    let r = x.square().sum_axis(1).unsqueeze(1);
    x * (r.scale(-c[0].abs()) + c[1]) + turn(x) * (r.sin().scale(c[2]) + c[3])
}

/// `J x`, the generator of rotations.
fn turn<'t>(x: Var<'t, f64>) -> Var<'t, f64> {
    Var::concat(1, &[-x.slice_axis(1, 1..2), x.slice_axis(1, 0..1)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Claim 1: the momentum is the gradient with respect to the hidden state, obeys Hamilton's
    /// equations, and an autonomous field conserves `H`.
    #[test]
    fn back_propagation_is_hamiltons_equations(seed: u64) {
        let mut params = Params::<f64>::seeded(seed);
        let block = OdeBlock::new(&mut params, "b", 2, &[4], Basis::Constant, Activation::Tanh);
        scatter(&mut params, seed);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[2, 2])));
        let ts = [0.0, 0.3, 0.7, 1.0];
        let path = trajectory(&fine(), |t, x| Ok(block.field(&p, t, x)), x, &ts, |x| {
            Ok(x.square().sum() + x.sin().sum())
        }, &[])?;
        for &h in &path.energies {
            prop_assert!(close(&[h], &[path.energies[0]], 1e-7));
        }
        // Forward in time from the momentum at the start, without any loss.
        let z = Var::concat(1, &[path.states[0], path.momenta[0]]);
        let field = |t, z| hamiltonian_field(|t, x| Ok(block.field(&p, t, x)), t, z);
        let zs = fine().try_solve(field, z, ts)?;
        for i in 0..4 {
            let z = zs.index_axis(0, i);
            prop_assert!(close(&z.slice_axis(1, 0..2).to_vec(), &path.states[i].to_vec(), 1e-7));
            prop_assert!(close(&z.slice_axis(1, 2..4).to_vec(), &path.momenta[i].to_vec(), 1e-7));
        }
        // The ends of time: dL/dt1 = H(t1), dL/dt0 = -H(t0).
        let times = tape.leaf(&[0.0, 1.0], [2]);
        let end = fine().solve(|t, x| block.field(&p, t, x), x, times)?.index_axis(0, 1);
        let slopes = (end.square().sum() + end.sin().sum()).grad(&[times])?[0].to_vec();
        let h = path.energies[0];
        prop_assert!(close(&slopes, &[-h, h], 1e-6), "{:?} {}", slopes, h);
    }

    /// Claim 2: `dL/dθ(t)` is a function of depth, and its integral is the gradient of weights that
    /// do not vary.
    #[test]
    fn the_gradient_is_an_integral_along_depth(seed: u64) {
        let (params, ode) = feed_forward(seed, 2, 1);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[2, 2])));
        let ts: Vec<f64> = (0..=20).map(|i| f64::from(i) / 20.0).collect();
        let field = |t, x| Ok(ode.field(&p, t, x));
        let weights = [p[ode.weight], p[ode.bias]];
        let path = trajectory(&fine(), field, x, &ts, |x| Ok(x.square().sum()), &weights)?;
        let end = fine().try_solve(field, x, [0.0, 1.0])?.index_axis(0, 1);
        let total = end.square().sum().grad(&weights)?;
        for (k, total) in total.iter().map(|g| g.to_vec()).enumerate() {
            let gradient = &path.gradient[k];
            // Simpson's rule.
            let mut integral = gradient * 0.0;
            for (i, g) in path.weight_gradients[k].iter().enumerate() {
                let c = if i == 0 || i == 20 { 1.0 } else if i % 2 == 1 { 4.0 } else { 2.0 };
                integral.scaled_add(c / 60.0, g);
            }
            prop_assert!(close(integral.as_slice().unwrap(), &total, 2e-4));
            prop_assert!(close(gradient.as_slice().unwrap(), &total, 1e-8));
        }
    }

    /// Claim 3: a change of variables is a canonical transformation. `y = asinh(x R) + c t`.
    #[test]
    fn changes_of_variables_are_canonical(seed: u64, c in -1.0..1.0f64, angle in 0.0..6.0f64) {
        let mut params = Params::<f64>::seeded(seed);
        let block = OdeBlock::new(&mut params, "b", 2, &[4], Basis::Linear(2), Activation::Tanh);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[2, 2])));
        let (sin, cos) = angle.sin_cos();
        let r = tape.leaf(&[cos, sin, -sin, cos], [2, 2]);
        let ts = [0.0, 0.4, 1.0];
        let f = |t, x| Ok(block.field(&p, t, x));
        let weights = p.vars();
        let plain = trajectory(&fine(), f, x, &ts, |x| Ok(x.cos().sum()), weights)?;
        let changed = trajectory(
            &fine(),
            |t, y| transform_field(
                |t, x| x.matmul(r).asinh() + t.scale(c),
                |t, y| (y - t.scale(c)).sinh().matmul(r.t()),
                f, t, y,
            ),
            x.matmul(r).asinh(),
            &ts,
            |y| Ok((y - c).sinh().matmul(r.t()).cos().sum()),
            weights,
        )?;
        prop_assert!(close(&[changed.loss], &[plain.loss], 1e-8));
        for (a, b) in plain.gradient.iter().zip(&changed.gradient) {
            prop_assert!(close(a.as_slice().unwrap(), b.as_slice().unwrap(), 1e-7));
        }
        for (i, &time) in ts.iter().enumerate() {
            let t = tape.scalar(time);
            let y = plain.states[i].matmul(r).asinh() + t.scale(c);
            prop_assert!(close(&y.to_vec(), &changed.states[i].to_vec(), 1e-8));
            let momentum = transform_momentum(
                |t, y| (y - t.scale(c)).sinh().matmul(r.t()), t, y, plain.momenta[i],
            )?;
            prop_assert!(close(&momentum.to_vec(), &changed.momenta[i].to_vec(), 1e-7));
        }
    }

    /// Claim 3: a symmetry of the field conserves a quantity, whatever the loss; without the
    /// symmetry it is not conserved.
    #[test]
    fn symmetries_conserve(seed: u64, c in prop::collection::vec(0.2..1.0f64, 4)) {
        let tape = Tape::new();
        let x = tape.constant(&random(seed, &[3, 2]));
        let bracket = lie_bracket(|x| turning(&c, x), turn, x)?;
        prop_assert!(bracket.to_vec().iter().all(|b| b.abs() < 1e-10));
        let ts = [0.0, 0.3, 0.6, 1.0];
        let weights = tape.constant(&random(seed ^ 1, &[3, 2]));
        let at = |path: &costate_nn::mechanics::Trajectory<'_, f64>, i: usize| {
            conserved(turn, path.states[i], path.momenta[i]).to_vec()
        };
        let path = trajectory(&fine(), |_, x| Ok(turning(&c, x)), x, &ts, |x| {
            Ok((x * weights).sin().sum())
        }, &[])?;
        for i in 1..4 {
            prop_assert!(close(&at(&path, i), &at(&path, 0), 1e-7));
        }
        let bracket = lie_bracket(|x| turning(&c, x) + x.powi(3).matmul(weights.t().matmul(weights)), turn, x)?;
        prop_assert!(bracket.to_vec().iter().any(|b| b.abs() > 1e-9));
    }

    /// Claim 3: phase volume is conserved, and the volume of states grows as the divergence says.
    #[test]
    fn phase_volume_is_conserved(seed: u64) {
        let (params, ode) = feed_forward(seed, 2, 2);
        let tape = Tape::new();
        let (p, z) = (params.bind(&tape), tape.constant(&random(seed, &[2, 4])));
        let f = |t, x| Ok(ode.field(&p, t, x));
        let phase = log_volume(&fine(), |t, z| hamiltonian_field(f, t, z), z, [0.0, 1.0])?;
        prop_assert!(phase.to_vec().iter().all(|v| v.abs() < 1e-7), "{:?}", phase.to_vec());
        // Of the states alone: what the density of the flow says.
        let x = z.slice_axis(1, 0..2);
        let volume = log_volume(&fine(), f, x, [0.0, 1.0])?;
        let end = fine().try_solve(f, x, [0.0, 1.0])?.index_axis(0, 1);
        let expected = costate_nn::normal_log_density(x) - volume;
        let found = ode.log_density(&p, &fine(), end).unwrap();
        prop_assert!(close(&found.to_vec(), &expected.to_vec(), 1e-7));
    }

    /// The divergence in one pass is the trace of the Jacobian.
    #[test]
    fn the_divergence_is_free(seed: u64, time in 0.0..1.0f64, antisymmetric: bool) {
        let (params, ode) = feed_forward(seed, 3, 2);
        let ode = if antisymmetric { ode.antisymmetric() } else { ode };
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[1, 3])));
        let t = tape.scalar(time);
        let jacobian = ode.field(&p, t, x).reshape([3]).jacobian(x)?.reshape([3, 3]);
        let found = ode.divergence(&p, t, x)?;
        prop_assert!((found.item() - jacobian.trace().item()).abs() < 1e-12);
    }

    /// The Poisson bracket: canonical brackets, antisymmetry, Jacobi's identity, `dF/dt = {F, H}`.
    #[test]
    fn brackets(seed: u64) {
        let tape = Tape::new();
        let (x, p) = (tape.constant(&random(seed, &[2, 2])), tape.constant(&random(seed ^ 1, &[2, 2])));
        let w = tape.constant(&random(seed ^ 2, &[2, 2]));
        fn pick<'t>(x: Var<'t, f64>, i: usize) -> Var<'t, f64> {
            x.index_axis(1, i)
        }
        for i in 0..2 {
            for j in 0..2 {
                let b = poisson_bracket(|x, _| pick(x, i), |_, p| pick(p, j), x, p)?;
                prop_assert_eq!(b.to_vec(), vec![f64::from(u8::from(i == j)); 2]);
            }
        }
        fn a<'t>(x: Var<'t, f64>, p: Var<'t, f64>, w: Var<'t, f64>) -> Var<'t, f64> {
            (x.matmul(w) * p).sin().sum_axis(1)
        }
        fn b<'t>(x: Var<'t, f64>, p: Var<'t, f64>, w: Var<'t, f64>) -> Var<'t, f64> {
            (x.tanh() + p.square() * x.matmul(w)).sum_axis(1)
        }
        fn c<'t>(x: Var<'t, f64>, p: Var<'t, f64>, w: Var<'t, f64>) -> Var<'t, f64> {
            (p.matmul(w).cos() * x).sum_axis(1)
        }
        let (ab, ba) = (
            poisson_bracket(|x, p| a(x, p, w), |x, p| b(x, p, w), x, p)?,
            poisson_bracket(|x, p| b(x, p, w), |x, p| a(x, p, w), x, p)?,
        );
        prop_assert!(close(&ab.to_vec(), &(-ba).to_vec(), 1e-13));
        let nested = [
            poisson_bracket(|x, p| a(x, p, w), |x, p| poisson_bracket(|x, p| b(x, p, w), |x, p| c(x, p, w), x, p).unwrap(), x, p)?,
            poisson_bracket(|x, p| b(x, p, w), |x, p| poisson_bracket(|x, p| c(x, p, w), |x, p| a(x, p, w), x, p).unwrap(), x, p)?,
            poisson_bracket(|x, p| c(x, p, w), |x, p| poisson_bracket(|x, p| a(x, p, w), |x, p| b(x, p, w), x, p).unwrap(), x, p)?,
        ];
        let size: f64 = nested.iter().flat_map(|v| v.to_vec()).map(f64::abs).sum();
        let sum = (nested[0] + nested[1] + nested[2]).to_vec();
        prop_assert!(sum.iter().all(|s| s.abs() <= 1e-11 * (1.0 + size)), "{:?}", sum);
        // Along the flow of H = p · f.
        let slope = poisson_bracket(|x, p| a(x, p, w), |x, p| (p * x.matmul(w).tanh()).sum_axis(1), x, p)?;
        let z = Var::concat(1, &[x, p]);
        let dz = hamiltonian_field(|_, x| Ok(x.matmul(w).tanh()), tape.scalar(0.0), z)?;
        let f = a(z.slice_axis(1, 0..2), z.slice_axis(1, 2..4), w);
        let along = tape.jvp(&[f], &[z], &[dz])?[0];
        prop_assert!(close(&slope.to_vec(), &along.to_vec(), 1e-12));
    }

    /// `exp(A) exp(-A) = 1`, `exp(2A) = exp(A)²`, `det exp A = exp tr A`, and against the series.
    #[test]
    fn exponentials(seed: u64, n in 1usize..5, size in 0.01..20.0f64) {
        let tape = Tape::<f64>::new();
        let a = tape.constant(&random(seed, &[n, n])).scale(size / n as f64);
        let (e, inverse) = (expm(a), expm(-a));
        let norm = |x: Var<'_, f64>| x.to_vec().iter().map(|x| x.abs()).fold(0.0, f64::max);
        let scale = norm(e) * norm(inverse);
        prop_assert!(norm(e.matmul(inverse) - tape.eye(n)) < 1e-12 * scale.max(1.0));
        prop_assert!(norm(expm(a.scale(2.0)) - e.matmul(e)) < 1e-11 * norm(e).powi(2).max(1.0));
        let trace = a.trace().item();
        prop_assert!((e.logdet().item() - trace).abs() < 1e-11 * scale.max(1.0));
        // A small one against its series.
        let small = a.scale(0.1 / (1.0 + norm(a)));
        let (mut term, mut sum) = (tape.eye(n), tape.eye(n));
        for k in 1..20 {
            term = term.matmul(small).scale(1.0 / f64::from(k));
            sum = sum + term;
        }
        prop_assert!(norm(expm(small) - sum) < 1e-14);
    }

    /// Claim 6: the rotation that removes the linear part leaves states and gradients.
    #[test]
    fn the_rotating_frame_is_the_same_network(seed: u64, antisymmetric: bool) {
        let (params, ode) = feed_forward(seed, 3, 1);
        let ode = if antisymmetric { ode.antisymmetric() } else { ode };
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[2, 3])));
        let plain = ode.forward(&p, &fine(), x).unwrap();
        let rotated = rotated_forward(&ode, &p, &fine(), x).unwrap();
        prop_assert!(close(&rotated.to_vec(), &plain.to_vec(), 1e-8));
        let (a, b) = (plain.sin().sum().grad(p.vars())?, rotated.sin().sum().grad(p.vars())?);
        for (a, b) in a.iter().zip(&b) {
            prop_assert!(close(&a.to_vec(), &b.to_vec(), 1e-7));
        }
    }

    /// Claim 6: an antisymmetric matrix bounds how tangents and gradients change, whatever its size.
    #[test]
    fn antisymmetric_weights_bound_gradients(seed: u64, size in 0.1..5.0f64, which in 0usize..10) {
        let phi = Activation::ALL[which];
        let mut params = Params::<f64>::seeded(seed);
        let ode = FeedForwardOde::new(&mut params, "f", 3, 2, phi).antisymmetric();
        params.values_mut().iter_mut().for_each(|w| *w *= size);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(seed, &[1, 3])));
        let [low, high] = jacobian_bounds(phi, 1.0);
        let y = ode.forward(&p, &Ode::new(Tsit5).tolerance(1e-8, 1e-8), x).unwrap();
        for i in 0..4 {
            let seed = tape.constant(&random(seed ^ (i + 2), &[1, 3]));
            let gradient = tape.vjp(&[y], &[seed], &[x])?[0];
            let ratio = (gradient.square().sum() / seed.square().sum()).sqrt().item();
            prop_assert!(ratio >= low * (1.0 - 1e-6) && ratio <= high * (1.0 + 1e-6),
                "{phi:?}: {ratio} not in [{low}, {high}]");
        }
    }

    /// Slopes are within what they are said to be.
    #[test]
    fn slopes_are_in_range(x in -10.0..10.0f64) {
        let tape = Tape::new();
        for phi in Activation::ALL {
            let slope = phi.derivative(tape.scalar(x))?.item();
            let [low, high] = phi.slopes();
            prop_assert!(slope >= low && slope <= high, "{phi:?}: {slope} at {x}");
        }
    }
}

/// Claim 6: splitting has the order that it should have, with constant and with varying weights.
#[test]
fn splittings_have_their_orders() {
    for knots in [1, 2] {
        let (params, ode) = feed_forward(3, 3, knots);
        let tape = Tape::new();
        let (p, x) = (params.bind(&tape), tape.constant(&random(5, &[2, 3])));
        let exact = ode.forward(&p, &fine(), x).unwrap();
        for (splitting, order) in [(Splitting::Lie, 1.0), (Splitting::Strang, 2.0)] {
            let error = |steps| {
                let y = split_forward(&ode, &p, x, steps, splitting);
                (y - exact).square().sum().sqrt().item()
            };
            let found = (error(32) / error(64)).log2();
            assert!((found - order).abs() < 0.1, "{splitting:?}, {knots} knots: order {found}");
        }
    }
}

/// Without the nonlinear part, one step is exact, however fast the rotation.
#[test]
fn the_linear_part_is_exact() {
    let mut params = Params::<f64>::seeded(0);
    let ode = FeedForwardOde::new(&mut params, "f", 2, 1, Activation::Identity).antisymmetric();
    // x' = A x + β + x with a turn of 30 radians.
    params.values_mut().copy_from_slice(&[0.0, 60.0, 0.0, 0.0, 0.3, -0.4]);
    let tape = Tape::new();
    let (p, x) = (params.bind(&tape), tape.leaf(&[1.0, 2.0], [1, 2]));
    let exact = ode.forward(&p, &Ode::new(Tsit5).tolerance(1e-12, 1e-12), x).unwrap().to_vec();
    let error = |steps| {
        let y = split_forward(&ode, &p, x, steps, Splitting::Strang).to_vec();
        y.iter().zip(&exact).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    // The parts commute but for β, so ten steps of a third of a turn each are enough.
    assert!(error(10) < 0.02, "{}", error(10));
}

/// Claims 4 and 5: with trained weights, interpolated between depths, deeper networks converge at
/// first order.
#[test]
fn trained_networks_tend_to_differential_equations() {
    let x: ArrayD<f64> = Rng::seeded(0).normals([16, 2]);
    let mut y = x.clone();
    y.rows_mut().into_iter().for_each(|mut row| row[0] += row[1].sin());
    let mut params = Params::<f64>::seeded(1);
    let net = ResidualNet::new(&mut params, "r", 2, 6, Activation::Tanh);
    let mut other = Params::<f64>::seeded(1);
    let near = NearIdentityNet::new(&mut other, "n", 2, 6, Activation::Tanh);
    let (mut a, mut b) = (Adam::new(0.03), Adam::new(0.03));
    for _ in 0..100 {
        params
            .step(&mut a, |t, p| Ok((net.forward(p, t.constant(&x)) - &y).square().mean()))
            .unwrap();
        other
            .step(&mut b, |t, p| Ok((near.forward(p, t.constant(&x)) - &y).square().mean()))
            .unwrap();
    }
    let tape = Tape::new();
    let at = |layers: usize| -> [Vec<f64>; 2] {
        let deepen = |from: &Params<f64>, to: &mut Params<f64>| {
            let tape = Tape::new();
            let parts: Vec<f64> = from
                .bind(&tape)
                .vars()
                .iter()
                .flat_map(|w| interpolate_depth(w.value().view(), layers))
                .collect();
            to.values_mut().copy_from_slice(&parts);
        };
        let mut deep = Params::seeded(0);
        let net = ResidualNet::new(&mut deep, "r", 2, layers, Activation::Tanh);
        deepen(&params, &mut deep);
        let mut deeper = Params::seeded(0);
        let near = NearIdentityNet::new(&mut deeper, "n", 2, layers, Activation::Tanh);
        deepen(&other, &mut deeper);
        let x = tape.constant(&x);
        [net.forward(&deep.bind(&tape), x).to_vec(), near.forward(&deeper.bind(&tape), x).to_vec()]
    };
    let [a, b, c] = [96, 192, 384].map(at);
    for k in 0..2 {
        let distance = |x: &[f64], y: &[f64]| {
            x.iter().zip(y).map(|(x, y)| (x - y).powi(2)).sum::<f64>().sqrt()
        };
        let order = (distance(&a[k], &b[k]) / distance(&b[k], &c[k])).log2();
        assert!((order - 1.0).abs() < 0.05, "{order}");
    }
}

/// Claim 6: through 1,000 layers the gradient of a near-identity network with antisymmetric weights
/// stays; that of a plain network does not.
#[test]
fn a_thousand_layers() {
    let (width, depth) = (4, 1000);
    let x = random(1, &[1, width]);
    let mut params = Params::<f64>::seeded(0);
    let net =
        NearIdentityNet::new(&mut params, "n", width, depth, Activation::Tanh).antisymmetric();
    let tape = Tape::new();
    let v = tape.constant(&x);
    let p = params.bind(&tape);
    let states = net.states(&p, v);
    assert_eq!(states.len(), depth + 1);
    assert_eq!(states[depth].to_vec(), net.forward(&p, v).to_vec());
    let momenta = states[depth].sum().grad(&states).unwrap();
    for (l, momentum) in momenta.iter().enumerate() {
        let ratio = (momentum.square().sum().item() / width as f64).sqrt();
        let [low, high] = jacobian_bounds(Activation::Tanh, (depth - l) as f64 / depth as f64);
        // Euler's steps for a rotation lengthen by O(1/depth) in all.
        assert!(ratio > low * 0.99 && ratio < high * 1.01, "layer {l}: {ratio}");
    }
    let mut h = v;
    let mut rng = Rng::seeded(0);
    for _ in 0..depth {
        let w = tape.constant(&rng.normals([width, width]).mapv(|w: f64| 0.5 * w));
        h = h.matmul(w).tanh();
    }
    let plain = h.sum().grad(&[v]).unwrap()[0].square().sum().sqrt().item();
    assert!(plain < 1e-20, "{plain}");
}
