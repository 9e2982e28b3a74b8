//! Solves of a batch on the tape, each sample with steps of its own.

use costate_odeint::{Error, ErrorKind, Gradient, Kvaerno5, Memory, Ode, Options, Span, Tsit5};
use costate_tape::{Function, Program, Result, Tape, Var, Workspace, check};
use ndarray::{Array2, ArrayD, arr1, arr2};
use proptest::prelude::*;

fn at(y: Var<'_, f64>, i: usize) -> Var<'_, f64> {
    y.index_axis(0, i)
}

/// Van der Pol's oscillator with its own damping, and parameters that all share.
fn field<'t>(
    p: Var<'t, f64>,
    t: Var<'t, f64>,
    y: Var<'t, f64>,
    x: &[Var<'t, f64>],
) -> Result<Var<'t, f64>> {
    let (a, b) = (at(y, 0), at(y, 1));
    let damping = x.first().map_or(at(p, 0), |x| 0.05 * at(*x, 0).square());
    Ok(Var::stack(0, &[b, damping * (1.0 - a * a) * b - at(p, 1) * a + 0.2 * (at(p, 2) * t).cos()]))
}

fn states(n: usize, seed: f64) -> Array2<f64> {
    Array2::from_shape_fn((n, 2), |(i, j)| ((i * 7 + j * 3) as f64 + seed).sin() * 2.0)
}

const TS: [f64; 4] = [0.0, 0.3, 1.1, 2.0];

/// Values, and gradients with respect to the states, what is along, and the parameters.
fn batch(
    ode: Ode,
    y0: &Array2<f64>,
    along: &Array2<f64>,
    threads: usize,
) -> (Vec<f64>, [Vec<f64>; 3]) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let tape = Tape::<f64>::new();
        let p = tape.constant(&arr1(&[1.0, 1.2, 0.7]));
        let (y0, along) = (tape.constant(y0), tape.constant(along));
        let ys = ode.solve_each_with(|t, y, x| field(p, t, y, x), y0, &[along], TS).unwrap();
        let g = (ys * ys.sin()).sum().grad(&[y0, along, p]).unwrap();
        (ys.to_vec(), [g[0].to_vec(), g[1].to_vec(), g[2].to_vec()])
    })
}

