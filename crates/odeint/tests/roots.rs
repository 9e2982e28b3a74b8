//! Roots, fixed points and steady states: what they are, and their derivatives of any order.

use costate_odeint::{
    Error, ErrorKind, Ode, Options, RootFinder, Tsit5, fixed_point, root, steady_state,
};
use costate_tape::{Function, Program, Tape, Var, Workspace, check};
use ndarray::{Array, arr1, arr2};
use proptest::prelude::*;

fn kind(e: &costate_tape::Error) -> &ErrorKind {
    let source = e.call_error().expect("an error of a call");
    source.downcast_ref::<Error>().expect("an error of this crate").kind()
}

/// The largest entry.
fn size(x: Var<'_, f64>) -> f64 {
    x.to_vec().iter().map(|x| x.abs()).fold(0.0, f64::max)
}

/// Kepler's equation `E - e sin E = M`.
fn kepler<'t>(x: &[Var<'t, f64>]) -> costate_tape::Result<Var<'t, f64>> {
    root(|e| Ok(e - x[0] * e.sin() - x[1]), x[1])
}

#[test]
fn against_a_closed_form() {
    let tape = Tape::<f64>::new();
    let x = [0.3, 1.1].map(|x| tape.scalar(x));
    let e = kepler(&x).unwrap();
    let g = e.grad(&x).unwrap();
    let h = g[1].grad(&x).unwrap();
    let (value, rate) = (e.item(), 1.0 / (1.0 - 0.3 * e.item().cos()));
    assert!((g[0].item() - value.sin() * rate).abs() < 1e-14);
    assert!((g[1].item() - rate).abs() < 1e-14, "the guess adds nothing");
    assert!((h[1].item() + 0.3 * value.sin() * rate.powi(3)).abs() < 1e-13);
}

#[test]
fn derivatives_to_third_order() {
    let x = [arr1(&[0.3]).into_dyn(), arr1(&[1.1]).into_dyn()];
    check::derivatives(3, |_, x| kepler(x), &x).unwrap();
    // Two unknowns that depend on each other.
    let x = [arr1(&[0.4, 0.7]).into_dyn(), arr2(&[[2.0, 0.3], [-0.5, 1.5]]).into_dyn()];
    check::derivatives(
        2,
        |tape, x| root(|y| Ok(x[1].matmul(y) + y.powi(3) - x[0]), tape.zeros([2])),
        &x,
    )
    .unwrap();
}

