//! What comes with a solve: dense output, all steps, stops, jumps, tolerances, an observer, batches.

use std::ops::ControlFlow;

use costate_odeint::{
    Bosh3, Dop853, Dopri5, ErrorKind, Euler, Event, GaussLegendre6, Heun, ImplicitEuler, KenCarp4,
    Kvaerno3, Kvaerno4, Kvaerno5, Method, Midpoint, Options, Ralston, Rk4, Sample, Solver, Ssprk3,
    ThreeEighths, TrBdf2, Tsit5, Verner6, Verner7, Verner9, solve, solve_batch, solve_batch_with,
};
use proptest::prelude::*;

fn rotate(_: f64, y: &[f64], dy: &mut [f64]) {
    (dy[0], dy[1]) = (y[1], -y[0]);
}

fn methods() -> Vec<Method> {
    vec![
        Euler.into(),
        Midpoint.into(),
        Heun.into(),
        Ralston.into(),
        Ssprk3.into(),
        Rk4.into(),
        ThreeEighths.into(),
        Bosh3.into(),
        Dopri5.into(),
        Tsit5.into(),
        Dop853.into(),
        Verner6.into(),
        Verner7.into(),
        Verner9.into(),
        ImplicitEuler.into(),
        TrBdf2.into(),
        Kvaerno3.into(),
        Kvaerno4.into(),
        Kvaerno5.into(),
        KenCarp4.into(),
        GaussLegendre6.into(),
    ]
}

fn options(method: Method) -> Options {
    match method.tableau().error {
        Some(_) => Options::tolerance(1e-7, 1e-9),
        None => Options::steps(2000),
    }
}

/// Dense output has the bits of saving at these times, in both directions.
#[test]
fn dense_output_is_what_would_have_been_saved() {
    for method in methods() {
        for end in [3.0, -3.0] {
            let ts: Vec<f64> = (0..=20).map(|i| end * f64::from(i) / 20.0).collect();
            let saved = solve(method, rotate, &[1.0, 0.0], &ts, &options(method)).unwrap();
            let solver = Solver::new(method).options(options(method));
            let dense = solver.dense(rotate, &[1.0, 0.0], 0.0, end).unwrap();
            assert_eq!(dense.span(), (0.0, end));
            assert_eq!(dense.at(&ts).unwrap().ys, saved.ys, "{method:?}");
            // And in any other order.
            let mut y = [0.0; 2];
            for i in [7, 3, 20, 0, 11] {
                dense.evaluate(ts[i], &mut y).unwrap();
                assert_eq!(y, *saved.y(i));
            }
            let times: Vec<f64> = dense.times().collect();
            assert_eq!((times[0], times[times.len() - 1]), (0.0, end));
            assert_eq!(times.len(), dense.stats.accepted + 1);
            // Its derivative is that of its value.
            let (mut up, mut down, mut dy) = ([0.0; 2], [0.0; 2], [0.0; 2]);
            for i in 0..40 {
                let t = end * (f64::from(i) + 0.51) / 40.0;
                let step = times.windows(2).find(|w| (t - w[0]) * (w[1] - t) > 0.0).unwrap();
                let h = 1e-4 * (step[1] - step[0]);
                dense.evaluate(t + h, &mut up).unwrap();
                dense.evaluate(t - h, &mut down).unwrap();
                dense.derivative(t, &mut dy).unwrap();
                for j in 0..2 {
                    let difference = (up[j] - down[j]) / (2.0 * h);
                    assert!((dy[j] - difference).abs() < 1e-5, "{method:?} {} {difference}", dy[j]);
                }
            }
        }
    }
}

#[test]
fn outside_the_span_there_is_nothing() {
    let dense = Solver::new(Tsit5).dense(rotate, &[1.0, 0.0], 1.0, 2.0).unwrap();
    let mut y = [0.0; 2];
    for t in [0.999, 2.001, f64::NAN, f64::INFINITY] {
        let error = dense.evaluate(t, &mut y).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OutsideSpan { .. }), "{error}");
    }
    // A span without length holds its state.
    let dense = Solver::new(Tsit5).dense(rotate, &[1.0, 0.0], 1.0, 1.0).unwrap();
    dense.evaluate(1.0, &mut y).unwrap();
    assert_eq!(y, [1.0, 0.0]);
    assert!(dense.derivative(1.0, &mut y).is_err());
}

