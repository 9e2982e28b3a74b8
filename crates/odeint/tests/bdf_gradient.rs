//! The gradient of a solve by the multistep method of variable order, each way against the others.

use costate_odeint::check as odeint_check;
use costate_odeint::{
    Bdf, Gradient, Kvaerno5, Mass, Memory, Ode, Options, Rodas5P, VarEvent, gradient_with_error,
    momentum_trajectory, p_dot_delta,
};
use costate_tape::{Result, Tape, Var};
use ndarray::{Array1, arr1};
use proptest::prelude::*;

use crate::network::{
    TIMES, array, close, constants, field, gradient, inputs, solve, symmetric_hessian,
};

fn solvers() -> Vec<Ode> {
    let tolerances = [(1e-3, 1e-5), (1e-7, 1e-9)];
    let stopping = Options { stop_at_saves: true, ..Options::tolerance(1e-5, 1e-7) };
    let ode = Ode::new(Bdf);
    tolerances
        .map(|(r, a)| ode.clone().tolerance(r, a))
        .into_iter()
        .chain([ode.options(stopping)])
        .collect()
}

#[test]
fn exact_is_unrolled() {
    for ode in solvers() {
        // Times between steps, at steps, one step, one time, and backward.
        for ts in [&TIMES[..], &[0.0, 1.0, 2.0], &[0.0, 1e-7], &[1.0], &[0.003, 0.002, 0.0]] {
            for times in [false, true] {
                let exact = gradient(&ode, ts, times);
                let unrolled = gradient(&ode.clone().gradient(Gradient::Unrolled), ts, times);
                close(&exact, &unrolled, 1e-11, &format!("{ode:?} {ts:?} {times}"));
            }
        }
    }
}

#[test]
fn forward_is_exact() {
    for ode in solvers() {
        for times in [false, true] {
            let exact = gradient(&ode, &TIMES, times);
            let forward = gradient(&ode.clone().gradient(Gradient::Forward), &TIMES, times);
            close(&exact, &forward, 1e-11, &format!("{ode:?} {times}"));
        }
    }
}

#[test]
fn memory_changes_no_bit() {
    for ode in solvers() {
        for times in [false, true] {
            let expected = gradient(&ode, &TIMES, times);
            for memory in [Memory::Steps, Memory::Checkpoints(1), Memory::Checkpoints(7)] {
                let found = gradient(&ode.clone().memory(memory), &TIMES, times);
                assert_eq!(found, expected, "{memory:?} {ode:?}");
            }
        }
    }
}

/// A state for each step, or as many tables as there are checkpoints.
#[test]
fn what_is_kept() {
    let tape = Tape::<f64>::new();
    let y0 = tape.leaf(&[1.0, 2.0, 3.0], [3]);
    let ode = Ode::new(Bdf).tolerance(1e-6, 1e-6);
    let solve = |memory| {
        let ys = ode.clone().memory(memory).solve(|_, y| -y * y, y0, [0.0, 10.0]).unwrap();
        let backward = Ode::stats(ys.sum().grad(&[y0]).unwrap()[0]).unwrap();
        (Ode::stats(ys).unwrap(), backward)
    };
    for memory in [Memory::Stages, Memory::Steps] {
        let (forward, backward) = solve(memory);
        let m = forward.accepted;
        assert!(m > 50 && backward.retaken == 0);
        assert_eq!(forward.states_kept, m + 1);
        // Beside each state a place of 8 bytes for slopes between steps, which there are none of.
        assert_eq!(forward.bytes_kept - forward.grid_bytes, 8 * (3 * (m + 1) + m));
        // One evaluation each, and one for the first slope.
        assert_eq!((backward.factorisations, backward.jacobian_evals), (m, m));
    }
    let (forward, backward) = solve(Memory::Checkpoints(5));
    assert_eq!((forward.states_kept, backward.states_kept), (5, 5));
    assert_eq!(forward.bytes_kept - forward.grid_bytes, 5 * (8 * 7 * 3 + 24));
    assert!(backward.retaken >= forward.accepted);
}