/// A layer of a deep equilibrium model: against many iterations on the tape.
#[test]
fn a_fixed_point_against_its_iterations() {
    let tape = Tape::<f64>::new();
    let w = tape.constant(&arr2(&[[0.3, -0.4], [0.2, 0.1]]));
    let u = tape.constant(&arr2(&[[1.0, 0.5, 0.1], [-0.5, 2.0, 0.3]]));
    let z = fixed_point(|z| Ok((w.matmul(z) + u).tanh()), tape.zeros([2, 3])).unwrap();
    let mut again = tape.zeros([2, 3]);
    for _ in 0..100 {
        again = (w.matmul(again) + u).tanh();
    }
    let weights = tape.constant(&arr2(&[[1.0, -2.0, 0.5], [0.3, 0.7, -1.1]]));
    let (found, expected) = ((z * weights).sum(), (again * weights).sum());
    assert!((found - expected).item().abs() < 1e-14);
    let both = [found, expected].map(|y| y.grad(&[w, u]).unwrap());
    for (a, b) in both[0].iter().zip(&both[1]) {
        let distance = (*a - *b).abs().sum().item();
        assert!(distance < 1e-13, "{distance:e}");
    }
    let both = both.map(|g| (g[0].square().sum() + g[1].powi(3).sum()).grad(&[w, u]).unwrap());
    for (a, b) in both[0].iter().zip(&both[1]) {
        let distance = (*a - *b).abs().sum().item();
        assert!(distance < 1e-12, "{distance:e}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// `A x = b` with `A` near the unit matrix, by a matrix and by products with it.
    #[test]
    fn linear_equations(n in prop::sample::select(vec![1usize, 7, 128, 129, 200]), seed in 0.0..1.0f64) {
        let entry = |i: usize, j: usize| {
            let x = ((i * 31 + j * 17) as f64 * 0.618 + seed).fract() - 0.5;
            x / n as f64 + if i == j { 2.0 } else { 0.0 }
        };
        let tape = Tape::<f64>::new();
        let a = tape.constant(&Array::from_shape_fn((n, n), |(i, j)| entry(i, j)));
        let b = tape.constant(&Array::from_shape_fn(n, |i| (i as f64 + seed).cos()));
        let found = root(|x| Ok(a.matmul(x) - b), tape.zeros([n])).unwrap();
        let expected = a.solve(b);
        prop_assert!(size(found - expected) < 1e-13);
        let both = [found, expected].map(|x| x.powi(3).sum().grad(&[a, b]).unwrap());
        for (a, b) in both[0].iter().zip(&both[1]) {
            prop_assert!(size(*a - *b) < 1e-12);
        }
        let dots = tape.jvp(&[found, expected], &[b], &[b.sin()]).unwrap();
        prop_assert!(size(dots[0] - dots[1]) < 1e-13);
    }
}

/// Of three states the flow finds the one that attracts; Newton's method takes the nearest.
#[test]
fn a_steady_state_attracts() {
    let tape = Tape::<f64>::new();
    let border = tape.scalar(0.5);
    for (from, to) in [(0.53, 1.0), (0.47, 0.0)] {
        let y = steady_state(|y| Ok(y * (1.0 - y) * (y - border)), tape.scalar(from)).unwrap();
        assert!((y.item() - to).abs() < 1e-12, "{}", y.item());
        assert!(y.grad(&[border]).unwrap()[0].item().abs() < 1e-9);
    }
    let y = root(|y| Ok(y * (1.0 - y) * (y - border)), tape.scalar(0.53)).unwrap();
    assert!((y.item() - 0.5).abs() < 1e-14);
    assert!((y.grad(&[border]).unwrap()[0].item() - 1.0).abs() < 1e-14);
}

fn reaction<'t>(k: Var<'t, f64>, y: Var<'t, f64>) -> Var<'t, f64> {
    let [a, b, c] = [0, 1, 2].map(|i| y.index_axis(0, i));
    let [k0, k1, k2] = [0, 1, 2].map(|i| k.index_axis(0, i));
    let (first, second, third) = (k0 * a, k2 * b * c, k1 * b * b);
    Var::stack(0, &[1.0 - a - first + second, first - second - third - b, third - c])
}

/// A stiff field: Robertson's reaction with an inflow and an outflow, against a long solve.
#[test]
fn a_steady_state_is_where_a_solve_goes() {
    let tape = Tape::<f64>::new();
    let k = tape.constant(&arr1(&[0.04, 3e3, 1e4]));
    let end = steady_state(|y| Ok(reaction(k, y)), tape.constant(&arr1(&[1.0, 0.0, 0.0]))).unwrap();
    assert!(size(reaction(k, end)) < 1e-13);
    let ode = Ode::new(costate_odeint::Kvaerno5).options(Options::tolerance(1e-10, 1e-13));
    let ys = ode.solve(|_, y| reaction(k, y), tape.constant(&arr1(&[1.0, 0.0, 0.0])), [0.0, 60.0]);
    let long = ys.unwrap().index_axis(0, 1);
    assert!(size(long - end) < 1e-9);
    let both = [long, end].map(|y| (y.index_axis(0, 1) * 1e3).grad(&[k]).unwrap()[0]);
    assert!(size((both[0] - both[1]) * k) < 1e-7);
}

/// Shooting: the speed at which a pendulum reaches a given angle, with the solve inside.
#[test]
fn a_solve_inside() {
    let tape = Tape::<f64>::new();
    let (rate, target) = (tape.scalar(0.7), tape.scalar(0.4));
    let ode = Ode::new(Tsit5).tolerance(1e-11, 1e-12);
    // dy/dt = -rate y + v, so y(1) = v (1 - exp(-rate)) / rate.
    let v = root(
        |v| {
            let y0 = v.zeros_like().reshape([1]);
            let ys = ode.solve(|_, y| v - rate * y, y0, [0.0, 1.0])?;
            Ok(ys.index_axis(0, 1).sum() - target)
        },
        tape.scalar(1.0),
    )
    .unwrap();
    let g = v.grad(&[rate, target]).unwrap();
    let (r, e) = (0.7f64, (-0.7f64).exp());
    assert!((v.item() - 0.4 * r / (1.0 - e)).abs() < 1e-10);
    assert!((g[1].item() - r / (1.0 - e)).abs() < 1e-9);
    assert!((g[0].item() - 0.4 * (1.0 - e - r * e) / (1.0 - e).powi(2)).abs() < 1e-9);
}

#[test]
fn compiled_and_replayed() {
    let x = [0.3, 1.1].map(|x| arr1(&[x]).into_dyn());
    let f = Function::trace(&x, |_, x| {
        let e = kepler(x)?.sum();
        let g = e.grad(x)?;
        Ok(vec![e, g[0], g[1], g[0].grad(x)?[1]])
    })
    .unwrap();
    let shapes = f.input_shapes();
    let symbolic = Function::<f64>::trace_shapes(&shapes, |_, x| {
        let e = kepler(x)?.sum();
        let g = e.grad(x)?;
        Ok(vec![e, g[0], g[1], g[0].grad(x)?[1]])
    })
    .unwrap();
    for f in [f, symbolic] {
        let program = Program::compile(&f).unwrap();
        let mut workspace = Workspace::new(&program);
        for (a, b) in [(0.3, 1.1), (0.6, 2.0), (0.1, -0.4)] {
            let (a_in, b_in) = ([a], [b]);
            let inputs: [&[f64]; 2] = [&a_in, &b_in];
            let outputs = program.evaluate(&mut workspace, &inputs).unwrap();
            let tape = Tape::<f64>::new();
            let x = [a, b].map(|x| tape.leaf(&[x], [1]));
            let e = kepler(&x).unwrap().sum();
            let g = e.grad(&x).unwrap();
            let expected = [e, g[0], g[1], g[0].grad(&x).unwrap()[1]];
            for (i, expected) in expected.iter().enumerate() {
                assert_eq!(outputs.get(i), expected.to_vec());
            }
        }
    }
}

#[test]
fn what_has_no_root_says_so() {
    let tape = Tape::<f64>::new();
    let one = tape.scalar(1.0);
    let e = root(|x| Ok(x * x + one), one * 0.7).unwrap_err();
    assert!(matches!(kind(&e), ErrorKind::NoRoot { component: 0, .. }), "{e}");
    let e = root(|x| Ok(0.0 * x + one), one).unwrap_err();
    assert!(matches!(kind(&e), ErrorKind::SingularJacobian { .. }), "{e}");
    let e = root(|x| Ok(x.ln() + one), tape.scalar(-1.0)).unwrap_err();
    assert!(matches!(kind(&e), ErrorKind::NoRoot { residual, .. } if residual.is_nan()), "{e}");
    let e = steady_state(|y| Ok(y * 0.0 + one), one).unwrap_err();
    assert!(matches!(kind(&e), ErrorKind::NoRoot { .. }), "{e}");
    let e = root(|x| Ok(x * x.item() - one), one).unwrap_err();
    assert!(e.is_value_dependent());
    let e = RootFinder::new().max_iterations(2).root(|x| Ok(x.exp() - one * 1e6), one);
    assert!(matches!(kind(&e.unwrap_err()), ErrorKind::NoRoot { iterations: 2, .. }));
    // A double root is found, slowly; it has no derivative.
    let x = RootFinder::new().root(|x| Ok((x - one).square()), tape.scalar(3.0));
    if let Ok(x) = x {
        let g = x.grad(&[one]).map(|g| g[0].item());
        assert!(g.is_err() || g.is_ok_and(f64::is_finite));
    }
}

#[test]
fn single_precision() {
    let tape = Tape::<f32>::new();
    let a = tape.scalar(3.0);
    let x = root(|x| Ok(x * x - a), tape.scalar(1.0)).unwrap();
    assert!((x.item() - 3f32.sqrt()).abs() < 2e-7);
    assert!((x.grad(&[a]).unwrap()[0].item() - 0.5 / 3f32.sqrt()).abs() < 1e-7);
}