#[test]
fn steps_end_where_they_must() {
    let stops = [0.3, 2.7, 1.1, -5.0, 99.0];
    let solver = Solver::new(Tsit5).stop_at(stops);
    let ts = solver.steps(rotate, &[1.0, 0.0], 0.0, 3.0).unwrap().solution.ts;
    for stop in [0.3, 1.1, 2.7] {
        assert!(ts.contains(&stop), "{ts:?}");
    }
    assert_eq!(*ts.last().unwrap(), 3.0);
}

/// A field that jumps is solved as exactly as a smooth one if the jumps are known, and with fewer
/// steps than if not.
#[test]
fn jumps_are_stepped_to() {
    let field = |t: f64, y: &[f64], dy: &mut [f64]| {
        dy[0] = -y[0] + f64::from((t * 2.0).floor() as i32 % 2);
    };
    let jumps: Vec<f64> = (1..20).map(|i| f64::from(i) * 0.5).collect();
    let exact = {
        let (mut y, mut drive) = (1.0f64, 0.0f64);
        for _ in 0..20 {
            y = drive + (y - drive) * (-0.5f64).exp();
            drive = 1.0 - drive;
        }
        y
    };
    let run = |jumps: &[f64]| {
        let solver = Solver::new(Dop853).tolerance(1e-9, 1e-9).jump_at(jumps.iter().copied());
        solver.solve(field, &[1.0], &[0.0, 10.0]).unwrap()
    };
    let (with, without) = (run(&jumps), run(&[]));
    assert!(with.solution.stats.f_evals < without.solution.stats.f_evals);
    assert!((with.y[0] - exact).abs() < 1e-8, "{} and {exact}", with.y[0]);
}

#[test]
fn tolerances_of_each_component() {
    // The second component is a thousand times larger; its tolerance may be as well.
    let field = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1] * 1e-3, -y[0] * 1e3);
    let run = |atol: &[f64]| {
        let solver = Solver::new(Tsit5).tolerance(0.0, 1e-6).atol_each(atol);
        solver.solve(field, &[1.0, 0.0], &[0.0, 10.0])
    };
    let (same, own) = (run(&[1e-6, 1e-6]).unwrap(), run(&[1e-6, 1e-3]).unwrap());
    assert!(own.solution.stats.accepted < same.solution.stats.accepted);
    assert!((own.y[0] - 10f64.cos()).abs() < 1e-4);
    let all = Solver::new(Tsit5).tolerance(0.0, 1e-6).solve(field, &[1.0, 0.0], &[0.0, 10.0]);
    assert_eq!(all.unwrap().y, same.y);
    assert!(matches!(
        run(&[1e-6]).unwrap_err().kind(),
        ErrorKind::WrongTolerances { tolerances: 1, components: 2 }
    ));
    for bad in [[-1.0, 1.0], [f64::NAN, 1.0], [0.0, 1.0]] {
        assert!(matches!(run(&bad).unwrap_err().kind(), ErrorKind::BadOption { .. }));
    }
}

#[test]
fn a_cancelled_solve_returns_what_it_has() {
    let mut steps = 0;
    let solver = Solver::new(Tsit5).observe(|step| {
        steps += 1;
        if step.t1 > 5.0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let ts: Vec<f64> = (0..=10).map(f64::from).collect();
    let error = solver.solve(rotate, &[1.0, 0.0], &ts).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled { .. }));
    let partial = error.partial().unwrap();
    assert_eq!(partial.ts, ts[..6]);
    assert!((partial.ys[2 * 5] - 5f64.cos()).abs() < 1e-4);
    assert_eq!(partial.stats.accepted, steps);
}