#[test]
fn p_dot_delta_is_constant() {
    for ode in solvers() {
        for memory in [Memory::Stages, Memory::Checkpoints(4)] {
            let tape = Tape::new();
            let x = constants(&tape);
            let dots: Vec<_> =
                inputs().iter().map(|x| tape.constant(&array(x.shape(), 3.0, 1.0))).collect();
            let p = tape.constant(&array(&[5, 2, 2], 0.7, 1.0));
            let ys = solve(&ode.clone().memory(memory), &x, TIMES[..].into()).unwrap();
            let bars = tape.vjp(&[ys], &[p], &x).unwrap();
            let delta = tape.jvp(&[ys], &x, &dots).unwrap()[0];
            let products: Vec<f64> =
                bars.iter().zip(&dots).flat_map(|(p, d)| (*p * *d).to_vec()).collect();
            let (sum, size): (f64, f64) =
                (products.iter().sum(), products.iter().map(|x| x.abs()).sum());
            let at_end = p.dot(delta).item();
            assert!((at_end - sum).abs() <= 1e-12 * size, "{at_end:e} {sum:e} {ode:?}");
        }
    }
}

#[test]
fn hessian_vector_products_are_symmetric() {
    for ode in [solvers()[0].clone(), solvers()[0].clone().memory(Memory::Checkpoints(3))] {
        let product = |ode: Ode| {
            symmetric_hessian(
                &inputs(),
                |x| solve(&ode, x, TIMES[..].into()).unwrap().square().sum(),
                1e-11,
            )
        };
        // By operations on the tape.
        let unrolled = product(ode.clone().gradient(Gradient::Unrolled));
        close(&product(ode), &unrolled, 1e-10, "unrolled");
    }
}

/// Along the way it is the pairing of the tables of differences that is constant.
#[test]
fn the_invariant_along_the_way() {
    for ode in solvers() {
        for memory in [Memory::Stages, Memory::Checkpoints(4)] {
            let tape = Tape::new();
            let x = constants(&tape);
            let dots: Vec<_> =
                inputs().iter().map(|x| tape.constant(&array(x.shape(), 3.0, 1.0))).collect();
            let p = tape.constant(&array(&[5, 2, 2], 0.7, 1.0));
            let field = |t, y| Ok(field(&x, t, y));
            let found = p_dot_delta(&ode.clone().memory(memory), field, x[0], &TIMES, p, &x, &dots);
            let found = found.unwrap();
            assert!(found.values.len() > 20);
            assert!(found.holds() && found.deviation() < 1e-12, "{:e}", found.deviation());
        }
    }
}

/// All that `check` knows of a solve.
fn all_hold<T: costate_odeint::Real>(
    random: &odeint_check::strategy::RandomSolve<T>,
) -> std::result::Result<(), TestCaseError> {
    let (ode, inputs) = (random.ode(), random.inputs());
    for property in odeint_check::Property::ALL {
        odeint_check::property(
            property,
            &ode,
            |w, t, y| Ok(random.field(w, t, y)),
            &inputs,
            &random.ts,
            random.seed,
        )
        .map_err(|e| TestCaseError::fail(e.to_string()))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_properties_in_single_precision(
        random in odeint_check::strategy::solve::<f32>([Bdf.into()]),
    ) {
        all_hold(&random)?;
    }

    #[test]
    fn all_properties(random in odeint_check::strategy::solve::<f64>([Bdf.into()])) {
        all_hold(&random)?;
    }
}

/// On the stiff network, by differences on the frozen grid, in times as well.
#[test]
fn exact_agrees_with_differences() {
    for ode in solvers() {
        for seed in 0..3 {
            let property = odeint_check::Property::Differences;
            odeint_check::property(
                property,
                &ode,
                |x, t, y| Ok(stiff_field(x, t, y)),
                &inputs(),
                &TIMES,
                seed,
            )
            .unwrap();
        }
    }
}

/// The field of what comes after the initial state.
fn stiff_field<'t>(x: &[Var<'t, f64>], t: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let all: Vec<_> = [y].iter().chain(x).copied().collect();
    field(&all, t, y)
}

#[test]
fn instruments() {
    let tape = Tape::<f64>::new();
    let (y0, rate) = (tape.leaf(&[1.0], [1]), tape.scalar(-1.0));
    let ode = Ode::new(Bdf).tolerance(1e-5, 1e-5);
    let ts = [0.0, 1.0];
    let found = gradient_with_error(
        &ode,
        |_, y| Ok(rate * y),
        y0,
        &ts,
        |ys| Ok(ys.index_axis(0, 1).sum()),
        &[rate],
    )
    .unwrap();
    let error = found.gradient[0].item() - (-1f64).exp();
    assert!((0.3..3.0).contains(&(found.error[0][0] / error)), "{found:?} {error:e}");
    let e = momentum_trajectory(&ode, |_, y| Ok(rate * y), y0, &ts, |ys| Ok(ys.sum()), &[rate]);
    let e = e.unwrap_err();
    assert!(e.to_string().contains("Bdf"), "{e}");
}