/// The same for one sample by itself.
fn alone(ode: Ode, y0: &[f64], along: &[f64]) -> (Vec<f64>, [Vec<f64>; 3]) {
    let tape = Tape::<f64>::new();
    let p = tape.constant(&arr1(&[1.0, 1.2, 0.7]));
    let (y0, along) = (tape.constant(&arr1(y0)), tape.constant(&arr1(along)));
    let ys = ode.try_solve(|t, y| field(p, t, y, &[along]), y0, TS).unwrap();
    let g = (ys * ys.sin()).sum().grad(&[y0, along, p]).unwrap();
    (ys.to_vec(), [g[0].to_vec(), g[1].to_vec(), g[2].to_vec()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_batch_is_a_loop(n in 1usize..70, seed in 0.0..6.0f64, kind in 0usize..5, turn in 0usize..9) {
        let ode = match kind {
            0 => Ode::new(Tsit5),
            1 => Ode::new(Tsit5).gradient(Gradient::Continuous).tolerance(1e-8, 1e-9),
            2 => Ode::new(Tsit5).memory(Memory::Checkpoints(3)),
            3 => Ode::new(Tsit5).gradient(Gradient::Interpolated).tolerance(1e-8, 1e-9),
            _ => Ode::new(Kvaerno5),
        };
        let (y0, along) = (states(n, seed), states(n, seed + 1.0).slice_move(ndarray::s![.., ..1]));
        let (ys, g) = batch(ode.clone(), &y0, &along, 1);
        prop_assert_eq!(&(ys.clone(), g.clone()), &batch(ode.clone(), &y0, &along, 2), "threads");
        let mut shared = vec![0.0; 3];
        for i in 0..n {
            let (one, grads) = alone(ode.clone(), &y0.row(i).to_vec(), &along.row(i).to_vec());
            prop_assert_eq!(&ys[i * 8..(i + 1) * 8], &one[..]);
            prop_assert_eq!(&g[0][i * 2..(i + 1) * 2], &grads[0][..]);
            prop_assert_eq!(&g[1][i..(i + 1)], &grads[1][..]);
            shared.iter_mut().zip(&grads[2]).for_each(|(to, g)| *to += g);
        }
        prop_assert_eq!(&g[2], &shared, "added up in the order of the samples");

        // Another order of the samples.
        let place = |i: usize| (i + turn) % n;
        let turned = |x: &Array2<f64>| Array2::from_shape_fn(x.dim(), |(i, j)| x[(place(i), j)]);
        let (other, other_g) = batch(ode, &turned(&y0), &turned(&along), 2);
        for i in 0..n {
            prop_assert_eq!(&other[i * 8..(i + 1) * 8], &ys[place(i) * 8..(place(i) + 1) * 8]);
            prop_assert_eq!(&other_g[0][i * 2..(i + 1) * 2], &g[0][place(i) * 2..(place(i) + 1) * 2]);
        }
    }
}

#[test]
fn times_of_each_sample() {
    let tape = Tape::<f64>::new();
    let p = tape.constant(&arr1(&[1.0, 1.2, 0.7]));
    let y0 = tape.constant(&states(3, 0.4));
    let ode = Ode::new(Tsit5);
    let tight = Options::tolerance(1e-11, 1e-12);
    let lists = [vec![0.0, 1.0, 2.5], vec![1.0, 0.5], vec![-1.0, -0.5, 0.0, 4.0]];
    let spans =
        [Span::from(&lists[0]), Span::from(&lists[1]).options(tight), lists[2].as_slice().into()];
    let found = ode.solve_ragged(|t, y, x| field(p, t, y, x), y0, &[], &spans).unwrap();
    let loss: Vec<_> = found.iter().map(|ys| (*ys * ys.cos()).sum()).collect();
    let g = Var::stack(0, &loss).sum().grad(&[y0, p]).unwrap();
    let mut shared = vec![0.0; 3];
    for i in 0..3 {
        let (ode, y0) = (if i == 1 { ode.clone().options(tight) } else { ode.clone() }, at(y0, i));
        let ys = ode.try_solve(|t, y| field(p, t, y, &[]), y0, &lists[i]).unwrap();
        assert_eq!(ys.to_vec(), found[i].to_vec());
        let one = (ys * ys.cos()).sum().grad(&[y0, p]).unwrap();
        assert_eq!(at(g[0], i).to_vec(), one[0].to_vec());
        shared.iter_mut().zip(one[1].to_vec()).for_each(|(to, g)| *to += g);
    }
    assert_eq!(g[1].to_vec(), shared);
    // One sample alone.
    let only = found[1].sum().grad(&[y0]).unwrap()[0];
    assert!(at(only, 0).to_vec().iter().chain(&at(only, 2).to_vec()).all(|g| *g == 0.0));
    let stats = Ode::stats_each(found[0]).unwrap();
    assert!(stats[1].accepted > 2 * stats[0].accepted, "{stats:?}");
    assert!(Ode::stats_each(g[0]).unwrap()[1].vjp_evals > 0);
}

#[test]
fn variable_times() {
    let tape = Tape::<f64>::new();
    let p = tape.constant(&arr1(&[1.0, 1.2, 0.7]));
    let y0 = tape.constant(&states(2, 0.4));
    let each = tape.constant(&arr2(&[[0.0, 0.7, 2.0], [0.5, 1.0, 1.5]]));
    let ode = Ode::new(Tsit5);
    let ys = ode.solve_each(|t, y| field(p, t, y, &[]).unwrap(), y0, each).unwrap();
    let g = ys.square().sum().grad(&[each]).unwrap()[0];
    for i in 0..2 {
        let one = ode.solve(|t, y| field(p, t, y, &[]).unwrap(), at(y0, i), at(each, i)).unwrap();
        assert_eq!(one.to_vec(), at(ys, i).to_vec());
        let one = one.square().sum().grad(&[each]).unwrap()[0];
        assert_eq!(at(one, i).to_vec(), at(g, i).to_vec());
    }
    let shared = at(each, 0);
    let ys = ode.solve_each(|t, y| field(p, t, y, &[]).unwrap(), y0, shared).unwrap();
    let g = ys.square().sum().grad(&[shared]).unwrap()[0];
    let sum = (0..2).map(|i| {
        let one = ode.solve(|t, y| field(p, t, y, &[]).unwrap(), at(y0, i), shared).unwrap();
        one.square().sum().grad(&[shared]).unwrap()[0]
    });
    let sum = sum.reduce(|a, b| a + b).unwrap();
    assert_eq!(sum.to_vec(), g.to_vec());
}

fn inputs() -> [ArrayD<f64>; 3] {
    [states(2, 0.4).into_dyn(), arr2(&[[0.5], [1.5]]).into_dyn(), arr1(&[1.0, 1.2, 0.7]).into_dyn()]
}

#[test]
fn forward_mode_and_second_derivatives() {
    let ode = Ode::new(Tsit5).steps(8);
    check::derivatives(
        2,
        |_, x| ode.solve_each_with(|t, y, a| field(x[2], t, y, a), x[0], &[x[1]], [0.0, 0.4, 1.0]),
        &inputs(),
    )
    .unwrap();
    let unrolled = ode.clone().gradient(Gradient::Unrolled);
    let tape = Tape::<f64>::new();
    let x: Vec<_> = inputs().iter().map(|x| tape.constant(x)).collect();
    let both = [ode, unrolled].map(|ode| {
        let ys = ode.solve_each_with(|t, y, a| field(x[2], t, y, a), x[0], &[x[1]], TS).unwrap();
        ys.powi(3).sum().grad(&x).unwrap()
    });
    for (a, b) in both[0].iter().zip(&both[1]) {
        for (a, b) in a.to_vec().iter().zip(b.to_vec()) {
            assert!((a - b).abs() < 1e-11);
        }
    }
}

#[test]
fn compiled_and_replayed() {
    let shapes: Vec<_> = inputs().iter().map(|x| x.shape().into()).collect();
    let function = Function::<f64>::trace_shapes(&shapes, |_, x| {
        let ode = Ode::new(Tsit5);
        let ys = ode.solve_each_with(|t, y, a| field(x[2], t, y, a), x[0], &[x[1]], TS)?;
        let loss = ys.square().sum();
        Ok([loss].into_iter().chain(loss.grad(x)?).collect())
    })
    .unwrap();
    let program = Program::compile(&function).unwrap();
    let mut workspace = Workspace::new(&program);
    for shift in [0.0, 0.3] {
        let moved: Vec<ArrayD<f64>> = inputs().iter().map(|x| x + shift).collect();
        let slices: Vec<&[f64]> = moved.iter().map(|x| x.as_slice().unwrap()).collect();
        let found = program.evaluate(&mut workspace, &slices).unwrap();
        let tape = Tape::<f64>::new();
        let x: Vec<_> = moved.iter().map(|x| tape.constant(x)).collect();
        let ys = Ode::new(Tsit5).solve_each_with(|t, y, a| field(x[2], t, y, a), x[0], &[x[1]], TS);
        let loss = ys.unwrap().square().sum();
        assert_eq!(found.get(0), loss.to_vec());
        for (i, g) in loss.grad(&x).unwrap().iter().enumerate() {
            assert_eq!(found.get(i + 1), g.to_vec());
        }
    }
}

#[test]
fn the_first_failure_is_named() {
    let tape = Tape::<f64>::new();
    let y0 = tape.constant(&arr2(&[[0.1], [5.0], [9.0]]));
    // dy/dt = y² goes to infinity at 1/y0.
    let e = Ode::new(Tsit5).solve_each(|_, y| y * y, y0, [0.0, 1.0]).unwrap_err();
    let error: &Error = e.call_error().unwrap().downcast_ref().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Sample { sample: 1, .. }), "{error}");
    let spans = [vec![0.0, 1.0].into(), vec![0.0, 0.0].into(), vec![0.0].into()];
    let e = Ode::new(Tsit5).solve_ragged(|_, y, _| Ok(-y), y0, &[], &spans).unwrap_err();
    let error: &Error = e.call_error().unwrap().downcast_ref().unwrap();
    assert!(matches!(error.kind(), ErrorKind::Sample { sample: 1, .. }), "{error}");
}