#[test]
fn streaming_needs_no_memory_and_saves_the_same() {
    let ts: Vec<f64> = (0..=1000).map(|i| f64::from(i) * 0.01).collect();
    let mut energies = Vec::new();
    let mut ys = Vec::new();
    let stats = Solver::new(Tsit5)
        .stream(rotate, &[1.0, 0.0], &ts, |t, y| {
            assert_eq!(t, ts[energies.len()]);
            energies.push(y[0] * y[0] + y[1] * y[1]);
            ys.extend_from_slice(y);
            ControlFlow::Continue(())
        })
        .unwrap();
    let saved = solve(Tsit5, rotate, &[1.0, 0.0], &ts, &Options::default()).unwrap();
    assert_eq!(ys, saved.ys);
    assert_eq!(stats, saved.stats);
    assert!(energies.iter().all(|e| (e - 1.0).abs() < 1e-4));
    let (outputs, same) = Solver::new(Tsit5)
        .outputs(rotate, &[1.0, 0.0], &ts, |_, y| y[0] * y[0] + y[1] * y[1])
        .unwrap();
    assert_eq!((outputs, same), (energies, stats));
    let error = Solver::new(Tsit5)
        .stream(rotate, &[1.0, 0.0], &ts, |t, _| {
            if t > 0.5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Cancelled { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..Default::default() })]

    /// A sample's result does not depend on its companions, nor on the threads.
    #[test]
    fn batches_are_their_samples(
        samples in prop::collection::vec(
            (prop::array::uniform2(-2.0..2.0f64), 0.1..4.0f64, 1e-9..1e-3f64, 0.2..3.0f64), 0..20),
        threads in 1usize..4,
    ) {
        let times: Vec<[f64; 3]> = samples.iter().map(|(_, t, _, _)| [0.0, 0.3 * t, *t]).collect();
        let batch: Vec<Sample<'_, f64>> = samples
            .iter()
            .zip(&times)
            .map(|((y0, _, rtol, _), ts)| Sample {
                y0,
                ts,
                options: Options::tolerance(*rtol, *rtol),
            })
            .collect();
        let field = |i: usize| {
            let rate = samples[i].3;
            move |_: f64, y: &[f64], dy: &mut [f64]| {
                (dy[0], dy[1]) = (rate * y[1], -rate * y[0].sin());
            }
        };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| solve_batch(Tsit5, &batch, field));
        for (i, (found, sample)) in found.into_iter().zip(&batch).enumerate() {
            let alone = solve(Tsit5, field(i), sample.y0, sample.ts, &sample.options).unwrap();
            prop_assert_eq!(found.unwrap(), alone);
        }
    }
}

/// Samples with events, stops and tolerances of their own are what each is alone, for any number of
/// threads, to the bit; events included.
#[test]
fn batches_with_events_are_their_samples() {
    let starts: Vec<[f64; 2]> = (0..13).map(|i| [1.0 + 0.3 * f64::from(i), 0.1]).collect();
    let times: Vec<Vec<f64>> =
        (0..13).map(|i| (0..=i % 4 + 1).map(|j| 0.7 * f64::from(j)).collect()).collect();
    let samples: Vec<Sample<'_, f64>> = starts
        .iter()
        .zip(&times)
        .enumerate()
        .map(|(i, (y0, ts))| {
            let rtol = 10f64.powi(-3 - (i as i32) % 7);
            Sample { y0, ts, options: Options::tolerance(rtol, rtol) }
        })
        .collect();
    let solver = |i: usize| {
        let level = 0.05 * i as f64;
        let bounce = Event::new(move |_, y: &[f64]| y[0] - level).falling();
        let solver =
            Solver::new(if i.is_multiple_of(2) { Method::from(Tsit5) } else { Dop853.into() })
                .event(bounce.change(|_, y| y[1] *= -0.5))
                .stop_at([0.1 * i as f64]);
        if i.is_multiple_of(3) { solver.atol_each([1e-6, 1e-5]) } else { solver }
    };
    let field = |_| |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (y[1], -9.81);
    let alone: Vec<_> = samples
        .iter()
        .enumerate()
        .map(|(i, s)| solver(i).options(s.options).solve(field(i), s.y0, s.ts).unwrap())
        .collect();
    assert!(alone.iter().any(|found| found.events.len() > 2));
    for threads in [1, 2, 5] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| solve_batch_with(&samples, solver, field));
        let found: Vec<_> = found.into_iter().map(Result::unwrap).collect();
        assert_eq!(found, alone, "{threads} threads");
    }
}

/// A sample that fails does not disturb the others.
#[test]
fn a_sample_may_fail() {
    let sample = |y0| Sample { y0, ts: &[0.0, 2.0], options: Options::default() };
    let found = solve_batch(Tsit5, &[sample(&[0.1]), sample(&[1.0])], |_| {
        |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = y[0] * y[0]
    });
    assert!(found[0].is_ok());
    assert!(found[1].as_ref().is_err_and(|e| e.partial().is_some()));
}