/// The end of a decay through an event.
#[test]
fn events() {
    let tape = Tape::<f64>::new();
    let (rate, level) = (tape.scalar(0.7), tape.scalar(0.4));
    let ode = Ode::new(Bdf).tolerance(1e-9, 1e-9);
    let event = VarEvent::new(move |_, y: Var<'_, f64>| y.index_axis(0, 0) - level)
        .falling()
        .change(|_, y| y * 3.0);
    let y0 = tape.leaf(&[1.0], [1]);
    let solved = ode.event(event).solve(|_, y| -(rate * y), y0, [0.0, 2.0]).unwrap();
    // ln(1 / level) / rate, and what is three times as much as without.
    let t = solved.events[0].t.grad(&[rate, level]).unwrap();
    let expected = [(0.4f64).ln() / 0.49, -1.0 / (0.7 * 0.4)];
    for (found, expected) in t.iter().zip(expected) {
        assert!((found.item() - expected).abs() < 1e-6, "{} {expected}", found.item());
    }
    let y = solved.y.sum().grad(&[rate, level]).unwrap();
    assert!((y[0].item() + 6.0 * (-1.4f64).exp()).abs() < 1e-5, "{}", y[0].item());
    assert!(y[1].item().abs() < 1e-5);
}

/// A network with a mass matrix.
fn with_mass<'t>(
    ode: &Ode,
    mass: &Mass<f64>,
    x: &[Var<'t, f64>],
    ts: Ts<'t>,
) -> Result<Var<'t, f64>> {
    let f = |t, y: Var<'t, f64>| field(x, t, y.reshape([2, 2])).reshape([4]);
    let y0 = x[0].reshape([4]);
    match ts {
        Ts::Fixed(ts) => ode.solve_mass(f, mass, y0, ts),
        Ts::Var(ts) => ode.solve_mass(f, mass, y0, ts),
    }
}

#[derive(Clone, Copy)]
enum Ts<'t> {
    Fixed(&'static [f64]),
    Var(Var<'t, f64>),
}

fn masses() -> [Mass<f64>; 2] {
    let mut dense = [0.0; 16];
    (0..16).for_each(|i| dense[i] = if i % 5 == 0 { 2.0 } else { 0.3 * (i as f64).sin() });
    [Mass::dense(dense), Mass::diagonal([1.0, 0.5, 3.0, 2.0])]
}

#[test]
fn mass_matrices() {
    for mass in masses() {
        let gradient = |ode: Ode, times: bool| -> Vec<Vec<f64>> {
            let tape = Tape::new();
            let mut x = constants(&tape);
            let ts = tape.constant(&Array1::from(TIMES.to_vec()));
            let given = if times { Ts::Var(ts) } else { Ts::Fixed(&TIMES) };
            let ys = with_mass(&ode, &mass, &x, given).unwrap();
            x.extend(times.then_some(ts));
            let g = tape.constant(&array(&[5, 4], 5.5, 1.0));
            tape.vjp(&[ys], &[g], &x).unwrap().iter().map(|g| g.to_vec()).collect()
        };
        let ode = Ode::new(Bdf).tolerance(1e-4, 1e-6);
        for times in [false, true] {
            let exact = gradient(ode.clone(), times);
            for way in [Gradient::Unrolled, Gradient::Forward] {
                close(
                    &exact,
                    &gradient(ode.clone().gradient(way), times),
                    1e-11,
                    &format!("{mass:?} {way:?}"),
                );
            }
            assert_eq!(gradient(ode.clone().memory(Memory::Checkpoints(3)), times), exact);
        }
    }
}

/// What a matrix makes of a field is another field.
#[test]
fn a_regular_mass_matrix_is_a_factor() {
    let mass = [2.0, 0.5, 4.0, 1.0];
    let gradient = |with: bool| {
        let tape = Tape::new();
        let x = constants(&tape);
        let ode = Ode::new(Bdf).tolerance(1e-10, 1e-10);
        let factor = tape.leaf(&mass.map(|m| 1.0 / m), [2, 2]);
        let ys = match with {
            true => with_mass(&ode, &Mass::diagonal(mass), &x, Ts::Fixed(&TIMES)).unwrap(),
            false => ode.solve(|t, y| field(&x, t, y) * factor, x[0], TIMES).unwrap(),
        };
        let bars = ys.reshape([20]).sin().sum().grad(&x).unwrap();
        bars.iter().map(|g| g.to_vec()).collect::<Vec<_>>()
    };
    close(&gradient(true), &gradient(false), 1e-6, "by hand");
}

#[test]
fn second_derivatives_with_a_mass_matrix() {
    let ode = Ode::new(Bdf).tolerance(1e-3, 1e-3);
    let mass = &masses()[0];
    let tape = Tape::new();
    let x = constants(&tape);
    let loss = with_mass(&ode, mass, &x, Ts::Fixed(&TIMES)).unwrap().square().sum();
    let bars = loss.grad(&x).unwrap();
    let u: Vec<_> = inputs().iter().map(|x| tape.constant(&array(x.shape(), 0.7, 1.0))).collect();
    let list = |x: &[Var<'_, f64>]| x.iter().map(|x| x.to_vec()).collect::<Vec<_>>();
    let product = list(&tape.vjp(&bars, &u, &x).unwrap());
    close(&product, &list(&tape.jvp(&bars, &x, &u).unwrap()), 1e-10, "symmetry");
    let unrolled = with_mass(&ode.gradient(Gradient::Unrolled), mass, &x, Ts::Fixed(&TIMES));
    let bars = unrolled.unwrap().square().sum().grad(&x).unwrap();
    close(&product, &list(&tape.vjp(&bars, &u, &x).unwrap()), 1e-9, "unrolled");
}

fn robertson<'t>(k: Var<'t, f64>, y: Var<'t, f64>, algebraic: bool) -> Var<'t, f64> {
    let [x, y, z] = [0, 1, 2].map(|i| y.index_axis(0, i));
    let [k1, k2, k3] = [0, 1, 2].map(|i| k.index_axis(0, i));
    let (a, b, c) = (k1 * x, k2 * y * y, k3 * y * z);
    Var::stack(0, &[c - a, a - b - c, if algebraic { x + y + z - 1.0 } else { b }])
}

/// Robertson's kinetics as an equation with a conservation law in the place of the third equation.
#[test]
fn robertson_as_an_algebraic_equation() {
    let rates = [0.04, 3e7, 1e4];
    let gradient = |algebraic: bool, ode: Ode| {
        let tape = Tape::<f64>::new();
        let k = tape.leaf(&rates, [3]);
        let y0 = tape.leaf(&[1.0, 0.0, 0.0], [3]);
        let f = |_, y| robertson(k, y, algebraic);
        let ts = [0.0, 0.4, 40.0, 4000.0];
        let mass = Mass::diagonal([1.0, 1.0, 0.0]);
        let ys = match algebraic {
            true => ode.solve_mass(f, &mass, y0, ts).unwrap(),
            false => ode.solve(f, y0, ts).unwrap(),
        };
        let scale = tape.constant(&arr1(&[1.0, 1e4, 1.0]));
        let bars = (ys * scale).square().sum().grad(&[k]).unwrap()[0].to_vec();
        bars.iter().zip(rates).map(|(g, k)| g * k).collect::<Vec<_>>()
    };
    let expected = gradient(false, Ode::new(Kvaerno5).tolerance(1e-11, 1e-13));
    for algebraic in [true, false] {
        let found = gradient(algebraic, Ode::new(Bdf).tolerance(1e-8, 1e-12));
        close(&[found], std::slice::from_ref(&expected), 1e-4, &format!("algebraic: {algebraic}"));
    }
    let loose = Ode::new(Bdf).tolerance(1e-4, 1e-8);
    let exact = [gradient(true, loose.clone())];
    for way in [Gradient::Unrolled, Gradient::Forward] {
        close(&exact, &[gradient(true, loose.clone().gradient(way))], 1e-10, &format!("{way:?}"));
    }
    assert_eq!(exact, [gradient(true, loose.memory(Memory::Checkpoints(5)))]);
}

#[test]
fn who_takes_a_mass_matrix() {
    let tape = Tape::<f64>::new();
    let y0 = tape.leaf(&[1.0, 2.0], [2]);
    let mass = Mass::diagonal([1.0, 2.0]);
    let solve = |ode: Ode, mass: &Mass<f64>| ode.solve_mass(|_, y| -y, mass, y0, [0.0, 1.0]);
    for ode in [Ode::new(Rodas5P), Ode::new(Bdf).gradient(Gradient::Interpolated)] {
        let e = solve(ode, &mass).unwrap_err().to_string();
        assert!(e.contains("take Bdf"), "{e}");
    }
    let e = solve(Ode::new(Bdf), &Mass::diagonal([1.0])).unwrap_err().to_string();
    assert!(e.contains("the mass matrix has 1 rows, but the state has 2 components"), "{e}");
}
